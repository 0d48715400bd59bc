// SPDX-License-Identifier: GPL-2.0

//! When leaves are joined: a little after they changed, by a worker, in small steps.
//!
//! Memory that is restored is often changed again at once, as when modules are loaded one after
//! the other. So the worker first waits until nothing has changed for a whole period of
//! [`PERIOD_MS`], and again when something changes while it works, but not forever. It takes the
//! locks for each step anew, which is one table, so that nobody waits for it for long, and rests
//! for a period after [`LIMIT`] steps. It waits for nothing that may take long: where ptdump walks
//! through tables, it comes back later.

use core::{
    cell::UnsafeCell,
    mem,
    ops::Range, //
};

use kernel::bindings;

use super::{
    blocks,
    coalesce,
    execmem::BLOCK_SIZE,
    lock::{
        Bbml3,
        JoinLock,
        MayChange,
        ShapeLock, //
    },
    pending::Pending,
    table::KernelTables, //
};

/// How long nothing changes before leaves are joined, in milliseconds.
const PERIOD_MS: u32 = 100;

/// How many periods in which something changes the worker waits for at most.
const PATIENCE: u32 = 8;

/// How many steps the worker makes before it rests.
const LIMIT: u32 = 512;

/// What there is to do.
struct Work {
    /// Which tables of the linear map have changed.
    linear_map: Pending,
    /// Whether something has changed since the worker looked last.
    is_fresh: bool,
    /// How many periods the worker has waited.
    waited: u32,
    /// How many steps it has made since.
    steps: u32,
}

/// [`Work`], for all.
struct Shared(UnsafeCell<Work>);

// SAFETY: Only used with a `ShapeLock`, of which there is one at a time.
unsafe impl Sync for Shared {}

static WORK: Shared = Shared(UnsafeCell::new(Work {
    linear_map: Pending::new(),
    is_fresh: false,
    waited: 0,
    steps: 0,
}));

/// Returns what there is to do.
fn work(_: &mut ShapeLock) -> &mut Work {
    // SAFETY: The lock is held, and its holder has borrowed it for this.
    unsafe { &mut *WORK.0.get() }
}

/// Returns whether `direct_map_collapse=` lets leaves be joined.
fn is_wanted() -> bool {
    // SAFETY: Does not change after early parameters were parsed.
    unsafe { bindings::direct_map_collapse }
}

/// Has leaves of the table that has the one for `addr` joined, if it is one of the linear map. They
/// have changed.
pub(super) fn note_table<R: MayChange>(tables: &mut KernelTables<R>, addr: usize) {
    // SAFETY: Compares an address.
    if !is_wanted() || !unsafe { bindings::rox_is_linear_map(addr) } {
        return;
    }
    // Hibernation changes a page back before anybody looks.
    let Some(lock) = tables.right().shape() else {
        return;
    };

    let mut pending = mem::replace(&mut work(lock).linear_map, Pending::new());
    pending.note(tables, addr);
    if let Some(lock) = tables.right().shape() {
        let work = work(lock);
        work.linear_map = pending;
        work.is_fresh = true;
        queue();
    }
}

/// Has leaves in `range` joined, which have changed, if they are of a block of a cache.
pub(super) fn note_blocks(lock: &mut ShapeLock, range: &Range<usize>) {
    // SAFETY: Compares an address.
    if !is_wanted() || unsafe { bindings::rox_is_linear_map(range.start) } {
        return;
    }
    // What is cached comes from one block, unless it is larger than one.
    let blocks = (range.start & !(BLOCK_SIZE - 1)..range.end).step_by(BLOCK_SIZE);
    let noted = blocks.filter(|&addr| blocks::note_change(lock, addr));

    if noted.count() != 0 {
        work(lock).is_fresh = true;
        queue();
    }
}

/// Begins to join leaves, unless something is still changing. Returns whether [`step`] has
/// something to do.
///
/// Context: may sleep; the worker alone.
pub(super) fn begin(bbml3: Bbml3) -> bool {
    let mut lock = ShapeLock::lock(bbml3);
    let work = work(&mut lock);

    if mem::take(&mut work.is_fresh) && work.waited < PATIENCE {
        work.waited += 1;
        queue();
        return false;
    }
    work.steps = 0;
    true
}

/// Joins leaves of one table. Returns whether there may be more to do now.
///
/// Context: may sleep; the worker alone.
pub(super) fn step(bbml3: Bbml3) -> bool {
    let Some(lock) = JoinLock::try_lock(bbml3) else {
        queue();
        return false;
    };
    // SAFETY: The lock keeps joins by others and the removal of memory away.
    let mut tables = unsafe { KernelTables::new(lock) };

    let todo = work(tables.right().shape_lock());
    let is_over = todo.steps == LIMIT;
    if is_over || (todo.is_fresh && todo.waited < PATIENCE) {
        if is_over {
            todo.waited = 0;
        }
        queue();
        return false;
    }

    todo.steps += 1;
    let is_more = join(&mut tables);
    if !is_more {
        work(tables.right().shape_lock()).waited = 0;
    }
    is_more
}

/// Joins leaves of a block of a cache, or of a table of the linear map. Returns whether there may
/// be more to do.
fn join(tables: &mut KernelTables<JoinLock>) -> bool {
    // A block of a cache has a leaf or a run for itself; what is around it is not ours.
    if let Some(block) = blocks::take_changed(tables.right().shape_lock()) {
        coalesce::coalesce_block(tables, &block);
        return true;
    }

    let pending = &mut work(tables.right().shape_lock()).linear_map;
    let mut pending = mem::replace(pending, Pending::new());
    let is_more = pending.step(tables);
    work(tables.right().shape_lock()).linear_map = pending;
    is_more
}

/// Has the worker run after a period.
fn queue() {
    // SAFETY: Queues work.
    unsafe { bindings::rox_queue_joining(PERIOD_MS) };
}
