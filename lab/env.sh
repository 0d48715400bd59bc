# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Sourced by every lab script: where things are, and how a step reports. It sets
# variables and defines functions; it touches nothing on disk.

set -eu

# say, die: what a step reports, with the script's name; an error says what failed, and the remedy.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# usage: print the comment at the head of the script that runs. wrong: refuse an argument, and say
# which there are.
usage() {
	sed -n '2,/^[^#]/{/^# SPDX/d;s/^#$//p;s/^# //p;}' "$0"
}
wrong() {
	usage >&2
	die "$*"
}
case ${1:-} in
--help | -h)
	usage
	exit
	;;
esac

# cd would print where it went.
unset CDPATH
TOP=$(cd "$(dirname "$0")/.." && while [ ! -e lab/env.sh ] && [ "$PWD" != / ]; do cd ..; done && pwd -P)
OUT=$TOP/out
LAB=$TOP/lab
CACHE=${ROX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arm64-rox}
SERIES=${SERIES:-7.3}
KSRC=${KSRC:-}
TOOLCHAIN=${TOOLCHAIN:-root}
JOBS=${JOBS:-$(nproc)}
# For kmake and kconfig; ARCH itself may be set to what is not for here.
export KERNEL_ARCH="${KERNEL_ARCH:-arm64}"

# What a calling make, or the user's git, is set to is not for what runs here.
unset MAKEFLAGS MFLAGS MAKELEVEL GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=commit.gpgsign GIT_CONFIG_VALUE_0=false \
	GIT_CONFIG_KEY_1=core.hooksPath GIT_CONFIG_VALUE_1=/dev/null \
	GIT_CONFIG_KEY_2=core.autocrlf GIT_CONFIG_VALUE_2=false

case $TOP$CACHE in
*[[:space:]]*) die "the checkout, $TOP, and the cache, $CACHE, must have paths without spaces: move the checkout, or set XDG_CACHE_HOME" ;;
esac
case $TOP/ in
/src/* | /obj/*) die "/src and /obj are taken inside the toolchain root: move the checkout, $TOP, elsewhere" ;;
esac
for dir in "$OUT" "$CACHE"; do
	[ ! -e "$dir" ] || [ -w "$dir" ] ||
		die "$dir is another user's (was make run with sudo once?): run this as that user, or 'sudo chown -R $(id -un) $dir' and this again"
done
case $TOOLCHAIN in
root | host) ;;
*) die "TOOLCHAIN=$TOOLCHAIN: it is root, the default, or host, for this machine's own tools" ;;
esac

# host_has COMMAND/PACKAGE...: with TOOLCHAIN=host, make sure that this machine has each COMMAND.
host_has() {
	[ "$TOOLCHAIN" = host ] || return 0
	for tool; do
		command -v "${tool%/*}" >/dev/null ||
			die "TOOLCHAIN=host, and '${tool%/*}' is missing: install the package ${tool##*/}, or leave TOOLCHAIN at its default"
	done
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
	[ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
		die "'$1' is missing, and there is no sudo: as root, run 'apt-get install $2', then this again"
	say "installing the Debian package $2"
	as_root apt-get install -y -q --no-install-recommends "$2" >/dev/null 2>&1 || {
		as_root apt-get update -q >/dev/null 2>&1 || true
		as_root apt-get install -y -q --no-install-recommends "$2" >/dev/null
	} || die "could not install the package $2: install it by hand and run this again"
}

# apt_mirror: the first mirror of Debian among apt's sources that can be used anywhere, or nothing.
# Cloud images keep theirs in a file of this machine.
apt_mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
		while read -r uri; do
			case $uri in
			http://* | https://*) echo "$uri" ;;
			mirror+file:*)
				uri=${uri#mirror+file:}
				sed -n 's|^\(https\{0,1\}://[^[:space:]]*\).*|\1|p' "${uri%/}"
				;;
			esac
		done | head -n 1
}

