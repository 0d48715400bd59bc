# SPDX-License-Identifier: GPL-2.0
# What the tests of executable memory share.

DIR="$(dirname "$(readlink -f "$0")")"
. "$DIR"/../../kselftest/ktap_helpers.sh

DEBUGFS=/sys/kernel/debug
TABLES=$DEBUGFS/kernel_page_tables
CACHE=$DEBUGFS/execmem_cache
PARAMETERS=/sys/module/test_execmem/parameters

# module NAME: the file of a test module.
module() {
	echo "$DIR/test_modules/$1.ko"
}

# setup: skip all tests where they cannot run.
setup() {
	ktap_print_header
	[ "$(id -u)" = 0 ] || ktap_skip_all "this needs root"
	[ -d $DEBUGFS/sched ] || mount -t debugfs none $DEBUGFS 2>/dev/null
	[ -e $TABLES ] || ktap_skip_all "no $TABLES: CONFIG_PTDUMP_DEBUGFS is off"
	[ -e "$(module test_execmem)" ] ||
		ktap_skip_all "no test modules: build them with KDIR=kernel build"
	! [ -d /sys/module/test_execmem ] || rmmod test_execmem
	trap cleanup EXIT
}

cleanup() {
	for name in test_execmem_user test_execmem test_execmem_large; do
		[ ! -d /sys/module/$name ] || rmmod $name
	done
}

# result NAME STATUS: a test has passed if the status is 0.
result() {
	if [ "$2" = 0 ]; then
		ktap_test_pass "$1"
	else
		ktap_test_fail "$1"
	fi
}

# rodata: the mode that the kernel was booted with: full, on (rodata=noalias) or off.
rodata() {
	case " $(cat /proc/cmdline) " in
	*" rodata=off "*) echo off ;;
	*" rodata=noalias "*) echo noalias ;;
	*) echo on ;;
	esac
}

# no_wx: nothing is writable and executable.
no_wx() {
	[ "$(cat $DEBUGFS/check_wx_pages)" = SUCCESS ] && return
	ktap_print_msg "memory is writable and executable, see the log of the kernel"
	return 1
}

# leaf ADDRESS: the attributes that the page tables have for it, such as "RW NX".
leaf() {
	awk -v va="$1" '$1 ~ /^0x/ {
			split($1, range, "-")
			if (range[1] <= va && (va < range[2] || range[2] ~ /^0x0*$/)) {
				print
				exit
			}
		}' $TABLES | tr -s ' ' ' '
}

# is ADDRESS ro|RW x|NX: whether that is what memory may be used for.
is() {
	found=$(leaf "$1")
	case "$found" in
	*" $2 $3 "*) return 0 ;;
	esac
	ktap_print_msg "$1 is not $2 $3: ${found:-not mapped}"
	return 1
}

# address NAME: what test_execmem says of itself.
address() {
	cat "$PARAMETERS/$1"
}

# used: how many bytes of the caches are in use; nothing without caches.
used() {
	[ ! -e $CACHE ] || grep 'used:' $CACHE
}

# steady: wait until nothing has changed for half a second of what the caches have in use: init text
# of a module that was just loaded goes a little later.
steady() {
	for attempt in $(seq 20); do
		steady=$(used)
		sleep 0.5
		[ "$(used)" != "$steady" ] || return 0
	done
}

# same_use BEFORE: within five seconds the caches hold as much as before.
same_use() {
	for attempt in $(seq 50); do
		[ "$(used)" != "$1" ] || return 0
		sleep 0.1
	done
	ktap_print_msg "the caches held $(echo $1), and hold $(used | xargs)"
	return 1
}

# linear_map: by leaves of which sizes the linear map is mapped.
linear_map() {
	grep '^DirectMap' /proc/meminfo
}
