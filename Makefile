# SPDX-License-Identifier: GPL-2.0
# The front door. Every target can be interrupted and run again.

# What make help prints beside the targets: lines that begin with "#:" and, as a heading, "##".
#: T=N-name           the topic of "make topic": a directory of patches/
#: PAGES=4k|16k|64k   page size of kernel, stock and shell (4k)
#: DEBUG=1            kernel builds the debug kernel, with lockdep, KASAN and others
#: SERIES=7.3         the base: Debian's linux-source of that version, one of lab/base.tried
#: KSRC=DIR           the base: HEAD of a git tree of yours
#: TOOLCHAIN=host     use this machine's own tools, and no toolchain root
#: JOBS=N             how many compilers run at a time (as many as there are CPUs)
#: ROX_CACHE=DIR      where downloads, roots and ccache are (~/.cache/arm64-rox)
export SERIES KSRC TOOLCHAIN JOBS
PAGES ?= 4k

.PHONY: help run check full each-patch pages configs x86 soak loads tree topic export check-export kernel stock shell base-update clean
.PHONY: quick debug

targets := $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' Makefile)
unknown := $(filter-out $(targets),$(MAKECMDGOALS))
ifneq ($(unknown),)
$(error there is no target '$(firstword $(unknown))'; there are: $(targets). "make help" says what they do)
endif

## To begin with

help: ## this
	@awk '/^## / { print "\n" substr($$0, 4) ":" } \
		match($$0, /^[a-z0-9-]+:.*## /) { printf "%-14s%s\n", substr($$0, 1, index($$0, ":") - 1), substr($$0, RLENGTH + 1) } \
		/^#: / { variables = variables "\n  " substr($$0, 4) } \
		END { print "\nVariables:" variables "\n\nEvery script in lab/ says with --help what it takes." }' Makefile

quick: ## a first result in minutes, without a kernel: page-table model, litmus tests, page-table reader
	@lab/quick

run: ## build the kernel, load real modules on the bbml3 and the plain CPU, print the table
	@lab/kernel
	@lab/measure

## Tests

check: ## the gate: tools, patches, and the 4K kernel with its tests; ends with N passed, N failed
	@lab/check '*'

full: ## check, and the debug, stock and other kernels with their tests: before a series is sent
	@lab/check --all

each-patch: ## build the kernel after each patch of each topic, without a warning, of clippy's too
	@lab/check each-patch

pages: ## KUnit and modules on kernels with 16K and 64K pages
	@lab/check 'pages-*'

configs: ## KUnit, modules, churn and tracing with tags, LPA2, SCS, CFI, KPTI, nodes, nohz_full, 64K pages
	@lab/check 'config-*'

x86: ## modules, kprobes, ftrace and BPF on an x86-64 kernel with the series
	@lab/check x86

soak: ## everything that changes page tables at once, ten minutes on each kernel
	@SOAK=600 lab/check 'soak*' 'all-soak*' -- -t 3

loads: ## parallel loads on 20 boots, and 10,000 random loads and unloads
	@BOOTS=20 STEPS=10000 lab/check parallel-loads lingering -- -t 10

## The series

topic: ## build and boot the kernel that ends with a topic, T=N-name, and run what holds there
	@lab/topic $(T)

tree: ## make out/linux, the git tree to work in: base, then a branch for each topic
	@lab/toolchain
	@lab/tree

export: ## write patches/ and the view from the topics of out/linux
	@lab/export

check-export: ## say whether out/linux, patches/ and the view agree
	@lab/export --check

## Kernels and guests

kernel: ## build out/kernel-$(PAGES), or out/kernel-debug with DEBUG=1
	@lab/kernel --pages $(PAGES) $(if $(DEBUG),--debug)

stock: ## build out/stock-$(PAGES), the base without the series
	@lab/kernel --stock --pages $(PAGES)

shell: ## an interactive guest on the bbml3 CPU
	@lab/kernel --pages $(PAGES)
	@lab/guest --kernel out/kernel-$(PAGES) --shell

debug: ## a guest that waits for gdb, and gdb attached with the kernel's own scripts
	@lab/kernel --variant gdb
	@lab/debug

## Upkeep

base-update: ## ask the archive whether there is a newer linux-source-$(SERIES)
	@lab/toolchain
	@lab/base --update

clean: ## remove what was built; out/linux, downloads and the toolchain root stay
	@[ ! -d out ] || find out -mindepth 1 -maxdepth 1 ! -name linux -exec rm -rf {} +
