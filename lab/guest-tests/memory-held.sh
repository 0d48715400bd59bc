#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Print what memory the caches hold while modules as large as real ones are loaded: a table for
# Documentation/arch/arm64/execmem.rst.
#
# usage: memory-held.sh [COUNT...]     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 1
[ $# != 0 ] || set -- 0 10 50 500

# Unloads wait for grace periods.
echo 1 >/sys/kernel/rcu_expedited
boot_caches
echo "$(sed -n 's/^MemTotal: *//p' /proc/meminfo) of memory"
printf '%-8s %-12s %-12s %-12s %-12s %s\n' modules 'text, kB' 'held, kB' 'rodata, kB' 'held, kB' chunks
for count; do
	[ "$count" = 0 ] || clones load 0 "${count}xreal" >/dev/null
	settle
	printf '%-8s %-12s %-12s %-12s %-12s %s\n' "$count" "$(cache 'ROX used')" \
		"$(($(cache 'ROX used') + $(cache 'ROX free')))" "$(cache 'RO used')" \
		"$(($(cache 'RO used') + $(cache 'RO free')))" \
		"$(($(chunks ROX) + $(chunks RO)))"
	[ "$count" = 0 ] || clones unload 0 1 >/dev/null
	drained "$count modules"
done
ktap_test_pass "a table of $# rows"
ktap_finished
