// SPDX-License-Identifier: GPL-2.0

//! When leaves collapse: a little after they have changed, by a worker, in small steps.
//!
//! Memory that has become as it was is often changed again at once, for example when modules are
//! loaded one after the other. So the worker first waits until nothing has changed for a period of
//! [`PERIOD_MS`]. If something changes while it works, it goes back to waiting, but not more often
//! than [`PATIENCE`] says. One step is for one table, and takes the locks anew, so that nobody
//! waits long for the worker; after [`LIMIT`] steps it rests for a period. It does not wait for a
//! walk through all tables, such as ptdump's, but comes back later.

use core::{
    mem,
    ops::Range, //
};

use super::{
    chunks::{
        self,
        CHUNK_SIZE, //
    },
    collapse,
    ffi,
    lock::{
        CollapseGuard,
        Guarded,
        MayChange,
        PgtableSplitGuard,
        ResizeLeaves, //
    },
    pending::Pending,
    table::KernelTables, //
};

/// How long nothing has to change before leaves collapse, in milliseconds.
const PERIOD_MS: u32 = 100;

/// How many periods in which something changes the worker waits for at most.
const PATIENCE: u32 = 8;

/// How many steps the worker makes before it rests.
const LIMIT: u32 = 512;

/// What there is to do.
struct Work {
    /// Which tables of the linear map have changed.
    ///
    /// It is [`None`] while somebody who holds the guard uses it.
    linear_map: Option<Pending>,
    /// Whether something has changed since the worker last looked.
    is_fresh: bool,
    /// How many periods the worker has waited.
    waited: u32,
    /// How many steps it has made since then.
    steps: u32,
}

static WORK: Guarded<Work> = Guarded::new(Work {
    linear_map: Some(Pending::new()),
    is_fresh: false,
    waited: 0,
    steps: 0,
});

/// Has the worker look at the table that has the leaf for `addr`, if it is one of the linear map:
/// its leaves have changed.
pub(crate) fn mark_table<G: MayChange>(tables: &mut KernelTables<'_, G>, addr: usize) {
    if !ffi::is_collapse_enabled() || !ffi::is_linear_map(addr) {
        return;
    }
    // Hibernation has no such guard. It undoes its change before anybody looks.
    let Some(guard) = tables.guard().split_guard() else {
        return;
    };

    let Some(mut pending) = WORK.get(guard).linear_map.take() else {
        return;
    };
    pending.mark(tables, addr);
    if let Some(guard) = tables.guard().split_guard() {
        let work = WORK.get(guard);
        work.linear_map = Some(pending);
        work.is_fresh = true;
        ffi::queue_collapse(PERIOD_MS);
    }
}

/// Has the worker look at the chunks of `range`, if it is memory of a cache: its leaves have
/// changed.
pub(crate) fn mark_chunks(guard: &mut PgtableSplitGuard, range: &Range<usize>) {
    if !ffi::is_collapse_enabled() || ffi::is_linear_map(range.start) {
        return;
    }
    // A part is in one chunk, unless it is larger than one.
    let chunks = (range.start & !(CHUNK_SIZE - 1)..range.end).step_by(CHUNK_SIZE);
    let marked = chunks.filter(|&addr| chunks::mark_changed(guard, addr));

    if marked.count() != 0 {
        WORK.get(guard).is_fresh = true;
        ffi::queue_collapse(PERIOD_MS);
    }
}

/// Begins to collapse leaves, unless something is still changing. Returns whether there is
/// something for [`step`] to do.
///
/// Context: may sleep; the worker alone.
pub(crate) fn begin(token: ResizeLeaves) -> bool {
    let mut guard = PgtableSplitGuard::lock(token);
    let work = WORK.get(&mut guard);

    if mem::take(&mut work.is_fresh) && work.waited < PATIENCE {
        work.waited += 1;
        ffi::queue_collapse(PERIOD_MS);
        return false;
    }
    work.steps = 0;
    true
}

/// Collapses leaves of one table. Returns whether there may be more to do now.
///
/// Context: may sleep; the worker alone.
pub(crate) fn step(token: ResizeLeaves) -> bool {
    let Some(mut guard) = CollapseGuard::try_lock(token) else {
        ffi::queue_collapse(PERIOD_MS);
        return false;
    };

    let work = WORK.get(guard.split());
    let is_over = work.steps == LIMIT;
    if is_over || (work.is_fresh && work.waited < PATIENCE) {
        if is_over {
            work.waited = 0;
        }
        ffi::queue_collapse(PERIOD_MS);
        return false;
    }

    work.steps += 1;
    let is_more = collapse_one(&mut guard);
    if !is_more {
        WORK.get(guard.split()).waited = 0;
    }
    is_more
}

/// Collapses leaves of a chunk, or of a table of the linear map. Returns whether there may be more
/// to do.
fn collapse_one(guard: &mut CollapseGuard) -> bool {
    if let Some(chunk) = chunks::take_changed(guard.split()) {
        let mut tables = KernelTables::with_chunk(guard, &chunk);
        collapse::collapse_chunk(&mut tables, &chunk);
        return true;
    }

    let Some(mut pending) = WORK.get(guard.split()).linear_map.take() else {
        return false;
    };
    let is_more = pending.step(&mut KernelTables::linear_map(guard));
    WORK.get(guard.split()).linear_map = Some(pending);
    is_more
}
