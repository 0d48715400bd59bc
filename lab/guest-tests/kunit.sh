#!/bin/sh
# Print the results of the KUnit suites that ran at boot, as KTAP; fail for a "not ok".
#
# usage: kunit.sh [SUITE-PATTERN]     a shell pattern, such as 'rox*'; all without it

dir=/sys/kernel/debug/kunit
suites=0
for results in $dir/${1:-*}/results; do
	[ -e "$results" ] || {
		echo "not ok - no suite $dir/${1:-*}: is CONFIG_KUNIT_DEBUGFS, or the test itself, off?"
		exit 1
	}
	cat "$results"
	suites=$((suites + 1))
done
failed=$(grep -hE '^ *not ok' $dir/${1:-*}/results)
if [ -n "$failed" ]; then
	echo "# failed: $failed"
	exit 1
fi
grep -hE '^ +ok [0-9]' $dir/${1:-*}/results | grep -qv '# SKIP' || {
	echo 'not ok - every test was skipped'
	exit 1
}
echo "# $suites suites passed"
