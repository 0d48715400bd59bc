#!/bin/sh
# Print the results of the KUnit suites that ran at boot, as KTAP; fail for a "not ok", and for a
# test of suites of that pattern that is skipped and should not be, or the other way round.
#
# usage: kunit.sh [SUITE-PATTERN [SKIPPED]...]     a shell pattern, such as 'rox*'; all without it
. /lab/guest-lib.sh

dir=/sys/kernel/debug/kunit
pattern=${1:-*}
suites=0
for results in $dir/$pattern/results; do
	[ -e "$results" ] ||
		fail "no suite $dir/$pattern: is CONFIG_KUNIT_DEBUGFS, or the test itself, off?"
	cat "$results"
	suites=$((suites + 1))
done
failed=$(grep -hE '^ *not ok' $dir/$pattern/results)
[ -z "$failed" ] || fail "failed: $failed"
passed=$(grep -hE '^ +ok [0-9]' $dir/$pattern/results | grep -vc '# SKIP')
[ "$passed" != 0 ] || fail 'every test was skipped'
skipped=$(sed -n 's/^  *ok [0-9]* \([^ ]*\) # SKIP.*/\1/p' $dir/$pattern/results | sort)
if [ $# -gt 0 ]; then
	shift
	wanted=$(for name; do echo "$name"; done | sort)
	[ "$skipped" = "$wanted" ] || fail "these were skipped: $(echo "$skipped" | xargs) and these should have been: $(echo "$wanted" | xargs)"
fi
echo "# $suites suites, $passed tests passed, $(echo "$skipped" | grep -c .) skipped"
