/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The boundary between C and the Rust code in arch/arm64/mm/rox/, which changes
 * the permissions of kernel memory in whole runs and puts executable memory and
 * the read-only data of modules into the caches of mm/execmem.c.
 */
#ifndef __ASM_ROX_H
#define __ASM_ROX_H

#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/execmem.h>
#include <linux/types.h>

#include <asm/insn-def.h>
#include <asm/pgtable-prot.h>
#include <asm/pgtable-types.h>

struct page;

#ifdef CONFIG_ARM64_EXECMEM_ROX

/*
 * Notes of splits in entries of kernel page tables, next to the software bits of
 * pgtable-prot.h: a leaf, or the block that a table replaces, was one of a
 * contiguous run; a table has the place of a block. And of changes: a table, or one
 * below it, has leaves that may collapse. See mm/rox/descriptor.rs.
 */
#define PTE_WAS_CONT		(_AT(pteval_t, 1) << 57)
#define PMD_TABLE_WAS_BLOCK	(_AT(pmdval_t, 1) << 58)
#define PMD_TABLE_PENDING	(_AT(pmdval_t, 1) << 56)

static_assert(!(PTE_WAS_CONT & (PTE_WRITE | PTE_DIRTY | PTE_SPECIAL | PTE_UFFD)));

/* C, used by Rust. */

/* Whether execmem_rox= lets memory come from the caches of mm/execmem.c. */
extern bool execmem_rox;

/* Whether direct_map_collapse= lets leaves that were split become larger again. */
extern bool direct_map_collapse;

/**
 * rox_supported - whether live kernel leaves may change size on this machine
 *
 * Return: %true if all CPUs have FEAT_BBML3, the linear map is mapped with
 * blocks, and rodata=on. %false until all CPUs are up.
 */
bool rox_supported(void);

/**
 * rox_lock_shape - take the lock of the shape of kernel page tables
 *
 * Who holds it may split leaves and change them. May sleep. What it protects,
 * and who does without, is said in arch/arm64/mm/rox/lock.rs.
 */
void rox_lock_shape(void);

/**
 * rox_unlock_shape - release what rox_lock_shape() took
 *
 * Called by the thread that took it.
 */
void rox_unlock_shape(void);

/**
 * rox_is_only_cpu - whether hibernation has this CPU copy memory
 *
 * Return: %true if no other CPU runs, and this one has interrupts off
 */
bool rox_is_only_cpu(void);

/**
 * rox_try_prevent_dump - keep ptdump out of kernel page tables, unless it is there
 *
 * Taken before rox_lock_shape().
 *
 * Return: whether it is kept out
 */
bool rox_try_prevent_dump(void);

/**
 * rox_allow_dump - end what rox_try_prevent_dump() began
 *
 * Called by the thread that began it.
 */
void rox_allow_dump(void);

/**
 * rox_queue_joining - have rox_join_leaves() called by a worker
 * @delay_ms:	when, in milliseconds from now, unless it is queued already
 *
 * Does not sleep.
 */
void rox_queue_joining(unsigned int delay_ms);

/**
 * rox_may_be_leaf - whether a leaf, or a run, of the linear map may be that large
 * @start:	first VA
 * @size:	its size in bytes
 *
 * Memory that was added may go again, one memory block at a time.
 *
 * Return: %false if it is such memory, and more than a memory block
 */
bool rox_may_be_leaf(unsigned long start, unsigned long size);

/**
 * rox_top_entry - find an entry of the highest level that may have leaves
 * @addr:	kernel VA
 *
 * Return: the level 1 entry for @addr, or the level 2 entry where the kernel has
 * but two levels of tables; %NULL if no table has one
 */
u64 *rox_top_entry(unsigned long addr);

/**
 * rox_table - find the table that a descriptor points to
 * @descriptor:	a table descriptor
 *
 * Return: the VA of its first entry, in the linear map
 */
u64 *rox_table(u64 descriptor);

/**
 * rox_table_address - the address of a table as descriptors hold it
 * @table:	VA of its first entry, in the linear map
 *
 * Return: bits of a table descriptor
 */
u64 rox_table_address(const u64 *table);

/**
 * rox_alloc_table - allocate a table of kernel page tables
 * @last_level:	whether it is one of level 3, else one of level 2
 *
 * May sleep.
 *
 * Return: the VA of its first entry, or %NULL. What the entries hold is undefined.
 */
u64 *rox_alloc_table(bool last_level);

