#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Patch a function of the kernel with one of a module, whose text is in the cache, and undo that,
# several times; then the linear map is as it was. Leaves the page tables of both times in /lab/out,
# as "boot" and "idle".
#
# usage: livepatch.sh [ROUNDS]     needs the kernel's sample of live patches
. /lab/guest-lib.sh
plan 1
patch=/sys/kernel/livepatch/livepatch_sample

# settled: wait until all tasks use the patch, or none.
settled() {
	patch_settles $patch 100 || fail "round $round: some task uses the wrong function after ten seconds"
}

save_tables boot
before=$(cache 'ROX used')
for round in $(seq "${1:-1}"); do
	modprobe livepatch-sample || fail "round $round: modprobe, see above"
	settled
	grep -q 'has been live patched' /proc/cmdline || fail "round $round: the function is not patched"
	[ "$(cache 'ROX used')" -gt "$before" ] || fail "round $round: the new function is not in the cache"
	no_wx "round $round, patched"
	echo 0 >$patch/enabled
	settled
	! grep -q 'has been live patched' /proc/cmdline || fail "round $round: the function is still patched"
	patch_goes $patch
	rmmod livepatch-sample || fail "round $round: rmmod, see above"
done
settle
save_tables idle
ktap_test_pass "$round times"
ktap_finished
