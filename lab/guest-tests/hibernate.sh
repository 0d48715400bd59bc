#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Hibernate and resume from the image at once, without a reboot in between, with modules loaded
# and pages of KFENCE that the linear map does not map. Then all is as it was. Leaves the page
# tables in /lab/out, as "boot", "resumed" and "idle". For a guest with a --disk of 512 MiB.
#
# usage: hibernate.sh [TIMES]
. /lab/guest-lib.sh
plan 2
times=${1:-3}
disk=/dev/vda

[ -b $disk ] || fail "no $disk: was --disk given?"
mkswap $disk >/dev/null && swapon $disk || fail 'swap, see above'
cat /sys/block/vda/dev >/sys/power/resume || fail 'no place to resume from'
echo test_resume >/sys/power/disk || fail 'the kernel cannot test a resume'
grep -q 'enabled: 1' /sys/kernel/debug/kfence/stats || fail 'KFENCE is off'
secretmem 10 || fail 'secret memory, see above'
settle
save_tables boot

modprobe -a ext4 overlay squashfs || fail 'modprobe, see above'
trap reconnect EXIT
exec >/tmp/output 2>&1
turn=1
while [ $turn -le "$times" ]; do
	# Collapses go on when it begins.
	secretmem 10 || fail 'secret memory, see above'
	echo disk >/sys/power/state || fail "turn $turn: no hibernation, or no resume"
	no_wx "turn $turn"
	turn=$((turn + 1))
done
trap - EXIT
reconnect
resumed=$(dmesg | grep -c 'PM: hibernation: hibernation exit')
[ "$resumed" = "$times" ] || fail "$resumed times resumed, not $times"
[ "$(cat /sys/devices/system/cpu/online)" = "$(cat /sys/devices/system/cpu/present)" ] || fail 'a CPU is offline'
settle
save_tables resumed
ktap_test_pass "$times times hibernated and resumed"

rmmod ext4 overlay squashfs || fail 'rmmod, see above'
unload_unused || fail 'rmmod, see above'
modprobe -a ext4 overlay squashfs && rmmod ext4 overlay squashfs && unload_unused ||
	fail 'modules after the resume, see above'
secretmem 10 || fail 'secret memory, see above'
settle
save_tables idle
[ "$(sed -n 's/^total bugs: *//p' /sys/kernel/debug/kfence/stats)" = 0 ] || fail 'KFENCE has found bugs'
ktap_test_pass 'modules and secret memory after that'
ktap_finished
