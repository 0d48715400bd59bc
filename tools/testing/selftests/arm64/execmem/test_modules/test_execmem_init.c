// SPDX-License-Identifier: GPL-2.0
/* A module that has no text but that of its init function, which fails. */

#include <linux/init.h>
#include <linux/module.h>

static int __init test_execmem_init_init(void)
{
	return -ENODEV;
}

module_init(test_execmem_init_init);
MODULE_DESCRIPTION("Has init text alone");
MODULE_LICENSE("GPL");
