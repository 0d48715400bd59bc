// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that change permissions of page ranges beside each other, inside the same
 * blocks, and look at every page after each change: its mapping, its linear alias, and
 * what can be done with it. Loading the module runs them, and fails with EIO if anything
 * was not as it should be; the first such thing is a WARN.
 *
 * A part has one owner, and its size is rarely that of anything the hardware knows.
 * Beside those that call set_memory_*(), threads take single pages out of the linear map
 * and back, as secretmem does, in blocks that the others change too.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/cacheflush.h>
#include <asm/tlbflush.h>

#include "kernel_tables.h"

static unsigned int seconds = 60;
module_param(seconds, uint, 0400);
MODULE_PARM_DESC(seconds, "how long the threads run");

static unsigned int round = 10;
module_param(round, uint, 0400);
MODULE_PARM_DESC(round, "seconds until all is freed, and allocated anew in blocks");

static unsigned int threads = 6;
module_param(threads, uint, 0400);
MODULE_PARM_DESC(threads, "threads that call set_memory_*()");

static unsigned int direct_threads = 2;
module_param(direct_threads, uint, 0400);
MODULE_PARM_DESC(direct_threads, "threads that call set_direct_map_*_noflush()");

static int huge = -1;
module_param(huge, int, 0400);
MODULE_PARM_DESC(huge, "permissions of huge vmalloc areas: 1 can change, 0 cannot, -1 either");

static struct vm_struct *(*find_area)(const void *addr);
static int (*set_direct_map_invalid)(struct page *page);
static int (*set_direct_map_default)(struct page *page);
static long (*write_nofault)(void *to, const void *from, size_t size);

/*
 * Parts of an area, over and over. The small ones straddle contiguous runs and, since
 * their sum does not divide a block, block boundaries; the large ones are whole blocks,
 * and blocks with a page more or less.
 */
static const unsigned int small_parts[] = { 1, 3, 15, 16, 17, 0 };
static const unsigned int large_parts[] = { 512, 513, 511, 1, 496, 15, 0 };

enum kind { PAGES, HUGE, SCATTERED };

static struct area {
	const char *name;
	enum kind kind;
	unsigned long size;
	const unsigned int *sizes;
	/* Leave it to vfree() to reset the linear alias. */
	bool reset;

	unsigned long addr;
	unsigned int pages;
	struct page **page;
	u8 *flags;
	pteval_t attributes;
	bool refused;
} areas[] = {
	{ "pages", PAGES, SZ_4M + SZ_64K, small_parts },
	{ "pages, reset by vfree", PAGES, SZ_1M, small_parts, .reset = true },
	{ "huge", HUGE, SZ_8M, small_parts },
	{ "huge, whole blocks", HUGE, SZ_8M, large_parts },
	{ "huge, reset by vfree", HUGE, SZ_4M, small_parts, .reset = true },
	{ "contiguous runs", HUGE, SZ_1M, small_parts },
	{ "scattered pages", SCATTERED, SZ_2M + SZ_1M, small_parts },
};

struct part {
	struct area *area;
	unsigned int first, count;
};

/* The owner of a part is the thread with the number of its index modulo their number. */
static struct part *parts;
static unsigned int part_count;

/* For set_direct_map_*(), with owners in the same way. From the blocks of the scattered. */
static struct page **direct_pages;
static unsigned int direct_count;

static bool alias_protected;
/*
 * Leaves of the linear map keep their size: aliases of parts stay writable, such memory cannot become
 * executable, and huge areas are left alone.
 */
static bool whole_leaves;
static bool direct_map_changes;
static pteval_t alias_attributes;

static atomic_long_t call_count[CALLS];
static atomic_long_t pages_checked, writes, executions, direct_calls, problems;
static atomic_t next_value;

