#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Turn KFENCE on, late in boot where the command line says kfence.sample_interval=0, and let
# permissions around its pool change while it flips pages of it.
#
# usage: kfence.sh     needs lab-programs of the kernel, by --add
. /lab/guest-lib.sh
plan 1
interval=/sys/module/kfence/parameters/sample_interval
stats=/sys/kernel/debug/kfence/stats

# count LABEL: a number of KFENCE's statistics.
count() {
	sed -n "s/^$1: *//p" $stats
}

[ -w $interval ] || fail "no $interval: is CONFIG_KFENCE off?"
echo 1 >$interval || fail 'KFENCE does not turn on'
grep -q 'enabled: 1' $stats || fail "KFENCE is not on: $(cat $stats)"
modprobe -a ext4 overlay squashfs || fail 'modprobe, see above'
before=$(count 'total allocations')
secretmem 1000 || fail 'secret memory, see above'
rmmod ext4 overlay squashfs || fail 'rmmod, see above'
sleep 2
/lab/lab-programs/churn bpf 200 || fail 'BPF programs, see above'
after=$(count 'total allocations')
[ "$after" -gt "$before" ] || fail "KFENCE has allocated nothing: $(cat $stats)"
[ "$(count 'total bugs')" = 0 ] || fail "KFENCE has found bugs: $(cat $stats)"
ktap_test_pass "$((after - before)) allocations of KFENCE while permissions changed"
ktap_finished
