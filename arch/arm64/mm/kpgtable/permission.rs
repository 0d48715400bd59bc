// SPDX-License-Identifier: GPL-2.0

//! Changes permissions of vmalloc memory and of the linear map: which mapping, which extents, and
//! in which order.
//!
//! Each change has two parts, under one hold of the lock, except for [`reset_linear_map`]. The
//! first part looks at all leaves, and splits those that the range cuts. It may fail, and then
//! leaves permissions as they were. The second part changes whole leaves, and ends with one
//! invalidation of what TLBs hold of them. [`set_linear_map`] leaves the invalidation to its
//! caller.
//!
//! Memory is read-only everywhere, for TLBs too, before it becomes executable: the linear alias
//! changes before the mapping does.

use core::iter;

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

#[cfg(CONFIG_ARM64_EXECMEM_ROX)]
use super::caches;
use super::{
    change::{
        self,
        Needs,
        Part, //
    },
    chunks,
    descriptor::Change,
    ffi,
    flush::Flush,
    lock::{
        ChangeLeaves,
        PgtableSplitGuard,
        ResizeLeaves,
        SnapshotContext,
        WholeLeaves, //
    },
    owned::{
        OwnedMapping,
        OwnedPages,
        OwnedRange, //
    },
    split,
    table::KernelTables,
    unprotected,
    walk,
    worker,
    GRANULE, //
};

type Tables<'a> = KernelTables<'a, PgtableSplitGuard>;

impl From<walk::Error> for Error {
    fn from(error: walk::Error) -> Self {
        match error {
            walk::Error::Invalid => EINVAL,
            walk::Error::NoMemory => ENOMEM,
        }
    }
}

/// Returns what it takes to change `parts`.
///
/// # Errors
///
/// [`EINVAL`] if a part is not all mapped, or would become writable and executable.
fn check(tables: &mut Tables<'_>, parts: impl Iterator<Item = Part>) -> Result<Needs> {
    let mut needs = Needs::Nothing;

    for (range, change) in parts {
        needs = needs.max(change::check(tables, &range, change)?);
    }
    Ok(needs)
}

/// Makes sure that [`change`] cannot fail for any of `parts`, and returns what it takes.
///
/// # Errors
///
/// As of [`check`]; [`ENOMEM`] if there is no memory to split a leaf; [`EINVAL`] if a leaf would
/// have to be split that keeps its size. Permissions are as before.
pub(super) fn prepare(
    tables: &mut Tables<'_>,
    token: ChangeLeaves,
    parts: impl Iterator<Item = Part> + Clone,
) -> Result<Needs> {
    let needs = check(tables, parts.clone())?;

    if needs == Needs::Split {
        let ChangeLeaves::Resize(permit) = token else {
            return Err(EINVAL);
        };
        let mut to_split = parts.clone();
        let result =
            to_split.try_for_each(|(range, change)| split::split(tables, permit, &range, change));
        if let Err(error) = result {
            // The worker collapses what has been split.
            for (range, _) in parts {
                worker::mark_chunks(tables.guard(), &range);
            }
            return Err(error.into());
        }
    }
    Ok(needs)
}

/// Changes one part, and has the worker look at it. Calls `stale` with each range of which TLBs may
/// hold the old leaf. Returns whether anything has changed.
///
/// # Errors
///
/// [`EINVAL`] if it was not prepared.
fn apply(
    tables: &mut Tables<'_>,
    (range, change): &Part,
    mut stale: impl FnMut(core::ops::Range<usize>),
) -> Result<bool> {
    let has_changed = change::apply(tables, range, *change, |_, range| stale(range))?;

    // A chunk does not collapse while a part of it is writable.
    if has_changed && !change.allows_write() {
        worker::mark_chunks(tables.guard(), range);
    }
    Ok(has_changed)
}

