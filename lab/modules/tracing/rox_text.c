// SPDX-License-Identifier: GPL-2.0
/*
 * Watches the text of each module that is loaded after this one: what its functions begin with, which
 * function tracers change, and whether the rest is what the loader has left there. In debugfs, under
 * rox_text/:
 *
 *   fresh    what the functions of loaded modules began with, those in init text too, just before
 *            init: a line "NAME FUNCTIONS PLAIN TRACED" for each, and first one for all that have
 *            been loaded since this one, with "all"
 *   sites    what those in text begin with now, the same without "all"
 *   changed  "NAME same", or "NAME +OFFSET: is IS, was WAS", where text first differs from what it was
 *            when the module was loaded, without a tracer; branches of static keys apart
 *   gone     how many modules are gone, and in how many of them text had changed, tracers apart
 *
 * A function is plain if it begins with "mov x9, x30; nop" behind a pointer to ftrace_nop_ops, and traced
 * if with "mov x9, x30; bl ftrace_caller" behind one to other ops. What is neither is in the log. A kernel
 * without DYNAMIC_FTRACE_WITH_CALL_OPS has no pointers there.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/ftrace.h>
#include <linux/jump_label.h>
#include <linux/kprobes.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define HAS_OPS		IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS)

#define INSN_MOV_X9_LR	0xaa1e03e9
#define INSN_NOP	0xd503201f
#define INSN_BTI_C	0xd503245f

struct counts {
	unsigned int functions;
	unsigned int plain;
	unsigned int traced;
};

/* A module, and its text as the loader has left it. */
struct watched {
	struct list_head list;
	const struct module *mod;
	struct counts fresh;
	void *copy;
};

static LIST_HEAD(watched);
/* For the list, what is in it, and what is counted; it keeps modules that are in the list. */
static DEFINE_MUTEX(lock);

static struct counts all;
static unsigned int gone, gone_changed;

static unsigned long nop_ops;
static unsigned long caller;

/* What a function begins with, and what is before it, if HAS_OPS. */
struct site {
	u64 *ops;
	u32 *insns;
};

static struct site site_at(unsigned long callsite)
{
	struct site site = { .insns = (u32 *)callsite };

	if (HAS_OPS) {
		site.ops = (u64 *)callsite;
		site.insns += 2;
	}
	if (*site.insns == INSN_BTI_C)
		site.insns++;
	return site;
}

/* Where a veneer "adrp x16; add x16, x16; br x16" goes to. */
static unsigned long veneer_target(const struct plt_entry *plt)
{
	u32 adrp = le32_to_cpu(plt->adrp), add = le32_to_cpu(plt->add);
	s64 pages = sign_extend64((adrp >> 5 & 0x7ffff) << 2 | (adrp >> 29 & 3), 20);

	if ((adrp & 0x9f00001f) != 0x90000010 || (add & 0xffc003ff) != 0x91000210 ||
	    le32_to_cpu(plt->br) != 0xd61f0200)
		return 0;
	return ((unsigned long)plt & ~0xfffUL) + pages * 0x1000 + (add >> 10 & 0xfff);
}

static bool calls_tracer(const struct module *mod, const u32 *insn)
{
	unsigned long target;

	if ((*insn & 0xfc000000) != 0x94000000)
		return false;
	target = (unsigned long)insn + sign_extend64(*insn & 0x3ffffff, 25) * 4;
	if (target == (unsigned long)mod->arch.ftrace_trampolines ||
	    target == (unsigned long)mod->arch.init_ftrace_trampolines)
		target = veneer_target((const struct plt_entry *)target);
	return target == caller;
}

static bool is_plain(const struct site *site)
{
	return (!HAS_OPS || *site->ops == nop_ops) && site->insns[0] == INSN_MOV_X9_LR &&
	       site->insns[1] == INSN_NOP;
}

