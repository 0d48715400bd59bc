#!/bin/sh
# The kernel's vmalloc tests, on two CPUs at a time: huge mappings of vmalloc memory, and
# their release, beside each other. The module runs them at load, and refuses to stay.
#
# usage: vmalloc.sh [LOOPS]

insmod "/lib/modules/$(uname -r)/kernel/lib/test_vmalloc.ko" nr_threads=2 \
	test_repeat_count=1 test_loop_count="${1:-200}" 2>/dev/null
summary=$(dmesg | grep 'Summary: .* passed: ')
echo "$summary"
[ -n "$summary" ] || { echo 'not ok 1 - no summary: is CONFIG_TEST_VMALLOC off?'; exit 1; }
! echo "$summary" | grep -qv ' failed: 0 ' || { echo 'not ok 1 - failures, see above'; exit 1; }
wx=$(cat /sys/kernel/debug/check_wx_pages)
[ "$wx" = SUCCESS ] || { echo "not ok 1 - check_wx_pages says $wx"; exit 1; }
echo "ok 1 - $(echo "$summary" | wc -l) vmalloc tests"
