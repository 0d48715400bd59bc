#!/bin/sh
# Jump into the text of a module that is no longer loaded: the kernel must trap at that
# very address. The modules of lab/modules/freed_text come from the build of the kernel:
#
#   lab/guest --add out/kernel-4k/lab-modules/freed_text --expect-splat 'pc : 0x' lab/guest-tests/freed-text.sh
#
# usage: freed-text.sh [trap|unmapped]
#
# trap: the ROX cache keeps the range mapped, full of BRK instructions. unmapped: without
# the cache, the range is gone. With neither, any of the two passes.
. /lab/guest-lib.sh
want=${1:-either}
control=/sys/kernel/debug/rox_freed_text
dir=/lab/freed_text
BRK=0xd4202000 # brk #0x100

# jump_to_freed WHAT: load the victim, call it, unload it, call it again.
jump_to_freed() {
	insmod $dir/rox_victim.ko || fail "cannot load $dir/rox_victim.ko"
	address=0x$(awk '$3 == "rox_victim_answer" { print $1 }' /proc/kallsyms)
	echo "$address" >$control/jump || fail "$1: the call of loaded text at $address trapped"
	result=$(cat $control/result)
	[ "$result" = 0x726f7821 ] || fail "$1: rox_victim_answer() at $address returned $result"
	rmmod rox_victim || fail 'cannot unload rox_victim'

	# What is there now, as data.
	if echo "$address" >$control/peek; then
		found=$(cat $control/result)
		[ "$found" = $BRK ] || fail "$1: $address has $found, not the trap $BRK"
		found='trap'
	else
		found=unmapped
	fi
	[ "$want" = either ] || [ "$want" = "$found" ] || fail "$1: the freed text at $address is '$found', not '$want'"

	lines=$(dmesg | wc -l)
	if echo "$address" >$control/jump; then
		fail "$1: the jump to freed text at $address came back with $(cat $control/result)"
	fi
	report=$(dmesg | tail -n +$((lines + 1)))
	echo "$report" | grep -q "pc : $address\$" || fail "$1: no Oops with pc $address, but: $report"
	case $found in
	trap) oops='Oops - BRK' ;;
	unmapped) oops='Unable to handle kernel' ;;
	esac
	echo "$report" | grep -q "$oops" || fail "$1: no '$oops', but: $report"
	pass "$1: the jump to $address trapped ($found)"
}

insmod $dir/rox_freed_text.ko || fail "cannot load $dir/rox_freed_text.ko: was it built, and given with --add?"
jump_to_freed 'text freed once'
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
