# SPDX-License-Identifier: GPL-2.0
# What guest-init and the scripts of lab/guest-tests share: results, the ports to the host, the
# guest's modules, and looks at its page tables. lab/guest puts it into the guest, and a script
# begins with ". /lab/guest-lib.sh", says with "plan" how many results it will have, has each with
# ktap_test_pass, ktap_test_skip or fail, and ends with ktap_finished.

# kselftest's helpers.
. /lab/ktap_helpers.sh

# plan COUNT: that many results will follow.
plan() {
	ktap_print_header
	ktap_set_plan "$1"
}

# fail WHY...: this test has failed, and the script ends.
fail() {
	# The helper would take a "*" in it for names of files.
	set -f
	ktap_test_fail "$*"
	ktap_print_totals
	exit "$KSFT_FAIL"
}

# port NAME: the device of a virtio-serial port; the driver finds them in its own time.
port() {
	tries=0
	while [ $tries -lt 100 ]; do
		for name in /sys/class/virtio-ports/*/name; do
			if [ "$(cat "$name" 2>/dev/null)" = "$1" ]; then
				name=${name%/name}
				echo "/dev/${name##*/}"
				return
			fi
		done
		tries=$((tries + 1))
		usleep 100000
	done
	echo "the host's port $1 did not appear (is CONFIG_VIRTIO_CONSOLE off?)" >/dev/console
	return 1
}

# reconnect: take new ports, and send what was written to /tmp/output while there were none. The
# driver's ports do not work any more after the machine has slept.
reconnect() {
	for driver in /sys/bus/virtio/drivers/virtio_console/virtio*; do
		echo "${driver##*/}" >"${driver%/*}/unbind"
		echo "${driver##*/}" >"${driver%/*}/bind"
	done
	stdout=$(port lab.stdout) || exit 1
	exec >"$stdout" 2>&1
	cat /tmp/output
}

# now: the time since boot, in whole seconds.
now() {
	cut -d. -f1 /proc/uptime
}

# said BY: what a module has said in the kernel's log, as comments.
said() {
	dmesg | sed -n "s/^\(\[[^]]*\] \)\{0,1\}$1: /# /p"
}

# all_modules: the names of those that do not do all of their work when they are loaded.
# test_bpf runs for long (bpf-ftrace-kprobe.sh loads it), test_vmalloc refuses to stay
# (vmalloc.sh). Live patches stay as long as they are enabled (livepatch.sh).
all_modules() {
	find "/lib/modules/$(uname -r)/kernel" -name '*.ko' ! -name test_bpf.ko \
		! -name test_vmalloc.ko ! -name 'livepatch-*' | sort | xargs -r -n 1 basename -s .ko
}

# Files of /proc have no size: test -s says nothing about them.
modules_are_loaded() {
	grep -q . /proc/modules
}

# unused [MODULE]: loaded modules that nothing uses, the newest first; but not MODULE.
unused() {
	awk -v kept="${1:-}" '$3 == 0 && $1 != kept { print $1 }' /proc/modules
}

# unload_unused [MODULE]: unload all but MODULE; what another uses goes in a later pass.
unload_unused() {
	while [ -n "$(unused "${1:-}")" ]; do
		# shellcheck disable=SC2046
		rmmod $(unused "${1:-}") || return 1
	done
}

# insmod_once PATH [PARAMETER...]: load a module. Busybox's insmod loads one that fails a second
# time.
insmod_once() {
	[ -e /tmp/insmod ] || ln -s /usr/bin/kmod /tmp/insmod
	/tmp/insmod "$@"
}

# run_module PATH [PARAMETER...]: load a module that does its work then and refuses to stay,
# with EAGAIN where the work is done.
run_module() {
	if why=$(insmod_once "$@" 2>&1); then
		echo "$1 stays loaded"
		return 1
	fi
	case $why in
	*'Resource temporarily unavailable'*) ;;
	*)
		echo "$why"
		return 1
		;;
	esac
}

