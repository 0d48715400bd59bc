#!/bin/sh
# Make and free secret memory, BPF programs and kprobes, thousands of each, and see that the
# linear map is as it was: leaves as large as at boot, no table page lost. Leaves in
# /lab/out, for "kpt healed", "kpt lost" and "kpt meminfo":
#
#   boot.dump boot.meminfo idle.dump idle.meminfo
#
# usage: churn.sh [COUNT]     needs lab-programs and lab-modules/kprobes of the kernel, by --add
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

# make KIND COUNT
make() {
	case $1 in
	kprobe)
		# It does its work at load, and refuses to stay.
		insmod /lab/kprobes/kprobe_churn.ko count="$2" 2>/dev/null
		dmesg | grep -q "kprobe_churn: $2 kprobes were set" ;;
	*) /lab/lab-programs/churn "$1" "$2" ;;
	esac
}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
# Each kind once, so that what stays for good is there.
for kind in secretmem bpf kprobe; do
	make $kind 16 || fail "$kind, see above"
done
stage boot
for kind in secretmem bpf kprobe; do
	make $kind "$count" || fail "$kind, see above"
	pass "$kind: $count times"
done
stage idle
