// SPDX-License-Identifier: GPL-2.0

//! How much of the linear map leaves of each size map, for `/proc/meminfo`, and how often blocks
//! were split and collapsed, for `/proc/vmstat`.

use core::ops::Range;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use super::{
    ffi,
    granule::{
        LeafSize,
        Level, //
    },
    lock::{
        ChangeLeaves,
        MayChange,
        PgtableSplitGuard, //
    },
    table::KernelTables,
    walk, //
};

/// Bytes for each [`LeafSize`], modulo the size of an address. Holders of [`PgtableSplitGuard`]
/// write them.
///
/// A change before the first count leaves a wrong number here, which [`start`] sets to 0.
static BYTES: [Atomic<usize>; LeafSize::ALL.len()] =
    [const { Atomic::new(0) }; LeafSize::ALL.len()];

fn add(size: LeafSize, bytes: usize) {
    let counter = &BYTES[size.index()];
    counter.store(counter.load(Relaxed).wrapping_add(bytes), Relaxed);
}

/// Returns how many bytes of the linear map are mapped by leaves of `size`.
pub(crate) fn bytes(size: LeafSize) -> usize {
    BYTES[size.index()].load(Relaxed)
}

/// Counts that the size of the leaves that map `bytes` of the linear map has changed.
pub(crate) fn resized<G: MayChange>(_: &mut G, bytes: usize, from: LeafSize, to: LeafSize) {
    add(from, bytes.wrapping_neg());
    add(to, bytes);

    // There are no events for contiguous runs.
    match (from.level, to.level) {
        (Level::Pud, Level::Pmd) => ffi::count_event(Level::Pud, false),
        (Level::Pmd, Level::Pte) => ffi::count_event(Level::Pmd, false),
        (Level::Pmd, Level::Pud) => ffi::count_event(Level::Pud, true),
        (Level::Pte, Level::Pmd) => ffi::count_event(Level::Pmd, true),
        _ => {}
    }
}

/// Counts all of the linear map, for the first time.
///
/// Context: may sleep.
pub(crate) fn start(token: ChangeLeaves, linear_map: &Range<usize>) {
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::linear_map(&mut guard);

    for counter in &BYTES {
        counter.store(0, Relaxed);
    }
    walk::measure(&mut tables, linear_map, add);
}

/// Counts the leaves of `range`, a part of the linear map that was added.
///
/// Context: may sleep.
pub(crate) fn count(token: ChangeLeaves, range: &Range<usize>) {
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::linear_map(&mut guard);

    walk::measure(&mut tables, range, add);
}

/// Takes the leaves of `range`, a part of the linear map that is about to be removed, out of the
/// count.
pub(crate) fn uncount(guard: &mut PgtableSplitGuard, range: &Range<usize>) {
    let mut tables = KernelTables::linear_map(guard);

    walk::measure(&mut tables, range, |size, bytes| {
        add(size, bytes.wrapping_neg())
    });
}
