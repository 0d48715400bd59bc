// SPDX-License-Identifier: GPL-2.0
/*
 * C functions for the Rust code in this directory: what it cannot do, or not as
 * well, itself. They decide nothing. See shim.h and <asm/kpgtable.h>.
 */
#include <linux/cpufeature.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kfence.h>
#include <linux/kstrtox.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_context.h>
#include <linux/pgalloc.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include <asm/kpgtable.h>
#include <asm/tlbflush.h>

#include "shim.h"

static bool kpgtable_enabled __ro_after_init = true;

static int __init parse_kpgtable(char *arg)
{
	return kstrtobool(arg, &kpgtable_enabled);
}
early_param("kpgtable", parse_kpgtable);

bool direct_map_collapse __ro_after_init = true;

static int __init parse_direct_map_collapse(char *arg)
{
	return kstrtobool(arg, &direct_map_collapse);
}
early_param("direct_map_collapse", parse_direct_map_collapse);

static bool whole_leaves __ro_after_init;

bool kpgtable_may_resize(void)
{
	return kpgtable_enabled && rodata_full && linear_map_requires_bbml3 &&
	       system_supports_bbml3();
}

bool kpgtable_whole_leaves(void)
{
	return whole_leaves;
}

bool kpgtable_supported(void)
{
	return kpgtable_whole_leaves() || kpgtable_may_resize();
}

bool kpgtable_wants_whole_leaves(void)
{
	return kpgtable_enabled && rodata_full && execmem_rox_all &&
	       IS_ENABLED(CONFIG_ARM64_4K_PAGES) && !debug_pagealloc_enabled();
}

void __init kpgtable_keep_leaves(void)
{
	whole_leaves = true;
	/* Nothing is split that could collapse. */
	direct_map_collapse = false;
}

void kpgtable_lock(void)
{
	mutex_lock(&pgtable_split_lock);
}

void kpgtable_unlock(void)
{
	mutex_unlock(&pgtable_split_lock);
}

bool kpgtable_in_snapshot(void)
{
	if (system_state != SYSTEM_SUSPEND || !irqs_disabled())
		return false;

	VM_WARN_ON_ONCE(num_online_cpus() > 1);
	return true;
}

bool kpgtable_try_exclude_walkers(void)
{
	return mmap_read_trylock(&init_mm);
}

void kpgtable_admit_walkers(void)
{
	mmap_read_unlock(&init_mm);
}

static void collapse_work_fn(struct work_struct *work)
{
	bool first = true;

	while (kpgtable_collapse(first)) {
		first = false;
		cond_resched();
	}
}

static DECLARE_DELAYED_WORK(collapse_work, collapse_work_fn);
static struct workqueue_struct *collapse_wq __ro_after_init;

void kpgtable_queue_collapse(unsigned int delay_ms)
{
	/* kpgtable_init() queues what has changed before there is a queue. */
	if (collapse_wq)
		queue_delayed_work(collapse_wq, &collapse_work,
				   msecs_to_jiffies(delay_ms));
}

bool kpgtable_may_be_leaf(unsigned long start, unsigned long size)
{
	phys_addr_t pa = __virt_to_phys(start);

	/* KFENCE changes pages of its pool without the lock. */
	VM_WARN_ON_ONCE(is_kfence_address((void *)start));

	return !IS_ENABLED(CONFIG_MEMORY_HOTPLUG) ||
	       size <= memory_block_size_bytes() ||
	       early_section(__pfn_to_section(PHYS_PFN(pa)));
}

u64 *kpgtable_top_entry(unsigned long addr, bool owned)
{
	pgd_t *pgdp = pgd_offset_k(addr);
	p4d_t *p4dp;
	pud_t *pudp;

	if (!owned && !__is_lm_address(addr))
		return NULL;

	if (pgd_none(pgdp_get(pgdp)))
		return NULL;

	p4dp = p4d_offset(pgdp, addr);
	if (p4d_none(p4dp_get(p4dp)))
		return NULL;

	pudp = pud_offset(p4dp, addr);
	if (CONFIG_PGTABLE_LEVELS > 2)
		return (u64 *)pudp;
	return (u64 *)pmd_offset(pudp, addr);
}

u64 *kpgtable_table(u64 descriptor)
{
	return __va(__pte_to_phys(__pte(descriptor)));
}

u64 kpgtable_table_address(const u64 *table)
{
	return __phys_to_pte_val(__pa(table));
}

u64 *kpgtable_alloc_table(bool last_level)
{
	enum pgtable_level level = last_level ? PGTABLE_LEVEL_PTE :
						PGTABLE_LEVEL_PMD;
	phys_addr_t pa = pgd_pgtable_alloc_init_mm_gfp(level,
						       GFP_PGTABLE_KERNEL);

	return pa == INVALID_PHYS_ADDR ? NULL : __va(pa);
}

void kpgtable_free_table(u64 *table)
{
	/* The page allocator does not own the tables that boot has made. */
	VM_WARN_ON_ONCE(!folio_test_pgtable(virt_to_folio(table)));
	pagetable_dtor_free(virt_to_ptdesc(table));
}

static void free_table_rcu(struct rcu_head *head)
{
	pagetable_dtor_free(container_of(head, struct ptdesc, pt_rcu_head));
}

void kpgtable_free_table_later(u64 *table)
{
	VM_WARN_ON_ONCE(!folio_test_pgtable(virt_to_folio(table)));
	call_rcu(&virt_to_ptdesc(table)->pt_rcu_head, free_table_rcu);
}