# test_vmalloc PARAMETER...: run the kernel's tests of vmalloc, in two threads; none must fail.
test_vmalloc() {
	run_module "/lib/modules/$(uname -r)/kernel/lib/test_vmalloc.ko" nr_threads=2 \
		test_repeat_count=1 "$@" && ! dmesg | grep 'Summary: .* passed: ' | grep -v ' failed: 0 '
}

# has_secretmem: whether the kernel offers memfd_secret(), which needs single pages of the linear map.
has_secretmem() {
	/lab/lab-programs/churn secretmem 1 >/tmp/secretmem || ! grep -q 'error 38$' /tmp/secretmem
}

# secretmem COUNT: make and free secret memory so often, if the kernel offers it.
secretmem() {
	/lab/lab-programs/churn secretmem "$1" >/tmp/secretmem || grep -q 'error 38$' /tmp/secretmem || {
		cat /tmp/secretmem
		return 1
	}
}

# wait_for JOB...: each of these processes must succeed.
wait_for() {
	failed=0
	for job; do
		wait "$job" || failed=$((failed + 1))
	done
	[ $failed = 0 ] || fail "$failed of the loops failed, see above"
}

# quiet_wakeups: have wakeups of tasks on other CPUs send no function calls, which are counted. How
# many there are depends on the clock; without the queue each is an interrupt of another kind.
quiet_wakeups() {
	[ "$(nproc)" = 1 ] || echo NO_TTWU_QUEUE >/sys/kernel/debug/sched/features ||
		fail 'cannot turn off the queue of wakeups, see above'
}

# no_wx WHEN: there is no mapping that is writable and executable.
no_wx() {
	wx=$(cat /sys/kernel/debug/check_wx_pages) ||
		fail "$1: no check_wx_pages: is CONFIG_PTDUMP_DEBUGFS off?"
	[ "$wx" = SUCCESS ] || fail "$1: check_wx_pages says $wx"
}

# patch_settles PATCH TENTHS: whether, after so many tenths of a second at most, all tasks use the live
# patch, or none does. PATCH is its directory in sysfs.
patch_settles() {
	for attempt in $(seq "$2"); do
		[ "$(cat "$1/transition" 2>/dev/null)" = 1 ] || return 0
		usleep 100000
	done
	return 1
}

# patch_goes PATCH: wait for five seconds at most until a live patch that is off lets its module go.
patch_goes() {
	for attempt in $(seq 50); do
		[ -d "$1" ] || return 0
		usleep 100000
	done
}

# settle: wait until nothing has changed for two seconds, of what the caches hold and how the linear
# map is mapped. A cache keeps a free chunk for one, and half a second later leaves have collapsed.
settle() {
	quiet=0 tries=0 was=
	while [ $quiet -lt 20 ]; do
		is=$(cat /sys/kernel/debug/execmem_cache 2>/dev/null; grep '^DirectMap' /proc/meminfo)
		quiet=$((quiet + 1)) tries=$((tries + 1))
		[ "$is" = "$was" ] || quiet=0
		was=$is
		[ $tries -le 300 ] || fail "after 30 s the caches or the linear map still change: $is"
		usleep 100000
	done
}

# save_tables NAME: leave /lab/out/NAME.dump, NAME.meminfo, NAME.vmstat and, with the caches,
# NAME.execmem_cache, which tell of the same moment: where something has changed the linear map
# meanwhile, they are taken anew.
save_tables() {
	for attempt in 1 2 3 4 5; do
		cat /proc/meminfo >"/lab/out/$1.meminfo"
		cat /proc/vmstat >"/lab/out/$1.vmstat"
		cat /sys/kernel/debug/execmem_cache >"/lab/out/$1.execmem_cache" 2>/dev/null || :
		cat /sys/kernel/debug/kernel_page_tables >"/lab/out/$1.dump" ||
			fail "cannot read kernel_page_tables: is CONFIG_PTDUMP_DEBUGFS off?"
		[ "$(grep '^DirectMap' "/lab/out/$1.meminfo")" != \
			"$(grep '^DirectMap' /proc/meminfo)" ] || return 0
		sleep 1
	done
	# A kernel without the counters never gets here.
	fail "the linear map changes all the time"
}

