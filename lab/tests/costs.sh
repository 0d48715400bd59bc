# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of what things cost: instructions, TLB and cache maintenance, IPIs.

# For each kind of turn, how many instructions ours executes, and stock; at most 1.2 times as many.
test_secretmem_cost() {
	for kernel in stock-4k kernel-4k; do
		guest "secretmem-$kernel" $kernel bbml3 --smp 1 --timeout 600 \
			--qemu -icount --qemu shift=0 --add "$OUT/$kernel/lab-programs" \
			"$SCRIPTS/secretmem-cost.sh" 20 || return
	done
	awk 'NR == FNR { stock[$1] = $2; next }
		{ print $1 " a pause: " $2 " thousand instructions a turn, stock " stock[$1]; seen++ }
		$2 > 1.2 * stock[$1] { more++ }
		END { exit seen != 2 || more != 0 }' \
		"$LOGS/secretmem-stock-4k/instructions" "$LOGS/secretmem-kernel-4k/instructions"
}

test_count_modules() {
	"$LAB/count-modules" --out "$LOGS/count-modules" \
		--most tlbi=1600 --most dsb=10000 --most icache-per-module=12 --most instructions-of-limit=0.5
}
# Of the series nothing but what makes module loads cheaper, without Rust and without the caches.
test_count_module_load() {
	"$LAB/count-modules" --ours "$OUT/module-load-4k" --out "$LOGS/count-module-load" \
		--most tlbi=5000 --most dsb=20000 --most icache-per-module=12 --most instructions-of-limit=0.5
}
# Stock sends 17 IPIs for a load and unload, to each of three other CPUs.
test_count_ipi() {
	"$LAB/count-modules" --smp 4 --most ipi-per-module=10 --out "$LOGS/count-ipi"
}
test_count_operations() {
	"$LAB/count-operations" --out "$LOGS/count-operations"
}
