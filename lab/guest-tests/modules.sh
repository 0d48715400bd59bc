#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load every module, then unload all of them; the page tables must be in order at each
# stage. The first round leaves in /lab/out the page tables of each, as "boot", "loaded" and
# "unloaded", saved when nothing has changed for two seconds; and what save_text does, loaded.
#
# usage: modules.sh [ROUNDS]
. /lab/guest-lib.sh

# stage NAME: save the page tables (in the first round) and look for W+X mappings.
stage() {
	settle
	[ $round != 1 ] || save_tables "$1"
	# With rodata=off the kernel's own text is W+X, as was asked for.
	! grep -q 'rodata=off' /proc/cmdline || return 0
	no_wx "round $round, $1"
}

rounds=${1:-1} round=1
plan $((2 * rounds))
modules=$(all_modules)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
! modules_are_loaded || fail "modules are loaded already: $(cut -d' ' -f1 /proc/modules | xargs)"

while [ $round -le "$rounds" ]; do
	[ $round != 1 ] || stage boot

	# shellcheck disable=SC2086
	modprobe -a $modules || fail "round $round: modprobe, see above"
	missing=$(echo "$modules" | tr - _ | while read -r name; do
		[ -d "/sys/module/$name" ] || echo "$name"
	done)
	[ -z "$missing" ] || fail "round $round: not there after modprobe: $missing"
	count=$(wc -l </proc/modules)
	bytes=$(awk '{ sum += $2 } END { print sum }' /proc/modules)
	[ $round != 1 ] || save_text
	stage loaded
	ktap_test_pass "round $round: $count modules loaded, $bytes bytes in /proc/modules"

	unload_unused || fail "round $round: rmmod, see above"
	! modules_are_loaded ||
		fail "round $round: $(wc -l </proc/modules) modules stay loaded: $(cut -d' ' -f1,3,4 /proc/modules | xargs)"
	stage unloaded
	ktap_test_pass "round $round: all unloaded, 0 stayed"
	round=$((round + 1))
done
ktap_finished
