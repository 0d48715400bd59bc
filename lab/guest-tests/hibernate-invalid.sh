#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Hibernate, and resume from the image at once, while memory is not mapped by the linear map in
# leaves of all sizes. Then it is as it was, and holds what it held. Leaves the page tables in
# /lab/out, as "boot" and "idle". For a guest with a --disk of 1 GiB:
#
#   lab/guest --disk 1G --append no_console_suspend \
#     --add out/kernel-4k/lab-modules/permissions lab/guest-tests/hibernate-invalid.sh
. /lab/guest-lib.sh
plan 2
disk=/dev/vda
module=/lab/permissions/rox_invalid.ko

[ -e $module ] || fail "no $module: was it built, and given with --add?"
[ -b $disk ] || fail "no $disk: was --disk given?"
mkswap $disk >/dev/null && swapon $disk || fail 'swap, see above'
cat /sys/block/vda/dev >/sys/power/resume || fail 'no place to resume from'
echo test_resume >/sys/power/disk || fail 'the kernel cannot test a resume'
load() {
	insmod_once $module || {
		said rox_invalid
		fail 'no memory, see above'
	}
}
# The first kprobe, by which the module finds functions, keeps a chunk of the cache.
load && rmmod rox_invalid || fail 'rmmod, see above'
settle
save_tables boot

load
trap reconnect EXIT
exec >/tmp/output 2>&1
echo disk >/sys/power/state || fail 'no hibernation, or no resume'
trap - EXIT
reconnect
[ "$(dmesg | grep -c 'PM: hibernation: hibernation exit')" = 1 ] || fail 'not resumed'
dmesg | grep 'Failed to remap page' && fail 'hibernation could not map a page'
ktap_test_pass 'hibernated and resumed'

echo 1 >/sys/module/rox_invalid/parameters/check || {
	said rox_invalid
	fail 'memory is not as it was, see above'
}
said rox_invalid
ktap_test_pass 'memory that is not mapped is as it was'

rmmod rox_invalid || fail 'rmmod, see above'
settle
save_tables idle
ktap_finished
