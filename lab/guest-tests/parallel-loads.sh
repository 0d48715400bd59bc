#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load small modules all at once into empty caches, a third of which fail in their init function.
# The caches take no more chunks for it than the bytes need and one more of a kind; what they have
# in use is what the loaded modules have; and when all are unloaded nothing.
#
# usage: parallel-loads.sh [WAVES [LOADERS [KIB]]]     needs lab-programs and
#                                                      lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 1
waves=${1:-20} loaders=${2:-64} size=${3:-20}
tracing=/sys/kernel/tracing

# used_since_boot: how much more the caches have in use than at boot, "TEXT RODATA" in kB.
used_since_boot() {
	echo "$(($(cache 'ROX used') - ${boot_used% *})) $(($(cache 'RO used') - ${boot_used#* }))"
}

# in_use TEXT RODATA: wait until that is in use; init text is freed after a grace period.
in_use() {
	for attempt in $(seq 50); do
		[ "$(used_since_boot)" != "$1 $2" ] || return 0
		usleep 100000
	done
	fail "in use is $(used_since_boot) kB more than at boot, of text and read-only data, and not $1 $2"
}

# need KB: how many chunks that takes.
need() {
	echo $((($1 + 2047) / 2048))
}

# Unloads wait for grace periods.
echo 1 >/sys/kernel/rcu_expedited
boot_caches
# Each module and its init text alone: what it takes.
clones load 0 "1x$size"
settle
one=$(used_since_boot)
text=${one% *} rodata=${one#* }
[ "$text" -ge "$size" ] && [ "$rodata" -gt 0 ] || fail "one module has $one kB in use"
clones unload 0 1
drained 'one module'

# What is allocated for chunks: areas of at least a chunk at a multiple of one.
event=/sys/kernel/tracing/events/vmalloc/alloc_vmap_area
echo 'size >= 2097152 && align >= 2097152 && failed == 0' >$event/filter ||
	fail 'cannot trace alloc_vmap_area'
loaded=$((loaders - loaders / 3))
# With init text and data of all of them.
needed=$(($(need $((loaders * (text + 12)))) + $(need $((loaders * (rodata + 4))))))
most=0
for wave in $(seq "$waves"); do
	echo >/sys/kernel/tracing/trace
	echo 1 >$event/enable
	clones wave "$loaders" "$size" >/tmp/wave
	echo 0 >$event/enable
	in_use $((loaded * text)) $((loaded * rodata))
	held=$(($(chunks ROX) + $(chunks RO) - ${boot_chunks% *} - ${boot_chunks#* }))
	made=$(grep -c alloc_vmap_area: /sys/kernel/tracing/trace)
	echo "# wave $wave: $made chunks made, $held held, $needed needed"
	[ "$made" -le "$most" ] || most=$made
	[ "$held" -le $((needed + 2)) ] || fail "wave $wave: $held chunks held"
	clones unload 0 "$wave" >/tmp/wave
	drained "wave $wave"
done
[ "$most" -le $((needed + 2)) ] || fail "$most chunks made where $needed are needed"
[ "$most" -ge 2 ] || fail 'no chunks made: does the event not see them?'
ktap_test_pass "$waves waves of $loaders loaders: at most $most chunks made, $needed needed"
ktap_finished
