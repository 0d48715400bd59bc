#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Dump the page tables over and over while all modules are loaded and unloaded, and list
# each time where the linear alias of what the ROX cache holds is. Leaves in /lab/out, for
# "kpt aliases" and "kpt check-wx":
#
#   sample-N/dump      /sys/kernel/debug/kernel_page_tables
#   sample-N/aliases   the aliases of what was in the cache throughout that dump
#
# The module that knows the aliases comes from the build of the kernel:
#
#   lab/guest --add out/kernel-4k/lab-modules/permissions --out DIR lab/guest-tests/sample-tables.sh
#
# usage: sample-tables.sh [ROUNDS [STEP]]     keeps each STEPth sample
. /lab/guest-lib.sh
plan 1
rounds=${1:-3}
step=${2:-4}
cached=/sys/kernel/debug/rox_cached
module=/lab/permissions/rox_cached.ko

modules=$(all_modules)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"

churn() {
	round=1
	while [ "$round" -le "$rounds" ]; do
		# shellcheck disable=SC2086
		modprobe -a $modules || return 1
		unload_unused rox_cached || return 1
		[ "$(wc -l </proc/modules)" = 1 ] || return 1
		# The last chunks leave the cache a second later.
		sleep 2
		round=$((round + 1))
	done
}

[ -e $module ] || fail "no $module: was it built, and given with --add?"
insmod $module || fail 'cannot load rox_cached, see above'
churn &
churn=$!

samples=0 kept=0 changed=0
while kill -0 $churn 2>/dev/null; do
	released=$(cat $cached/released)
	cat $cached/aliases >/tmp/aliases
	cat /sys/kernel/debug/kernel_page_tables >/tmp/dump
	[ "$released" = "$(cat $cached/released)" ] || released=changed

	# What the list itself says is exact, whatever has changed since.
	! grep -v ' ro$' /tmp/aliases || fail 'an alias of cached memory is not read-only, see above'
	no_wx "sample $samples"
	samples=$((samples + 1))
	if [ "$released" = changed ]; then
		changed=$((changed + 1))
	elif [ $((samples % step)) = 0 ]; then
		kept=$((kept + 1))
		dir=/lab/out/sample-$(printf %03d $kept)
		mkdir "$dir"
		mv /tmp/aliases /tmp/dump "$dir"
	fi
done
wait $churn || fail "modules do not load, or do not unload: $(cut -d' ' -f1,3,4 /proc/modules | xargs)"
rmmod rox_cached || fail 'rmmod rox_cached'
echo "# $samples samples; in $changed a chunk left the cache meanwhile; $kept kept"
[ $kept -ge 10 ] || fail "only $kept samples to look at"
ktap_test_pass "$rounds times all modules loaded and unloaded, $samples samples of the page tables"
ktap_finished
