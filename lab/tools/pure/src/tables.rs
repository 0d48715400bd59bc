// SPDX-License-Identifier: GPL-2.0

//! Translation tables in ordinary memory, with a log of the entries that were written.
#![allow(unsafe_code)]

use std::{cell::Cell, collections::HashSet, marker::PhantomData, mem, ops::Range};

use crate::kernel::{
    self, Collapse, Descriptor, Exclusive, Granule, Kind, Leaf, LeafSize, Level, Pending, Split,
    TableAddress, TableDescriptor, Tables, WAS_CONT,
};

/// Returns the descriptor with these bits.
pub(crate) const fn descriptor(bits: u64) -> Descriptor {
    // SAFETY: They never reach live tables: here are only modelled ones.
    unsafe { Descriptor::from_bits(bits) }
}

/// Returns the address of a table with these bits.
pub(crate) const fn table_address(bits: u64) -> TableAddress {
    // SAFETY: They never reach live tables: here are only modelled ones.
    unsafe { TableAddress::from_bits(bits) }
}

/// A page size as a type.
pub(crate) trait PageSize: Clone + 'static {
    const SHIFT: usize;
    const GRANULE: Granule;
}

#[derive(Clone)]
pub(crate) struct Pages4K;
#[derive(Clone)]
pub(crate) struct Pages16K;
#[derive(Clone)]
pub(crate) struct Pages64K;

const fn granule(shift: usize) -> Granule {
    match Granule::new(shift) {
        Some(granule) => granule,
        None => panic!("no such page size"),
    }
}

impl PageSize for Pages4K {
    const SHIFT: usize = 12;
    const GRANULE: Granule = granule(12);
}
impl PageSize for Pages16K {
    const SHIFT: usize = 14;
    const GRANULE: Granule = granule(14);
}
impl PageSize for Pages64K {
    const SHIFT: usize = 16;
    const GRANULE: Granule = granule(16);
}

/// What an entry that was written maps.
pub(crate) struct Write {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

struct Table {
    entries: Vec<u64>,
    /// The VA of what the first entry maps; unknown until the table is linked.
    base: Option<usize>,
    level: Level,
    state: State,
}

/// Who may still use a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Software, and the MMU if it is linked.
    Used,
    /// No entry points to it, but TLBs and walk caches may.
    Unlinked,
    /// Neither do those.
    Invalidated,
    /// Nobody that is known here.
    Retired,
}

/// What is wrong with tables, so that a test can show that the model finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Leaves with unequal attributes collapse.
    CollapsesUnequal,
    /// A split does not say that leaves were part of a contiguous run.
    LosesWasCont,
    /// Nobody marks tables whose leaves have changed.
    ForgetsChanges,
    /// A block takes the place of a table that walk caches still lead to.
    KeepsWalks,
    /// A table is linked before its entries are visible.
    LinksEarly,
    /// A TLB keeps what was executable.
    KeepsExecutable,
}

/// Tables; the first one is the top.
pub(crate) struct Memory<P> {
    tables: Vec<Table>,
    /// How many more tables can be allocated.
    pub(crate) budget: usize,
    /// What has been written to since this was last cleared.
    pub(crate) writes: Vec<Write>,
    /// How many bytes leaves of each size map, as what is tested counts them.
    pub(crate) bytes: [usize; 5],
    /// Which tables have changed.
    pub(crate) pending: Pending,
    /// How many entries have been read since this was last cleared.
    pub(crate) reads: Cell<usize>,
    /// Stores to tables that no entry pointed to, made visible or not.
    unpublished: bool,
    /// Whether executable leaves have to be invalid before they are not executable.
    pub(crate) needs_break: bool,
    /// Pages that TLBs may hold as executable although they are not.
    cached: HashSet<usize>,
    /// Whether leaves are being collapsed.
    is_collapsing: bool,
    #[cfg(test)]
    pub(crate) fault: Option<Fault>,
    _pages: PhantomData<P>,
}

impl<P: PageSize> Memory<P> {
    /// Makes a top table for the VAs from 0.
    pub(crate) fn new() -> Self {
        Self::for_bytes(P::GRANULE.size(Level::Pud) * P::GRANULE.entries())
    }

