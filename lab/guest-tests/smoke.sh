#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Does the guest work: kernel, command line, CPUs, debugfs, no W+X mapping.
. /lab/guest-lib.sh
plan 1

uname -a
cat /proc/cmdline
echo "online CPUs: $(cat /sys/devices/system/cpu/online)"
[ "$(cat /sys/devices/system/cpu/online)" = "$(cat /sys/devices/system/cpu/present)" ] ||
	fail "CPUs $(cat /sys/devices/system/cpu/present) are there, $(cat /sys/devices/system/cpu/online) are online"
no_wx idle
[ -d "/lib/modules/$(uname -r)" ] || fail "no modules at /lib/modules/$(uname -r)"
ktap_test_pass smoke
ktap_finished
