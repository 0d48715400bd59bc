// SPDX-License-Identifier: GPL-2.0

//! What every page has to be, known page by page, and how small leaves may have become.
//!
//! Shares no code with what is tested, sizes apart.

use std::{mem, ops::Range};

use crate::{
    kernel::Level,
    model::{Bits, Step, CHANGES, RESTORE},
    tables::{Memory, PageSize},
};

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const CONT: u64 = 1 << 52;
/// Bits of a page that a change may touch.
const ATTRIBUTES: u64 = VALID | 1 << 7 | 1 << 11 | 1 << 50 | 1 << 51 | 1 << 53;
/// Bits that every leaf of the model has, and keeps.
pub(crate) const OTHERS: u64 = 1 << 10 | 3 << 8 | 1 << 54;

fn is_writable(attributes: u64) -> bool {
    attributes & 1 << 7 == 0 || attributes & 1 << 51 != 0
}

fn is_executable(attributes: u64) -> bool {
    attributes & 1 << 53 == 0
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Page {
    None,
    Mapped { attributes: u64, address: u64 },
}

/// The sizes in pages of leaves and contiguous runs, from the smallest.
pub(crate) fn units<P: PageSize>() -> [usize; 5] {
    let (g, page) = (P::GRANULE, 1 << P::SHIFT);
    [
        1,
        g.run_size(Level::Pte) / page,
        g.size(Level::Pmd) / page,
        g.run_size(Level::Pmd) / page,
        g.size(Level::Pud) / page,
    ]
}

/// Returns the largest unit that the kernel maps memory with: level 1 blocks are for 4K pages alone.
pub(crate) fn largest_unit(units: &[usize; 5]) -> usize {
    if units[2] == 512 {
        4
    } else {
        3
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Oracle {
    pub(crate) pages: Vec<Page>,
    /// For each page the largest unit, an index of `units`, that it was mapped with.
    initial: Vec<u8>,
    /// Pages that are PTE-mapped for good.
    pte_mapped: Vec<bool>,
    /// The level 2 blocks in which anything has changed since all that can has collapsed.
    changed: Vec<bool>,
    units: [usize; 5],
    /// For each unit size, which aligned units have a cut strictly inside.
    cut: [Vec<bool>; 5],
}

impl Oracle {
    pub(crate) fn new<P: PageSize>(pages: usize) -> Self {
        let units = units::<P>();
        Self {
            pages: vec![Page::None; pages],
            initial: vec![0; pages],
            pte_mapped: vec![false; pages],
            changed: vec![false; pages.div_ceil(units[2])],
            units,
            cut: units.map(|unit| vec![false; pages.div_ceil(unit)]),
        }
    }

    /// Notes that a unit, an index of `units`, maps pages from `page`.
    pub(crate) fn map(
        &mut self,
        page: usize,
        unit: usize,
        attributes: u64,
        address: u64,
        size: u64,
    ) {
        for index in 0..self.units[unit] {
            self.pages[page + index] = Page::Mapped {
                attributes,
                address: address + index as u64 * size,
            };
            self.initial[page + index] = unit as u8;
        }
    }

    /// Whether a change makes a page other than it is.
    pub(crate) fn changes(&self, page: usize, set: u64, clear: u64) -> bool {
        self.after(page, set, clear) != self.attributes(page)
    }

    /// Returns the attributes of `page` after a change, or [`None`] if they must not come to be.
    pub(crate) fn after(&self, page: usize, set: u64, clear: u64) -> Option<u64> {
        let Page::Mapped { attributes, .. } = self.pages[page] else {
            return None;
        };
        let after = attributes & !clear | set;
        let is_wx = is_writable(after) && is_executable(after);
        (!is_wx && after & (VALID | 1 << 11) != 0).then_some(after)
    }

    pub(crate) fn attributes(&self, page: usize) -> Option<u64> {
        match self.pages[page] {
            Page::Mapped { attributes, .. } => Some(attributes),
            Page::None => None,
        }
    }

    pub(crate) fn set(&mut self, page: usize, attributes: u64) {
        let Page::Mapped { address, .. } = self.pages[page] else {
            panic!("what is not mapped is changed");
        };
        self.pages[page] = Page::Mapped {
            attributes,
            address,
        };
        self.changed[page / self.units[2]] = true;
    }

    /// Returns what has become of all pages when `step` is done.
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Change { pages, change, .. } => {
                let (set, clear) = CHANGES[*change];
                if self.is_legal(pages, (set, clear)) {
                    self.cut_ends(pages, (set, clear));
                    self.set_all(pages, (set, clear));
                }
            }
            Step::Restore { pages } => self.restore(pages),
            Step::RestoreWidely { page } => {
                for pages in self.restorable(*page) {
                    self.restore(&pages);
                }
            }
            Step::CollapseChunk { page, pages } => {
                self.collapse_whole(page / pages * pages, *pages);
            }
            Step::CollapsePending => {
                for block in 0..self.changed.len() {
                    if mem::take(&mut self.changed[block]) {
                        self.collapse(block * self.units[2]);
                    }
                }
            }
            Step::MapByPtes { pages } => {
                if self.is_mapped(pages) {
                    pages.clone().for_each(|page| self.map_by_ptes(page));
                }
            }
            Step::Flip { .. } => {}
        }
    }

    fn restore(&mut self, pages: &Range<usize>) {
        if self.is_legal(pages, RESTORE) && self.ends_cut(pages, RESTORE) == [false; 2] {
            self.set_all(pages, RESTORE);
        }
    }

    /// Returns whether a change can be made in all of a range.
    pub(crate) fn is_legal(&self, pages: &Range<usize>, (set, clear): Bits) -> bool {
        let mut pages = pages.clone();
        pages.all(|page| self.after(page, set, clear).is_some())
    }

    /// Returns whether all of a range is mapped.
    pub(crate) fn is_mapped(&self, pages: &Range<usize>) -> bool {
        pages.clone().all(|page| self.pages[page] != Page::None)
    }

    /// Returns whether leaves that have to change reach across the two ends of a range.
    pub(crate) fn ends_cut(&self, pages: &Range<usize>, (set, clear): Bits) -> [bool; 2] {
        [(pages.start, pages.start), (pages.end - 1, pages.end)].map(|(page, end)| {
            self.changes(page, set, clear) && end % self.units[self.unit(page)] != 0
        })
    }

    /// Notes that a change needs leaves to end where the range does.
    pub(crate) fn cut_ends(&mut self, pages: &Range<usize>, (set, clear): Bits) {
        for (page, end) in [(pages.start, pages.start), (pages.end - 1, pages.end)] {
            if self.changes(page, set, clear) {
                self.cut(end);
            }
        }
    }

    /// Notes that a change is made in a range.
    pub(crate) fn set_all(&mut self, pages: &Range<usize>, (set, clear): Bits) {
        for page in pages.clone() {
            if let Some(attributes) = self.after(page, set, clear) {
                self.set(page, attributes);
            }
        }
    }

    /// Returns the ranges that can be restored in the level 1 block, or contiguous run of blocks,
    /// around a page.
    pub(crate) fn restorable(&self, page: usize) -> Vec<Range<usize>> {
        let (set, clear) = RESTORE;
        let unit = self.units[if largest_unit(&self.units) == 4 { 4 } else { 3 }];
        let start = page / unit * unit;
        self.ranges(start..start + unit, |page| {
            self.after(page, set, clear).is_some()
        })
    }

    /// Returns the ranges of pages in `pages` for which `is_wanted` holds.
    pub(crate) fn ranges(
        &self,
        pages: Range<usize>,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for page in (pages.start..pages.end.min(self.pages.len())).filter(|&page| is_wanted(page)) {
            match ranges.last_mut() {
                Some(range) if range.end == page => range.end += 1,
                _ => ranges.push(page..page + 1),
            }
        }
        ranges
    }

    /// Notes that leaves have to end before `page`.
    pub(crate) fn cut(&mut self, page: usize) {
        if page > 0 {
            // One of the two blocks at a cut between them is enough: a unit that is cut has both.
            self.changed[(page - 1) / self.units[2]] = true;
        }
        for (unit, cut) in self.units.iter().zip(&mut self.cut) {
            if page % unit != 0 {
                cut[page / unit] = true;
            }
        }
    }

    /// Notes that `page` becomes a leaf by itself for good.
    pub(crate) fn map_by_ptes(&mut self, page: usize) {
        self.cut(page);
        self.cut(page + 1);
        self.pte_mapped[page] = true;
    }

    /// Returns whether there are such pages.
    pub(crate) fn has_pte_mapped(&self) -> bool {
        self.pte_mapped.contains(&true)
    }

    /// Notes that leaves around `page` collapse as far as they can: all contiguous runs of the same
    /// level 2 block, then what the page is in.
    pub(crate) fn collapse(&mut self, page: usize) {
        let block = page / self.units[2] * self.units[2];
        for run in (block..block + self.units[2]).step_by(self.units[1]) {
            if self.can_collapse(1, run) {
                self.forget_cuts(1, run);
            }
        }
        if self.cut[2].get(page / self.units[2]) == Some(&true) {
            if !self.can_collapse(2, page) {
                return;
            }
            self.forget_cuts(2, page);
        }
        // Only whole blocks make a contiguous run of blocks, or a block of level 1.
        for unit in [3, 4] {
            let start = page / self.units[unit] * self.units[unit];
            let blocks = start / self.units[2]..(start + self.units[unit]) / self.units[2];
            let whole = self.cut[2]
                .get(blocks)
                .is_some_and(|cut| !cut.iter().any(|&cut| cut));
            if whole && self.can_collapse(unit, page) {
                self.forget_cuts(unit, page);
            }
        }
    }

    /// Notes that the unit of so many pages that begins with `page` collapses as a whole, if it can.
    pub(crate) fn collapse_whole(&mut self, page: usize, pages: usize) {
        let unit = self.units.iter().position(|&unit| unit == pages);
        let unit = unit.expect("a chunk is a unit");
        if self.cut[unit].get(page / pages) == Some(&true) && self.can_collapse(unit, page) {
            self.forget_cuts(unit, page);
        }
    }

    /// Returns whether the unit that `page` is in was one, and can be again.
    fn can_collapse(&self, unit: usize, page: usize) -> bool {
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
                    && !self.pte_mapped[page]
            })
    }

    /// Forgets cuts in the unit that `page` is in.
    fn forget_cuts(&mut self, unit: usize, page: usize) {
        let size = self.units[unit];
        let pages = page / size * size..page / size * size + size;
        for (unit, cut) in self.units.iter().zip(&mut self.cut).take(unit + 1) {
            cut[pages.start / unit..pages.end / unit].fill(false);
        }
    }

    /// Returns the unit that maps `page`, an index of `units`: the largest without a cut.
    pub(crate) fn unit(&self, page: usize) -> usize {
        (0..=self.initial[page] as usize)
            .rev()
            .find(|&unit| !self.cut[unit][page / self.units[unit]])
            .expect("pages are never cut")
    }

    /// Returns how many bytes units of each size map, of pages of `page_size` bytes.
    pub(crate) fn sizes(&self, page_size: usize) -> [usize; 5] {
        let mut sizes = [0; 5];
        for page in (0..self.pages.len()).filter(|&page| self.pages[page] != Page::None) {
            sizes[self.unit(page)] += page_size;
        }
        sizes
    }

    /// Returns the unit that `page` was mapped with at first.
    pub(crate) fn initial_unit(&self, page: usize) -> usize {
        self.initial[page] as usize
    }

    /// Returns whether a cut is strictly inside unit `index` of a size, an index of `units`.
    pub(crate) fn is_cut(&self, unit: usize, index: usize) -> bool {
        self.cut[unit][index]
    }

    /// Checks what maps all pages.
    pub(crate) fn check_all<P: PageSize>(&self, memory: &Memory<P>) {
        let mut page = 0;
        while page < self.pages.len() {
            page += self.check(memory, page, true);
        }
    }

    /// Checks what maps `page`; returns how many pages the same leaf or contiguous run maps from
    /// there on.
    ///
    /// With `shape`, leaves have to be as large as they can be; without, whole.
    pub(crate) fn check<P: PageSize>(&self, memory: &Memory<P>, page: usize, shape: bool) -> usize {
        let addr = page << P::SHIFT;
        let Some((descriptor, level)) = memory.lookup(addr) else {
            assert_eq!(self.pages[page], Page::None, "page {page} is not mapped");
            return 1;
        };
        let bits = descriptor.bits();
        let size = P::GRANULE.size(level);
        let mut count = (size - addr % size) >> P::SHIFT;
        let is_page = bits & TABLE_OR_PAGE != 0;
        assert_eq!(is_page, level == Level::Pte, "page {page}: type");

        let run = P::GRANULE.run(level);
        let is_run = bits & CONT != 0;
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
