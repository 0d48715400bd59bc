// SPDX-License-Identifier: GPL-2.0

//! Collapses leaves: makes them as large again as they were before a split.
//!
//! A split sets software bits in the entries that it writes: in leaves, that they were part of a
//! contiguous run; in a table, that it replaced a block. Only what has these bits collapses. So no
//! leaf becomes larger than the code that mapped it made it, what is PTE-mapped on purpose stays
//! so, and no table is freed that boot or vmalloc made.
//!
//! # Why a block may replace a live table
//!
//! All leaves of the table are valid, have the same attributes, and map consecutive memory, as the
//! block does. The caller keeps everybody else from changing them, from before it looks at them
//! until TLBs hold nothing of them. So it does not matter which of the two a CPU uses: it reaches
//! the same memory with the same rights. (A caller that changes the linear map may not have
//! invalidated TLBs yet, which then also hold an older leaf. A CPU may use that until the caller
//! has invalidated it, or until step 3, with or without the block.)
//!
//! 1. One store writes the block. A CPU that does not see the store yet uses the table; a CPU that
//!    sees it uses the block. With FEAT_BBML3 a CPU may hold both in its TLBs: it does not fault,
//!    and does only what one of them says (Arm ARM D8.16.1).
//! 2. The table is unchanged. A CPU that has read the entry before the store, or has it in a walk
//!    cache, reads leaves that are as good as the block.
//! 3. [`Collapse::invalidate_walks`] waits for the store, and then removes from all TLBs and walk
//!    caches what leads to the table. From then on no MMU reads the table. The invalidation also
//!    removes the table's leaves, which cannot come back.
//! 4. Software that has read the entry before the store may still read the table.
//!    [`Collapse::retire`] waits for it.
//!
//! The leaves of a contiguous run get their contiguous bits one after the other, under the same
//! conditions. Until all of them have it, a CPU may use the run or the single leaf; both say the
//! same.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Kind,
        Leaf,
        TableDescriptor, //
    },
    granule::{
        LeafSize,
        Level, //
    },
    walk::{
        self,
        Tables, //
    }, //
};

/// Tables whose leaves can be made larger while they are in use.
pub(crate) trait Collapse: Tables {
    /// Returns whether `leaf`, and the leaves like it that follow, may become one that maps
    /// `range`.
    fn may_collapse(&mut self, leaf: Leaf, range: &Range<usize>) -> bool;

    /// Removes leaves in `range`, and entries that lead to them, from all TLBs and walk caches,
    /// after what was written is visible.
    fn invalidate_walks(&mut self, range: &Range<usize>);

    /// Takes over the table that begins with `first`, that mapped `range`, and that replaced a
    /// block. Software may still read it.
    ///
    /// # Safety
    ///
    /// No entry points to the table, and no MMU reads it. The caller uses none of its entries any
    /// more.
    unsafe fn retire(&mut self, first: Self::Entry, range: &Range<usize>);
}

/// Collapses `chunk`, which one leaf or one contiguous run mapped, if all its leaves are alike.
///
/// As long as a part of a chunk is writable the rest stays split. It would have to be split again
/// when that part becomes read-only.
pub(crate) fn collapse_chunk<T: Collapse>(tables: &mut T, chunk: &Range<usize>) {
    let end = walk::find(tables, chunk.start);

    match (end.parent, end.entry) {
        (Some((parent, upper)), _) if T::GRANULE.size(upper) <= chunk.len() => {
            if let Kind::Table(table) = tables.read(parent).kind(upper) {
                collapse_to_block(tables, parent, upper, table, chunk.start);
            }
        }
        (_, Some(first)) => collapse_runs(tables, first, end.level, chunk),
        _ => {}
    }
}

/// Collapses leaves of `table`, which `parent`, an entry of `upper` for `addr`, points to: all of
/// them to a block, or else to contiguous runs.
pub(crate) fn collapse_table<T: Collapse>(
    tables: &mut T,
    parent: T::Entry,
    upper: Level,
    table: TableDescriptor,
    addr: usize,
) {
    let size = T::GRANULE.size(upper);
    let start = addr & !(size - 1);

    if !collapse_to_block(tables, parent, upper, table, addr) {
        let first = tables.first(table);
        collapse_runs(tables, first, table.below(), &(start..start + size));
    }
}

