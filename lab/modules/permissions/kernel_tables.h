/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the modules here have in common: functions that the kernel does not export, and
 * a look at its live page tables.
 */

#ifndef ROX_KERNEL_TABLES_H
#define ROX_KERNEL_TABLES_H

#include <linux/bug.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include <asm/cpufeature.h>

/* A bit of table descriptors: what they map is not executable. */
#define TABLE_PXN	PMD_TABLE_PXN
/* Another: what they map is read-only (APTable[1]). */
#define TABLE_RDONLY	BIT_ULL(62)

/* How a page is mapped. */
struct leaf {
	/* Size of what one entry maps, or 0 if nothing is mapped. */
	unsigned long size;
	/* Where the page is. */
	phys_addr_t phys;
	/* The attribute bits, without those that tell a page from a block. */
	pteval_t attributes;
	/* Those of the tables above that take permissions away. */
	pteval_t tables;
	/* The entry is part of a contiguous run. */
	bool contiguous;
};

static unsigned long (*lookup_name)(const char *name);
static pgd_t *kernel_pgd;

/* Find a function or variable that is not exported. */
static inline void *lookup(const char *name)
{
	void *found = (void *)lookup_name(name);

	if (!found)
		pr_err("the kernel has no %s\n", name);
	return found;
}

/* Must come first. */
static inline int find_kernel_tables(void)
{
	static struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	struct mm_struct *mm;
	int ret;

	ret = register_kprobe(&probe);
	if (ret)
		return ret;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);

	mm = lookup("init_mm");
	if (!mm)
		return -ENOENT;
	kernel_pgd = mm->pgd;
	return 0;
}

/* What a split sets in entries, for the collapse that undoes it. */
#define SPLIT_NOTES	GENMASK_ULL(58, 57)

static inline struct leaf leaf_of(pteval_t value, unsigned long size, pteval_t tables,
				  unsigned long addr)
{
	/* All levels have their output address, and the attributes of leaves, where PTEs do. */
	pte_t pte = __pte(value);
	pteval_t attributes = pgprot_val(pte_pgprot(pte));

	return (struct leaf) {
		.size = size,
		.phys = PFN_PHYS(pte_pfn(pte)) + (addr & (size - 1) & PAGE_MASK),
		.attributes = attributes &
			~(PTE_CONT | SPLIT_NOTES | (PTE_TYPE_PAGE ^ PMD_TYPE_SECT)),
		.tables = tables & (TABLE_PXN | TABLE_RDONLY),
		.contiguous = attributes & PTE_CONT,
	};
}

/* Walk the kernel's page table. Each entry is read once: others change it meanwhile. */
static inline struct leaf leaf_at(unsigned long addr)
{
	struct leaf none = {};
	pgd_t *pgdp, pgd;
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;
	pte_t pte;

	/* A table that is freed meanwhile stays until the end of a grace period. */
	guard(rcu)();
	pgdp = pgd_offset_pgd(kernel_pgd, addr);
	pgd = pgdp_get(pgdp);
	if (pgd_none(pgd))
		return none;
	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = p4dp_get(p4dp);
	if (p4d_none(p4d))
		return none;
	pudp = pud_offset_lockless(p4dp, p4d, addr);
	pud = pudp_get(pudp);
	if (pud_none(pud))
		return none;
	if (pud_leaf(pud))
		return leaf_of(pud_val(pud), PUD_SIZE, 0, addr);
	pmdp = pmd_offset_lockless(pudp, pud, addr);
	pmd = pmdp_get(pmdp);
	if (pmd_none(pmd))
		return none;
	if (pmd_leaf(pmd))
		return leaf_of(pmd_val(pmd), PMD_SIZE, pud_val(pud), addr);
	pte = __ptep_get(pte_offset_kernel(&pmd, addr));
	if (pte_none(pte))
		return none;
	return leaf_of(pte_val(pte), PAGE_SIZE, pud_val(pud) | pmd_val(pmd), addr);
}

