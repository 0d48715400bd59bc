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

# refused WHAT FILE [PARAMETER...]: the file cannot be loaded.
refused() {
	what=$1
	shift
	! insmod "$@" 2>/dev/null && no_wx && same_use "$used"
	result "$what" $?
}

refused "its init function fails" "$(module test_execmem)" fail=1
refused "a symbol is unresolved" "$(module test_execmem_user)"

size=$(wc -c <"$(module test_execmem)")
head -c $((size / 2)) "$(module test_execmem)" >"$work/half.ko"
refused "half of the file is missing" "$work/half.ko"
head -c 40 "$(module test_execmem)" >"$work/head.ko"
refused "all of the file is missing but its head" "$work/head.ko"
refused "a relocation does not fit" "$(module test_execmem_reloc)"
refused "it has init text alone, which fails" "$(module test_execmem_init)"

insmod "$(module test_execmem)" || ktap_exit_fail_msg "test_execmem cannot be loaded"
steady
used=$(used)
refused "it is loaded already" "$(module test_execmem)"
is "$(address text)" ro x && echo 1 >$PARAMETERS/call
result "the one that was loaded still works" $?

ktap_finished