/// Replaces `table`, which `parent`, an entry of `upper` for `addr`, points to, by a block, if it
/// replaced one, and if all its leaves are alike. Returns whether it did.
fn collapse_to_block<T: Collapse>(
    tables: &mut T,
    parent: T::Entry,
    upper: Level,
    table: TableDescriptor,
    addr: usize,
) -> bool {
    let granule = T::GRANULE;
    let level = table.below();
    let size = granule.size(upper);
    let start = addr & !(size - 1);
    let range = start..start + size;

    if !table.was_block() {
        return false;
    }
    let first = tables.first(table);
    let Some((leaf, in_runs)) = common_leaf(tables, first, level, granule.entries()) else {
        return false;
    };
    if !tables.may_collapse(leaf, &range) {
        return false;
    }
    tables.write(parent, upper, leaf.to_block(upper, table).descriptor());
    tables.invalidate_walks(&range);
    // SAFETY: The block is where the entry was that pointed to the table, and walk caches have just
    // lost that entry. `first` is not used below.
    unsafe { tables.retire(first, &range) };

    let single = LeafSize::new(level, false);
    let in_runs = in_runs * granule.size(level);
    tables.resized(start, in_runs, LeafSize::new(level, true), single);
    tables.resized(start, size, single, LeafSize::new(upper, false));
    true
}

/// Makes contiguous runs again of those leaves in `range` that were in runs. `range` is part of
/// what a table of `level` maps, and `first` is its first entry.
pub(crate) fn collapse_runs<T: Collapse>(
    tables: &mut T,
    first: T::Entry,
    level: Level,
    range: &Range<usize>,
) {
    let run = T::GRANULE.run(level);
    let size = T::GRANULE.run_size(level);
    if run == 1 {
        return;
    }
    let mut stale = range.start..range.start;

    for index in 0..range.len() / size {
        let start = range.start + index * size;
        let first = tables.at(first, (index * run) as isize);
        if collapse_run(tables, first, level, start) {
            let [single, run] = [false, true].map(|is_cont| LeafSize::new(level, is_cont));
            tables.resized(start, size, single, run);
            if stale.is_empty() {
                stale.start = start;
            }
            stale.end = start + size;
        }
    }
    if !stale.is_empty() {
        tables.invalidate_walks(&stale);
    }
}

/// Makes a contiguous run of the leaves from `first`, which map what is at `start`, if they were
/// one, and are alike again. Returns whether it did.
fn collapse_run<T: Collapse>(tables: &mut T, first: T::Entry, level: Level, start: usize) -> bool {
    let run = T::GRANULE.run(level);
    let range = start..start + T::GRANULE.run_size(level);

    // All leaves of a run are alike, so that there is nothing to do if one of them is in a run.
    match common_leaf(tables, first, level, run) {
        Some((leaf, 0)) if tables.may_collapse(leaf, &range) => {}
        _ => return false,
    }
    // The first comes first: see `split_run()`.
    for index in 0..run as isize {
        let entry = tables.at(first, index);
        if let Kind::Leaf(leaf) = tables.read(entry).kind(level) {
            tables.write(entry, level, leaf.set_cont().descriptor());
        }
    }
    true
}

/// Returns the first of `count` leaves of `level` from `first`, and how many of them are in
/// contiguous runs, if one leaf could map what they map.
fn common_leaf<T: Tables>(
    tables: &T,
    first: T::Entry,
    level: Level,
    count: usize,
) -> Option<(Leaf, usize)> {
    let granule = &T::GRANULE;
    let leaf_at = |index: usize| match tables.read(tables.at(first, index as isize)).kind(level) {
        Kind::Leaf(leaf) => Some(leaf),
        _ => None,
    };

    let leaf = leaf_at(0).filter(|leaf| leaf.begins(count * granule.size(level), granule))?;
    let mut in_runs = 0;
    // Backwards: at the end of a chunk is the part that was freed last, which may be writable.
    for index in (0..count).rev() {
        let next = leaf_at(index).filter(|&next| leaf.is_continued_by(next, index, granule))?;
        in_runs += usize::from(next.is_cont());
    }
    Some((leaf, in_runs))
}
