// SPDX-License-Identifier: GPL-2.0
/*
 * Boots a kernel by kexec(8)'s system call, with the initramfs and the device tree of the kernel
 * that runs:
 *
 *	kexec_again IMAGE	does not return
 *
 * The running kernel has to be booted with retain_initrd, and by QEMU's machine virt. IMAGE goes to
 * where the first kernel was put; the device tree, which says where the initramfs is, behind it.
 *
 * Runs in the guest, where there is no C library: it is built with the kernel's nolibc.
 * Exits with 1 and a message that names what failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kexec.h>

/* Where QEMU's machine virt has its memory, and an initramfs at the lowest. */
#define IMAGE_AT	0x40200000UL
#define INITRD_AT	0x48000000UL
#define BLOCK		0x200000UL
/* In the header of an Image: how much memory it takes. See Documentation/arch/arm64/booting.rst. */
#define IMAGE_SIZE	16
#define IMAGE_MAGIC	56
#define MAGIC		0x644d5241U
#define FDT_MOST	BLOCK

/*
 * What runs first: ldr x17, image; ldr x0, fdt; mov x1, xzr; mov x2, xzr; mov x3, xzr; br x17; then
 * both addresses.
 */
static struct {
	uint32_t code[6];
	uint64_t image, fdt;
} entry = {
	.code = { 0x580000d1, 0x580000e0, 0xaa1f03e1, 0xaa1f03e2, 0xaa1f03e3, 0xd61f0220 },
};

static char fdt[FDT_MOST];

static int fail(const char *what, const char *name)
{
	printf("kexec_again: %s fails for %s, error %d\n", what, name, errno);
	return 1;
}

static unsigned long round_up(unsigned long value, unsigned long to)
{
	return (value + to - 1) / to * to;
}

static long read_all(const char *name, char *to, long most)
{
	int file = open(name, O_RDONLY);
	long size = 0, got;

	if (file < 0)
		return -1;
	while (size < most && (got = read(file, to + size, most - size)) > 0)
		size += got;
	close(file);
	return size;
}

int main(int argc, char **argv)
{
	unsigned long page = 0x10000, image_size, fdt_at, entry_at;
	struct kexec_segment segments[3];
	struct stat stat;
	long fdt_size;
	char *image;

	if (argc != 2) {
		printf("usage: kexec_again IMAGE\n");
		return 1;
	}
	if (lstat(argv[1], &stat))
		return fail("lstat()", argv[1]);
	image = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (image == MAP_FAILED || read_all(argv[1], image, stat.st_size) != stat.st_size)
		return fail("read()", argv[1]);
	fdt_size = read_all("/sys/firmware/fdt", fdt, FDT_MOST);
	if (fdt_size <= 0 || fdt_size == FDT_MOST)
		return fail("read()", "/sys/firmware/fdt");
	if (stat.st_size < 64 || *(uint32_t *)(image + IMAGE_MAGIC) != MAGIC) {
		printf("kexec_again: %s is not an Image of arm64\n", argv[1]);
		return 1;
	}

	image_size = round_up(*(uint64_t *)(image + IMAGE_SIZE), page);
	fdt_at = round_up(IMAGE_AT + image_size, BLOCK);
	entry_at = fdt_at + BLOCK;
	if (entry_at + BLOCK > INITRD_AT) {
		printf("kexec_again: %s is too large\n", argv[1]);
		return 1;
	}
	entry.image = IMAGE_AT;
	entry.fdt = fdt_at;

	segments[0] = (struct kexec_segment){
		.buf = image, .bufsz = stat.st_size, .mem = (void *)IMAGE_AT, .memsz = image_size,
	};
	segments[1] = (struct kexec_segment){
		.buf = fdt, .bufsz = fdt_size, .mem = (void *)fdt_at, .memsz = BLOCK,
	};
	segments[2] = (struct kexec_segment){
		.buf = &entry, .bufsz = sizeof(entry), .mem = (void *)entry_at, .memsz = page,
	};
	if (syscall(__NR_kexec_load, entry_at, 3, segments, KEXEC_ARCH_DEFAULT))
		return fail("kexec_load()", argv[1]);
	printf("kexec_again: goes\n");
	reboot(LINUX_REBOOT_CMD_KEXEC);
	return fail("reboot()", argv[1]);
}
