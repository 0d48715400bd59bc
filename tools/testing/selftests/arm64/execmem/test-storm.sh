#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Modules come and go, one after the other and many at once; then the caches hold what they
# held, and the linear map is mapped as before.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

ROUNDS=50

setup
ktap_set_plan 5
work=$(mktemp -d)
trap 'cleanup; rm -rf "$work"' EXIT
steady
used=$(used)
linear_map=$(linear_map)

# loads NAME: load and unload a module again and again. Others do so, too, so that not each
# attempt succeeds.
loads() {
	for round in $(seq $ROUNDS); do
		insmod "$(module "$1")" 2>/dev/null && echo "$1" >>"$work/loaded"
		rmmod "$1" 2>/dev/null
	done
}

status=0
for round in $(seq $ROUNDS); do
	insmod "$(module test_execmem)" || status=1
	# To read the page tables of a large machine takes long.
	case $round in
	1 | $ROUNDS) is "$(address text)" ro x || status=1 ;;
	esac
	rmmod test_execmem || status=1
	[ $status = 0 ] || break
done
result "$ROUNDS loads and unloads" $status

: >"$work/loaded"
loaders=
for loader in 1 2 3 4; do
	loads test_execmem &
	loaders="$loaders $!"
	loads test_execmem_large &
	loaders="$loaders $!"
done
looks=0
for loader in $loaders; do
	while kill -0 "$loader" 2>/dev/null; do
		no_wx || status=1
		looks=$((looks + 1))
		sleep 0.1
	done
	wait "$loader"
done
for name in test_execmem test_execmem_large; do
	count=$(grep -cx $name "$work/loaded")
	ktap_print_msg "$name was loaded $count times, beside $looks looks for W+X memory"
	[ "$count" -gt 0 ] && [ "$looks" -gt 0 ] || status=1
done
cleanup
result "eight loaders at once, and never W+X memory" $status

# It takes modules that come with the kernel.
stress="stress-ng --module"
if stress-ng --module 2 --timeout 10 >/dev/null 2>&1; then
	no_wx
	result "$stress" $?
else
	ktap_test_skip "$stress: it is not installed, or finds no module"
fi

if [ -e $CACHE ]; then
	steady
	same_use "$used"
	result "the caches hold what they held" $?
	[ "$(linear_map)" = "$linear_map" ] || {
		ktap_print_msg "it was $(echo $linear_map), and is $(linear_map | xargs)"
		false
	}
	result "the linear map is mapped as before" $?
else
	ktap_test_skip "the caches hold what they held: no caches"
	ktap_test_skip "the linear map is mapped as before: no caches"
fi

ktap_finished
