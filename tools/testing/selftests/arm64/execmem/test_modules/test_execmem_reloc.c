// SPDX-License-Identifier: GPL-2.0
/* A module with a relocation that cannot be applied: an address in 16 bits. */

#include <linux/init.h>
#include <linux/module.h>

asm(".pushsection .data\n"
	".short test_execmem_reloc_exit\n"
	".popsection");

static int __init test_execmem_reloc_init(void)
{
	return 0;
}

void test_execmem_reloc_exit(void);
void test_execmem_reloc_exit(void)
{
}

module_init(test_execmem_reloc_init);
module_exit(test_execmem_reloc_exit);
MODULE_DESCRIPTION("Cannot be relocated");
MODULE_LICENSE("GPL");
