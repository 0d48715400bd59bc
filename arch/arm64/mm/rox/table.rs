// SPDX-License-Identifier: GPL-2.0

//! Live kernel page tables: splitting leaves, and changing the attributes of whole leaves.
//!
//! Everybody who changes the permissions of a part of a leaf splits it first. So whoever finds a
//! contiguous run to split finds one that nobody changes meanwhile, and after a split the leaves of
//! the range belong to the owner of the range alone. Nothing makes leaves larger again.
//!
//! The only file that changes live tables. Each function demands a [`Bbml3`], because each may
//! find a leaf that has to become smaller while CPUs use it.
//!
//! # Context
//!
//! Process context; [`split`] takes `pgtable_split_lock` and may sleep. The caller owns the
//! permissions of the range: nobody else changes them at the same time.

use core::ops::Range;

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::{
    execmem::GEOMETRY,
    permission::Change, //
};

/// Proof that kernel leaves may change size while they are live, and that the linear map is mapped
/// with leaves that do: FEAT_BBML3 on all CPUs, and `rodata=on`.
#[derive(Clone, Copy)]
pub(crate) struct Bbml3(());

impl Bbml3 {
    /// Returns the proof, or [`None`] on machines and command lines where there is none, and early
    /// in boot, before all CPUs have been looked at.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: Reads variables that do not change after boot.
        unsafe { bindings::rox_supported() }.then_some(Self(()))
    }
}

/// Splits the leaves that contain the ends of `range`, so that leaves lie inside or outside of it.
///
/// `range` is one of page-aligned kernel VAs. Permissions stay as they are.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for a page table. Leaves may then have been split in vain.
pub(crate) fn split(_: Bbml3, range: &Range<usize>) -> Result {
    // SAFETY: The token proves that leaves may be split while they are live. The function takes
    // the lock that serialises splits, and permissions stay as they are.
    to_result(unsafe { bindings::split_kernel_leaf_mapping(range.start, range.end) })
}

/// Applies `change` to all leaves of `range`, and invalidates what TLBs hold of it.
///
/// # Errors
///
/// [`EINVAL`] if `range` cuts a leaf, which [`split`] rules out.
///
/// # Safety
///
/// The caller owns the permissions of `range`, and nobody relies on those that `change` takes away.
pub(crate) unsafe fn change(_: Bbml3, range: &Range<usize>, change: Change) -> Result {
    let mask = |pgprot| bindings::pgprot_t { pgprot };

    // SAFETY: By the safety requirements of this function.
    to_result(unsafe {
        bindings::rox_update_leaves(
            range.start,
            range.end - range.start,
            mask(change.set()),
            mask(change.clear()),
        )
    })
}

/// Splits blocks in `range`, so that changing single pages of it never needs a page table.
///
/// `range` is one of page-aligned kernel VAs.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for a page table.
pub(crate) fn split_blocks(bbml3: Bbml3, range: &Range<usize>) -> Result {
    let mut start = range.start;

    while start < range.end {
        // To split one page off is to split the block that it is in.
        split(bbml3, &(start..start + GEOMETRY.page))?;
        start = (start / GEOMETRY.pmd + 1) * GEOMETRY.pmd;
    }
    Ok(())
}

/// Gets rid of mappings that vmalloc has not unmapped yet, and of what TLBs hold of them.
pub(crate) fn unmap_stale_aliases() {
    // SAFETY: The caller can sleep, as everywhere in this file.
    unsafe { bindings::vm_unmap_aliases() };
}

/// Returns the attribute bit of guarded pages (FEAT_BTI), or 0 if the kernel does not use it.
pub(crate) fn maybe_guarded() -> u64 {
    // SAFETY: Reads a CPU capability.
    unsafe { bindings::rox_pte_gp() }
}

/// Returns the attribute bits of a leaf that is valid in the kernel.
pub(crate) fn valid() -> u64 {
    // SAFETY: Reads a variable that does not change after boot.
    unsafe { bindings::rox_pte_valid() }
}
