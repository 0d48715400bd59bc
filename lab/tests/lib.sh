# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# What the tests share: what they need, guests, and the page-table reader. Sourced by run, after env.sh,
# together with all other files here, each of which has the functions of some tests.

LOGS=$OUT/check
SCRIPTS=$LAB/guest-tests

# Each kernel that a test, or a target of the Makefile, builds, and what lab/kernel makes it with.
KERNELS='kernel-4k
kernel-16k --pages 16k
kernel-64k --pages 64k
kernel-debug --debug
kernel-norox --without-rox
kernel-x86 --x86
kernel-features --variant features
kernel-cfi --variant cfi
kernel-64k-modules --pages 64k --all-modules
module-load-4k --module-load
stock-4k --stock
stock-16k --stock --pages 16k
stock-64k --stock --pages 64k'

# provide NEED: make sure that a kernel, the tree, or tool-NAME, one of the Rust tools, is what the sources
# say; once in each run of lab/check, whose directory is CHECK_RUN.
provide() {
	[ ! -e "${CHECK_RUN:+$CHECK_RUN/has-$1}" ] || return 0
	case $1 in
	tree) "$LAB/toolchain" && "$LAB/tree" ;;
	tool-*) "$LAB/cargo" build --release -p "${1#tool-}" ;;
	*)
		options=$(echo "$KERNELS" | grep "^$1\( \|\$\)") || {
			echo "no kernel is named '$1'; there are: $(echo "$KERNELS" | cut -d' ' -f1 | xargs)"
			return 1
		}
		# shellcheck disable=SC2086
		"$LAB/kernel" ${options#"$1"}
		;;
	esac || return 1
	[ -z "${CHECK_RUN:-}" ] || : >"$CHECK_RUN/has-$1"
}
# Where the Rust tools are built, and the plugins for QEMU.
TOOLS=$OUT/cargo/release

kpt() {
	provide tool-kpt || return 2
	"$LAB/in-root" "$TOOLS/kpt" "$@"
}

# restored NAME FIRST [BETWEEN] LAST: at the last of these moments the linear map is mapped as at
# the first, no page table was lost, and at each of them the kernel counts what there is.
restored() {
	name=$1 first=$2
	shift
	for moment; do
		set -- "$@" "$LOGS/$name/$moment"
		shift
	done
	kpt restored "$LOGS/$name/$first.dump" "$LOGS/$name/$moment.dump" && kpt counters "$@"
}

# parse_ktap RESULTS PARSED: have the kernel's own reader of KTAP make the file PARSED. This fails for a
# result that is "not ok", for a plan that is not met, and for what is no KTAP.
parse_ktap() {
	reader=$OUT/linux/tools/testing/kunit/kunit.py
	[ -e "$reader" ] || provide tree || return 1
	"$LAB/in-root" python3 -B "$reader" parse "$1" >"$2" && ! grep -q '^\[[0-9:]*\] \[ERROR\] ' "$2" || {
		cat "$2"
		echo "$1: a test has failed, or there are less results than planned"
		return 1
	}
	tail -n 1 "$2"
}

# guest NAME KERNEL CPU [OPTION...] SCRIPT...: one guest run with its files in out/check/NAME/, among them
# what the script prints, "results", and what parse_ktap makes of it, "parsed". Status 77: what the test is
# for was skipped in part, or all of it, and skips_allowed is not set.
# machine: what a configuration has all of its guests get, options of lab/guest without spaces.
machine=
skips_allowed=
guest() {
	dir=$LOGS/$1 kernel=$2 cpu=$3
	shift 3
	rm -rf "$dir"
	mkdir -p "$dir"
	{
		ended=0
		# shellcheck disable=SC2086
		"$LAB/guest" --kernel "$OUT/$kernel" --cpu "$cpu" --out "$dir" --log "$dir/console.log" \
			$machine "$@" || ended=$?
		echo "$ended" >"$dir/status"
	} | tee "$dir/results"
	ended=$(cat "$dir/status")
	case $ended in
	0) ;;
	# kselftest's status for what cannot be tested here; meson's is another.
	4) return 77 ;;
	*) return "$ended" ;;
	esac
	parse_ktap "$dir/results" "$dir/parsed" || return 1
	[ -n "$skips_allowed" ] || ! grep '^\[[0-9:]*\] \[SKIPPED\] ' "$dir/parsed" || return 77
}

# fails_with STATUS COMMAND...: COMMAND must exit with STATUS.
fails_with() {
	wanted=$1
	shift
	got=0
	"$@" || got=$?
	[ "$got" = "$wanted" ] || {
		echo "exit status $got instead of $wanted"
		return 1
	}
}
