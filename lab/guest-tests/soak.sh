#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# All that changes kernel page tables at once, and all that reads them: modules come and go by
# modprobe and by stress-ng, secret memory, BPF programs, kprobes, the function tracer, jump
# labels, the kernel's vmalloc tests, dumps of the page tables and the search for W+X, copies of
# the linear map for kexec, and perf, which samples page sizes. Then the guest is idle, and the
# linear map is as it was.
# Leaves the page tables of both times in /lab/out, as "boot" and "idle".
#
# usage: soak.sh [SECONDS]     needs lab-programs and lab-modules/kprobes of the kernel, by --add
. /lab/guest-lib.sh
plan 1
seconds=${1:-60}
tracing=/sys/kernel/tracing

# repeat WHAT COMMAND...: until the time is over. Rounds are short, and each leaves the CPUs
# to the others for a moment, so that no loop starves.
repeat() {
	what=$1 rounds=0
	shift
	while [ "$(now)" -lt "$end" ]; do
		"$@" || {
			echo "# $what fails in round $rounds"
			return 1
		}
		rounds=$((rounds + 1))
		usleep 100000
	done
	echo "# $what: $rounds rounds"
}

# come_and_go MODULE...: no two of these share a module, or one would find it in use.
come_and_go() {
	modprobe -a "$@" && rmmod "$@"
}

stress_ng() {
	stress-ng --quiet --module 1 --module-name test_module --module-ops 20
}

churn() {
	/lab/lab-programs/churn "$1" 10 >"/tmp/churn-$1" || {
		cat "/tmp/churn-$1"
		return 1
	}
}

kprobes() {
	run_module /lab/kprobes/kprobe_churn.ko count=32
}

# Some hundred functions of the kernel, and those of a module while it is there: in emulation,
# tracing all of them leaves no time for the others.
trace() {
	echo function >$tracing/current_tracer && echo nop >$tracing/current_tracer
}

# Scheduler statistics are behind a jump label of the kernel's text.
jump_labels() {
	echo 1 >$tracing/events/sched/enable && echo 0 >$tracing/events/sched/enable
}

# By fixed, random and aligned sizes; a long soak also makes ten thousands of areas at a time.
tests=$((1 + 8 + 16))
[ "$seconds" -lt 300 ] || tests=$((tests + 2 + 4))

dump() {
	cat /sys/kernel/debug/kernel_page_tables >/dev/null
}

search() {
	[ "$(cat /sys/kernel/debug/check_wx_pages)" = SUCCESS ]
}

meminfo() {
	grep -q '^DirectMap' /proc/meminfo
}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
# The debug kernel has no block layer.
file_systems='ext4 overlay'
modprobe -n -a $file_systems 2>/dev/null || file_systems=fuse
echo 'vm_*' >$tracing/set_ftrace_filter && echo ':mod:camellia_generic' >>$tracing/set_ftrace_filter ||
	fail 'the function tracer takes no filter'
kinds='bpf kexec perf'
! has_secretmem || kinds="secretmem $kinds"
# Each kind once, so that what stays for good is there.
for kind in $kinds; do
	churn $kind || fail "$kind, see above"
done
grep -q ' [1-9][0-9]* samples' /tmp/churn-perf || fail 'perf sees no page size of kernel threads'
kprobes || fail 'kprobes, see above'
stress_ng || fail "stress-ng's module stressor, see above"
trace && jump_labels || fail 'tracing does not work'
settle
save_tables boot

end=$(($(now) + seconds))
jobs=
# shellcheck disable=SC2086
repeat 'modules' come_and_go $file_systems camellia_generic & jobs="$jobs $!"
repeat 'more modules' come_and_go serpent_generic twofish_generic streebog_generic & jobs="$jobs $!"
repeat "stress-ng's module, 20" stress_ng & jobs="$jobs $!"
case $kinds in
secretmem*) repeat 'secret memory, 10' churn secretmem & jobs="$jobs $!" ;;
esac
repeat 'BPF programs, 10' churn bpf & jobs="$jobs $!"
repeat 'copies for kexec, 10' churn kexec & jobs="$jobs $!"
repeat 'samples of page sizes, 10' churn perf & jobs="$jobs $!"
repeat 'kprobes, 32' kprobes & jobs="$jobs $!"
repeat 'function tracer' trace & jobs="$jobs $!"
repeat 'jump labels' jump_labels & jobs="$jobs $!"
repeat 'dumps' dump & jobs="$jobs $!"
repeat 'searches for W+X' search & jobs="$jobs $!"
repeat 'readings of meminfo' meminfo & jobs="$jobs $!"
repeat 'vmalloc tests' test_vmalloc run_test_mask=$tests test_loop_count=2 & jobs="$jobs $!"
# shellcheck disable=SC2086
wait_for $jobs

# What the loops used is free, but what they pulled in is still there.
unload_unused || fail 'rmmod, see above'
settle
save_tables idle
grep "^direct_map" /lab/out/idle.vmstat
ktap_test_pass "$seconds s"
ktap_finished
