#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A module that cannot be loaded leaves nothing behind.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

setup
ktap_set_plan 8
work=$(mktemp -d)
trap 'cleanup; rm -rf "$work"' EXIT
steady
used=$(used)

# refused WHAT WHY FILE [PARAMETER...]: the file cannot be loaded, and insmod says WHY.
refused() {
	what=$1 why=$2
	shift 2
	if error=$(insmod "$@" 2>&1); then
		ktap_print_msg "it was loaded"
		false
	elif ! echo "$error" | grep -qi "$why"; then
		ktap_print_msg "$error"
		false
	else
		no_wx && same_use "$used"
	fi
	result "$what" $?
}

refused "its init function fails" "invalid" "$(module test_execmem)" fail=1
refused "a symbol is unresolved" "unknown symbol" "$(module test_execmem_user)"

size=$(wc -c <"$(module test_execmem)")
head -c $((size / 2)) "$(module test_execmem)" >"$work/half.ko"
refused "half of the file is missing" "format" "$work/half.ko"
head -c 40 "$(module test_execmem)" >"$work/head.ko"
refused "all of the file is missing but its head" "format" "$work/head.ko"
refused "a relocation does not fit" "format" "$(module test_execmem_reloc)"
refused "it has init text alone, which fails" "no such device" "$(module test_execmem_init)"

insmod "$(module test_execmem)" || ktap_exit_fail_msg "test_execmem cannot be loaded"
steady
used=$(used)
refused "it is loaded already" "exists" "$(module test_execmem)"
is "$(address text)" ro x && echo 1 >$PARAMETERS/call
result "the one that was loaded still works" $?

ktap_finished
