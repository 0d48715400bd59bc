// SPDX-License-Identifier: GPL-2.0

//! Translation granules: how much a page, a contiguous run and a block map.
//!
//! Pure: uses `core` alone and takes the page size as a value, so that all three granules can be
//! tested on any machine.

/// A level of translation tables whose entries may be leaves, named after the kernel's type of
/// such an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Level 1.
    Pud,
    /// Level 2.
    Pmd,
    /// Level 3, the last one.
    Pte,
}

impl Level {
    /// Returns the level of the tables that entries of this level can point to, or [`None`] if they
    /// cannot point to any.
    pub(crate) const fn next(self) -> Option<Self> {
        match self {
            Self::Pud => Some(Self::Pmd),
            Self::Pmd => Some(Self::Pte),
            Self::Pte => None,
        }
    }
}

/// A translation granule: what its tables hold, and what their entries map.
///
/// All sizes are in bytes, and powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granule {
    page_shift: usize,
}

impl Granule {
    /// Returns the granule with pages of `1 << page_shift` bytes, or [`None`] if the architecture
    /// has none.
    pub(crate) const fn new(page_shift: usize) -> Option<Self> {
        match page_shift {
            12 | 14 | 16 => Some(Self { page_shift }),
            _ => None,
        }
    }

    /// Returns the number of entries of a table, which is one page of 8-byte descriptors.
    #[inline]
    pub(crate) const fn entries(&self) -> usize {
        1 << (self.page_shift - 3)
    }

    /// Returns the size of a page: what an entry of the last level maps.
    #[inline]
    pub(crate) const fn page(&self) -> usize {
        self.size(Level::Pte)
    }

    /// Returns what one entry of `level` maps. Arm ARM (DDI 0487) D8.2.
    #[inline]
    pub(crate) const fn size(&self, level: Level) -> usize {
        let levels_below = match level {
            Level::Pud => 2,
            Level::Pmd => 1,
            Level::Pte => 0,
        };
        1 << (self.page_shift + levels_below * (self.page_shift - 3))
    }

    /// Returns how many entries of `level` form a contiguous run. It is 1 for level 1, where the
    /// kernel uses no contiguous bit. Arm ARM D8.7.1.
    #[inline]
    pub(crate) const fn run(&self, level: Level) -> usize {
        match (self.page_shift, level) {
            (_, Level::Pud) => 1,
            (12, _) => 16,
            (14, Level::Pte) => 128,
            _ => 32,
        }
    }

    /// Returns what a contiguous run of entries of `level` maps.
    #[inline]
    pub(crate) const fn run_size(&self, level: Level) -> usize {
        self.size(level) * self.run(level)
    }

    /// Returns the index of the entry for `addr` in its table of `level`.
    #[inline]
    pub(crate) const fn index(&self, level: Level, addr: usize) -> usize {
        addr / self.size(level) % self.entries()
    }

    /// Returns the first VA that is mapped by the table of `level` that has the entry for `addr`.
    #[inline]
    pub(crate) const fn table(&self, level: Level, addr: usize) -> usize {
        addr & !(self.size(level) * self.entries() - 1)
    }

    /// Returns whether an aligned range of `size` bytes may be mapped by a page, a contiguous run
    /// of pages, or a block of level 2.
    pub(crate) const fn is_leaf_size(&self, size: usize) -> bool {
        size == self.page() || size == self.run_size(Level::Pte) || size == self.size(Level::Pmd)
    }
}

/// The size of a leaf, or of the contiguous run that it is part of, whatever the granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafSize {
    pub(crate) level: Level,
    pub(crate) is_cont: bool,
}

impl LeafSize {
    /// The sizes, from the smallest.
    pub(crate) const ALL: [Self; 5] = [
        Self::new(Level::Pte, false),
        Self::new(Level::Pte, true),
        Self::new(Level::Pmd, false),
        Self::new(Level::Pmd, true),
        Self::new(Level::Pud, false),
    ];

    /// Returns the size of a leaf of `level`.
    #[inline]
    pub(crate) const fn new(level: Level, is_cont: bool) -> Self {
        Self { level, is_cont }
    }

    /// Returns the index in [`Self::ALL`].
    #[inline]
    pub(crate) const fn index(self) -> usize {
        match self.level {
            Level::Pte => self.is_cont as usize,
            Level::Pmd => 2 + self.is_cont as usize,
            // There are no contiguous runs of level 1.
            Level::Pud => 4,
        }
    }

    /// Returns the size in bytes.
    #[inline]
    pub(crate) const fn bytes(self, granule: &Granule) -> usize {
        if self.is_cont {
            granule.run_size(self.level)
        } else {
            granule.size(self.level)
        }
    }
}
