// SPDX-License-Identifier: GPL-2.0

//! Makes leaves larger again, up to what they were before a split.
//!
//! A split leaves a note in the entries that it writes: in leaves that they were of a contiguous
//! run, in a table that it has the place of a block. Nothing else is joined, so that leaves never
//! become larger than whoever mapped them made them, what is mapped by pages on purpose stays so,
//! and no table is taken away that boot or vmalloc made.
//!
//! # Why a block may take the place of a live table
//!
//! The leaves of the table are valid, have the same attributes, and map consecutive memory, as the
//! block does. Whoever calls [`coalesce`] keeps all others from changing them, from before they are
//! looked at until TLBs hold nothing of them. So whichever a CPU uses, it comes to the same
//! address, with the same rights. (TLBs may also hold what a leaf of the linear map was before a
//! change whose caller has not invalidated it yet. A CPU may use that until the caller has, or
//! until step 3, as it may without the block.)
//!
//! 1. The block is written in one store. Before it is seen, a CPU uses the table; after that, the
//!    block. With FEAT_BBML3 it may hold both in its TLBs and neither faults nor does anything but
//!    what one of them says (Arm ARM D8.16.1).
//! 2. The table still says what it did. A CPU that read the entry before the store, or holds it in
//!    a walk cache, reads leaves that are as good as the block.
//! 3. [`Join::invalidate_walks`] waits for the store, then removes from all TLBs what led to the
//!    table: no MMU reads it any more, nor begins to. Then it removes the table's leaves, which
//!    cannot come back.
//! 4. Software that read the entry before the store may still read the table: that is for
//!    [`Join::retire`] to wait for.
//!
//! Leaves of a run get their contiguous bits one after the other, under the same conditions: until
//! all of them have it a CPU may use the run or the leaf, and both say the same.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Kind,
        Leaf, //
    },
    geometry::{
        LeafSize,
        Level, //
    },
    walk::{
        self,
        Tables, //
    }, //
};

/// Tables whose leaves can be made larger while they are used.
pub(crate) trait Join: Tables {
    /// Returns whether `leaf`, and those that follow it and are like it, may become one that maps
    /// `range`.
    fn may_join(&mut self, leaf: Leaf, range: &Range<usize>) -> bool;

    /// Removes leaves in `range`, and entries that lead to them, from all TLBs and walk caches,
    /// after what was written is visible.
    fn invalidate_walks(&mut self, range: &Range<usize>);

    /// Takes the table that begins with `first`, and that mapped `range`. No entry points to it,
    /// and no MMU reads it, but software may still do so.
    fn retire(&mut self, first: Self::Entry, range: &Range<usize>);
}

/// Joins leaves around `addr` with those next to them, as far up as it goes: blocks that contain
/// `addr`, and then runs: the one that contains it, or all of a table of the last level.
pub(crate) fn coalesce<T: Join>(tables: &mut T, addr: usize) {
    let geometry = T::GEOMETRY;
    let mut end = walk::find(tables, addr);

    while let Some((parent, upper)) = end.parent {
        if !join_table(tables, parent, upper, addr) {
            break;
        }
        end = walk::find(tables, addr);
    }

    let level = end.level;
    let Some(entry) = end.entry else {
        return;
    };
    let reach = match level {
        Level::Pte => geometry.size(Level::Pmd),
        _ => geometry.run_size(level),
    };
    let start = addr & !(reach - 1);
    let first = tables.at(entry, -(((addr - start) / geometry.size(level)) as isize));
    join_runs(tables, first, level, &(start..start + reach));
}

/// Joins leaves of `block`, a block of a cache, to the leaf or run that it had, if all are alike.
/// While some of it is writable the rest stays split: it would be split again when that changes.
pub(crate) fn coalesce_block<T: Join>(tables: &mut T, block: &Range<usize>) {
    let end = walk::find(tables, block.start);

    match (end.parent, end.entry) {
        (Some((parent, upper)), _) if T::GEOMETRY.size(upper) <= block.len() => {
            join_table(tables, parent, upper, block.start);
        }
        (_, Some(first)) => join_runs(tables, first, end.level, block),
        _ => {}
    }
}

