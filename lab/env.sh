# shellcheck shell=sh
# Sourced by every lab script: where things are, and how a step reports. It sets
# variables and defines functions; it touches nothing on disk.

set -eu

TOP=$(cd "$(dirname "$0")/.." && while [ ! -e lab/env.sh ]; do cd ..; done && pwd -P)
OUT=$TOP/out
LAB=$TOP/lab
CACHE=${ROX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arm64-rox}
SERIES=${SERIES:-7.3}
KSRC=${KSRC:-}
TOOLCHAIN=${TOOLCHAIN:-root}
JOBS=${JOBS:-$(nproc)}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die STEP-MESSAGE: every error names the script, what failed and the remedy.
die() {
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# as_root CMD...: run CMD with the right to install packages, or say what to do.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "not root and no sudo: as root, run: $*"
	fi
}

# need COMMAND PACKAGE: make sure that COMMAND exists on this machine.
need() {
	command -v "$1" >/dev/null && return
	command -v apt-get >/dev/null ||
		die "'$1' is missing: install it (Debian package $2) and run this again"
	say "installing the Debian package $2"
	as_root apt-get install -y -q --no-install-recommends "$2" >/dev/null 2>&1 || {
		as_root apt-get update -q >/dev/null 2>&1 || true
		as_root apt-get install -y -q --no-install-recommends "$2" >/dev/null
	} || die "could not install the package $2: install it by hand and run this again"
}

# logged LOG CMD...: run CMD with its output in LOG, with a sign of life every
# ten seconds: the number of log lines so far and the newest one.
logged() {
	log=$1
	shift
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 &
	job=$!
	trap 'kill $job 2>/dev/null || :; exit 130' INT TERM
	log_started=$(date +%s)
	next=10
	while kill -0 "$job" 2>/dev/null; do
		sleep 1
		now=$(($(date +%s) - log_started))
		if [ "$now" -ge "$next" ]; then
			next=$((now + 10))
			printf '  %4d s  %5d lines  %.60s\n' "$now" \
				"$(wc -l <"$log")" "$(tail -n 1 "$log" | tr -d '\r')" >&2
		fi
	done
	trap - INT TERM
	wait "$job" || {
		status=$?
		tail -n 15 "$log" | sed 's/^/  | /' >&2
		die "failed with status $status; the whole log is $log"
	}
}

# locked NAME: one process at a time past this point, for the shared cache.
locked() {
	mkdir -p "$CACHE"
	exec 9>"$CACHE/$1.lock"
	flock 9
}
