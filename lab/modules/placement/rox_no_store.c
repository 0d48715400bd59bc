// SPDX-License-Identifier: GPL-2.0
/*
 * While its parameter "failing" is set, no worker can change the trees of mm/execmem.c's caches, as
 * if there were no memory for that. Its parameter "failed" counts what it has refused.
 */

#include <linux/errno.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/maple_tree.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

static bool failing;
module_param(failing, bool, 0600);
MODULE_PARM_DESC(failing, "Let workers fail");

static unsigned int failed;
module_param(failed, uint, 0400);
MODULE_PARM_DESC(failed, "How often they have");

/* As in mm/execmem.c. */
#define PENDING_FREE_MASK	(1 << (PAGE_SHIFT - 1))

/* Returns from what is probed, before it has done anything. */
static int refuse(struct kprobe *probe, struct pt_regs *regs)
{
	const struct ma_state *mas = (const struct ma_state *)regs->regs[0];
	char name[KSYM_SYMBOL_LEN];

	if (!failing || !(current->flags & PF_WQ_WORKER))
		return 0;
	/* The tree is a member of a cache. */
	sprint_symbol_no_offset(name, (unsigned long)mas->tree);
	if (!strstarts(name, "execmem_"))
		return 0;

	failed++;
	regs->regs[0] = -ENOMEM;
	instruction_pointer_set(regs, procedure_link_pointer(regs));

	return 1;
}

static int refuse_store(struct kprobe *probe, struct pt_regs *regs)
{
	/* An area is marked as pending free in place, which takes no memory. */
	return regs->regs[1] & PENDING_FREE_MASK ? 0 : refuse(probe, regs);
}

static struct kprobe probes[] = {
	{ .symbol_name = "mas_store_gfp", .pre_handler = refuse_store },
	{ .symbol_name = "mas_preallocate", .pre_handler = refuse },
};

static int __init rox_no_store_init(void)
{
	struct kprobe *all[] = { &probes[0], &probes[1] };

	return register_kprobes(all, ARRAY_SIZE(all));
}

static void __exit rox_no_store_exit(void)
{
	struct kprobe *all[] = { &probes[0], &probes[1] };

	unregister_kprobes(all, ARRAY_SIZE(all));
}

module_init(rox_no_store_init);
module_exit(rox_no_store_exit);
MODULE_DESCRIPTION("Workers have no memory for the trees of mm/execmem.c");
MODULE_LICENSE("GPL");
