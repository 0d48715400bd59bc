// SPDX-License-Identifier: GPL-2.0
/*
 * Reads pages of a file in random places:
 *
 *	file_reads FILE COUNT SEED	COUNT times one page of 4 KiB
 *
 * Runs in the guest, where there is no C library: it is built with the kernel's nolibc.
 * Exits with 0, or with 1 and a message that names what failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL

static char page[PAGE];

static int fail(const char *what, const char *name)
{
	printf("file_reads: %s fails for %s, error %d\n", what, name, errno);
	return 1;
}

/* The next number of Marsaglia's xorshift generator; the state is never 0. */
static unsigned long next(unsigned long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int main(int argc, char **argv)
{
	unsigned long count, state, pages;
	struct stat stat;
	int file;

	if (argc != 4) {
		printf("usage: file_reads FILE COUNT SEED\n");
		return 1;
	}
	count = strtoul(argv[2], NULL, 10);
	state = strtoul(argv[3], NULL, 10) * 2 + 1;

	file = open(argv[1], O_RDONLY);
	if (file < 0 || fstat(file, &stat))
		return fail("open()", argv[1]);
	pages = stat.st_size / PAGE;
	if (!pages) {
		printf("file_reads: %s has no page\n", argv[1]);
		return 1;
	}
	while (count--) {
		if (lseek(file, next(&state) % pages * PAGE, SEEK_SET) < 0)
			return fail("lseek()", argv[1]);
		if (read(file, page, PAGE) != PAGE)
			return fail("read()", argv[1]);
	}
	return 0;
}
