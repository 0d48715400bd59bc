// SPDX-License-Identifier: GPL-2.0
//! What a page size decides on arm64: how much each kind of leaf maps. Addresses and
//! address ranges are types of their own here, so that a size is never taken for an address.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The smallest address that the kernel half of a 52-bit address space can hold.
const KERNEL_HALF: u64 = 0xfff0_0000_0000_0000;

/// A kernel virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Va(pub u64);

impl Va {
    /// Whether the address can be one of the kernel's, on any address space size.
    pub fn is_kernel(self) -> bool {
        self.0 >= KERNEL_HALF
    }

    /// The address without the tag that KASAN may have put into the top byte of a kernel pointer.
    pub fn untagged(self) -> Self {
        let address = Self(self.0 | (0xff << 56));
        if address.is_kernel() {
            address
        } else {
            self
        }
    }

    /// Whether the address is a multiple of `size`.
    pub fn is_aligned(self, size: u64) -> bool {
        self.0.checked_rem(size) == Some(0)
    }
}

impl fmt::Display for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

impl Serialize for Va {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A range of kernel virtual addresses that is not empty.
///
/// # Invariants
///
/// `start` is in the kernel half and `last`, the last byte of the range, is not below it. So
/// the length of a range fits in 64 bits, also that of one that ends with the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaRange {
    start: Va,
    last: Va,
}

impl VaRange {
    /// The range from `start` up to and including `last`, if that is one in the kernel half.
    pub fn new(start: Va, last: Va) -> Option<Self> {
        // INVARIANT: both conditions are checked here.
        (start.is_kernel() && start <= last).then_some(Self { start, last })
    }

    /// The first address of the range.
    pub fn start(self) -> Va {
        self.start
    }

    /// The last address of the range.
    pub fn last(self) -> Va {
        self.last
    }

    /// The first address after the range, as the kernel prints it: 0 is the top.
    pub fn end(self) -> Va {
        Va(self.last.0.wrapping_add(1))
    }

    /// The length of the range.
    pub fn bytes(self) -> u64 {
        // INVARIANT: of `VaRange`: the difference is at most `u64::MAX - KERNEL_HALF`.
        self.last.0 - self.start.0 + 1
    }

    /// Whether both ends are multiples of `size`.
    pub fn is_aligned(self, size: u64) -> bool {
        self.start.is_aligned(size) && self.end().is_aligned(size)
    }

    /// What both ranges hold.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.last.min(other.last))
    }

    /// The smallest range that holds both.
    pub fn hull(self, other: Self) -> Self {
        // INVARIANT: the lower start is in the kernel half and not above the higher end.
        Self {
            start: self.start.min(other.start),
            last: self.last.max(other.last),
        }
    }
}

impl fmt::Display for VaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end())
    }
}

/// The level of a page-table entry, by the name that the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The top level.
    Pgd,
    /// Below the PGD when there are five levels.
    P4d,
    /// Two levels above the last.
    Pud,
    /// One level above the last.
    Pmd,
    /// The last level.
    Pte,
}

/// What one leaf maps: the size of a TLB entry that can hold it. Ordered from the smallest
/// to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// A single page.
    Pte,
    /// A contiguous run of pages.
    ContPte,
    /// A block one level above the last.
    Pmd,
    /// A contiguous run of such blocks.
    ContPmd,
    /// A block two levels above the last.
    Pud,
}

impl Granularity {
    /// Every granularity, the smallest first.
    pub const ALL: [Self; 5] = [
        Self::Pte,
        Self::ContPte,
        Self::Pmd,
        Self::ContPmd,
        Self::Pud,
    ];

    /// The granularity of a leaf. There are no leaves above the PUD: where the PUD level is
    /// folded into the top level, the kernel prints a PUD leaf with the top level's name.
    pub fn of_leaf(level: Level, contiguous: bool) -> Self {
        match (level, contiguous) {
            (Level::Pte, false) => Self::Pte,
            (Level::Pte, true) => Self::ContPte,
            (Level::Pmd, false) => Self::Pmd,
            (Level::Pmd, true) => Self::ContPmd,
            (Level::Pud | Level::P4d | Level::Pgd, _) => Self::Pud,
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pte => "PTE",
            Self::ContPte => "contPTE",
            Self::Pmd => "PMD",
            Self::ContPmd => "contPMD",
            Self::Pud => "PUD",
        })
    }
}

/// The page size that a kernel was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
pub enum PageSize {
    /// 4 KiB pages.
    #[serde(rename = "4k")]
    #[value(name = "4k")]
    Size4K,
    /// 16 KiB pages.
    #[serde(rename = "16k")]
    #[value(name = "16k")]
    Size16K,
    /// 64 KiB pages.
    #[serde(rename = "64k")]
    #[value(name = "64k")]
    Size64K,
}

impl PageSize {
    /// Every page size, the smallest first.
    pub const ALL: [Self; 3] = [Self::Size4K, Self::Size16K, Self::Size64K];

