#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# On any architecture with a ROX cache: all modules come and go; while they are loaded the cache
# is in use, and afterwards it has no more in use than at boot. No mapping is writable and
# executable at any time.
#
# usage: execmem-cache.sh [ROUNDS]
. /lab/guest-lib.sh
rounds=${1:-1}
plan $((2 * rounds))
state=/sys/kernel/debug/execmem_cache

[ -e $state ] || fail "no $state: has this kernel a ROX cache, and the series?"
modules=$(all_modules)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
# Thunks that were asked for are there.
! grep -q 'indirect_target_selection=force' /proc/cmdline ||
	grep -q thunks /sys/devices/system/cpu/vulnerabilities/indirect_target_selection ||
	fail 'there are no return thunks'
no_wx boot
boot=$(cache 'ROX used')

for round in $(seq "$rounds"); do
	# shellcheck disable=SC2086
	modprobe -a $modules || fail "round $round: modprobe, see above"
	count=$(wc -l </proc/modules)
	used=$(cache 'ROX used')
	[ "$used" -gt "$boot" ] || fail "round $round: no text of $count modules is in the cache"
	no_wx "round $round, loaded"
	ktap_test_pass "round $round: $count modules loaded, $((used - boot)) kB more of the cache in use"

	unload_unused || fail "round $round: rmmod, see above"
	# The cache gives memory back in its own time.
	sleep 1
	used=$(cache 'ROX used')
	[ "$used" = "$boot" ] || fail "round $round: $used kB in use, and $boot kB at boot"
	no_wx "round $round, unloaded"
	ktap_test_pass "round $round: all unloaded, the cache is as at boot"
done
cat $state
ktap_finished
