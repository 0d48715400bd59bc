#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load and unload modules as large as real ones at random, beside 20 that stay, which are loaded
# now and then in the first half. When all others are gone, the caches hold no more than the chunks
# that the 20 are in, and one of a kind. Modules that are loaded one after the other lie close: the
# 20 afresh, and then 1000 small ones, of which 900 are unloaded.
#
# usage: lingering.sh [STEPS [SEED]]     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 2
steps=${1:-10000} seed=${2:-1}

state() {
	echo "# $1: $(tr '\n\t' '  ' </sys/kernel/debug/execmem_cache)"
}

# hold KIND: how many kB a cache holds.
hold() {
	echo $(($(cache "$1 used") + $(cache "$1 free")))
}

# occupied: how much the chunks have that loaded clones are in, "TEXT RODATA" in kB.
occupied() {
	clones held | sed 's/.* hold \([0-9]*\) kB for text and \([0-9]*\) kB .*/\1 \2/'
}

# bounded WHEN: each cache holds what it held at boot, what is occupied, and one chunk.
bounded() {
	settle
	state "$1"
	held=$(occupied)
	[ "$(hold ROX)" -le $((${held% *} + boot_rox + 2048)) ] &&
		[ "$(hold RO)" -le $((${held#* } + boot_ro + 2048)) ] ||
		fail "$1: more than a chunk of a kind is held, apart from the $held kB that are occupied"
}

# packed WHEN: each cache holds what it has in use, and one chunk.
packed() {
	bounded "$1"
	for kind in ROX RO; do
		used=$(cache "$kind used")
		[ "$(hold $kind)" -le $(((used + 2047) / 2048 * 2048 + 2048)) ] ||
			fail "$1: the $kind cache holds $(hold $kind) kB, and $used kB are in use"
	done
}

# Unloads wait for grace periods.
echo 1 >/sys/kernel/rcu_expedited
boot_caches
boot_rox=$(hold ROX) boot_ro=$(hold RO)
save_tables boot
state boot

began=$(now)
clones churn "$steps" "$seed"
echo "# $(($(now) - began)) s"
bounded "20 are left of $steps"
left=$held
clones unload 0 "$seed"
drained 'all are unloaded'
clones load 1000 20xreal >/dev/null
packed 'the 20 loaded afresh'
ktap_test_pass "20 modules occupy $left kB of text and read-only data after $steps steps, $held kB afresh"
clones unload 0 "$seed"
drained 'all are unloaded'

clones load 0 1000x12 >/dev/null
packed '1000 small modules'
all=$held
clones unload 900 "$seed"
bounded '100 are left of 1000'
ktap_test_pass "100 modules occupy $held kB of the $all kB that 1000 have"
clones unload 0 "$seed"
drained 'all are unloaded'
settle
save_tables idle
ktap_finished
