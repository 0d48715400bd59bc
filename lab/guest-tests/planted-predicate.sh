#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Turn the function tracer on for a live module while module_text_is_writable() is asked, and says that
# live text can be written: the kernel must say so. Without the lie the tracer works.
#
# usage: planted-predicate.sh lie|truth     needs lab-modules/tracing, by --add; lie:
#                                           lab/guest --expect-splat 'write to read-only memory'
. /lab/guest-lib.sh
plan 1
tracing=/sys/kernel/tracing
predicate=/sys/module/rox_predicate/parameters

watch_text
insmod_once /lab/tracing/rox_traced.ko && insmod_once /lab/tracing/rox_predicate.ko || fail 'insmod, see above'
echo ':mod:rox_traced' >$tracing/set_ftrace_filter || fail 'set_ftrace_filter'
before=$(cat $predicate/asked)
[ "$1" = truth ] || echo Y >$predicate/lie
# What dies holds locks of the tracer, which its exit waits for, so that nobody can wait for it.
(
	state=on
	echo function >$tracing/current_tracer || state=off
	echo $state >/tmp/state
) &
for attempt in $(seq 100); do
	[ ! -e /tmp/state ] && ! dmesg | grep -q 'end trace' || break
	usleep 100000
done
echo N >$predicate/lie
asked=$(($(cat $predicate/asked) - before))
[ $asked -gt 0 ] || fail 'nobody has asked whether text is writable'
case $1 in
lie)
	[ ! -e /tmp/state ] || fail "who writes to text lives, and the tracer is $(cat /tmp/state), after $asked questions"
	dmesg | grep 'Unable to handle kernel write to read-only memory' || fail 'the kernel says nothing of it'
	# The store that faulted has changed nothing.
	are plain sites 'after the fault'
	text_is_same 'after the fault'
	ktap_test_pass "the writer died after $asked questions"
	;;
truth)
	[ "$(cat /tmp/state)" = on ] || fail 'the function tracer does not turn on'
	are traced sites 'on' rox_traced
	echo nop >$tracing/current_tracer || fail 'the function tracer does not turn off'
	are plain sites 'off'
	text_is_same 'off'
	ktap_test_pass "on and off after $asked questions, without a word"
	;;
*) fail "'$1' is neither lie nor truth" ;;
esac
ktap_finished
