# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests on kernels and machines that others do not have: larger pages, more options, x86-64.

# pages SIZE: KUnit, and all modules; the cache is used, and the linear map is as at boot afterwards.
pages() {
	kunit "pages-$1-kunit" "kernel-$1" bbml3 '' && modules_bbml3 "pages-$1" "kernel-$1"
}
test_pages_16k() {
	pages 16k
}
test_pages_64k() {
	pages 64k
}

# configuration KERNEL LINE [OPTION...]: KUnit, modules, and what changes permissions otherwise, in
# guests with these options, whose kernel says LINE.
configuration() {
	config_kernel=$1 config_line=$2
	shift 2
	machine=$*
	kunit "$TEST-kunit" "$config_kernel" bbml3 '' &&
		grep "$config_line" "$LOGS/$TEST-kunit/console.log" &&
		modules_bbml3 "$TEST" "$config_kernel" &&
		churn "$TEST-churn" "$config_kernel" 1000
}
test_config_tags() {
	configuration kernel-features 'initialized (hw-tags' --qemu -M --qemu mte=on
}
test_config_scs() {
	configuration kernel-features 'dynamic shadow call stack' \
		--append arm64.nopauth --append arm64.nobti
}
test_config_kpti() {
	configuration kernel-features 'isolation forced ON' --append kpti=on
}
test_config_fake_nodes() {
	configuration kernel-features 'Faking node 3' --append numa=fake=4
}
test_config_nodes() {
	configuration kernel-features 'Initmem setup node 1' \
		--qemu -object --qemu memory-backend-ram,id=m0,size=512M \
		--qemu -object --qemu memory-backend-ram,id=m1,size=512M \
		--qemu -numa --qemu node,nodeid=0,cpus=0,memdev=m0 \
		--qemu -numa --qemu node,nodeid=1,cpus=1,memdev=m1
}
test_config_64k() {
	configuration kernel-64k-modules 'Linux version' --mem 2G
}

# A task that runs alone is left alone: the kernel has no other housekeeping on these CPUs, nor other tasks.
test_config_nohz_full() {
	guest config-nohz-full kernel-features bbml3 --smp 4 --append 'nohz_full=2-3 isolcpus=2-3' \
		"$SCRIPTS/nohz-full.sh" 5
}

# What takes executable memory there, on a kernel with the debug kernel's checkers; then with
# return thunks, and without huge mappings. Thunks for indirect branches of modules, which would be in
# the cache too, are not in use there: this CPU gets retpolines.
test_x86() {
	guest x86 kernel-x86 max --timeout 900 "$SCRIPTS/execmem-cache.sh" 3 &&
		guest x86-bpf kernel-x86 max --timeout 900 "$SCRIPTS/bpf-ftrace-kprobe.sh" 0 300 || return
	its='indirect_target_selection=force spectre_v2=on'
	for options in "$its" nohugevmalloc "$its nohugevmalloc"; do
		guest x86-options kernel-x86 max --timeout 900 --append "$options" \
			"$SCRIPTS/execmem-cache.sh" 3 || return
	done
}
