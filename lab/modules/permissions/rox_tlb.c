// SPDX-License-Identifier: GPL-2.0
/*
 * What TLBs may hold while permissions change. Kprobes look at the page tables whenever
 * the kernel is about to make changes of them visible, or to invalidate TLBs; what was in
 * the tables since the last invalidation of an address, a TLB may still hold. Loading the
 * module changes permissions in all ways that there are, and fails with EAGAIN if
 *
 *   - no page was executable as long as it could be written by its linear alias, or by a
 *     mapping that was unmapped lazily;
 *   - with erratum 2645198 (Cortex-A715), no page was valid and not executable as long as a
 *     TLB might hold it as executable;
 *   - in the end no TLB held more than the tables say;
 *   - no call took more TLBIs than there is a limit for, nor any for what did not change.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <asm/tlbflush.h>

#include "kernel_tables.h"

#define READ	BIT(0)
#define WRITE	BIT(1)
#define EXECUTE	BIT(2)

/* An address of a page, and what TLBs may permit there. */
struct address {
	unsigned long addr;
	u8 cached;
	bool invalidated;
};

static struct tracked {
	struct page *page;
	struct address mapping, alias;
} *tracked;
static unsigned int tracked_count;

/* TLBs may hold another mapping of the pages, a writable one. */
static bool stale;

/* A leaf has to be invalid, for TLBs too, before it stops being executable. */
static bool needs_break;

static const char *doing = "nothing";
static unsigned int looks, invalidations, unmaps, problems;
/* Since begin_count(): TLBIs, and flushes of unmapped areas that are of the linear map too. */
static unsigned long operations;
static unsigned int wide;
static struct task_struct *tester;

static struct vm_struct *(*find_area)(const void *addr);
static int (*populate)(struct vm_struct *vm);
static int (*release)(struct vm_struct *vm);
static int (*set_rw)(void *addr, size_t size);
static int (*set_rox)(void *addr, size_t size);