/* Count, and say once. */
#define problem(fmt, ...)							\
do {										\
	if (atomic_long_inc_return(&problems) == 1)				\
		WARN(1, "rox_perm_threads: " fmt "\n", ##__VA_ARGS__);		\
} while (0)

static void check_leaf(const char *what, const char *name, unsigned long addr,
		       struct page *page, pteval_t attributes)
{
	struct leaf leaf = leaf_at(addr);

	if (!leaf.size || leaf.phys != page_to_phys(page) || leaf.attributes != attributes)
		problem("%s of '%s' at %lx: %lx bytes map %pa with %llx, not %llx with %llx",
			what, name, addr, leaf.size, &leaf.phys, leaf.attributes,
			(u64)page_to_phys(page), attributes);
	/* There is no hurry, but after a first problem also no patience. */
	else if (leaf.contiguous && !run_settles(addr, !atomic_long_read(&problems)))
		problem("%s of '%s' at %lx: in a contiguous run that is none", what, name, addr);
	else if ((leaf.tables & TABLE_PXN && !(attributes & PTE_PXN)) ||
		 (leaf.tables & TABLE_RDONLY && attributes & PTE_WRITE))
		problem("%s of '%s' at %lx: a table above forbids what %llx permits (%llx)",
			what, name, addr, attributes, leaf.tables);
}

/* Behind the instructions that every page starts with. */
#define VALUE_OFFSET	64

static void check_write(const char *what, const char *name, unsigned long addr,
			bool writable)
{
	u32 value = atomic_inc_return(&next_value);
	long ret = write_nofault((void *)(addr + VALUE_OFFSET), &value, sizeof(value));

	if (ret != (writable ? 0 : -EFAULT))
		problem("%s of '%s' at %lx: a write returns %ld, it should %ssucceed",
			what, name, addr, ret, writable ? "" : "not ");
	atomic_long_inc(&writes);
}

static void check_page(struct area *area, unsigned int index)
{
	unsigned long addr = area->addr + index * PAGE_SIZE;
	struct page *page = area->page[index];
	unsigned long alias = alias_of(page);
	bool readonly = area->flags[index] & READONLY;
	bool executable = area->flags[index] & EXECUTABLE;
	bool alias_readonly = readonly && alias_protected;
	long before = atomic_long_read(&problems);

	check_leaf("mapping", area->name, addr, page,
		   attributes_with(area->attributes, readonly, executable));
	check_leaf("alias", area->name, alias, page,
		   attributes_with(alias_attributes, alias_readonly, false));
	check_write("alias", area->name, alias, !alias_readonly);
	check_write("mapping", area->name, addr, !readonly);
	if (!readonly && READ_ONCE(*(u32 *)(addr + VALUE_OFFSET)) !=
			 READ_ONCE(*(u32 *)(alias + VALUE_OFFSET)))
		problem("'%s' at %lx and its alias %lx are not the same memory",
			area->name, addr, alias);

	if (executable && atomic_long_read(&problems) == before) {
		unsigned int (*function)(void) = (void *)addr;

		if (function() != index)
			problem("'%s' at %lx executes what another page holds", area->name, addr);
		atomic_long_inc(&executions);
	}
	atomic_long_inc(&pages_checked);
}

static void check_pages(struct area *area, unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < first + count; i++)
		check_page(area, i);
}

static bool may_call(struct area *area, unsigned int first, unsigned int count, int call)
{
	if (whole_leaves && (area->kind == HUGE || calls[call].set & EXECUTABLE))
		return false;
	for (unsigned int i = first; i < first + count; i++)
		if ((area->flags[i] & calls[call].needs) != calls[call].needs ||
		    area->flags[i] & calls[call].rules_out)
			return false;
	return true;
}

static void make_call(struct area *area, unsigned int first, unsigned int count, int call)
{
	int ret = calls[call].function(area->addr + first * PAGE_SIZE, count);
	int expected = area->refused ? -EINVAL : 0;

	atomic_long_inc(&call_count[call]);
	if (ret != expected)
		problem("%s of %u pages from %u of '%s' returns %d, not %d",
			calls[call].name, count, first, area->name, ret, expected);
	if (!ret)
		update_flags(area->flags + first, count, call);
}

