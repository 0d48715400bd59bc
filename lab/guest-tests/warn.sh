#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Provoke a crash with lkdtm and succeed all the same: lab/guest must fail this run.
#
# usage: warn.sh [WARNING|PANIC|BUG|EXCEPTION|…]
. /lab/guest-lib.sh
plan 1

modprobe lkdtm || fail 'modprobe, see above'
# A BUG kills the process that asks for it.
(echo "${1:-WARNING}" >/sys/kernel/debug/provoke-crash/DIRECT)
ktap_test_pass "provoked ${1:-WARNING}, the run should fail for it"
ktap_finished
