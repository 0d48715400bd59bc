#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Add memory and remove it, over and over, while modules come and go and leaves of the linear
# map are split and collapsed. Leaves in /lab/out the page tables at first, with the memory
# added, and at last, as "boot", "added" and "idle". For a guest of 1 GiB that boot uses 768 MiB
# of; the memory behind those is added:
#
#   lab/guest --append mem=768M --add out/kernel-4k/lab-modules/hotplug \
#     --add out/kernel-4k/lab-programs lab/guest-tests/hotplug.sh
#
# usage: hotplug.sh [ROUNDS]
. /lab/guest-lib.sh
plan 2
rounds=${1:-20}
module=/lab/hotplug/rox_hotplug.ko
start=0x70000000 size=0x10000000

# total: memory in kB.
total() {
	awk '/^MemTotal:/ { print $2 }' /proc/meminfo
}

add() {
	insmod $module start=$start size=$size || fail 'memory cannot be added, see above'
	for block in /sys/devices/system/memory/memory*; do
		[ "$(cat "$block/state")" = online ] || echo online_movable >"$block/state" ||
			fail "$block does not become online"
	done
}

remove() {
	rmmod rox_hotplug || fail 'rmmod, see above'
	! dmesg | grep 'rox_hotplug: cannot remove' || fail 'memory cannot be removed'
}

churn() {
	turns=0
	while [ -e /tmp/changing ]; do
		modprobe -a ext4 squashfs && rmmod ext4 squashfs || return 1
		secretmem 20 >/dev/null || return 1
		turns=$((turns + 1))
	done
	echo "# $turns times modules and secret memory beside it"
}

[ -e $module ] || fail "no $module: was it built, and given with --add?"
had=$(total)
[ "$had" -lt $((768 << 10)) ] || fail "$had kB of memory: was mem=768M given with --append?"

# Once, so that what stays for good is there.
add
remove
settle
save_tables boot
add
settle
save_tables added
has=$(total)
[ $((has - had)) = $((size >> 10)) ] || fail "$has kB of memory after $had kB, and $size bytes were added"
remove
ktap_test_pass "$((size >> 20)) MiB added and removed"

: >/tmp/changing
churn &
churn=$!
round=1
while [ $round -le "$rounds" ]; do
	add
	remove
	round=$((round + 1))
done
rm /tmp/changing
wait $churn || fail 'modules or secret memory, see above'
unload_unused || fail 'rmmod, see above'
settle
save_tables idle
no_wx idle
ktap_test_pass "$rounds times, while the linear map was split and collapsed"
ktap_finished
