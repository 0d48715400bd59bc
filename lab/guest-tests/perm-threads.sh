#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Change permissions in several threads, in the same blocks, and check every page after
# each change, while another process walks the page tables. The module that does it,
# lab/modules/permissions, comes from the build of the kernel:
#
#   lab/guest --smp 4 --add out/kernel-4k/lab-modules/permissions lab/guest-tests/perm-threads.sh 60 huge
#
# usage: perm-threads.sh [SECONDS [huge|whole]]
#
# huge: the permissions of huge vmalloc areas can change, as on CPUs that can split a block
# in use. whole: they cannot, and it is refused. Without either, whatever the kernel does.
. /lab/guest-lib.sh
plan 1

seconds=${1:-60}
module=/lab/permissions/rox_perm_threads.ko
case ${2:-} in
huge) huge=1 ;;
whole) huge=0 ;;
*) huge=-1 ;;
esac

[ -e $module ] || fail "no $module: was it built, and given with --add?"

# As long as /tmp/changing exists.
walk() {
	rounds=0
	while [ -e /tmp/changing ]; do
		[ "$(cat /sys/kernel/debug/check_wx_pages)" = SUCCESS ] || return 1
		rounds=$((rounds + 1))
		sleep 1
	done
	echo "# $rounds walks of the page tables, no W+X mapping"
}

: >/tmp/changing
walk &
walker=$!
status=0
insmod_once $module "seconds=$seconds" "huge=$huge" || status=1
rm /tmp/changing
wait $walker || {
	echo '# check_wx_pages says that something is writable and executable'
	status=1
}
said rox_perm_threads
[ $status = 0 ] || fail 'permissions are not what they should be'
# A run that did nothing proves nothing.
count=$(dmesg | sed -n 's/.*rox_perm_threads: \([0-9]*\) pages checked.*/\1/p')
[ "${count:-0}" -gt $((seconds * 1000)) ] || fail "only ${count:-no} pages were checked"
rmmod rox_perm_threads || fail 'rmmod, see above'
! grep '^unprotected:.*[1-9]' /sys/kernel/debug/execmem_cache 2>/dev/null ||
	fail 'areas that were freed are counted as unprotected'
ktap_test_pass "$seconds s of permission changes, $count pages checked"
ktap_finished
