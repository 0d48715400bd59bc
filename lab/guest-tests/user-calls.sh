#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Change permissions of memory of the caches as others than the caches do: with every function
# that the kernel has for it, on text and data of a module, a page of kprobes, and a BPF image.
# Then unload a module that leaves its memory changed, and load others where it was. The modules
# come from the build of the kernel:
#
#   lab/guest --add out/kernel-4k/lab-modules/permissions lab/guest-tests/user-calls.sh
#
# usage: user-calls.sh [stock]     stock: the kernel has no caches
. /lab/guest-lib.sh
plan 2
dir=/lab/permissions
cached=/sys/kernel/debug/rox_cached
calls=/sys/module/rox_user_calls/parameters

# sound WHEN: every page of the caches is as it should be.
sound() {
	[ -n "$stock" ] || ! grep . $cached/unsound >/tmp/unsound ||
		fail "$1: $(wc -l </tmp/unsound) pages of the caches, the first $(head -n 1 /tmp/unsound)"
	no_wx "$1"
}

stock=
case ${1:-} in
'') insmod_once $dir/rox_cached.ko || fail "cannot load $dir/rox_cached.ko: was it built, and given with --add?" ;;
stock) stock=1 ;;
*) fail "usage: user-calls.sh [stock]" ;;
esac
insmod_once $dir/rox_user_calls.ko || fail "cannot load $dir/rox_user_calls.ko: was it built, and given with --add?"
sound 'before'

echo 1 >$calls/run || {
	said rox_user_calls
	fail 'calls, see above'
}
said rox_user_calls
[ "$(dmesg | grep -c 'rox_user_calls: .* calls$')" = 6 ] || fail 'not all six kinds of memory were tested'
sound 'after all calls'
ktap_test_pass 'each call does what it should, and nothing else'

echo 1 >$calls/leave || {
	said rox_user_calls
	fail 'calls before the module is unloaded, see above'
}
alias=$(printf 0x%x "$(cat $calls/data_alias)")
rmmod rox_user_calls || fail 'rmmod rox_user_calls'
# What could not be freed at once, and chunks that leave the cache.
sleep 1
if [ -z "$stock" ]; then
	sound 'after a module that left its memory changed'
	echo "$alias" >$cached/address
	leaf=$(cat $cached/leaf)
	[ "$leaf" = 'RW nx' ] || fail "the linear alias of data that was freed, $alias, is $leaf"
fi
modprobe -a ext4 xfs btrfs || fail 'modprobe, see above'
sound 'with other modules'
unload_unused rox_cached || fail 'rmmod, see above'
sleep 1
sound 'after other modules'
ktap_test_pass 'memory that was left changed is as it should be for its next owner'
[ -n "$stock" ] || rmmod rox_cached || fail 'rmmod rox_cached'
ktap_finished
