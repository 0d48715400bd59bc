# SPDX-License-Identifier: GPL-2.0
# What the tests of executable memory share.

DIR="$(dirname "$(readlink -f "$0")")"
# Installed with all tests of arm64, or alone as arm64/execmem.
HELPERS="$DIR/../kselftest/ktap_helpers.sh"
[ -e "$HELPERS" ] || HELPERS="$DIR/../../kselftest/ktap_helpers.sh"
. "$HELPERS"

DEBUGFS=/sys/kernel/debug
TABLES=$DEBUGFS/kernel_page_tables
CACHE=$DEBUGFS/execmem_cache
TRACING=/sys/kernel/tracing
INSTANCE=$TRACING/instances/test_execmem
PARAMETERS=/sys/module/test_execmem/parameters
MODULES="test_execmem_user test_execmem test_execmem_large test_execmem_reloc test_execmem_init"

# module NAME: the file of a test module.
module() {
	echo "$DIR/test_modules/$1.ko"
}

skip_all() {
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

# setup: skip all tests where they cannot run.
setup() {
	ktap_print_header
	[ "$(id -u)" = 0 ] || skip_all "this needs root"
	[ -d $DEBUGFS/sched ] || mount -t debugfs none $DEBUGFS 2>/dev/null
	[ -e $TABLES ] && [ -e $DEBUGFS/check_wx_pages ] ||
		skip_all "no $TABLES: CONFIG_PTDUMP_DEBUGFS is off"
	! grep -qw 'rodata=off' /proc/cmdline || skip_all "rodata=off protects nothing"
	for name in $MODULES; do
		[ -e "$(module $name)" ] || skip_all "no $name.ko: build it with KDIR=kernel build"
	done
	cleanup
	error=$(insmod "$(module test_execmem)" 2>&1) && rmmod test_execmem ||
		skip_all "no module can be loaded here: $error"
	trap cleanup EXIT
	trap 'exit 1' INT TERM HUP
}

cleanup() {
	if [ -d $INSTANCE ]; then
		echo nop >$INSTANCE/current_tracer
		[ ! -d $INSTANCE/events/test_execmem ] ||
			echo 0 >$INSTANCE/events/test_execmem/enable
		rmdir $INSTANCE
	fi
	! grep -qs test_execmem/hit $TRACING/kprobe_events ||
		echo '-:test_execmem/hit' >>$TRACING/kprobe_events
	for name in $MODULES; do
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

# is ADDRESS ro|RW x|NX: whether that is what memory may be used for. F says that a leaf is
# not valid.
is() {
	found=$(leaf "$1")
	case "$found" in
	*" F "*) ;;
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

# linear_map: by leaves of which sizes the linear map is mapped.
linear_map() {
	grep '^DirectMap' /proc/meminfo
}

# steady: wait until nothing has changed for two seconds of what the caches hold and of the
# linear map. Init text goes when the module is loaded, a chunk a second after it is free, and
# leaves collapse after that.
steady() {
	equal=0 before=
	for attempt in $(seq 100); do
		now=$(cat $CACHE 2>/dev/null; linear_map)
		equal=$((equal + 1))
		[ "$now" = "$before" ] || equal=0
		before=$now
		[ $equal -lt 10 ] || return 0
		sleep 0.2
	done
	ktap_print_msg "the caches, or the linear map, change all the time"
}

# same_use BEFORE: the caches hold as much as before, or do so within five seconds.
same_use() {
	for attempt in $(seq 50); do
		[ "$(used)" != "$1" ] || return 0
		sleep 0.1
	done
	ktap_print_msg "the caches held $(echo $1), and hold $(used | xargs)"
	return 1
}
