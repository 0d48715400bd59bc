// SPDX-License-Identifier: GPL-2.0

//! Walks through translation tables: splits the leaves that a range cuts, and changes the
//! attributes of whole leaves.
//!
//! Knows tables only by the traits [`Tables`] and [`Shape`], so that the code that changes the live
//! kernel's tables also runs on modelled ones.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Change,
        Descriptor,
        Kind,
        Leaf, //
    },
    geometry::{
        Geometry,
        LeafSize,
        Level, //
    }, //
};

/// Translation tables that can be read, and whose leaves can be changed.
pub(crate) trait Tables {
    /// Where an entry of a table is.
    type Entry: Copy;

    /// The highest level that has leaves.
    const TOP: Level;

    /// The sizes of leaves and tables.
    const GEOMETRY: Geometry;

    /// Returns the entry of level [`Self::TOP`] for `addr`, if there is a table that has it.
    fn top(&self, addr: usize) -> Option<Self::Entry>;

    /// Returns the first entry of the table that `descriptor` points to.
    fn first(&self, descriptor: Descriptor) -> Self::Entry;

    /// Returns the entry that is `offset` entries from `entry`, in the same table.
    fn at(&self, entry: Self::Entry, offset: isize) -> Self::Entry;

    /// Reads an entry, once.
    fn read(&self, entry: Self::Entry) -> Descriptor;

    /// Writes an entry of `level` in one store.
    fn write(&mut self, entry: Self::Entry, level: Level, descriptor: Descriptor);

    /// Notes that what maps `bytes` from `addr` has another size than before.
    fn resized(&mut self, addr: usize, bytes: usize, from: LeafSize, to: LeafSize);

    /// Returns whether there is a CPU that must not see a valid executable leaf become a valid one
    /// that is not, in one store. See [`Leaf::loses_execution`].
    fn needs_break(&self) -> bool;

    /// Removes leaves in `range` from all TLBs, after what was written is visible.
    fn invalidate_leaves(&mut self, range: &Range<usize>);

    /// Notes that leaves have changed in the table that has the one for `addr`.
    fn changed(&mut self, addr: usize);
}

/// Tables whose leaves can be made smaller while they are used.
pub(crate) trait Shape: Tables {
    /// Returns the first entry of a new table of `level` that is going to map `addr`, and its PA as
    /// descriptors hold it, or [`None`] if there is no memory for one.
    fn allocate(&mut self, level: Level, addr: usize) -> Option<(Self::Entry, u64)>;

    /// Makes what was written visible to walkers before what is written next.
    fn publish(&mut self);

    /// Returns whether the kernel may ever execute what is mapped near `addr`.
    fn may_execute(&self, addr: usize) -> bool;
}

/// Tables that nobody else uses: no other CPU, and neither an interrupt nor other code on this one.
pub(crate) trait Exclusive: Tables {}

/// Why a range cannot be changed. Its permissions are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Not all of it is mapped, or a leaf would become writable and executable.
    Invalid,
    /// There is no memory for a table.
    NoMemory,
}

/// Where a walk ends: at a leaf, or at a hole.
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
        let descriptor = tables.read(entry);
        match descriptor.kind(end.level) {
            Kind::Hole => break,
            Kind::Leaf(leaf) => {
                end.leaf = Some(leaf);
                break;
            }
            Kind::Table => {
                end.parent = Some((entry, end.level));
                end.level = end.level.next();
                let index = T::GEOMETRY.index(end.level, addr);
                end.entry = Some(tables.at(tables.first(descriptor), index as isize));
            }
        }
    }
    end
}

/// Calls `f` with each leaf in `range`, in the order of addresses: its VA, its entry, and itself.
fn for_each_leaf<T: Tables>(
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
        let size = T::GEOMETRY.size(level);
        let reach = size * T::GEOMETRY.entries();
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

/// A range of VAs, and the change that it gets.
pub(crate) type Part = (Range<usize>, Change);

/// What a change of a range takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Nothing: all leaves are so already.
    Nothing,
    /// [`apply`].
    Change,
    /// [`split`] first: a leaf that has to change, or its contiguous run, reaches beyond the range.
    Split,
}

