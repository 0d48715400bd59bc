#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# With execmem_rox=all, and no block of 2 MiB free: modules load as long as the reserve lasts, then no
# more, with one line in the log; and they load again when there are blocks.
#
# usage: fragmented.sh     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 4
clones=/lab/lab-programs/clones
message='no contiguous memory for a chunk'

reserve() {
	cache 'reserve chunks'
}

# becomes WHAT WANTED: wait for it for half a minute at most.
becomes() {
	for attempt in $(seq 60); do
		[ "$(cache "$1")" != "$2" ] || return 0
		usleep 500000
	done
	fail "$1: $(cache "$1") instead of $2"
}

[ -x $clones ] || fail 'no lab-programs/clones: were they built, and given with --add?'
settle
full=$(reserve)
[ "${full:-0}" -gt 0 ] || fail "there is no reserve: $(cat /sys/kernel/debug/execmem_cache)"
insmod_once /lab/placement/rox_fragment.ko || fail 'cannot load rox_fragment'
blocks=$(cat /sys/module/rox_fragment/parameters/blocks)
[ "$blocks" -gt 50 ] || fail "only $blocks blocks are fragmented: $(cat /proc/buddyinfo)"

# Each fills a chunk, but the first, which may find one.
loaded=0
while $clones load $loaded 1x1900 >/tmp/loaded 2>&1; do
	loaded=$((loaded + 1))
	[ $loaded -le 100 ] || fail 'modules load all the time'
done
cat /tmp/loaded
[ $loaded -ge "$full" ] && [ "$(reserve)" = 0 ] ||
	fail "$loaded modules are loaded, and $(reserve) of $full blocks are in reserve"
ktap_test_pass "$loaded modules loaded out of a reserve of $full blocks"

grep -q 'error 12$' /tmp/loaded || fail 'the next one fails otherwise, see above'
[ "$(cache 'failed chunks')" -gt 0 ] && dmesg | grep -q "$message" || fail "the log does not say '$message'"
no_wx fragmented
ktap_test_pass "then the loader fails: $(cache 'failed chunks') chunks could not be had"

rmmod rox_fragment || fail 'rmmod rox_fragment'
clones load $loaded 4x1900
ktap_test_pass 'modules load again when there are blocks'

clones unload 0 17
becomes 'reserve chunks' "$full"
settle
no_wx unloaded
ktap_test_pass 'the reserve is full again'
ktap_finished
