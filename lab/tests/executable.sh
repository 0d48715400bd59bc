# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of executable memory: who else changes it, when it stops to be executable, and what TLBs hold.

test_bpf_bbml3() {
	guest bpf-bbml3 kernel-4k bbml3 --timeout 600 "$SCRIPTS/bpf-ftrace-kprobe.sh" 0 300
}
test_bpf_plain() {
	guest bpf-plain kernel-4k plain --timeout 600 "$SCRIPTS/bpf-ftrace-kprobe.sh" 0 300
}

# permissions NAME KERNEL CPU [OPTION...] SCRIPT...: a guest with the modules of lab/modules/permissions.
permissions() {
	permissions_name=$1 permissions_kernel=$2 permissions_cpu=$3
	shift 3
	guest "$permissions_name" "$permissions_kernel" "$permissions_cpu" \
		--add "$OUT/$permissions_kernel/lab-modules/permissions" "$@"
}
test_user_calls_bbml3() {
	permissions user-calls-bbml3 kernel-4k bbml3 "$SCRIPTS/user-calls.sh"
}
test_user_calls_plain() {
	permissions user-calls-plain kernel-4k plain "$SCRIPTS/user-calls.sh"
}
test_user_calls_pages() {
	permissions user-calls-pages kernel-4k bbml3 --append nohugevmalloc "$SCRIPTS/user-calls.sh"
}
test_user_calls_stock() {
	permissions user-calls-stock stock-4k plain "$SCRIPTS/user-calls.sh" stock
}

test_bpf_jump() {
	permissions bpf-jump kernel-4k bbml3 "$SCRIPTS/self-test.sh" rox_bpf_jump
}
test_tlb() {
	permissions tlb kernel-4k bbml3 "$SCRIPTS/self-test.sh" rox_tlb
}
test_tlb_a715() {
	permissions tlb-a715 kernel-4k a715 "$SCRIPTS/self-test.sh" rox_tlb
}

# watching FILE: options for a guest whose stores to page tables a QEMU plugin follows; it writes FILE.
watching() {
	echo "--append arm64.nomops --qemu -plugin --qemu $TOOLS/libstores_plugin.so,out=$1"
}

# stores_on CPU [ARGUMENT...]: a QEMU plugin follows every store to page tables; out/check/stores-CPU.txt says how
# many of them made a leaf, valid and executable, one that is valid and not executable.
stores_on() {
	cpu=$1 stores=$LOGS/stores-$1.txt
	shift
	# shellcheck disable=SC2046
	permissions "stores-$cpu" kernel-4k "$cpu" --timeout 600 $(watching "$stores") \
		"$SCRIPTS/executable.sh" "$@" && cat "$stores"
}
# The other CPU has no such erratum: there the plugin must find some.
test_stores() {
	provide tool-stores-plugin &&
		stores_on a715 && grep -q '^through invalid: [1-9]' "$LOGS/stores-a715.txt" &&
		grep -qx 'direct: 0' "$LOGS/stores-a715.txt" &&
		stores_on bbml3 && grep -q '^direct: [1-9]' "$LOGS/stores-bbml3.txt"
}

# freed_text NAME KERNEL
freed_text() {
	guest "$1" "$2" bbml3 --timeout 600 --add "$OUT/$2/lab-modules/freed_text" \
		--expect-splat 'pc : 0x' "$SCRIPTS/freed-text.sh" trap
}
test_freed_text() {
	freed_text freed-text kernel-4k
}
test_freed_text_debug() {
	freed_text freed-text-debug kernel-debug
}

# selftests NAME KERNEL SOURCE CPU: the series's own kselftests, as somebody runs them who has a kernel. With the
# series nothing may be skipped.
selftests() {
	results=$LOGS/$1.results
	# shellcheck disable=SC2086,SC2154
	"$LAB/selftests" --kernel "$OUT/$2" --source "$OUT/$3" --out "$LOGS/$1" --cpu "$4" $machine >"$results" ||
		echo "not ok: status $?" >>"$results"
	cat "$results"
	! grep -q '^not ok' "$results" && { [ "$3" = stock-linux ] || ! grep '# SKIP' "$results"; }
}
test_selftests_bbml3() {
	selftests selftests-bbml3 kernel-4k linux bbml3
}
test_selftests_plain() {
	selftests selftests-plain kernel-4k linux plain
}
test_selftests_stock() {
	selftests selftests-stock stock-4k stock-linux plain
}
