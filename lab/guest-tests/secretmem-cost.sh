#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What secret memory costs the kernel, on all CPUs and with all that it defers: 8 MiB of it over and
# over, without a pause, and with one in which the linear map becomes what it was, so that each turn
# splits it anew. There is no other work, which would only make the difference between kernels smaller.
# For a guest whose CPU counts instructions, by QEMU's -icount. Leaves "without N" and "with N", in
# thousands for each turn, in /lab/out/instructions.
#
# usage: secretmem-cost.sh [TURNS]     needs lab-programs of the kernel, by --add
. /lab/guest-lib.sh
plan 2
turns=${1:-30}

[ -x /lab/lab-programs/churn ] || fail 'no lab-programs/churn: was it built, and given with --add?'
/lab/lab-programs/churn secretmem-8m 2 >/dev/null || fail 'secret memory, see above'
for pause in 0 600; do
	/lab/lab-programs/churn secretmem-8m "$turns" $pause >/tmp/churn || fail "$(cat /tmp/churn)"
	count=$(sed -n 's/^churn: \([0-9]*\) thousand instructions.*/\1/p' /tmp/churn)
	[ -n "$count" ] || fail 'the CPU counts no instructions: was -icount given with --qemu?'
	[ $pause = 0 ] && name=without || name=with
	echo "$name $count" >>/lab/out/instructions
	ktap_test_pass "secret memory of 8 MiB, $pause ms between turns: $count thousand instructions each"
done
ktap_finished
