#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Let every allocation fail that a permission change makes, one at a time, and then those of
# loading and unloading a module. Permissions must be as before after each failure. For a
# kernel with FAULT_INJECTION, and a CPU that can split blocks, or execmem_rox=all; the module that does most of
# it, lab/modules/permissions, comes from the build of the kernel:
#
#   lab/guest --kernel out/kernel-debug --add out/kernel-debug/lab-modules/permissions \
#     lab/guest-tests/perm-fail.sh
#
# usage: perm-fail.sh [MODULE|none]     MODULE is loaded and unloaded, which takes minutes
. /lab/guest-lib.sh

victim=${1:-test_module}
[ "$victim" = none ] && plan 1 || plan 3
dir=/lab/permissions
parameters=/sys/module/rox_perm_fail/parameters
aliases=/sys/kernel/debug/rox_cached/aliases

for kind in failslab fail_page_alloc; do
	debugfs=/sys/kernel/debug/$kind
	[ -e $debugfs ] || fail "no $debugfs: is FAULT_INJECTION_DEBUG_FS off?"
	echo N >$debugfs/ignore-gfp-wait
	echo Y >$debugfs/task-filter
	echo 100 >$debugfs/probability
	echo -1 >$debugfs/times
	echo 0 >$debugfs/verbose
done
echo N >/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem
echo 0 >/sys/kernel/debug/fail_page_alloc/min-order

ln -s /usr/bin/kmod /tmp/rmmod
[ -e $dir/rox_perm_fail.ko ] || fail "no $dir/rox_perm_fail.ko: was it built, and given with --add?"
insmod_once $dir/rox_cached.ko || fail 'cannot load rox_cached'
insmod_once $dir/rox_perm_fail.ko
loaded=$?
said rox_perm_fail
[ $loaded = 0 ] || fail 'a failure is not as it should be'
ktap_test_pass 'permission changes without memory'
[ "$victim" != none ] || ktap_finished

path=$(find "/lib/modules/$(uname -r)" -name "$victim.ko")
[ -n "$path" ] || fail "no module $victim"

# What must hold whenever a module was loaded or unloaded, or was not.
settled() {
	! grep -v ' ro$' $aliases || fail "$1: an alias of cached memory is not read-only, see above"
	no_wx "$1"
}

n=0 refused=0 left=0
while [ "$left" = 0 ]; do
	n=$((n + 1))
	[ $n -le 2000 ] || fail "loading $victim has no end"
	echo $n >$parameters/nth
	if insmod_once "$path" 2>/dev/null; then
		left=$(cat $parameters/left)
		settled "load, allocation $n"
		/tmp/rmmod "$victim" || fail "rmmod $victim"
	else
		left=$(cat $parameters/left)
		refused=$((refused + 1))
		[ "$left" = 0 ] || fail "$victim does not load, and allocation $n was not made"
		settled "load, allocation $n"
	fi
done
[ $refused -ge 10 ] || fail "only $refused failures kept $victim from being loaded"
ktap_test_pass "$((n - 1)) allocations of a load failed, $refused times it was refused"

n=0 left=0
while [ "$left" = 0 ]; do
	n=$((n + 1))
	[ $n -le 2000 ] || fail "unloading $victim has no end"
	insmod_once "$path" || fail "insmod $victim"
	echo $n >$parameters/nth
	/tmp/rmmod "$victim" || fail "$victim is not unloaded, allocation $n"
	left=$(cat $parameters/left)
	settled "unload, allocation $n"
done
ktap_test_pass "$((n - 1)) allocations of an unload failed"

# A failure may have left something to do later.
sleep 2
settled 'at the end'
/tmp/rmmod rox_perm_fail && /tmp/rmmod rox_cached || fail 'rmmod'
ktap_finished
