/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The boundary between C and the Rust code in arch/arm64/mm/rox/, which changes
 * the permissions of kernel memory in whole runs and puts module text into the
 * ROX cache of mm/execmem.c.
 */
#ifndef __ASM_ROX_H
#define __ASM_ROX_H

#include <linux/errno.h>
#include <linux/execmem.h>
#include <linux/types.h>

#include <asm/insn-def.h>
#include <asm/pgtable-types.h>

#ifdef CONFIG_ARM64_EXECMEM_ROX

/* C, used by Rust. */

/* Whether execmem_rox= lets module text come from the ROX cache. */
extern bool execmem_rox;

/**
 * rox_supported - whether live kernel leaves may change size on this machine
 *
 * Return: %true if all CPUs have FEAT_BBML3, the linear map is mapped with
 * blocks, and rodata=on. %false until all CPUs are up.
 */
bool rox_supported(void);

/**
 * rox_update_leaves - change the attributes of whole leaves, and flush TLBs
 * @start:	first VA, page aligned
 * @size:	size in bytes, a multiple of the page size
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * The caller owns the permissions of the range, and has split the leaves at its
 * ends with split_kernel_leaf_mapping(); a contiguous run that the range cuts is
 * not noticed.
 *
 * Return: 0, or -EINVAL at a block that the range cuts, with what comes before
 * it changed.
 */
int rox_update_leaves(unsigned long start, unsigned long size,
		      pgprot_t set_mask, pgprot_t clear_mask);

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

/* Rust, called from C. */

/**
 * rox_execmem_setup - let ranges use the ROX cache where it can be had
 * @info:	the ranges, which execmem has not seen yet
 */
void rox_execmem_setup(struct execmem_info *info);

/**
 * rox_change_memory - change permissions in a vmalloc area and its linear alias
 * @addr:	first VA, page aligned
 * @numpages:	number of pages
 * @set_mask:	attribute bits to set
 * @clear_mask:	attribute bits to clear, before those are set
 *
 * Physically contiguous pages are changed together, and blocks of the mapping
 * that lie in the range are not split. May sleep.
 *
 * Return: 0; -EINVAL if the range is not part of one area of pages, or the masks
 * make memory writable and executable in one step; -ENOMEM if a leaf cannot be
 * split; -EOPNOTSUPP unless rox_supported(). On errors nothing has changed.
 */
int rox_change_memory(unsigned long addr, int numpages,
		      pgprot_t set_mask, pgprot_t clear_mask);

#else /* CONFIG_ARM64_EXECMEM_ROX */

static inline bool rox_supported(void)
{
	return false;
}

static inline void rox_execmem_setup(struct execmem_info *info)
{
}

static inline int rox_change_memory(unsigned long addr, int numpages,
				    pgprot_t set_mask, pgprot_t clear_mask)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_ARM64_EXECMEM_ROX */
#endif /* __ASM_ROX_H */
