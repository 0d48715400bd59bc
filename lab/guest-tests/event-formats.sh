#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load every module, and leave the formats of all trace events in /lab/out/formats, without the
# numbers that events have. Kernels with the same modules must leave the same.
. /lab/guest-lib.sh
plan 1
events=/sys/kernel/tracing/events

modules=$(all_modules)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
# shellcheck disable=SC2086
modprobe -a $modules || fail 'modprobe, see above'

for format in "$events"/*/*/format; do
	echo "$format"
	grep -v '^ID: ' "$format" || fail "$format cannot be read"
done >/lab/out/formats
count=$(grep -c "^$events" /lab/out/formats)
modules=$(grep -c "^$events/\(xfs\|ext4\|btrfs\)/" /lab/out/formats)
[ "$modules" -ge 500 ] || fail "only $modules events of file systems that are modules"
ktap_test_pass "formats of $count trace events, $modules of them of xfs, ext4 and btrfs"
ktap_finished
