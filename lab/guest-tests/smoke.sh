#!/bin/sh
# Does the guest work: kernel, command line, CPUs, debugfs, no W+X mapping.

fail() {
	echo "not ok - $*"
	exit 1
}

uname -a
cat /proc/cmdline
echo "online CPUs: $(cat /sys/devices/system/cpu/online)"
[ "$(cat /sys/devices/system/cpu/online)" = "$(cat /sys/devices/system/cpu/present)" ] ||
	fail "CPUs $(cat /sys/devices/system/cpu/present) are there, $(cat /sys/devices/system/cpu/online) are online"
wx=$(cat /sys/kernel/debug/check_wx_pages) ||
	fail 'no /sys/kernel/debug/check_wx_pages: is CONFIG_PTDUMP_DEBUGFS off?'
[ "$wx" = SUCCESS ] || fail "check_wx_pages says $wx"
[ -d "/lib/modules/$(uname -r)" ] || fail "no modules at /lib/modules/$(uname -r)"
echo 'ok 1 - smoke'
