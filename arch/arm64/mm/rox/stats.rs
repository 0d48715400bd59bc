// SPDX-License-Identifier: GPL-2.0

//! How much of the linear map is mapped by leaves of each size, for `/proc/meminfo`, and how often
//! that changed, for `/proc/vmstat`.

use core::ops::Range;

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::{
    geometry::{
        LeafSize,
        Level, //
    },
    lock::{
        Bbml3,
        MayChange,
        ShapeLock, //
    },
    table::KernelTables,
    walk, //
};

/// Bytes for each [`LeafSize`], modulo the size of an address. Written with a `ShapeLock` held.
///
/// What changes before the linear map was counted once would be wrong, and is forgotten then.
static BYTES: [Atomic<usize>; LeafSize::ALL.len()] =
    [const { Atomic::new(0) }; LeafSize::ALL.len()];

fn add(size: LeafSize, bytes: usize) {
    let counter = &BYTES[size.index()];
    counter.store(counter.load(Relaxed).wrapping_add(bytes), Relaxed);
}

/// Returns how many bytes of the linear map are mapped by leaves of `size`.
pub(super) fn bytes(size: LeafSize) -> usize {
    BYTES[size.index()].load(Relaxed)
}

/// Counts that `bytes` at `addr` are mapped by leaves of another size.
pub(super) fn resized<R: MayChange>(
    _: &mut R,
    addr: usize,
    bytes: usize,
    from: LeafSize,
    to: LeafSize,
) {
    // SAFETY: Compares an address.
    if !unsafe { bindings::rox_is_linear_map(addr) } {
        return;
    }
    add(from, bytes.wrapping_neg());
    add(to, bytes);

    // Runs have no events.
    let (level, is_join) = match (from.level, to.level) {
        (Level::Pud, Level::Pmd) => (Level::Pud, false),
        (Level::Pmd, Level::Pte) => (Level::Pmd, false),
        (Level::Pmd, Level::Pud) => (Level::Pud, true),
        (Level::Pte, Level::Pmd) => (Level::Pmd, true),
        _ => return,
    };
    // SAFETY: Counts.
    unsafe { bindings::rox_count_event(level == Level::Pud, is_join) };
}

/// Counts all of the linear map, for the first time.
///
/// Context: may sleep.
pub(super) fn start(bbml3: Bbml3, linear_map: &Range<usize>) {
    // SAFETY: Boot has mapped it, and the lock keeps joins away.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    for counter in &BYTES {
        counter.store(0, Relaxed);
    }
    walk::measure(&mut tables, linear_map, add);
}

/// Counts leaves of `range`, a part of the linear map that nobody uses yet.
///
/// Context: may sleep.
pub(super) fn count(bbml3: Bbml3, range: &Range<usize>) {
    // SAFETY: The call of memory hotplug, and the lock keeps joins away.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    walk::measure(&mut tables, range, add);
}

/// Takes `range`, which nobody uses any more, out of what [`count`] counted.
pub(super) fn uncount(lock: &mut ShapeLock, range: &Range<usize>) {
    // SAFETY: As for [`count`].
    let mut tables = unsafe { KernelTables::new(lock) };
    walk::measure(&mut tables, range, |size, bytes| {
        add(size, bytes.wrapping_neg())
    });
}
