// SPDX-License-Identifier: GPL-2.0
/* A module whose text is larger than a block of 2 MiB. */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/stringify.h>

asm(".pushsection .text\n"
	".fill " __stringify(SZ_2M) " / 4 + 1024, 4, 0xd503201f\n"
	".popsection");

static int __init test_execmem_large_init(void)
{
	return 0;
}

static void __exit test_execmem_large_exit(void)
{
}

module_init(test_execmem_large_init);
module_exit(test_execmem_large_exit);
MODULE_DESCRIPTION("Has much text");
MODULE_LICENSE("GPL");
