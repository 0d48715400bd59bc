# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of the repository itself, and of its tools.

# What starts like one is a shell script; others are sourced.
test_shellcheck() {
	found=$(find "$LAB" "$TOP/.ci" -type f -exec \
		awk 'FNR == 1 && /^#!.*[ \/]sh$/ { print FILENAME }' {} +)
	[ -n "$found" ] || return 1
	# shellcheck disable=SC2086
	"$LAB/in-root" shellcheck -s sh -S warning -e SC1091,SC2034 \
		"$LAB/env.sh" "$LAB/guest-lib.sh" "$LAB"/tests/*.sh $found
}

test_export() {
	"$LAB/export" --check
}

# A kernel that no test of the gate builds must not lose a line of its configuration unseen.
test_configure() {
	# shellcheck disable=SC2016
	echo "$KERNELS" | xargs -P "$(nproc)" -L 1 sh -c 'shift; exec "$0" --configure "$@"' "$LAB/kernel"
}

# What is no test, no suite and no option ends with what there is.
test_unknown() {
	for arguments in kunit-typo 'smoke kunit-typo' 'no-such-*' '--suite no-such-suite' --no-such-option; do
		# shellcheck disable=SC2086
		! (set -f; "$LAB/check" $arguments) >"$LOGS/unknown.txt" 2>&1 &&
			grep -q 'kunit-plain\|linear-map\|usage: ' "$LOGS/unknown.txt" || {
			echo "lab/check $arguments:"
			cat "$LOGS/unknown.txt"
			return 1
		}
	done
	"$LAB/check" --help | grep 'usage: '
}

# The Rust tools: rustfmt and clippy for all of them, and what each has of tests.
test_kpt() {
	"$LAB/cargo" fmt --all --check &&
		"$LAB/cargo" clippy --release --workspace --all-targets -- -D warnings &&
		"$LAB/cargo" test --release -p command -p kpt && provide tool-kpt
}
test_model() {
	"$LAB/cargo" test --release -p pure && provide tool-model &&
		"$LAB/in-root" "$TOOLS/model" --steps 1000000
}
test_count() {
	"$LAB/cargo" test --release -p count -p tlb && provide tool-count-plugin && provide tool-stores-plugin &&
		provide tool-tlb-plugin
}
test_policy() {
	provide tool-policy && "$LAB/in-root" "$TOOLS/policy"
}

test_litmus() {
	"$LAB/litmus/run"
}

test_apply() {
	"$LAB/apply"
}

test_each_patch() {
	"$LAB/each-patch"
}
test_front_door() {
	"$LAB/front-door"
}
test_spdx() {
	"$LAB/spdx"
}
# topic_ends NAME: the series up to that topic, by itself.
topic_ends() {
	"$LAB/topic" "$("$LAB/topic" --list | grep -- "-$1\$")"
}
test_topic_fixes() {
	topic_ends fixes
}
test_topic_collapse() {
	topic_ends collapse
}
test_topic_execmem() {
	topic_ends execmem
}
test_topic_module_load() {
	topic_ends module-load
}
test_debug() {
	"$LAB/debug" --batch
}
