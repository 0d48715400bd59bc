// SPDX-License-Identifier: GPL-2.0
/*
 * Permission changes without memory: every allocation that a change makes fails, first
 * alone and then with all that come after it, and afterwards all pages must be as they
 * were, in the mapping and in the linear map. Loading the module does it, and fails with
 * EIO if anything was not as it should be; the first such thing is a WARN.
 *
 * For the loading of other modules there are parameters, in
 * /sys/module/rox_perm_fail/parameters/:
 *
 *   nth    write n: the nth allocation of the next load_module() or delete_module() fails
 *   later  write Y: all that come after it, too
 *   left   afterwards: 0 if it did, else n less the number of allocations
 *
 * For failslab and fail_page_alloc in debugfs, ignore-gfp-wait must be N, min-order 0,
 * task-filter Y, probability 100 and times -1.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/execmem.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/brk-imm.h>
#include <asm/insn-def.h>

#include "kernel_tables.h"

static bool direct_map = true;
module_param(direct_map, bool, 0400);
MODULE_PARM_DESC(direct_map, "let set_direct_map_*_noflush() fail too, alone and in vfree()");

static unsigned int nth;
module_param(nth, uint, 0600);
static bool later;
module_param(later, bool, 0600);
static unsigned int left;
module_param(left, uint, 0400);

#define BLOCK_PAGES	(SZ_2M / PAGE_SIZE)
#define MAX_BLOCKS	3

enum kind { HUGE, SCATTERED };

/* An area whose linear aliases are in blocks, of which all pages are ours. */
struct area {
	enum kind kind;
	bool reset;
	unsigned long addr;
	unsigned int pages;
	struct page *page[MAX_BLOCKS * BLOCK_PAGES];
	u8 flags[MAX_BLOCKS * BLOCK_PAGES];
	pteval_t attributes;
	/* The pages of the blocks that are not in the area. */
	unsigned int spares;
	struct page *spare[MAX_BLOCKS * BLOCK_PAGES];
};

/* What is done to an area of that many blocks, after @before to all of it (or nothing). */
static const struct operation {
	const char *name;
	enum kind kind;
	bool reset;
	unsigned int blocks;
	int before, call;
	unsigned int first, count;
	/* Page tables that this cannot do without. */
	unsigned int least;
} operations[] = {
	{ "pages of a block", HUGE, false, 1, -1, RO, 100, 3, 2 },
	{ "pages of a block", HUGE, false, 1, -1, ROX, 100, 3, 2 },
	{ "pages of a read-only block", HUGE, false, 1, RO, RW, 100, 3, 2 },
	{ "pages of a read-only block", HUGE, false, 1, RO, X, 100, 3, 1 },
	{ "pages of an executable block", HUGE, false, 1, ROX, NX, 100, 3, 1 },
	{ "a block, and parts of two", HUGE, false, 3, -1, RO, 500, 600, 4 },
	{ "a block, and parts of two", HUGE, false, 3, -1, ROX, 500, 600, 4 },
	{ "a read-only block, and parts of two", HUGE, false, 3, RO, RW, 500, 600, 4 },
	{ "blocks that vfree resets", HUGE, true, 2, -1, RO, 0, 1024, 0 },
	{ "pages from three blocks", SCATTERED, false, 3, -1, RO, 1, 16, 3 },
	{ "pages from three blocks", SCATTERED, false, 3, -1, ROX, 1, 16, 3 },
	{ "pages from three blocks that vfree resets", SCATTERED, true, 3, -1, ROX, 1, 16, 3 },
};

/*
 * The same where leaves keep their size: there an alias changes if it is whole, and what is counted
 * of the others takes memory.
 */
static const struct operation whole_operations[] = {
	{ "blocks that vfree resets", HUGE, true, 2, -1, RO, 0, 1024, 1 },
	{ "pages from three blocks", SCATTERED, false, 3, -1, RO, 1, 16, 1 },
	{ "pages from three blocks that vfree resets", SCATTERED, true, 3, -1, RO, 1, 16, 1 },
};

