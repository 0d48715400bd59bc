#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Turn the function tracer on and off for all functions of all modules, while other modules come and go.
# While it is on, each function calls it, and what is executed is in the trace; while it is off, text of
# all modules is what the loader has left there. A module that is loaded meanwhile is not traced.
#
# usage: tracer-churn.sh [ROUNDS]     needs lab-modules/tracing, by --add
. /lab/guest-lib.sh
plan 1
rounds=${1:-20}
tracing=/sys/kernel/tracing
churned='serpent_generic streebog_generic'

# come_and_go MODULE: until /tmp/stop is there.
come_and_go() {
	loads=0
	while [ ! -e /tmp/stop ]; do
		modprobe "$1" && rmmod "$1" || return 1
		loads=$((loads + 1))
	done
	echo "# $1: $loads loads"
	echo $loads >"/tmp/loads-$1"
}

# functions FILE: "FUNCTION [MODULE]" of what it lists, in order.
functions() {
	awk '$2 ~ /^\[/ && $2 != "[rox_text]" { print $1, $2 }' "$tracing/$1" | sort
}

grep -qw function $tracing/available_tracers || fail 'no function tracer: is CONFIG_FUNCTION_TRACER off?'
watch_text
# shellcheck disable=SC2046
modprobe -a $(all_modules | grep -vxF "$(echo "$churned" | tr ' ' '\n')") || fail 'modprobe, see above'
insmod /lab/tracing/rox_traced.ko || fail 'cannot load rox_traced.ko'
are plain fresh 'loaded'
are plain sites 'loaded'
text_is_same 'loaded'

echo '*:mod:*' >$tracing/set_ftrace_filter && echo '!*:mod:rox_text' >>$tracing/set_ftrace_filter ||
	fail 'set_ftrace_filter'
functions available_filter_functions >/tmp/all
functions set_ftrace_filter >/tmp/filter
cmp /tmp/all /tmp/filter || fail 'the filter has not all functions of modules'
count=$(wc -l </tmp/all)
[ "$count" = "$(awk '{ sum += $2 } END { print sum }' $text/sites)" ] ||
	fail "$count functions of modules can be traced, others have a place for it"
tested=$(cut -d' ' -f1 $text/sites)
echo "# $count functions of $(wc -l <$text/sites) modules"

jobs=
for module in $churned; do
	come_and_go "$module" & jobs="$jobs $!"
done
for round in $(seq "$rounds"); do
	echo >$tracing/trace
	echo function >$tracing/current_tracer || fail "round $round: the function tracer does not turn on"
	# shellcheck disable=SC2086
	are traced sites "round $round, on" $tested
	functions enabled_functions >/tmp/enabled
	echo 1 >/sys/module/rox_traced/parameters/call || fail "round $round: rox_traced, see the log"
	cat $tracing/trace >/tmp/trace
	echo nop >$tracing/current_tracer || fail "round $round: the function tracer does not turn off"

	cmp /tmp/all /tmp/enabled || fail "round $round: not all functions are in enabled_functions"
	for n in 0 1 2 3 4 5 6 7; do
		hits=$(grep -c " rox_traced_$n <-" /tmp/trace)
		[ "$hits" = 1 ] || fail "round $round: rox_traced_$n is $hits times in the trace"
	done
	are plain sites "round $round, off"
	text_is_same "round $round, off"
done
touch /tmp/stop
# shellcheck disable=SC2086
wait_for $jobs
are plain fresh 'at the end'
for module in $churned; do
	[ "$(cat "/tmp/loads-$module")" -ge "$rounds" ] || fail "$module was loaded less than $rounds times"
done
ktap_test_pass "$rounds times on and off over $count functions, beside $(cut -d' ' -f1 $text/gone) loads"
ktap_finished
