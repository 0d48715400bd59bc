#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Split the linear map by secret memory while modules come and go, and see whether it collapses again:
# with "on" it does, with "off", for a guest with direct_map_collapse=off, nothing does. Leaves the
# page tables before and after in /lab/out, as "boot" and "idle".
#
# usage: collapse.sh on|off     needs lab-programs of the kernel, by --add
. /lab/guest-lib.sh
plan 1

# pages: how much of the linear map is mapped by pages, in kB.
pages() {
	awk '/^DirectMap4k:/ { print $2 }' /proc/meminfo
}

# collapses: how many leaves of the linear map were made by collapses since boot; nothing if the kernel
# does not count them.
collapses() {
	awk '/^direct_map_level[23]_collapses / { sum += $2; counts = 1 }
		END { if (counts) print sum }' /proc/vmstat
}

wanted=${1:?usage: collapse.sh on|off}
[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
modules=$(all_modules | head -n 10)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
save_tables boot
boot=$(pages)
[ -n "$boot" ] || fail 'no DirectMap4k in /proc/meminfo'
for turn in 1 2 3; do
	before=$(pages)
	# shellcheck disable=SC2086
	modprobe -a $modules || fail 'modprobe, see above'
	/lab/lab-programs/churn secretmem 20 || fail 'secret memory, see above'
	split=$(pages)
	unload_unused || fail 'rmmod, see above'
	no_wx "turn $turn"
	settle
	echo "# turn $turn: $before kB mapped by pages, $split kB then, $(pages) kB at last"
	[ "$turn" != 1 ] || [ "$split" -gt "$boot" ] || fail 'nothing was split: this says nothing'
done
save_tables idle
echo "# collapses that the kernel has counted: $(collapses)"
case $wanted in
on)
	[ "$(pages)" = "$boot" ] || fail 'the linear map is not as it was'
	[ "$(collapses)" != 0 ] || fail 'collapses are not counted'
	;;
off)
	[ "$(pages)" -gt "$boot" ] || fail 'leaves collapse with direct_map_collapse=off'
	[ "$(collapses)" = 0 ] || [ -z "$(collapses)" ] || fail 'there are collapses'
	;;
esac
ktap_test_pass "direct_map_collapse=$wanted"
ktap_finished
