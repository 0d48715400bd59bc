// SPDX-License-Identifier: GPL-2.0

//! Steps on modelled tables, and what has to come of each.

use std::ops::Range;

use crate::{
    kernel::{
        self, Change, Error, Level, Needs, PRESENT_INVALID as INVALID, PXN, RDONLY, VALID, WRITE,
    },
    oracle::{units, Oracle, Page, OTHERS},
    tables::{Memory, PageSize},
};

const NOT_GLOBAL: u64 = 1 << 11;
const GUARDED: u64 = 1 << 50;
/// Memory as it is mapped: valid, writable, not executable.
const DEFAULT: u64 = VALID | WRITE | PXN;

/// What is mapped by units of one size: from a page on, how many.
pub(crate) type Mapped = (usize, usize, usize);

/// Bits that a change sets, and bits that it clears.
pub(crate) type Bits = (u64, u64);

/// Changes that callers ask for.
pub(crate) const CHANGES: [Bits; 10] = [
    RESTORE,
    // To read-only, writable, not executable, executable.
    (RDONLY, WRITE),
    (WRITE, RDONLY),
    (PXN, GUARDED),
    (GUARDED, PXN),
    // Two at once.
    (RDONLY | GUARDED, WRITE | PXN),
    (WRITE | PXN, RDONLY | GUARDED),
    // To invalid; and as a kernel does it whose mappings are not global.
    (INVALID, VALID),
    (INVALID, VALID | NOT_GLOBAL),
    (VALID | NOT_GLOBAL | WRITE, INVALID | RDONLY),
];
/// To what the linear map is by default.
pub(crate) const RESTORE: Bits = (VALID | WRITE, INVALID | RDONLY);

/// A step. Each can be taken at any time; what it may not do it must refuse to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Change a range as `set_memory_*()` does: look, split, change.
    Change {
        pages: Range<usize>,
        /// An index of [`CHANGES`].
        change: usize,
        /// With so many free tables at a first attempt, if a split is needed.
        tables: Option<usize>,
    },
    /// Restore a range as `vfree()` does: only what is not the default, and without a split.
    Restore { pages: Range<usize> },
    /// Restore what can be in the level 1 block, or contiguous run of blocks, around a page.
    RestoreWidely { page: usize },
    /// Collapse leaves of the unit of so many pages that a page is in, as the worker does in
    /// chunks of the caches: a contiguous run of pages, or a block of level 2.
    CollapseChunk { page: usize, pages: usize },
    /// Collapse leaves in all tables that have changed, which is all that can collapse anywhere.
    CollapsePending,
    /// Map pages by pages for good, as those of KFENCE's pool.
    MapByPtes { pages: Range<usize> },
    /// Make the leaf of an invalid page valid and invalid again, as hibernation does to copy it.
    Flip { page: usize, global: bool },
}

#[cfg(test)]
impl Step {
    /// Returns how many pages there have to be for the step.
    pub(crate) fn end(&self) -> usize {
        match self {
            Self::Change { pages, .. } | Self::Restore { pages } | Self::MapByPtes { pages } => {
                pages.end
            }
            Self::RestoreWidely { page }
            | Self::CollapseChunk { page, .. }
            | Self::Flip { page, .. } => page + 1,
            Self::CollapsePending => 0,
        }
    }
}

/// Tables, and what they have to be.
pub(crate) struct Model<P> {
    pub(crate) memory: Memory<P>,
    pub(crate) oracle: Oracle,
    /// How many pages there may be.
    pages: usize,
    /// How many tables there were at first.
    tables: usize,
}

impl<P: PageSize> Model<P> {
    /// Maps so many pages as `mapped` says.
    pub(crate) fn new(pages: usize, mapped: &[Mapped], needs_break: bool) -> Self {
        let mut memory = Memory::new();
        memory.needs_break = needs_break;
        let mut model = Self {
            memory,
            oracle: Oracle::new::<P>(pages),
            pages,
            tables: 0,
        };

        for &(start, unit, count) in mapped {
            let size = units::<P>()[unit];
            for index in 0..count {
                model.map(start + index * size, unit);
            }
        }
        model.tables = model.memory.tables();
        model.memory.bytes = model.memory.measure(Self::bytes(&(0..pages)));
        assert_eq!(model.memory.bytes, model.oracle.sizes(1 << P::SHIFT));
        model.memory.writes.clear();
        model
    }

    fn map(&mut self, page: usize, unit: usize) {
        let level = match unit {
            0 | 1 => Level::Pte,
            2 | 3 => Level::Pmd,
            _ => Level::Pud,
        };
        let kind = if level == Level::Pte { 2 } else { 0 };
        let contiguous = if unit == 1 || unit == 3 { 1 << 52 } else { 0 };
        let size = P::GRANULE.size(level);
        let address = (page as u64) << P::SHIFT;
        let count = (units::<P>()[unit] << P::SHIFT) / size;

        for index in 0..count {
            let offset = index * size;
            let bits = (address + offset as u64) | DEFAULT | OTHERS | kind | contiguous;
            self.memory.map((page << P::SHIFT) + offset, level, bits);
        }
        self.oracle.map(page, unit, DEFAULT, address, 1 << P::SHIFT);
    }

