/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust code in this directory and C code know of each other, and nobody
 * else needs: C functions and variables that Rust uses, what these take from
 * mmu.c, and Rust functions that C files here call.
 *
 * Addresses are VAs of the kernel, and sizes are in bytes, unless a line says
 * otherwise. A range ends before @end.
 */
#ifndef __KPGTABLE_SHIM_H
#define __KPGTABLE_SHIM_H

#include <linux/gfp_types.h>
#include <linux/mutex.h>
#include <linux/pgtable.h>
#include <linux/types.h>

/* In mmu.c. */

extern struct mutex pgtable_split_lock;
extern bool linear_map_requires_bbml3;

phys_addr_t pgd_pgtable_alloc_init_mm_gfp(enum pgtable_level pgtable_level,
					  gfp_t gfp);

/* In shim.c, called by Rust. */

/* Whether direct_map_collapse= allows leaves to collapse. */
extern bool direct_map_collapse;

/**
 * kpgtable_in_snapshot - whether hibernation has this CPU copy memory
 *
 * Return: %true if no other CPU runs, and this one has interrupts off
 */
bool kpgtable_in_snapshot(void);

/**
 * kpgtable_try_exclude_walkers - exclude walks through all kernel page tables
 *
 * Does not wait for a walk that is going on. Is called before kpgtable_lock().
 *
 * Return: %false if somebody walks through the tables
 */
bool kpgtable_try_exclude_walkers(void);

/**
 * kpgtable_admit_walkers - end what kpgtable_try_exclude_walkers() began
 *
 * Context: the thread that began it.
 */
void kpgtable_admit_walkers(void);

/**
 * kpgtable_queue_collapse - have a worker call kpgtable_collapse()
 * @delay_ms:	when, in milliseconds from now, unless it is queued already
 *
 * Context: any.
 */
void kpgtable_queue_collapse(unsigned int delay_ms);

/**
 * kpgtable_may_be_leaf - whether one leaf or run of the linear map may map a range
 * @start:	first VA
 * @size:	size in bytes
 *
 * Memory that was added after boot may be removed, one memory block at a time.
 *
 * Return: %false if it is such memory, and more than a memory block
 */
bool kpgtable_may_be_leaf(unsigned long start, unsigned long size);

/**
 * kpgtable_top_entry - find an entry of the highest level that may have leaves
 * @addr:	VA
 * @owned:	whether a table that maps @addr stays although it is not one of the
 *		linear map
 *
 * Return: the level 1 entry for @addr, or the level 2 entry where the kernel has
 * only two levels of tables; %NULL if no table has one, and for other addresses
 * than those of the linear map unless @owned
 */
u64 *kpgtable_top_entry(unsigned long addr, bool owned);

/**
 * kpgtable_table - find the table that a descriptor points to
 * @descriptor:	a table descriptor
 *
 * Return: the VA of its first entry, in the linear map
 */
u64 *kpgtable_table(u64 descriptor);

/**
 * kpgtable_table_address - the address of a table as descriptors hold it
 * @table:	VA of its first entry, in the linear map
 *
 * Return: bits of a table descriptor
 */
u64 kpgtable_table_address(const u64 *table);

/**
 * kpgtable_alloc_table - allocate a table
 * @last_level:	whether it is a table of level 3, else one of level 2
 *
 * Context: may sleep.
 * Return: the VA of its first entry, or %NULL. The entries are not initialized.
 */
u64 *kpgtable_alloc_table(bool last_level);

/**
 * kpgtable_free_table - free a table that no entry has pointed to
 * @table:	as returned by kpgtable_alloc_table()
 *
 * Context: any.
 */
void kpgtable_free_table(u64 *table);

/**
 * kpgtable_free_table_later - free a table after an RCU grace period
 * @table:	as returned by kpgtable_alloc_table(); no entry points to it
 *
 * Context: any.
 */
void kpgtable_free_table_later(u64 *table);

/**
 * kpgtable_write_entry - write an entry of a table of level 1 or 2
 * @entry:	the entry, which may be in swapper_pg_dir
 * @descriptor:	what to write
 *
 * Context: pgtable_split_lock is held, or kpgtable_in_snapshot().
 */
void kpgtable_write_entry(u64 *entry, u64 descriptor);

/**
 * kpgtable_is_linear_map - whether an address is one of the linear map
 * @addr:	VA
 *
 * Return: whether it is
 */
bool kpgtable_is_linear_map(unsigned long addr);

/**
 * kpgtable_sync_tables - make stores to tables visible to all table walkers
 *
 * When it returns, the caller may use leaves that have become valid.
 */