static int change_permissions(void *data)
{
	unsigned int owner = (unsigned long)data;
	unsigned int owned = (part_count - owner + threads - 1) / threads;

	while (!kthread_should_stop()) {
		struct part *part = &parts[owner + threads * get_random_u32_below(owned)];
		unsigned int first = part->first, count = part->count;
		int call = get_random_u32_below(CALLS);

		if (get_random_u32_below(2)) {
			first += get_random_u32_below(count);
			count = get_random_u32_inclusive(1, part->first + count - first);
		}
		if (!may_call(part->area, first, count, call))
			continue;
		make_call(part->area, first, count, call);
		/* More than what was changed: the rest is the thread's as well. */
		check_pages(part->area, part->first, part->count);
		cond_resched();
	}
	return 0;
}

static void check_direct_page(struct page *page)
{
	unsigned long addr = alias_of(page);
	pteval_t invalid = (alias_attributes & ~PTE_PRESENT_VALID_KERNEL) | PTE_PRESENT_INVALID;
	u32 value;
	int ret;

	ret = set_direct_map_invalid(page);
	if (ret)
		problem("set_direct_map_invalid_noflush at %lx returns %d", addr, ret);
	flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	check_leaf("invalid page", "direct map", addr, page, invalid);
	if (copy_from_kernel_nofault(&value, (void *)addr, sizeof(value)) != -EFAULT)
		problem("the invalid page at %lx can be read", addr);

	ret = set_direct_map_default(page);
	if (ret)
		problem("set_direct_map_default_noflush at %lx returns %d", addr, ret);
	flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	check_leaf("default page", "direct map", addr, page, alias_attributes);
	check_write("default page", "direct map", addr, true);
	atomic_long_add(2, &direct_calls);
}

static int change_direct_map(void *data)
{
	unsigned int owner = (unsigned long)data;
	unsigned int owned = (direct_count - owner + direct_threads - 1) / direct_threads;

	while (!kthread_should_stop()) {
		check_direct_page(direct_pages[owner + direct_threads *
					       get_random_u32_below(owned)]);
		/* This is fast, and only there to disturb the others. */
		usleep_range(100, 200);
	}
	return 0;
}

/* A function that returns @index. */
static void write_function(u32 *text, unsigned int index)
{
	text[0] = 0xd503245f;			/* bti c */
	text[1] = 0x52800000 | index << 5;	/* mov w0, #index */
	text[2] = 0xd65f03c0;			/* ret */
}

/*
 * An area of pages that are neighbours of pages in direct_pages: of each four pages of a
 * block one goes there. In a half of the area they come in runs of three, in the other in
 * random order.
 */
