#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# While tasks of user space run alone on CPUs 2 and 3, modules are loaded and unloaded. When their text is
# cleaned, and the chunk that it was in collapses, in the quiet seconds after that, these CPUs get no
# function call.
#
# usage: nohz-full.sh [ROUNDS]     needs nohz_full=2-3, isolcpus=2-3 and four CPUs
. /lab/guest-lib.sh
plan 1
rounds=${1:-5}
modules='fuse camellia_generic serpent_generic twofish_generic'

# calls: how many function calls CPUs 2 and 3 have got by IPI.
calls() {
	awk '/Function call interrupts/ { print $4, $5 }' /proc/interrupts
}

# leaf: how the text of the module that stays is mapped: "PTE", or "PMD" for a block.
leaf() {
	awk -v address="$address" '/^0x/ && substr($1, 1, 18) <= address && substr($1, 20) > address {
		print $3
	}' /sys/kernel/debug/kernel_page_tables
}

[ "$(cat /sys/devices/system/cpu/nohz_full)" = 2-3 ] || fail 'nohz_full=2-3 is not in force'
# What boot has started before it knew of these CPUs, kcompactd for one, must not run there.
for task in /proc/[0-9]*; do
	taskset -p 3 "${task#/proc/}" >/dev/null 2>&1
done
for cpu in 2 3; do
	taskset -c $cpu sh -c 'while :; do :; done' &
done
# This stays loaded, so that its chunk is cleaned, and not released.
modprobe streebog_generic || fail 'modprobe, see above'
address=$(cat /sys/module/streebog_generic/sections/.text)
# shellcheck disable=SC2086
modprobe -a $modules && rmmod $modules || fail 'modprobe or rmmod, see above'

quiet=0
for attempt in $(seq 60); do
	was=$(calls)
	[ -n "$was" ] || fail 'no line of function calls in /proc/interrupts'
	sleep 1
	quiet=$((quiet + 1))
	[ "$(calls)" = "$was" ] || quiet=0
	[ $quiet -lt 5 ] || break
done
[ $quiet -ge 5 ] || fail 'CPUs 2 and 3 get function calls while nothing happens'

for round in $(seq "$rounds"); do
	# shellcheck disable=SC2086
	modprobe -a $modules && rmmod $modules || fail "round $round: modprobe or rmmod, see above"
	[ "$(calls)" != "$was" ] || fail "round $round: loads send no function call: are they counted?"
	# A dump of page tables changes a static branch, and that takes IPIs.
	split=$(leaf)
	before=$(calls) writable=$(cache 'ROX writable')
	sleep 4
	was=$(calls)
	cleaned=$(cache 'ROX writable') used=$(cache 'ROX used')
	collapsed=$(leaf)
	echo "# round $round: $writable kB to clean, $cleaned left, in a chunk with $used kB in use;" \
		"mapped by $split, then $collapsed; function calls $before, then $was"
	[ "$writable" -gt 0 ] && [ "$cleaned" = 0 ] && [ "$used" -gt 0 ] ||
		fail "round $round: nothing was cleaned in this time"
	[ "$split $collapsed" = 'PTE PMD' ] || fail "round $round: nothing has collapsed in this time"
	[ "$was" = "$before" ] || fail "round $round: CPUs 2 and 3 got function calls"
done
ktap_test_pass "$rounds times"
ktap_finished
