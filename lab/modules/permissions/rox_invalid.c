// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous memory that the linear map does not map, in leaves of all sizes: what was made
 * invalid as a whole is a contiguous run, a block, or a run of blocks. Loading the module
 * makes it so. Writing to its parameter "check", such as after a resume from hibernation,
 * fails with EIO unless each page is mapped, or not, as it was, and holds what it held; all
 * is mapped then. Unloading the module frees the memory.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "kernel_tables.h"

/* What is mapped again at once, page by page or together. */
enum restored { NOTHING, SECOND_HALF, EVERY_SECOND_PAGE };

static struct chunk {
	const char *name;
	unsigned int count;
	enum restored restored;
	struct page *pages;
	/* How each page is mapped after that. */
	struct leaf *leaves;
} chunks[] = {
	{ "run", CONT_PTES, NOTHING },
	{ "run, every second page restored", CONT_PTES, EVERY_SECOND_PAGE },
	{ "block", PTRS_PER_PTE, NOTHING },
	{ "block, second half restored", PTRS_PER_PTE, SECOND_HALF },
	{ "block, every second page restored", PTRS_PER_PTE, EVERY_SECOND_PAGE },
	{ "run of blocks", CONT_PMDS * PTRS_PER_PTE, NOTHING },
	{ "run of blocks, second half restored", CONT_PMDS * PTRS_PER_PTE, SECOND_HALF },
};

static struct page *(*alloc_contig)(unsigned long count, gfp_t gfp, int nid,
				    nodemask_t *mask);
static void (*free_contig)(unsigned long pfn, unsigned long count);
static int (*set_valid)(unsigned long addr, int numpages, int enable);
static bool (*page_present)(struct page *page);

static bool is_valid(const struct leaf *leaf)
{
	return leaf->attributes & PTE_VALID;
}

/* A word at each end of a page. */
static unsigned long *words(struct page *page, int end)
{
	return (unsigned long *)(alias_of(page) + (end ? PAGE_SIZE - sizeof(long) : 0));
}

static int make_invalid(struct chunk *chunk)
{
	unsigned long addr = alias_of(chunk->pages);
	unsigned int half = chunk->count / 2;
	int ret;

	for (unsigned int i = 0; i < chunk->count; i++)
		for (int end = 0; end < 2; end++)
			*words(chunk->pages + i, end) = page_to_pfn(chunk->pages + i) + end;

	ret = set_valid(addr, chunk->count, false);
	if (chunk->restored == SECOND_HALF)
		ret = ret ?: set_valid(addr + half * PAGE_SIZE, half, true);
	if (chunk->restored == EVERY_SECOND_PAGE)
		for (unsigned int i = 1; i < chunk->count; i += 2)
			ret = ret ?: set_valid(addr + i * PAGE_SIZE, 1, true);
	if (ret)
		return ret;

	for (unsigned int i = 0; i < chunk->count; i++)
		chunk->leaves[i] = leaf_at(addr + i * PAGE_SIZE);
	pr_info("%s: %u pages, the first invalid in a leaf of %lu KiB%s\n", chunk->name,
		chunk->count, chunk->leaves[0].size / SZ_1K,
		chunk->leaves[0].contiguous ? ", of a run" : "");
	return 0;
}

/* What is valid may be in a larger leaf by now, what is not, is not. */
static bool is_as_before(struct chunk *chunk, unsigned int i)
{
	struct leaf leaf = leaf_at(alias_of(chunk->pages + i));
	struct leaf *before = &chunk->leaves[i];

	if (leaf.phys != before->phys || leaf.attributes != before->attributes)
		return false;
	if (page_present(chunk->pages + i) != is_valid(before))
		return false;
	return is_valid(before) ||
	       (leaf.size == before->size && leaf.contiguous == before->contiguous);
}

static bool holds_words(struct page *page)
{
	return *words(page, 0) == page_to_pfn(page) && *words(page, 1) == page_to_pfn(page) + 1;
}

static int check_chunk(struct chunk *chunk)
{
	unsigned int mapped = 0, held = 0;
	int ret;

	for (unsigned int i = 0; i < chunk->count; i++)
		mapped += is_as_before(chunk, i);

	ret = set_valid(alias_of(chunk->pages), chunk->count, true);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < chunk->count; i++)
		held += holds_words(chunk->pages + i);

	pr_info("%s: of %u pages %u are mapped as before, %u hold what they held\n",
		chunk->name, chunk->count, mapped, held);
	return mapped == chunk->count && held == chunk->count ? 0 : -EIO;
}

static int check_all(const char *value, const struct kernel_param *param)
{
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(chunks); i++)
		ret = check_chunk(&chunks[i]) ?: ret;
	return ret;
}

static const struct kernel_param_ops check_ops = { .set = check_all };
module_param_cb(check, &check_ops, NULL, 0200);
MODULE_PARM_DESC(check, "Check all, and map it again");

static void free_all(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct chunk *chunk = &chunks[i];

		/* If this fails the memory is lost. */
		if (chunk->pages && !set_valid(alias_of(chunk->pages), chunk->count, true))
			free_contig(page_to_pfn(chunk->pages), chunk->count);
		kvfree(chunk->leaves);
	}
}

static int __init rox_invalid_init(void)
{
	int ret = find_kernel_tables();

	if (ret)
		return ret;
	alloc_contig = lookup("alloc_contig_pages_noprof");
	free_contig = lookup("free_contig_range");
	set_valid = lookup("set_memory_valid");
	page_present = lookup("kernel_page_present");
	if (!alloc_contig || !free_contig || !set_valid || !page_present)
		return -ENOENT;

	for (unsigned int i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct chunk *chunk = &chunks[i];

		/* It is aligned to its size. */
		chunk->pages = alloc_contig(chunk->count, GFP_KERNEL, numa_mem_id(), NULL);
		chunk->leaves = kvcalloc(chunk->count, sizeof(*chunk->leaves), GFP_KERNEL);
		ret = chunk->pages && chunk->leaves ? make_invalid(chunk) : -ENOMEM;
		if (ret) {
			pr_err("%s: %d\n", chunk->name, ret);
			free_all();
			return ret;
		}
	}
	return 0;
}

static void __exit rox_invalid_exit(void)
{
	free_all();
}

module_init(rox_invalid_init);
module_exit(rox_invalid_exit);
MODULE_DESCRIPTION("Memory that the linear map does not map, in leaves of all sizes");
MODULE_LICENSE("GPL");
