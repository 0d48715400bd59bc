// SPDX-License-Identifier: GPL-2.0

//! Changes permissions of kernel memory on arm64 in extents, splits leaves where it has to, and
//! collapses them again.
//!
//! It does so on CPUs that allow the size of a live leaf to change (FEAT_BBML3), with `rodata=on`,
//! for vmalloc memory and for the linear map. With `CONFIG_ARM64_EXECMEM_ROX` it also does what
//! the execmem caches ask of the architecture. Documentation/arch/arm64/kpgtable.rst says what it
//! promises.
//!
//! This file has the functions that C calls, except for those of the caches, which are in `caches`.
//!
//! Pure, which means that it uses `core` alone, and also runs on modelled tables:
//!
//! - `granule`, `descriptor`: sizes of leaves; descriptors as values.
//! - `walk`: tables as a trait, and walks through them.
//! - `split`, `change`, `collapse`: what is done to leaves. `collapse` has the proof that a
//!   collapse is safe.
//! - `pending`: which tables may collapse. `extents`: pages to extents.
//!
//! The rest:
//!
//! - `lock`: who may change page tables, and the protocol behind it.
//! - `owned`: memory that the caller owns. `table`: the live tables.
//! - `permission`: what a call changes, and in which order. `flush`: what TLBs have to forget.
//! - `unprotected`: what stays writable in the linear map.
//! - `worker`: when leaves collapse. `stats`: how large the leaves of the linear map are.
//! - `chunks`: what the execmem caches hold. `caches`: what they ask of the architecture.
//! - `ffi`: safe names for C functions.
//!
//! `unsafe` is where C code makes a promise (here and in `caches`), where C is called (`ffi`,
//! `lock`, `owned`, `table`, `caches`), where a lock guards data (`lock`), and where live tables
//! are read and written (`table`). The files that walk through tables are inside the safety
//! boundary of `table`: they write only what they have made of an entry that they have read.
//!
//! C header: [`arch/arm64/include/asm/kpgtable.h`](srctree/arch/arm64/include/asm/kpgtable.h)
// Without the caches nothing is ever put into `chunks`.
#![cfg_attr(not(CONFIG_ARM64_EXECMEM_ROX), allow(dead_code))]

use kernel::{
    bindings,
    error::from_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

#[cfg(CONFIG_ARM64_EXECMEM_ROX)]
mod caches;
mod change;
mod chunks;
mod collapse;
mod descriptor;
mod extents;
mod ffi;
mod flush;
mod granule;
mod lock;
mod owned;
mod pending;
mod permission;
mod split;
mod stats;
mod table;
#[cfg(CONFIG_ARM64_KPGTABLE_KUNIT_TEST)]
mod tests;
mod unprotected;
mod walk;
mod worker;

use descriptor::Change;
use granule::{
    Granule,
    LeafSize, //
};
use lock::{
    ChangeLeaves,
    PgtableSplitGuard,
    ResizeLeaves, //
};
use owned::{
    OwnedMapping,
    OwnedPages,
    OwnedRange, //
};

/// The translation granule of this kernel.
const GRANULE: Granule = match Granule::new(PAGE_SHIFT) {
    Some(granule) => granule,
    None => panic!("page size that the architecture does not have"),
};

#[allow(dead_code)]
const __LOG_PREFIX: &[u8] = b"kpgtable\0";

/// Changes permissions of a part of a vmalloc area, and of its linear alias. See the header.
///
/// # Safety
///
/// The caller owns the vmalloc area that `addr` is in, if there is one, or in an execmem cache the
/// part that it is in.
#[export]
pub unsafe extern "C" fn kpgtable_change_memory(
    addr: usize,
    numpages: c_int,
    set_mask: bindings::pgprot_t,
    clear_mask: bindings::pgprot_t,
) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        let change = Change::new(set_mask.pgprot, clear_mask.pgprot).ok_or(EINVAL)?;
        let size = usize::try_from(numpages)?
            .checked_mul(PAGE_SIZE)
            .ok_or(EINVAL)?;
        // SAFETY: By the safety requirements of this function.
        let mapping = unsafe { OwnedMapping::find(addr, size) }?;

        permission::set_memory(token, &mapping, change)?;
        Ok(0)
    })
}