static void *alloc_scattered(unsigned int count)
{
	unsigned int per_block = SZ_2M / PAGE_SIZE, taken = 0;
	struct page **pages, *block = NULL;
	struct vm_struct *vm;
	void *addr;

	/* vfree() frees it. */
	pages = kvmalloc_array(count, sizeof(*pages), GFP_KERNEL);
	direct_pages = kvmalloc_array(count, sizeof(*direct_pages), GFP_KERNEL);
	if (!pages || !direct_pages)
		goto err;

	for (unsigned int i = 0; taken < count; i++) {
		if (i % per_block == 0) {
			block = alloc_pages(GFP_KERNEL, get_order(SZ_2M));
			if (!block)
				goto err;
			split_page(block, get_order(SZ_2M));
		}
		if (i % 4 == 3)
			direct_pages[direct_count++] = block + i % per_block;
		else
			pages[taken++] = block + i % per_block;
		/* What is left of the last block. */
		if (taken == count)
			for (i++; i % per_block; i++)
				__free_page(block + i % per_block);
	}
	for (unsigned int i = count - 1; i > count / 2; i--) {
		unsigned int other = get_random_u32_inclusive(count / 2, i);

		swap(pages[i], pages[other]);
	}

	addr = vmap(pages, count, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	if (!addr)
		goto err;
	/* As vmalloc() has it, which is what set_memory_*() want. */
	vm = find_area(addr);
	vm->flags |= VM_ALLOC;
	return addr;

err:
	while (taken)
		__free_page(pages[--taken]);
	kvfree(pages);
	return NULL;
}

static int alloc_area(struct area *area)
{
	struct vm_struct *vm;
	struct leaf leaf;
	void *addr;

	switch (area->kind) {
	case PAGES:
		addr = vmalloc(area->size);
		break;
	case HUGE:
		addr = vmalloc_huge(area->size, GFP_KERNEL);
		break;
	case SCATTERED:
		addr = alloc_scattered(area->size / PAGE_SIZE);
		break;
	}
	if (!addr)
		return -ENOMEM;

	area->addr = (unsigned long)addr;
	area->pages = area->size / PAGE_SIZE;
	area->page = kvcalloc(area->pages, sizeof(*area->page), GFP_KERNEL);
	if (!area->page)
		return -ENOMEM;
	/* Comes last: who has flags has pages. */
	area->flags = kvzalloc(area->pages, GFP_KERNEL);
	if (!area->flags)
		return -ENOMEM;

	vm = find_area(addr);
	if (area->reset)
		vm->flags |= VM_FLUSH_RESET_PERMS;
	memcpy(area->page, vm->pages, area->pages * sizeof(*area->page));
	for (unsigned int i = 0; i < area->pages; i++)
		write_function(addr + i * PAGE_SIZE, i);
	flush_icache_range(area->addr, area->addr + area->size);

	leaf = leaf_at(area->addr);
	area->attributes = leaf.attributes;
	if (!alias_attributes)
		alias_attributes = leaf_at(alias_of(area->page[0])).attributes;
	pr_info("'%s': %u pages in leaves of %lu KiB%s, alias at %lx in leaves of %lu KiB\n",
		area->name, area->pages, leaf.size / SZ_1K, leaf.contiguous ? " in runs" : "",
		alias_of(area->page[0]), leaf_at(alias_of(area->page[0])).size / SZ_1K);
	return 0;
}

/* Whether the permissions of huge areas can change, as a call says, and as they should. */
static void try_huge(struct area *area)
{
	int ret = calls[RO].function(area->addr, 1);

	if (huge >= 0 && ret != (huge ? 0 : -EINVAL))
		problem("the first change of '%s' returns %d", area->name, ret);
	area->refused = ret == -EINVAL;
	if (!ret)
		area->flags[0] |= READONLY;
}

static int make_parts(void)
{
	unsigned int most = 0;

	for (int i = 0; i < ARRAY_SIZE(areas); i++)
		most += areas[i].pages;
	parts = kvmalloc_array(most, sizeof(*parts), GFP_KERNEL);
	if (!parts)
		return -ENOMEM;

	for (int i = 0; i < ARRAY_SIZE(areas); i++) {
		struct area *area = &areas[i];
		const unsigned int *size = area->sizes;

		for (unsigned int first = 0; first < area->pages; first += *size++) {
			if (!*size)
				size = area->sizes;
			parts[part_count++] = (struct part) {
				.area = area,
				.first = first,
				.count = min(*size, area->pages - first),
			};
		}
	}
	return 0;
}

static int run_threads(unsigned int duration)
{
	struct task_struct **task;
	unsigned int started;
	int ret = 0;

	task = kcalloc(threads + direct_threads, sizeof(*task), GFP_KERNEL);
	if (!task)
		return -ENOMEM;
	for (started = 0; started < threads + direct_threads; started++) {
		if (started < threads)
			task[started] = kthread_run(change_permissions,
						    (void *)(unsigned long)started,
						    "rox_perm/%u", started);
		else
			task[started] = kthread_run(change_direct_map,
						    (void *)(unsigned long)(started - threads),
						    "rox_direct/%u", started - threads);
		if (IS_ERR(task[started])) {
			ret = PTR_ERR(task[started]);
			break;
		}
	}
	for (unsigned int i = 0; i < duration && !ret && !atomic_long_read(&problems); i++)
		ssleep(1);
	while (started)
		kthread_stop(task[--started]);
	kfree(task);
	return ret;
}

/*
 * The pages outlive the area, by a reference, for a look at their alias: the page
 * allocator expects it writable.
 */
static void free_area(struct area *area)
{
	if (!area->flags)
		goto out;

	if (!area->reset) {
		make_call(area, 0, area->pages, NX);
		make_call(area, 0, area->pages, RW);
		check_pages(area, 0, area->pages);
	}
	for (unsigned int i = 0; i < area->pages; i++)
		get_page(area->page[i]);
	vfree((void *)area->addr);
	area->addr = 0;
	for (unsigned int i = 0; i < area->pages; i++) {
		unsigned long alias = alias_of(area->page[i]);

		check_leaf("alias after vfree", area->name, alias, area->page[i],
			   alias_attributes);
		check_write("alias after vfree", area->name, alias, true);
		put_page(area->page[i]);
	}
out:
	vfree((void *)area->addr);
	kvfree(area->page);
	kvfree(area->flags);
	area->addr = 0;
	area->page = NULL;
	area->flags = NULL;
}

static int __init find_functions(void)
{
	bool (*can_set_direct_map)(void);
	bool *rodata_full;
	bool (*keep_leaves)(void);
	int ret;

	ret = find_kernel_tables();
	if (ret)
		return ret;
	ret = find_calls();
	if (ret)
		return ret;
	find_area = lookup("find_vm_area");
	set_direct_map_invalid = lookup("set_direct_map_invalid_noflush");
	set_direct_map_default = lookup("set_direct_map_default_noflush");
	write_nofault = lookup("copy_to_kernel_nofault");
	can_set_direct_map = lookup("can_set_direct_map");
	rodata_full = lookup("rodata_full");
	if (!find_area || !set_direct_map_invalid || !set_direct_map_default ||
	    !write_nofault || !can_set_direct_map || !rodata_full)
		return -ENOENT;
	keep_leaves = (void *)lookup_name("kpgtable_whole_leaves");
	whole_leaves = keep_leaves && keep_leaves();
	alias_protected = *rodata_full && !whole_leaves;
	direct_map_changes = can_set_direct_map();
	return 0;
}

static int __init run_round(unsigned int duration)
{
	int ret;

	for (int i = 0; i < ARRAY_SIZE(areas); i++) {
		ret = alloc_area(&areas[i]);
		if (ret)
			goto out;
		check_pages(&areas[i], 0, areas[i].pages);
		if (areas[i].kind == HUGE && !whole_leaves)
			try_huge(&areas[i]);
	}
	ret = make_parts();
	if (ret)
		goto out;
	threads = clamp(threads, 1, part_count);
	if (!direct_map_changes)
		direct_threads = 0;
	ret = run_threads(duration);
out:
	for (int i = 0; i < ARRAY_SIZE(areas); i++)
		free_area(&areas[i]);
	while (direct_count)
		__free_page(direct_pages[--direct_count]);
	kvfree(direct_pages);
	direct_pages = NULL;
	kvfree(parts);
	parts = NULL;
	part_count = 0;
	return ret;
}

static int __init rox_perm_threads_init(void)
{
	int ret;

	ret = find_functions();
	if (ret)
		return ret;
	for (unsigned int done = 0; done < seconds && !ret; done += round) {
		round = clamp(round, 1, seconds - done);
		ret = run_round(round);
		if (!ret && atomic_long_read(&problems))
			ret = -EIO;
	}

	pr_info("%u and %u threads, aliases %sprotected\n", threads, direct_threads,
		alias_protected ? "" : "not ");
	for (int i = 0; i < CALLS; i++)
		pr_info("%ld calls of %s\n", atomic_long_read(&call_count[i]), calls[i].name);
	pr_info("%ld calls of set_direct_map_*_noflush\n", atomic_long_read(&direct_calls));
	pr_info("%ld pages checked, %ld writes, %ld executions, %ld problems\n",
		atomic_long_read(&pages_checked), atomic_long_read(&writes),
		atomic_long_read(&executions), atomic_long_read(&problems));
	return ret;
}

static void __exit rox_perm_threads_exit(void)
{
}

module_init(rox_perm_threads_init);
module_exit(rox_perm_threads_exit);
MODULE_DESCRIPTION("Permission changes of disjoint ranges in the same blocks");
MODULE_LICENSE("GPL");
