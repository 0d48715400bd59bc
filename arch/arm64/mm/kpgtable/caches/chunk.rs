// SPDX-License-Identifier: GPL-2.0

//! What happens to a chunk when it enters a cache, while it is there, and when it leaves.
//!
//! Into the cache: the linear alias becomes read-only, and then the mapping executable. Out of it:
//! the mapping stops being executable, and then the linear alias becomes writable. Between the two
//! the alias stays read-only, and only the mapping changes.

use core::iter;

use kernel::prelude::*;

use crate::{
    change::Needs,
    chunks::{
        self,
        CHUNK_SIZE, //
    },
    descriptor::Change,
    ffi,
    granule::Level,
    lock::{
        ChangeLeaves,
        PgtableSplitGuard, //
    },
    owned::{
        OwnedMapping,
        OwnedRange, //
    },
    permission,
    table::{
        KernelTables,
        NewTable, //
    },
    walk, //
};

/// To read-only and executable, with guarded pages (FEAT_BTI) if the kernel uses them.
pub(crate) fn rox() -> Change {
    Change::rox(ffi::pte_maybe_gp())
}

/// To writable and not executable, the opposite of [`rox`].
pub(crate) fn rw_nx() -> Change {
    Change::rw_nx(ffi::pte_maybe_gp())
}

/// To read-only and not executable.
pub(crate) fn ro_nx() -> Change {
    Change::ro_nx(ffi::pte_maybe_gp())
}

/// Makes `area` part of a cache, one chunk or several: read-only as `change` says, its linear alias
/// read-only, and with a table deposited for each chunk that one leaf maps.
///
/// The caller fills the memory with trapping instructions before it becomes executable. `kept` is
/// `area` once more, for as long as it is in the cache.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`permission::set_mapping`]; [`ENOMEM`] also if there is no memory for a table to deposit.
/// The caller calls [`release`] then too.
pub(crate) fn populate(
    token: ChangeLeaves,
    kept: OwnedMapping<'static>,
    area: &OwnedMapping<'_>,
    change: Change,
) -> Result {
    let mapping = area.range();
    let mut guard = PgtableSplitGuard::lock(token);

    chunks::add_area(&mut guard, kept)?;
    // Where memory was too fragmented for chunks, the area is smaller than one, or not aligned.
    let starts = match (mapping.start | mapping.end) % CHUNK_SIZE {
        0 => mapping.clone(),
        _ => 0..0,
    };
    for start in starts.step_by(CHUNK_SIZE) {
        let chunk = start..start + CHUNK_SIZE;
        let mut tables = KernelTables::with_mapping(&mut guard, area.owned());
        let table = match walk::count_blocks(&mut tables, &chunk)? {
            0 => None,
            _ => Some(NewTable::new(Level::Pte).ok_or(ENOMEM)?.into()),
        };
        let alias = area.pages_of(&chunk)?.alias_extents().next();
        let alias =
            alias.filter(|extent| extent.start % CHUNK_SIZE == 0 && extent.len() == CHUNK_SIZE);
        chunks::add(&mut guard, start, alias.map(|extent| extent.start), table)?;
    }
    drop(guard);

    permission::set_mapping(token, area, change, change.of_alias())
}

/// Changes the permissions of `mapping`, memory in a cache, and leaves its linear alias alone.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if `mapping` is not all mapped, or would become writable and executable; [`ENOMEM`]
/// if there is no memory to split a leaf of a chunk that has no deposited table.
pub(crate) fn set(token: ChangeLeaves, mapping: &OwnedRange, to: Change) -> Result {
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::with_mapping(&mut guard, mapping);
    let part = iter::once((mapping.range().clone(), to));

    match permission::prepare(&mut tables, token, part.clone())? {
        Needs::Nothing => Ok(()),
        _ => permission::change(&mut tables, part),
    }
}

/// Undoes [`populate`], or what it has done before it failed, so that `area` can be freed: no
/// longer executable, and then its linear alias valid and writable. Nobody uses any part of the
/// area.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`permission::set_mapping`]. The area then stays in the cache as it was.
pub(crate) fn release(token: ChangeLeaves, area: &OwnedMapping<'_>) -> Result {
    let mapping = area.range();
    let to_default = Change::linear_map_default(ffi::pte_valid());
    let aliases = area.pages()?.alias_extents();
    let aliases = aliases.map(|extent| (extent, to_default));
    let whole = iter::once((mapping.clone(), rw_nx()));
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::with_mapping(&mut guard, area.owned());

    permission::prepare(
        &mut tables,
        token,
        Iterator::chain(whole.clone(), aliases.clone()),
    )?;
    permission::change(&mut tables, whole)?;
    permission::change(&mut tables, aliases)?;
    chunks::remove(&mut guard, mapping);
    Ok(())
}
