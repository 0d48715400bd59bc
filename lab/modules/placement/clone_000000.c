// SPDX-License-Identifier: GPL-2.0
/*
 * What lab/programs/clones.c loads over and over, each time by another name of the same length and
 * with as much text, init text and read-only data as it likes: it sets the sizes of the three
 * sections that fill, none of which takes space in the file.
 */

#include <linux/cache.h>
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/module.h>

asm(".pushsection .text_fill, \"ax\", %nobits\n.skip 4\n.popsection");
asm(".pushsection .init.text_fill, \"ax\", %nobits\n.skip 4\n.popsection");
asm(".pushsection .rodata_fill, \"a\", %nobits\n.skip 4\n.popsection");

static bool fail;
module_param(fail, bool, 0);
MODULE_PARM_DESC(fail, "Let init fail");

static const u8 table[16] = { 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53 };
static u64 loaded_at __ro_after_init;
static u64 sum = 1;

/* A call of the kernel: by way of a PLT where the text is far away. */
static noinline u64 now(void)
{
	return ktime_get_ns();
}

static int __init clone_init(void)
{
	loaded_at = now();
	for (int i = 0; i < ARRAY_SIZE(table); i++)
		sum = sum * table[i] + loaded_at;

	return fail ? -ENODEV : 0;
}

static void __exit clone_exit(void)
{
	sum -= loaded_at;
}

module_init(clone_init);
module_exit(clone_exit);
MODULE_DESCRIPTION("A module of any size and name");
MODULE_LICENSE("GPL");
