#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unload modules that fill a chunk each while workers have no memory for the caches' trees. When
# they have it again, all chunks are given back, though nobody frees anything else.
#
# usage: release-fails.sh [ROUNDS]     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 1
parameters=/sys/module/rox_no_store/parameters

all_chunks() {
	echo "$(chunks ROX) $(chunks RO)"
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
	[ "$(all_chunks)" = "$boot_chunks" ] || kept=$((kept + 1))
	settle
	[ "$(all_chunks)" = "$boot_chunks" ] || fail "$(all_chunks) chunks stay, and $boot_chunks were there"
done
[ "$kept" != 0 ] && [ "$(cat $parameters/failed)" != 0 ] ||
	fail "no chunk was kept, $(cat $parameters/failed) changes of trees failed"
ktap_test_pass "$kept times chunks were kept, $(cat $parameters/failed) changes of trees failed"
ktap_finished
