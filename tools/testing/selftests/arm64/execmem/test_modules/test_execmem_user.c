// SPDX-License-Identifier: GPL-2.0
/* A module that needs test_execmem: without that it has an unresolved symbol. */

#include <linux/init.h>
#include <linux/module.h>

int test_execmem_call(int value);

static int __init test_execmem_user_init(void)
{
	return test_execmem_call(1) == 2 ? 0 : -EINVAL;
}

static void __exit test_execmem_user_exit(void)
{
}

module_init(test_execmem_user_init);
module_exit(test_execmem_user_exit);
MODULE_DESCRIPTION("Calls test_execmem");
MODULE_LICENSE("GPL");
