#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# More text than there is room for near the kernel: modules of 2.1 MiB, then small ones. No small
# one is far away while a chunk near the kernel has room for it. All are unloaded in random order.
# Leaves the page tables in /lab/out, as "boot", "loaded" and "unloaded", and what save_text does,
# loaded.
#
# usage: near-window.sh [COUNTxKIB...]     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 2
[ $# != 0 ] || set -- 60x2150 100x20

! modules_are_loaded || fail "modules are loaded already: $(cut -d' ' -f1 /proc/modules | xargs)"
dmesg | grep 'pages in range for'
save_tables boot
clones load 0 "$@" >/tmp/loaded
cat /tmp/loaded
settle
save_text
save_tables loaded
no_wx loaded
awk '/near, .* far/ { split($0, words, ", "); sum += words[3] } END { exit sum != 0 }' /tmp/loaded ||
	fail 'text is far from the kernel though there was room near'
ktap_test_pass "text is near the kernel where there is room"
clones unload 0 17
settle
save_tables unloaded
no_wx unloaded
ktap_test_pass 'all are unloaded'
ktap_finished
