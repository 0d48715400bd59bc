// SPDX-License-Identifier: GPL-2.0

//! Which ranges of executable memory come from the caches, and the size of their blocks.

use core::ops::Range;

use kernel::{
    bindings,
    build_assert::static_assert,
    ffi::c_void,
    page::PAGE_SHIFT,
    sizes::SZ_2M, //
};

use super::{
    geometry::Geometry,
    lock::Bbml3, //
};

/// The geometry of this kernel.
pub(crate) const GEOMETRY: Geometry = match Geometry::new(PAGE_SHIFT) {
    Some(geometry) => geometry,
    None => panic!("page size that the architecture does not have"),
};

/// Size of a block of a cache in bytes: a PMD with 4K pages, a contiguous run of PTEs with 16K
/// and 64K pages, whose PMDs are far larger than module text.
pub(crate) const BLOCK_SIZE: usize = SZ_2M;
static_assert!(GEOMETRY.is_leaf_size(BLOCK_SIZE));

/// Returns whether memory may come from the caches, for which `execmem_rox=` has to let it.
pub(crate) fn is_wanted() -> bool {
    // SAFETY: Does not change after early parameters were parsed.
    unsafe { bindings::execmem_rox }
}

/// Returns whether `mapping` is all of one part that a cache has handed out.
///
/// Context: may sleep. The caches take `pgtable_split_lock` with their own mutex, which this takes,
/// held: not for those who hold it.
pub(crate) fn is_one_part(mapping: &Range<usize>) -> bool {
    // SAFETY: Looks the address up under the caches' own locks.
    unsafe { bindings::execmem_is_one_part(mapping.start as *const c_void, mapping.len()) }
}

/// What is executable, and comes from the ROX cache.
pub(crate) const EXECUTABLE: [bindings::execmem_type; 4] = [
    bindings::execmem_type_EXECMEM_MODULE_TEXT,
    bindings::execmem_type_EXECMEM_KPROBES,
    bindings::execmem_type_EXECMEM_FTRACE,
    bindings::execmem_type_EXECMEM_BPF,
];

/// Turns the caches on, for all that is executable and for the read-only data of modules.
pub(crate) fn enable(_: Bbml3, info: &mut bindings::execmem_info) {
    // Kprobes take single pages: where module text is they need no block for themselves.
    info.ranges[bindings::execmem_type_EXECMEM_KPROBES as usize] =
        info.ranges[bindings::execmem_type_EXECMEM_MODULE_TEXT as usize];

    for part in EXECUTABLE {
        info.ranges[part as usize].flags |= bindings::execmem_range_flags_EXECMEM_ROX_CACHE;
    }

    let rodata = &mut info.ranges[bindings::execmem_type_EXECMEM_MODULE_RODATA as usize];
    rodata.flags |= bindings::execmem_range_flags_EXECMEM_RO_CACHE;
    // What direct branches reach is for text. The fallback has that in it, and is near enough.
    if rodata.fallback_start != 0 {
        rodata.start = rodata.fallback_start;
        rodata.end = rodata.fallback_end;
    }
}