static struct vm_struct *(*find_area)(const void *addr);
static int (*set_direct_map_invalid)(struct page *page);
static int (*set_direct_map_default)(struct page *page);
static void *(*alloc_rw)(enum execmem_type type, size_t size);
static int (*set_rw)(void *ptr, size_t size);
static int (*restore_rox)(void *ptr, size_t size);
static void (*free_text)(void *ptr);
static bool (*is_rox)(enum execmem_type type);

/* Whether leaves of the linear map keep their size. */
static bool whole;
static bool alias_protected;
static pteval_t alias_attributes;
static unsigned long problems;

/* Count, and say once. */
#define problem(fmt, ...)							\
do {										\
	if (++problems == 1)							\
		WARN(1, "rox_perm_fail: " fmt "\n", ##__VA_ARGS__);		\
} while (0)

/* From here to has_failed() allocation number @n of this thread fails; none if it is 0. */
static void fail_nth(unsigned int n)
{
	current->make_it_fail = n && later;
	current->fail_nth = n;
}

/* Whether there were that many. */
static bool has_failed(void)
{
	bool failed = !current->fail_nth;

	current->make_it_fail = 0;
	current->fail_nth = 0;
	return failed;
}

static bool is_whole(struct page *page)
{
	return leaf_at(alias_of(page)).size >= SZ_2M;
}

/* Size of the leaf, or of the contiguous run of leaves, that maps @addr. */
static unsigned long size_at(unsigned long addr)
{
	struct leaf leaf = leaf_at(addr);

	return leaf.contiguous ? leaf.size * run_entries(&leaf) : leaf.size;
}

/* Whether @addr comes to be mapped by @size bytes: leaves collapse a little later. */
static bool is_joined(unsigned long addr, unsigned long size)
{
	/* What has been freed is filled a second or two later. */
	for (int tries = 0; tries < 400 && size_at(addr) < size; tries++)
		msleep(20);
	return size_at(addr) >= size;
}

static bool are_whole(struct page **page, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (!is_whole(page[i]))
			return false;
	return true;
}

/* Memory whose alias is in smaller leaves is of no use: it is kept, so as to get other. */
#define MAX_REJECTED	128

static int alloc_huge(struct area *area, unsigned int blocks)
{
	void *rejected[MAX_REJECTED], *addr;
	unsigned int count = 0;

	while ((addr = vmalloc_huge(blocks * SZ_2M, GFP_KERNEL | __GFP_NOWARN))) {
		struct vm_struct *vm = find_area(addr);

		if (leaf_at((unsigned long)addr).size >= SZ_2M &&
		    are_whole(vm->pages, blocks * BLOCK_PAGES))
			break;
		rejected[count++] = addr;
		addr = NULL;
		if (count == MAX_REJECTED)
			break;
	}
	while (count)
		vfree(rejected[--count]);

	area->addr = (unsigned long)addr;
	area->pages = blocks * BLOCK_PAGES;
	return addr ? 0 : -ENOMEM;
}

static struct page *alloc_block(void)
{
	struct page *rejected[MAX_REJECTED], *page;
	unsigned int count = 0, order = get_order(SZ_2M);

	while ((page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, order))) {
		if (is_whole(page))
			break;
		rejected[count++] = page;
		page = NULL;
		if (count == MAX_REJECTED)
			break;
	}
	while (count)
		__free_pages(rejected[--count], order);
	if (page)
		split_page(page, order);
	return page;
}

