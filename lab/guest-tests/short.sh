#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Plan two results and have one: lab/check must take it for a failure.
#
# usage: short.sh silent|finished|skipped     silent: without a word, and with status 0; skipped: the whole
#                                             test, which is no failure
. /lab/guest-lib.sh

case ${1:-} in
silent | finished) ;;
skipped)
	ktap_print_header
	ktap_skip_all 'as was asked for'
	exit "$KSFT_SKIP"
	;;
*) fail 'usage: short.sh silent|finished|skipped' ;;
esac
plan 2
ktap_test_pass 'one of two'
[ "$1" != silent ] || exit 0
ktap_finished
