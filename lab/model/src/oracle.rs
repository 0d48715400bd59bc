// SPDX-License-Identifier: GPL-2.0

//! What every page has to be, known page by page, and how small leaves may have become.
//!
//! Shares no code with what is tested, sizes apart.

use crate::{
    geometry::Level,
    memory::{Memory, PageSize},
};

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const CONTIGUOUS: u64 = 1 << 52;
/// Bits of a page that a change may touch.
const ATTRIBUTES: u64 = VALID | 1 << 7 | 1 << 11 | 1 << 50 | 1 << 51 | 1 << 53;
/// Bits that every leaf of the model has, and keeps.
pub const OTHERS: u64 = 1 << 10 | 3 << 8 | 1 << 54;

fn is_writable(attributes: u64) -> bool {
    attributes & 1 << 7 == 0 || attributes & 1 << 51 != 0
}

fn is_executable(attributes: u64) -> bool {
    attributes & 1 << 53 == 0
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    Hole,
    Mapped { attributes: u64, address: u64 },
}

/// The sizes in pages of leaves and runs, from the smallest.
pub fn units<P: PageSize>() -> [usize; 5] {
    let (g, page) = (P::GEOMETRY, 1 << P::SHIFT);
    [
        1,
        g.run_size(Level::Pte) / page,
        g.size(Level::Pmd) / page,
        g.run_size(Level::Pmd) / page,
        g.size(Level::Pud) / page,
    ]
}

pub struct Oracle {
    pub pages: Vec<Page>,
    /// For each page the largest unit, an index of `units`, that it was mapped with.
    initial: Vec<u8>,
    /// Pages that are never joined with others.
    pinned: Vec<bool>,
    units: [usize; 5],
    /// For each unit size, which aligned units have a cut strictly inside.
    cut: [Vec<bool>; 5],
}

impl Oracle {
    pub fn new<P: PageSize>(pages: usize) -> Self {
        let units = units::<P>();
        Self {
            pages: vec![Page::Hole; pages],
            initial: vec![0; pages],
            pinned: vec![false; pages],
            units,
            cut: units.map(|unit| vec![false; pages.div_ceil(unit)]),
        }
    }

    /// Notes that a unit, an index of `units`, maps pages from `page`.
    pub fn map(&mut self, page: usize, unit: usize, attributes: u64, address: u64, size: u64) {
        for index in 0..self.units[unit] {
            self.pages[page + index] = Page::Mapped {
                attributes,
                address: address + index as u64 * size,
            };
            self.initial[page + index] = unit as u8;
        }
    }

    /// Whether a change makes a page other than it is.
    pub fn changes(&self, page: usize, set: u64, clear: u64) -> bool {
        self.after(page, set, clear) != self.attributes(page)
    }

    /// Returns the attributes of `page` after a change, or [`None`] if they must not come to be.
    pub fn after(&self, page: usize, set: u64, clear: u64) -> Option<u64> {
        let Page::Mapped { attributes, .. } = self.pages[page] else {
            return None;
        };
        let after = attributes & !clear | set;
        let is_wx = is_writable(after) && is_executable(after);
        (!is_wx && after & (VALID | 1 << 11) != 0).then_some(after)
    }

    pub fn attributes(&self, page: usize) -> Option<u64> {
        match self.pages[page] {
            Page::Mapped { attributes, .. } => Some(attributes),
            Page::Hole => None,
        }
    }

    pub fn set(&mut self, page: usize, attributes: u64) {
        let Page::Mapped { address, .. } = self.pages[page] else {
            panic!("a hole is changed");
        };
        self.pages[page] = Page::Mapped {
            attributes,
            address,
        };
    }

    /// Notes that leaves have to end before `page`.
    pub fn cut(&mut self, page: usize) {
        for (unit, cut) in self.units.iter().zip(&mut self.cut) {
            if page % unit != 0 {
                cut[page / unit] = true;
            }
        }
    }

    /// Notes that `page` becomes a leaf by itself for good.
    pub fn pin(&mut self, page: usize) {
        self.cut(page);
        self.cut(page + 1);
        self.pinned[page] = true;
    }

    /// Returns whether there are pinned pages.
    pub fn has_pins(&self) -> bool {
        self.pinned.contains(&true)
    }

    /// Notes that leaves are joined around `page`, as far as they can be: all runs of the same
    /// level 2 block, then what the page is in.
    pub fn join(&mut self, page: usize) {
        let block = page / self.units[2] * self.units[2];
        for run in (block..block + self.units[2]).step_by(self.units[1]) {
            if self.can_join(1, run) {
                self.heal(1, run);
            }
        }
        if self.cut[2].get(page / self.units[2]) == Some(&true) {
            if !self.can_join(2, page) {
                return;
            }
            self.heal(2, page);
        }
        // Only whole blocks make a run of blocks, or a block of level 1.
        for unit in [3, 4] {
            let start = page / self.units[unit] * self.units[unit];
            let blocks = start / self.units[2]..(start + self.units[unit]) / self.units[2];
            let whole = self.cut[2]
                .get(blocks)
                .is_some_and(|cut| !cut.iter().any(|&cut| cut));
            if whole && self.can_join(unit, page) {
                self.heal(unit, page);
            }
        }
    }

