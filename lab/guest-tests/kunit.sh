#!/bin/sh
# Print the results of the KUnit suites that ran at boot, as KTAP; fail for a "not ok".
#
# usage: kunit.sh [SUITE-PATTERN]     a shell pattern, such as 'rox*'; all without it
. /lab/guest-lib.sh

dir=/sys/kernel/debug/kunit
suites=0
for results in $dir/${1:-*}/results; do
	[ -e "$results" ] ||
		fail "no suite $dir/${1:-*}: is CONFIG_KUNIT_DEBUGFS, or the test itself, off?"
	cat "$results"
	suites=$((suites + 1))
done
failed=$(grep -hE '^ *not ok' $dir/${1:-*}/results)
[ -z "$failed" ] || fail "failed: $failed"
grep -hE '^ +ok [0-9]' $dir/${1:-*}/results | grep -qv '# SKIP' || fail 'every test was skipped'
echo "# $suites suites passed"
