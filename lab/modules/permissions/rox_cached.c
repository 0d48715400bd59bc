// SPDX-License-Identifier: GPL-2.0
/*
 * What is in the caches of mm/execmem.c, and where its linear alias is. In debugfs, under
 * rox_cached/:
 *
 *   aliases   a line for each physically contiguous part of what the caches hold, in use or
 *             free: "0xSTART-0xEND 0xMAPPING PERMISSION", the addresses of the linear alias,
 *             the address in the cache, and ro, RW or invalid for the alias. A cache
 *             neither takes nor gives memory while it is listed
 *   unsound   a line for each page of the caches that is not as it should be: "0xADDRESS WHAT".
 *             All of it has a read-only alias. What is free is read-only and not executable
 *             in the cache of data. In that of text it is read-only and executable, and
 *             holds nothing but traps, or, for its next owner, writable and not executable.
 *             What is in use is not writable and executable
 *   address   an address to look at
 *   leaf      how it is mapped: "ro" or "RW", and "X" or "nx"; "invalid", or "unmapped"
 *   released  how many blocks have left their cache. What aliases listed before a dump of
 *             the page tables was in a cache throughout, if this is the same afterwards
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "caches.h"

/* brk #0x100, as execmem_fill_trapping_insns() has it. */
#define TRAP	0xd4202000

static struct dentry *dir;
static u64 address;
static atomic_t released;

struct part {
	unsigned long start, end, mapping;
	const char *permission;
};

static void show_part(struct seq_file *file, const struct part *part)
{
	if (part->end != part->start)
		seq_printf(file, "0x%lx-0x%lx 0x%lx %s\n", part->start, part->end,
			   part->mapping, part->permission);
}

static const char *permission_of(const struct leaf *leaf)
{
	if (!(leaf->attributes & PTE_VALID))
		return "invalid";
	return leaf->attributes & PTE_RDONLY ? "ro" : "RW";
}

static void show_tree(struct seq_file *file, struct maple_tree *tree)
{
	MA_STATE(mas, tree, 0, ULONG_MAX);
	void *entry;

	mas_for_each(&mas, entry, ULONG_MAX) {
		struct part part = {};

		for (unsigned long addr = mas.index; addr < mas.last; addr += PAGE_SIZE) {
			struct leaf mapping = leaf_at(addr), alias;
			const char *permission;
			unsigned long start;

			if (!mapping.size) {
				seq_printf(file, "0x0-0x0 0x%lx unmapped\n", addr);
				continue;
			}
			start = (unsigned long)phys_to_virt(mapping.phys);
			alias = leaf_at(start);
			permission = permission_of(&alias);
			if (start != part.end || permission != part.permission) {
				show_part(file, &part);
				part = (struct part) { start, start, addr, permission };
			}
			part.end += PAGE_SIZE;
		}
		show_part(file, &part);
	}
}

static int aliases_show(struct seq_file *file, void *unused)
{
	for (int i = 0; i < CACHES; i++) {
		guard(mutex)(&caches[i]->mutex);
		show_tree(file, &caches[i]->busy_areas);
		show_tree(file, &caches[i]->free_areas);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(aliases);

static bool is_filled(const __le32 *page)
{
	for (int i = 0; i < PAGE_SIZE / sizeof(*page); i++)
		if (le32_to_cpu(page[i]) != TRAP)
			return false;
	return true;
}

/* What is wrong with the page at @addr, if anything. */
static const char *complaint(unsigned long addr, bool busy, bool executable)
{
	struct leaf mapping = leaf_at(addr), alias;

	if (!mapping.size || !(mapping.attributes & PTE_VALID))
		return "is not mapped";
	alias = leaf_at((unsigned long)phys_to_virt(mapping.phys));
	if (!(alias.attributes & PTE_VALID))
		return "has an invalid alias";
	if (!(alias.attributes & PTE_RDONLY))
		return mapping.attributes & PTE_PXN ? "has a writable alias" :
						      "is executable and has a writable alias";
	if (busy)
		return mapping.attributes & (PTE_PXN | PTE_RDONLY) ? NULL :
								     "is writable and executable";
	if (!(mapping.attributes & PTE_RDONLY) && executable && (mapping.attributes & PTE_PXN))
		return NULL;
	if (!(mapping.attributes & PTE_RDONLY))
		return "is free and writable";
	if (executable == !!(mapping.attributes & PTE_PXN))
		return executable ? "is free text and not executable" :
				    "is free data and executable";
	if (executable && !is_filled((void *)addr))
		return "is free text and no trap";
	return NULL;
}

static void complain(struct seq_file *file, struct maple_tree *tree, bool busy, bool executable)
{
	MA_STATE(mas, tree, 0, ULONG_MAX);
	void *entry;

	mas_for_each(&mas, entry, ULONG_MAX) {
		for (unsigned long addr = mas.index; addr < mas.last; addr += PAGE_SIZE) {
			const char *what = complaint(addr, busy, executable);

			if (what)
				seq_printf(file, "0x%lx %s\n", addr, what);
		}
	}
}

static int unsound_show(struct seq_file *file, void *unused)
{
	for (int i = 0; i < CACHES; i++) {
		guard(mutex)(&caches[i]->mutex);
		complain(file, &caches[i]->busy_areas, true, i == TEXT_CACHE);
		complain(file, &caches[i]->free_areas, false, i == TEXT_CACHE);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(unsound);

static int leaf_show(struct seq_file *file, void *unused)
{
	struct leaf leaf = leaf_at(address);

	if (!leaf.size)
		seq_puts(file, "unmapped\n");
	else if (!(leaf.attributes & PTE_VALID))
		seq_puts(file, "invalid\n");
	else
		seq_printf(file, "%s %s\n", permission_of(&leaf),
			   leaf.attributes & PTE_PXN ? "nx" : "X");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(leaf);

static int block_is_released(struct kprobe *probe, struct pt_regs *regs)
{
	atomic_inc(&released);
	return 0;
}

static struct kprobe release_probe = {
	.symbol_name = "execmem_arch_release",
	.pre_handler = block_is_released,
};

static int __init rox_cached_init(void)
{
	int ret;

	ret = find_kernel_tables();
	if (ret)
		return ret;
	find_caches();
	for (int i = 0; i < CACHES; i++) {
		if (!caches[i]) {
			pr_err("the kernel has no %s\n", cache_names[i]);
			return -ENOENT;
		}
	}
	ret = register_kprobe(&release_probe);
	if (ret)
		return ret;
	dir = debugfs_create_dir("rox_cached", NULL);
	debugfs_create_file("aliases", 0400, dir, NULL, &aliases_fops);
	debugfs_create_file("unsound", 0400, dir, NULL, &unsound_fops);
	debugfs_create_x64("address", 0600, dir, &address);
	debugfs_create_file("leaf", 0400, dir, NULL, &leaf_fops);
	debugfs_create_atomic_t("released", 0400, dir, &released);
	return 0;
}

static void __exit rox_cached_exit(void)
{
	debugfs_remove(dir);
	unregister_kprobe(&release_probe);
}

module_init(rox_cached_init);
module_exit(rox_cached_exit);
MODULE_DESCRIPTION("The linear alias of what the caches of mm/execmem.c hold");
MODULE_LICENSE("GPL");
