// SPDX-License-Identifier: GPL-2.0

//! Which ranges of executable memory come from the ROX cache, and the size of its blocks.

use kernel::{
    bindings,
    build_assert::static_assert,
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

/// Size of a block of the cache in bytes: a PMD with 4K pages, a contiguous run of PTEs with 16K
/// and 64K pages, whose PMDs are far larger than module text.
pub(crate) const BLOCK_SIZE: usize = SZ_2M;
static_assert!(GEOMETRY.is_leaf_size(BLOCK_SIZE));

/// Returns whether module text comes from the cache, for which `execmem_rox=` has to let it.
pub(crate) fn is_wanted() -> bool {
    // SAFETY: Does not change after early parameters were parsed.
    unsafe { bindings::execmem_rox }
}

/// Turns the cache on for module text.
pub(crate) fn enable(_: Bbml3, info: &mut bindings::execmem_info) {
    let text = &mut info.ranges[bindings::execmem_type_EXECMEM_MODULE_TEXT as usize];

    text.flags |= bindings::execmem_range_flags_EXECMEM_ROX_CACHE;
}