static bool has_tracers_ops(const struct site *site)
{
	const struct ftrace_ops *ops = (const void *)(unsigned long)*site->ops;
	ftrace_func_t func;

	return *site->ops != nop_ops && !get_kernel_nofault(func, &ops->func) && func;
}

static bool is_traced(const struct module *mod, const struct site *site)
{
	return (!HAS_OPS || has_tracers_ops(site)) &&
	       site->insns[0] == INSN_MOV_X9_LR && calls_tracer(mod, &site->insns[1]);
}

static struct counts look(const struct module *mod, bool init_too)
{
	struct counts counts = {};

	for (unsigned int i = 0; i < mod->num_ftrace_callsites; i++) {
		unsigned long callsite = mod->ftrace_callsites[i];
		struct site site;

		if (!within_module_mem_type(callsite, mod, MOD_TEXT) &&
		    !(init_too && within_module_mem_type(callsite, mod, MOD_INIT_TEXT)))
			continue;
		site = site_at(callsite);
		counts.functions++;
		if (is_plain(&site))
			counts.plain++;
		else if (is_traced(mod, &site))
			counts.traced++;
		else
			pr_err("%s: %pS begins with %08x %08x, behind %pS\n", mod->name, site.insns,
			       site.insns[0], site.insns[1],
			       HAS_OPS ? (void *)(unsigned long)*site.ops : NULL);
	}
	return counts;
}

/* Copies text of @mod, and makes functions that are traced plain in the copy. */
static void *copy_text(const struct module *mod)
{
	const struct module_memory *text = &mod->mem[MOD_TEXT];
	void *copy = kvmalloc(text->size, GFP_KERNEL);

	if (!copy)
		return NULL;
	memcpy(copy, text->base, text->size);
	for (unsigned int i = 0; i < mod->num_ftrace_callsites; i++) {
		unsigned long callsite = mod->ftrace_callsites[i];
		struct site site;

		if (!within_module_mem_type(callsite, mod, MOD_TEXT))
			continue;
		site = site_at(callsite);
		if (!is_traced(mod, &site))
			continue;
		if (HAS_OPS)
			*(u64 *)(copy + ((void *)site.ops - text->base)) = nop_ops;
		*(u32 *)(copy + ((void *)&site.insns[1] - text->base)) = INSN_NOP;
	}
	return copy;
}

/* Whether static keys have changed what is at @addr: to a NOP, or to the branch. */
static bool is_static_branch(const struct module *mod, unsigned long addr, u32 insn)
{
	for (unsigned int i = 0; i < mod->num_jump_entries; i++) {
		const struct jump_entry *entry = &mod->jump_entries[i];
		s64 distance = (jump_entry_target(entry) - jump_entry_code(entry)) / 4;

		if (jump_entry_code(entry) == addr)
			return insn == INSN_NOP || insn == (0x14000000 | (distance & 0x3ffffff));
	}
	return false;
}

/* The first offset where @now differs from the copy, static branches apart, or the size of text. */
static unsigned int first_change(const struct watched *w, const void *now)
{
	const struct module_memory *text = &w->mod->mem[MOD_TEXT];
	unsigned int offset;

	for (offset = 0; offset < text->size; offset += 4) {
		u32 insn = *(u32 *)(now + offset);

		if (insn != *(u32 *)(w->copy + offset) &&
		    !is_static_branch(w->mod, (unsigned long)text->base + offset, insn))
			break;
	}
	return offset;
}

static int coming(const struct module *mod)
{
	struct watched *w;

	if (!mod->mem[MOD_TEXT].size)
		return 0;
	w = kzalloc_obj(*w);
	if (!w)
		return -ENOMEM;
	w->mod = mod;
	w->copy = copy_text(mod);
	if (!w->copy) {
		kfree(w);
		return -ENOMEM;
	}
	w->fresh = look(mod, true);
	all.functions += w->fresh.functions;
	all.plain += w->fresh.plain;
	all.traced += w->fresh.traced;
	list_add_tail(&w->list, &watched);
	return 0;
}