    /// The size of a page.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 4 * KIB,
            Self::Size16K => 16 * KIB,
            Self::Size64K => 64 * KIB,
        }
    }

    /// How much one entry of a table maps, for a leaf as for a pointer to the next table.
    /// A table fills a page and an entry takes eight bytes, so each level multiplies the
    /// size by an eighth of the page size.
    pub fn entry_bytes(self, level: Level) -> u64 {
        let entries_per_table = self.bytes() / 8;
        let levels_above_last = match level {
            Level::Pte => 0,
            Level::Pmd => 1,
            Level::Pud | Level::P4d | Level::Pgd => 2,
        };
        self.bytes() * entries_per_table.pow(levels_above_last)
    }

    /// How much one leaf or contiguous run of this granularity maps.
    pub fn leaf_bytes(self, granularity: Granularity) -> u64 {
        let (cont_ptes, cont_pmds) = match self {
            Self::Size4K => (16, 16),
            Self::Size16K => (128, 32),
            Self::Size64K => (32, 32),
        };
        match granularity {
            Granularity::Pte => self.bytes(),
            Granularity::ContPte => cont_ptes * self.bytes(),
            Granularity::Pmd => self.entry_bytes(Level::Pmd),
            Granularity::ContPmd => cont_pmds * self.entry_bytes(Level::Pmd),
            Granularity::Pud => self.entry_bytes(Level::Pud),
        }
    }

    /// How much one L3 table maps.
    pub fn table_bytes(self) -> u64 {
        self.entry_bytes(Level::Pmd)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size4K => "4k",
            Self::Size16K => "16k",
            Self::Size64K => "64k",
        })
    }
}

/// The size of a chunk, the unit of memory of an execmem cache, the same for every page size.
pub const CHUNK: u64 = 2 * MIB;

/// Counts the aligned windows that a rising sequence of ranges touches, each window once.
#[derive(Clone, Debug)]
pub struct WindowCounter {
    size: u64,
    newest: Option<u64>,
    count: u64,
}

impl WindowCounter {
    /// A counter of windows of `size` bytes; `size` is not 0.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            newest: None,
            count: 0,
        }
    }

    /// Counts the windows that `range` touches. Ranges are given in address order.
    pub fn touch(&mut self, range: VaRange) {
        let first = range.start().0 / self.size;
        let last = range.last().0 / self.size;
        self.count += last - first + u64::from(self.newest != Some(first));
        self.newest = Some(last);
    }

    /// The number of windows touched.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaf_sizes_are_those_of_the_architecture() {
        let sizes = |page_size: PageSize| Granularity::ALL.map(|g| page_size.leaf_bytes(g));
        let (kib, mib, gib) = (KIB, MIB, 1 << 30);
        assert_eq!(
            sizes(PageSize::Size4K),
            [4 * kib, 64 * kib, 2 * mib, 32 * mib, gib]
        );
        assert_eq!(
            sizes(PageSize::Size16K),
            [16 * kib, 2 * mib, 32 * mib, gib, 64 * gib]
        );
        assert_eq!(
            sizes(PageSize::Size64K),
            [64 * kib, 2 * mib, 512 * mib, 16 * gib, 4096 * gib]
        );
    }

    #[test]
    fn a_tag_is_taken_out_of_a_kernel_pointer_alone() {
        let untagged = |address| Va(address).untagged().0;
        assert_eq!(untagged(0xfcff_8000_8000_5000), 0xffff_8000_8000_5000);
        assert_eq!(untagged(0x12ff_8000_8000_5000), 0xffff_8000_8000_5000);
        assert_eq!(untagged(0xf4f0_0000_0191_30c0), 0xfff0_0000_0191_30c0);
        assert_eq!(untagged(0xffff_8000_8000_5000), 0xffff_8000_8000_5000);
        assert_eq!(untagged(0xf400_0000_0000_1000), 0xf400_0000_0000_1000);
        assert_eq!(untagged(0x1000), 0x1000);
    }

    #[test]
    fn a_range_may_end_with_the_address_space() {
        let range = VaRange::new(Va(0xffff_ffff_ffe0_0000), Va(u64::MAX)).expect("a range");
        assert_eq!(range.bytes(), 2 * MIB);
        assert_eq!(range.end(), Va(0));
        assert!(range.is_aligned(2 * MIB));
    }

    #[test]
    fn a_range_is_neither_backwards_nor_in_user_space() {
        assert_eq!(VaRange::new(Va(u64::MAX), Va(u64::MAX - 1)), None);
        assert_eq!(VaRange::new(Va(0x1000), Va(0x1fff)), None);
    }

    #[test]
    fn a_window_is_counted_once() {
        let base = 0xffff_0000_0000_0000;
        let mut counter = WindowCounter::new(2 * MIB);
        for (start, bytes) in [
            (0, 4 * KIB),
            (8 * KIB, 4 * KIB),
            (MIB, 2 * MIB),
            (8 * MIB, KIB),
        ] {
            let range = VaRange::new(Va(base + start), Va(base + start + bytes - 1));
            counter.touch(range.expect("a range"));
        }
        assert_eq!(counter.count(), 3);
    }
}