# debian_mirror: the mirror that this machine already uses; DEBIAN_MIRROR names another.
debian_mirror() {
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		echo "$DEBIAN_MIRROR"
		return
	fi
	mirror=$(apt_mirror)
	# Without package lists apt does not know which of its sources are Debian's.
	[ -n "$mirror" ] || {
		(as_root apt-get update -q) >/dev/null 2>&1 || :
		mirror=$(apt_mirror)
	}
	[ -n "$mirror" ] || die "no Debian mirror is configured here: set DEBIAN_MIRROR=http://…/debian"
	echo "$mirror"
}

# log_record LOG: "LINES SECONDS" of the last run here that wrote LOG, or else of the run that
# lab/log-records has; nothing where neither is known.
log_record() {
	cat "$CACHE/log-records/${1##*/}" 2>/dev/null || sed -n "s/^${1##*/} //p" "$LAB/log-records"
}

# keep_record LOG SECONDS: keep what a run took that ended well. A run that found most of its work
# done, and wrote fewer than half of the lines, does not count.
keep_record() {
	written=$(wc -l <"$1")
	expected=$(log_record "$1")
	expected=${expected%% *}
	[ $((written * 2)) -ge "${expected:-0}" ] || return 0
	mkdir -p "$CACHE/log-records"
	echo "$written $2" >"$CACHE/log-records/${1##*/}"
}

# progress LOG SECONDS: print how far the run is that has written LOG for so long. A percentage is
# one of lines, or of time where a log has few lines. A run that finds work done ends before 100.
progress() {
	written=$(wc -l <"$1")
	expected=$(log_record "$1")
	far="$written lines"
	if [ "${expected%% *}" -ge 100 ] 2>/dev/null; then
		far=$((written * 100 / ${expected%% *}))
	elif [ "${expected##* }" -gt 0 ] 2>/dev/null; then
		far=$(($2 * 100 / ${expected##* }))
	fi
	case $far in
	*lines) ;;
	??) far="$far %" ;;
	?) far=" $far %" ;;
	*) far='99 %' ;;
	esac
	printf '  %4d s  %s  %.60s\n' "$2" "$far" "$(tail -n 1 "$1" | tr -d '\r')" >&2
}

# logged LOG CMD...: run CMD with its output in LOG, with a sign of life every ten seconds: how far
# it is, and the newest line.
logged() {
	log=$1
	shift
	mkdir -p "$(dirname "$log")"
	# Locks stay here; and mmdebstrap's hooks need file descriptors of one digit.
	"$@" >"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
	job=$!
	trap 'kill $job 2>/dev/null || :; wait $job 2>/dev/null || :; exit 130' INT TERM HUP
	log_started=$(date +%s)
	next=10
	while kill -0 "$job" 2>/dev/null; do
		sleep 1
		now=$(($(date +%s) - log_started))
		if [ "$now" -ge "$next" ]; then
			next=$((now + 10))
			progress "$log" "$now"
		fi
	done
	trap - INT TERM HUP
	wait "$job" || {
		status=$?
		tail -n 15 "$log" | sed 's/^/  | /' >&2
		die "failed with status $status; the whole log is $log"
	}
	keep_record "$log" $(($(date +%s) - log_started))
}

# locked NAME [DIR]: one process at a time past this point, for what is shared in DIR (the cache).
locked() {
	mkdir -p "${2:-$CACHE}"
	exec 9>"${2:-$CACHE}/$1.lock"
	flock -n 9 || {
		say "waiting for another run that is at work on ${2:-$CACHE}/$1"
		until flock -w 10 9; do
			[ ! -e "$OUT/logs/$1.log" ] ||
				printf '  %.60s\n' "$(tail -n 1 "$OUT/logs/$1.log" | tr -d '\r')" >&2
		done
	}
}

# series_topics DIR: the topics in DIR, its directories N-name, in their order.
series_topics() {
	find "$1" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*-*' -printf '%f\n' | sort -n
}

# topic_patches DIR: the patches of the topic in DIR in their order, without the cover letter.
topic_patches() {
	find "$1" -maxdepth 1 -name '[0-9]*.patch' ! -name '0000-*' | LC_ALL=C sort
}

# series_patches DIR: the patches of all topics in DIR in their order.
series_patches() {
	series_topics "$1" | while read -r topic; do
		topic_patches "$1/$topic"
	done
}

