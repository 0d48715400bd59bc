// SPDX-License-Identifier: GPL-2.0

//! Random steps: what is mapped at first, what is asked for, and what has to come of it.

use std::{any::type_name, ops::Range};

use rand::{rngs::SmallRng, Rng, SeedableRng};

use crate::{
    coalesce,
    descriptor::{self, Change},
    geometry::Level,
    memory::{Memory, PageSize},
    oracle::{units, Oracle, Page, OTHERS},
    walk::{self, Error, Needs},
};

const RDONLY: u64 = descriptor::RDONLY;
const WRITE: u64 = descriptor::WRITE;
const PXN: u64 = descriptor::PXN;
const VALID: u64 = descriptor::VALID;
const INVALID: u64 = descriptor::PRESENT_INVALID;
const NOT_GLOBAL: u64 = 1 << 11;
const GUARDED: u64 = 1 << 50;
/// Memory as it is mapped: valid, writable, not executable.
const DEFAULT: u64 = VALID | WRITE | PXN;
/// Steps before everything is restored, and the tables are made anew.
const EPOCH: u64 = 3_000;

/// Changes that callers ask for: bits to set, bits to clear.
const CHANGES: [(u64, u64); 10] = [
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
const RESTORE: (u64, u64) = (VALID | WRITE, INVALID | RDONLY);

struct Model<P> {
    memory: Memory<P>,
    oracle: Oracle,
    pages: usize,
    tables: usize,
}

impl<P: PageSize> Model<P> {
    /// Maps what a linear map or vmalloc has: leaves of all sizes side by side, and holes.
    fn new(random: &mut SmallRng) -> Self {
        let units = units::<P>();
        // Level 1 blocks are for 4K pages alone, as in the kernel.
        let pages = if P::SHIFT == 12 {
            2 * units[4]
        } else {
            6 * units[3]
        };
        let mut memory = Memory::new();
        memory.needs_break = random.random_bool(0.5);
        let mut model = Self {
            memory,
            oracle: Oracle::new::<P>(pages),
            pages,
            tables: 0,
        };

        let mut page = 0;
        while page < pages {
            let largest = if P::SHIFT == 12 { 4 } else { 3 };
            let unit = (0..=largest)
                .rev()
                .find(|&unit| {
                    page % units[unit] == 0
                        && page + units[unit] <= pages
                        && (unit == 0 || random.random_bool(0.6))
                })
                .unwrap_or(0);
            // A level 2 table that is made for smaller leaves is not all made of them.
            if random.random_bool(0.02) {
                page += units[unit.min(2)];
                continue;
            }
            // Now and then all of a larger unit, which nobody may join.
            let larger = (unit + 1).min(largest);
            let fits = page % units[larger] == 0 && page + units[larger] <= pages;
            let end = page
                + units[if fits && random.random_bool(0.2) {
                    larger
                } else {
                    unit
                }];
            while page < end {
                model.map(page, unit);
                page += units[unit];
            }
        }
        model.tables = model.memory.tables();
        let all = Self::bytes(&(0..pages));
        model.memory.bytes = model.memory.measure(all);
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
        let size = P::GEOMETRY.size(level);
        let address = (page as u64) << P::SHIFT;
        let count = (units::<P>()[unit] << P::SHIFT) / size;

        for index in 0..count {
            let offset = index * size;
            let bits = (address + offset as u64) | DEFAULT | OTHERS | kind | contiguous;
            self.memory.map((page << P::SHIFT) + offset, level, bits);
        }
        self.oracle.map(page, unit, DEFAULT, address, 1 << P::SHIFT);
    }

    /// Chooses a range: short or long, at a boundary of a leaf or anywhere.
    fn range(&self, random: &mut SmallRng) -> Range<usize> {
        let units = units::<P>();
        let near = units[random.random_range(0..4)];
        let start = random.random_range(0..self.pages / near) * near;
        let start = match random.random_range(0..3) {
            0 => start,
            1 => start.saturating_sub(random.random_range(0..20)),
            _ => (start + random.random_range(0..40)).min(self.pages - 1),
        };
        let length = match random.random_range(0..32) {
            0..=24 => random.random_range(1..40),
            25..=28 => units[1],
            29..=30 => units[2],
            _ => random.random_range(1..=units[2] + units[1]),
        };
        start..(start + length).min(self.pages)
    }

    fn bytes(range: &Range<usize>) -> Range<usize> {
        range.start << P::SHIFT..range.end << P::SHIFT
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

    fn check_all(&self) {
        let mut page = 0;
        while page < self.pages {
            page += self.oracle.check(&self.memory, page, true);
        }
    }

    /// Whether leaves that have to change reach across the two ends of a range.
    fn cuts(&self, range: &Range<usize>, set: u64, clear: u64) -> [bool; 2] {
        [(range.start, range.start), (range.end - 1, range.end)].map(|(page, end)| {
            self.oracle.changes(page, set, clear)
                && end % units::<P>()[self.oracle.unit(page)] != 0
        })
    }

    /// Changes a range as `set_memory_*()` does: look, split, change.
    fn change(&mut self, random: &mut SmallRng, range: Range<usize>) {
        let (set, clear) = CHANGES[random.random_range(0..CHANGES.len())];
        let change = Change::new(set, clear).expect("an ordinary change");
        let bytes = Self::bytes(&range);
        let is_legal = range
            .clone()
            .all(|page| self.oracle.after(page, set, clear).is_some());

        let checked = walk::check(&mut self.memory, &bytes, change);
        assert!(self.memory.writes.is_empty(), "a look writes");
        if !is_legal {
            assert_eq!(checked, Err(Error::Invalid));
            return;
        }
        let needs = checked.expect("a legal change");
        let is_cut = needs == Needs::Split;
        let changes = |page| self.oracle.changes(page, set, clear);
        assert_eq!(needs == Needs::Nothing, !range.clone().any(changes));
        let [first, last] = self.cuts(&range, set, clear);
        assert_eq!(is_cut, first || last);

        if is_cut && random.random_bool(0.2) {
            self.memory.budget = random.random_range(0..3);
            let result = walk::split(&mut self.memory, &bytes, change);
            assert!(matches!(result, Ok(()) | Err(Error::NoMemory)));
            // Permissions are as before, whatever came of it, and all leaves are whole.
            self.check_written(false);
            self.memory.budget = usize::MAX;
        }
        if is_cut {
            assert_eq!(walk::split(&mut self.memory, &bytes, change), Ok(()));
        }
        for (page, cut) in [(range.start, range.start), (range.end - 1, range.end)] {
            if self.oracle.changes(page, set, clear) {
                self.oracle.cut(cut);
            }
        }
        self.check_written(true);

        self.apply(&range, set, clear);
        self.check_written(true);
    }

    /// Changes a range, and checks what TLBs may hold that is no longer so: those pages that change,
    /// and are valid before.
    fn apply(&mut self, range: &Range<usize>, set: u64, clear: u64) {
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
        let changed = walk::apply(&mut self.memory, &bytes, change, |_, range| {
            stale.extend(range.start >> P::SHIFT..range.end >> P::SHIFT);
        });
        assert_eq!(changed, Ok(changes));
        assert_eq!(stale, expected, "stale");
        self.memory.invalidate_all();
        self.note(range.clone(), set, clear);
    }

    /// Restores a range as `vfree()` does: only what is not the default, and without a split.
    fn restore(&mut self, range: Range<usize>) {
        let (set, clear) = RESTORE;
        let change = Change::new(set, clear).expect("an ordinary change");
        let bytes = Self::bytes(&range);
        let is_legal = |page| self.oracle.after(page, set, clear).is_some();
        let [first, last] = self.cuts(&range, set, clear);

        if is_legal(range.start) && first {
            let result = walk::apply(&mut self.memory, &bytes, change, |_, _| {});
            assert_eq!(result, Err(Error::Invalid));
            assert!(self.memory.writes.is_empty(), "a leaf is changed in part");
            return;
        }
        if !range.clone().all(is_legal) || last {
            return;
        }
        self.apply(&range, set, clear);
        self.check_written(true);
    }

    /// Returns runs of pages in `pages` for which `is_wanted` holds.
    fn runs(pages: Range<usize>, is_wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for page in pages.filter(|&page| is_wanted(page)) {
            match runs.last_mut() {
                Some(run) if run.end == page => run.end += 1,
                _ => runs.push(page..page + 1),
            }
        }
        runs
    }

    /// Restores what can be in the level 1 block, or run of blocks, around a page.
    fn restore_widely(&mut self, page: usize) {
        let unit = units::<P>()[if P::SHIFT == 12 { 4 } else { 3 }];
        let start = page / unit * unit;
        let (set, clear) = RESTORE;
        let can_be = |page| self.oracle.after(page, set, clear).is_some();

        for run in Self::runs(start..(start + unit).min(self.pages), can_be) {
            self.restore(run);
        }
    }

    /// Maps pages by pages for good, as those of KFENCE's pool.
    fn pin(&mut self, range: Range<usize>) {
        let bytes = Self::bytes(&range);
        let is_mapped = range
            .clone()
            .all(|page| self.oracle.pages[page] != Page::Hole);
        if !is_mapped {
            return;
        }
        assert_eq!(walk::pin(&mut self.memory, &bytes), Ok(()));
        for page in range {
            self.oracle.pin(page);
        }
        self.check_written(true);
    }

    /// Makes the leaf of an invalid page valid and invalid again, as hibernation does to copy it.
    fn flip(&mut self, random: &mut SmallRng, page: usize) {
        let Some(attributes) = self.oracle.attributes(page) else {
            return;
        };
        if attributes & VALID != 0 {
            return;
        }
        let global = [0, NOT_GLOBAL][random.random_range(0..2)];
        let to_default = Change::new(VALID | global | WRITE, INVALID | RDONLY);
        let to_invalid = Change::new(INVALID, VALID | global);
        let addr = page << P::SHIFT;

        for (change, is_valid) in [(to_default, true), (to_invalid, false)] {
            let change = change.expect("an ordinary change");
            let size = walk::flip(&mut self.memory, addr, change).expect("it is mapped");
            assert_eq!(size.index(), self.oracle.unit(page), "what TLBs may hold");
            let (descriptor, _) = self.memory.lookup(addr).expect("it is mapped");
            assert_eq!(descriptor.bits() & VALID != 0, is_valid);
        }
        // All is as before, and nothing was split.
        self.memory.invalidate_all();
        self.check_written(true);
    }

    /// Restores and joins everything, and checks that it is as it was at first.
    fn heal(&mut self) {
        let (set, clear) = (DEFAULT, RDONLY | INVALID | GUARDED);
        let is_mapped = |page: usize| self.oracle.pages[page] != Page::Hole;

        for run in Self::runs(0..self.pages, is_mapped) {
            self.apply(&run, set, clear);
        }
        self.join_pending();
        if self.oracle.has_pins() {
            return;
        }
        for page in 0..self.pages {
            assert_eq!(self.oracle.unit(page), self.oracle.initial_unit(page));
        }
        assert_eq!(self.memory.tables(), self.tables, "tables");
    }

    /// Joins leaves in all tables that have changed, which is all that can be joined anywhere.
    fn join_pending(&mut self) {
        while self.memory.collapse_some() {}
        for page in (0..self.pages).step_by(units::<P>()[2]) {
            self.oracle.join(page);
        }
        self.check_all();
        self.memory.writes.clear();
    }

    /// Joins leaves in a range, in each block of level 2, or in what can be a block of a cache.
    fn join(&mut self, random: &mut SmallRng, range: Range<usize>) {
        if random.random_range(0..4) == 0 {
            self.join_cache_block(range.start);
            return;
        }
        self.join_blocks(range.clone());
        // What is in order stays.
        coalesce::coalesce(&mut self.memory, range.start << P::SHIFT);
        assert!(self.memory.writes.is_empty());
    }

    /// Joins leaves in each block of `range`, and checks what became of them.
    fn join_blocks(&mut self, range: Range<usize>) {
        let block = units::<P>()[2];
        for page in (range.start / block * block..range.end).step_by(block) {
            let page = page.max(range.start);
            coalesce::coalesce(&mut self.memory, page << P::SHIFT);
            self.oracle.join(page);
            self.check_written(true);
        }
    }

    /// Joins leaves of the 2 MiB that `page` is in, as the worker does in blocks of the caches.
    fn join_cache_block(&mut self, page: usize) {
        let pages = (2 << 20) >> P::SHIFT;
        let start = page / pages * pages;
        coalesce::coalesce_block(&mut self.memory, &Self::bytes(&(start..start + pages)));
        self.oracle.join_whole(start, pages);
        self.check_written(true);
    }

    fn note(&mut self, range: Range<usize>, set: u64, clear: u64) {
        for page in range {
            if let Some(attributes) = self.oracle.after(page, set, clear) {
                self.oracle.set(page, attributes);
            }
        }
    }

    /// Checks that what counts leaves is right.
    fn check_sizes(&mut self) {
        let sizes = self.oracle.sizes(1 << P::SHIFT);
        let all = Self::bytes(&(0..self.pages));
        assert_eq!(self.memory.bytes, sizes, "sizes as counted");
        assert_eq!(self.memory.measure(all), sizes, "sizes as measured");
    }

    /// Checks that no table was allocated that no cut needs.
    fn check_tables(&self) {
        let units = units::<P>();
        let needed = |unit: usize| {
            (0..self.pages / units[unit])
                .filter(|&index| {
                    let page = index * units[unit];
                    self.oracle.is_cut(unit, index)
                        && self.oracle.initial_unit(page) >= unit
                        && self.oracle.pages[page] != Page::Hole
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

/// Says which seed repeats what went wrong.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with --seed {}", self.0);
        }
    }
}

/// Makes `steps` random steps from `seed`; panics at the first that goes wrong.
pub fn run<P: PageSize>(seed: u64, steps: u64) {
    let name = type_name::<P>().rsplit("::").next().unwrap_or_default();
    let mut done = 0;
    let mut epoch = seed;

    while done < steps {
        let _seed = Seed(epoch);
        let mut random = SmallRng::seed_from_u64(epoch);
        let mut model = Model::<P>::new(&mut random);
        model.check_all();
        for _ in 0..EPOCH.min(steps - done) {
            let range = model.range(&mut random);
            match random.random_range(0..500) {
                // These look at 1 GiB of pages, or at all of them: rarely.
                0 => model.restore_widely(range.start),
                1 if random.random_bool(0.2) => model.join_pending(),
                // Not always: with pins not everything heals.
                1 if epoch % 4 == 0 => model.pin(range.start..range.end.min(range.start + 3)),
                2..=100 => model.restore(range),
                101..=200 => model.join(&mut random, range),
                201..=220 => model.flip(&mut random, range.start),
                _ => model.change(&mut random, range),
            }
            done += 1;
        }
        model.check_all();
        model.check_tables();
        model.check_sizes();
        model.heal();
        model.check_sizes();
        epoch += 1;
    }
    println!("{name}: {steps} steps, no difference");
}
