#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Have memory become executable, and not executable again, in all ways that there are: what
# set_memory_*() and the caches do to an area, with the self-test rox_tlb; modules; memory for
# kprobes. What is to be seen of it is for the one who runs this.
#
# usage: executable.sh [TIMES [no-areas]]     no-areas: without rox_tlb, which needs aliases of single
#                                             pages to become read-only
. /lab/guest-lib.sh
times=${1:-2}
if [ "${2:-}" = no-areas ]; then
	plan 1
else
	plan 2
	run_module /lab/permissions/rox_tlb.ko || {
		said rox_tlb
		fail 'rox_tlb, see above'
	}
	ktap_test_pass 'set_memory_*()'
fi
modprobe -a ext4 overlay squashfs && rmmod ext4 overlay squashfs && unload_unused ||
	fail 'modules, see above'
turn=1
while [ $turn -le "$times" ]; do
	modprobe -a ext4 overlay squashfs || fail 'modprobe, see above'
	rmmod ext4 overlay squashfs || fail 'rmmod, see above'
	unload_unused || fail 'rmmod, see above'
	# Blocks that nobody uses leave the cache.
	sleep 2
	turn=$((turn + 1))
done
ktap_test_pass "$times times modules"
ktap_finished
