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

is "$(address text)" ro x && is "$(address rodata)" ro NX && is "$(address data)" RW NX
result "text is executable, read-only data read-only, data writable" $?

aliases="linear aliases of text and read-only data are read-only"
if [ "$(rodata)" = on ]; then
	is "$(address text_alias)" ro NX && is "$(address rodata_alias)" ro NX
	result "$aliases" $?
else
	ktap_test_skip "$aliases: rodata=$(rodata)"
fi

is "$(address data_alias)" RW NX
result "the linear alias of data is writable" $?

no_wx
result "no W+X memory while the module is loaded" $?

text_alias=$(address text_alias)
rmmod test_execmem
no_wx && same_use "$before" && ! is "$text_alias" ro x >/dev/null
result "nothing is left when the module is gone" $?

ktap_finished
