#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Load all modules, and boot the same kernel again by kexec while they are loaded; load and unload
# them there. The new kernel must have mapped the linear map as the old one did at boot. Wants retain_initrd
# on the command line, a disk, which tells the second boot from the first, and in /lab an Image and
# lab-programs. Leaves in /lab/out the page tables of the second boot, as "boot", "loaded"
# and "unloaded".
. /lab/guest-lib.sh

if ! head -c 6 /dev/vda | grep -q second; then
	{
		echo second
		grep '^DirectMap' /proc/meminfo
	} >/tmp/disk
	# shellcheck disable=SC2046
	modprobe -a $(all_modules) || exit 1
	dd if=/tmp/disk of=/dev/vda bs=4096 conv=sync,fsync 2>/dev/null || exit 1
	/lab/lab-programs/kexec_again /lab/Image
	exit 1
fi

# stage NAME: save the page tables, and look for W+X mappings.
stage() {
	settle
	save_tables "$1"
	no_wx "$1"
}

plan 3
head -c 4096 /dev/vda | tr -d '\0' | sed 1d >/tmp/before
[ -s /tmp/before ] || fail 'the first boot has left nothing on the disk'
grep '^DirectMap' /proc/meminfo | cmp -s - /tmp/before || {
	sed 's/^/# before: /' /tmp/before
	grep '^DirectMap' /proc/meminfo | sed 's/^/# now: /'
	fail 'leaves of the linear map have other sizes than the old kernel had at boot'
}
ktap_test_pass 'kexec into the same kernel, with modules loaded'
stage boot
# shellcheck disable=SC2046
modprobe -a $(all_modules) || fail 'modprobe, see above'
stage loaded
ktap_test_pass "$(wc -l </proc/modules) modules loaded"
unload_unused || fail 'rmmod, see above'
stage unloaded
ktap_test_pass 'all unloaded'
ktap_finished
