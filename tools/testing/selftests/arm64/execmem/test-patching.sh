#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Text of a module is patched while it is executable: by kprobes, and by the function tracer.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

setup
ktap_set_plan 3
[ -d $TRACING/instances ] || mount -t tracefs none $TRACING 2>/dev/null
mkdir $INSTANCE 2>/dev/null
insmod "$(module test_execmem)" || ktap_exit_fail_msg "test_execmem cannot be loaded"

# hits WHAT: how often the trace has it when test_execmem_call() was called.
hits() {
	echo >$INSTANCE/trace
	echo 1 >$PARAMETERS/call
	grep -c "$1" $INSTANCE/trace
}

kprobe="a kprobe on text of a module is hit"
if [ -e $INSTANCE/events ] && [ -e $TRACING/kprobe_events ]; then
	echo 'p:test_execmem/hit test_execmem:test_execmem_call' >>$TRACING/kprobe_events &&
		echo 1 >$INSTANCE/events/test_execmem/hit/enable &&
		[ "$(hits 'hit: (test_execmem_call')" = 1 ] &&
		is "$(address text)" ro x
	result "$kprobe" $?
	echo 0 >$INSTANCE/events/test_execmem/hit/enable
	echo '-:test_execmem/hit' >>$TRACING/kprobe_events
else
	ktap_test_skip "$kprobe: no CONFIG_KPROBE_EVENTS"
fi

tracer="the function tracer traces a module"
if grep -qsw function $INSTANCE/available_tracers; then
	echo ':mod:test_execmem' >$INSTANCE/set_ftrace_filter &&
		echo function >$INSTANCE/current_tracer &&
		[ "$(hits 'test_execmem_call ')" = 1 ] &&
		is "$(address text)" ro x
	result "$tracer" $?
	echo nop >$INSTANCE/current_tracer
else
	ktap_test_skip "$tracer: no CONFIG_FUNCTION_TRACER"
fi

same="without both, the text works as before"
if [ -d $INSTANCE ]; then
	[ "$(hits test_execmem_call)" = 0 ] && no_wx
	result "$same" $?
else
	ktap_test_skip "$same: no tracefs"
fi

ktap_finished
