#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Modules come and go, one after the other and many at once; then the caches hold what they
# held, and the linear map is mapped as before.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

ROUNDS=100

setup
ktap_set_plan 5
steady
used=$(used)
linear_map=$(linear_map)

# loads NAME: load and unload a module again and again. Others may do so, too.
loads() {
	for round in $(seq $ROUNDS); do
		insmod "$(module "$1")" 2>/dev/null
		rmmod "$1" 2>/dev/null
	done
}

status=0
for round in $(seq $ROUNDS); do
	insmod "$(module test_execmem)" && is "$(address text)" ro x &&
		rmmod test_execmem || {
		status=1
		break
	}
done
result "$ROUNDS loads and unloads" $status

for loader in 1 2 3 4; do
	loads test_execmem &
	loads test_execmem_large &
done
status=0
while [ -n "$(jobs -r 2>/dev/null || jobs)" ]; do
	no_wx || status=1
	sleep 0.2
done
wait
cleanup
result "eight loaders at once, and never W+X memory" $status

stress="stress-ng --module"
if command -v stress-ng >/dev/null && [ -e "/lib/modules/$(uname -r)/modules.dep" ]; then
	stress-ng --module 2 --timeout 10 >/dev/null 2>&1 && no_wx
	result "$stress" $?
else
	ktap_test_skip "$stress: not installed, or the kernel has no modules"
fi

if [ -e $CACHE ]; then
	same_use "$used"
	result "the caches hold what they held" $?
	for attempt in $(seq 50); do
		[ "$(linear_map)" != "$linear_map" ] || break
		sleep 0.2
	done
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
