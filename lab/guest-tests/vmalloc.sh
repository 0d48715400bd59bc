#!/bin/sh
# The kernel's vmalloc tests, on two CPUs at a time: huge mappings of vmalloc memory, and
# their release, beside each other. The module runs them at load, and refuses to stay.
#
# usage: vmalloc.sh [LOOPS]
. /lab/guest-lib.sh

run_module "/lib/modules/$(uname -r)/kernel/lib/test_vmalloc.ko" nr_threads=2 \
	test_repeat_count=1 test_loop_count="${1:-200}" || fail 'see above: is CONFIG_TEST_VMALLOC off?'
summary=$(dmesg | grep 'Summary: .* passed: ')
echo "$summary"
[ -n "$summary" ] || fail 'no summary'
! echo "$summary" | grep -qv ' failed: 0 ' || fail 'failures, see above'
no_wx idle
pass "$(echo "$summary" | wc -l) vmalloc tests"
