# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of the linear map: permission changes, splits and collapses, alone and beside all else that changes
# or reads page tables.

test_perm_threads() {
	permissions perm-threads kernel-4k bbml3 --smp 4 "$SCRIPTS/perm-threads.sh" 30 huge
}
test_perm_threads_plain() {
	permissions perm-threads-plain kernel-4k plain --smp 4 "$SCRIPTS/perm-threads.sh" 10 whole
}
test_perm_threads_debug() {
	permissions perm-threads-debug kernel-debug bbml3 --smp 4 --timeout 600 "$SCRIPTS/perm-threads.sh" 30 huge
}
test_perm_threads_stock() {
	permissions perm-threads-stock stock-4k plain --smp 4 "$SCRIPTS/perm-threads.sh" 10
}
test_perm_fail() {
	permissions perm-fail kernel-debug bbml3 --timeout 1200 "$SCRIPTS/perm-fail.sh" none
}

test_table_free() {
	permissions table-free kernel-4k bbml3 "$SCRIPTS/self-test.sh" rox_table_free
}
test_vmalloc() {
	guest vmalloc kernel-4k bbml3 --timeout 900 "$SCRIPTS/vmalloc.sh"
}

# churn NAME KERNEL COUNT: what changes permissions otherwise; then the linear map is as at boot.
churn() {
	guest "$1" "$2" bbml3 --timeout 900 --add "$OUT/$2/lab-programs" \
		--add "$OUT/$2/lab-modules/kprobes" "$SCRIPTS/churn.sh" "$3" &&
		restored "$1" boot idle
}
test_churn() {
	churn churn kernel-4k 10000
}

# collapse NAME KERNEL on|off: with direct_map_collapse=off alone no split of the linear map is undone.
collapse() {
	guest "$1" "$2" bbml3 --append "direct_map_collapse=$3" --add "$OUT/$2/lab-programs" \
		"$SCRIPTS/collapse.sh" "$3" &&
		kpt check-wx "$LOGS/$1/boot.dump" "$LOGS/$1/idle.dump" &&
		case $3 in
		on) restored "$1" boot idle ;;
		off) fails_with 1 kpt restored "$LOGS/$1/boot.dump" "$LOGS/$1/idle.dump" &&
			kpt counters "$LOGS/$1/boot" "$LOGS/$1/idle" ;;
		esac
}
test_collapse_on() {
	collapse collapse-on kernel-4k on
}
test_collapse_off() {
	collapse collapse-off kernel-4k off
}
test_collapse_off_debug() {
	collapse collapse-off-debug kernel-debug off
}

test_kfence_late() {
	guest kfence-late kernel-4k bbml3 --add "$OUT/kernel-4k/lab-programs" \
		--append kfence.sample_interval=0 "$SCRIPTS/kfence.sh"
}
# kfence_early NAME KERNEL
kfence_early() {
	guest "$1" "$2" bbml3 --add "$OUT/$2/lab-programs" "$SCRIPTS/kfence.sh"
}
test_kfence_early() {
	kfence_early kfence-early kernel-4k
}

# hotplug, hibernate NAME KERNEL: collapses beside memory that is added, and beside hibernation, which copies
# all of it.
hotplug() {
	guest "$1" "$2" bbml3 --append mem=768M --add "$OUT/$2/lab-programs" \
		--add "$OUT/$2/lab-modules/hotplug" "$SCRIPTS/hotplug.sh" 20 &&
		restored "$1" boot idle && kpt counters "$LOGS/$1/added"
}
test_hotplug() {
	hotplug hotplug kernel-4k
}
test_stuck_offline() {
	guest stuck-offline kernel-4k bbml3 --append mem=768M --add "$OUT/kernel-4k/lab-programs" \
		--add "$OUT/kernel-4k/lab-modules/hotplug" "$SCRIPTS/stuck-offline.sh" 60
}
hibernate() {
	guest "$1" "$2" bbml3 --disk 512M --append no_console_suspend \
		--add "$OUT/$2/lab-programs" "$SCRIPTS/hibernate.sh" 3 &&
		restored "$1" boot resumed idle
}
test_hibernate() {
	hibernate hibernate kernel-4k
}
test_hibernate_invalid() {
	permissions hibernate-invalid kernel-4k bbml3 --disk 1G --append no_console_suspend \
		"$SCRIPTS/hibernate-invalid.sh" && restored hibernate-invalid boot idle
}

# kexec_again NAME KERNEL: kexec into the same kernel; before and after it the linear map is the same.
kexec_again() {
	guest "$1" "$2" bbml3 --mem 2G --disk 1M --append 'nokaslr retain_initrd' --timeout 900 \
		--add "$OUT/$2/lab-programs" --add "$OUT/$2/Image" "$SCRIPTS/kexec.sh" &&
		restored "$1" boot unloaded
}
test_kexec() {
	kexec_again kexec kernel-4k
}

# soak NAME KERNEL SECONDS: everything at once on four CPUs; "make soak": for ten minutes.
soak() {
	seconds=${SOAK:-$3}
	guest "$1" "$2" bbml3 --smp 4 --mem 3G --timeout $((3 * seconds + 600)) \
		--add "$OUT/$2/lab-programs" --add "$OUT/$2/lab-modules/kprobes" \
		"$SCRIPTS/soak.sh" "$seconds" &&
		restored "$1" boot idle
}
test_soak() {
	soak soak kernel-4k 60
}
test_soak_debug() {
	soak soak-debug kernel-debug 60
}
