#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Permissions of the memory of a module, and of its linear aliases, while it is loaded.
. "$(dirname "$(readlink -f "$0")")"/functions.sh

setup
ktap_set_plan 6

no_wx
result "no W+X memory before the module is loaded" $?

steady
before=$(used)
insmod "$(module test_execmem)" || ktap_exit_fail_msg "test_execmem cannot be loaded"
text=$(address text) text_alias=$(address text_alias)

is "$text" ro x && is "$(address rodata)" ro NX && is "$(address data)" RW NX
result "text is executable, read-only data read-only, data writable" $?

aliases="linear aliases of text and read-only data are read-only"
if ! grep -qw 'rodata=noalias' /proc/cmdline; then
	is "$text_alias" ro NX && is "$(address rodata_alias)" ro NX
	result "$aliases" $?
else
	ktap_test_skip "$aliases: rodata=noalias"
fi

is "$(address data_alias)" RW NX
result "the linear alias of data is writable" $?

no_wx
result "no W+X memory while the module is loaded" $?

# A cache keeps free text, and its alias read-only.
gone() {
	[ ! -e $CACHE ] || return 0
	for attempt in $(seq 50); do
		! is "$text" ro x >/dev/null && is "$text_alias" RW NX >/dev/null && return
		sleep 0.1
	done
	is "$text_alias" RW NX
	return 1
}

rmmod test_execmem
no_wx && same_use "$before" && gone
result "nothing is left when the module is gone" $?

ktap_finished
