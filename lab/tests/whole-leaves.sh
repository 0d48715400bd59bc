# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of execmem_rox=all on a CPU without BBML3: blocks of the linear map that keep their size.

# whole COMMAND...: a test whose guests boot so.
whole_leaves='--cpu plain --append execmem_rox=all'
whole() {
	machine=$whole_leaves
	"$@"
}

# What KUnit cannot test where leaves keep their size.
needs_resize='what_is_as_asked_is_not_split the_linear_map_collapses_to_what_it_was a_chunk_of_text_collapses
	pte_mapped_pages_stay_pages read_only_data_does_not_collapse'
test_all_kunit() {
	# shellcheck disable=SC2086
	whole kunit all-kunit kernel-4k plain '' $needs_resize
}
test_all_kunit_debug() {
	# shellcheck disable=SC2086
	whole kunit all-kunit-debug kernel-debug plain '' $needs_resize
}

# is_whole NAME MOMENT...: at each moment leaves of each size map as much of the linear map as at the first,
# and no memory of others is read-only with an alias that is writable. A kernel that counts splits has none.
is_whole() {
	name=$1 first=$2
	shift
	for moment; do
		files=$LOGS/$name/$moment
		grep '^DirectMap' "$LOGS/$name/$first.meminfo" | grep -q '^DirectMap2M:[[:space:]]*[1-9]' &&
			[ "$(grep '^DirectMap' "$files.meminfo")" = "$(grep '^DirectMap' "$LOGS/$name/$first.meminfo")" ] &&
			! grep '^direct_map_.*_splits [1-9]' "$files.vmstat" &&
			grep -qx 'unprotected:[[:space:]]*0 kB' "$files.execmem_cache" || {
			echo "$name, $moment: blocks were split, or memory is not protected"
			grep '^DirectMap' "$files.meminfo"
			cat "$files.execmem_cache"
			return 1
		}
	done
}

# all_modules NAME KERNEL: all modules, three times: all text is in the cache, and the linear map has the same
# leaves, blocks among them, while modules are loaded as at boot.
all_modules() {
	guest "$1" "$2" plain --timeout 1500 "$SCRIPTS/modules.sh" 3 &&
		kpt check-wx "$LOGS/$1/boot.dump" "$LOGS/$1/loaded.dump" "$LOGS/$1/unloaded.dump" &&
		kpt text --sections "$LOGS/$1/sections" --vmallocinfo "$LOGS/$1/vmallocinfo" \
			"$LOGS/$1/loaded.dump" >"$LOGS/$1/text" &&
		cat "$LOGS/$1/text" &&
		! grep -q '^0 of' "$LOGS/$1/text" &&
		kpt restored --l3-tables "$LOGS/$1/boot.dump" "$LOGS/$1/loaded.dump" &&
		restored "$1" boot loaded unloaded &&
		is_whole "$1" boot loaded unloaded
}
test_all_modules() {
	whole all_modules all-modules kernel-4k
}
test_all_modules_debug() {
	whole all_modules all-modules-debug kernel-debug
}

test_all_sample_tables() {
	whole sample_tables all-sample-tables kernel-4k
}
# There is no memfd_secret().
test_all_churn() {
	skips_allowed=1
	whole churn all-churn kernel-4k 1000 && is_whole all-churn boot idle
}
test_all_churn_debug() {
	skips_allowed=1
	whole churn all-churn-debug kernel-debug 200 && is_whole all-churn-debug boot idle
}
test_all_soak() {
	whole soak all-soak kernel-4k 60 && is_whole all-soak boot idle
}
test_all_soak_debug() {
	whole soak all-soak-debug kernel-debug 60 && is_whole all-soak-debug boot idle
}
test_all_kfence() {
	whole kfence_early all-kfence kernel-4k
}
# A pool that is made after boot would need pages of its own: KFENCE stays off, without a splat.
test_all_kfence_late() {
	whole fails_with 1 guest all-kfence-late kernel-4k plain --append kfence.sample_interval=0 \
		--add "$OUT/kernel-4k/lab-programs" "$SCRIPTS/kfence.sh" &&
		grep 'KFENCE does not turn on' "$LOGS/all-kfence-late/results"
}
test_all_hotplug() {
	whole hotplug all-hotplug kernel-4k && is_whole all-hotplug boot idle
}
test_all_hibernate() {
	whole hibernate all-hibernate kernel-4k && is_whole all-hibernate boot resumed idle
}
test_all_kexec() {
	whole kexec_again all-kexec kernel-4k && is_whole all-kexec boot loaded unloaded
}
test_all_bpf() {
	whole guest all-bpf kernel-4k plain --timeout 600 "$SCRIPTS/bpf-ftrace-kprobe.sh" 0 300
}
test_all_user_calls() {
	whole permissions all-user-calls kernel-4k plain "$SCRIPTS/user-calls.sh"
}
# Threads that change permissions in the same blocks leave nothing counted as unprotected.
test_all_perm_threads() {
	whole permissions all-perm-threads kernel-4k plain --smp 4 "$SCRIPTS/perm-threads.sh" 10
}
test_all_perm_threads_debug() {
	whole permissions all-perm-threads-debug kernel-debug plain --smp 4 "$SCRIPTS/perm-threads.sh" 10
}
# Each allocation of a permission change, and of the caches, fails; then each of loading a module.
test_all_perm_fail() {
	whole permissions all-perm-fail kernel-debug plain --timeout 1500 "$SCRIPTS/perm-fail.sh"
}
test_all_freed_text() {
	whole freed_text all-freed-text kernel-4k
}
test_all_selftests() {
	whole selftests all-selftests kernel-4k linux plain
}
test_all_fragmented() {
	whole clones all-fragmented kernel-4k --append execmem_reserve=4 "$SCRIPTS/fragmented.sh"
}

