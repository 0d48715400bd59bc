// SPDX-License-Identifier: GPL-2.0

//! The blocks of the caches: where they are, and the table that is parked for each.
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

/// All blocks.
struct Blocks(UnsafeCell<KVec<Block>>);

// SAFETY: Only used with a `ShapeLock`, of which there is one at a time, and `Block` is `Send`.
unsafe impl Sync for Blocks {}

static BLOCKS: Blocks = Blocks(UnsafeCell::new(KVec::new()));

/// Returns the blocks.
fn blocks(_: &mut ShapeLock) -> &mut KVec<Block> {
    // SAFETY: The lock is held, and its holder has borrowed it for this.
    unsafe { &mut *BLOCKS.0.get() }
}

/// Returns the block that contains `addr`.
fn find(lock: &mut ShapeLock, addr: usize) -> Option<&mut Block> {
    let start = addr & !(BLOCK_SIZE - 1);
    blocks(lock).iter_mut().find(|block| block.start == start)
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

/// Removes all blocks in `range`, and frees their tables.
pub(super) fn remove(lock: &mut ShapeLock, range: &Range<usize>) {
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