# tree_topics TREE: the topics of a tree, its branches N-name, in their order.
tree_topics() {
	git -C "$1" for-each-ref --format='%(refname:lstrip=2)' 'refs/heads/[0-9]*-*' | sort -n
}

# tree_state TREE: what tells one state of a tree's commits and branches from another.
tree_state() {
	git -C "$1" for-each-ref --format='%(objectname) %(refname)' | cat - "$1/.git/HEAD" | sha256sum
}

# check_topics TREE: the topics of a tree stand on each other: base, the first, ..., the last,
# which is rox.
check_topics() {
	below=base number=-1
	for topic in $(tree_topics "$1"); do
		[ "${topic%%-*}" -gt "$number" ] ||
			die "the topics $below and $topic in $1 have one number: rename a branch, as in 'git branch -m $topic 9-name'"
		number=${topic%%-*}
		git -C "$1" merge-base --is-ancestor "$below" "$topic" ||
			die "the topic $topic in $1 does not stand on $below: rebase it, as in 'git rebase -i --update-refs $below rox'; a branch that was left behind is moved by 'git branch -f NAME COMMIT'"
		[ "$(git -C "$1" rev-parse "$below")" != "$(git -C "$1" rev-parse "$topic")" ] ||
			die "the topic $topic in $1 has no commit that $below has not: delete the branch, or move it with 'git branch -f $topic COMMIT'"
		below=$topic
	done
	[ $number -ge 0 ] ||
		die "$1 has no topics: put a branch N-name at the last commit of each, as in 'git branch 1-fixes COMMIT'"
	[ "$(git -C "$1" rev-parse rox)" = "$(git -C "$1" rev-parse "$below")" ] ||
		die "branch rox in $1 is not the head of the last topic, $below: put what is behind that into a topic with 'git rebase -i --autosquash base', or move the branch with 'git branch -f $below rox'"
	[ -z "$(git -C "$1" rev-list --merges base..rox)" ] ||
		die "$1 has merges, which are no patches: rebase rox onto base"
}

# series_config SOURCE: of lab/config/series.config what SOURCE has options for; a topic does not
# have those that later ones add.
series_config() {
	grep '^CONFIG_' "$LAB/config/series.config" | while IFS='=' read -r option value; do
		! git -C "$1" grep -q "^[[:space:]]*\(menu\)\{0,1\}config ${option#CONFIG_}\$" -- '*Kconfig*' ||
			echo "$option=$value"
	done
}

# linked_tree FROM TO: another git tree at the commit of FROM. Its sources are links to those of
# FROM, and so as old; git never writes into a file, but makes a new one.
linked_tree() {
	rm -rf "$2"
	mkdir -p "$(dirname "$2")"
	cp -al "$1" "$2" || return 1
	for entry in "$1"/.git/*; do
		[ "${entry##*/}" != objects ] || continue
		rm -rf "$2/.git/${entry##*/}"
		cp -a "$entry" "$2/.git/" || return 1
	done
	git -C "$2" checkout -q --detach
}

# series_digest PATCH...: what tells one state of patches from another.
series_digest() {
	cat /dev/null "$@" | sha256sum
}

# reads_alike CONFIG A B: whether two headers say the same, line by line, where the options are off
# that CONFIG has off. What includes them need not be built anew then.
reads_alike() {
	off=$(grep -oh 'CONFIG_[A-Za-z0-9_]*' "$2" "$3" | sort -u | while read -r option; do
		grep -q "^${option%_MODULE}=" "$1" || echo "-U$option"
	done)
	# unifdef exits with 1 when it has left something out. Without it nothing reads alike.
	# shellcheck disable=SC2016
	SRC='' OBJ='' "$LAB/in-root" sh -c 'command -v unifdef >/dev/null || exit
		a=$(unifdef -b $3 "$1") || [ $? = 1 ] || exit
		b=$(unifdef -b $3 "$2") || [ $? = 1 ] || exit
		[ "$a" = "$b" ]' sh "$2" "$3" "$off"
}

# newer A B: whether the file A exists and is newer than the file B.
newer() {
	[ -e "$1" ] && [ -n "$(find "$1" -newer "$2")" ]
}
