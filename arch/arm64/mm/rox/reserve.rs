// SPDX-License-Identifier: GPL-2.0

//! Tables put aside for the blocks of the ROX cache.
//!
//! Each block of memory that the cache maps with a level 2 leaf has a table here, as long as that
//! leaf is not split. So making a part of it writable, which has to succeed when the part is
//! freed, never asks the page allocator. Any table serves any block.

use core::{
    cell::UnsafeCell,
    ptr, //
};

use super::{
    lock::ShapeLock,
    table::Table, //
};

/// The tables, linked through their first words.
struct Reserve(UnsafeCell<*mut u64>);

// SAFETY: Only used with a `ShapeLock`, of which there is one at a time.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve(UnsafeCell::new(ptr::null_mut()));

/// Puts `table` aside.
pub(super) fn put(_: &mut ShapeLock, table: Table) {
    let table = table.into_raw();
    // SAFETY: The lock is held, and nobody else has the table, which is as large as a page.
    unsafe { table.write(RESERVE.0.get().replace(table) as u64) };
}

/// Takes a table, if there is one.
pub(super) fn take(_: &mut ShapeLock) -> Option<Table> {
    // SAFETY: The lock is held.
    let table = unsafe { *RESERVE.0.get() };
    if table.is_null() {
        return None;
    }
    // SAFETY: The lock is held, and tables here hold the address of the next.
    unsafe { *RESERVE.0.get() = table.read() as *mut u64 };
    // SAFETY: It came from `Table::into_raw()`.
    Some(unsafe { Table::from_raw(table) })
}
