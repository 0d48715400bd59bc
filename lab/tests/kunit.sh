# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# The KUnit tests of the series.

# What they cannot test without BBML3, or with rodata=noalias.
needs_bbml3='what_is_as_asked_is_not_split the_linear_map_collapses_to_what_it_was a_chunk_of_text_collapses
	pte_mapped_pages_stay_pages read_only_data_does_not_collapse a_released_chunk_is_ordinary_memory
	data_that_is_freed_writable_is_read_only text_and_data_share_no_chunk
	text_executes_after_it_was_written freed_text_is_filled_with_traps freed_text_is_not_executable
	permissions_of_cached_memory_change_and_its_alias_stays
	what_a_user_did_to_cached_memory_ends_when_it_is_freed
	a_range_that_leaves_its_part_of_a_cache_is_refused
	the_alias_of_cached_memory_is_not_to_be_changed'

# What they cannot test where leaves change their size, or nothing of the series is used.
needs_whole='a_part_of_a_leaf_stays_writable_and_is_counted a_part_of_a_leaf_does_not_become_executable
	a_whole_leaf_is_protected single_pages_of_the_linear_map_stay_as_they_are leaves_of_a_chunk_keep_their_size'

# kunit NAME KERNEL CPU OPTIONS [SKIPPED...]: all KUnit tests of the series; these are skipped, and
# no other.
kunit() {
	kunit_name=$1 kernel=$2 cpu=$3 options=$4
	shift 4
	skips_allowed=1
	guest "$kunit_name" "$kernel" "$cpu" --timeout 600 --append "kunit.autorun=1 $options" \
		"$SCRIPTS/kunit.sh" 'arm64_kpgtable_*' || return
	skips_allowed=
	for skipped; do
		echo "$skipped"
	done | LC_ALL=C sort >"$LOGS/$kunit_name/to-skip"
	sed -n 's/^\[[0-9:]*\] \[SKIPPED\] \([^ ]*\).*/\1/p' "$LOGS/$kunit_name/parsed" |
		LC_ALL=C sort >"$LOGS/$kunit_name/skipped"
	diff "$LOGS/$kunit_name/to-skip" "$LOGS/$kunit_name/skipped" || {
		echo "'<': this test should have been skipped, '>': this one should not"
		return 1
	}
	grep -q '^\[[0-9:]*\] \[PASSED\] ' "$LOGS/$kunit_name/parsed" || {
		echo 'no test has passed'
		return 1
	}
}
test_kunit_bbml3() {
	# shellcheck disable=SC2086
	kunit kunit-bbml3 kernel-4k bbml3 '' $needs_whole
}
test_kunit_plain() {
	# shellcheck disable=SC2086
	kunit kunit-plain kernel-4k plain '' $needs_bbml3 $needs_whole
}
test_kunit_noalias() {
	# shellcheck disable=SC2086
	kunit kunit-noalias kernel-4k bbml3 rodata=noalias $needs_bbml3 $needs_whole
}
test_kunit_off() {
	# shellcheck disable=SC2086
	kunit kunit-off kernel-4k bbml3 kpgtable=off $needs_bbml3 $needs_whole
}
test_kunit_a715() {
	# shellcheck disable=SC2086
	kunit kunit-a715 kernel-4k a715 '' $needs_whole
}
test_kunit_debug() {
	# shellcheck disable=SC2086
	kunit kunit-debug kernel-debug bbml3 '' $needs_whole
}