    /// Makes a top table for so many VAs from 0. It is longer than others if they need that: as
    /// several tables would be that a level above has.
    pub(crate) fn for_bytes(bytes: usize) -> Self {
        Self {
            tables: vec![Table {
                entries: vec![0; bytes.div_ceil(P::GRANULE.size(Level::Pud))],
                base: Some(0),
                level: Level::Pud,
                state: State::Used,
            }],
            budget: usize::MAX,
            writes: Vec::new(),
            bytes: [0; 5],
            pending: Pending::new(),
            reads: Cell::new(0),
            unpublished: false,
            needs_break: false,
            cached: HashSet::new(),
            is_collapsing: false,
            #[cfg(test)]
            fault: None,
            _pages: PhantomData,
        }
    }

    /// Returns whether this is what is wrong with the tables.
    #[cfg(test)]
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Returns whether this is what is wrong with the tables: it is only in tests.
    #[cfg(not(test))]
    const fn has(&self, _: Fault) -> bool {
        false
    }

    /// Removes everything from all TLBs, as whoever has changed something does.
    pub(crate) fn invalidate_all(&mut self) {
        self.cached.clear();
    }

    /// Notes what TLBs may hold of leaf `old` at `start` that is replaced by `new`, and checks that
    /// they hold nothing as executable that is valid and no longer so.
    fn check_execution(&mut self, start: usize, old: Descriptor, new: Descriptor, level: Level) {
        let leaf = |descriptor: Descriptor| match descriptor.kind(level) {
            Kind::Leaf(leaf) if leaf.is_valid() => Some(leaf),
            _ => None,
        };
        let pages = start >> P::SHIFT..(start + P::GRANULE.size(level)) >> P::SHIFT;
        if leaf(old).is_some_and(|leaf| leaf.is_executable()) {
            self.cached.extend(pages.clone());
        }
        match leaf(new) {
            Some(leaf) if leaf.is_executable() => pages.for_each(|page| {
                self.cached.remove(&page);
            }),
            Some(_) => assert!(
                !pages.clone().any(|page| self.cached.contains(&page)),
                "a TLB may hold as executable what is valid and not executable"
            ),
            None => {}
        }
    }

    /// Returns how many tables there are below the top.
    pub(crate) fn tables(&self) -> usize {
        assert!(
            !self
                .tables
                .iter()
                .any(|table| matches!(table.state, State::Unlinked | State::Invalidated)),
            "a table is lost"
        );
        let used = |table: &&Table| table.state == State::Used;
        self.tables.iter().filter(used).count() - 1
    }

    fn offset_mask() -> u64 {
        !((1 << P::SHIFT) - 1) & ((1 << 48) - 1)
    }

    /// Maps `addr` with `bits`, which are those of a leaf of `level`.
    pub(crate) fn map(&mut self, addr: usize, level: Level, bits: u64) {
        let mut at = Level::Pud;
        let mut entry = self.top(addr).expect("the model's addresses are small");
        while at != level {
            let below = at.next().expect("leaves have a level");
            let table = match self.read(entry).kind(at) {
                Kind::Table(table) => table,
                _ => {
                    let (_, address) = self.allocate((), below, addr).expect("memory");
                    let table = TableDescriptor::new(address, below, false);
                    self.publish();
                    self.write(entry, at, table.descriptor());
                    table
                }
            };
            at = below;
            let (table, _) = self.first(table);
            entry = (table, P::GRANULE.index(at, addr));
        }
        self.write(entry, level, descriptor(bits));
    }

    /// Returns the descriptor that maps `addr` and its level, or [`None`] where nothing is mapped.
    pub(crate) fn lookup(&self, addr: usize) -> Option<(Descriptor, Level)> {
        let (entry, level) = self.find(addr)?;
        Some((self.read(entry), level))
    }

    /// Returns `count` entries from the one that maps `addr`, all in one table.
    pub(crate) fn entries(&self, addr: usize, count: usize) -> impl Iterator<Item = u64> + '_ {
        let ((table, index), _) = self.find(addr).expect("it is mapped");
        self.tables[table].entries[index..index + count]
            .iter()
            .copied()
    }

    /// Walks to what maps `addr`, by the words of the architecture and not as the kernel does.
    fn find(&self, addr: usize) -> Option<((usize, usize), Level)> {
        let mut level = Level::Pud;
        let mut entry = self.top(addr)?;
        loop {
            let bits = self.read(entry).bits();
            if bits == 0 {
                return None;
            }
            match level.next() {
                Some(below) if bits & 3 == 3 => level = below,
                _ => return Some((entry, level)),
            }
            entry = (self.table(bits), P::GRANULE.index(level, addr));
        }
    }

    /// Returns the table that a descriptor with these bits points to.
    fn table(&self, bits: u64) -> usize {
        let table = ((bits & Self::offset_mask()) >> P::SHIFT) as usize;
        assert!((1..self.tables.len()).contains(&table), "no such table");
        table
    }
}

