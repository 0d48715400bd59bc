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
    prelude::*, //
};

use super::{
    area::{
        self,
        Area, //
    },
    blocks,
    descriptor::Change,
    execmem::BLOCK_SIZE,
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
        Changed,
        Needs, //
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

/// A range of kernel VAs, and the change that it gets.
type Part = (Range<usize>, Change);

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
        for (range, change) in parts {
            // If this fails, what it has split is for the worker.
            worker::note_change(tables.right(), &range);
            walk::split(tables, &range, change)?;
        }
    }
    Ok(needs)
}

/// Changes `range`, and has its leaves joined a little later.
///
/// # Errors
///
/// [`EINVAL`] if it was not prepared.
fn apply(
    tables: &mut KernelTables<ShapeLock>,
    range: &Range<usize>,
    change: Change,
) -> Result<Changed> {
    let changed = walk::apply(tables, range, change)?;

    if changed != Changed::Nothing {
        worker::note_change(tables.right(), range);
    }
    Ok(changed)
}

/// Changes `parts`, and invalidates what TLBs hold of them.
///
/// # Errors
///
/// [`EINVAL`] if a part was not prepared.
fn change(
    tables: &mut KernelTables<ShapeLock>,
    parts: impl Iterator<Item = Part> + Clone,
) -> Result {
    let mut changed = Changed::Nothing;

    for (range, change) in parts.clone() {
        changed = changed.max(apply(tables, &range, change)?);
    }
    match changed {
        Changed::Nothing => {}
        Changed::Invalid => tables.sync(),
        Changed::Valid => tables.invalidate(parts.map(|(range, _)| range)),
    }
    Ok(())
}

/// Changes the permission of `mapping`, a part of a vmalloc area, and that of its linear alias.
///
/// Context: may sleep.
///
/// # Errors
///
/// Permissions are as before after each of them: [`EINVAL`] if `mapping` is not part of one area,
/// has no pages where the alias has to change, or would become writable and executable; [`ENOMEM`]
/// if there is no memory to split a leaf.
///
/// # Safety
///
/// The caller owns the area that `mapping` is a part of.
pub(crate) unsafe fn set_memory(bbml3: Bbml3, mapping: Range<usize>, to: Change) -> Result {
    // SAFETY: By the safety requirements of this function.
    let area = unsafe { Area::covering(&mapping) }?;
    if mapping.is_empty() {
        return Ok(());
    }

    let aliases = match to.of_alias() {
        Some(to) => Some(area.alias_runs(&mapping)?.map(move |run| (run, to))),
        None => None,
    };
    let aliases = aliases.into_iter().flatten();
    let mapping = iter::once((mapping, to));

    let both = Iterator::chain(aliases.clone(), mapping.clone());
    // SAFETY: The caller owns the area, and with it the pages.
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
/// [`EINVAL`] if `range` is not all mapped; [`ENOMEM`] if there is no memory to split a leaf.
/// Permissions are as before after each of them, but with [`OnlyCpu`], which changes one page.
///
/// # Safety
///
/// The caller owns the memory that `range` maps.
pub(crate) unsafe fn set_linear_map(bbml3: Bbml3, range: Range<usize>, to: Change) -> Result {
    if let Some(right) = OnlyCpu::get() {
        // SAFETY: By the safety requirements of this function.
        let mut tables = unsafe { KernelTables::new(right) };
        walk::apply(&mut tables, &range, to)?;
        tables.sync();
        return Ok(());
    }

    // SAFETY: By the safety requirements of this function.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    if prepare(&mut tables, iter::once((range.clone(), to)))? != Needs::Nothing {
        apply(&mut tables, &range, to)?;
        tables.sync();
    }
    Ok(())
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
/// The caller owns `block`, which is filled with trapping instructions if it becomes executable.
pub(crate) unsafe fn populate(bbml3: Bbml3, block: &Area<'_>, to: Change) -> Result {
    let mapping = block.range();
    // SAFETY: The caller owns the block, and with it the pages.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

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

    // SAFETY: By the safety requirements of this function.
    unsafe { set_memory(bbml3, mapping, to) }
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

    // If this fails, what it has split is for the worker.
    worker::note_change(tables.right(), &range);
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

/// To valid and writable, as memory in the linear map is by default.
fn linear_map_default() -> Change {
    // SAFETY: Reads a variable that does not change after boot.
    Change::linear_map_default(unsafe { bindings::rox_pte_valid() })
}

fn maybe_guarded() -> u64 {
    // SAFETY: Reads a CPU capability.
    unsafe { bindings::rox_pte_gp() }
}