#define problem(fmt, ...)							\
do {										\
	if (!problems++)							\
		pr_err("%s: " fmt "\n", doing, ##__VA_ARGS__);			\
} while (0)

/* What the tables permit at @addr, if they map @page there. */
static u8 permitted(unsigned long addr, struct page *page)
{
	struct leaf leaf = leaf_at(addr);
	u8 permissions = READ;

	if (!leaf.size || !(leaf.attributes & PTE_VALID) || leaf.phys != page_to_phys(page))
		return 0;
	if (!(leaf.attributes & PTE_RDONLY) && !(leaf.tables & TABLE_RDONLY))
		permissions |= WRITE;
	if (!(leaf.attributes & PTE_PXN) && !(leaf.tables & TABLE_PXN))
		permissions |= EXECUTE;
	return permissions;
}

/* A TLB may read the tables at any time, and so now. */
static void look(void)
{
	for (unsigned int i = 0; i < tracked_count; i++) {
		struct tracked *t = &tracked[i];
		u8 permissions = permitted(t->mapping.addr, t->page);

		if (needs_break && (t->mapping.cached & EXECUTE) && permissions &&
		    !(permissions & EXECUTE))
			problem("page %u stops being executable while it is valid", i);
		t->mapping.cached |= permissions;
		t->alias.cached |= permitted(t->alias.addr, t->page);
		if (!(t->mapping.cached & EXECUTE))
			continue;
		if (t->alias.cached & WRITE)
			problem("page %u is executable, and its alias writable", i);
		if (stale)
			problem("page %u is executable, and writable where it was unmapped", i);
	}
	looks++;
}

static void invalidate(struct address *address, unsigned long start, unsigned long end)
{
	if (address->addr >= start && address->addr < end)
		address->invalidated = true;
}

static void complete_invalidation(struct address *address, struct page *page)
{
	if (address->invalidated)
		address->cached = permitted(address->addr, page);
	address->invalidated = false;
}

/* How many operations an invalidation takes, of which each goes to all CPUs. */
static unsigned long operations_of(unsigned long start, unsigned long end)
{
	unsigned long pages = (end - start) >> PAGE_SHIFT;
	unsigned long count = 0;

	if (__flush_tlb_range_limit_excess(pages, PAGE_SIZE))
		return 1;
	if (!system_supports_tlb_range())
		return pages;
	if (lpa2_is_enabled())
		count = min(pages, (ALIGN(start, SZ_64K) - start) >> PAGE_SHIFT);
	pages -= count;
	count += pages & 1;
	for (pages /= 2; pages; pages >>= 5)
		count += !!(pages & 31);
	return count;
}

static int before_sync(struct kprobe *probe, struct pt_regs *regs)
{
	if (current == tester)
		look();
	return 0;
}

static int before_invalidation(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long start = regs->regs[0], end = regs->regs[1];

	if (current != tester)
		return 0;
	look();
	for (unsigned int i = 0; i < tracked_count; i++) {
		invalidate(&tracked[i].mapping, start, end);
		invalidate(&tracked[i].alias, start, end);
	}
	invalidations++;
	operations += operations_of(start, end);
	return 0;
}

/* What is unmapped lazily goes from TLBs, and what is between @start and @end. */
static int before_purge(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long start = regs->regs[0];

	/* The address is ULONG_MAX where there is nothing else. */
	if (current == tester && start != ULONG_MAX && __is_lm_address(start))
		wide++;
	return 0;
}

static int before_completion(struct kprobe *probe, struct pt_regs *regs)
{
	if (current != tester)
		return 0;
	look();
	for (unsigned int i = 0; i < tracked_count; i++) {
		complete_invalidation(&tracked[i].mapping, tracked[i].page);
		complete_invalidation(&tracked[i].alias, tracked[i].page);
	}
	return 0;
}

/* TLBs forget what is no longer mapped. */
static int before_unmap(struct kprobe *probe, struct pt_regs *regs)
{
	if (current != tester)
		return 0;
	look();
	for (unsigned int i = 0; i < tracked_count; i++)
		if (!permitted(tracked[i].mapping.addr, tracked[i].page))
			tracked[i].mapping.cached = 0;
	stale = false;
	unmaps++;
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "kpgtable_sync_tables", .pre_handler = before_sync },
	{ .symbol_name = "kpgtable_invalidate_tlb", .pre_handler = before_invalidation },
	{ .symbol_name = "kpgtable_complete_invalidation", .pre_handler = before_completion },
	{ .symbol_name = "vm_unmap_aliases", .pre_handler = before_unmap },
	{ .symbol_name = "__purge_vmap_area_lazy", .pre_handler = before_purge },
};

/* Begin to track the pages of @area; they outlive it. */
static int track(void *area)
{
	struct vm_struct *vm = find_area(area);

	tracked = kvcalloc(vm->nr_pages, sizeof(*tracked), GFP_KERNEL);
	if (!tracked)
		return -ENOMEM;
	for (unsigned int i = 0; i < vm->nr_pages; i++) {
		tracked[i].page = vm->pages[i];
		tracked[i].mapping.addr = (unsigned long)area + i * PAGE_SIZE;
		tracked[i].alias.addr = alias_of(vm->pages[i]);
		get_page(vm->pages[i]);
	}
	tracked_count = vm->nr_pages;
	return 0;
}

static void untrack(void)
{
	for (unsigned int i = 0; i < tracked_count; i++)
		put_page(tracked[i].page);
	tracked_count = 0;
	kvfree(tracked);
	tracked = NULL;
}

/* Map what is tracked elsewhere too, and unmap it: TLBs hear of that later. */
static int make_stale(void)
{
	struct page **pages = kvmalloc_array(tracked_count, sizeof(*pages), GFP_KERNEL);
	void *addr = NULL;

	if (pages) {
		for (unsigned int i = 0; i < tracked_count; i++)
			pages[i] = tracked[i].page;
		addr = vmap(pages, tracked_count, VM_MAP, PAGE_KERNEL);
	}
	kvfree(pages);
	if (!addr)
		return -ENOMEM;
	vunmap(addr);
	stale = true;
	return 0;
}

static void begin(const char *what)
{
	doing = what;
	look();
	tester = current;
}

