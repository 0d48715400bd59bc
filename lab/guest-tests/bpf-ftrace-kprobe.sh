#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Use every kind of executable memory besides plain module text: kprobe slots, the function
# tracer in a module's text, the BPF JIT.
#
# usage: bpf-ftrace-kprobe.sh [FIRST-BPF-TEST LAST-BPF-TEST]
. /lab/guest-lib.sh
plan 4
tracing=/sys/kernel/tracing

[ -e $tracing/kprobe_events ] || fail "no $tracing/kprobe_events: is CONFIG_KPROBE_EVENTS off?"
grep -qw function $tracing/available_tracers || fail 'no function tracer: is CONFIG_FUNCTION_TRACER off?'
modprobe -a ext4 overlay || fail 'modprobe, see above'

# Functions of the kernel and of a module, so that the probes take more than one slot.
for function in vfs_read vfs_write vfs_open vfs_statx do_sys_openat2 ksys_read ksys_write \
	filp_close wake_up_process ext4:ext4_fill_super ext4:ext4_iget overlay:ovl_fill_super; do
	grep -q " ${function##*:}[[:space:]]*\(\[.*\]\)\{0,1\}\$" /proc/kallsyms || continue
	echo "p:probe_${function##*:} $function" >>$tracing/kprobe_events || fail "kprobe on $function"
done
probes=$(wc -l <$tracing/kprobe_events)
[ "$probes" -ge 8 ] || fail "only $probes kprobes were set"
echo 1 >$tracing/events/kprobes/enable || fail 'kprobes do not turn on'
cat /proc/self/stat /proc/uptime >/dev/null
hits=$(awk '{ sum += $2 } END { print sum + 0 }' $tracing/kprobe_profile)
echo 0 >$tracing/events/kprobes/enable || fail 'kprobes do not turn off'
[ "$hits" -gt 0 ] || fail 'no kprobe was hit'
ktap_test_pass "$probes kprobes, $hits hits"
echo >$tracing/kprobe_events || fail 'kprobes do not go away'

for times in 1 2 3; do
	echo ':mod:ext4' >$tracing/set_ftrace_filter || fail 'set_ftrace_filter'
	traced=$(wc -l <$tracing/set_ftrace_filter)
	[ "$traced" -gt 100 ] || fail "only $traced functions of ext4 can be traced"
	echo function >$tracing/current_tracer || fail "the function tracer does not turn on, time $times"
	echo nop >$tracing/current_tracer || fail "the function tracer does not turn off, time $times"
	echo >$tracing/set_ftrace_filter
done
ktap_test_pass "function tracer on and off three times over $traced functions of ext4"
rmmod overlay ext4 || fail 'rmmod, see above'

modprobe test_bpf ${2:+test_suite=test_bpf test_range="$1,$2"} ||
	fail "test_bpf: $(dmesg | grep 'test_bpf:.*FAIL' | head -n 3)"
summary=$(dmesg | grep 'test_bpf: .*Summary:')
echo "$summary"
[ -n "$summary" ] || fail 'test_bpf printed no summary'
! echo "$summary" | grep -qv ' 0 FAILED' || fail 'test_bpf has failures'
! echo "$summary" | grep -q "\[0/" || fail 'test_bpf did not use the JIT'
rmmod test_bpf || fail 'rmmod test_bpf'
ktap_test_pass 'test_bpf'

sleep 2
no_wx idle
ktap_test_pass 'no W+X mapping'
ktap_finished