/* How many entries a contiguous run of leaves like @leaf has. */
static inline unsigned int run_entries(const struct leaf *leaf)
{
	return leaf->size == PAGE_SIZE ? CONT_PTES : CONT_PMDS;
}

/* Whether @addr, which @leaf maps, is in a contiguous run that is one. */
static inline bool run_is_whole(unsigned long addr, const struct leaf *leaf)
{
	unsigned int entries = run_entries(leaf);
	unsigned long size = leaf->size * entries;
	unsigned long start = ALIGN_DOWN(addr, size);
	phys_addr_t phys = ALIGN_DOWN(leaf->phys, size);

	for (unsigned int i = 0; i < entries; i++) {
		struct leaf other = leaf_at(start + i * leaf->size);

		if (!other.contiguous || other.size != leaf->size ||
		    other.phys != phys + i * leaf->size ||
		    other.attributes != leaf->attributes)
			return false;
	}
	return true;
}

/*
 * Whether @addr is in no contiguous run, or comes to be in a whole one. While others split or
 * leaves collapse, a part of a run has the contiguous bit: that passes; what stays is wrong. Who
 * has no @patience does not wait for it.
 */
static inline bool run_settles(unsigned long addr, bool patience)
{
	int tries = patience ? 1000 : 1;

	for (;;) {
		struct leaf leaf = leaf_at(addr);

		if (!leaf.contiguous || run_is_whole(addr, &leaf))
			return true;
		if (!--tries)
			return false;
		usleep_range(100, 1000);
	}
}

/* The attributes of a leaf after a change of permission, by what they were before. */
static inline pteval_t attributes_with(pteval_t before, bool readonly, bool executable)
{
	pteval_t attributes = before & ~(PTE_WRITE | PTE_RDONLY | PTE_PXN | PTE_GP);

	attributes |= readonly ? PTE_RDONLY : PTE_WRITE;
	attributes |= executable ? PTE_MAYBE_GP : PTE_PXN;
	return attributes;
}

static inline unsigned long alias_of(struct page *page)
{
	return (unsigned long)page_address(page);
}

/* What a page is, when not writable and not executable. */
#define READONLY	BIT(0)
#define EXECUTABLE	BIT(1)

enum { RO, RW, X, NX, ROX, CALLS };

/*
 * The functions that change permissions, and what they do to a page. No sequence that
 * @needs and @rules_out allow makes memory writable and executable.
 */
static struct {
	const char *name;
	int (*function)(unsigned long addr, int numpages);
	u8 set, clear;
	/* Flags that all pages must have before, and that none may have. */
	u8 needs, rules_out;
} calls[CALLS] = {
	[RO] = { .name = "set_memory_ro", .set = READONLY },
	[RW] = { .name = "set_memory_rw", .clear = READONLY, .rules_out = EXECUTABLE },
	[X] = { .name = "set_memory_x", .set = EXECUTABLE, .needs = READONLY },
	[NX] = { .name = "set_memory_nx", .clear = EXECUTABLE },
	[ROX] = { .name = "set_memory_rox", .set = READONLY | EXECUTABLE },
};

/* As linux/set_memory.h has it for kernels without set_memory_rox(). */
static int ro_then_x(unsigned long addr, int numpages)
{
	int ret = calls[RO].function(addr, numpages);

	return ret ? ret : calls[X].function(addr, numpages);
}

static inline int find_calls(void)
{
	for (int i = 0; i < CALLS; i++) {
		calls[i].function = (void *)lookup_name(calls[i].name);
		if (!calls[i].function && i == ROX)
			calls[i].function = ro_then_x;
		if (!calls[i].function) {
			pr_err("the kernel has no %s\n", calls[i].name);
			return -ENOENT;
		}
	}
	return 0;
}

static inline void update_flags(u8 *flags, unsigned int count, int call)
{
	for (unsigned int i = 0; i < count; i++)
		flags[i] = (flags[i] & ~calls[call].clear) | calls[call].set;
}

#endif /* ROX_KERNEL_TABLES_H */
