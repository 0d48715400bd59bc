#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Jump into the text of a module that is no longer loaded: the kernel must stop at that very
# address, at once and later. The modules of lab/modules/freed_text come from the build of the kernel:
#
#   lab/guest --add out/kernel-4k/lab-modules/freed_text --expect-splat 'pc : 0x' lab/guest-tests/freed-text.sh
#
# usage: freed-text.sh [trap|unmapped]
#
# trap: the ROX cache keeps the range mapped. At first it is writable and not executable; a second or
# two later it is executable, and full of BRK instructions. unmapped: without the cache, the range is
# gone. With neither, any of the two passes.
. /lab/guest-lib.sh
plan 2
want=${1:-either}
control=/sys/kernel/debug/rox_freed_text
dir=/lab/freed_text
BRK=0xd4202000 # brk #0x100

# look: set "found" to what is at the address, as data: "trap", "data", or "unmapped".
look() {
	found=unmapped
	! echo "$address" >$control/peek || case $(cat $control/result) in
	"$BRK") found='trap' ;;
	*) found=data ;;
	esac
}

# jump WHAT: the call of the address must not come back. Leaves the kernel's report in "report".
jump() {
	lines=$(dmesg | wc -l)
	if echo "$address" >$control/jump; then
		fail "$1: the jump to freed text at $address came back with $(cat $control/result)"
	fi
	report=$(dmesg | tail -n +$((lines + 1)))
	echo "$report" | grep -q "pc : $address\$" || fail "$1: no Oops with pc $address, but: $report"
}

# reports WHAT OOPS
reports() {
	echo "$report" | grep -q "$2" || fail "$1: no '$2', but: $report"
}

# free_victim WHAT: load the victim, call it, and unload it; "address" is where it was.
free_victim() {
	insmod $dir/rox_victim.ko || fail "cannot load $dir/rox_victim.ko"
	address=0x$(awk '$3 == "rox_victim_answer" { print $1 }' /proc/kallsyms)
	echo "$address" >$control/jump || fail "$1: the call of loaded text at $address trapped"
	result=$(cat $control/result)
	[ "$result" = 0x726f7821 ] || fail "$1: rox_victim_answer() at $address returned $result"
	rmmod rox_victim || fail 'cannot unload rox_victim'
	look
}

# jump_to_freed WHAT: call what was freed, at once and when the cache has cleaned it; "how" is what the
# jump found.
jump_to_freed() {
	free_victim "$1"
	if [ "$found" = unmapped ]; then
		[ "$want" != trap ] || fail "$1: the freed text at $address is unmapped"
		jump "$1"
		reports "$1" 'Unable to handle kernel'
		how='trapped, as it was unmapped'
		return
	fi
	[ "$want" != unmapped ] || fail "$1: the freed text at $address is mapped: $found"

	# Where the cache cleans it before the jump, that tells nothing of the moment before.
	for attempt in 1 2 3 4 5; do
		[ "$found" != data ] || {
			jump "$1"
			! echo "$report" | grep -q 'Oops - BRK' || look
			[ "$found" != data ] || break
		}
		free_victim "$1"
	done
	reports "$1" 'Unable to handle kernel execute from non-executable memory'

	for attempt in $(seq 50); do
		[ "$(cache 'ROX writable')" != 0 ] || break
		usleep 100000
	done
	[ "$(cache 'ROX writable')" = 0 ] && [ "$(cache 'ROX used')" -gt 0 ] ||
		fail "$1: after five seconds the cache is not clean: $(tr '\n\t' '  ' </sys/kernel/debug/execmem_cache)"
	look
	[ "$found" = trap ] || fail "$1: after cleaning the freed text at $address is '$found'"
	jump "$1, cleaned"
	reports "$1, cleaned" 'Oops - BRK'
	how='found it not executable, and later a trap'
}

# This stays loaded, so that the chunk that the victim was in stays too.
insmod $dir/rox_freed_text.ko || fail "cannot load $dir/rox_freed_text.ko: was it built, and given with --add?"
jump_to_freed 'text freed once'
ktap_test_pass "text freed once: the jump to $address $how"
# Something else in the freed range, and then the victim where some text was before.
modprobe serpent_generic && rmmod serpent_generic || fail 'modprobe, see above'
seen=" $address " tries=0 reused=
while [ $tries -lt 8 ]; do
	jump_to_freed 'text freed again'
	case $seen in
	*" $address "*)
		reused=1
		break
		;;
	esac
	seen="$seen$address "
	tries=$((tries + 1))
done
[ -n "$reused" ] || [ "$want" = unmapped ] || fail "no range was used twice:$seen"
echo "# used before:$seen"
ktap_test_pass "text freed again: each of the jumps, the last to $address, $how"
ktap_finished
