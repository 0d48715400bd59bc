#!/bin/sh
# Unload modules that fill a block each while workers have no memory for the caches' trees. When
# they have it again, all blocks are given back, though nobody frees anything else.
#
# usage: release-fails.sh [ROUNDS]     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
parameters=/sys/module/rox_no_store/parameters

blocks() {
	echo "$(cache 'ROX blocks') $(cache 'RO blocks')"
}

insmod_once /lab/placement/rox_no_store.ko || fail 'cannot load rox_no_store'
settle
boot_caches
kept=0
for round in $(seq "${1:-3}"); do
	clones load 0 4x1900
	# Init text is freed, so that nothing else has to be done again.
	settle
	echo Y >$parameters/failing
	clones unload 0 "$round"
	sleep 1
	echo N >$parameters/failing
	[ "$(blocks)" = "$boot_blocks" ] || kept=$((kept + 1))
	settle
	[ "$(blocks)" = "$boot_blocks" ] || fail "$(blocks) blocks stay, and $boot_blocks were there"
done
[ "$kept" != 0 ] && [ "$(cat $parameters/failed)" != 0 ] ||
	fail "no block was kept, $(cat $parameters/failed) changes of trees failed"
pass "$kept times blocks were kept, $(cat $parameters/failed) changes of trees failed"