/* All is done: TLBs hold what the tables say, and nothing more. */
static int end(int ret)
{
	tester = NULL;
	look();
	for (unsigned int i = 0; i < tracked_count; i++) {
		struct tracked *t = &tracked[i];
		u8 mapping = permitted(t->mapping.addr, t->page);
		u8 alias = permitted(t->alias.addr, t->page);

		if (t->mapping.cached != mapping)
			problem("page %u: a TLB may hold %x instead of %x", i,
				t->mapping.cached, mapping);
		if (t->alias.cached != alias)
			problem("alias of page %u: a TLB may hold %x instead of %x", i,
				t->alias.cached, alias);
		if (mapping && !(mapping & WRITE) && (alias & WRITE || stale))
			problem("page %u is read-only and can be written", i);
	}
	if (ret)
		problem("returns %d", ret);
	return problems ? -EIO : 0;
}

/* Do @call, which is @what, and return 0 if it and all that was seen was as it should be. */
#define watch(what, call)							\
({										\
	begin(what);								\
	end(call);								\
})

static int call(int which, unsigned int first, unsigned int count)
{
	return watch(calls[which].name,
		     calls[which].function(tracked[first].mapping.addr, count));
}

/* All changes that set_memory_*() make, of all of @area and of a part of it; then vfree(). */
static int change_area(void *area)
{
	struct vm_struct *vm = find_area(area);
	unsigned int count = vm->nr_pages;
	int ret;

	ret = track(area) ?:
	      make_stale() ?:
	      call(RO, 0, count) ?:
	      call(X, 0, count) ?:
	      call(NX, 1, count / 2) ?:
	      call(RW, 1, count / 2) ?:
	      call(ROX, 1, count / 2) ?:
	      call(NX, 0, count) ?:
	      call(RW, 0, count) ?:
	      make_stale() ?:
	      call(ROX, 0, count);
	vm->flags |= VM_FLUSH_RESET_PERMS;
	begin("vfree");
	vfree(area);
	ret = end(ret);
	untrack();
	return ret;
}

/* A block of a cache, from its first use to its last. */
static int change_block(void *block)
{
	struct vm_struct *vm = find_area(block);
	void *part = block + SZ_64K + PAGE_SIZE;
	int ret;

	if (!IS_ALIGNED((unsigned long)block, SZ_2M) ||
	    leaf_at((unsigned long)block).size < PMD_SIZE) {
		pr_err("there is no block of memory\n");
		vfree(block);
		return -ENOMEM;
	}
	ret = track(block) ?:
	      make_stale() ?:
	      watch("execmem_arch_populate", populate(vm)) ?:
	      watch("execmem_arch_set_rw", set_rw(part, SZ_16K)) ?:
	      watch("execmem_arch_set_rox", set_rox(part, SZ_16K));
	ret = watch("execmem_arch_release", release(vm)) ?: ret;
	vfree(block);
	untrack();
	return ret;
}