void kpgtable_write_entry(u64 *entry, u64 descriptor)
{
	VM_WARN_ON_ONCE(!mutex_is_locked(&pgtable_split_lock) &&
			!kpgtable_in_snapshot());

	if (in_swapper_pgdir(entry))
		set_swapper_pgd((pgd_t *)entry, __pgd(descriptor));
	else
		WRITE_ONCE(*entry, descriptor);
}

bool kpgtable_is_linear_map(unsigned long addr)
{
	return __is_lm_address(addr);
}

pteval_t kpgtable_pte_gp(void)
{
	return PTE_MAYBE_GP;
}

pteval_t kpgtable_pte_valid(void)
{
	return PTE_PRESENT_VALID_KERNEL;
}

bool kpgtable_needs_break(void)
{
	return alternative_has_cap_unlikely(ARM64_WORKAROUND_2645198);
}

void kpgtable_sync_tables(void)
{
	emit_pte_barriers();
}

/*
 * Widen a range of pages to one that takes fewer operations: to remove a few more
 * pages from TLBs costs less than another operation. Returns the number of pages.
 */
static unsigned long widen_tlb_range(unsigned long *start, unsigned long end)
{
	unsigned long pages = (end - *start) >> PAGE_SHIFT;

	if (!system_supports_tlb_range() || pages == 1)
		return pages;

	/* With LPA2 a range operation begins there, see __flush_tlb_range_op(). */
	if (lpa2_is_enabled())
		*start = round_down(*start, SZ_64K);
	pages = (end - *start) >> PAGE_SHIFT;

	/* It has up to 64 pages, an even number, or a multiple of 64. */
	return round_up(pages, pages <= 64 ? 2 : 64);
}

unsigned long kpgtable_tlb_operations(unsigned long start, unsigned long end)
{
	unsigned long pages = widen_tlb_range(&start, end);
	unsigned long operations = 0;

	if (__flush_tlb_range_limit_excess(pages, PAGE_SIZE))
		return MAX_DVM_OPS;
	if (!system_supports_tlb_range() || pages == 1)
		return pages;

	/* One for each scale. */
	for (pages /= 2; pages; pages >>= 5)
		operations += !!(pages & GENMASK(4, 0));
	return operations;
}

void kpgtable_invalidate_tlb(unsigned long start, unsigned long end)
{
	unsigned long pages = widen_tlb_range(&start, end);

	lockdep_assert_held(&pgtable_split_lock);

	if (__flush_tlb_range_limit_excess(pages, PAGE_SIZE))
		__tlbi(vmalle1is);
	else
		__flush_s1_tlb_range_op(vaale1is, start, pages, PAGE_SIZE, 0,
					TLBI_TTL_UNKNOWN);
}

void kpgtable_complete_invalidation(void)
{
	__tlbi_sync_s1ish_kernel();
	isb();
}

void kpgtable_invalidate_local_tlb(void)
{
	VM_WARN_ON_ONCE(!kpgtable_in_snapshot());
	local_flush_tlb_all();
}

void kpgtable_invalidate_walks(unsigned long start, unsigned long end)
{
	/* ptdump does not walk through a table that is taken out of use. */
	mmap_assert_locked(&init_mm);

	/* Any VA of the range finds what is cached of the entry above the table. */
	__flush_tlb_kernel_pgtable(start);
	/* No MMU reads the table any more, so its leaves do not come back. */
	kpgtable_invalidate_tlb(start, end);
	kpgtable_complete_invalidation();
}

void kpgtable_count_event(bool level1, bool collapse)
{
#ifdef CONFIG_ARM64_KPGTABLE_EVENTS
	if (level1)
		count_vm_event(collapse ? DIRECT_MAP_LEVEL3_COLLAPSE :
					  DIRECT_MAP_LEVEL3_SPLIT);
	else
		count_vm_event(collapse ? DIRECT_MAP_LEVEL2_COLLAPSE :
					  DIRECT_MAP_LEVEL2_SPLIT);
#endif
}

static int __init kpgtable_init(void)
{
	phys_addr_t start = memblock_start_of_DRAM();

	if (!kpgtable_supported())
		return 0;

	kpgtable_stats_start((unsigned long)__va(start),
			     memblock_end_of_DRAM() - start);

	if (!direct_map_collapse)
		return 0;

	/* Freezable: nobody is in a hurry while the machine goes to sleep. */
	collapse_wq = alloc_workqueue("kpgtable", WQ_UNBOUND | WQ_FREEZABLE, 1);
	if (!collapse_wq)
		return -ENOMEM;
	kpgtable_queue_collapse(0);
	return 0;
}
arch_initcall(kpgtable_init);

#ifdef CONFIG_PROC_FS
void arch_report_meminfo(struct seq_file *m)
{
	unsigned int last = pud_sect_supported() ? 4 : 3;
	unsigned long size, bytes;

	if (!kpgtable_supported())
		return;

	for (unsigned int i = 0; i <= last; i++) {
		bytes = kpgtable_stats_get(i, &size);
		if (size >= SZ_1G)
			seq_printf(m, "DirectMap%luG:", size / SZ_1G);
		else if (size >= SZ_1M)
			seq_printf(m, "DirectMap%luM:", size / SZ_1M);
		else
			seq_printf(m, "DirectMap%luk:", size / SZ_1K);
		seq_printf(m, "\t%8lu kB\n", bytes / SZ_1K);
	}
}
#endif /* CONFIG_PROC_FS */
