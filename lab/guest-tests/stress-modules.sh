#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load and unload modules in two shells at a time, with stress-ng's module stressor beside
# them, while a third shell walks the kernel page tables.
#
# usage: stress-modules.sh [SECONDS]
. /lab/guest-lib.sh
plan 2

seconds=${1:-30}
end=$(($(now) + seconds))

before() {
	[ "$(now)" -lt "$end" ]
}

# churn MODULE...: no two churns share a module, or one of them would find it in use.
churn() {
	rounds=0
	while before; do
		modprobe -a "$@" || return 1
		rmmod "$@" || return 1
		rounds=$((rounds + 1))
	done
	echo "# $rounds rounds of $*"
}

walk() {
	rounds=0
	while before; do
		[ "$(cat /sys/kernel/debug/check_wx_pages)" = SUCCESS ] || return 1
		rounds=$((rounds + 1))
	done
	echo "# $rounds walks of the page tables"
}

jobs='' stressor=''
churn fuse camellia_generic & jobs="$jobs $!"
churn serpent_generic twofish_generic streebog_generic & jobs="$jobs $!"
walk & jobs="$jobs $!"
# modinfo of busybox does not say by its status that a module is missing.
if find "/lib/modules/$(uname -r)" -name test_module.ko | grep -q .; then
	stressor=1
	stress-ng --quiet --module 1 --module-name test_module --timeout "${seconds}s" & jobs="$jobs $!"
fi
# shellcheck disable=SC2086
wait_for $jobs
# What the loops used is free, but what they pulled in is still there.
unload_unused || fail 'rmmod, see above'
ktap_test_pass "$seconds s of module loads and unloads"
if [ -n "$stressor" ]; then
	ktap_test_pass "stress-ng's module stressor beside it"
else
	ktap_test_skip "stress-ng's module stressor: no test_module (CONFIG_TEST_LKM)"
fi
ktap_finished