/* An area of pages none of which is behind the one before it. */
static void *alloc_reversed(unsigned int order)
{
	struct page *block = alloc_pages(GFP_KERNEL, order);
	struct page **pages;
	void *addr = NULL;

	if (!block)
		return NULL;
	split_page(block, order);
	/* vfree() frees it. */
	pages = kvmalloc_array(1 << order, sizeof(*pages), GFP_KERNEL);
	if (pages) {
		for (unsigned int i = 0; i < 1 << order; i++)
			pages[i] = block + (1 << order) - 1 - i;
		addr = vmap(pages, 1 << order, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	}
	if (!addr) {
		for (unsigned int i = 0; i < 1 << order; i++)
			__free_page(block + i);
		kvfree(pages);
		return NULL;
	}
	/* As vmalloc() has it, which is what set_memory_*() want. */
	find_area(addr)->flags |= VM_ALLOC;
	return addr;
}

/* An area of @count pages none of which is beside the one before it. */
static void *alloc_scattered(unsigned int count)
{
	struct page **pages = kvmalloc_array(count, sizeof(*pages), GFP_KERNEL);
	struct page *page, *next;
	unsigned int taken = 0;
	LIST_HEAD(others);
	void *addr = NULL;

	while (pages && taken < count) {
		page = alloc_page(GFP_KERNEL);
		if (!page)
			break;
		if (taken && abs(page - pages[taken - 1]) == 1)
			list_add(&page->lru, &others);
		else
			pages[taken++] = page;
	}
	list_for_each_entry_safe(page, next, &others, lru)
		__free_page(page);
	/* vfree() frees them. */
	if (pages && taken == count)
		addr = vmap(pages, count, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	if (!addr) {
		while (taken)
			__free_page(pages[--taken]);
		kvfree(pages);
		return NULL;
	}
	find_area(addr)->flags |= VM_ALLOC;
	return addr;
}

/* What was done since begin_count() must have taken no more than @limit operations. */
static void end_count(unsigned long limit)
{
	tester = NULL;
	pr_info("%s: %lu operations, %u wide\n", doing, operations, wide);
	if (operations > limit)
		problem("more than %lu operations", limit);
	if (wide)
		problem("the linear map is flushed too");
}

static void begin_count(const char *what)
{
	doing = what;
	operations = 0;
	wide = 0;
	tester = current;
}

#define count(what, limit, call)						\
do {										\
	begin_count(what);							\
	if (call)								\
		problem("does not succeed");					\
	end_count(limit);							\
} while (0)

static int free_area(void *area)
{
	find_area(area)->flags |= VM_FLUSH_RESET_PERMS;
	vfree(area);
	return 0;
}

#define SCATTERED 2048

/* How many TLBIs a call takes, for pages that have nothing to do with each other. */
static int count_all(void)
{
	void *area = alloc_scattered(SCATTERED);
	unsigned long addr = (unsigned long)area;
	unsigned long page = addr + 5 * PAGE_SIZE;

	if (!area)
		return -ENOMEM;
	/* As many as flush_tlb_kernel_range() takes for one range, and then one for all. */
	count("all pages become read-only", MAX_DVM_OPS + 1,
	      calls[RO].function(addr, SCATTERED));
	count("all are so already", 0, calls[RO].function(addr, SCATTERED));
	/* Its mapping, and its alias. */
	count("one page becomes writable", 2, calls[RW].function(page, 1));
	count("all become read-only, of which one is not", 2,
	      calls[RO].function(addr, SCATTERED));
	count("all become writable", MAX_DVM_OPS + 1, calls[RW].function(addr, SCATTERED));
	count("one page becomes read-only", 2, calls[RO].function(page, 1));
	count("all are freed, of which one is read-only", 1, free_area(area));

	area = alloc_scattered(SCATTERED);
	if (!area)
		return -ENOMEM;
	count("all are freed, of which none is read-only", 0, free_area(area));
	return problems ? -EIO : 0;
}

static int change_all(void)
{
	void *pages = alloc_reversed(5);
	void *huge = vmalloc_huge(SZ_4M, GFP_KERNEL);
	void *block = vmalloc_huge(SZ_2M, GFP_KERNEL);
	int ret;

	if (!pages || !huge || !block) {
		vfree(pages);
		vfree(huge);
		vfree(block);
		return -ENOMEM;
	}
	ret = change_area(pages);
	ret = change_area(huge) ?: ret;
	ret = change_block(block) ?: ret;
	return ret;
}

static int __init rox_tlb_init(void)
{
	unsigned int registered;
	int ret;

	ret = find_kernel_tables() ?: find_calls();
	if (ret)
		return ret;
	needs_break = cpus_have_final_cap(ARM64_WORKAROUND_2645198);
	find_area = lookup("find_vm_area");
	populate = lookup("execmem_arch_populate");
	release = lookup("execmem_arch_release");
	set_rw = lookup("execmem_arch_set_rw");
	set_rox = lookup("execmem_arch_set_rox");
	if (!find_area || !populate || !release || !set_rw || !set_rox)
		return -ENOENT;

	for (registered = 0; registered < ARRAY_SIZE(probes); registered++) {
		ret = register_kprobe(&probes[registered]);
		if (ret) {
			pr_err("no kprobe at %s: %d\n", probes[registered].symbol_name, ret);
			break;
		}
	}
	if (!ret)
		ret = change_all() ?: count_all();
	while (registered)
		unregister_kprobe(&probes[--registered]);

	pr_info("%u looks, %u ranges invalidated, %u times stale mappings, %u problems\n",
		looks, invalidations, unmaps, problems);
	/* A run that saw nothing proves nothing. */
	if (!ret && (!invalidations || !unmaps))
		ret = -ENODATA;
	return ret ?: -EAGAIN;
}

module_init(rox_tlb_init);
MODULE_DESCRIPTION("What TLBs may hold while permissions change");
MODULE_LICENSE("GPL");