/**
 * rox_free_table - free a table that no entry points to, and no walker can see
 * @table:	as returned by rox_alloc_table()
 *
 * Does not sleep.
 */
void rox_free_table(u64 *table);

/**
 * rox_free_table_later - free a table when no RCU reader sees it any more
 * @table:	as returned by rox_alloc_table(); no entry points to it
 *
 * Does not sleep.
 */
void rox_free_table_later(u64 *table);

/**
 * rox_write_upper_entry - write an entry of a table of level 1 or 2
 * @entry:	the entry, which may be in swapper_pg_dir
 * @descriptor:	what to write
 *
 * Called with the lock of rox_lock_shape() held, or where rox_is_only_cpu().
 */
void rox_write_upper_entry(u64 *entry, u64 descriptor);

/**
 * rox_is_linear_map - whether an address is one of the linear map
 * @addr:	kernel VA
 *
 * Return: whether it is
 */
bool rox_is_linear_map(unsigned long addr);

/**
 * rox_sync_tables - make stores to page tables visible to all walkers
 *
 * The caller may use new valid leaves when this returns.
 */
void rox_sync_tables(void);

/**
 * rox_tlb_operations - how many operations rox_invalidate_tlb() takes
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * Return: their number, or MAX_DVM_OPS where it is one for all addresses
 */
unsigned long rox_tlb_operations(unsigned long start, unsigned long end);

/**
 * rox_invalidate_tlb - begin to remove leaves of a range from all TLBs
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * May remove some around it, where that takes fewer operations.
 * Follows rox_sync_tables(), and ends with rox_complete_invalidation().
 */
void rox_invalidate_tlb(unsigned long start, unsigned long end);

/**
 * rox_complete_invalidation - wait until invalidated leaves are no longer used
 */
void rox_complete_invalidation(void);

/**
 * rox_invalidate_local_tlb - remove everything from the TLB of this CPU
 *
 * Called where rox_is_only_cpu(), after rox_sync_tables(). Waits until all is done.
 */
void rox_invalidate_local_tlb(void);

/**
 * rox_invalidate_walks - remove leaves and what leads to them from all TLBs
 * @start:	first VA, page aligned
 * @end:	VA behind the last one, page aligned
 *
 * For a range that one table maps, or mapped: the entry for that table goes from
 * walk caches too. Follows rox_sync_tables(), and waits until all is done.
 */
void rox_invalidate_walks(unsigned long start, unsigned long end);

/**
 * rox_pte_gp - attribute bit of guarded pages
 *
 * Return: PTE_GP if the kernel uses FEAT_BTI for itself, or 0
 */
pteval_t rox_pte_gp(void);

/**
 * rox_pte_valid - attribute bits of a valid leaf of the kernel
 *
 * Return: PTE_VALID, and PTE_NG if kernel mappings are not global
 */
pteval_t rox_pte_valid(void);

/**
 * rox_needs_break - whether a leaf has to be invalid before it stops being executable
 *
 * Return: %true if a CPU has erratum 2645198
 */
bool rox_needs_break(void);

/**
 * rox_count_event - count that a block of the linear map was split or joined
 * @level1:	whether it is a block of level 1, else one of level 2
 * @joined:	whether it was joined, else split
 */
void rox_count_event(bool level1, bool joined);

/* Rust, called from C. */

/**
 * rox_execmem_setup - let ranges use the caches where they can be had
 * @info:	the ranges, which execmem has not seen yet
 *
 * Called once, at boot, by execmem_arch_setup().
 */
void rox_execmem_setup(struct execmem_info *info);

/**
 * rox_change_memory - change permissions in a vmalloc area and its linear alias
 * @addr:	first VA, page aligned
 * @numpages:	number of pages
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * Physically contiguous pages are changed together, and a leaf is split only
 * where the range cuts it, and if it has to change. The linear alias of memory in
 * a cache stays as it is. May sleep, and takes the mutex of a cache for memory in
 * one.
 *
 * Return: 0; -EINVAL if the range is not part of one area of pages, or, in a cache,
 * of one allocation, is not all mapped, or memory would become writable and
 * executable; -ENOMEM if there is no memory to split a leaf; -EOPNOTSUPP unless
 * rox_supported(). On errors permissions are as before.
 */
int rox_change_memory(unsigned long addr, int numpages,
		      pgprot_t set_mask, pgprot_t clear_mask);