static void forget(struct watched *w)
{
	list_del(&w->list);
	kvfree(w->copy);
	kfree(w);
}

static void going(const struct module *mod)
{
	struct watched *w;

	list_for_each_entry(w, &watched, list) {
		unsigned int size = mod->mem[MOD_TEXT].size, offset;
		void *now;

		if (w->mod != mod)
			continue;
		now = copy_text(mod);
		offset = now ? first_change(w, now) : 0;
		if (offset < size) {
			pr_err("%s has other text at +%#x than when it was loaded\n", mod->name,
			       offset);
			gone_changed++;
		}
		gone++;
		kvfree(now);
		forget(w);
		return;
	}
}

static int notify(struct notifier_block *block, unsigned long state, void *mod)
{
	guard(mutex)(&lock);
	if (state == MODULE_STATE_COMING)
		return notifier_from_errno(coming(mod));
	if (state == MODULE_STATE_GOING)
		going(mod);
	return NOTIFY_OK;
}

/* Before all others, some of whom change text, but behind function tracers. */
static struct notifier_block block = { .notifier_call = notify, .priority = INT_MAX };

static void show_counts(struct seq_file *m, const char *name, const struct counts *counts)
{
	seq_printf(m, "%s %u %u %u\n", name, counts->functions, counts->plain, counts->traced);
}

static int fresh_show(struct seq_file *m, void *unused)
{
	struct watched *w;

	guard(mutex)(&lock);
	show_counts(m, "all", &all);
	list_for_each_entry(w, &watched, list)
		show_counts(m, w->mod->name, &w->fresh);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(fresh);

static int sites_show(struct seq_file *m, void *unused)
{
	struct watched *w;

	guard(mutex)(&lock);
	list_for_each_entry(w, &watched, list) {
		struct counts now = look(w->mod, false);

		show_counts(m, w->mod->name, &now);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sites);

static int changed_show(struct seq_file *m, void *unused)
{
	struct watched *w;

	guard(mutex)(&lock);
	list_for_each_entry(w, &watched, list) {
		const void *text = w->mod->mem[MOD_TEXT].base;
		unsigned int offset = first_change(w, text);

		if (offset == w->mod->mem[MOD_TEXT].size)
			seq_printf(m, "%s same\n", w->mod->name);
		else
			seq_printf(m, "%s +%#x: is %08x, was %08x\n", w->mod->name, offset,
				   *(u32 *)(text + offset), *(u32 *)(w->copy + offset));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(changed);

static int gone_show(struct seq_file *m, void *unused)
{
	guard(mutex)(&lock);
	seq_printf(m, "%u %u\n", gone, gone_changed);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(gone);

static struct dentry *dir;

static int __init rox_text_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup_name)(const char *name);
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);
	nop_ops = HAS_OPS ? lookup_name("ftrace_nop_ops") : 0;
	caller = lookup_name("ftrace_caller");
	if ((HAS_OPS && !nop_ops) || !caller)
		return -ENOENT;

	ret = register_module_notifier(&block);
	if (ret)
		return ret;
	dir = debugfs_create_dir("rox_text", NULL);
	debugfs_create_file("fresh", 0400, dir, NULL, &fresh_fops);
	debugfs_create_file("sites", 0400, dir, NULL, &sites_fops);
	debugfs_create_file("changed", 0400, dir, NULL, &changed_fops);
	debugfs_create_file("gone", 0400, dir, NULL, &gone_fops);
	return 0;
}

static void __exit rox_text_exit(void)
{
	struct watched *w, *next;

	debugfs_remove(dir);
	unregister_module_notifier(&block);
	list_for_each_entry_safe(w, next, &watched, list)
		forget(w);
}

module_init(rox_text_init);
module_exit(rox_text_exit);
MODULE_DESCRIPTION("Watches the text of modules");
MODULE_LICENSE("GPL");