/// Checks that `change` can be made in all of `range`, whose ends are aligned to pages, and returns
/// what that takes.
///
/// # Errors
///
/// [`Error::Invalid`] if it can't.
pub(crate) fn check<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    change: Change,
) -> Result<Needs, Error> {
    let mut needs = Needs::Nothing;

    for_each_leaf(tables, range, |_, addr, _, leaf| {
        if leaf.with(change).ok_or(Error::Invalid)? != leaf {
            needs = needs.max(if is_whole(range, addr, leaf, &T::GEOMETRY) {
                Needs::Change
            } else {
                Needs::Split
            });
        }
        Ok(())
    })?;
    Ok(needs)
}

/// Returns whether `range` has all of `leaf`, which maps `addr`, and of its contiguous run.
#[inline]
fn is_whole(range: &Range<usize>, addr: usize, leaf: Leaf, geometry: &Geometry) -> bool {
    let unit = leaf.size().bytes(geometry);
    let start = addr & !(unit - 1);

    unit == geometry.page() || (range.start <= start && unit <= range.end - start)
}

/// Splits leaves that `range` cuts and that `change` would change, into leaves as large as can be.
///
/// # Errors
///
/// [`Error::NoMemory`] if there is no memory for a table. Leaves may have been split then.
pub(crate) fn split<T: Shape>(
    tables: &mut T,
    range: &Range<usize>,
    change: Change,
) -> Result<(), Error> {
    let has_to_change = |leaf: Leaf| leaf.with(change) != Some(leaf);

    split_at(tables, range.start, has_to_change)?;
    split_at(tables, range.end, has_to_change)
}

/// Maps `range` with pages that are never made part of anything larger again.
///
/// # Errors
///
/// [`Error::Invalid`] if not all of it is mapped; [`Error::NoMemory`] if there is no memory for a
/// table. Leaves may have been split then.
pub(crate) fn pin<T: Shape>(tables: &mut T, range: &Range<usize>) -> Result<(), Error> {
    let page = T::GEOMETRY.page();

    for addr in range.clone().step_by(page) {
        split_at(tables, addr, |_| true)?;
        split_at(tables, addr + page, |_| true)?;
    }
    for_each_leaf(tables, range, |tables, _, entry, leaf| {
        replace(tables, entry, leaf, leaf.pinned());
        Ok(())
    })
}

/// Splits what maps both sides of `addr`, if it `has_to` be split.
///
/// Does not look at a table unless that table maps both sides of `addr`: one that maps what is
/// behind a range alone may be freed by those who own that.
fn split_at<T: Shape>(
    tables: &mut T,
    addr: usize,
    has_to: impl Fn(Leaf) -> bool,
) -> Result<(), Error> {
    let geometry = T::GEOMETRY;
    let is_aligned = |size: usize| addr & (size - 1) == 0;
    let mut level = T::TOP;

    if is_aligned(geometry.run_size(level)) {
        return Ok(());
    }
    let Some(mut entry) = tables.top(addr) else {
        return Ok(());
    };
    loop {
        let mut descriptor = tables.read(entry);
        match descriptor.kind(level) {
            Kind::Hole => return Ok(()),
            Kind::Leaf(leaf) if !has_to(leaf) => return Ok(()),
            Kind::Leaf(leaf) => {
                if leaf.is_contiguous() {
                    let position = geometry.index(level, addr) % geometry.run(level);
                    split_run(tables, tables.at(entry, -(position as isize)), level);
                    tables.resized(
                        addr & !(geometry.run_size(level) - 1),
                        geometry.run_size(level),
                        LeafSize::new(level, true),
                        LeafSize::new(level, false),
                    );
                    tables.changed(addr);
                }
                if is_aligned(geometry.size(level)) {
                    return Ok(());
                }
                descriptor = split_block(tables, entry, leaf, addr)?;
                tables.changed(addr);
            }
            Kind::Table => {}
        }

        if is_aligned(geometry.size(level)) {
            return Ok(());
        }
        level = level.next();
        if is_aligned(geometry.run_size(level)) {
            return Ok(());
        }
        let index = geometry.index(level, addr);
        entry = tables.at(tables.first(descriptor), index as isize);
    }
}

