/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel page tables that change in extents, split and collapse: what C code calls
 * in arch/arm64/mm/kpgtable/. See Documentation/arch/arm64/kpgtable.rst.
 */
#ifndef __ASM_KPGTABLE_H
#define __ASM_KPGTABLE_H

#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/types.h>

#include <asm/pgtable-prot.h>
#include <asm/pgtable-types.h>

struct execmem_info;
struct page;

#ifdef CONFIG_ARM64_KPGTABLE

/*
 * Software bits of entries of kernel page tables, next to those of pgtable-prot.h.
 * A split sets the first two: a leaf, or the block that a table replaced, was part
 * of a contiguous run; a table replaced a block. The third: a leaf has changed in
 * this table, or in one below it. See mm/kpgtable/descriptor.rs.
 */
#define PTE_WAS_CONT		(_AT(pteval_t, 1) << 57)
#define PMD_TABLE_WAS_BLOCK	(_AT(pmdval_t, 1) << 58)
#define PMD_TABLE_PENDING	(_AT(pmdval_t, 1) << 56)

static_assert(!(PTE_WAS_CONT & (PTE_WRITE | PTE_DIRTY | PTE_SPECIAL | PTE_UFFD)));

/**
 * kpgtable_supported - whether this code changes kernel page tables
 *
 * Return: %true if kpgtable_may_resize() or kpgtable_whole_leaves()
 */
bool kpgtable_supported(void);

/**
 * kpgtable_may_resize - whether live kernel leaves may change their size
 *
 * Return: %true if all CPUs have FEAT_BBML3, the linear map is mapped by blocks,
 * and rodata=on; with kpgtable=off, and until all CPUs are up, %false
 */
bool kpgtable_may_resize(void);

/**
 * kpgtable_whole_leaves - whether leaves of the linear map keep their size
 *
 * The linear map is mapped by blocks of level 2 then, and smaller leaves where those
 * do not fit. With rodata=on a change of permissions has to be for whole leaves.
 *
 * Return: %true after kpgtable_keep_leaves()
 */
bool kpgtable_whole_leaves(void);

/**
 * kpgtable_wants_whole_leaves - whether the command line asks for whole leaves
 *
 * Return: %true for execmem_rox=all, where a CPU without FEAT_BBML3 can have that:
 * with 4K pages and rodata=on, without debug_pagealloc. A realm cannot, but a kernel
 * learns too late that it is in one: arm64_rsi_init() panics.
 */
bool kpgtable_wants_whole_leaves(void);

/**
 * kpgtable_keep_leaves - leaves of the linear map keep their size from now on
 *
 * Context: boot, if kpgtable_wants_whole_leaves(), and before the linear map is
 * mapped, or while no other CPU uses it.
 */
void kpgtable_keep_leaves(void);

/**
 * kpgtable_lock - take pgtable_split_lock
 *
 * The holder may split leaves and change them. See arch/arm64/mm/kpgtable/lock.rs
 * for what the lock protects, and who does without.
 *
 * Context: may sleep. A caller that already holds the lock deadlocks.
 */
void kpgtable_lock(void);

/**
 * kpgtable_unlock - release pgtable_split_lock
 *
 * Context: the thread that took it.
 */
void kpgtable_unlock(void);

/**
 * kpgtable_change_memory - change permissions of vmalloc memory and its linear alias
 * @addr:	first VA, page aligned
 * @numpages:	number of pages
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * Changes physically adjacent pages together. Splits a leaf only if the range cuts
 * it and it has to change. The linear alias of memory in an execmem cache stays as
 * it is. If leaves keep their size, see kpgtable_whole_leaves(), the linear alias
 * of other memory changes only if it has whole leaves.
 *
 * Context: may sleep; takes the mutex of the execmem caches for their memory.
 * Return: 0; -EINVAL if not all of the range is mapped, if it is not part of one
 * vmalloc area, or in a cache of one allocation, if memory would become writable
 * and executable, or executable while its alias stays writable, or read-only and
 * vfree() would not reset that; -ENOMEM if there is no memory to split a leaf;
 * -EOPNOTSUPP unless kpgtable_supported(). On errors permissions are as before.
 */
int kpgtable_change_memory(unsigned long addr, int numpages,
			   pgprot_t set_mask, pgprot_t clear_mask);

