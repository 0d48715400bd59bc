// SPDX-License-Identifier: GPL-2.0
/*
 * Does over and over one thing that changes kernel page tables, or reads them without a lock:
 *
 *	churn secretmem COUNT	makes pages that the linear map does not map
 *	churn secretmem-8m COUNT	the same with 8 MiB, as much as anybody may have
 *	churn bpf COUNT		makes programs, whose JIT's memory is read-only and executable
 *	churn kexec COUNT	prepares a kexec, for which the linear map's tables are copied
 *	churn perf COUNT	samples for 20 ms how large the pages are that the kernel runs from
 *
 * With a third argument it waits for so many milliseconds after each turn. Where the CPU counts
 * instructions, as QEMU's does with -icount, it says how many the kernel executed on all CPUs.
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
#include <linux/kexec.h>
#include <linux/perf_event.h>
#include <linux/time.h>

#define PAGES 4

static int fail(const char *what, long turn)
{
	printf("churn: %s fails in turn %ld, error %d\n", what, turn, errno);
	return 1;
}

static int secret_bytes(long turn, long size)
{
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

static int secretmem(long turn)
{
	return secret_bytes(turn, PAGES * getpagesize());
}

static int secretmem_8m(long turn)
{
	return secret_bytes(turn, 8 << 20);
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

/* Where the next kernel would be: at memory of this one, which is never free. */
#define KEXEC_DESTINATION 0x41000000UL

static int kexec(long turn)
{
	static char image[4096];
	struct kexec_segment segment = {
		.buf = image,
		.bufsz = sizeof(image),
		.mem = (void *)KEXEC_DESTINATION,
		.memsz = 65536,
	};

	if (syscall(__NR_kexec_load, KEXEC_DESTINATION, 1, &segment, KEXEC_ARCH_AARCH64))
		return fail("kexec_load", turn);
	if (syscall(__NR_kexec_load, 0, 0, NULL, KEXEC_ARCH_AARCH64))
		return fail("kexec_load of nothing", turn);
	return 0;
}

/* As it is sampled. */
struct sample {
	struct perf_event_header header;
	__u64 address, page_size;
};

#define RING_PAGES 8

static long samples;

/* Reads what was sampled; returns what is wrong with it. */
static const char *read_samples(struct perf_event_mmap_page *ring)
{
	char *data = (char *)ring + ring->data_offset;
	__u64 end = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);

	for (__u64 at = ring->data_tail; at < end;) {
		struct perf_event_header header;
		struct sample sample;

		/* Records are of multiples of 8 bytes, as the ring is. */
		for (unsigned int i = 0; i < sizeof(header); i += 8)
			memcpy((char *)&header + i, data + (at + i) % ring->data_size, 8);
		if (!header.size)
			return "perf: a record without a size";
		if (header.type == PERF_RECORD_SAMPLE) {
			for (unsigned int i = 0; i < sizeof(sample); i += 8)
				memcpy((char *)&sample + i, data + (at + i) % ring->data_size, 8);
			/* Of kernel threads alone: perf looks in the tables of the current process. */
			if (sample.page_size & (sample.page_size - 1))
				return "perf: the kernel runs from a page of no size";
			samples += !!sample.page_size;
		}
		at += header.size;
	}
	return NULL;
}

static int perf(long turn)
{
	struct perf_event_attr attr;
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	long page = getpagesize(), size = (1 + RING_PAGES) * page;
	const char *wrong;
	void *ring;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = PERF_TYPE_SOFTWARE;
	attr.config = PERF_COUNT_SW_CPU_CLOCK;
	attr.sample_period = 100 * 1000;
	attr.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_CODE_PAGE_SIZE;
	attr.exclude_user = 1;
	/* All that runs on one CPU; on which one depends on the turn. */
	fd = syscall(__NR_perf_event_open, &attr, -1, (int)(turn % 2), -1, 0);
	if (fd < 0)
		return fail("perf_event_open", turn);
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED)
		return fail("mmap of perf's ring", turn);
	syscall(__NR_nanosleep, &pause, NULL);
	wrong = read_samples(ring);
	munmap(ring, size);
	close(fd);
	return wrong ? fail(wrong, turn) : 0;
}

static const struct {
	const char *name;
	int (*step)(long turn);
} kinds[] = {
	{ "secretmem", secretmem },
	{ "secretmem-8m", secretmem_8m },
	{ "bpf", bpf },
	{ "kexec", kexec },
	{ "perf", perf },
};

#define MAX_CPUS 16

/* Count what the kernel executes on each CPU. Returns how many do. */
static int count_instructions(int *fds)
{
	struct perf_event_attr attr;
	int cpus = 0;

	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = PERF_TYPE_HARDWARE;
	attr.config = PERF_COUNT_HW_INSTRUCTIONS;
	attr.exclude_user = 1;
	attr.pinned = 1;
	while (cpus < MAX_CPUS) {
		fds[cpus] = syscall(__NR_perf_event_open, &attr, -1, cpus, -1, 0);
		if (fds[cpus] < 0)
			break;
		cpus++;
	}
	return cpus;
}

static void say_instructions(const int *fds, int cpus, long count)
{
	__u64 sum = 0, value;

	for (int cpu = 0; cpu < cpus; cpu++) {
		if (read(fds[cpu], &value, sizeof(value)) != sizeof(value))
			return;
		sum += value;
	}
	if (sum)
		printf("churn: %ld thousand instructions of the kernel in each turn\n",
		       (long)(sum / count / 1000));
}

int main(int argc, char **argv)
{
	struct timespec pause = {};
	int (*step)(long turn) = NULL;
	int fds[MAX_CPUS], cpus;
	long count, ms;

	for (unsigned int i = 0; (argc == 3 || argc == 4) &&
	     i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[1], kinds[i].name))
			step = kinds[i].step;
	if (!step) {
		printf("usage: churn secretmem|secretmem-8m|bpf|kexec|perf COUNT [MILLISECONDS]\n");
		return 2;
	}

	count = atol(argv[2]);
	ms = argc == 4 ? atol(argv[3]) : 0;
	pause.tv_sec = ms / 1000;
	pause.tv_nsec = ms % 1000 * 1000 * 1000;
	cpus = count_instructions(fds);
	for (long turn = 1; turn <= count; turn++) {
		if (step(turn))
			return 1;
		if (ms)
			syscall(__NR_nanosleep, &pause, NULL);
	}
	say_instructions(fds, cpus, count);
	printf("churn: %s, %ld times\n", argv[1], count);
	if (step == perf)
		printf("churn: %ld samples with a page size\n", samples);
	return 0;
}
