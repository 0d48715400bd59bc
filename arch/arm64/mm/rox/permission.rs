// SPDX-License-Identifier: GPL-2.0

//! What a `set_memory_*()` call or a cache changes: which mapping, which runs, in which order.
//!
//! Every change has two parts, under one hold of the lock, but for [`reset_linear_map`]. The first
//! looks at all leaves, and splits those that the range cuts; it may fail, and permissions are then
//! as before. The second changes whole leaves, and ends with one invalidation of what TLBs hold of
//! them, which [`set_linear_map`] leaves to its caller.
//!
//! Memory is read-only everywhere, for TLBs too, before it becomes executable: the linear alias
//! changes before the mapping does. A block that leaves its cache goes the other way: it stops
//! being executable, and then its alias becomes writable.

use core::{
    iter,
    ops::Range, //
};

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    area::{
        self,
        Area, //
    },
    blocks,
    descriptor::Change,
    execmem::{
        self,
        BLOCK_SIZE,
        GEOMETRY, //
    },
    flush::Flush,
    geometry::Level,
    lock::{
        Bbml3,
        OnlyCpu,
        ShapeLock, //
    },
    table::{
        KernelTables,
        Table, //
    },
    walk::{
        self,
        Needs,
        Part, //
    },
    worker, //
};

impl From<walk::Error> for Error {
    fn from(error: walk::Error) -> Self {
        match error {
            walk::Error::Invalid => EINVAL,
            walk::Error::NoMemory => ENOMEM,
        }
    }
}

/// Returns what `parts` need.
///
/// # Errors
///
/// [`EINVAL`] if a part is not all mapped, or would become writable and executable.
fn check(tables: &mut KernelTables<ShapeLock>, parts: impl Iterator<Item = Part>) -> Result<Needs> {
    let mut needs = Needs::Nothing;

    for (range, change) in parts {
        needs = needs.max(walk::check(tables, &range, change)?);
    }
    Ok(needs)
}

/// Makes sure that [`change`] can't fail for any of `parts`, and returns what they need.
///
/// # Errors
///
/// As of [`check`]; [`ENOMEM`] if there is no memory to split a leaf. Permissions are as before.
fn prepare(
    tables: &mut KernelTables<ShapeLock>,
    parts: impl Iterator<Item = Part> + Clone,
) -> Result<Needs> {
    let needs = check(tables, parts.clone())?;

    if needs == Needs::Split {
        let mut split = parts.clone();
        let result = split.try_for_each(|(range, change)| walk::split(tables, &range, change));
        if let Err(error) = result {
            // What has been split is for the worker.
            for (range, _) in parts {
                worker::note_blocks(tables.right(), &range);
            }
            return Err(error.into());
        }
    }
    Ok(needs)
}

/// Changes `range`, and has its leaves joined a little later, unless it became writable: of a block
/// of a cache nothing can be joined until it is read-only again. Calls `stale` with what TLBs may
/// hold as it was. Returns whether anything has changed.
///
/// # Errors
///
/// [`EINVAL`] if it was not prepared.
fn apply(
    tables: &mut KernelTables<ShapeLock>,
    range: &Range<usize>,
    change: Change,
    stale: impl FnMut(&mut KernelTables<ShapeLock>, Range<usize>),
) -> Result<bool> {
    let has_changed = walk::apply(tables, range, change, stale)?;

    if has_changed && !change.allows_write() {
        worker::note_blocks(tables.right(), range);
    }
    Ok(has_changed)
}