/// Changes attributes in the linear map. See the header.
///
/// # Safety
///
/// The caller owns the memory that the range maps.
#[export]
pub unsafe extern "C" fn kpgtable_change_linear_map(
    start: usize,
    size: usize,
    set_mask: bindings::pgprot_t,
    clear_mask: bindings::pgprot_t,
) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        let change = Change::new(set_mask.pgprot, clear_mask.pgprot).ok_or(EINVAL)?;
        // SAFETY: By the safety requirements of this function.
        let range = unsafe { OwnedRange::new(start, size) }?;

        permission::set_linear_map(token, &range, change)?;
        Ok(0)
    })
}

/// Makes pages valid and writable in the linear map. See the header.
///
/// # Safety
///
/// `pages` is an array of `nr` valid pages, whose memory the caller owns.
#[export]
pub unsafe extern "C" fn kpgtable_reset_linear_map(
    pages: *mut *mut bindings::page,
    nr: c_ulong,
) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let pages = unsafe { OwnedPages::from_raw(pages, nr) }?;

        permission::reset_linear_map(token, pages)?;
        Ok(0)
    })
}

/// Maps a part of the linear map by pages, for good. See the header.
///
/// # Safety
///
/// The caller owns the memory that the range maps.
#[export]
pub unsafe extern "C" fn kpgtable_map_by_ptes(start: usize, size: usize) -> c_int {
    from_result(|| {
        let token = ResizeLeaves::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let range = unsafe { OwnedRange::new(start, size) }?;

        permission::map_by_ptes(token, &range)?;
        Ok(0)
    })
}

/// Collapses leaves that were split. See the header.
///
/// # Safety
///
/// An FFI function without preconditions but its context.
#[export]
pub unsafe extern "C" fn kpgtable_collapse(is_first: bool) -> bool {
    ResizeLeaves::get()
        .is_some_and(|token| (!is_first || worker::begin(token)) && worker::step(token))
}

/// Counts leaves of the linear map for the first time. See the header.
///
/// # Safety
///
/// An FFI function without preconditions but its context.
#[export]
pub unsafe extern "C" fn kpgtable_stats_start(start: usize, size: usize) {
    if let Some(token) = ChangeLeaves::get() {
        stats::start(token, &(start..start + size));
    }
}

/// Counts leaves of memory that is added. See the header.
///
/// # Safety
///
/// An FFI function without preconditions but its context.
#[export]
pub unsafe extern "C" fn kpgtable_stats_add(start: usize, size: usize) {
    if let Some(token) = ChangeLeaves::get() {
        stats::count(token, &(start..start + size));
    }
}

/// Stops counting leaves of memory that is about to be removed. See the header.
///
/// # Safety
///
/// The caller has called `kpgtable_lock()`, and calls `kpgtable_unlock()` after this. No other code
/// of this crate runs in this thread.
#[export]
pub unsafe extern "C" fn kpgtable_stats_remove(start: usize, size: usize) {
    if let Some(token) = ChangeLeaves::get() {
        // SAFETY: By the safety requirements of this function.
        let mut guard = unsafe { PgtableSplitGuard::held(token) };

        stats::uncount(&mut guard, &(start..start + size));
    }
}

/// Returns how much of the linear map leaves of one size map. See the header.
///
/// # Safety
///
/// `leaf_size` is valid for a write.
#[export]
pub unsafe extern "C" fn kpgtable_stats_get(index: c_uint, leaf_size: *mut usize) -> usize {
    let Some(&size) = LeafSize::ALL.get(index as usize) else {
        return 0;
    };
    // SAFETY: By the safety requirements of this function.
    unsafe { leaf_size.write(size.bytes(&GRANULE)) };
    stats::bytes(size)
}