/**
 * rox_change_linear_map - change attributes in the linear map
 * @start:	first VA, page aligned
 * @size:	size in bytes, a multiple of the page size
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * The caller invalidates TLBs. May sleep, but for hibernation when it copies
 * memory: it makes one page at a time valid and invalid again, which then happens
 * to all of the leaf that maps the page.
 *
 * Return: 0; -EINVAL if the range is not all mapped, or maps memory of a cache;
 * -ENOMEM if there is no memory to split a leaf; -EOPNOTSUPP unless
 * rox_supported(). On errors attributes are as before.
 */
int rox_change_linear_map(unsigned long start, unsigned long size,
			  pgprot_t set_mask, pgprot_t clear_mask);

/**
 * rox_reset_linear_map - make pages valid and writable in the linear map
 * @pages:	pages that the caller owns
 * @nr:		number of pages
 *
 * For pages that vmalloc has just unmapped. If one has to change, TLBs forget
 * that mapping first. Needs no memory. May sleep.
 *
 * Return: 0; -EINVAL if a page is part of a leaf that is not all the caller's,
 * and would have to change; -EOPNOTSUPP unless rox_supported()
 */
int rox_reset_linear_map(struct page **pages, unsigned long nr);

/**
 * rox_map_by_pages - map a part of the linear map by pages, for good
 * @start:	first VA, page aligned
 * @size:	size in bytes, a multiple of the page size
 *
 * For memory whose pages change in atomic context. TLBs may hold larger leaves
 * with the same attributes. May sleep.
 *
 * Return: 0; -EINVAL if the range is not all mapped; -ENOMEM if there is no memory
 * for a table; -EOPNOTSUPP unless rox_supported()
 */
int rox_map_by_pages(unsigned long start, unsigned long size);

/**
 * rox_join_leaves - join leaves that were split, and are alike again
 * @first:	whether this is the first call of a series
 *
 * Does this in one place. For the work that rox_queue_joining() queues. May sleep.
 *
 * Return: whether there is more to do now
 */
bool rox_join_leaves(bool first);

/**
 * rox_parked_tables - how many page tables are parked for blocks of the caches
 *
 * May sleep.
 *
 * Return: number of tables, one page each
 */
unsigned long rox_parked_tables(void);

/**
 * rox_stats_start - count the leaves of the linear map for the first time
 * @start:	first VA, page aligned
 * @size:	size in bytes
 *
 * May sleep.
 */
void rox_stats_start(unsigned long start, unsigned long size);

/**
 * rox_stats_add - count the leaves of memory that is added
 * @start:	first VA in the linear map, which has been mapped
 * @size:	size in bytes
 *
 * May sleep. Nobody uses the memory yet.
 */
void rox_stats_add(unsigned long start, unsigned long size);

/**
 * rox_stats_remove - do not count memory any more that is about to be removed
 * @start:	first VA in the linear map, which is still mapped
 * @size:	size in bytes
 *
 * Called with the lock of rox_lock_shape() held, until the memory is unmapped.
 * Nobody uses it any more.
 */
void rox_stats_remove(unsigned long start, unsigned long size);

/**
 * rox_stats_get - how much of the linear map is mapped by leaves of a size
 * @index:	0 for pages; 1 for contiguous runs of them; 2 for blocks of level 2; 3
 *		for contiguous runs of those; 4 for blocks of level 1
 * @leaf_size:	where to store what one of them maps, in bytes
 *
 * Does not sleep, and does not wait for a change that has begun.
 *
 * Return: bytes
 */
unsigned long rox_stats_get(unsigned int index, unsigned long *leaf_size);

#else /* CONFIG_ARM64_EXECMEM_ROX */

static inline bool rox_supported(void)
{
	return false;
}

static inline void rox_lock_shape(void)
{
}

static inline void rox_unlock_shape(void)
{
}

static inline void rox_execmem_setup(struct execmem_info *info)
{
}

static inline int rox_change_memory(unsigned long addr, int numpages,
				    pgprot_t set_mask, pgprot_t clear_mask)
{
	return -EOPNOTSUPP;
}

static inline int rox_change_linear_map(unsigned long start, unsigned long size,
					pgprot_t set_mask, pgprot_t clear_mask)
{
	return -EOPNOTSUPP;
}

static inline int rox_reset_linear_map(struct page **pages, unsigned long nr)
{
	return -EOPNOTSUPP;
}

static inline void rox_stats_add(unsigned long start, unsigned long size)
{
}

static inline void rox_stats_remove(unsigned long start, unsigned long size)
{
}

static inline int rox_map_by_pages(unsigned long start, unsigned long size)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_ARM64_EXECMEM_ROX */
#endif /* __ASM_ROX_H */
