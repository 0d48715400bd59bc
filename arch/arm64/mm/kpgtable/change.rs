// SPDX-License-Identifier: GPL-2.0

//! Changes the attributes of whole leaves.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

use super::{
    descriptor::{
        Change,
        Leaf, //
    },
    granule::{
        Granule,
        LeafSize, //
    },
    walk::{
        find,
        for_each_leaf,
        replace,
        Error,
        Tables, //
    }, //
};

/// Tables that nobody else uses: no other CPU, no interrupt, and no other code on this CPU.
pub(crate) trait Exclusive: Tables {}

/// A range of VAs, and the change that it gets.
pub(crate) type Part = (Range<usize>, Change);

/// What a change of a range takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Nothing: all leaves already are as asked.
    Nothing,
    /// [`apply`].
    Change,
    /// [`split`](super::split::split) first: a leaf that has to change, or its contiguous run,
    /// reaches beyond the range.
    Split,
}

/// Returns what it takes to make `change` in all of `range`, whose ends are aligned to pages.
///
/// # Errors
///
/// [`Error::Invalid`] if that cannot be done.
pub(crate) fn check<T: Tables>(
    tables: &mut T,
    range: &Range<usize>,
    change: Change,
) -> Result<Needs, Error> {
    let mut needs = Needs::Nothing;

    for_each_leaf(tables, range, |_, addr, _, leaf| {
        if leaf.with(change).ok_or(Error::Invalid)? != leaf {
            needs = needs.max(if is_whole(range, addr, leaf, &T::GRANULE) {
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
fn is_whole(range: &Range<usize>, addr: usize, leaf: Leaf, granule: &Granule) -> bool {
    let size = leaf.size().bytes(granule);
    let start = addr & !(size - 1);

    size == granule.page() || (range.start <= start && size <= range.end - start)
}

/// Makes `change` in all of `range`, which [`check`] and [`split`](super::split::split) have
/// prepared.
///
/// Leaves that already are as asked are not written to, and may reach beyond the range. The leaves
/// of a contiguous run are written one after the other. Until TLBs are invalidated, a CPU may use
/// the old or the new attributes for all of the run (Arm ARM D8.7.1); the caller owns all of it.
///
/// Where [`Tables::needs_break`] says so, leaves that stop being executable are invalid meanwhile.
/// The owner of the range does not access it then.
///
/// Calls `stale` with each range of which TLBs may still hold the old leaf. Returns whether any
/// leaf has changed, valid or not.
///
/// # Errors
///
/// [`Error::Invalid`] at a leaf that was not prepared. Leaves before it have changed.
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
    let mut told = None;

    for_each_leaf(tables, range, |tables, addr, entry, leaf| {
        let new = leaf.with(change).ok_or(Error::Invalid)?;
        if new == leaf {
            return Ok(());
        }
        if !is_whole(range, addr, leaf, &T::GRANULE) {
            return Err(Error::Invalid);
        }

        replace(tables, entry, leaf, new);
        // Once for each table.
        let table = (leaf.level(), T::GRANULE.table(leaf.level(), addr));
        if told != Some(table) {
            told = Some(table);
            tables.changed(addr);
        }
        if leaf.is_valid() {
            stale(tables, addr..addr + T::GRANULE.size(leaf.level()));
        }
        changed = true;
        Ok(())
    })?;
    Ok(changed)
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
    // Adjacent leaves that are invalid now, and the change that makes them valid. A leaf that was
    // invalid before is never among them, and stays invalid.
    let mut broken: Option<Part> = None;
    let mut changed = false;

    let walked = for_each_leaf(tables, range, |tables, addr, entry, leaf| {
        let new = leaf.with(change).ok_or(Error::Invalid)?;
        if !leaf.loses_execution(new) {
            return Ok(());
        }
        if !is_whole(range, addr, leaf, &T::GRANULE) {
            return Err(Error::Invalid);
        }

        let to_valid = Change::validity_of(new);
        let end = addr + T::GRANULE.size(leaf.level());
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

/// Makes leaves valid that [`remove_execution`] has made invalid, when no TLB holds what they were
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

/// Makes the one leaf that maps `addr` valid, or invalid, as `change` says. All other attributes
/// stay, so the opposite change undoes it. Returns the size that a TLB entry for the leaf may have:
/// that of the leaf, or of its contiguous run.
///
/// The leaf may map more than the caller's page, which nobody accesses. The rest of a contiguous
/// run stays as it is. If the other leaves are invalid, a TLB may hold all of the run as valid
/// until software invalidates that TLB entry (Arm ARM D8.7.1).
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