    fn bytes(range: &Range<usize>) -> Range<usize> {
        range.start << P::SHIFT..range.end << P::SHIFT
    }

    /// Makes a step, and checks what comes of it.
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Change {
                pages,
                change,
                tables,
            } => self.change(pages, CHANGES[*change], *tables),
            Step::Restore { pages } => self.restore(pages),
            Step::RestoreWidely { page } => {
                for pages in self.oracle.restorable(*page) {
                    self.restore(&pages);
                }
            }
            Step::CollapseChunk { page, pages } => self.collapse_chunk(*page, *pages),
            Step::CollapsePending => self.collapse_pending(),
            Step::MapByPtes { pages } => self.map_by_ptes(pages),
            Step::Flip { page, global } => self.flip(*page, *global),
        }
    }

    /// Checks all pages that entries map that were written to.
    fn check_written(&mut self, shape: bool) {
        let mut writes = std::mem::take(&mut self.memory.writes);
        writes.sort_by_key(|write| write.start);

        let mut page = 0;
        for write in &writes {
            page = page.max(write.start >> P::SHIFT);
            let end = ((write.start + write.size) >> P::SHIFT).min(self.pages);
            while page < end {
                page += self.oracle.check(&self.memory, page, shape);
            }
        }
    }

    /// Checks all pages.
    pub(crate) fn check_all(&self) {
        self.oracle.check_all(&self.memory);
    }

    fn change(&mut self, range: &Range<usize>, bits: Bits, tables: Option<usize>) {
        let (set, clear) = bits;
        let change = Change::new(set, clear).expect("an ordinary change");
        let bytes = Self::bytes(range);

        let checked = kernel::check(&mut self.memory, &bytes, change);
        assert!(self.memory.writes.is_empty(), "a look writes");
        if !self.oracle.is_legal(range, bits) {
            assert_eq!(checked, Err(Error::Invalid));
            return;
        }
        let needs = checked.expect("a legal change");
        let is_cut = needs == Needs::Split;
        let changes = |page| self.oracle.changes(page, set, clear);
        assert_eq!(needs == Needs::Nothing, !range.clone().any(changes));
        let [first, last] = self.oracle.ends_cut(range, bits);
        assert_eq!(is_cut, first || last);

        if let Some(tables) = tables.filter(|_| is_cut) {
            self.memory.budget = tables;
            let result = kernel::split(&mut self.memory, (), &bytes, change);
            assert!(matches!(result, Ok(()) | Err(Error::NoMemory)));
            // Permissions are as before, whatever came of it, and all leaves are whole.
            self.check_written(false);
            self.memory.budget = usize::MAX;
        }
        if is_cut {
            assert_eq!(kernel::split(&mut self.memory, (), &bytes, change), Ok(()));
        }
        self.oracle.cut_ends(range, bits);
        self.check_written(true);

        self.apply(range, bits);
        self.check_written(true);
    }

    /// Changes a range, and checks what TLBs may hold that is no longer so: those pages that change,
    /// and are valid before.
    fn apply(&mut self, range: &Range<usize>, bits: Bits) {
        let (set, clear) = bits;
        let change = Change::new(set, clear).expect("an ordinary change");
        let is_stale = |page: &usize| {
            let before = self.oracle.attributes(*page).unwrap_or(0);
            let after = self.oracle.after(*page, set, clear).unwrap_or(0);
            // What stops being executable has been invalidated where that has to be.
            let loses_execution = after & VALID != 0 && before & PXN == 0 && after & PXN != 0;
            let is_broken = self.memory.needs_break && loses_execution;
            before & VALID != 0 && before != after && !is_broken
        };
        let expected: Vec<usize> = range.clone().filter(is_stale).collect();
        let changes = range
            .clone()
            .any(|page| self.oracle.changes(page, set, clear));

        let mut stale = Vec::new();
        let bytes = Self::bytes(range);
        let changed = kernel::apply(&mut self.memory, &bytes, change, |_, range| {
            stale.extend(range.start >> P::SHIFT..range.end >> P::SHIFT);
        });
        assert_eq!(changed, Ok(changes));
        assert_eq!(stale, expected, "stale");
        self.memory.invalidate_all();
        self.oracle.set_all(range, bits);
    }

    fn restore(&mut self, range: &Range<usize>) {
        let (set, clear) = RESTORE;
        let change = Change::new(set, clear).expect("an ordinary change");
        let bytes = Self::bytes(range);
        let [first, last] = self.oracle.ends_cut(range, RESTORE);

        if first && self.oracle.after(range.start, set, clear).is_some() {
            let result = kernel::apply(&mut self.memory, &bytes, change, |_, _| {});
            assert_eq!(result, Err(Error::Invalid));
            assert!(self.memory.writes.is_empty(), "a leaf is changed in part");
            return;
        }
        if last || !self.oracle.is_legal(range, RESTORE) {
            return;
        }
        self.apply(range, RESTORE);
        self.check_written(true);
    }

    fn map_by_ptes(&mut self, range: &Range<usize>) {
        if !self.oracle.is_mapped(range) {
            return;
        }
        let bytes = Self::bytes(range);
        assert_eq!(kernel::map_by_ptes(&mut self.memory, (), &bytes), Ok(()));
        for page in range.clone() {
            self.oracle.map_by_ptes(page);
        }
        self.check_written(true);
    }

    fn flip(&mut self, page: usize, global: bool) {
        let Some(attributes) = self.oracle.attributes(page) else {
            return;
        };
        if attributes & VALID != 0 {
            return;
        }
        let global = if global { 0 } else { NOT_GLOBAL };
        let to_default = Change::new(VALID | global | WRITE, INVALID | RDONLY);
        let to_invalid = Change::new(INVALID, VALID | global);
        let addr = page << P::SHIFT;

        for (change, is_valid) in [(to_default, true), (to_invalid, false)] {
            let change = change.expect("an ordinary change");
            let size = kernel::flip(&mut self.memory, addr, change).expect("it is mapped");
            assert_eq!(size.index(), self.oracle.unit(page), "what TLBs may hold");
            let (descriptor, _) = self.memory.lookup(addr).expect("it is mapped");
            assert_eq!(descriptor.bits() & VALID != 0, is_valid);
        }
        // All is as before, and nothing was split.
        self.memory.invalidate_all();
        self.check_written(true);
    }

    fn collapse_chunk(&mut self, page: usize, pages: usize) {
        let start = page / pages * pages;
        let chunk = Self::bytes(&(start..start + pages));
        self.memory.collapse_chunk(&chunk);
        self.oracle.collapse_whole(start, pages);
        self.check_written(true);
    }

    fn collapse_pending(&mut self) {
        self.memory.collapse_all([]);
        self.oracle.apply(&Step::CollapsePending);
        self.check_written(true);
    }

    /// Collapses everything, and checks that nothing is left that could collapse, wherever a pass
    /// looks, and that every page is as it has to be.
    fn check_collapsed(&mut self) {
        self.collapse_pending();
        self.check_all();
        let block = units::<P>()[2];
        let blocks = (0..self.pages).step_by(block);
        self.memory
            .collapse_all(blocks.map(|page| page << P::SHIFT));
        assert!(self.memory.writes.is_empty(), "a leaf is forgotten");
    }

    /// Restores and collapses everything, and checks that it is as it was at first.
    pub(crate) fn restore_all(&mut self) {
        let bits = (DEFAULT, RDONLY | INVALID | GUARDED);
        let is_mapped = |page: usize| self.oracle.pages[page] != Page::None;

        for range in self.oracle.ranges(0..self.pages, is_mapped) {
            self.apply(&range, bits);
        }
        self.check_collapsed();
        if self.oracle.has_pte_mapped() {
            return;
        }
        for page in 0..self.pages {
            assert_eq!(self.oracle.unit(page), self.oracle.initial_unit(page));
        }
        assert_eq!(self.memory.tables(), self.tables, "tables");
    }

    /// Checks that what counts leaves is right.
    pub(crate) fn check_sizes(&mut self) {
        let sizes = self.oracle.sizes(1 << P::SHIFT);
        let all = Self::bytes(&(0..self.pages));
        assert_eq!(self.memory.bytes, sizes, "sizes as counted");
        assert_eq!(self.memory.measure(all), sizes, "sizes as measured");

        let is_mapped = |page: usize| self.oracle.pages[page] != Page::None;
        let mapped = self.oracle.ranges(0..self.pages, is_mapped);
        let blocks = mapped.iter().map(Self::bytes);
        let blocks: usize = blocks.map(|bytes| self.memory.count_blocks(&bytes)).sum();
        let block = P::GRANULE.size(Level::Pmd);
        assert_eq!(blocks, (sizes[2] + sizes[3]) / block, "blocks");
    }

    /// Checks that no table was allocated that no cut needs.
    pub(crate) fn check_tables(&self) {
        let units = units::<P>();
        let needed = |unit: usize| {
            (0..self.pages / units[unit])
                .filter(|&index| {
                    let page = index * units[unit];
                    self.oracle.is_cut(unit, index)
                        && self.oracle.initial_unit(page) >= unit
                        && self.oracle.pages[page] != Page::None
                })
                .count()
        };
        assert_eq!(
            self.memory.tables() - self.tables,
            needed(2) + needed(4),
            "tables"
        );
    }
}