/// Makes single leaves of the contiguous run that begins at `first`: of the first at last, because
/// `ptep_get_lockless()` reads a leaf of a run until the first is like it. Perf does so for text
/// that it has interrupted, which may have interrupted this.
fn split_run<T: Shape>(tables: &mut T, first: T::Entry, level: Level) {
    for offset in (0..T::GEOMETRY.run(level) as isize).rev() {
        let entry = tables.at(first, offset);
        if let Kind::Leaf(leaf) = tables.read(entry).kind(level) {
            replace(tables, entry, leaf, leaf.alone());
        }
    }
}

/// Puts a table of contiguous runs in the place of `block`, which maps `addr`, and returns the
/// table's descriptor.
fn split_block<T: Shape>(
    tables: &mut T,
    entry: T::Entry,
    block: Leaf,
    addr: usize,
) -> Result<Descriptor, Error> {
    let level = block.level();
    let (first, address) = tables.allocate(level.next(), addr).ok_or(Error::NoMemory)?;

    for index in 0..T::GEOMETRY.entries() {
        let part = block.part(index, &T::GEOMETRY).descriptor();
        tables.write(tables.at(first, index as isize), level.next(), part);
    }
    tables.publish();

    // Leaves below can be made executable later, unless nothing there ever is.
    let table = block.replaced_by(address, !block.is_executable() && !tables.may_execute(addr));
    tables.write(entry, level, table);

    let size = T::GEOMETRY.size(level);
    tables.resized(
        addr & !(size - 1),
        size,
        LeafSize::new(level, false),
        LeafSize::new(level.next(), true),
    );
    Ok(table)
}

/// Writes `to` over `from`, which is live.
fn replace<T: Tables>(tables: &mut T, entry: T::Entry, from: Leaf, to: Leaf) {
    debug_assert!(!(from.loses_execution(to) && tables.needs_break()));
    tables.write(entry, from.level(), to.descriptor());
}

/// Makes `change` in all of `range`, which [`check`] and [`split`] have prepared.
///
/// Leaves that are so already are not written to, and may reach beyond the range. Those of a
/// contiguous run are written one after the other; until TLBs are invalidated a CPU may use either
/// attributes for all of the run (Arm ARM D8.7.1), which is the caller's as a whole.
///
/// Where [`Tables::needs_break`] says so, leaves that stop being executable are invalid meanwhile.
/// Whoever owns the range does not access it then.
///
/// Calls `stale` with what TLBs may hold as it was, leaf by leaf. Returns whether any leaf has
/// changed, valid or not.
///
/// # Errors
///
/// [`Error::Invalid`] at a leaf for which that was not done; what comes before it has changed.
pub(crate) fn apply<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    change: Change,
    mut stale: impl FnMut(&mut T, Range<usize>),
) -> Result<bool, Error> {
    let mut changed = match change.removes_execution() && tables.needs_break() {
        true => remove_execution(tables, range, change)?,
        false => false,
    };
    let mut noted = None;

    for_each_leaf(tables, range, |tables, addr, entry, leaf| {
        let new = leaf.with(change).ok_or(Error::Invalid)?;
        if new == leaf {
            return Ok(());
        }
        if !is_whole(range, addr, leaf, &T::GEOMETRY) {
            return Err(Error::Invalid);
        }

        replace(tables, entry, leaf, new);
        // Once for each table.
        let table = (leaf.level(), T::GEOMETRY.table(leaf.level(), addr));
        if noted != Some(table) {
            noted = Some(table);
            tables.changed(addr);
        }
        if leaf.is_valid() {
            stale(tables, addr..addr + T::GEOMETRY.size(leaf.level()));
        }
        changed = true;
        Ok(())
    })?;
    Ok(changed)
}

