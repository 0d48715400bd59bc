// SPDX-License-Identifier: GPL-2.0

//! Who may change kernel page tables: the guards, and the protocol behind them.
//!
//! # The protocol
//!
//! The mutex `pgtable_split_lock` is held over a whole change: the look at the leaves, the split of
//! those that the range cuts, the stores, and the TLB invalidation. Two callers end the
//! invalidation outside of the mutex:
//!
//! - Callers of `set_memory_valid()`, `set_memory_encrypted()`, `_decrypted()` and
//!   `set_direct_map_*()` invalidate TLBs after the call.
//! - `vfree()` looks at the leaves under an earlier hold of the mutex. Nothing collapses the leaves
//!   that it has to change.
//!
//! A task that holds the mutex therefore never sees a leaf change its size, and an entry still
//! holds what the task has read from it when the task writes it back. While the mutex is free, all
//! leaves of a contiguous run have the same attributes, and TLBs hold nothing that the tables do
//! not say, except for the changes of the linear map in the list above.
//!
//! A reader-writer lock would let permission changes run side by side. A mutex is enough: each such
//! change takes it today for its split. What is added to the hold is one walk through the range.
//!
//! # Who takes the mutex
//!
//! Every caller that can sleep: `set_memory_*()`, `set_direct_map_*()`, `vfree()` of memory whose
//! permissions it resets, the execmem caches, secretmem, realms, kexec while it copies the linear
//! map, KFENCE when it makes its pool after boot, memory hotplug when it changes the linear map,
//! the worker that collapses leaves, and the functions that count leaves or deposited tables.
//! Taking it asserts that the caller can sleep. The execmem caches take it with their own mutex
//! held, so `set_memory_*()` asks the caches about its range before it takes it.
//!
//! # Who does not, and why that is safe
//!
//! - KFENCE changes single pages of its pool in atomic context. The pool is PTE-mapped before its
//!   first use, nobody else changes its permissions, and its leaves do not have the software bits
//!   that a split sets, so nothing collapses them.
//! - debug_pagealloc changes pages in atomic context. With it the linear map is PTE-mapped and
//!   there is no [`ResizeLeaves`], so this crate changes nothing.
//! - Hibernation makes a page valid, copies it, and makes it invalid again, with interrupts off, on
//!   the only CPU that runs. It changes the validity of the one leaf that maps the page, however
//!   large that leaf is, and nothing else; see [`SnapshotContext`]. A task that holds the mutex
//!   meanwhile does not run, and finds all entries as they were.
//! - Boot changes tables before the CPUs' features are known. There is no [`ResizeLeaves`] yet, and
//!   only one CPU runs.
//! - vmalloc maps and unmaps areas under its own locks. It frees a table only if no area has pages
//!   in it. A walk outside of the linear map looks only at tables that map the caller's own range.
//! - Readers without the mutex read each entry once. At any time an entry is a table or a leaf that
//!   leads to the right memory. `ptep_get_lockless()` also reads the first leaf of a contiguous run
//!   until it has the contiguous bit too: it has the bit as long as any other leaf of the run does.
//!
//! # When a table is freed
//!
//! A collapse takes tables out of use, and memory hotplug does so when it removes memory. Both hold
//! `pgtable_split_lock`, and so does kexec, which copies all tables of the linear map. (Memory
//! hotplug's own lock is no help: an offline that retries may hold it for minutes.)
//! [`CollapseGuard`] also excludes ptdump, which walks through tables of memory that is not its
//! own, by `init_mm`'s mmap lock. Resume from hibernation copies the linear map on the only CPU,
//! with interrupts off. Other readers read the entries of one address:
//!
//! - `kernel_page_present()` is an RCU reader, and perf has interrupts off. Tables that a collapse
//!   takes out of the linear map are freed after an RCU grace period. Memory hotplug frees only
//!   tables of memory that nobody uses.
//! - Text patching calls `vmalloc_to_page()` for memory in an execmem cache. The table of a chunk
//!   is deposited unchanged until it maps that chunk again, or the chunk is freed; see `chunks`.
//!   Nothing collapses other vmalloc memory.

use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop, //
};

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

/// Proof that live leaves may change their size: all CPUs have FEAT_BBML3, and with `rodata=on` the
/// linear map is mapped by blocks.
#[derive(Clone, Copy)]
pub(crate) struct ResizeLeaves(());

impl ResizeLeaves {
    /// Returns the proof. Returns [`None`] on other machines and command lines, and in early boot,
    /// before the features of all CPUs are known.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: An FFI call without preconditions.
        unsafe { bindings::kpgtable_may_resize() }.then_some(Self(()))
    }
}

/// Proof that with `rodata=on` the linear map is mapped by blocks whose size never changes, because
/// a CPU lacks FEAT_BBML3. Leaves change their attributes, as wholes.
#[derive(Clone, Copy)]
pub(crate) struct WholeLeaves(());

/// Proof that live leaves may change, and how.
#[derive(Clone, Copy)]
pub(crate) enum ChangeLeaves {
    /// Their size may change too.
    Resize(ResizeLeaves),
    /// They keep their size: a range changes only if it has whole leaves.
    Whole(WholeLeaves),
}

