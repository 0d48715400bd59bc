// SPDX-License-Identifier: GPL-2.0

//! Which tables of the linear map have leaves that may be worth collapsing: those in which a leaf
//! has changed.
//!
//! The tables say so themselves: an entry that points to such a table, or leads to one, has a note,
//! [`Descriptor::is_pending`]. So it takes no memory to note a change, however many there are;
//! whoever removes a table removes its notes; and a pass looks at what has changed, at what leads
//! there, and at the top table in between.
//!
//! Pure: uses `core` alone.

use core::{
    mem,
    ops::Range, //
};

use super::{
    coalesce::{
        self,
        Join, //
    },
    descriptor::{
        Descriptor,
        Kind, //
    },
    geometry::Level,
    walk::Tables, //
};

/// Where there are notes, and how far the pass has come that takes them away.
///
/// # Invariants
///
/// Each table with a note maps an address in `pass` or in `next`.
pub(crate) struct Pending {
    /// What is left of the pass.
    pass: Range<usize>,
    /// From the first to the last address that was noted since the pass began.
    next: Range<usize>,
}

impl Pending {
    /// Returns one for tables without notes.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There are no notes.
        Self {
            pass: 0..0,
            next: 0..0,
        }
    }

    /// Notes that leaves have changed in the table that has the one for `addr`.
    pub(crate) fn note<T: Tables>(&mut self, tables: &mut T, addr: usize) {
        let end = addr.saturating_add(1);
        self.next = match self.next.is_empty() {
            true => addr..end,
            false => self.next.start.min(addr)..self.next.end.max(end),
        };

        // INVARIANT: `next` has `addr`.
        let mut level = T::TOP;
        let mut top = tables.top(addr);
        while let Some(entry) = top {
            let descriptor = tables.read(entry);
            let Kind::Table = descriptor.kind(level) else {
                break;
            };
            if !descriptor.is_pending() {
                tables.write(entry, level, descriptor.with_pending(true));
            }
            level = level.next();
            let index = T::GEOMETRY.index(level, addr);
            top = Some(tables.at(tables.first(descriptor), index as isize));
        }
    }

    /// Collapses leaves of one table that has a note, and takes the note away; of two tables where
    /// the one is at the end of the other. Returns whether there may be more to do.
    ///
    /// What is noted while a pass goes on is for the next one, so that who changes the same leaves
    /// over and over does not keep a pass from what is behind them.
    pub(crate) fn step<T: Join>(&mut self, tables: &mut T) -> bool {
        if self.pass.is_empty() {
            let next = mem::replace(&mut self.next, 0..0);
            // A table that leads to others comes behind all of them.
            // INVARIANT: What `next` had, `pass` has.
            self.pass = next.start..round_up(next.end, T::GEOMETRY.size(T::TOP));
        }
        // INVARIANT: Tables with notes in what is cut off map an address in `next`.
        self.pass.start = advance(tables, &self.pass);
        !(self.pass.is_empty() && self.next.is_empty())
    }
}

/// Looks for a table with a note in `pass`, collapses leaves of it, and returns where to go on.
///
/// Reads as many entries as a table has before it gives up.
fn advance<T: Join>(tables: &mut T, pass: &Range<usize>) -> usize {
    let geometry = T::GEOMETRY;
    let size = geometry.size(T::TOP);
    let mut addr = pass.start;

    for _ in 0..geometry.entries() {
        if addr >= pass.end {
            break;
        }
        let Some(entry) = tables.top(addr) else {
            addr = round_up(addr + 1, size * geometry.entries());
            continue;
        };
        let table = tables.read(entry);
        let is_pending = is_pending_table(table, T::TOP);
        if is_pending {
            addr = visit(tables, entry, table, addr);
        } else {
            addr = round_up(addr + 1, size);
        }
        if addr % size == 0 {
            coalesce_top(tables, entry, addr - size);
        }
        if is_pending {
            break;
        }
    }
    addr
}

/// Collapses leaves of a table below the top, to which `parent` points by `table`: of the first one
/// with a note, from what maps `addr` on, that is below this one, or else of this one. Returns
/// where to go on.
fn visit<T: Join>(tables: &mut T, parent: T::Entry, table: Descriptor, addr: usize) -> usize {
    let geometry = T::GEOMETRY;
    let level = T::TOP.next();
    let end = round_up(addr + 1, geometry.size(T::TOP));

    if level != Level::Pte {
        let first = tables.first(table);
        let size = geometry.size(level);
        let from = geometry.index(level, addr);

        for index in from..geometry.entries() {
            let entry = tables.at(first, index as isize);
            let child = tables.read(entry);
            if is_pending_table(child, level) {
                let start = geometry.table(level, addr) + index * size;
                tables.write(entry, level, child.with_pending(false));
                coalesce::coalesce_table(tables, entry, level, start);
                if start + size < end {
                    return start + size;
                }
            }
        }
        // Those before `addr` were noted when the pass had gone by. The next one finds them by the
        // note of this table.
        let is_pending = |index| {
            let entry = tables.at(first, index as isize);
            is_pending_table(tables.read(entry), level)
        };
        if (0..geometry.entries()).any(is_pending) {
            return end;
        }
    }

    tables.write(parent, T::TOP, table.with_pending(false));
    coalesce::coalesce_table(tables, parent, T::TOP, addr);
    end
}

/// Makes a run again of leaves of the top table, of which `entry` is one for `addr`, where that has
/// runs. No entry points to the top table, so that leaves are noted by what a split made of them.
fn coalesce_top<T: Join>(tables: &mut T, entry: T::Entry, addr: usize) {
    match tables.read(entry).kind(T::TOP) {
        Kind::Leaf(leaf) if leaf.is_of_run() && !leaf.is_contiguous() => {
            coalesce::coalesce(tables, addr);
        }
        _ => {}
    }
}

/// Returns whether `descriptor`, an entry of `level`, points to a table and has a note.
fn is_pending_table(descriptor: Descriptor, level: Level) -> bool {
    matches!(descriptor.kind(level), Kind::Table) && descriptor.is_pending()
}

/// Returns the multiple of `size`, a power of two, that is `addr` or the next one.
fn round_up(addr: usize, size: usize) -> usize {
    addr.saturating_add(size - 1) & !(size - 1)
}