/// Changes `parts`, and invalidates what TLBs hold of the leaves that have changed.
///
/// # Errors
///
/// [`EINVAL`] if a part was not prepared.
pub(super) fn change(tables: &mut Tables<'_>, parts: impl Iterator<Item = Part>) -> Result {
    let mut flush = Flush::new();
    let mut has_changed = false;
    let mut result = Ok(());

    for part in parts {
        match apply(tables, &part, |range| flush.add(range)) {
            Ok(changed) => has_changed |= changed,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if has_changed || result.is_err() {
        flush.finish();
    }
    result
}

/// Changes the permissions of `mapping`, a part of a vmalloc area, and those of its linear alias.
/// Of memory in a cache the alias stays as it is.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`set_mapping`]; [`EINVAL`] also if `mapping` is not part of one area, or, in a cache, of
/// one part that the cache has handed out.
pub(crate) fn set_memory(token: ChangeLeaves, mapping: &OwnedMapping<'_>, to: Change) -> Result {
    let is_cached = chunks::contain(&mut PgtableSplitGuard::lock(token), mapping.range());
    // The rest of the area has other owners.
    #[cfg(CONFIG_ARM64_EXECMEM_ROX)]
    if is_cached && !caches::is_one_part(mapping.range()) {
        return Err(EINVAL);
    }

    match token {
        ChangeLeaves::Whole(token) if !is_cached => set_if_whole(token, mapping, to),
        _ => set_mapping(token, mapping, to, to.of_alias().filter(|_| !is_cached)),
    }
}

/// Changes the permissions of `mapping`, and those of its linear alias if the alias has whole
/// leaves. Counts what is read-only while its alias is writable.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`set_mapping`]; [`EINVAL`] also if memory would be executable while its alias is
/// writable, or if `vfree()` would not undo the change; [`ENOMEM`] also if there is no memory for
/// the count.
fn set_if_whole(token: WholeLeaves, mapping: &OwnedMapping<'_>, to: Change) -> Result {
    let protects = to.allows_execution() || (to.of_alias().is_some() && !to.allows_write());
    if protects && !mapping.area().resets_permissions() {
        return Err(EINVAL);
    }
    if mapping.range().is_empty() {
        return Ok(());
    }

    let mut guard = PgtableSplitGuard::lock(token);
    let alias = whole_alias(&mut guard, mapping, to)?;
    if !begin(guard, mapping, to, alias)? {
        return Ok(());
    }
    let reservation = unprotected::reserve()?;

    let mut guard = PgtableSplitGuard::lock(token);
    // Another thread of the owner may have changed it.
    let alias = whole_alias(&mut guard, mapping, to)?;
    let before = unprotected::bytes(&mut guard, mapping);
    change_both(&mut guard, token.into(), mapping, to, alias)?;
    unprotected::update(&mut guard, mapping, before, reservation);
    Ok(())
}

/// Returns the change of the linear alias of `mapping` that goes with `to`, if there is one and the
/// alias has whole leaves.
///
/// # Errors
///
/// [`EINVAL`] if memory would be executable while its alias is writable.
fn whole_alias(
    guard: &mut PgtableSplitGuard,
    mapping: &OwnedMapping<'_>,
    to: Change,
) -> Result<Option<Change>> {
    let pages = mapping.pages()?;
    let mut tables = Tables::linear_map(guard);
    let mut needs = |alias| {
        let parts = pages.alias_extents().map(|extent| (extent, alias));
        check(&mut tables, parts)
    };

    let alias = match to.of_alias() {
        Some(alias) if needs(alias)? != Needs::Split => Some(alias),
        _ => None,
    };
    if to.allows_execution() && alias.is_none() && needs(Change::ro_nx(0))? != Needs::Nothing {
        return Err(EINVAL);
    }
    Ok(alias)
}

/// Changes the permissions of `mapping` as `to` says, and those of its linear alias as `alias`
/// says, if at all.
///
/// Context: may sleep.
///
/// # Errors
///
/// Permissions are as before after each of them: [`EINVAL`] if `mapping` is not all mapped, or
/// would become writable and executable; [`ENOMEM`] if there is no memory to split a leaf.
pub(super) fn set_mapping(
    token: ChangeLeaves,
    mapping: &OwnedMapping<'_>,
    to: Change,
    alias: Option<Change>,
) -> Result {
    if mapping.range().is_empty() {
        return Ok(());
    }

    let guard = PgtableSplitGuard::lock(token);
    if !begin(guard, mapping, to, alias)? {
        return Ok(());
    }

    let mut guard = PgtableSplitGuard::lock(token);
    change_both(&mut guard, token, mapping, to, alias)
}

/// Returns whether `mapping`, or its linear alias, has to change. If so, no mapping of these pages
/// is left that an owner before has unmapped.
///
/// Context: may sleep. Releases the lock.
///
/// # Errors
///
/// As of [`check`].
fn begin(
    mut guard: PgtableSplitGuard,
    mapping: &OwnedMapping<'_>,
    to: Change,
    alias: Option<Change>,
) -> Result<bool> {
    let needs = needs_of(&mut guard, mapping, to, alias)?;
    drop(guard);
    if needs == Needs::Nothing {
        return Ok(false);
    }

    // vmalloc unmaps lazily: mappings of these pages by owners before, with other permissions, may
    // be left. Removing them takes long, and the owner of the range is the only one who could
    // change what was checked. So this is done without the lock.
    ffi::unmap_aliases();
    Ok(true)
}

/// Returns the parts of a change: the linear alias of `mapping`, if that changes, and `mapping`.
///
/// # Errors
///
/// [`EINVAL`] if not all of `mapping` has pages.
fn parts<'a>(
    mapping: &OwnedMapping<'a>,
    to: Change,
    alias: Option<Change>,
) -> Result<(impl Iterator<Item = Part> + Clone + 'a, iter::Once<Part>)> {
    let pages = mapping.pages()?;
    let alias = alias.map(|to| pages.alias_extents().map(move |extent| (extent, to)));

    Ok((
        alias.into_iter().flatten(),
        iter::once((mapping.range().clone(), to)),
    ))
}

/// Returns what it takes to change `mapping`, and its linear alias.
///
/// # Errors
///
/// As of [`check`].
fn needs_of(
    guard: &mut PgtableSplitGuard,
    mapping: &OwnedMapping<'_>,
    to: Change,
    alias: Option<Change>,
) -> Result<Needs> {
    let (alias, whole) = parts(mapping, to, alias)?;
    let mut tables = Tables::with_mapping(guard, mapping.owned());

    check(&mut tables, Iterator::chain(alias, whole))
}

/// Changes `mapping`, and its linear alias, in the right order.
///
/// # Errors
///
/// As of [`prepare`].
fn change_both(
    guard: &mut PgtableSplitGuard,
    token: ChangeLeaves,
    mapping: &OwnedMapping<'_>,
    to: Change,
    alias: Option<Change>,
) -> Result {
    let (alias, whole) = parts(mapping, to, alias)?;
    let both = Iterator::chain(alias.clone(), whole.clone());
    let mut tables = Tables::with_mapping(guard, mapping.owned());

    prepare(&mut tables, token, both.clone())?;
    if to.allows_execution() {
        change(&mut tables, alias)?;
        change(&mut tables, whole)
    } else {
        change(&mut tables, both)
    }
}

/// Changes leaves of `range`, a part of the linear map, and leaves the invalidation of TLBs to the
/// caller.
///
/// Context: may sleep, except in [`SnapshotContext`].
///
/// # Errors
///
/// [`EINVAL`] if `range` is not all mapped, or if any of it maps memory of a cache; [`ENOMEM`] if
/// there is no memory to split a leaf. Permissions are as before after each of them.
///
/// In [`SnapshotContext`], `range` is one page. It becomes valid, or invalid again, with all that
/// the same leaf maps: there is no memory to split the leaf, and nobody else accesses what it maps.
/// Whether it is writable stays as it is.
pub(crate) fn set_linear_map(token: ChangeLeaves, range: &OwnedRange, to: Change) -> Result {
    if let Some(mut context) = SnapshotContext::get() {
        debug_assert_eq!(range.range().len(), PAGE_SIZE);
        let mut tables = KernelTables::with_mapping(&mut context, range);
        let size = change::flip(&mut tables, range.range().start, to)?;
        ffi::sync_tables();
        // The caller invalidates one page.
        if size.bytes(&GRANULE) > PAGE_SIZE {
            ffi::invalidate_local_tlb();
        }
        return Ok(());
    }

    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = Tables::with_mapping(&mut guard, range);
    if maps_cached(&mut tables, range)? {
        return Err(EINVAL);
    }
    let part = (range.range().clone(), to);
    if prepare(&mut tables, token, iter::once(part.clone()))? != Needs::Nothing {
        apply(&mut tables, &part, |_| {})?;
        ffi::sync_tables();
    }
    Ok(())
}

/// Returns whether any of `range` maps memory of a cache: as the cache's mapping, or as its linear
/// alias.
///
/// # Errors
///
/// As of [`chunks::have_alias`].
fn maps_cached(tables: &mut Tables<'_>, range: &OwnedRange) -> Result<bool> {
    let range = range.range();

    if !ffi::is_linear_map(range.start) {
        return Ok(chunks::contain(tables.guard(), range));
    }
    // The alias of memory in a cache is read-only. Few callers have memory that is.
    match check(tables, iter::once((range.clone(), Change::rw()))) {
        Ok(Needs::Nothing) => Ok(false),
        _ => chunks::have_alias(tables.guard(), range),
    }
}

/// Makes `pages` valid and writable in the linear map, when vmalloc has removed their mapping from
/// the page tables.
///
/// Changes only leaves that are not valid and writable. Whoever made them so has split them off, so
/// this needs no memory. If a leaf has to change, TLBs forget the mapping first, which may have
/// been executable.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if a leaf would have to change that also maps memory of somebody else.
pub(crate) fn reset_linear_map(token: ChangeLeaves, pages: OwnedPages<'_>) -> Result {
    let to = Change::linear_map_default(ffi::pte_valid());
    let parts = pages.alias_extents().map(|extent| (extent, to));

    let mut guard = PgtableSplitGuard::lock(token);
    unprotected::forget(&mut guard, &pages);
    let needs = check(&mut Tables::linear_map(&mut guard), parts.clone())?;
    drop(guard);

    match needs {
        Needs::Nothing => Ok(()),
        Needs::Split => Err(EINVAL),
        Needs::Change => {
            // This takes locks of vmalloc, and sleeps: not with the lock held.
            ffi::unmap_aliases();
            change(
                &mut Tables::linear_map(&mut PgtableSplitGuard::lock(token)),
                parts,
            )
        }
    }
}

/// Maps `range`, a part of the linear map, by pages that never become part of anything larger.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if `range` is not all mapped; [`ENOMEM`] if there is no memory for tables.
pub(crate) fn map_by_ptes(token: ResizeLeaves, range: &OwnedRange) -> Result {
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = Tables::linear_map(&mut guard);

    split::map_by_ptes(&mut tables, token, range.range())?;
    ffi::sync_tables();
    Ok(())
}
