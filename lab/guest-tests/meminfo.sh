#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Leave /proc/meminfo of an idle guest in /lab/out/meminfo.
. /lab/guest-lib.sh
plan 1
sleep 2
cat /proc/meminfo >/lab/out/meminfo
ktap_test_pass "$(sed -n 's/^MemTotal: *//p' /lab/out/meminfo) of memory"
ktap_finished
