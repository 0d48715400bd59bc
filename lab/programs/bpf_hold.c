// SPDX-License-Identifier: GPL-2.0
/*
 * Loads COUNT BPF programs, holds them for SECONDS, and frees them, so that what a load costs can
 * be told from what a free costs:
 *
 *	bpf_hold COUNT SECONDS
 *
 * Built with the kernel's nolibc, as churn.c. Exits with 0, or with 1 and a message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>

#define INSNS 64
#define MOST 1000

static int load(void)
{
	struct bpf_insn program[INSNS];
	union bpf_attr attr;

	/* r0 = 0; r0 += 1, many times; exit */
	memset(program, 0, sizeof(program));
	program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
	for (int i = 1; i < INSNS - 1; i++) {
		program[i].code = BPF_ALU64 | BPF_ADD | BPF_K;
		program[i].imm = 1;
	}
	program[INSNS - 1].code = BPF_JMP | BPF_EXIT;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_TRACEPOINT;
	attr.insns = (unsigned long)program;
	attr.insn_cnt = INSNS;
	attr.license = (unsigned long)"GPL";
	return syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

int main(int argc, char **argv)
{
	static int programs[MOST];
	int count = argc == 3 ? atoi(argv[1]) : 0;

	if (count < 1 || count > MOST) {
		printf("usage: bpf_hold COUNT SECONDS, COUNT from 1 to %d\n", MOST);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		programs[i] = load();
		if (programs[i] < 0) {
			printf("bpf_hold: bpf(BPF_PROG_LOAD) fails in turn %d, error %d\n", i, errno);
			return 1;
		}
	}
	sleep(atoi(argv[2]));
	for (int i = 0; i < count; i++)
		close(programs[i]);
	return 0;
}
