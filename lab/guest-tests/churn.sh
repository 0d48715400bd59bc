#!/bin/sh
# Make and free secret memory, BPF programs and kprobes, thousands of each, and see that the
# linear map is as it was: leaves as large as at boot, no table page left. Leaves in
# /lab/out, for "kpt healed" and "kpt meminfo":
#
#   boot.dump boot.meminfo idle.dump idle.meminfo
#
# usage: churn.sh [COUNT]     needs lab-programs/churn of the kernel, by --add
count=${1:-10000}
number=0

fail() {
	echo "not ok $((number + 1)) - $*"
	exit 1
}

pass() {
	number=$((number + 1))
	echo "ok $number - $*"
}

# stage NAME: save how the linear map is mapped.
stage() {
	sleep 1
	cat /proc/meminfo >"/lab/out/$1.meminfo"
	cat /sys/kernel/debug/kernel_page_tables >"/lab/out/$1.dump"
}

# tables: how much memory page tables take, in kB. The kernel's own are among them.
tables() {
	awk '/^PageTables:/ { print $2 }' /proc/meminfo
}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
# Each kind once, so that what stays for good is there.
for kind in secretmem bpf kprobe; do
	/lab/lab-programs/churn $kind 10 || fail "$kind, see above"
done
stage boot
before=$(tables)
for kind in secretmem bpf kprobe; do
	/lab/lab-programs/churn $kind "$count" || fail "$kind, see above"
	pass "$kind: $count times"
done
stage idle
after=$(tables)
# The shell's own tables come and go: a page or two.
[ "$after" -le $((before + 16)) ] || fail "page tables take $after kB, and took $before kB"
pass "page tables take $after kB, and took $before kB"