    /// Notes that the unit of so many pages that begins with `page` is joined as a whole, if it can be.
    pub fn join_whole(&mut self, page: usize, pages: usize) {
        let unit = self.units.iter().position(|&unit| unit == pages);
        let unit = unit.expect("a block of a cache is a unit");
        if self.cut[unit].get(page / pages) == Some(&true) && self.can_join(unit, page) {
            self.heal(unit, page);
        }
    }

    /// Returns whether the unit that `page` is in was one, and can be again.
    fn can_join(&self, unit: usize, page: usize) -> bool {
        let size = self.units[unit];
        let start = page / size * size;
        let pages = start..start + size;
        if pages.end > self.pages.len() {
            return false;
        }
        let Some(first) = self.attributes(start) else {
            return false;
        };
        // Read-only data may have several owners.
        let is_data = !is_executable(first) && !is_writable(first);
        first & VALID != 0
            && !is_data
            && pages.clone().all(|page| {
                self.initial[page] as usize >= unit
                    && self.attributes(page) == Some(first)
                    && !self.pinned[page]
            })
    }

    /// Forgets cuts in the unit that `page` is in.
    fn heal(&mut self, unit: usize, page: usize) {
        let size = self.units[unit];
        let pages = page / size * size..page / size * size + size;
        for (unit, cut) in self.units.iter().zip(&mut self.cut).take(unit + 1) {
            cut[pages.start / unit..pages.end / unit].fill(false);
        }
    }

    /// Returns the unit that maps `page`, an index of `units`: the largest without a cut.
    pub fn unit(&self, page: usize) -> usize {
        (0..=self.initial[page] as usize)
            .rev()
            .find(|&unit| !self.cut[unit][page / self.units[unit]])
            .expect("pages are never cut")
    }

    /// Returns how many bytes units of each size map, of pages of `page_size` bytes.
    pub fn sizes(&self, page_size: usize) -> [usize; 5] {
        let mut sizes = [0; 5];
        for page in (0..self.pages.len()).filter(|&page| self.pages[page] != Page::Hole) {
            sizes[self.unit(page)] += page_size;
        }
        sizes
    }

    /// Returns the unit that `page` was mapped with at first.
    pub fn initial_unit(&self, page: usize) -> usize {
        self.initial[page] as usize
    }

    /// Returns whether a cut is strictly inside unit `index` of a size, an index of `units`.
    pub fn is_cut(&self, unit: usize, index: usize) -> bool {
        self.cut[unit][index]
    }

    /// Checks what maps `page`; returns how many pages the same leaf or run maps from
    /// there on.
    ///
    /// With `shape`, leaves have to be as large as they can be; without, whole.
    pub fn check<P: PageSize>(&self, memory: &Memory<P>, page: usize, shape: bool) -> usize {
        let addr = page << P::SHIFT;
        let Some((descriptor, level)) = memory.lookup(addr) else {
            assert_eq!(self.pages[page], Page::Hole, "page {page} is not mapped");
            return 1;
        };
        let bits = descriptor.bits();
        let size = P::GEOMETRY.size(level);
        let mut count = (size - addr % size) >> P::SHIFT;
        let is_page = bits & TABLE_OR_PAGE != 0;
        assert_eq!(is_page, level == Level::Pte, "page {page}: type");

        let run = P::GEOMETRY.run(level);
        let is_run = bits & CONTIGUOUS != 0;
        if is_run {
            let first = addr & !(size * run - 1);
            let base = bits & !((size * run - size) as u64);
            for (index, other) in memory.entries(first, run).enumerate() {
                let offset = (index * size) as u64;
                assert_eq!(other, base | offset, "page {page}: partial run");
            }
            // What holds of one entry holds of all that follow.
            count = (size * run - addr % (size * run)) >> P::SHIFT;
        }
        if shape {
            let unit = if is_run { size * run } else { size } >> P::SHIFT;
            assert_eq!(
                unit,
                self.units[self.unit(page)],
                "page {page}: size of the leaf"
            );
        }

        assert_eq!(bits & OTHERS, OTHERS, "page {page}: other bits");
        let base = bits & ((1 << 48) - 1) & !((1 << P::SHIFT) - 1);
        for index in 0..count {
            let expected = Page::Mapped {
                attributes: bits & ATTRIBUTES,
                address: base + ((addr % size) + (index << P::SHIFT)) as u64,
            };
            assert_eq!(self.pages[page + index], expected, "page {}", page + index);
        }
        count
    }
}
