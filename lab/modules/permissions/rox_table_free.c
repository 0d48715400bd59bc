// SPDX-License-Identifier: GPL-2.0
/*
 * A page table of the linear map that is taken out of use when its leaves collapse: who
 * has begun to read it, in an RCU read-side critical section, can go on; afterwards it is
 * freed. Loading the module tests it, and fails with EAGAIN if it was so.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include <asm/tlbflush.h>

#include "kernel_tables.h"

#define TRIES	20

static int (*set_direct_map_invalid)(struct page *page);
static int (*set_direct_map_default)(struct page *page);

/* Take @page out of the linear map and back, which splits the block that it is in. */
static int split_block(struct page *page)
{
	unsigned long addr = alias_of(page);
	int ret;

	ret = set_direct_map_invalid(page) ?: set_direct_map_default(page);
	flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	return ret;
}

/* The table of the last level that maps @addr. */
static struct page *table_at(unsigned long addr)
{
	pud_t *pud = pud_offset(p4d_offset(pgd_offset_pgd(kernel_pgd, addr), addr), addr);

	return pmd_page(pmdp_get(pmd_offset(pud, addr)));
}

/*
 * As a reader who is slow: on another CPU than the worker, which was queued where the block
 * was split. Returns the table, or NULL where leaves collapsed before this began to read,
 * or never.
 */
static struct page *read_slowly(unsigned long addr, bool *kept)
{
	struct page *table;

	guard(rcu)();
	if (leaf_at(addr).size != PAGE_SIZE)
		return NULL;
	table = table_at(addr);
	for (int i = 0; i < 2000 && leaf_at(addr).size == PAGE_SIZE; i++)
		mdelay(1);
	if (leaf_at(addr).size == PAGE_SIZE)
		return NULL;
	/* Time for those who do not wait for readers. */
	mdelay(20);
	*kept = PageTable(table);
	return table;
}

/* Whether @table is freed in the end, and no longer one. */
static bool is_freed(struct page *table)
{
	rcu_barrier();
	for (int i = 0; i < 50 && PageTable(table); i++)
		msleep(20);
	return !PageTable(table);
}

static int test_page(struct page *page)
{
	unsigned int read = 0, freed = 0;

	for (int i = 0; i < TRIES && (!read || !freed); i++) {
		struct page *table;
		bool kept = false;
		int ret;

		ret = set_cpus_allowed_ptr(current, cpumask_of(0)) ?:
		      split_block(page) ?:
		      set_cpus_allowed_ptr(current, cpumask_of(1));
		if (ret)
			return ret;
		table = read_slowly(alias_of(page), &kept);
		if (!table)
			continue;
		read++;
		if (!kept) {
			pr_err("a table was freed while it was read\n");
			return -EIO;
		}
		/* It may be a table elsewhere already: not each time. */
		freed += is_freed(table);
	}
	pr_info("%u tables were read while they were taken out of use, %u seen freed\n", read,
		freed);
	return read && freed ? 0 : -EIO;
}

static int __init rox_table_free_init(void)
{
	struct page *block;
	int ret;

	ret = find_kernel_tables();
	if (ret)
		return ret;
	set_direct_map_invalid = lookup("set_direct_map_invalid_noflush");
	set_direct_map_default = lookup("set_direct_map_default_noflush");
	if (!set_direct_map_invalid || !set_direct_map_default)
		return -ENOENT;
	if (!cpu_online(0) || !cpu_online(1))
		return -ENODEV;

	block = alloc_pages(GFP_KERNEL, get_order(SZ_2M));
	if (!block)
		return -ENOMEM;
	if (leaf_at(alias_of(block)).size >= SZ_2M) {
		ret = test_page(block);
	} else {
		pr_err("there is no block of memory\n");
		ret = -ENOMEM;
	}
	__free_pages(block, get_order(SZ_2M));
	return ret ?: -EAGAIN;
}

module_init(rox_table_free_init);
MODULE_DESCRIPTION("Page tables of the linear map are freed when nobody reads them");
MODULE_LICENSE("GPL");
