#!/bin/sh
# Load every module, then unload all of them; the page tables must be in order at each
# stage. The first round leaves in /lab/out:
#
#   boot.dump loaded.dump unloaded.dump   /sys/kernel/debug/kernel_page_tables
#   vmallocinfo                           /proc/vmallocinfo, loaded
#   sections                              "module section address 0", the code sections, loaded
#   modules                               /proc/modules, loaded
#   boot.meminfo loaded.meminfo unloaded.meminfo    /proc/meminfo at the time of the dump
#
# A dump is taken when modules have been loaded or unloaded for a second.
#
# usage: modules.sh [ROUNDS]

# Modules that are not loaded here, and why.
left_out() {
	case $1 in
	test_bpf) return 0 ;;         # runs for long at load; bpf-ftrace-kprobe.sh runs it
	test_vmalloc) return 0 ;;     # runs at load, refuses to stay; vmalloc.sh runs it
	esac
	return 1
}

fail() {
	echo "not ok $((number + 1)) - $*"
	exit 1
}

pass() {
	number=$((number + 1))
	echo "ok $number - $*"
}

# Files of /proc have no size: test -s says nothing about them.
loaded() {
	grep -q . /proc/modules
}

# stage NAME: save the page tables (in the first round) and look for W+X mappings.
stage() {
	sleep 1
	if [ $round = 1 ]; then
		# Something else may change the linear map meanwhile: once more then.
		for attempt in 1 2 3 4 5; do
			cat /proc/meminfo >"/lab/out/$1.meminfo"
			cat /sys/kernel/debug/kernel_page_tables >"/lab/out/$1.dump" ||
				fail "cannot read kernel_page_tables: is CONFIG_PTDUMP_DEBUGFS off?"
			[ "$(grep '^DirectMap' "/lab/out/$1.meminfo")" != \
				"$(grep '^DirectMap' /proc/meminfo)" ] || break
		done
	fi
	# With rodata=off the kernel's own text is W+X, as was asked for.
	! grep -q 'rodata=off' /proc/cmdline || return 0
	wx=$(cat /sys/kernel/debug/check_wx_pages)
	[ "$wx" = SUCCESS ] || fail "round $round, $1: check_wx_pages says $wx"
}

number=0 round=1
modules=$(find "/lib/modules/$(uname -r)/kernel" -name '*.ko' | sort | while read -r path; do
	name=$(basename "$path" .ko)
	left_out "$name" || echo "$name"
done)
[ -n "$modules" ] || fail "no modules under /lib/modules/$(uname -r)/kernel"
! loaded || fail "modules are loaded already: $(cut -d' ' -f1 /proc/modules | xargs)"

while [ $round -le "${1:-1}" ]; do
	[ $round != 1 ] || stage boot

	# shellcheck disable=SC2086
	modprobe -a $modules || fail "round $round: modprobe, see above"
	for name in $modules; do
		[ -d "/sys/module/$(echo "$name" | tr - _)" ] ||
			fail "round $round: $name is not there after modprobe"
	done
	count=$(wc -l </proc/modules)
	bytes=$(awk '{ sum += $2 } END { print sum }' /proc/modules)
	if [ $round = 1 ]; then
		cat /proc/modules >/lab/out/modules
		cat /proc/vmallocinfo >/lab/out/vmallocinfo
		# sysfs gives a section's address to a single read only, which the shell's own is not.
		grep '' /dev/null /sys/module/*/sections/.*text* /sys/module/*/sections/.*plt* 2>/dev/null |
			sed 's,^/sys/module/\([^/]*\)/sections/\([^:]*\):\(.*\)$,\1 \2 \3 0,' >/lab/out/sections
	fi
	stage loaded
	pass "round $round: $count modules loaded, $bytes bytes in /proc/modules"

	# /proc/modules has the newest first. What another module uses goes in a later pass.
	while loaded; do
		free=$(awk '$3 == 0 { print $1 }' /proc/modules)
		[ -n "$free" ] || break
		# shellcheck disable=SC2086
		rmmod $free || fail "round $round: rmmod, see above"
	done
	! loaded ||
		fail "round $round: $(wc -l </proc/modules) modules stay loaded: $(cut -d' ' -f1,3,4 /proc/modules | xargs)"
	stage unloaded
	pass "round $round: all unloaded, 0 stayed"
	round=$((round + 1))
done
