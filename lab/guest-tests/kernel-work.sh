#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Do work that is mostly the kernel's: cached reads in random places, an archive of many files
# packed and unpacked, programs started, a stream over the loopback, names made and removed. For
# lab/tlb, whose plugin takes each sethostname() for the begin of a section; leaves in /lab/out:
#
#   order     the names of the sections, one a line; the guest's init has begun the first
#
# usage: kernel-work.sh [SCALE [GIB]]     how much of each, in units of some hundred million
#                                         instructions (1), and how large the file is (1)
. /lab/guest-lib.sh
scale=${1:-1} gib=${2:-1}
plan 5

# begin NAME: a section begins.
begin() {
	hostname "$1" && echo "$1" >>/lab/out/order
}

# section NAME COMMAND...: do it, as a section.
section() {
	name=$1
	shift
	begin "$name"
	"$@" >/tmp/log 2>&1 || {
		status=$?
		sed 's/^/# /' /tmp/log
		fail "$name: exit status $status"
	}
	begin between
	ktap_test_pass "$name"
}

# stress STRESSOR OPERATIONS: one instance.
stress() {
	stress-ng --temp-path /tmp/work --"$1" 1 --"$1"-ops "$2"
}

archive() {
	for turn in $(seq "$scale"); do
		mkdir /tmp/work/tree && tar -C /lib/modules -cf - . | tar -C /tmp/work/tree -xf - &&
			tar -C /tmp/work/tree -cf /tmp/work/archive . && rm -rf /tmp/work/tree || return
	done
}
programs() {
	for turn in $(seq $((scale * 100))); do
		/bin/busybox true || return
	done
}

echo start >/lab/out/order
mkdir /tmp/work
# tmpfs has half of the memory as it is.
mount -o remount,size=$((gib + 1))g /tmp || fail 'remount of /tmp'
dd if=/dev/zero of=/tmp/work/file bs=1M count=$((gib * 1024)) 2>/dev/null || fail "no space for a file of $gib GiB"
# It starts slowly: have its pages in the page cache.
stress-ng --version >/dev/null

section read /lab/lab-programs/file_reads /tmp/work/file $((scale * 100000)) 1
section archive archive
section exec programs
section socket stress sock $((scale * 300))
section names stress dentry $((scale * 4000))
# What follows the last mark does not count.
sed -i '$d' /lab/out/order
ktap_finished
