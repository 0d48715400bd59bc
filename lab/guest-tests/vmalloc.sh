#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The kernel's vmalloc tests, on two CPUs at a time: huge mappings of vmalloc memory, and
# their release, beside each other. The module runs them at load, and refuses to stay.
#
# usage: vmalloc.sh [LOOPS]
. /lab/guest-lib.sh
plan 1

test_vmalloc test_loop_count="${1:-200}" || fail 'failures, or is CONFIG_TEST_VMALLOC off? See above'
summary=$(dmesg | grep 'Summary: .* passed: ')
echo "$summary"
[ -n "$summary" ] || fail 'no summary'
no_wx idle
ktap_test_pass "$(echo "$summary" | wc -l) vmalloc tests"
ktap_finished
