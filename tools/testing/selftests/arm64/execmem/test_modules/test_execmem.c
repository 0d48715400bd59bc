// SPDX-License-Identifier: GPL-2.0
/*
 * A module that says where it is: its parameters text, rodata and data are virtual
 * addresses of its own, and *_alias the linear aliases of these. With fail=1 its init
 * function fails.
 */

#include <linux/init.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/vmalloc.h>

int test_execmem_call(int value);

static const unsigned long rodata[] = { 1, 2, 3, 4 };
static unsigned long data[] = { 1, 2, 3, 4 };

static bool fail;
module_param(fail, bool, 0400);
MODULE_PARM_DESC(fail, "the init function fails");

/* Calls test_execmem_call(), for probes and the function tracer. */
static int call_set(const char *value, const struct kernel_param *kp)
{
	return test_execmem_call(1) == 2 ? 0 : -EINVAL;
}

static const struct kernel_param_ops call_ops = { .set = call_set };
module_param_cb(call, &call_ops, NULL, 0200);

static int address_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "0x%016lx\n", (unsigned long)kp->arg);
}

static int alias_get(char *buffer, const struct kernel_param *kp)
{
	struct page *page = vmalloc_to_page(kp->arg);

	/* Not page_address(), which has the tag of KASAN. */
	return sysfs_emit(buffer, "0x%016lx\n", (unsigned long)__va(page_to_phys(page)));
}

static const struct kernel_param_ops address_ops = { .get = address_get };
static const struct kernel_param_ops alias_ops = { .get = alias_get };

module_param_cb(text, &address_ops, test_execmem_call, 0400);
module_param_cb(text_alias, &alias_ops, test_execmem_call, 0400);
module_param_cb(rodata, &address_ops, (void *)rodata, 0400);
module_param_cb(rodata_alias, &alias_ops, (void *)rodata, 0400);
module_param_cb(data, &address_ops, data, 0400);
module_param_cb(data_alias, &alias_ops, data, 0400);

noinline int test_execmem_call(int value)
{
	return value + 1;
}
EXPORT_SYMBOL_GPL(test_execmem_call);

static int __init test_execmem_init(void)
{
	return fail ? -EINVAL : 0;
}

static void __exit test_execmem_exit(void)
{
}

module_init(test_execmem_init);
module_exit(test_execmem_exit);
MODULE_DESCRIPTION("Says where its memory is");
MODULE_LICENSE("GPL");