/// Joins leaves of the table that `parent`, an entry of `upper` for `addr`, points to: all of them
/// to a block, or else to runs.
pub(crate) fn coalesce_table<T: Join>(tables: &mut T, parent: T::Entry, upper: Level, addr: usize) {
    let size = T::GEOMETRY.size(upper);
    let start = addr & !(size - 1);

    if !join_table(tables, parent, upper, addr) {
        let first = tables.first(tables.read(parent));
        join_runs(tables, first, upper.next(), &(start..start + size));
    }
}

/// Puts a block in the place of the table that `parent`, an entry of `upper` for `addr`, points to,
/// if it had that place, and all leaves are alike again. Returns whether it did.
fn join_table<T: Join>(tables: &mut T, parent: T::Entry, upper: Level, addr: usize) -> bool {
    let geometry = T::GEOMETRY;
    let level = upper.next();
    let size = geometry.size(upper);
    let start = addr & !(size - 1);
    let range = start..start + size;
    let table = tables.read(parent);

    if !table.was_block() {
        return false;
    }
    let first = tables.first(table);
    let Some((leaf, in_runs)) = joined_leaf(tables, first, level, geometry.entries()) else {
        return false;
    };
    if !tables.may_join(leaf, &range) {
        return false;
    }
    tables.write(parent, upper, leaf.whole(upper, table).descriptor());
    tables.invalidate_walks(&range);
    tables.retire(first, &range);

    let single = LeafSize::new(level, false);
    let in_runs = in_runs * geometry.size(level);
    tables.resized(start, in_runs, LeafSize::new(level, true), single);
    tables.resized(start, size, single, LeafSize::new(upper, false));
    true
}

/// Makes runs again of leaves of one in `range`, a part of what a table of `level` maps, of which
/// `first` is the first entry.
fn join_runs<T: Join>(tables: &mut T, first: T::Entry, level: Level, range: &Range<usize>) {
    let geometry = T::GEOMETRY;
    let run = geometry.run(level);
    let size = geometry.run_size(level);
    if run == 1 {
        return;
    }
    let mut joined = range.start..range.start;

    for index in 0..range.len() / size {
        let start = range.start + index * size;
        let first = tables.at(first, (index * run) as isize);
        if join_run(tables, first, level, start) {
            let [single, run] = [false, true].map(|is_run| LeafSize::new(level, is_run));
            tables.resized(start, size, single, run);
            if joined.is_empty() {
                joined.start = start;
            }
            joined.end = start + size;
        }
    }
    if !joined.is_empty() {
        tables.invalidate_walks(&joined);
    }
}

/// Returns the first of `count` leaves of `level` from `first`, if one leaf could map what they
/// do, and how many of them are of runs.
fn joined_leaf<T: Tables>(
    tables: &T,
    first: T::Entry,
    level: Level,
    count: usize,
) -> Option<(Leaf, usize)> {
    let geometry = &T::GEOMETRY;
    let leaf_at = |index: usize| match tables.read(tables.at(first, index as isize)).kind(level) {
        Kind::Leaf(leaf) => Some(leaf),
        _ => None,
    };

    let leaf = leaf_at(0).filter(|leaf| leaf.begins(count * geometry.size(level), geometry))?;
    let mut in_runs = 0;
    // At the end of a block of a cache is what was freed last, and may still be writable.
    for index in (0..count).rev() {
        let next = leaf_at(index).filter(|&next| leaf.is_continued_by(next, index, geometry))?;
        in_runs += usize::from(next.is_contiguous());
    }
    Some((leaf, in_runs))
}

/// Makes a contiguous run of the leaves from `first`, which map what is at `start`, if they were
/// one, and are alike again.
fn join_run<T: Join>(tables: &mut T, first: T::Entry, level: Level, start: usize) -> bool {
    let run = T::GEOMETRY.run(level);
    let range = start..start + T::GEOMETRY.run_size(level);

    // Leaves of a run are all alike.
    match joined_leaf(tables, first, level, run) {
        Some((leaf, 0)) if tables.may_join(leaf, &range) => {}
        _ => return false,
    }
    // The first comes first: see `split_run()`.
    for index in 0..run as isize {
        let entry = tables.at(first, index);
        if let Kind::Leaf(leaf) = tables.read(entry).kind(level) {
            tables.write(entry, level, leaf.together().descriptor());
        }
    }
    true
}