# watched NAME COMMAND...: a test whose guest the plugin of lab/tools/stores-plugin watches: no entry of the
# kernel's own tables changes without the break-before-make that it needs.
watched() {
	stores=$LOGS/stores-$1.txt watched_name=$1
	shift
	provide tool-stores-plugin || return
	machine="$whole_leaves $(watching "$stores")"
	"$@" && cat "$stores" && [ "$(unbroken "$watched_name")" = 0 ]
}
test_all_stores_bpf() {
	watched bpf guest all-stores-bpf kernel-4k plain --timeout 1200 "$SCRIPTS/bpf-ftrace-kprobe.sh" 0 300
}
test_all_stores_hotplug() {
	watched hotplug hotplug all-stores-hotplug kernel-4k
}
test_all_stores_hibernate() {
	watched hibernate hibernate all-stores-hibernate kernel-4k
}
test_all_stores_kexec() {
	watched kexec kexec_again all-stores-kexec kernel-4k
}
test_all_stores_kfence() {
	watched kfence kfence_early all-stores-kfence kernel-4k
}

# unbroken NAME: how often an entry of the kernel's own tables changed without the break-before-make that it
# needs, as the plugin of lab/tools/stores-plugin has seen.
unbroken() {
	sed -n 's/^without break-before-make: \([0-9]*\)$/\1/p' "$LOGS/stores-$1.txt"
}
# Boot, and modules that come and go. A CPU with BBML3 needs no break-before-make, and there the plugin must
# find some changes without.
test_all_stores() {
	provide tool-stores-plugin && whole stores_on plain 2 no-areas && [ "$(unbroken plain)" = 0 ] &&
		machine='' && stores_on bbml3 && [ "$(unbroken bbml3)" -gt 0 ]
}

# The boot CPU has BBML3, and maps the linear map by leaves of all sizes; the second CPU has not: then what is
# larger than a block is split, and nothing after that.
test_all_mixed() {
	rm -rf "$LOGS/all-mixed"
	mkdir -p "$LOGS/all-mixed"
	"$LAB/mixed-guest" --gdb-log "$LOGS/all-mixed/gdb.log" --append execmem_rox=all --out "$LOGS/all-mixed" \
		--log "$LOGS/all-mixed/console.log" --timeout 900 "$SCRIPTS/modules.sh" 1 &&
		provide tool-kpt &&
		kpt check-wx "$LOGS/all-mixed/loaded.dump" &&
		kpt restored --l3-tables "$LOGS/all-mixed/boot.dump" "$LOGS/all-mixed/loaded.dump" &&
		! grep '^DirectMap\(32M\|1G\).*[1-9]' "$LOGS/all-mixed/boot.meminfo" &&
		is_whole all-mixed boot loaded unloaded
}

# What module loads cost, beside stock on the same CPU, which changes each page of the linear map alone.
test_all_count_modules() {
	"$LAB/count-modules" --cpu plain --append execmem_rox=all --out "$LOGS/all-count-modules" \
		--most tlbi=1600 --most dsb=10000 --most icache-per-module=12 --most instructions-of-limit=0.5
}
test_all_count_ipi() {
	"$LAB/count-modules" --cpu plain --append execmem_rox=all --smp 4 --most ipi-per-module=10 \
		--out "$LOGS/all-count-ipi"
}

# By a model of TLBs, work of the kernel has at most a quarter of the walks for data that it has on stock.
test_all_walks() {
	"$LAB/tlb" --out "$LOGS/all-walks" --most read=0.25 --most archive=0.25 --most exec=0.25 \
		--most socket=0.25 --most names=0.25
}

# Page tables that boot makes count neither as free nor as anything else. The other guest has what stock has on
# such a CPU, a linear map of pages; see same-4k-plain-on.
test_all_memory() {
	for size in 1 4 16; do
		for mode in on all; do
			guest "memory-$mode-$size" kernel-4k plain --mem "${size}G" --append "execmem_rox=$mode" \
				"$SCRIPTS/meminfo.sh" || return
		done
		awk -v size="$size" 'FNR == 1 { name[++files] = FILENAME }
			{ kb[FILENAME, $1] = $2 }
			END {
				total = kb[name[2], "MemTotal:"] - kb[name[1], "MemTotal:"]
				free = kb[name[2], "MemFree:"] - kb[name[1], "MemFree:"]
				printf "%d GiB: MemTotal %d and %d kB, MemFree %d and %d kB: %d and %d kB more\n", size, \
					kb[name[1], "MemTotal:"], kb[name[2], "MemTotal:"], \
					kb[name[1], "MemFree:"], kb[name[2], "MemFree:"], total, free
				exit total < 1900 * size
			}' "$LOGS/memory-on-$size/meminfo" "$LOGS/memory-all-$size/meminfo" || return
	done
}