/* Some pages of each block, so that no two neighbours in the area are neighbours in memory. */
static int alloc_scattered(struct area *area, unsigned int blocks)
{
	struct page **pages, *block[MAX_BLOCKS];
	struct vm_struct *vm;
	void *addr;

	/* vfree() frees it. */
	pages = kvmalloc_array(blocks * 8, sizeof(*pages), GFP_KERNEL);
	for (unsigned int i = 0; i < blocks; i++) {
		block[i] = alloc_block();
		if (!block[i])
			return -ENOMEM;
	}
	for (unsigned int i = 0; i < blocks * BLOCK_PAGES; i++) {
		struct page *page = block[i % blocks] + i / blocks;

		if (i / blocks < 8)
			pages[area->pages++] = page;
		else
			area->spare[area->spares++] = page;
	}
	addr = vmap(pages, area->pages, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	if (!addr)
		return -ENOMEM;
	/* As vmalloc() has it, which is what set_memory_*() want. */
	vm = find_area(addr);
	vm->flags |= VM_ALLOC;
	area->addr = (unsigned long)addr;
	return 0;
}

/* Memory that a failed test loses is not given back: there is nothing after it. */
static int alloc_area(struct area *area, const struct operation *operation)
{
	struct vm_struct *vm;
	int ret;

	memset(area, 0, sizeof(*area));
	if (operation->kind == HUGE)
		ret = alloc_huge(area, operation->blocks);
	else
		ret = alloc_scattered(area, operation->blocks);
	if (ret) {
		pr_err("no blocks of the linear map are left: the guest needs more memory\n");
		return ret;
	}
	vm = find_area((void *)area->addr);
	if (operation->reset)
		vm->flags |= VM_FLUSH_RESET_PERMS;
	area->reset = operation->reset;
	memcpy(area->page, vm->pages, area->pages * sizeof(*area->page));
	area->attributes = leaf_at(area->addr).attributes;
	return 0;
}

static void check_leaf(const char *what, const char *when, unsigned long addr,
		       struct page *page, pteval_t attributes)
{
	struct leaf leaf = leaf_at(addr);

	if (!leaf.size || leaf.phys != page_to_phys(page) || leaf.attributes != attributes ||
	    (leaf.tables & TABLE_PXN && !(attributes & PTE_PXN)) ||
	    (leaf.tables & TABLE_RDONLY && attributes & PTE_WRITE))
		problem("%s at %lx, %s: maps %pa with %llx (tables %llx), not %llx with %llx",
			what, addr, when, &leaf.phys, leaf.attributes, leaf.tables,
			(u64)page_to_phys(page), attributes);
	else if (leaf.contiguous && !run_settles(addr, !problems))
		problem("%s at %lx, %s: in a contiguous run that is none", what, addr, when);
}

static void check_area(const struct area *area, const char *when)
{
	for (unsigned int i = 0; i < area->pages; i++) {
		bool readonly = area->flags[i] & READONLY;

		check_leaf("mapping", when, area->addr + i * PAGE_SIZE, area->page[i],
			   attributes_with(area->attributes, readonly,
					   area->flags[i] & EXECUTABLE));
		check_leaf("alias", when, alias_of(area->page[i]), area->page[i],
			   attributes_with(alias_attributes, readonly && alias_protected,
					   false));
	}
	for (unsigned int i = 0; i < area->spares; i++)
		check_leaf("neighbour", when, alias_of(area->spare[i]), area->spare[i],
			   alias_attributes);
}

static int change(struct area *area, unsigned int first, unsigned int count, int call)
{
	int ret = calls[call].function(area->addr + first * PAGE_SIZE, count);

	if (!ret)
		update_flags(area->flags + first, count, call);
	return ret;
}

/* With allocation number @n failing. Returns whether there were that many. */
static bool free_area(struct area *area, unsigned int n)
{
	bool failed;

	if (!area->reset && (change(area, 0, area->pages, NX) ||
			     change(area, 0, area->pages, RW)))
		problem("permissions do not go back to what they were");
	/* The pages outlive the area, for a look at their aliases. */
	for (unsigned int i = 0; i < area->pages; i++)
		get_page(area->page[i]);
	fail_nth(n);
	vfree((void *)area->addr);
	failed = has_failed();
	for (unsigned int i = 0; i < area->pages; i++) {
		check_leaf("alias", "after vfree", alias_of(area->page[i]), area->page[i],
			   alias_attributes);
		put_page(area->page[i]);
	}
	for (unsigned int i = 0; i < area->spares; i++)
		__free_page(area->spare[i]);
	return failed;
}

static void report(const char *name, const char *what, unsigned int failures,
		   unsigned int errors, unsigned int least_failures, unsigned int least_errors)
{
	pr_info("%s, %s: %s of %u allocations fails, %u errors\n", name, what,
		later ? "each with all after it" : "each", failures, errors);
	if (failures < least_failures)
		problem("%s, %s: only %u allocations", name, what, failures);
	if (errors < least_errors)
		problem("%s, %s: only %u errors", name, what, errors);
}

/* What has to be done before the call, with memory for it. */
static void prepare_area(struct area *area, const struct operation *operation)
{
	if (operation->before >= 0 && change(area, 0, area->pages, operation->before))
		problem("%s fails by itself", calls[operation->before].name);
}

static int fail_operation(struct area *area, const struct operation *operation)
{
	const char *name = calls[operation->call].name;
	unsigned int failures = 0, errors = 0;
	bool failed;
	int ret;

	do {
		ret = alloc_area(area, operation);
		if (ret)
			return ret;
		prepare_area(area, operation);
		check_area(area, "at first");

		fail_nth(failures + 1);
		ret = change(area, operation->first, operation->count, operation->call);
		failed = has_failed();
		/* kmemleak has an allocation for one of slab's, and does without. */
		if (ret != (failed ? -ENOMEM : 0) && (ret || !whole))
			problem("%s, %s: returns %d, allocation %u %s", name,
				operation->name, ret, failures + 1,
				failed ? "failed" : "was never made");
		check_area(area, ret ? "after a failure" : "after a change");
		if (ret) {
			errors++;
			ret = change(area, operation->first, operation->count,
				     operation->call);
			if (ret)
				problem("%s, %s: returns %d once there is memory again",
					name, operation->name, ret);
			check_area(area, "after a second try");
		}
		free_area(area, 0);
		if (failed)
			failures++;
	} while (failed && failures < 1000);
	report(name, operation->name, failures, errors, operation->least, operation->least);
	return 0;
}

/* vfree() cannot return an error: whatever happens, the aliases are writable afterwards. */
static int fail_vfree(struct area *area, const struct operation *operation, bool changed)
{
	unsigned int failures = 0;
	int ret;

	do {
		ret = alloc_area(area, operation);
		if (ret)
			return ret;
		if (changed)
			prepare_area(area, operation);
		if (changed && change(area, operation->first, operation->count, operation->call))
			problem("%s fails by itself", calls[operation->call].name);
	} while (free_area(area, failures + 1) && failures++ < 1000);
	report(changed ? "vfree" : "vfree with permissions never changed", operation->name,
	       failures, 0, 0, 0);
	return 0;
}

static int fail_direct_map(void)
{
	unsigned int failures = 0, errors = 0, splits = 0;
	pteval_t invalid = (alias_attributes & ~PTE_PRESENT_VALID_KERNEL) | PTE_PRESENT_INVALID;
	bool failed;

	do {
		struct page *block = alloc_block();
		unsigned long size;
		int ret;

		if (!block)
			return -ENOMEM;
		size = size_at(alias_of(block));
		fail_nth(failures + 1);
		ret = set_direct_map_invalid(block + 1);
		failed = has_failed();
		if (ret != (failed ? -ENOMEM : 0))
			problem("set_direct_map_invalid_noflush returns %d", ret);
		for (unsigned int i = 0; i < BLOCK_PAGES; i++)
			check_leaf("alias", "after set_direct_map_invalid_noflush",
				   alias_of(block + i), block + i,
				   ret || i != 1 ? alias_attributes : invalid);
		/* What was split before memory was out collapses, though nothing changed. */
		if (ret) {
			splits += size_at(alias_of(block)) < size;
			if (!is_joined(alias_of(block), size))
				problem("what a call split that failed does not collapse");
		}
		if (set_direct_map_default(block + 1))
			problem("set_direct_map_default_noflush fails");
		for (unsigned int i = 0; i < BLOCK_PAGES; i++)
			__free_page(block + i);
		errors += !!ret;
		if (failed)
			failures++;
	} while (failed && failures < 1000);
	report("set_direct_map_invalid_noflush", "a page of a block", failures, errors, 1, 1);
	pr_info("%u of them had split a contiguous run, which collapsed\n", splits);
	return 0;
}

/* Whether all pages of cached text are so, and their aliases read-only. */
static bool text_is(const void *text, size_t size, bool writable)
{
	for (size_t i = 0; i < size; i += PAGE_SIZE) {
		struct leaf mapping = leaf_at((unsigned long)text + i), alias;

		alias = leaf_at((unsigned long)phys_to_virt(mapping.phys));
		if (!mapping.size || !(alias.attributes & PTE_RDONLY) ||
		    !(alias.attributes & PTE_VALID) ||
		    mapping.attributes != attributes_with(mapping.attributes, !writable, !writable))
			return false;
	}
	return true;
}

/*
 * Whether text that was freed is gone, for the next owner to write, or full of traps; its pages are
 * the caller's.
 */
static bool text_is_free(const void *text, size_t size, struct page **page)
{
	for (size_t i = 0; i < size; i += PAGE_SIZE) {
		struct leaf mapping = leaf_at((unsigned long)text + i), alias;
		u32 instruction;

		alias = leaf_at(alias_of(page[i / PAGE_SIZE]));
		if (!mapping.size) {
			if (alias.attributes != alias_attributes)
				return false;
			continue;
		}
		if (text_is(text + i, PAGE_SIZE, true))
			continue;
		if (!text_is(text + i, PAGE_SIZE, false) ||
		    copy_from_kernel_nofault(&instruction, text + i, sizeof(instruction)) ||
		    instruction != AARCH64_BREAK_FAULT)
			return false;
	}
	return true;
}

/* Free, with allocation number @n failing. Some of that is done later, in workers. */
static bool free_and_wait(void *text, size_t size, unsigned int n, struct page **page)
{
	bool failed, is_free = false;

	for (size_t i = 0; i < size / PAGE_SIZE; i++) {
		page[i] = phys_to_page(leaf_at((unsigned long)text + i * PAGE_SIZE).phys);
		get_page(page[i]);
	}
	fail_nth(n);
	free_text(text);
	failed = has_failed();
	for (int tries = 0; tries < 200 && !is_free; tries++) {
		msleep(20);
		is_free = text_is_free(text, size, page);
	}
	if (!is_free)
		problem("text at %p that was freed is neither gone nor writable nor full of traps", text);
	for (size_t i = 0; i < size / PAGE_SIZE; i++)
		put_page(page[i]);
	return failed;
}

static void fail_execmem(const char *name, size_t size, struct page **page)
{
	unsigned int failures = 0, errors = 0;
	bool failed;
	void *text;
	int ret;

	do {
		fail_nth(failures + 1);
		text = alloc_rw(EXECMEM_MODULE_TEXT, size);
		failed = has_failed();
		if (!text && !failed)
			problem("execmem_alloc_rw, %s: fails by itself", name);
		if (text && !text_is(text, size, true))
			problem("execmem_alloc_rw, %s: %p is not to be written to", name, text);
		if (text)
			free_and_wait(text, size, 0, page);
		errors += !text;
		if (failed)
			failures++;
	} while (failed && failures < 1000);
	/* Pages may be in the cache already, and there are fallbacks for one failure. */
	report("execmem_alloc_rw", name, failures, errors, size >= SZ_2M,
	       later && size >= SZ_2M);

	failures = 0;
	errors = 0;
	do {
		text = alloc_rw(EXECMEM_MODULE_TEXT, size);
		if (!text) {
			problem("execmem_alloc_rw, %s: fails by itself", name);
			return;
		}
		fail_nth(failures + 1);
		ret = restore_rox(text, size);
		failed = has_failed();
		if (ret && !failed)
			problem("execmem_restore_rox, %s: fails by itself, %d", name, ret);
		if (!text_is(text, size, ret))
			problem("execmem_restore_rox, %s: returns %d, and permissions are others",
				name, ret);
		free_and_wait(text, size, 0, page);
		errors += !!ret;
		if (failed)
			failures++;
	} while (failed && failures < 1000);
	report("execmem_restore_rox", name, failures, errors, 0, 0);

	failures = 0;
	do {
		text = alloc_rw(EXECMEM_MODULE_TEXT, size);
		if (!text || restore_rox(text, size)) {
			problem("execmem_alloc_rw, %s: fails by itself", name);
			return;
		}
	} while (free_and_wait(text, size, failures + 1, page) && failures++ < 1000);
	report("execmem_free", name, failures, 0, 0, 0);
}

/*
 * A block of the cache that is one again has a table put aside: pages of it become writable, and
 * read-only again, without an allocation.
 */
static void change_without_memory(struct page **page)
{
	const size_t size = 3 * PAGE_SIZE;
	void *text = alloc_rw(EXECMEM_MODULE_TEXT, size);
	int ret;

	if (!text || restore_rox(text, size)) {
		problem("execmem_alloc_rw, three pages: fails by itself");
		return;
	}
	if (!whole && !is_joined((unsigned long)text, SZ_2M))
		problem("the chunk of text at %p does not collapse", text);

	fail_nth(1);
	ret = set_rw(text, size);
	if (has_failed() || ret || !text_is(text, size, true))
		problem("execmem_arch_set_rw, pages of a block: takes memory, or fails: %d", ret);
	fail_nth(1);
	ret = restore_rox(text, size);
	if (has_failed() || ret || !text_is(text, size, false))
		problem("execmem_restore_rox, pages of a block: takes memory, or fails: %d", ret);
	free_and_wait(text, size, 0, page);
}

#define MANY_PAGES	64
#define USED_INSN	0xd503201fU	/* NOP */

static u32 *alloc_page_of_text(void)
{
	u32 *text = alloc_rw(EXECMEM_MODULE_TEXT, PAGE_SIZE);

	if (text) {
		*text = USED_INSN;
		if (restore_rox(text, PAGE_SIZE))
			problem("execmem_restore_rox, a page: fails by itself");
	}
	return text;
}

/* Whether a page of text in use is as it was. */
static bool text_is_kept(const u32 *text)
{
	u32 instruction;

	return text_is(text, PAGE_SIZE, false) &&
	       !copy_from_kernel_nofault(&instruction, text, sizeof(instruction)) &&
	       instruction == USED_INSN;
}

/*
 * Pages of text that are in use and free in turn, after the first @shift of them: every second of
 * those in use is freed, with allocation number @n of that failing. The others stay as they are.
 * Returns how many allocations failed.
 */
static unsigned int fail_free_scattered(unsigned int shift, unsigned int n, struct page **page)
{
	u32 *text[MANY_PAGES];
	unsigned int failures = 0;

	/* The first of them may be in gaps between other text, the last are in a row. */
	for (unsigned int i = 0; i < MANY_PAGES; i++) {
		text[i] = alloc_page_of_text();
		if (!text[i]) {
			problem("execmem_alloc_rw, a page: fails by itself");
			return 0;
		}
	}
	if ((unsigned long)text[MANY_PAGES - 1] != (unsigned long)text[MANY_PAGES / 2] +
	    (MANY_PAGES / 2 - 1) * PAGE_SIZE)
		problem("pages of text are not in a row");
	for (unsigned int i = shift + 1; i < MANY_PAGES; i += 2)
		free_text(text[i]);
	for (unsigned int i = shift + 2; i < MANY_PAGES; i += 4) {
		if (free_and_wait(text[i], PAGE_SIZE, n, page)) {
			failures++;
			/* A worker tries it again. */
			msleep(100);
		}
		for (unsigned int j = shift; j < MANY_PAGES; j += 4)
			if (!text_is_kept(text[j]))
				problem("text at %p is in use, and has changed with what was freed at %p",
					text[j], text[i]);
	}
	for (unsigned int i = shift; i < MANY_PAGES; i += 4)
		free_text(text[i]);
	for (unsigned int i = 0; i < shift; i++)
		free_text(text[i]);
	return failures;
}

/* Which of them take memory depends on where the nodes of the cache's trees begin. */
static void fail_free_pages(struct page **page)
{
	unsigned int failures = 0, failed, n;

	for (unsigned int shift = 0; shift < 8; shift++) {
		n = 0;
		do {
			failed = fail_free_scattered(shift, ++n, page);
			failures += failed;
		} while (failed && n < 20);
	}
	report("execmem_free", "pages between free ones", failures, 0, 1, 0);
}

static int arm(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	unsigned int n = xchg(&nth, 0);

	if (!n)
		return 1;
	fail_nth(n);
	return 0;
}

static int disarm(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	left = current->fail_nth;
	has_failed();
	return 0;
}

static struct kretprobe load_probe = {
	.kp.symbol_name = "load_module",
	.entry_handler = arm,
	.handler = disarm,
};

static struct kretprobe unload_probe = {
	.kp.symbol_name = "__arm64_sys_delete_module",
	.entry_handler = arm,
	.handler = disarm,
};

static struct kretprobe *probes[] = { &load_probe, &unload_probe };

static int __init find_functions(void)
{
	bool (*whole_leaves)(void);
	bool *rodata_full;
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
	alloc_rw = lookup("execmem_alloc_rw");
	set_rw = lookup("execmem_arch_set_rw");
	restore_rox = lookup("execmem_restore_rox");
	free_text = lookup("execmem_free");
	is_rox = lookup("execmem_is_rox");
	rodata_full = lookup("rodata_full");
	if (!find_area || !set_direct_map_invalid || !set_direct_map_default || !alloc_rw ||
	    !set_rw || !restore_rox || !free_text || !is_rox || !rodata_full)
		return -ENOENT;
	alias_protected = *rodata_full;
	whole_leaves = lookup("kpgtable_whole_leaves");
	whole = whole_leaves && whole_leaves();
	return 0;
}

static int __init fail_one(struct area *area, const struct operation *operation)
{
	int ret;

	/* An alias in blocks that are not all of the area stays writable. */
	if (whole)
		alias_protected = operation->count == operation->blocks * BLOCK_PAGES;
	ret = fail_operation(area, operation);
	if (!ret)
		ret = fail_vfree(area, operation, true);
	if (!ret && direct_map && operation->reset)
		ret = fail_vfree(area, operation, false);
	return ret;
}

static int __init fail_everything(struct area *area)
{
	const struct operation *all = whole ? whole_operations : operations;
	int count = whole ? ARRAY_SIZE(whole_operations) : ARRAY_SIZE(operations);
	int ret = 0;

	for (int i = 0; i < count && !ret; i++)
		ret = fail_one(area, &all[i]);
	if (!ret && direct_map && !whole)
		ret = fail_direct_map();
	if (!ret && is_rox(EXECMEM_MODULE_TEXT)) {
		fail_execmem("a block", SZ_2M, area->page);
		fail_execmem("three pages", 3 * PAGE_SIZE, area->page);
		fail_execmem("two blocks less a page", 2 * SZ_2M - PAGE_SIZE, area->page);
		change_without_memory(area->page);
		/* A tree asks again where one allocation fails. */
		if (later)
			fail_free_pages(area->page);
	}
	return ret;
}

static int __init rox_perm_fail_init(void)
{
	struct area *area;
	struct page *page;
	int ret;

	ret = find_functions();
	if (ret)
		return ret;
	area = kvmalloc_obj(*area);
	page = alloc_page(GFP_KERNEL);
	if (!area || !page)
		return -ENOMEM;
	alias_attributes = leaf_at(alias_of(page)).attributes;
	__free_page(page);

	later = false;
	ret = fail_everything(area);
	later = true;
	if (!ret)
		ret = fail_everything(area);
	later = false;
	kvfree(area);
	if (ret)
		return ret;
	pr_info("%lu problems\n", problems);
	if (problems)
		return -EIO;
	return register_kretprobes(probes, ARRAY_SIZE(probes));
}

static void __exit rox_perm_fail_exit(void)
{
	unregister_kretprobes(probes, ARRAY_SIZE(probes));
}

module_init(rox_perm_fail_init);
module_exit(rox_perm_fail_exit);
MODULE_DESCRIPTION("Permission changes whose allocations fail");
MODULE_LICENSE("GPL");