/**
 * kpgtable_change_linear_map - change attributes in the linear map
 * @start:	first VA, page aligned
 * @size:	size in bytes, a multiple of the page size
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * The caller invalidates TLBs. While hibernation copies memory, it makes one page
 * at a time valid, and invalid again; the whole leaf that maps it changes with it.
 *
 * Context: may sleep, except while hibernation copies memory.
 * Return: 0; -EINVAL if the range is not all mapped, or maps memory of an execmem
 * cache; -ENOMEM if there is no memory to split a leaf; -EOPNOTSUPP unless
 * kpgtable_supported(). On errors attributes are as before.
 */
int kpgtable_change_linear_map(unsigned long start, unsigned long size,
			       pgprot_t set_mask, pgprot_t clear_mask);

/**
 * kpgtable_reset_linear_map - make pages valid and writable in the linear map
 * @pages:	pages that the caller owns
 * @nr:		number of pages
 *
 * For pages that vmalloc has just unmapped. If one has to change, TLBs forget that
 * mapping first. Needs no memory.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL if a leaf would have to change that also maps memory of
 * somebody else; -EOPNOTSUPP unless kpgtable_supported()
 */
int kpgtable_reset_linear_map(struct page **pages, unsigned long nr);

/**
 * kpgtable_map_by_ptes - map a part of the linear map by pages, for good
 * @start:	first VA, page aligned
 * @size:	size in bytes, a multiple of the page size
 *
 * For memory whose pages change in atomic context. TLBs may still hold larger
 * leaves with the same attributes.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL if the range is not all mapped; -ENOMEM if there is no memory
 * for a table; -EOPNOTSUPP unless kpgtable_may_resize()
 */
int kpgtable_map_by_ptes(unsigned long start, unsigned long size);

/**
 * kpgtable_stats_add - count the leaves of memory that is added
 * @start:	first VA in the linear map, which has been mapped
 * @size:	size in bytes
 *
 * Context: may sleep. Nobody uses the memory yet.
 */
void kpgtable_stats_add(unsigned long start, unsigned long size);

/**
 * kpgtable_stats_remove - stop counting leaves of memory that is removed
 * @start:	first VA in the linear map, which is still mapped
 * @size:	size in bytes
 *
 * Context: kpgtable_lock() is held until the memory is unmapped. Nobody uses it.
 */
void kpgtable_stats_remove(unsigned long start, unsigned long size);

#else /* CONFIG_ARM64_KPGTABLE */

static inline bool kpgtable_supported(void)
{
	return false;
}

static inline bool kpgtable_whole_leaves(void)
{
	return false;
}

static inline bool kpgtable_wants_whole_leaves(void)
{
	return false;
}

static inline void kpgtable_keep_leaves(void)
{
}

static inline void kpgtable_lock(void)
{
}

static inline void kpgtable_unlock(void)
{
}

static inline int kpgtable_change_memory(unsigned long addr, int numpages,
					 pgprot_t set_mask, pgprot_t clear_mask)
{
	return -EOPNOTSUPP;
}

static inline int kpgtable_change_linear_map(unsigned long start,
					     unsigned long size,
					     pgprot_t set_mask,
					     pgprot_t clear_mask)
{
	return -EOPNOTSUPP;
}

static inline int kpgtable_reset_linear_map(struct page **pages,
					    unsigned long nr)
{
	return -EOPNOTSUPP;
}

static inline int kpgtable_map_by_ptes(unsigned long start, unsigned long size)
{
	return -EOPNOTSUPP;
}

static inline void kpgtable_stats_add(unsigned long start, unsigned long size)
{
}

static inline void kpgtable_stats_remove(unsigned long start,
					 unsigned long size)
{
}

#endif /* CONFIG_ARM64_KPGTABLE */

#ifdef CONFIG_ARM64_EXECMEM_ROX
/**
 * execmem_rox_setup - let ranges use the execmem caches where they can be had
 * @info:	the ranges, which execmem has not seen yet
 *
 * Context: boot, once, from execmem_arch_setup().
 */
void execmem_rox_setup(struct execmem_info *info);
#else
static inline void execmem_rox_setup(struct execmem_info *info)
{
}
#endif

#endif /* __ASM_KPGTABLE_H */
