#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load every module with finit_module(), one after the other, then unload all of them with
# delete_module() in the opposite order. For lab/count-modules; leaves in /lab/out:
#
#   order     "load MODULE" and "unload MODULE", one line for each system call
#
# Modules that want others when they start do not get them by a modprobe of the kernel's: each
# is loaded in its turn, and every kernel does the same work. After each there is time for what
# it has deferred, so that it does not depend on the clock what the next one finds.
. /lab/guest-lib.sh
plan 2

modules=$(all_modules)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
! modules_are_loaded || fail "modules are loaded already: $(cut -d' ' -f1 /proc/modules | xargs)"
echo >/proc/sys/kernel/modprobe || fail "cannot turn off the kernel's own modprobe"

quiet_wakeups

# What modprobe would load, what others need before them.
# shellcheck disable=SC2086
modprobe --show-depends -a $modules >/tmp/depends || fail "modprobe --show-depends, see above"
awk '$1 == "insmod" && !seen[$2]++ { print $2 }' /tmp/depends >/tmp/paths
[ -s /tmp/paths ] || fail "modprobe --show-depends says nothing to load"

: >/lab/out/order
while read -r path; do
	insmod "$path" || fail "insmod $path, see above"
	name=$(basename "$path" .ko | tr - _)
	echo "load $name" >>/lab/out/order
	names="$name $names"
	usleep 20000
done </tmp/paths
count=$(wc -l </proc/modules)
[ "$count" = "$(wc -l </tmp/paths)" ] ||
	fail "$count modules are loaded, of $(wc -l </tmp/paths)"
ktap_test_pass "$count modules loaded, one after the other"

sleep 2
for name in $names; do
	rmmod "$name" || fail "rmmod $name, see above"
	echo "unload $name" >>/lab/out/order
	usleep 20000
done
! modules_are_loaded ||
	fail "$(wc -l </proc/modules) modules stay loaded: $(cut -d' ' -f1,3,4 /proc/modules | xargs)"
settle
ktap_test_pass "all unloaded, 0 stayed"
ktap_finished
