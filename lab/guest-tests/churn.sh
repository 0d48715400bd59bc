#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Make and free secret memory, BPF programs and kprobes, thousands of each, and see that the
# linear map is as it was: leaves as large as at boot, no table page lost. Leaves the page
# tables of both times in /lab/out, as "boot" and "idle".
#
# usage: churn.sh [COUNT]     needs lab-programs and lab-modules/kprobes of the kernel, by --add
. /lab/guest-lib.sh
plan 3
count=${1:-10000}

# make KIND COUNT
make() {
	case $1 in
	kprobe) run_module /lab/kprobes/kprobe_churn.ko count="$2" ;;
	*) /lab/lab-programs/churn "$1" "$2" ;;
	esac
}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
kinds='bpf kprobe'
if has_secretmem; then
	kinds="secretmem $kinds"
else
	ktap_test_skip 'secretmem: there is no memfd_secret()'
fi
# Each kind once, so that what stays for good is there.
for kind in $kinds; do
	make $kind 16 || fail "$kind, see above"
done
settle
save_tables boot
for kind in $kinds; do
	make $kind "$count" || fail "$kind, see above"
	ktap_test_pass "$kind: $count times"
done
settle
save_tables idle
ktap_finished