/// Makes the one leaf that maps `addr` valid, or invalid, as `change` says, and returns the size of
/// what TLBs may then hold of it. All else of the leaf stays: the opposite change undoes it.
///
/// The leaf may map more than the caller's page, which nobody accesses. The rest of a contiguous
/// run stays as it is: if that is invalid, a TLB may hold the run as valid until it is invalidated
/// (Arm ARM D8.7.1).
///
/// # Errors
///
/// [`Error::Invalid`] if `addr` is not mapped.
pub(crate) fn flip<T: Exclusive>(
    tables: &mut T,
    addr: usize,
    change: Change,
) -> Result<LeafSize, Error> {
    let end = find(tables, addr);
    let (Some(entry), Some(leaf)) = (end.entry, end.leaf) else {
        return Err(Error::Invalid);
    };
    let new = leaf.with(change.of_validity()).ok_or(Error::Invalid)?;

    replace(tables, entry, leaf, new);
    Ok(leaf.size())
}

/// Makes `change` in those leaves of `range` that stop being executable by it. Each is invalid
/// until no TLB holds it as it was.
///
/// # Errors
///
/// As of [`apply`]. No leaf stays invalid.
fn remove_execution<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    change: Change,
) -> Result<bool, Error> {
    // Adjacent leaves that are invalid now, and the change that makes them valid. No others are
    // between them: what was invalid before stays so.
    let mut broken: Option<Part> = None;
    let mut changed = false;

    let walked = for_each_leaf(tables, range, |tables, addr, entry, leaf| {
        let new = leaf.with(change).ok_or(Error::Invalid)?;
        if !leaf.loses_execution(new) {
            return Ok(());
        }
        if !is_whole(range, addr, leaf, &T::GEOMETRY) {
            return Err(Error::Invalid);
        }

        let to_valid = Change::validity_of(new);
        let end = addr + T::GEOMETRY.size(leaf.level());
        match &mut broken {
            Some((range, change)) if range.end == addr && *change == to_valid => range.end = end,
            _ => make_valid(tables, broken.replace((addr..end, to_valid)))?,
        }
        replace(tables, entry, leaf, new.invalid());
        tables.changed(addr);
        changed = true;
        Ok(())
    });
    make_valid(tables, broken)?;
    walked.map(|()| changed)
}

/// Makes leaves valid, all of which have just become invalid, when no TLB holds what they were
/// before that.
fn make_valid<T: Tables>(tables: &mut T, broken: Option<Part>) -> Result<(), Error> {
    let Some((range, change)) = broken else {
        return Ok(());
    };

    tables.invalidate_leaves(&range);
    for_each_leaf(tables, &range, |tables, _, entry, leaf| {
        let new = leaf.with(change).ok_or(Error::Invalid)?;
        replace(tables, entry, leaf, new);
        Ok(())
    })
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
        if leaf.level() == Level::Pmd {
            count += 1;
        }
        Ok(())
    })?;
    Ok(count)
}

/// Calls `f` with how many bytes each leaf in `range`, whose ends are ends of leaves, maps, and
/// with its size.
pub(crate) fn measure<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    mut f: impl FnMut(LeafSize, usize),
) {
    let mut addr = range.start;

    while addr < range.end {
        let end = find(tables, addr);
        let size = T::GEOMETRY.size(end.level);
        if let Some(leaf) = end.leaf {
            f(leaf.size(), size);
        }
        addr = (addr & !(size - 1)).saturating_add(size);
    }
}
