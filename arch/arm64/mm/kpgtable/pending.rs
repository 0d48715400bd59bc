// SPDX-License-Identifier: GPL-2.0

//! Which tables of the linear map the worker has to look at: those in which a leaf has changed.
//!
//! The tables say so themselves. A table descriptor has a bit,
//! [`TableDescriptor::is_pending`], that is set if a leaf has changed in the table that it points
//! to, or in one below that. So marking a table needs no memory, however many there are; a table
//! that is removed takes its bits with it; and a pass looks at the tables that have changed, at
//! those that lead there, and at the part of the top table in between.
//!
//! Pure: uses `core` alone.

use core::{
    mem,
    ops::Range, //
};

use super::{
    collapse::{
        self,
        Collapse, //
    },
    descriptor::{
        Kind,
        TableDescriptor, //
    },
    granule::Level,
    walk::{
        entry_for,
        Tables, //
    }, //
};

/// Where tables are marked, and how far the pass has come that looks at them.
///
/// # Invariants
///
/// Each table that is marked maps an address in `pass` or in `next`.
pub(crate) struct Pending {
    /// What is left of the pass.
    pass: Range<usize>,
    /// From the first to the last address that was marked since the pass began.
    next: Range<usize>,
}

impl Pending {
    /// For tables of which none is marked.
    pub(crate) const fn new() -> Self {
        // INVARIANT: No table is marked.
        Self {
            pass: 0..0,
            next: 0..0,
        }
    }

    /// Marks the table that has the leaf for `addr`, and those that lead to it.
    pub(crate) fn mark<T: Tables>(&mut self, tables: &mut T, addr: usize) {
        let end = addr.saturating_add(1);
        self.next = match self.next.is_empty() {
            true => addr..end,
            false => self.next.start.min(addr)..self.next.end.max(end),
        };

        // INVARIANT: `next` has `addr`.
        let mut level = T::TOP;
        let mut next = tables.top(addr);
        while let Some(entry) = next {
            let Kind::Table(table) = tables.read(entry).kind(level) else {
                break;
            };
            if !table.is_pending() {
                tables.write(entry, level, table.with_pending(true).descriptor());
            }
            level = table.below();
            next = Some(entry_for(tables, table, addr));
        }
    }

    /// Collapses leaves of one table that is marked, and removes the mark; of two tables if one is
    /// the last in the other. Returns whether there may be more to do.
    ///
    /// Tables that are marked during a pass are for the next one, so that a caller that changes the
    /// same leaves over and over does not keep the pass from what is behind them.
    pub(crate) fn step<T: Collapse>(&mut self, tables: &mut T) -> bool {
        if self.pass.is_empty() {
            let next = mem::replace(&mut self.next, 0..0);
            // A pass comes to a table after all tables below it.
            // INVARIANT: `pass` has what `next` had.
            self.pass = next.start..round_up(next.end, T::GRANULE.size(T::TOP));
        }
        // INVARIANT: A table that is still marked behind this maps an address in `next`.
        self.pass.start = advance(tables, &self.pass);
        !(self.pass.is_empty() && self.next.is_empty())
    }
}

/// Looks for a table in `pass` that is marked, collapses leaves of it, and returns where to go on.
///
/// Reads as many entries as a table has before it gives up.
fn advance<T: Collapse>(tables: &mut T, pass: &Range<usize>) -> usize {
    let granule = T::GRANULE;
    let size = granule.size(T::TOP);
    let mut addr = pass.start;

    for _ in 0..granule.entries() {
        if addr >= pass.end {
            break;
        }
        let Some(entry) = tables.top(addr) else {
            addr = round_up(addr + 1, size * granule.entries());
            continue;
        };
        let table = pending_table(tables, entry, T::TOP);
        addr = match table {
            Some(table) => visit(tables, entry, table, addr),
            None => round_up(addr + 1, size),
        };
        if addr % size == 0 {
            collapse_top(tables, entry, addr - size);
        }
        if table.is_some() {
            break;
        }
    }
    addr
}

/// Collapses leaves of one table that is marked: of the first such table below `table`, from what
/// maps `addr` on, or else of `table` itself, to which `parent`, an entry of the top table, points.
/// Returns where to go on.
fn visit<T: Collapse>(
    tables: &mut T,
    parent: T::Entry,
    table: TableDescriptor,
    addr: usize,
) -> usize {
    let granule = T::GRANULE;
    let level = table.below();
    let end = round_up(addr + 1, granule.size(T::TOP));

    if level != Level::Pte {
        let first = tables.first(table);
        let size = granule.size(level);

        for index in granule.index(level, addr)..granule.entries() {
            let entry = tables.at(first, index as isize);
            if let Some(child) = pending_table(tables, entry, level) {
                let start = granule.table(level, addr) + index * size;
                let child = child.with_pending(false);
                tables.write(entry, level, child.descriptor());
                collapse::collapse_table(tables, entry, level, child, start);
                if start + size < end {
                    return start + size;
                }
            }
        }
        // A table before `addr` was marked after the pass had gone by. The next pass finds it by
        // the mark of this table.
        let is_pending = |index| {
            let entry = tables.at(first, index as isize);
            pending_table(tables, entry, level).is_some()
        };
        if (0..granule.entries()).any(is_pending) {
            return end;
        }
    }

    let table = table.with_pending(false);
    tables.write(parent, T::TOP, table.descriptor());
    collapse::collapse_table(tables, parent, T::TOP, table, addr);
    end
}

/// Makes a contiguous run again of leaves of the top table, if `entry`, the one for `addr`, was
/// part of one. No entry points to the top table that could be marked.
fn collapse_top<T: Collapse>(tables: &mut T, entry: T::Entry, addr: usize) {
    let granule = T::GRANULE;

    match tables.read(entry).kind(T::TOP) {
        Kind::Leaf(leaf) if leaf.is_or_was_cont() && !leaf.is_cont() => {
            let size = granule.run_size(T::TOP);
            let start = addr & !(size - 1);
            let position = (addr - start) / granule.size(T::TOP);
            let first = tables.at(entry, -(position as isize));
            collapse::collapse_runs(tables, first, T::TOP, &(start..start + size));
        }
        _ => {}
    }
}

/// Returns the table that `entry`, an entry of `level`, points to, if it is marked.
fn pending_table<T: Tables>(tables: &T, entry: T::Entry, level: Level) -> Option<TableDescriptor> {
    match tables.read(entry).kind(level) {
        Kind::Table(table) if table.is_pending() => Some(table),
        _ => None,
    }
}

/// Returns the multiple of `size`, a power of two, that is `addr` or the next one.
fn round_up(addr: usize, size: usize) -> usize {
    addr.saturating_add(size - 1) & !(size - 1)
}