impl<P: PageSize> Tables for Memory<P> {
    type Entry = (usize, usize);

    const TOP: Level = Level::Pud;
    const GRANULE: Granule = P::GRANULE;

    fn top(&self, addr: usize) -> Option<Self::Entry> {
        Some((0, addr / P::GRANULE.size(Level::Pud)))
    }

    fn first(&self, table: TableDescriptor) -> Self::Entry {
        let first = self.table(table.descriptor().bits());
        assert_eq!(self.tables[first].level, table.below(), "another level");
        (first, 0)
    }

    fn at(&self, (table, index): Self::Entry, offset: isize) -> Self::Entry {
        let index = index.wrapping_add_signed(offset);
        assert!(
            table == 0 || index < P::GRANULE.entries(),
            "outside of the table"
        );
        (table, index)
    }

    fn read(&self, (table, index): Self::Entry) -> Descriptor {
        assert_eq!(self.tables[table].state, State::Used, "read after use");
        self.reads.set(self.reads.get() + 1);
        let bits = self.tables[table].entries[index];
        if self.is_collapsing && self.has(Fault::CollapsesUnequal) {
            return self.as_first(table, bits);
        }
        descriptor(bits)
    }

    fn write(&mut self, (table, index): Self::Entry, level: Level, new: Descriptor) {
        let new = match self.has(Fault::LosesWasCont) {
            true => descriptor(new.bits() & !WAS_CONT),
            false => new,
        };
        assert_eq!(level, self.tables[table].level, "an entry of another level");
        assert_eq!(self.tables[table].state, State::Used, "written after use");
        let old = descriptor(self.tables[table].entries[index]);
        self.tables[table].entries[index] = new.bits();
        let linked = match new.kind(level) {
            Kind::Table(linked) => Some(linked),
            _ => None,
        };
        if let Kind::Table(old) = old.kind(level) {
            if linked.is_some_and(|new| old.with_pending(new.is_pending()) == new) {
                // A mark: it maps what it did.
                return;
            }
            let (unlinked, _) = self.first(old);
            self.tables[unlinked].state = State::Unlinked;
        }
        let Some(base) = self.tables[table].base else {
            self.unpublished = true;
            return;
        };

        let size = P::GRANULE.size(level);
        let start = base + index * size;
        if self.needs_break {
            self.check_execution(start, old, new, level);
        }
        if let Some(linked) = linked {
            assert!(
                !self.unpublished,
                "a table is linked before its entries are visible"
            );
            let (next, _) = self.first(linked);
            assert!(self.tables[next].base.is_none(), "a table is linked twice");
            self.tables[next].base = Some(start);
        }
        let is_cont = |&entry: &u64| match descriptor(entry).kind(level) {
            Kind::Leaf(leaf) => leaf.is_cont(),
            _ => false,
        };
        let run = P::GRANULE.run(level);
        let run = &self.tables[table].entries[index - index % run..][..run];
        assert!(
            is_cont(&run[0]) || !run.iter().any(is_cont),
            "a leaf of a contiguous run whose first is none keeps ptep_get_lockless() waiting"
        );
        self.writes.push(Write { start, size });
    }

    fn resized(&mut self, addr: usize, bytes: usize, from: LeafSize, to: LeafSize) {
        assert_eq!(addr % from.bytes(&P::GRANULE), 0);
        self.bytes[from.index()] -= bytes;
        self.bytes[to.index()] += bytes;
    }

    fn needs_break(&self) -> bool {
        self.needs_break
    }

    fn invalidate_leaves(&mut self, range: &Range<usize>) {
        if self.has(Fault::KeepsExecutable) {
            return;
        }
        let pages = range.start >> P::SHIFT..range.end >> P::SHIFT;
        self.cached.retain(|page| !pages.contains(page));
    }

    fn changed(&mut self, addr: usize) {
        if self.has(Fault::ForgetsChanges) {
            return;
        }
        let mut pending = mem::replace(&mut self.pending, Pending::new());
        pending.mark(self, addr);
        self.pending = pending;
    }
}

