// SPDX-License-Identifier: GPL-2.0

//! Safe names for C functions and variables.
//!
//! A call in the wrong context is a deadlock, or a bug that the C function reports, but not
//! undefined behaviour.
//!
//! C header: [`arch/arm64/mm/kpgtable/shim.h`](srctree/arch/arm64/mm/kpgtable/shim.h)

use core::ops::Range;

use kernel::bindings;

use super::granule::Level;

/// Whether `addr` is a VA of the linear map.
pub(crate) fn is_linear_map(addr: usize) -> bool {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_is_linear_map(addr) }
}

/// Whether one leaf or contiguous run may map all of `range` of the linear map.
pub(crate) fn may_be_leaf(range: &Range<usize>) -> bool {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_may_be_leaf(range.start, range.len()) }
}

/// Makes stores to page tables visible to all table walkers, those of this CPU included.
pub(crate) fn sync_tables() {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_sync_tables() };
}

/// How many operations [`invalidate_tlb`] takes for `range`.
pub(crate) fn tlb_operations(range: &Range<usize>) -> usize {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_tlb_operations(range.start, range.end) }
}

/// Begins to remove leaves in `range` from all TLBs.
pub(crate) fn invalidate_tlb(range: &Range<usize>) {
    // SAFETY: TLBs can be emptied at any time.
    unsafe { bindings::kpgtable_invalidate_tlb(range.start, range.end) };
}

/// Waits until what [`invalidate_tlb`] has begun is done.
pub(crate) fn complete_invalidation() {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_complete_invalidation() };
}

/// Removes leaves in `range`, and entries that lead to them, from all TLBs and walk caches.
pub(crate) fn invalidate_walks(range: &Range<usize>) {
    // SAFETY: TLBs and walk caches can be emptied at any time.
    unsafe { bindings::kpgtable_invalidate_walks(range.start, range.end) };
}

/// Removes everything from the TLB of this CPU.
pub(crate) fn invalidate_local_tlb() {
    // SAFETY: TLBs can be emptied at any time.
    unsafe { bindings::kpgtable_invalidate_local_tlb() };
}

/// Whether a CPU must not see a valid executable leaf become a valid one that is not executable.
pub(crate) fn needs_break() -> bool {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_needs_break() }
}

/// The attribute bit of guarded pages, or 0 if the kernel does not use FEAT_BTI for itself.
pub(crate) fn pte_maybe_gp() -> u64 {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_pte_gp() }
}

/// The attribute bits that make a leaf of the kernel valid.
pub(crate) fn pte_valid() -> u64 {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_pte_valid() }
}

/// The attribute bit of memory that a realm shares with its host, or 0 outside of realms.
pub(crate) fn prot_ns_shared() -> u64 {
    // SAFETY: The variable does not change after boot.
    unsafe { bindings::prot_ns_shared as u64 }
}

/// Whether `direct_map_collapse=` allows leaves to collapse.
pub(crate) fn is_collapse_enabled() -> bool {
    // SAFETY: The variable does not change after early parameters were parsed.
    unsafe { bindings::direct_map_collapse }
}

/// Counts the split or the collapse of a block of `level` of the linear map.
pub(crate) fn count_event(level: Level, is_collapse: bool) {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_count_event(level == Level::Pud, is_collapse) };
}

/// Queues the work that collapses leaves, to run after `delay_ms` milliseconds.
pub(crate) fn queue_collapse(delay_ms: u32) {
    // SAFETY: An FFI call without preconditions.
    unsafe { bindings::kpgtable_queue_collapse(delay_ms) };
}

/// Removes mappings that vmalloc has not unmapped yet, and what TLBs hold of them.
///
/// Context: may sleep.
pub(crate) fn unmap_aliases() {
    // SAFETY: An FFI call without preconditions but the context.
    unsafe { bindings::vm_unmap_aliases() };
}