/// Changes `parts`, and invalidates what TLBs hold of leaves that have changed.
///
/// # Errors
///
/// [`EINVAL`] if a part was not prepared.
fn change(tables: &mut KernelTables<ShapeLock>, parts: impl Iterator<Item = Part>) -> Result {
    let mut flush = Flush::new();
    let mut has_changed = false;
    let mut result = Ok(());

    for (range, change) in parts {
        let stale = |tables: &mut _, range| flush.add(tables, range);
        match apply(tables, &range, change, stale) {
            Ok(changed) => has_changed |= changed,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if has_changed || result.is_err() {
        flush.finish(tables);
    }
    result
}

/// Changes the permission of `mapping`, a part of a vmalloc area, and that of its linear alias. Of
/// memory in a cache the alias stays as it is.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`set_area`]; [`EINVAL`] also if `mapping` is not part of one area, or, in a cache, of one
/// part that was handed out.
///
/// # Safety
///
/// The caller owns the area that `mapping` is in, or in a cache the part that it is in.
pub(crate) unsafe fn set_memory(bbml3: Bbml3, mapping: Range<usize>, to: Change) -> Result {
    // SAFETY: By the safety requirements of this function; a cache keeps the area of a part.
    let area = unsafe { Area::covering(&mapping) }?;
    let is_cached = blocks::contain(&mut ShapeLock::lock(bbml3), &mapping);
    // The area has parts of others too.
    if is_cached && !execmem::is_one_part(&mapping) {
        return Err(EINVAL);
    }

    let alias = to.of_alias().filter(|_| !is_cached);
    // SAFETY: By the safety requirements of this function.
    unsafe { set_area(bbml3, &area, mapping, to, alias) }
}

/// Changes the permission of `mapping`, a part of `area`, as `to` says, and that of its linear
/// alias as `alias` does, if at all.
///
/// Context: may sleep.
///
/// # Errors
///
/// Permissions are as before after each of them: [`EINVAL`] if `mapping` has no pages where the
/// alias has to change, or would become writable and executable; [`ENOMEM`] if there is no memory
/// to split a leaf.
///
/// # Safety
///
/// The caller owns `mapping`, and with it the pages.
unsafe fn set_area(
    bbml3: Bbml3,
    area: &Area<'_>,
    mapping: Range<usize>,
    to: Change,
    alias: Option<Change>,
) -> Result {
    if mapping.is_empty() {
        return Ok(());
    }

    let aliases = match alias {
        Some(to) => Some(area.alias_runs(&mapping)?.map(move |run| (run, to))),
        None => None,
    };
    let aliases = aliases.into_iter().flatten();
    let mapping = iter::once((mapping, to));

    let both = Iterator::chain(aliases.clone(), mapping.clone());
    // SAFETY: By the safety requirements of this function.
    let lock = || unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    if check(&mut lock(), both.clone())? == Needs::Nothing {
        return Ok(());
    }
    // Mappings that were unmapped lazily may be left of these pages, with other permissions. That
    // takes long, and nobody else changes what was checked: not with the lock held.
    area::unmap_stale();

    let mut tables = lock();
    prepare(&mut tables, both.clone())?;
    if to.allows_execution() {
        change(&mut tables, aliases)?;
        change(&mut tables, mapping)
    } else {
        change(&mut tables, both)
    }
}

/// Changes leaves of `range`, a part of the linear map, and leaves the invalidation of TLBs to the
/// caller.
///
/// Context: may sleep, unless the system is about to (see [`OnlyCpu`]).
///
/// # Errors
///
/// [`EINVAL`] if `range` is not all mapped, or any of it maps memory of a cache; [`ENOMEM`] if
/// there is no memory to split a leaf. Permissions are as before after each of them.
///
/// With [`OnlyCpu`], `range` is one page, and becomes valid, or invalid again, with all that the
/// same leaf maps: what somebody made invalid as a whole may be one leaf, and there is neither
/// memory to split it nor anybody else to access it. Whether it is writable stays as it is.
///
/// # Safety
///
/// The caller owns the memory that `range` maps.
pub(crate) unsafe fn set_linear_map(bbml3: Bbml3, range: Range<usize>, to: Change) -> Result {
    if let Some(right) = OnlyCpu::get() {
        // SAFETY: By the safety requirements of this function.
        let mut tables = unsafe { KernelTables::new(right) };
        debug_assert_eq!(range.len(), PAGE_SIZE);
        let size = walk::flip(&mut tables, range.start, to)?;
        match size.bytes(&GEOMETRY) > PAGE_SIZE {
            // The caller invalidates its page alone.
            true => tables.invalidate_all(),
            false => tables.sync(),
        }
        return Ok(());
    }

    // SAFETY: By the safety requirements of this function.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    if maps_cached(&mut tables, &range)? {
        return Err(EINVAL);
    }
    if prepare(&mut tables, iter::once((range.clone(), to)))? != Needs::Nothing {
        apply(&mut tables, &range, to, |_, _| {})?;
        tables.sync();
    }
    Ok(())
}

/// Returns whether any of `range` maps memory of a cache, as the cache does or as the linear alias.
///
/// # Errors
///
/// As of [`blocks::have_alias`].
fn maps_cached(tables: &mut KernelTables<ShapeLock>, range: &Range<usize>) -> Result<bool> {
    // SAFETY: Compares an address.
    if !unsafe { bindings::rox_is_linear_map(range.start) } {
        return Ok(blocks::contain(tables.right(), range));
    }
    // The alias of what is in a cache is read-only. Few callers are about memory that is.
    match check(tables, iter::once((range.clone(), Change::rw()))) {
        Ok(Needs::Nothing) => Ok(false),
        _ => blocks::have_alias(tables.right(), range),
    }
}

/// Makes the linear aliases of an area's pages valid and writable, when vmalloc has removed the
/// area's mapping from the page tables.
///
/// Only leaves that are not so change. Who made them different has split them off, so that
/// nothing here needs memory. If one has to change, TLBs forget the mapping first, which may have
/// been executable.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if somebody else's memory is in a leaf that would have to change.
///
/// # Safety
///
/// The caller owns the pages.
pub(crate) unsafe fn reset_linear_map(
    bbml3: Bbml3,
    runs: impl Iterator<Item = Range<usize>> + Clone,
) -> Result {
    let parts = runs.map(|run| (run, linear_map_default()));
    // SAFETY: By the safety requirements of this function.
    let tables = || unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    // The lock is not held while TLBs forget the mapping: that takes locks of vmalloc, and sleeps.
    let needs = check(&mut tables(), parts.clone())?;
    match needs {
        Needs::Nothing => Ok(()),
        Needs::Split => Err(EINVAL),
        Needs::Change => {
            area::unmap_stale();
            change(&mut tables(), parts)
        }
    }
}

/// Changes the permission of `mapping`, memory in a cache, and leaves the linear alias alone: it
/// stays read-only from [`populate`] to [`release`].
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if `mapping` is not all mapped, or would become writable and executable; [`ENOMEM`]
/// if there is no memory to split a leaf, of a block for which no table is parked.
///
/// # Safety
///
/// The caller owns `mapping`.
pub(crate) unsafe fn set_cached(bbml3: Bbml3, mapping: Range<usize>, to: Change) -> Result {
    // SAFETY: By the safety requirements of this function.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    let mapping = iter::once((mapping, to));

    match prepare(&mut tables, mapping.clone())? {
        Needs::Nothing => Ok(()),
        _ => change(&mut tables, mapping),
    }
}

/// Makes `block` one of a cache, or several: as `to` says, which is read-only, its linear alias
/// read-only, and with a table parked for each leaf that is as large as one.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`set_memory`]; [`ENOMEM`] also if there is no memory for a table to park. [`release`] is
/// for what may be left then.
///
/// # Safety
///
/// The caller owns `block`, which is filled with trapping instructions if it becomes executable,
/// and keeps its area until [`release`].
pub(crate) unsafe fn populate(bbml3: Bbml3, block: &Area<'_>, to: Change) -> Result {
    let mapping = block.range();
    // SAFETY: The caller owns the block, and with it the pages.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    // SAFETY: By the safety requirements of this function.
    unsafe { blocks::add_area(tables.right(), mapping.clone()) }?;
    // Where memory was too fragmented for blocks the area is smaller than one, or not aligned.
    let parts = match (mapping.start | mapping.end) % BLOCK_SIZE {
        0 => mapping.clone(),
        _ => 0..0,
    };
    for start in parts.step_by(BLOCK_SIZE) {
        let part = start..start + BLOCK_SIZE;
        let table = match walk::count_blocks(&mut tables, &part)? {
            0 => None,
            _ => Some(Table::new(Level::Pte).ok_or(ENOMEM)?),
        };
        let alias = block.alias_runs(&part)?.next();
        let alias = alias.filter(|run| run.start % BLOCK_SIZE == 0 && run.len() == BLOCK_SIZE);
        blocks::add(tables.right(), start, alias.map(|run| run.start), table)?;
    }
    drop(tables);

    // SAFETY: The caller owns the block.
    unsafe { set_area(bbml3, block, mapping, to, to.of_alias()) }
}

/// Undoes [`populate`], or what it has done before it failed, so that `block` can be freed: no
/// longer executable, and then its linear alias writable again.
///
/// Context: may sleep.
///
/// # Errors
///
/// As of [`set_memory`]. The block is then as it was, and kept.
///
/// # Safety
///
/// The caller owns `block`, and nobody uses any part of it.
pub(crate) unsafe fn release(bbml3: Bbml3, block: &Area<'_>) -> Result {
    let mapping = block.range();
    let aliases = block.alias_runs(&mapping)?;
    let aliases = aliases.map(|run| (run, linear_map_default()));
    let block = iter::once((mapping.clone(), rw_nx()));
    // SAFETY: The caller owns the block, and with it the pages.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    prepare(&mut tables, Iterator::chain(block.clone(), aliases.clone()))?;
    change(&mut tables, block)?;
    change(&mut tables, aliases)?;
    blocks::remove(tables.right(), &mapping);
    Ok(())
}

/// Maps `range`, a part of the linear map, with pages that never become part of anything larger.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`EINVAL`] if `range` is not all mapped; [`ENOMEM`] if there is no memory for tables.
///
/// # Safety
///
/// The caller owns the memory that `range` maps.
pub(crate) unsafe fn map_by_pages(bbml3: Bbml3, range: Range<usize>) -> Result {
    // SAFETY: By the safety requirements of this function.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    walk::pin(&mut tables, &range)?;
    tables.sync();
    Ok(())
}

/// To read-only and executable, with guarded pages (FEAT_BTI) if the kernel uses them.
pub(crate) fn rox() -> Change {
    Change::rox(maybe_guarded())
}

/// To writable and not executable, the opposite of [`rox`].
pub(crate) fn rw_nx() -> Change {
    Change::rw_nx(maybe_guarded())
}

/// To read-only and not executable.
pub(crate) fn ro_nx() -> Change {
    Change::ro_nx(maybe_guarded())
}

/// To valid and writable, as memory in the linear map is by default.
fn linear_map_default() -> Change {
    // SAFETY: Reads a variable that does not change after boot.
    Change::linear_map_default(unsafe { bindings::rox_pte_valid() })
}

fn maybe_guarded() -> u64 {
    // SAFETY: Reads a CPU capability.
    unsafe { bindings::rox_pte_gp() }
}