# cache WHAT: a number of the caches' state, such as "ROX used", or "RO free", in kB.
cache() {
	sed -n "s/^$1:[[:space:]]*\\([0-9]*\\).*/\\1/p" /sys/kernel/debug/execmem_cache
}

# chunks ROX|RO: how many a cache has.
chunks() {
	cache "$1 chunks"
}

# drained: wait until the caches hold what they held when boot_caches was called, and no more in
# use; a shrinker may give back what they keep for a while.
boot_caches() {
	[ -e /sys/kernel/debug/execmem_cache ] ||
		fail 'no execmem_cache in debugfs: has this kernel a ROX cache, and the series?'
	boot_chunks="$(chunks ROX) $(chunks RO)"
	boot_used="$(cache 'ROX used') $(cache 'RO used')"
}
drained() {
	for attempt in $(seq 50); do
		echo 2 >/proc/sys/vm/drop_caches
		[ "$(cache 'ROX used') $(cache 'RO used')" != "$boot_used" ] ||
			[ "$(chunks ROX) $(chunks RO)" != "$boot_chunks" ] || return 0
		usleep 100000
	done
	fail "$1: the caches are not as at boot: $(tr '\n\t' '  ' </sys/kernel/debug/execmem_cache)"
}

# save_text: leave in /lab/out where the text of modules is:
#
#   vmallocinfo   /proc/vmallocinfo
#   sections      "module section address 0", the code sections
#   modules       /proc/modules
save_text() {
	cat /proc/modules >/lab/out/modules
	cat /proc/vmallocinfo >/lab/out/vmallocinfo
	# sysfs gives a section's address to a single read only, which the shell's own is not.
	grep '' /dev/null /sys/module/*/sections/.*text* /sys/module/*/sections/.*plt* 2>/dev/null |
		sed 's,^/sys/module/\([^/]*\)/sections/\([^:]*\):\(.*\)$,\1 \2 \3 0,' >/lab/out/sections
}

# clones ARGUMENT...: lab/programs/clones.c
clones() {
	[ -x /lab/lab-programs/clones ] && [ -e /lab/placement ] ||
		fail 'no lab-programs/clones, or no placement: were they built, and given with --add?'
	/lab/lab-programs/clones "$@" || fail "clones $*, see above"
}

# What lab/modules/tracing/rox_text.c says of modules that are loaded later.
text=/sys/kernel/debug/rox_text

watch_text() {
	insmod_once /lab/tracing/rox_text.ko ||
		fail 'cannot load rox_text.ko: was it built, and lab-modules/tracing given with --add?'
}

# are plain|traced FILE WHEN [MODULE...]: all functions that FILE, "sites" or "fresh", has of these
# modules, or of all.
are() {
	state=$1 file=$2 when=$3
	shift 3
	cat $text/"$file" >/tmp/sites
	column=3
	[ "$state" = plain ] || column=4
	wrong=$(echo "$*" | tr ' ' '\n' | awk -v column=$column '
		NR == FNR { if ($1 != "") { wanted[$1]; some = 1 } next }
		some && !($1 in wanted) { next }
		{ delete wanted[$1]; functions += $2 }
		$column != $2 { print }
		END {
			for (name in wanted) print name " is not watched"
			if (!functions) print "no function"
		}' - /tmp/sites | head -n 5)
	[ -z "$wrong" ] || {
		said rox_text | tail -n 20
		fail "$when: not all functions are $state (module, functions, plain, traced): $wrong"
	}
}

# text_is_same WHEN: text of all modules that are loaded, and of those that are gone, is what the loader
# has left there.
text_is_same() {
	cat $text/changed >/tmp/changed
	grep -q ' same$' /tmp/changed || fail "$1: no module is watched"
	! grep -v ' same$' /tmp/changed || fail "$1: text has changed, see above"
	[ "$(cut -d' ' -f2 $text/gone)" = 0 ] || {
		said rox_text | tail -n 20
		fail "$1: text of modules that are gone had changed"
	}
}
