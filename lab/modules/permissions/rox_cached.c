// SPDX-License-Identifier: GPL-2.0
/*
 * What is in the caches of mm/execmem.c, and where its linear alias is. In debugfs, under
 * rox_cached/:
 *
 *   aliases   a line for each physically contiguous part of what the caches hold, in use or
 *             free: "0xSTART-0xEND 0xMAPPING PERMISSION", the addresses of the linear alias,
 *             the address in the cache, and ro, RW or invalid for the alias. A cache
 *             neither takes nor gives memory while it is listed
 *   released  how many blocks have left their cache. What aliases listed before a dump of
 *             the page tables was in a cache throughout, if this is the same afterwards
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/maple_tree.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "kernel_tables.h"

/* As in mm/execmem.c. */
struct execmem_cache {
	struct mutex mutex;	/* for all below */
	struct maple_tree busy_areas;
	struct maple_tree free_areas;
	unsigned int pending_free_cnt;
};

static const char *const names[] = { "execmem_rox_cache", "execmem_ro_cache" };
static struct execmem_cache *caches[ARRAY_SIZE(names)];
static struct dentry *dir;
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
	for (int i = 0; i < ARRAY_SIZE(caches); i++) {
		guard(mutex)(&caches[i]->mutex);
		show_tree(file, &caches[i]->busy_areas);
		show_tree(file, &caches[i]->free_areas);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(aliases);

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
	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		caches[i] = lookup(names[i]);
		if (!caches[i])
			return -ENOENT;
	}
	ret = register_kprobe(&release_probe);
	if (ret)
		return ret;
	dir = debugfs_create_dir("rox_cached", NULL);
	debugfs_create_file("aliases", 0400, dir, NULL, &aliases_fops);
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
