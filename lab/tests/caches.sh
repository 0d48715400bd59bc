# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of the caches for module text and read-only data: what they hold, where, and how it is mapped.

# no_table_more NAME KERNEL: with modules loaded the linear map has no L3 table more than at boot. With
# larger pages a chunk is smaller than what a leaf of level 2 maps, so that its alias needs one.
no_table_more() {
	grep -q '^CONFIG_ARM64_4K_PAGES=y' "$OUT/$2/.config" ||
		return 0
	kpt restored --l3-tables "$LOGS/$1/boot.dump" "$LOGS/$1/loaded.dump"
}

# modules_bbml3 NAME KERNEL: all modules, three times; their text is in the cache, mapped by blocks, the
# linear map has no table more while they are loaded, and is as at boot afterwards.
modules_bbml3() {
	guest "$1" "$2" bbml3 --timeout 1500 "$SCRIPTS/modules.sh" 3 &&
		kpt check-wx "$LOGS/$1/boot.dump" "$LOGS/$1/loaded.dump" "$LOGS/$1/unloaded.dump" &&
		kpt text --sections "$LOGS/$1/sections" --vmallocinfo "$LOGS/$1/vmallocinfo" \
			--in-blocks 95 "$LOGS/$1/loaded.dump" >"$LOGS/$1/text" &&
		cat "$LOGS/$1/text" &&
		no_table_more "$1" "$2" &&
		! grep -q '^0 of' "$LOGS/$1/text" &&
		restored "$1" boot loaded unloaded
}
test_modules() {
	modules_bbml3 modules kernel-4k
}
test_modules_debug() {
	modules_bbml3 modules-debug kernel-debug
}

# The parameter of kernel-parameters.txt turns the cache off.
test_modules_off() {
	guest modules-off kernel-4k bbml3 --append execmem_rox=off "$SCRIPTS/modules.sh" 1 || return
	fails_with 1 kpt text --sections "$LOGS/modules-off/sections" \
		--vmallocinfo "$LOGS/modules-off/vmallocinfo" "$LOGS/modules-off/loaded.dump" \
		>"$LOGS/modules-off/text" 2>&1
	result=$?
	cat "$LOGS/modules-off/text"
	[ $result = 0 ] && grep -q '^0 of [1-9][0-9]* modules' "$LOGS/modules-off/text" &&
		restored modules-off boot unloaded
}

# clones NAME KERNEL OPTION... SCRIPT...: a guest with what loads modules of any size and number.
clones() {
	clones_name=$1 clones_kernel=$2
	shift 2
	guest "$clones_name" "$clones_kernel" bbml3 --add "$OUT/$clones_kernel/lab-programs" \
		--add "$OUT/$clones_kernel/lab-modules/placement" "$@"
}

# near_window NAME OPTION COUNTxKIB...: more text than there is room for near the kernel. It is
# near where there is room, mapped by blocks wherever it is, and the linear map is as at boot.
near_window() {
	name=$1 option=$2
	shift 2
	clones "$name" kernel-4k --mem 2G --append "${option#kaslr}" "$SCRIPTS/near-window.sh" "$@" &&
		kpt text --sections "$LOGS/$name/sections" --vmallocinfo "$LOGS/$name/vmallocinfo" \
			--in-blocks 100 "$LOGS/$name/loaded.dump" &&
		kpt restored --l3-tables "$LOGS/$name/boot.dump" "$LOGS/$name/loaded.dump" &&
		restored "$name" boot unloaded
}
test_near_window_kaslr() {
	near_window near-window-kaslr kaslr 60x2150 100x20
}
test_near_window_nokaslr() {
	near_window near-window-nokaslr nokaslr 60x2150 100x20
}
test_near_chunks_kaslr() {
	near_window near-chunks-kaslr kaslr 60x1900 100x20
}
test_near_chunks_nokaslr() {
	near_window near-chunks-nokaslr nokaslr 60x1900 100x20
}
# Of small modules behind large ones, as many are near the kernel as with the base.
test_near_window_stock() {
	for kernel in stock-4k kernel-4k; do
		clones "near-window-$kernel" $kernel --mem 2G --append nokaslr \
			"$SCRIPTS/near-window.sh" 60x2150 100x20 || return
	done
	near=$(sed -n 's/^clones: 100x20: \([0-9]*\) near.*/\1/p' "$LOGS/near-window-kernel-4k/results")
	stock=$(sed -n 's/^clones: 100x20: \([0-9]*\) near.*/\1/p' "$LOGS/near-window-stock-4k/results")
	[ "$near" -ge "$stock" ]
}

# Some boots, as the caches of a machine are empty once; "make loads": 20.
test_parallel_loads() {
	for boot in $(seq "${BOOTS:-3}"); do
		clones parallel-loads kernel-4k --smp 4 "$SCRIPTS/parallel-loads.sh" 4 || return
	done
}
test_lingering() {
	clones lingering kernel-4k --timeout 900 "$SCRIPTS/lingering.sh" "${STEPS:-2000}" &&
		restored lingering boot idle
}
test_release_fails() {
	clones release-fails kernel-4k "$SCRIPTS/release-fails.sh"
}
test_no_chunks() {
	clones no-chunks kernel-4k --append nohugevmalloc "$SCRIPTS/no-chunks.sh"
}

# Dumps taken while modules come and go; the aliases of what is cached, and W+X.
# sample_tables NAME KERNEL
sample_tables() {
	permissions "$1" "$2" bbml3 --timeout 600 "$SCRIPTS/sample-tables.sh" 2 4 &&
		kpt aliases --blocks "$LOGS/$1"/sample-* &&
		kpt check-wx "$LOGS/$1"/sample-*/dump
}
test_sample_tables() {
	sample_tables sample-tables kernel-4k
}

test_stress_debug() {
	guest stress-debug kernel-debug bbml3 --timeout 600 "$SCRIPTS/stress-modules.sh" 20
}
