// SPDX-License-Identifier: GPL-2.0
/* A live patch for rox_traced_answer(), whose module may be loaded later than this. */

#include <linux/livepatch.h>
#include <linux/module.h>

static const char *rox_klp_answer(void)
{
	return "patched";
}

static struct klp_func funcs[] = {
	{
		.old_name = "rox_traced_answer",
		.new_func = rox_klp_answer,
	}, { }
};

static struct klp_object objects[] = {
	{
		.name = "rox_traced",
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init rox_klp_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit rox_klp_exit(void)
{
}

module_init(rox_klp_init);
module_exit(rox_klp_exit);
MODULE_DESCRIPTION("A live patch for a function of rox_traced");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
