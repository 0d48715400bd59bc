// SPDX-License-Identifier: GPL-2.0
/*
 * While its parameter "lie" is set, module_text_is_writable() says that all text can be written with
 * plain stores. Its parameter "asked" counts the questions.
 */

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static bool lie;
module_param(lie, bool, 0600);
MODULE_PARM_DESC(lie, "Let the kernel take all text for writable");

static unsigned int asked;
module_param(asked, uint, 0400);
MODULE_PARM_DESC(asked, "How often it has asked");

/* Returns from what is probed, before it has done anything. */
static int answer(struct kprobe *probe, struct pt_regs *regs)
{
	asked++;
	if (!lie)
		return 0;

	regs->regs[0] = true;
	instruction_pointer_set(regs, procedure_link_pointer(regs));

	return 1;
}

static struct kprobe probe = {
	.symbol_name = "module_text_is_writable",
	.pre_handler = answer,
};

static int __init rox_predicate_init(void)
{
	return register_kprobe(&probe);
}

static void __exit rox_predicate_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(rox_predicate_init);
module_exit(rox_predicate_exit);
MODULE_DESCRIPTION("A wrong answer to whether module text can be written");
MODULE_LICENSE("GPL");
