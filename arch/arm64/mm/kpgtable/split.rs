// SPDX-License-Identifier: GPL-2.0

//! Splits the leaves that a range cuts, into leaves as large as can be.
//!
//! A split says in the entries that it writes what was there before: a leaf was part of a
//! contiguous run, a table replaced a block. `collapse` undoes what these bits say, and nothing
//! else.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Change,
        Kind,
        Leaf,
        TableAddress,
        TableDescriptor, //
    },
    granule::{
        LeafSize,
        Level, //
    },
    walk::{
        entry_for,
        for_each_leaf,
        replace,
        Error,
        Tables, //
    }, //
};

/// Tables whose leaves can be made smaller while they are in use.
pub(crate) trait Split: Tables {
    /// Proof that live leaves may become smaller.
    type Permit: Copy;

    /// Returns the first entry of a new table of `level` that is going to map `addr`, and the
    /// table's PA. Returns [`None`] if there is no memory for one.
    fn allocate(
        &mut self,
        permit: Self::Permit,
        level: Level,
        addr: usize,
    ) -> Option<(Self::Entry, TableAddress)>;

    /// Makes what was written visible to table walkers before what is written next.
    fn publish(&mut self);

    /// Returns whether the kernel may ever execute what is mapped near `addr`.
    fn may_execute(&self, addr: usize) -> bool;
}

/// Splits leaves that `range` cuts and that `change` would change, into leaves as large as can be.
///
/// # Errors
///
/// [`Error::NoMemory`] if there is no memory for a table. Leaves may have been split then.
pub(crate) fn split<T: Split>(
    tables: &mut T,
    permit: T::Permit,
    range: &Range<usize>,
    change: Change,
) -> Result<(), Error> {
    let has_to_change = |leaf: Leaf| leaf.with(change) != Some(leaf);

    split_at(tables, permit, range.start, has_to_change)?;
    split_at(tables, permit, range.end, has_to_change)
}

/// Maps `range` by pages that never become part of anything larger again.
///
/// # Errors
///
/// [`Error::Invalid`] if not all of `range` is mapped; [`Error::NoMemory`] if there is no memory
/// for a table. Leaves may have been split then.
pub(crate) fn map_by_ptes<T: Split>(
    tables: &mut T,
    permit: T::Permit,
    range: &Range<usize>,
) -> Result<(), Error> {
    let page = T::GRANULE.page();

    for addr in range.clone().step_by(page) {
        split_at(tables, permit, addr, |_| true)?;
        split_at(tables, permit, addr + page, |_| true)?;
    }
    for_each_leaf(tables, range, |tables, _, entry, leaf| {
        replace(tables, entry, leaf, leaf.never_cont());
        Ok(())
    })
}

/// Splits what maps both sides of `addr`, if it `has_to` be split.
///
/// Looks only at tables that map both sides of `addr`. A table that maps nothing but what is behind
/// a range may be freed by the owner of that memory.
fn split_at<T: Split>(
    tables: &mut T,
    permit: T::Permit,
    addr: usize,
    has_to: impl Fn(Leaf) -> bool,
) -> Result<(), Error> {
    let granule = T::GRANULE;
    let is_aligned = |size: usize| addr & (size - 1) == 0;
    let mut level = T::TOP;

    if is_aligned(granule.run_size(level)) {
        return Ok(());
    }
    let Some(mut entry) = tables.top(addr) else {
        return Ok(());
    };
    loop {
        let table = match tables.read(entry).kind(level) {
            Kind::None => return Ok(()),
            Kind::Leaf(leaf) if !has_to(leaf) => return Ok(()),
            Kind::Leaf(leaf) => {
                if leaf.is_cont() {
                    let position = granule.index(level, addr) % granule.run(level);
                    let first = tables.at(entry, -(position as isize));
                    split_run(tables, permit, first, level);
                    tables.resized(
                        addr & !(granule.run_size(level) - 1),
                        granule.run_size(level),
                        LeafSize::new(level, true),
                        LeafSize::new(level, false),
                    );
                    tables.changed(addr);
                }
                let Some(below) = level.next().filter(|_| !is_aligned(granule.size(level))) else {
                    return Ok(());
                };
                let table = split_block(tables, permit, entry, leaf, below, addr)?;
                tables.changed(addr);
                table
            }
            Kind::Table(table) => table,
        };

        if is_aligned(granule.size(level)) {
            return Ok(());
        }
        level = table.below();
        if is_aligned(granule.run_size(level)) {
            return Ok(());
        }
        entry = entry_for(tables, table, addr);
    }
}

/// Makes single leaves of the contiguous run that begins at `first`.
///
/// The first leaf comes last: `ptep_get_lockless()` reads a leaf of a run again until the first
/// leaf is like it. Perf does so for the text that it has interrupted, which may be this function.
fn split_run<T: Split>(tables: &mut T, _: T::Permit, first: T::Entry, level: Level) {
    for offset in (0..T::GRANULE.run(level) as isize).rev() {
        let entry = tables.at(first, offset);
        if let Kind::Leaf(leaf) = tables.read(entry).kind(level) {
            replace(tables, entry, leaf, leaf.clear_cont());
        }
    }
}

/// Replaces `block`, which maps `addr`, by a table of contiguous runs of level `below`. Returns the
/// table's descriptor.
fn split_block<T: Split>(
    tables: &mut T,
    permit: T::Permit,
    entry: T::Entry,
    block: Leaf,
    below: Level,
    addr: usize,
) -> Result<TableDescriptor, Error> {
    let level = block.level();
    let (first, address) = tables
        .allocate(permit, below, addr)
        .ok_or(Error::NoMemory)?;

    for index in 0..T::GRANULE.entries() {
        let part = block.part(below, index, &T::GRANULE).descriptor();
        tables.write(tables.at(first, index as isize), below, part);
    }
    tables.publish();

    // Leaves of the table can become executable later, unless nothing there ever is.
    let pxn = !block.is_executable() && !tables.may_execute(addr);
    let table = block.replaced_by(address, below, pxn);
    tables.write(entry, level, table.descriptor());

    let size = T::GRANULE.size(level);
    tables.resized(
        addr & !(size - 1),
        size,
        LeafSize::new(level, false),
        LeafSize::new(below, true),
    );
    Ok(table)
}
