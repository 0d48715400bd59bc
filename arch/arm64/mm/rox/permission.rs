// SPDX-License-Identifier: GPL-2.0

//! What a `set_memory_*()` call or the ROX cache changes: which mapping, which runs, in which
//! order.
//!
//! Every change has two parts. The first splits leaves where the range cuts them, and may fail for
//! want of memory; permissions are then as before. The second changes whole leaves and cannot
//! fail.
//!
//! The linear alias changes before the mapping, so that memory is read-only there when it becomes
//! executable here. Only a block that leaves the cache goes the other way: it stops being
//! executable, and then its alias becomes writable. Each step ends with its TLB invalidation.

use core::ops::Range;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    area::Area,
    table::{
        self,
        Bbml3, //
    }, //
};

const RDONLY: u64 = bindings::PTE_RDONLY;
const WRITE: u64 = bindings::PTE_WRITE;
const PXN: u64 = bindings::PTE_PXN;

/// A change of the attributes of a leaf: bits that are cleared, then bits that are set.
///
/// # Invariants
///
/// It does not itself make a leaf both writable and executable. Whether the leaf already is one of
/// the two is up to who changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    set: u64,
    clear: u64,
}

impl Change {
    /// Returns the change with these masks, or [`None`] if it made a leaf writable and executable.
    pub(crate) fn new(set: u64, clear: u64) -> Option<Self> {
        if set & WRITE != 0 && clear & PXN != 0 {
            return None;
        }
        // INVARIANT: Checked above.
        Some(Self { set, clear })
    }

    /// To read-only and executable.
    ///
    /// Until the TLB invalidation is done a CPU may use the permission from before. Only the owner
    /// of the memory can, and it has stopped to write.
    pub(crate) fn rox() -> Self {
        // INVARIANT: Not writable.
        Self {
            set: RDONLY | table::maybe_guarded(),
            clear: WRITE | PXN,
        }
    }

    /// To writable and not executable, with the same remark as for [`Self::rox`].
    pub(crate) fn rw_nx() -> Self {
        // INVARIANT: Not executable.
        Self {
            set: WRITE | PXN,
            clear: RDONLY | table::maybe_guarded(),
        }
    }

    /// To valid and writable, as memory in the linear map is by default.
    pub(crate) fn linear_map_default() -> Self {
        // INVARIANT: Executability does not change.
        Self {
            set: table::valid() | WRITE,
            clear: bindings::PTE_PRESENT_INVALID | RDONLY,
        }
    }

    /// Bits that the change sets, after clearing those of [`Self::clear`].
    pub(crate) fn set(&self) -> u64 {
        self.set
    }

    /// Bits that the change clears.
    pub(crate) fn clear(&self) -> u64 {
        self.clear
    }

    /// Returns what the linear alias has to change, if anything: it follows whether memory is
    /// writable, and is never executable.
    pub(crate) fn of_alias(&self) -> Option<Self> {
        if (self.set | self.clear) & RDONLY == 0 {
            return None;
        }
        // INVARIANT: Executability does not change.
        Some(Self {
            set: self.set & (RDONLY | WRITE),
            clear: self.clear & (RDONLY | WRITE),
        })
    }
}

/// Changes the permission of `mapping`, a part of a vmalloc area, and that of its linear alias.
///
/// Context: may sleep.
///
/// # Errors
///
/// Permissions are as before after each of them: [`EINVAL`] if `mapping` is not part of one area,
/// or has no pages where the alias has to change; [`ENOMEM`] if there is no memory to split a leaf.
///
/// # Safety
///
/// The caller owns the area that `mapping` is a part of.
pub(crate) unsafe fn set_memory(bbml3: Bbml3, mapping: Range<usize>, change: Change) -> Result {
    // SAFETY: By the safety requirements of this function.
    let area = unsafe { Area::covering(&mapping) }?;
    if mapping.is_empty() {
        return Ok(());
    }

    let alias = change.of_alias();
    table::split(bbml3, &mapping)?;
    if alias.is_some() {
        for run in area.alias_runs(&mapping)? {
            table::split(bbml3, &run)?;
            // What vfree() does with single pages later must not fail.
            if area.is_reset_when_freed() {
                table::split_blocks(bbml3, &run)?;
            }
        }
    }

    if let Some(alias) = alias {
        for run in area.alias_runs(&mapping)? {
            // SAFETY: Who owns the area owns its pages.
            unsafe { table::change(bbml3, &run, alias) }?;
        }
    }
    // Mappings that were unmapped lazily may be left of these pages, with other permissions.
    table::unmap_stale_aliases();
    // SAFETY: By the safety requirements of this function.
    unsafe { table::change(bbml3, &mapping, change) }
}

/// Changes the permission of `mapping`, memory in the ROX cache, and leaves the linear alias
/// alone: it stays read-only from the block's entry into the cache to its [`release`].
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory to split a leaf. Permissions are then as before.
///
/// # Safety
///
/// The caller owns `mapping`.
pub(crate) unsafe fn set_cached(bbml3: Bbml3, mapping: Range<usize>, change: Change) -> Result {
    table::split(bbml3, &mapping)?;
    // SAFETY: By the safety requirements of this function.
    unsafe { table::change(bbml3, &mapping, change) }
}

/// Takes `block` out of the rules of the ROX cache, so that it can be freed: no longer executable,
/// and then its linear alias writable again.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory to split the linear alias. The block is then as before.
///
/// # Safety
///
/// The caller owns `block`, and nobody uses any part of it.
pub(crate) unsafe fn release(bbml3: Bbml3, block: &Area<'_>) -> Result {
    let mapping = block.range();

    for run in block.alias_runs(&mapping)? {
        table::split(bbml3, &run)?;
    }

    // The leaves of an area end where it ends.
    // SAFETY: By the safety requirements of this function.
    unsafe { table::change(bbml3, &mapping, Change::rw_nx()) }?;
    for run in block.alias_runs(&mapping)? {
        // SAFETY: Who owns the area owns its pages.
        unsafe { table::change(bbml3, &run, Change::linear_map_default()) }?;
    }
    Ok(())
}
