#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Do what changes executable memory, one kind after the other, with time in between for what each
# defers. For lab/count-operations; leaves in /lab/out:
#
#   done      "KIND TIMES", one line for each kind of operation
#
# usage: count-operations.sh TIMES     needs lab-programs of the kernel, by --add
. /lab/guest-lib.sh
plan 4
times=${1:-64}
tracing=/sys/kernel/tracing
rounds=3

[ -x /lab/lab-programs/bpf_hold ] || fail 'no lab-programs/bpf_hold: was it built, and given with --add?'
! modules_are_loaded || fail "modules are loaded already: $(cut -d' ' -f1 /proc/modules | xargs)"
echo >/proc/sys/kernel/modprobe || fail "cannot turn off the kernel's own modprobe"
quiet_wakeups

# The plugin counts from the first module on.
modprobe --show-depends ext4 | sed -n 's/^insmod //p' >/tmp/paths
[ -s /tmp/paths ] || fail 'modprobe --show-depends says nothing to load for ext4'
modules=$(wc -l </tmp/paths)
load() {
	names=
	while read -r path; do
		insmod_once "$path" || fail "insmod $path, see above"
		names="$(basename "$path" .ko | tr - _) $names"
	done </tmp/paths
	settle
}
unload() {
	for name in $names; do
		rmmod "$name" || fail "rmmod $name, see above"
	done
	settle
}
for round in $(seq $rounds); do
	load
	# The tracer is for the modules of the last round.
	[ "$round" = $rounds ] || unload
done
ktap_test_pass "$modules modules loaded in $rounds rounds"

echo ':mod:ext4' >$tracing/set_ftrace_filter || fail 'set_ftrace_filter'
traced=$(wc -l <$tracing/set_ftrace_filter)
[ "$traced" -gt 100 ] || fail "only $traced functions of ext4 can be traced"
for round in $(seq $rounds); do
	echo function >$tracing/current_tracer || fail 'the function tracer does not turn on'
	settle
	echo nop >$tracing/current_tracer || fail 'the function tracer does not turn off'
	settle
done
echo >$tracing/set_ftrace_filter
ktap_test_pass 'function tracer on and off'
echo "# The function tracer is for $traced functions of ext4."
unload

# Functions that are called now and then: what a probe costs them is not counted.
sed -n 's/^\(vfs_[a-z0-9_]*\)$/\1/p' $tracing/available_filter_functions | sort -u | head -n "$times" >/tmp/probed
[ "$(wc -l </tmp/probed)" = "$times" ] || fail "only $(wc -l </tmp/probed) functions vfs_*"
while read -r function; do
	echo "p:count_$function $function" >>$tracing/kprobe_events || fail "kprobe on $function"
done </tmp/probed
echo 1 >$tracing/events/kprobes/enable || fail 'kprobes do not turn on'
settle
echo 0 >$tracing/events/kprobes/enable || fail 'kprobes do not turn off'
echo >$tracing/kprobe_events || fail 'kprobes do not go away'
settle
ktap_test_pass "$times kprobes"

/lab/lab-programs/bpf_hold "$times" 4 || fail 'BPF programs, see above'
settle
ktap_test_pass "$times BPF programs"

cat >/lab/out/done <<END
load $((modules * rounds))
unload $((modules * rounds))
tracer-on $rounds
tracer-off $rounds
kprobe-set $times
kprobe-remove $times
bpf-load $times
bpf-free $times
END
ktap_finished
