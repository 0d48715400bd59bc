#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A memory block that cannot become offline, because a page of it is pinned, while the linear map is
# split over and over: what was split collapses all the same, nobody hangs, and the memory block
# is offline as soon as the page is free. For a guest of 1 GiB that boot uses 768 MiB of, as
# hotplug.sh.
#
# usage: stuck-offline.sh [SECONDS]
. /lab/guest-lib.sh
plan 3
seconds=${1:-60}
module=/lab/hotplug/rox_hotplug.ko
start=0x70000000 size=0x10000000
pin=/sys/module/rox_hotplug/parameters/pin

# pages: how much of the linear map is mapped by pages, in kB.
pages() {
	awk '/^DirectMap4k:/ { print $2 }' /proc/meminfo
}

# offline: what the memory block with the pinned page is asked to become, and how that ends.
offline() {
	for block in $blocks; do
		echo offline >"$block/state" || echo "$block stays"
	done >/tmp/offline.log 2>&1
	: >/tmp/offline
}

[ -e $module ] || fail "no $module: was it built, and given with --add?"
[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
# A task that waits for so long is reported, and lab/guest fails.
echo 10 >/proc/sys/kernel/hung_task_timeout_secs || fail 'no hung_task_timeout_secs'
echo 1 >/proc/sys/kernel/hung_task_check_interval_secs || fail 'no hung_task_check_interval_secs'
had=$(echo /sys/devices/system/memory/memory*)
insmod $module start=$start size=$size || fail 'memory cannot be added, see above'
blocks=
for block in /sys/devices/system/memory/memory*; do
	case " $had " in
	*" $block "*) continue ;;
	esac
	[ "$(cat "$block/state")" = online ] || echo online_movable >"$block/state" ||
		fail "$block does not become online"
	blocks="$blocks $block"
done
echo Y >$pin || fail 'no page of the added memory can be pinned'
# The machine does not end as long as the memory block neither becomes offline nor gives up.
trap 'echo N 2>/dev/null >$pin' EXIT

sleep 1
boot=$(pages)
offline &
offline=$!
end=$(($(now) + seconds)) turns=0 restored=0
while [ "$(now)" -lt $end ]; do
	/lab/lab-programs/churn secretmem 200 >/dev/null || fail 'secret memory, see above'
	turns=$((turns + 1))
	usleep 700000
	[ "$(pages)" != "$boot" ] || restored=$((restored + 1))
done
[ ! -e /tmp/offline ] || fail "the memory block became offline, or not, too soon: $(cat /tmp/offline.log)"
ktap_test_pass "$seconds seconds with a memory block that does not become offline"
# The last time is not like the others: something else may be changing the linear map just then.
[ $restored -ge $((turns / 2)) ] ||
	fail "in $restored of $turns turns alone was the linear map as before"
ktap_test_pass "in $restored of $turns turns the linear map was as before"

trap - EXIT
echo N >$pin
wait $offline
[ ! -s /tmp/offline.log ] || fail "$(cat /tmp/offline.log)"
for block in $blocks; do
	[ "$(cat "$block/state")" = offline ] || fail "$block is not offline"
done
rmmod rox_hotplug || fail 'rmmod, see above'
! dmesg | grep 'rox_hotplug: cannot remove' || fail 'memory cannot be removed'
ktap_test_pass 'the memory block is offline when the page is free, and goes'
ktap_finished
