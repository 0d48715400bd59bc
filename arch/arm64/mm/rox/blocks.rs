// SPDX-License-Identifier: GPL-2.0

//! What the caches hold: where it is, and the table that is parked for each block.
//!
//! A block that is mapped by a level 2 leaf has a table, as long as that leaf is not split. So
//! making a part of it writable, or read-only again, which has to succeed when the part is freed,
//! never asks the page allocator; and when the block is joined again, the table needs no grace
//! period before it is parked: it is not written to until it maps the same pages again, so that
//! whoever still reads it finds the right ones.

use core::{
    cell::UnsafeCell,
    ops::Range, //
};

use kernel::prelude::*;

use super::{
    area::Area,
    execmem::BLOCK_SIZE,
    lock::ShapeLock,
    table::Table, //
};

/// A block of [`BLOCK_SIZE`] bytes at VA `start`.
struct Block {
    start: usize,
    /// The VA of its linear alias, if that is as a block is: contiguous and aligned.
    alias: Option<usize>,
    table: Option<Table>,
    /// Whether its leaves have changed since they were last joined.
    has_changed: bool,
}

/// What the caches hold.
struct Held {
    /// The VAs of each vmalloc area, made of blocks or not.
    areas: KVec<Range<usize>>,
    blocks: KVec<Block>,
}

/// [`Held`], for all.
struct Shared(UnsafeCell<Held>);

// SAFETY: Only used with a `ShapeLock`, of which there is one at a time, and `Held` is `Send`.
unsafe impl Sync for Shared {}

static HELD: Shared = Shared(UnsafeCell::new(Held {
    areas: KVec::new(),
    blocks: KVec::new(),
}));

/// Returns what the caches hold.
fn held(_: &mut ShapeLock) -> &mut Held {
    // SAFETY: The lock is held, and its holder has borrowed it for this.
    unsafe { &mut *HELD.0.get() }
}

/// Returns the blocks.
fn blocks(lock: &mut ShapeLock) -> &mut KVec<Block> {
    &mut held(lock).blocks
}

/// Returns the block that contains `addr`.
fn find(lock: &mut ShapeLock, addr: usize) -> Option<&mut Block> {
    let start = addr & !(BLOCK_SIZE - 1);
    blocks(lock).iter_mut().find(|block| block.start == start)
}

/// Adds the area that `mapping` is all of. Its blocks are for [`add`].
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for that.
///
/// # Safety
///
/// The area stays until [`remove`].
pub(super) unsafe fn add_area(lock: &mut ShapeLock, mapping: Range<usize>) -> Result {
    Ok(held(lock).areas.push(mapping, GFP_KERNEL)?)
}

/// Adds the block at VA `start`, with its linear alias, if that is like a block, and the table that
/// is parked for it.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for that.
pub(super) fn add(
    lock: &mut ShapeLock,
    start: usize,
    alias: Option<usize>,
    table: Option<Table>,
) -> Result {
    let block = Block {
        start,
        alias,
        table,
        has_changed: false,
    };
    Ok(blocks(lock).push(block, GFP_KERNEL)?)
}

/// Removes the area `range` and all its blocks, and frees their tables.
pub(super) fn remove(lock: &mut ShapeLock, range: &Range<usize>) {
    held(lock).areas.retain(|area| area != range);
    blocks(lock).retain(|block| {
        if !range.contains(&block.start) {
            return true;
        }
        if let Some(table) = block.table.take() {
            table.free_later();
        }
        false
    });
}

/// Returns whether any of `mapping` is in a cache.
pub(super) fn contain(lock: &mut ShapeLock, mapping: &Range<usize>) -> bool {
    let mut areas = held(lock).areas.iter();
    areas.any(|area| overlap(area, mapping))
}

/// Returns whether any of `range`, a part of the linear map, is an alias of what is in a cache.
///
/// # Errors
///
/// [`EINVAL`] if there is a cache whose memory is not as vmalloc allocates it.
pub(super) fn have_alias(lock: &mut ShapeLock, range: &Range<usize>) -> Result<bool> {
    for mapping in &held(lock).areas {
        // SAFETY: By the contract of `add_area()`; the lock is borrowed, so that `remove()` waits.
        let area = unsafe { Area::covering(mapping) }?;
        if area.alias_runs(mapping)?.any(|run| overlap(&run, range)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Takes the table that is parked for the block that contains `addr`, if there is one.
pub(super) fn take_table(lock: &mut ShapeLock, addr: usize) -> Option<Table> {
    find(lock, addr)?.table.take()
}

/// Parks `table`, which mapped the block at VA `start`. Returns a table that is not needed: this
/// one if that is no block, or one that was parked before.
pub(super) fn park(lock: &mut ShapeLock, start: usize, table: Table) -> Option<Table> {
    match find(lock, start) {
        Some(block) => block.table.replace(table),
        None => Some(table),
    }
}

/// Returns whether `range` of the linear map is the alias of a block.
pub(super) fn is_alias(lock: &mut ShapeLock, range: &Range<usize>) -> bool {
    let is_of = |block: &Block| block.alias == Some(range.start);
    range.len() == BLOCK_SIZE && blocks(lock).iter().any(is_of)
}

/// Returns how many tables are parked.
pub(super) fn parked_tables(lock: &mut ShapeLock) -> usize {
    let parked = blocks(lock).iter().filter(|block| block.table.is_some());
    parked.count()
}

/// Notes that leaves at `addr` have changed, if that is in a block. Returns whether it is.
pub(super) fn note_change(lock: &mut ShapeLock, addr: usize) -> bool {
    let Some(block) = find(lock, addr) else {
        return false;
    };

    block.has_changed = true;
    true
}

/// Returns a block whose leaves have changed since it was last returned.
pub(super) fn take_changed(lock: &mut ShapeLock) -> Option<Range<usize>> {
    let block = blocks(lock).iter_mut().find(|block| block.has_changed)?;

    block.has_changed = false;
    Some(block.start..block.start + BLOCK_SIZE)
}
