// SPDX-License-Identifier: GPL-2.0
/*
 * Makes and frees, over and over, one kind of kernel memory whose permissions change:
 *
 *	churn secretmem COUNT	pages that the linear map does not map
 *	churn bpf COUNT		programs, whose JIT's memory is read-only and executable
 *
 * Runs in the guest, where there is no C library: it is built with the kernel's nolibc.
 * Exits with 0, or with 1 and a message that names what failed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>

#define PAGES 4

static int fail(const char *what, long turn)
{
	printf("churn: %s fails in turn %ld, error %d\n", what, turn, errno);
	return 1;
}

static int secretmem(long turn)
{
	long size = PAGES * getpagesize();
	int fd = syscall(__NR_memfd_secret, 0);
	char *memory;

	if (fd < 0)
		return fail("memfd_secret", turn);
	if (ftruncate(fd, size))
		return fail("ftruncate", turn);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return fail("mmap", turn);
	for (long at = 0; at < size; at += getpagesize())
		memory[at] = turn;
	munmap(memory, size);
	close(fd);
	return 0;
}

static int bpf(long turn)
{
	/* r0 = 0; exit */
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_TRACEPOINT;
	attr.insns = (unsigned long)program;
	attr.insn_cnt = 2;
	attr.license = (unsigned long)"GPL";
	fd = syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return fail("bpf(BPF_PROG_LOAD)", turn);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int (*step)(long turn) = NULL;
	long count;

	if (argc == 3 && !strcmp(argv[1], "secretmem"))
		step = secretmem;
	else if (argc == 3 && !strcmp(argv[1], "bpf"))
		step = bpf;
	if (!step) {
		printf("usage: churn secretmem|bpf COUNT\n");
		return 2;
	}

	count = atol(argv[2]);
	for (long turn = 1; turn <= count; turn++) {
		if (step(turn))
			return 1;
	}
	printf("churn: %s, %ld times\n", argv[1], count);
	return 0;
}
