#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Trace a module from its init function on: the filter names it before it is loaded.
#
# usage: tracer-from-init.sh [boot]     needs lab-modules/tracing, by --add
#
# boot: the command line has done so, by "ftrace=function ftrace_filter=vfs_statx,:mod:rox_traced".
. /lab/guest-lib.sh
plan 1
tracing=/sys/kernel/tracing

watch_text
for round in 1 2 3; do
	if [ "$round${1:-}" = 1boot ]; then
		[ "$(cat $tracing/current_tracer)" = function ] || fail 'boot has turned no function tracer on'
	else
		# A filter must have a function: an empty one is all functions. The name of a module is
		# forgotten when it is loaded.
		echo vfs_statx >$tracing/set_ftrace_filter &&
			echo ':mod:rox_traced' >>$tracing/set_ftrace_filter || fail 'set_ftrace_filter'
		echo function >$tracing/current_tracer || fail "round $round: the function tracer does not turn on"
	fi
	grep -q 'rox_traced' $tracing/set_ftrace_filter || fail "round $round: the filter does not name the module"
	echo >$tracing/trace
	insmod_once /lab/tracing/rox_traced.ko || fail "round $round: insmod, see above"
	cat $tracing/trace >/tmp/trace

	for name in init_module init_0 init_1 init_2 init_3 0 1 2 3 4 5 6 7; do
		[ $name = init_module ] || name=rox_traced_$name
		hits=$(grep -c " $name <-" /tmp/trace)
		[ "$hits" = 1 ] || {
			tail -n 40 /tmp/trace
			fail "round $round: $name is $hits times in the trace"
		}
	done
	are traced fresh "round $round, before init" rox_traced
	are traced sites "round $round, loaded" rox_traced
	echo nop >$tracing/current_tracer || fail "round $round: the function tracer does not turn off"
	are plain sites "round $round, off"
	text_is_same "round $round, off"
	rmmod rox_traced || fail "round $round: rmmod, see above"
done
ktap_test_pass "$round times, each function of rox_traced that was executed is in the trace once"
ktap_finished