impl<P: PageSize> Exclusive for Memory<P> {}

impl<P: PageSize> Memory<P> {
    /// Makes one step of a pass that collapses what has changed. Returns whether there may be more.
    pub(crate) fn collapse_some(&mut self) -> bool {
        let mut pending = mem::replace(&mut self.pending, Pending::new());
        let is_more = self.collapsing(|tables| pending.step(tables));
        self.pending = pending;
        is_more
    }

    /// Collapses all leaves that can collapse in tables that have changed, and those around each
    /// of `addrs`, as if they had.
    pub(crate) fn collapse_all(&mut self, addrs: impl IntoIterator<Item = usize>) {
        let mut pending = mem::replace(&mut self.pending, Pending::new());
        addrs.into_iter().for_each(|addr| pending.mark(self, addr));
        self.pending = pending;
        while self.collapse_some() {}
    }

    /// Collapses leaves of a chunk.
    pub(crate) fn collapse_chunk(&mut self, chunk: &Range<usize>) {
        self.collapsing(|tables| kernel::collapse_chunk(tables, chunk));
    }

    fn collapsing<R>(&mut self, collapse: impl FnOnce(&mut Self) -> R) -> R {
        self.is_collapsing = true;
        let result = collapse(self);
        self.is_collapsing = false;
        result
    }

    /// Returns a leaf with the permissions that the first one of its table has.
    fn as_first(&self, table: usize, bits: u64) -> Descriptor {
        const PERMISSIONS: u64 = kernel::RDONLY | kernel::WRITE | kernel::PXN;

        let Table { entries, level, .. } = &self.tables[table];
        let is_leaf = |&bits: &u64| {
            let kind = descriptor(bits).kind(*level);
            matches!(kind, Kind::Leaf(leaf) if leaf.is_valid())
        };
        descriptor(match entries.first().filter(|first| is_leaf(first)) {
            Some(first) if is_leaf(&bits) => bits & !PERMISSIONS | first & PERMISSIONS,
            _ => bits,
        })
    }

    /// Counts how many bytes leaves of each size map.
    pub(crate) fn measure(&mut self, bytes: Range<usize>) -> [usize; 5] {
        let mut sizes = [0; 5];
        kernel::measure(self, &bytes, |size, bytes| sizes[size.index()] += bytes);
        sizes
    }

    /// Counts how many level 2 leaves map `bytes`, of which all are mapped.
    pub(crate) fn count_blocks(&mut self, bytes: &Range<usize>) -> usize {
        kernel::count_blocks(self, bytes).expect("it is mapped")
    }
}

impl<P: PageSize> Split for Memory<P> {
    type Permit = ();

    fn allocate(&mut self, _: (), level: Level, _: usize) -> Option<(Self::Entry, TableAddress)> {
        self.budget = self.budget.checked_sub(1)?;
        let table = self.tables.len();
        self.tables.push(Table {
            entries: vec![0; P::GRANULE.entries()],
            base: None,
            level,
            state: State::Used,
        });
        Some(((table, 0), table_address((table as u64) << P::SHIFT)))
    }

    fn publish(&mut self) {
        self.unpublished = self.has(Fault::LinksEarly);
    }

    fn may_execute(&self, _: usize) -> bool {
        true
    }
}

impl<P: PageSize> Collapse for Memory<P> {
    fn may_collapse(&mut self, leaf: Leaf, _: &Range<usize>) -> bool {
        // Read-only data may have several owners; text is one owner's.
        leaf.is_writable() || leaf.is_executable()
    }

    fn invalidate_walks(&mut self, range: &Range<usize>) {
        if self.has(Fault::KeepsWalks) {
            return;
        }
        for table in &mut self.tables {
            let size = P::GRANULE.size(table.level) * P::GRANULE.entries();
            if table.state == State::Unlinked
                && table
                    .base
                    .is_some_and(|base| range.start <= base && base + size <= range.end)
            {
                table.state = State::Invalidated;
            }
        }
    }

    unsafe fn retire(&mut self, (table, index): Self::Entry, range: &Range<usize>) {
        assert_eq!(index, 0);
        let table = &mut self.tables[table];
        assert_eq!(table.base, Some(range.start));
        assert_eq!(table.state, State::Invalidated, "an MMU may read it");
        table.state = State::Retired;
        table.entries.clear();
    }
}
