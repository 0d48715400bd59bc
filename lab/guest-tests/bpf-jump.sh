#!/bin/sh
# A BPF program calls a function that is too far away for a branch (lab/modules/permissions).
#
# usage: bpf-jump.sh     needs lab-modules/permissions of the kernel, by --add
. /lab/guest-lib.sh

run_module /lab/permissions/rox_bpf_jump.ko || {
	said rox_bpf_jump
	fail 'rox_bpf_jump, see above'
}
pass 'the address of a long jump is written in read-only executable memory'
