# SPDX-License-Identifier: GPL-2.0
# The front door. Every target can be interrupted and run again.

# Another base: SERIES=7.2 takes Debian's linux-source-7.2, KSRC=/path/to/linux a git tree.
# TOOLCHAIN=host uses this machine's own tools instead of a toolchain root.
export SERIES KSRC TOOLCHAIN JOBS
PAGES ?= 4k

.PHONY: help run check full each-patch pages configs x86 soak loads tree export check-export kernel stock shell base-update clean

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 16
	@echo 'Variables: PAGES=4k|16k|64k DEBUG=1 SERIES=7.3|7.2 KSRC=DIR TOOLCHAIN=host JOBS=N'

run: ## build the kernel, load real modules on the bbml3 and the plain CPU, print the table
	@lab/kernel
	@lab/measure

check: ## every test that does not take long; ends with N passed, N failed
	@lab/check '*'

full: ## check, and all tests that it leaves out for their time: before a series is sent
	@lab/check --all

each-patch: ## build the kernel after each patch of the series, and run clippy
	@lab/check each-patch

pages: ## KUnit and modules on kernels with 16K and 64K pages
	@lab/check 'pages-*'

configs: ## KUnit, modules, churn and tracing with tags, LPA2, SCS, CFI, KPTI, nodes, nohz_full, 64K pages
	@lab/check 'config-*'

x86: ## modules, kprobes, ftrace and BPF on an x86-64 kernel with the series
	@lab/check x86

soak: ## everything that changes page tables at once, ten minutes on each kernel
	@SOAK=600 lab/check 'soak*' -- -t 3

loads: ## parallel loads on 20 boots, and 10,000 random loads and unloads
	@BOOTS=20 STEPS=10000 lab/check parallel-loads lingering -- -t 10

tree: ## make out/linux, the git tree to work in: base, then the series
	@lab/toolchain
	@lab/tree

export: ## write patches/ and the view from out/linux
	@lab/export

check-export: ## say whether out/linux, patches/ and the view agree
	@lab/export --check

kernel: ## build out/kernel-$(PAGES), or out/kernel-debug with DEBUG=1
	@lab/kernel --pages $(PAGES) $(if $(DEBUG),--debug)

stock: ## build out/stock-$(PAGES), the base without the series
	@lab/kernel --stock --pages $(PAGES)

shell: ## an interactive guest on the bbml3 CPU
	@lab/kernel --pages $(PAGES)
	@lab/guest --kernel out/kernel-$(PAGES) --shell

base-update: ## ask the archive whether there is a newer linux-source-$(SERIES)
	@lab/toolchain
	@lab/base --update

clean: ## remove what was built; out/linux, downloads and the toolchain root stay
	@[ ! -d out ] || find out -mindepth 1 -maxdepth 1 ! -name linux -exec rm -rf {} +