void kpgtable_sync_tables(void);

/**
 * kpgtable_tlb_operations - how many operations kpgtable_invalidate_tlb() takes
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * Return: their number, or MAX_DVM_OPS where one operation removes everything
 */
unsigned long kpgtable_tlb_operations(unsigned long start, unsigned long end);

/**
 * kpgtable_invalidate_tlb - begin to remove leaves of a range from all TLBs
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * May remove leaves around the range, where that takes fewer operations. Is called
 * after kpgtable_sync_tables(); kpgtable_complete_invalidation() ends it.
 */
void kpgtable_invalidate_tlb(unsigned long start, unsigned long end);

/**
 * kpgtable_complete_invalidation - wait until no CPU uses invalidated leaves
 */
void kpgtable_complete_invalidation(void);

/**
 * kpgtable_invalidate_local_tlb - remove everything from the TLB of this CPU
 *
 * Waits until that is done.
 *
 * Context: kpgtable_in_snapshot(), after kpgtable_sync_tables().
 */
void kpgtable_invalidate_local_tlb(void);

/**
 * kpgtable_invalidate_walks - remove leaves and what leads to them from all TLBs
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * For a range that one table maps, or mapped. Walk caches lose the entry that
 * pointed to the table. Waits until all is done.
 *
 * Context: walks are excluded, after kpgtable_sync_tables().
 */
void kpgtable_invalidate_walks(unsigned long start, unsigned long end);

/**
 * kpgtable_pte_gp - attribute bit of guarded pages
 *
 * Return: PTE_GP if the kernel uses FEAT_BTI for itself, or 0
 */
pteval_t kpgtable_pte_gp(void);

/**
 * kpgtable_pte_valid - attribute bits of a valid leaf of the kernel
 *
 * Return: PTE_VALID, and PTE_NG if kernel mappings are not global
 */
pteval_t kpgtable_pte_valid(void);

/**
 * kpgtable_needs_break - whether leaves are invalid before they stop being executable
 *
 * Return: %true if a CPU has erratum 2645198
 */
bool kpgtable_needs_break(void);

/**
 * kpgtable_count_event - count the split or collapse of a block of the linear map
 * @level1:	whether it is a block of level 1, else one of level 2
 * @collapse:	whether it is a collapse, else a split
 */
void kpgtable_count_event(bool level1, bool collapse);

/* In Rust, called by shim.c. */

/**
 * kpgtable_collapse - collapse leaves that were split, and are alike again
 * @first:	whether this is the first call of a series
 *
 * Each call collapses leaves of one table.
 *
 * Context: the work of kpgtable_queue_collapse(); may sleep.
 * Return: whether to call it again now
 */
bool kpgtable_collapse(bool first);

/**
 * kpgtable_stats_start - count the leaves of the linear map for the first time
 * @start:	first VA, page aligned
 * @size:	size in bytes
 *
 * Context: may sleep.
 */
void kpgtable_stats_start(unsigned long start, unsigned long size);

/**
 * kpgtable_stats_get - how much of the linear map leaves of one size map
 * @index:	0 for pages; 1 for contiguous runs of them; 2 for blocks of level 2; 3
 *		for contiguous runs of those; 4 for blocks of level 1
 * @leaf_size:	where to store how many bytes one of them maps
 *
 * Does not wait for a change that is going on.
 *
 * Context: any.
 * Return: bytes
 */
unsigned long kpgtable_stats_get(unsigned int index, unsigned long *leaf_size);

#ifdef CONFIG_ARM64_EXECMEM_ROX

/* Whether execmem_rox= allows memory to come from the caches of mm/execmem.c. */
extern bool execmem_rox;

/* Whether it does so on CPUs without FEAT_BBML3 too. */
extern bool execmem_rox_all;

/**
 * kpgtable_deposited_tables - how many page tables are deposited for chunks
 *
 * Context: may sleep.
 * Return: number of tables, one page each
 */
unsigned long kpgtable_deposited_tables(void);

/**
 * kpgtable_unprotected - how much of an area has no protection in the linear map
 * @area:	the key of the area before, or 0; becomes that of this area
 * @caller:	where to store the address from which the area was allocated
 *
 * Context: may sleep.
 * Return: bytes that are read-only while their linear alias is writable; 0 if there
 * is no more area
 */
unsigned long kpgtable_unprotected(unsigned long *area, unsigned long *caller);

#else /* CONFIG_ARM64_EXECMEM_ROX */

#define execmem_rox_all		false

#endif /* CONFIG_ARM64_EXECMEM_ROX */
#endif /* __KPGTABLE_SHIM_H */
