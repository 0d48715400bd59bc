#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load a module that tests something and refuses to stay, with EAGAIN where all was as it should be.
#
#   lab/guest --add out/kernel-4k/lab-modules/permissions lab/guest-tests/self-test.sh rox_tlb
#
# usage: self-test.sh MODULE     one of lab/modules/permissions, given with --add
. /lab/guest-lib.sh
plan 1

module=${1:?usage: self-test.sh MODULE}
[ -e "/lab/permissions/$module.ko" ] ||
	fail "no /lab/permissions/$module.ko: was it built, and given with --add?"
run_module "/lab/permissions/$module.ko" || {
	said "$module"
	fail "$module, see above"
}
said "$module"
ktap_test_pass "$module"
ktap_finished
