#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load a live patch for a function of a module that is not there. When that module is loaded the function
# is patched from its first call on; when the patch goes it is as the module has it.
#
# usage: livepatch-later.sh [ROUNDS]     needs lab-modules/tracing of a kernel with live patches, by --add
. /lab/guest-lib.sh
plan 1
patch=/sys/kernel/livepatch/rox_klp
answer=/sys/module/rox_traced/parameters/answer

# settled: wait until all tasks use the patch, or none.
settled() {
	patch_settles $patch 300 || fail "round $round: some task uses the wrong function after half a minute"
}

# answers WHAT WHEN
answers() {
	[ "$(cat $answer)" = "$1" ] || fail "round $round, $2: the function is not the $1 one, but $(cat $answer)"
}

[ -e /lab/tracing/rox_klp.ko ] || fail 'no rox_klp.ko: is CONFIG_LIVEPATCH off?'
watch_text
for round in $(seq "${1:-5}"); do
	insmod_once /lab/tracing/rox_klp.ko || fail "round $round: cannot load the patch, see above"
	settled
	insmod_once /lab/tracing/rox_traced.ko || fail "round $round: insmod, see above"
	answers patched 'loaded'
	[ "$(cat $patch/rox_traced/patched)" = 1 ] || fail "round $round: the module is not patched"
	# That function calls the patch, no other calls anything, and text is otherwise as it was.
	grep '^rox_traced ' $text/fresh >/tmp/fresh
	awk '$4 != 1 || $3 + $4 != $2 { exit 1 }' /tmp/fresh ||
		fail "round $round: not one function is patched before init: $(cat /tmp/fresh)"
	echo 1 >/sys/module/rox_traced/parameters/call || fail "round $round: rox_traced, see the log"

	# Where the module goes first, it is patched again when it comes again.
	rmmod rox_traced && insmod_once /lab/tracing/rox_traced.ko || fail "round $round: see above"
	answers patched 'loaded again'

	echo 0 >$patch/enabled || fail "round $round: the patch does not turn off"
	settled
	answers original 'without the patch'
	are plain sites "round $round, without the patch"
	text_is_same "round $round, without the patch"
	patch_goes $patch
	rmmod rox_klp rox_traced || fail "round $round: rmmod, see above"
done
ktap_test_pass "$round times"
ktap_finished
