#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Set kprobes on all functions of a module that is not loaded yet, in its init text too: each is hit when
# the module is loaded, and text is what it was when they are gone.
#
# usage: kprobe-init.sh [ROUNDS]     needs lab-modules/tracing, by --add
. /lab/guest-lib.sh
plan 1
tracing=/sys/kernel/tracing
functions='init_module init_0 init_1 init_2 init_3 0 1 2 3 4 5 6 7'

# symbol NAME: that of the function; what init_module() is in the source has this name alone.
symbol() {
	case $1 in
	init_module) echo "$1" ;;
	*) echo "rox_traced_$1" ;;
	esac
}

# hits NAME: how often that probe was hit; none must have been missed.
hits() {
	awk -v name="at_$1" '$1 == name { print $2 ($3 ? " and missed " $3 : "") }' $tracing/kprobe_profile
}

# are_hit WHEN CORE INIT: so often.
are_hit() {
	for name in $functions; do
		expected=$2
		case $name in init*) expected=$3 ;; esac
		[ "$(hits $name)" = "$expected" ] ||
			fail "$1: the probe of $(symbol "$name") was hit $(hits $name) times, and not $expected"
		[ "$(grep -c " at_$name: " $tracing/trace)" = "$expected" ] ||
			fail "$1: the probe of $(symbol "$name") is not $expected times in the trace"
	done
}

[ -e $tracing/kprobe_events ] || fail "no $tracing/kprobe_events: is CONFIG_KPROBE_EVENTS off?"
watch_text
for round in $(seq "${1:-3}"); do
	echo >$tracing/trace
	for name in $functions; do
		echo "p:at_$name rox_traced:$(symbol "$name")" >>$tracing/kprobe_events ||
			fail "round $round: no kprobe on $(symbol "$name") before the module is there"
	done
	echo 1 >$tracing/events/kprobes/enable || fail "round $round: kprobes do not turn on"
	insmod_once /lab/tracing/rox_traced.ko || fail "round $round: insmod, see above"
	are_hit "round $round, loaded" 1 1
	are plain fresh "round $round, before init" rox_traced
	# They are in text: where the first is, it is a BRK.
	grep 'rox_traced .*is d42000[0-9a-f]*,' $text/changed || {
		cat $text/changed
		fail "round $round: no kprobe changes text"
	}
	echo 1 >/sys/module/rox_traced/parameters/call || fail "round $round: rox_traced, see the log"
	are_hit "round $round, called" 2 1

	echo 0 >$tracing/events/kprobes/enable || fail "round $round: kprobes do not turn off"
	are plain sites "round $round, kprobes off"
	text_is_same "round $round, kprobes off"
	echo 1 >/sys/module/rox_traced/parameters/call || fail "round $round: rox_traced, see the log"
	are_hit "round $round, kprobes off" 2 1
	echo >$tracing/kprobe_events || fail "round $round: kprobes do not go away"
	text_is_same "round $round, without kprobes"
	rmmod rox_traced || fail "round $round: rmmod, see above"
done
ktap_test_pass "$round times, kprobes of $(echo "$functions" | wc -w) functions, each hit from the load on"
ktap_finished
