#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Text of a module is patched while it is executable: by kprobes, and by the function tracer.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

TRACING=/sys/kernel/tracing

setup
ktap_set_plan 3
[ -e $TRACING/events ] || mount -t tracefs none $TRACING 2>/dev/null
insmod "$(module test_execmem)" || ktap_exit_fail_msg "test_execmem cannot be loaded"

# hits WHAT: how often the trace has it when test_execmem_call() was called.
hits() {
	echo >$TRACING/trace
	echo 1 >$PARAMETERS/call
	grep -c "$1" $TRACING/trace
}

kprobe="a kprobe on text of a module is hit"
if [ -e $TRACING/kprobe_events ]; then
	echo 'p:test_execmem/hit test_execmem:test_execmem_call' >>$TRACING/kprobe_events &&
		echo 1 >$TRACING/events/test_execmem/hit/enable &&
		[ "$(hits 'hit: (test_execmem_call')" = 1 ] &&
		is "$(address text)" ro x
	result "$kprobe" $?
	echo 0 >$TRACING/events/test_execmem/hit/enable
	echo '-:test_execmem/hit' >>$TRACING/kprobe_events
else
	ktap_test_skip "$kprobe: no CONFIG_KPROBE_EVENTS"
fi

tracer="the function tracer traces a module"
if grep -qw function $TRACING/available_tracers 2>/dev/null; then
	echo ':mod:test_execmem' >$TRACING/set_ftrace_filter &&
		echo function >$TRACING/current_tracer &&
		[ "$(hits 'test_execmem_call ')" = 1 ] &&
		is "$(address text)" ro x
	result "$tracer" $?
	echo nop >$TRACING/current_tracer
	echo >$TRACING/set_ftrace_filter
else
	ktap_test_skip "$tracer: no CONFIG_FUNCTION_TRACER"
fi

[ "$(hits test_execmem_call)" = 0 ] && no_wx
result "without both, text is as before" $?

ktap_finished
