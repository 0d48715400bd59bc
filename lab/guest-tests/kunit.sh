#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Print the results of the KUnit suites that ran at boot, as KTAP, a test of this script for each suite.
#
# usage: kunit.sh [SUITE-PATTERN]     a shell pattern, such as 'rox*'; all without it
. /lab/guest-lib.sh

dir=/sys/kernel/debug/kunit
# shellcheck disable=SC2086
set -- $dir/${1:-*}/results
plan $#
[ -e "$1" ] || fail "no suite $1: is CONFIG_KUNIT_DEBUGFS, or the test itself, off?"
for results; do
	# Each file has a header and a last line as if it were all that there is.
	sed '1,2d;/^ok /d;/^not ok /d' "$results"
	suite=${results%/results} suite=${suite##*/}
	case $(grep '^ok \|^not ok ' "$results") in
	'ok '*'# SKIP'*) ktap_test_skip "$suite" ;;
	'ok '*) ktap_test_pass "$suite" ;;
	*) ktap_test_fail "$suite" ;;
	esac
done
ktap_finished
