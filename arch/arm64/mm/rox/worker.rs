// SPDX-License-Identifier: GPL-2.0

//! When leaves are joined: a little after they changed, by a worker, in small steps.
//!
//! Memory that is restored is often changed again at once, as when modules are loaded one after
//! the other. So the worker first waits until nothing has changed for a whole period of
//! [`PERIOD_MS`], but not forever. Then it takes the locks for each step anew, which is one table
//! of the last level and what that becomes part of, so that nobody waits for it for long.

use core::{
    cell::UnsafeCell,
    mem,
    ops::Range, //
};

use kernel::bindings;

use super::{
    blocks,
    coalesce,
    execmem::{
        BLOCK_SIZE,
        GEOMETRY, //
    },
    geometry::Level,
    lock::{
        Bbml3,
        JoinLock,
        ShapeLock, //
    },
    pending::Pending,
    table::KernelTables, //
};

/// How long nothing changes before leaves are joined, in milliseconds.
const PERIOD_MS: u32 = 50;

/// How many periods in which something changes the worker waits for at most.
const PATIENCE: u32 = 8;

/// What there is to do.
struct Work {
    /// Where the linear map has changed.
    linear_map: Pending,
    /// Whether something has changed since the worker looked last.
    is_fresh: bool,
    /// How many periods the worker has waited.
    waited: u32,
}

/// [`Work`], for all.
struct Shared(UnsafeCell<Work>);

// SAFETY: Only used with a `ShapeLock`, of which there is one at a time.
unsafe impl Sync for Shared {}

static WORK: Shared = Shared(UnsafeCell::new(Work {
    linear_map: Pending::new(),
    is_fresh: false,
    waited: 0,
}));

/// Returns what there is to do.
fn work(_: &mut ShapeLock) -> &mut Work {
    // SAFETY: The lock is held, and its holder has borrowed it for this.
    unsafe { &mut *WORK.0.get() }
}

/// Has leaves in `range` joined, which have changed, if they are of the linear map or of a block
/// of a cache.
pub(super) fn note_change(lock: &mut ShapeLock, range: &Range<usize>) {
    // SAFETY: Compares an address.
    if unsafe { bindings::rox_is_linear_map(range.start) } {
        work(lock).linear_map.add(range);
    } else {
        // What is cached comes from one block, unless it is larger than one.
        let blocks = (range.start & !(BLOCK_SIZE - 1)..range.end).step_by(BLOCK_SIZE);
        let noted = blocks.filter(|&addr| blocks::note_change(lock, addr));
        if noted.count() == 0 {
            return;
        }
    }

    work(lock).is_fresh = true;
    queue();
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
    work.waited = 0;
    true
}

/// Joins leaves in one place. Returns whether there was any to do it in.
///
/// Context: may sleep; the worker alone.
pub(super) fn step(bbml3: Bbml3) -> bool {
    // SAFETY: The locks keep joins by others and the removal of memory away.
    let mut tables = unsafe { KernelTables::new(JoinLock::lock(bbml3)) };
    // A block of a cache has a leaf or a run for itself; what is around it is not ours.
    if let Some(block) = blocks::take_changed(tables.right().shape()) {
        coalesce::coalesce(&mut tables, block.start, &block);
        return true;
    }

    let step = GEOMETRY.size(Level::Pmd);
    let Some(place) = work(tables.right().shape()).linear_map.take(step) else {
        return false;
    };
    let reach = coalesce::coalesce(&mut tables, place.start, &(0..usize::MAX));
    // What one leaf maps need not be looked at again.
    let end = (place.start & !(reach - 1)).saturating_add(reach);
    work(tables.right().shape()).linear_map.skip(place.end, end);
    true
}

/// Has the worker run after a period.
fn queue() {
    // SAFETY: Queues work.
    unsafe { bindings::rox_queue_joining(PERIOD_MS) };
}
