#!/bin/sh
# All that changes kernel page tables at once, and all that reads them: modules come and go,
# secret memory, BPF programs, kprobes, the function tracer, jump labels, the kernel's vmalloc
# tests, dumps of the page tables and the search for W+X. Then the guest is idle, and the
# linear map is as it was. Leaves in /lab/out what churn.sh leaves.
#
# usage: soak.sh [SECONDS]     needs lab-programs and lab-modules/kprobes of the kernel, by --add
seconds=${1:-60}
tracing=/sys/kernel/tracing

fail() {
	echo "not ok 1 - $*"
	exit 1
}

now() {
	cut -d. -f1 /proc/uptime
}

before() {
	[ "$(now)" -lt "$end" ]
}

has() {
	find "/lib/modules/$(uname -r)" -name "$1.ko" | grep -q .
}

# stage NAME: save how the linear map is mapped.
stage() {
	sleep 2
	cat /proc/meminfo >"/lab/out/$1.meminfo"
	cat /sys/kernel/debug/kernel_page_tables >"/lab/out/$1.dump"
}

# repeat WHAT COMMAND...: until the time is over.
repeat() {
	what=$1 rounds=0
	shift
	while before; do
		"$@" || {
			echo "# $what fails in round $rounds"
			return 1
		}
		rounds=$((rounds + 1))
	done
	echo "# $what: $rounds rounds"
}

# come_and_go MODULE...: no two of these share a module, or one would find it in use.
come_and_go() {
	modprobe -a "$@" && rmmod "$@"
}

trace() {
	echo function >$tracing/current_tracer && echo nop >$tracing/current_tracer
}

# Scheduler statistics are behind a jump label of the kernel's text.
jump_labels() {
	echo 1 >$tracing/events/sched/enable && echo 0 >$tracing/events/sched/enable
}

kprobes() {
	# It does its work at load, and refuses to stay.
	insmod /lab/kprobes/kprobe_churn.ko count=64 2>/dev/null
	dmesg | grep -q 'kprobe_churn: 64 kprobes were set'
}

vmalloc() {
	# It runs its tests at load, and refuses to stay.
	insmod "/lib/modules/$(uname -r)/kernel/lib/test_vmalloc.ko" nr_threads=2 \
		test_repeat_count=1 test_loop_count=20 2>/dev/null
	! dmesg | grep 'Summary: .* passed: ' | grep -qv ' failed: 0 '
}

# Those who read leave time for the others.
dump() {
	cat /sys/kernel/debug/kernel_page_tables >/dev/null && sleep 1
}

no_wx() {
	[ "$(cat /sys/kernel/debug/check_wx_pages)" = SUCCESS ] && sleep 1
}

meminfo() {
	grep -q '^DirectMap' /proc/meminfo && sleep 1
}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
# Each kind once, so that what stays for good is there.
end=$(($(now) + 1))
for kind in secretmem bpf; do
	/lab/lab-programs/churn $kind 10 || fail "$kind, see above"
done
kprobes || fail 'kprobes, see above'
trace && jump_labels || fail 'tracing does not work'
stage boot

end=$(($(now) + seconds))
jobs=
repeat 'modules' come_and_go ext4 loop camellia_generic & jobs="$jobs $!"
repeat 'more modules' come_and_go squashfs twofish_generic fuse & jobs="$jobs $!"
repeat 'secret memory, 50 times' /lab/lab-programs/churn secretmem 50 >/tmp/secretmem & jobs="$jobs $!"
repeat 'BPF programs, 50' /lab/lab-programs/churn bpf 50 >/tmp/bpf & jobs="$jobs $!"
repeat 'kprobes, 64' kprobes & jobs="$jobs $!"
repeat 'function tracer' trace & jobs="$jobs $!"
repeat 'jump labels' jump_labels & jobs="$jobs $!"
repeat 'dumps' dump & jobs="$jobs $!"
repeat 'searches for W+X' no_wx & jobs="$jobs $!"
repeat 'readings of meminfo' meminfo & jobs="$jobs $!"
! has test_vmalloc || { repeat 'vmalloc tests' vmalloc & jobs="$jobs $!"; }
failed=0
for job in $jobs; do
	wait "$job" || failed=$((failed + 1))
done
grep -h '^#' /tmp/secretmem /tmp/bpf
[ $failed = 0 ] || fail "$failed of the loops failed, see above"

# What the loops used is free, but what they pulled in is still there.
while [ -n "$(awk '$3 == 0' /proc/modules)" ]; do
	# shellcheck disable=SC2046
	rmmod $(awk '$3 == 0 { print $1 }' /proc/modules) || fail 'rmmod, see above'
done
stage idle
grep '^direct_map' /proc/vmstat
echo "ok 1 - $seconds s"
