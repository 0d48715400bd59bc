#!/bin/sh
# Provoke a crash with lkdtm and succeed all the same: lab/guest must fail this run.
#
# usage: warn.sh [WARNING|PANIC|BUG|EXCEPTION|…]

modprobe lkdtm || exit 1
# A BUG kills the process that asks for it.
(echo "${1:-WARNING}" >/sys/kernel/debug/provoke-crash/DIRECT)
echo "ok 1 - provoked ${1:-WARNING}, the run should fail for it"
exit 0
