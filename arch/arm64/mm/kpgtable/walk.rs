// SPDX-License-Identifier: GPL-2.0

//! Walks through translation tables, and looks at the leaves of a range.
//!
//! This file and `split`, `change`, `collapse` and `pending` know tables only by the trait
//! [`Tables`] and those that extend it. So the code that changes the live tables of the kernel also
//! runs on modelled ones.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Descriptor,
        Kind,
        Leaf,
        TableDescriptor, //
    },
    granule::{
        Granule,
        LeafSize,
        Level, //
    }, //
};

/// Translation tables that can be read, and whose leaves can be changed.
pub(crate) trait Tables {
    /// An entry of a table.
    type Entry: Copy;

    /// The highest level that has leaves.
    const TOP: Level;

    /// The sizes of leaves and tables.
    const GRANULE: Granule;

    /// Returns the entry of level [`Self::TOP`] for `addr`. Returns [`None`] if there is no table
    /// that has it, or if these tables do not reach `addr`.
    fn top(&self, addr: usize) -> Option<Self::Entry>;

    /// Returns the first entry of the table that `table`, read from these tables, points to.
    fn first(&self, table: TableDescriptor) -> Self::Entry;

    /// Returns the entry that is `offset` entries from `entry`, in the same table.
    fn at(&self, entry: Self::Entry, offset: isize) -> Self::Entry;

    /// Reads an entry, once.
    fn read(&self, entry: Self::Entry) -> Descriptor;

    /// Writes an entry of `level` in one store.
    fn write(&mut self, entry: Self::Entry, level: Level, descriptor: Descriptor);

    /// Is told that what maps `bytes` from `addr` now has the size `to`, and had the size `from`.
    fn resized(&mut self, addr: usize, bytes: usize, from: LeafSize, to: LeafSize);

    /// Is told that leaves have changed in the table that has the leaf for `addr`.
    fn changed(&mut self, addr: usize);

    /// Returns whether there is a CPU that must not see a valid executable leaf become a valid one
    /// that is not executable, in one store. See [`Leaf::loses_execution`].
    fn needs_break(&self) -> bool;

    /// Removes leaves in `range` from all TLBs, after what was written is visible.
    fn invalidate_leaves(&mut self, range: &Range<usize>);
}

/// Why a range cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Not all of it is mapped, or a leaf would become writable and executable.
    Invalid,
    /// There is no memory for a table.
    NoMemory,
}

/// Where a walk ends: at a leaf, or where nothing is mapped.
pub(crate) struct End<E> {
    pub(crate) level: Level,
    /// The entry of that level, if there is a table that has it.
    pub(crate) entry: Option<E>,
    pub(crate) leaf: Option<Leaf>,
    /// The entry that points to this table, and its level.
    pub(crate) parent: Option<(E, Level)>,
}

/// Walks down to what maps `addr`.
#[inline]
pub(crate) fn find<T: Tables>(tables: &T, addr: usize) -> End<T::Entry> {
    let mut end = End {
        level: T::TOP,
        entry: tables.top(addr),
        leaf: None,
        parent: None,
    };

    while let Some(entry) = end.entry {
        match tables.read(entry).kind(end.level) {
            Kind::None => break,
            Kind::Leaf(leaf) => {
                end.leaf = Some(leaf);
                break;
            }
            Kind::Table(table) => {
                end.parent = Some((entry, end.level));
                end.level = table.below();
                end.entry = Some(entry_for(tables, table, addr));
            }
        }
    }
    end
}

/// Returns the entry for `addr` in the table that `table` points to.
#[inline]
pub(crate) fn entry_for<T: Tables>(tables: &T, table: TableDescriptor, addr: usize) -> T::Entry {
    let index = T::GRANULE.index(table.below(), addr);
    tables.at(tables.first(table), index as isize)
}

/// Calls `f` with each leaf in `range`, in the order of addresses: its VA, its entry, and itself.
///
/// # Errors
///
/// [`Error::Invalid`] if not all of `range` is mapped, and those of `f`.
pub(crate) fn for_each_leaf<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    mut f: impl FnMut(&mut T, usize, T::Entry, Leaf) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut addr = range.start;

    while addr < range.end {
        let end = find(tables, addr);
        let level = end.level;
        let (Some(mut entry), Some(mut leaf)) = (end.entry, end.leaf) else {
            return Err(Error::Invalid);
        };

        // The leaves that follow in the same table need no walk from the top.
        let size = T::GRANULE.size(level);
        let reach = size * T::GRANULE.entries();
        addr &= !(size - 1);
        loop {
            f(tables, addr, entry, leaf)?;
            addr += size;

            if addr >= range.end || level == T::TOP || addr & (reach - 1) == 0 {
                break;
            }
            entry = tables.at(entry, 1);
            let Kind::Leaf(next) = tables.read(entry).kind(level) else {
                break;
            };
            leaf = next;
        }
    }
    Ok(())
}

/// Writes `to` over `from`, which is live.
pub(crate) fn replace<T: Tables>(tables: &mut T, entry: T::Entry, from: Leaf, to: Leaf) {
    debug_assert!(!(from.loses_execution(to) && tables.needs_break()));
    tables.write(entry, from.level(), to.descriptor());
}

/// Returns how many level 2 leaves `range` has.
///
/// # Errors
///
/// [`Error::Invalid`] if not all of `range` is mapped.
pub(crate) fn count_blocks<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
) -> Result<usize, Error> {
    let mut count = 0;

    for_each_leaf(tables, range, |_, _, _, leaf| {
        count += usize::from(leaf.level() == Level::Pmd);
        Ok(())
    })?;
    Ok(count)
}

/// Calls `f` for each leaf in `range`, whose ends are ends of leaves: with its size, and with how
/// many bytes it maps.
pub(crate) fn measure<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    mut f: impl FnMut(LeafSize, usize),
) {
    let mut addr = range.start;

    while addr < range.end {
        let end = find(tables, addr);
        let size = T::GRANULE.size(end.level);
        if let Some(leaf) = end.leaf {
            f(leaf.size(), size);
        }
        addr = (addr & !(size - 1)).saturating_add(size);
    }
}
