# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of what guests need, and of lab/guest itself.

test_userland() {
	"$LAB/userland"
}

# Kernels build because the tests need them.
test_kernel_4k() {
	[ -e "$OUT/kernel-4k/Image" ]
}
test_kernel_debug() {
	[ -e "$OUT/kernel-debug/Image" ]
}
test_stock_4k() {
	[ -e "$OUT/stock-4k/Image" ]
}
test_norox() {
	[ -e "$OUT/kernel-norox/Image" ]
}

test_smoke() {
	guest smoke kernel-4k bbml3 "$SCRIPTS/smoke.sh"
}

# Every CPU that the kernel takes for one with BBML3, by its MIDR.
test_cpus() {
	for cpu in a520ae a715 a720ae a725 ampere1 ampere1a c1-nano c1-premium c1-pro c1-ultra n3 \
		olympus v3 v3ae x4; do
		guest "cpu-$cpu" kernel-4k "$cpu" "$SCRIPTS/smoke.sh" || return 1
		grep -q 'detected: BBM Level 3' "$LOGS/cpu-$cpu/console.log" || {
			echo "$cpu: no BBML3"
			return 1
		}
	done
	grep 'detected: ARM erratum 2645198' "$LOGS/cpu-a715/console.log"
}

# provoked KIND: the run with that crash fails, and fails for it.
provoked() {
	fails_with 125 guest "provoke-$1" kernel-4k bbml3 "$SCRIPTS/warn.sh" "$1" &&
		grep -q "lkdtm: Performing direct entry $1" "$LOGS/provoke-$1/console.log"
}
test_splat() {
	provoked WARNING
}
test_panic() {
	provoked PANIC
}
# lkdtm's own text and data are in the caches.
test_protected() {
	for kind in WRITE_KERN WRITE_RO WRITE_RO_AFTER_INIT EXEC_RODATA; do
		provoked $kind || return 1
	done
}

test_timeout() {
	fails_with 124 guest timeout kernel-4k bbml3 --timeout 15 "$SCRIPTS/hang.sh" &&
		grep -q '# hanging' "$LOGS/timeout/results"
}

# A script may end with status 0 long before its end, or say of itself that it has not done all.
test_plan() {
	fails_with 1 guest plan kernel-4k bbml3 "$SCRIPTS/short.sh" silent &&
		fails_with 1 guest plan kernel-4k bbml3 "$SCRIPTS/short.sh" finished &&
		fails_with 77 guest plan kernel-4k bbml3 "$SCRIPTS/short.sh" skipped
}
