// SPDX-License-Identifier: GPL-2.0

//! Sizes of leaves for a page size: how much a page, a contiguous run and a block map.
//!
//! Pure: uses `core` alone and takes the page size as a value, so that all three geometries can be
//! tested on any machine.

/// What a translation granule's last two levels map, in bytes.
///
/// Arm ARM (DDI 0487) D8.2 gives the sizes of pages and blocks, D8.7.1 the contiguous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// A page: a level 3 leaf.
    pub(crate) page: usize,
    /// A contiguous run of level 3 leaves.
    pub(crate) cont_pte: usize,
    /// A block: a level 2 leaf.
    pub(crate) pmd: usize,
}

impl Geometry {
    /// Returns the geometry of kernels with pages of `1 << page_shift` bytes, or [`None`] if the
    /// architecture has none.
    pub(crate) const fn new(page_shift: usize) -> Option<Self> {
        let cont_shift = match page_shift {
            12 => 4,
            14 => 7,
            16 => 5,
            _ => return None,
        };
        Some(Self {
            page: 1 << page_shift,
            cont_pte: 1 << (page_shift + cont_shift),
            // A table is one page of 8-byte descriptors.
            pmd: 1 << (page_shift + page_shift - 3),
        })
    }

    /// Returns whether an aligned range of `size` bytes is mapped by one leaf or contiguous run.
    pub(crate) const fn is_leaf_size(&self, size: usize) -> bool {
        size == self.page || size == self.cont_pte || size == self.pmd
    }
}