impl ChangeLeaves {
    /// Returns the proof. Returns [`None`] where this crate changes nothing.
    pub(crate) fn get() -> Option<Self> {
        if let Some(token) = ResizeLeaves::get() {
            return Some(Self::Resize(token));
        }
        // SAFETY: An FFI call without preconditions.
        unsafe { bindings::kpgtable_whole_leaves() }.then_some(Self::Whole(WholeLeaves(())))
    }
}

impl From<ResizeLeaves> for ChangeLeaves {
    fn from(token: ResizeLeaves) -> Self {
        Self::Resize(token)
    }
}

impl From<WholeLeaves> for ChangeLeaves {
    fn from(token: WholeLeaves) -> Self {
        Self::Whole(token)
    }
}

/// The right to change the attributes of leaves.
///
/// # Safety
///
/// While a value of the type exists, nobody else changes the leaves that its owner may change.
pub(crate) unsafe trait MayChange {
    /// Returns the guard of `pgtable_split_lock`, if the right comes from that.
    fn split_guard(&mut self) -> Option<&mut PgtableSplitGuard> {
        None
    }
}

/// `pgtable_split_lock` is held: the right to split leaves, and to change their attributes.
pub(crate) struct PgtableSplitGuard(NotThreadSafe);

impl PgtableSplitGuard {
    /// Takes the lock. A caller that already holds it deadlocks.
    ///
    /// Context: may sleep.
    pub(crate) fn lock(_: impl Into<ChangeLeaves>) -> Self {
        // SAFETY: An FFI call without preconditions; it returns only when the mutex is held.
        unsafe { bindings::kpgtable_lock() };
        Self(NotThreadSafe)
    }

    /// Returns a guard of the lock that C code has taken, and is going to release.
    ///
    /// # Safety
    ///
    /// This thread has called `kpgtable_lock()`, and calls `kpgtable_unlock()` after the last use
    /// of the result. There is no other guard in this thread.
    pub(crate) unsafe fn held(_: ChangeLeaves) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(NotThreadSafe))
    }
}

impl Drop for PgtableSplitGuard {
    fn drop(&mut self) {
        // SAFETY: `lock()` took the mutex in this thread.
        unsafe { bindings::kpgtable_unlock() };
    }
}

// SAFETY: Everybody else who changes these leaves takes the mutex too, see the protocol above.
unsafe impl MayChange for PgtableSplitGuard {
    fn split_guard(&mut self) -> Option<&mut PgtableSplitGuard> {
        Some(self)
    }
}

/// Data that `pgtable_split_lock` guards.
pub(crate) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: `get()` is the only access, and demands the one guard that exists at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Makes `value` available to holders of the lock.
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Returns the data, for as long as the guard is borrowed for it.
    pub(crate) fn get<'a>(&'static self, _: &'a mut PgtableSplitGuard) -> &'a mut T {
        // SAFETY: There is one guard at a time, and it stays mutably borrowed for as long as the
        // result is used.
        unsafe { &mut *self.0.get() }
    }
}

/// `init_mm`'s mmap lock is held for reading, which excludes walks through all tables.
struct WalkersExcluded(NotThreadSafe);

impl Drop for WalkersExcluded {
    fn drop(&mut self) {
        // SAFETY: `CollapseGuard::try_lock()` took the lock in this thread.
        unsafe { bindings::kpgtable_admit_walkers() };
    }
}

/// The right to take tables out of use: `pgtable_split_lock` is held, and nobody walks through all
/// tables.
pub(crate) struct CollapseGuard {
    // Dropped in this order.
    split: PgtableSplitGuard,
    _walkers: WalkersExcluded,
}

impl CollapseGuard {
    /// Takes both locks. Returns [`None`] while somebody walks through all tables, which may take
    /// long.
    ///
    /// Context: may sleep.
    pub(crate) fn try_lock(token: ResizeLeaves) -> Option<Self> {
        // SAFETY: An FFI call without preconditions; it does not wait.
        if !unsafe { bindings::kpgtable_try_exclude_walkers() } {
            return None;
        }
        let walkers = WalkersExcluded(NotThreadSafe);

        Some(Self {
            split: PgtableSplitGuard::lock(token),
            _walkers: walkers,
        })
    }

    /// Returns the guard of `pgtable_split_lock`.
    pub(crate) fn split(&mut self) -> &mut PgtableSplitGuard {
        &mut self.split
    }
}

// SAFETY: It holds a `PgtableSplitGuard`.
unsafe impl MayChange for CollapseGuard {
    fn split_guard(&mut self) -> Option<&mut PgtableSplitGuard> {
        Some(&mut self.split)
    }
}

/// The right to change the validity of pages while hibernation copies memory: no other CPU runs,
/// and this one has interrupts off.
pub(crate) struct SnapshotContext(NotThreadSafe);

impl SnapshotContext {
    /// Returns the right, in the part of hibernation that copies memory.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: An FFI call without preconditions.
        unsafe { bindings::kpgtable_in_snapshot() }.then_some(Self(NotThreadSafe))
    }
}

// SAFETY: No other CPU runs, and nothing interrupts this one.
unsafe impl MayChange for SnapshotContext {}
