# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests that the series changes nothing elsewhere, by comparison with the stock kernel.

# Replacing enums in the formats of trace events gives what it gives with the base.
test_event_formats() {
	for kernel in stock-4k kernel-4k; do
		guest "formats-$kernel" "$kernel" bbml3 "$SCRIPTS/event-formats.sh" || return
	done
	cmp "$LOGS/formats-stock-4k/formats" "$LOGS/formats-kernel-4k/formats"
}

# pass_of KERNEL CPU RODATA [OPTION]: dumps of one module pass. Both kernels boot with nokaslr, so that
# modules are in a region of their own.
pass_of() {
	guest "same-$1-$2-$3${4:+-$4}" "$1" "$2" --append "nokaslr rodata=$3 ${4:-}" "$SCRIPTS/modules.sh" 1
}

# same KERNEL CPU RODATA [OPTION]: page tables where the series must change nothing, at boot, with modules loaded,
# and with them unloaded; "kpt help same" says what is compared.
same() {
	stock=$LOGS/same-stock-4k-$2-$3
	# A stock kernel that has not changed is not run again.
	newer "$stock/.passed" "$OUT/stock-4k/modules/.installed" ||
		{ pass_of stock-4k "$2" "$3" && : >"$stock/.passed"; } || return
	pass_of "$@" || return
	# Where the linear map is split, how depends on where the pages of modules happen to be.
	granularity=--granularity
	[ "$2-$3" != bbml3-on ] || granularity=
	# shellcheck disable=SC2086
	kpt same $granularity "$stock" "$LOGS/same-$1-$2-$3${4:+-$4}" || return
	echo "same: modules, and what loading them changed elsewhere"
}
test_same_norox_bbml3_on() {
	same kernel-norox bbml3 on
}
test_same_norox_plain_on() {
	same kernel-norox plain on
}
test_same_4k_plain_on() {
	same kernel-4k plain on
}
test_same_4k_bbml3_noalias() {
	same kernel-4k bbml3 noalias
}
test_same_4k_kpgtable_off() {
	same kernel-4k bbml3 on kpgtable=off
}
test_same_4k_bbml3_off() {
	same kernel-4k bbml3 off
}
