// SPDX-License-Identifier: GPL-2.0
/*
 * Fragments all memory that is free: of each block of 2 MiB that can be had it keeps one page, and
 * frees the others. The page does not move, so compaction finds no block either. Unloading frees all
 * of them.
 *
 * The parameter "blocks" says of how many blocks it keeps a page.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>

static unsigned int blocks;
module_param(blocks, uint, 0444);
MODULE_PARM_DESC(blocks, "how many blocks are taken apart");

static LIST_HEAD(kept);

static void free_kept(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &kept, lru)
		__free_page(page);
	INIT_LIST_HEAD(&kept);
}

/* Take blocks apart until there are none. Returns how many there were. */
static unsigned int fragment(void)
{
	unsigned int order = get_order(SZ_2M), count = 0;
	struct page *page, *next;
	LIST_HEAD(taken);

	/* All that the page allocator has, below its watermarks too: most of it is free again at once. */
	while ((page = alloc_pages(GFP_NOWAIT | __GFP_MEMALLOC | __GFP_NOWARN, order)))
		list_add(&page->lru, &taken);

	/* What is freed is not asked for again. */
	list_for_each_entry_safe(page, next, &taken, lru) {
		list_del(&page->lru);
		split_page(page, order);
		for (unsigned int i = 1; i < 1U << order; i++)
			__free_page(page + i);
		list_add(&page->lru, &kept);
		count++;
	}
	return count;
}

static int __init fragment_init(void)
{
	unsigned int more;

	/* Others free memory meanwhile. */
	do {
		more = fragment();
		blocks += more;
	} while (more);
	pr_info("%u blocks\n", blocks);
	return 0;
}

static void __exit fragment_exit(void)
{
	free_kept();
}

module_init(fragment_init);
module_exit(fragment_exit);
MODULE_DESCRIPTION("Fragments all free memory");
MODULE_LICENSE("GPL");
