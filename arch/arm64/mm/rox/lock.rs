// SPDX-License-Identifier: GPL-2.0

//! Who may change the shape of kernel page tables, and the permissions in them.
//!
//! # The protocol
//!
//! One mutex, `pgtable_split_lock`, is held over the whole of a change: the look at the leaves, the
//! split of those that the range cuts, the stores, and the invalidation of TLBs. But who changes
//! the linear map by `set_memory_valid()`, `set_memory_encrypted()`, `_decrypted()` or
//! `set_direct_map_*()` invalidates TLBs afterwards; and `vfree()` looks at the leaves under an
//! earlier hold: nobody joins those that have to change. So nobody who holds the mutex ever sees a
//! leaf change its size, and what one CPU reads from an entry and writes back is still what the
//! entry holds. When it is free, no contiguous run has leaves with different attributes, and TLBs
//! hold nothing that the tables do not say, but for those changes of the linear map.
//!
//! A reader-writer lock would let changes of permissions run side by side. A mutex is enough: every
//! such change took it before, for the split, and what is added is a walk through the range.
//!
//! # Who takes it
//!
//! All who can sleep: `set_memory_*()`, `set_direct_map_*()`, `vfree()` of memory whose
//! permissions it resets, the caches, secretmem, realms (`set_memory_encrypted()` and
//! `_decrypted()`), kexec for its copy of the linear map, KFENCE when it
//! makes pages of its pool, late, memory hotplug when it changes the linear map, the worker that
//! joins leaves, and those who count leaves or parked tables. Taking it asserts that the caller can
//! sleep. The caches take it with their own mutex held, so that `set_memory_*()` asks them about
//! memory before it takes it.
//!
//! # Who does not, and why that is safe
//!
//! - KFENCE flips single pages of its pool in atomic context. The pool is mapped by pages from
//!   before its first use, nobody else changes its permissions, and nobody splits or joins leaves
//!   of it: none has the note of a split.
//! - debug_pagealloc flips pages in atomic context. With it the linear map is mapped by pages
//!   and there is no [`Bbml3`], so that nothing here runs.
//! - Hibernation makes a page valid, copies it, and makes it invalid again, with interrupts off on
//!   the only CPU. The one leaf that maps the page flips as a whole, however large it is, so that
//!   nothing is split; see [`OnlyCpu`]. Nothing of it but validity changes, and no other entry, so
//!   that who holds the mutex while it is preempted finds all entries as they were.
//! - Boot, before all CPUs were looked at: there is no [`Bbml3`] yet, and one CPU.
//! - vmalloc maps and unmaps areas under its own locks. It frees a table only if no area has pages
//!   in it; a walk outside of the linear map looks at no table but those that map the range of its
//!   caller.
//! - Who reads without the lock reads each entry once, and an entry is a table or a leaf of the
//!   right memory at any time. `ptep_get_lockless()` also reads the first leaf of a contiguous run,
//!   until that is one too: it is, as long as any other is.
//!
//! # When tables go
//!
//! Who joins leaves takes tables out of use, and memory hotplug does so when it removes memory:
//! both take `pgtable_split_lock`, as kexec does, which copies the linear map. (The lock of memory
//! hotplug itself is held while an offline retries, which may be minutes.) [`JoinLock`] also keeps
//! ptdump out, which walks through tables of memory that is not its own, by `init_mm`'s mmap lock.
//! Resume from hibernation copies the linear map on the only CPU, with interrupts off. The rest
//! reads one address:
//!
//! - `kernel_page_present()` is an RCU reader, perf has interrupts off: tables of the linear map
//!   are freed after a grace period.
//! - `vmalloc_to_page()` on memory in a cache, for text patching: a block's table is parked, as it
//!   is, until it maps that block again or the block is freed; see `blocks`. No other memory of
//!   vmalloc is joined.

use core::mem::ManuallyDrop;

use kernel::{
    bindings,
    types::NotThreadSafe, //
};

/// Proof that kernel leaves may change size while they are live, and that the linear map is mapped
/// with leaves that do: FEAT_BBML3 on all CPUs, and `rodata=on`.
#[derive(Clone, Copy)]
pub(crate) struct Bbml3(());

impl Bbml3 {
    /// Returns the proof, or [`None`] on machines and command lines where there is none, and early
    /// in boot, before all CPUs have been looked at.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: Reads variables that do not change after boot.
        unsafe { bindings::rox_supported() }.then_some(Self(()))
    }
}

/// The right to change leaves of kernel page tables: their permissions.
///
/// # Safety
///
/// As long as there is a value of the type, nobody else changes leaves that its owner may change.
pub(crate) unsafe trait MayChange {
    /// Returns the lock of the shape, if that is the right.
    fn shape(&mut self) -> Option<&mut ShapeLock> {
        None
    }
}

/// The right to change the shape of kernel page tables too: `pgtable_split_lock` is held.
pub(crate) struct ShapeLock(NotThreadSafe);

impl ShapeLock {
    /// Takes the lock.
    ///
    /// Context: may sleep.
    pub(crate) fn lock(_: Bbml3) -> Self {
        // SAFETY: A mutex. Who has it already would wait forever, and get no second one.
        unsafe { bindings::rox_lock_shape() };
        Self(NotThreadSafe)
    }

    /// Returns the lock that C code has taken, and is going to release.
    ///
    /// # Safety
    ///
    /// This thread has taken it by `rox_lock_shape()`, and releases it after the last use of what
    /// is returned. Nobody else in this thread has a value of the type.
    pub(crate) unsafe fn held(_: Bbml3) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(NotThreadSafe))
    }
}

impl Drop for ShapeLock {
    fn drop(&mut self) {
        // SAFETY: It is held, by this thread.
        unsafe { bindings::rox_unlock_shape() };
    }
}

// SAFETY: The lock is held.
unsafe impl MayChange for ShapeLock {
    fn shape(&mut self) -> Option<&mut ShapeLock> {
        Some(self)
    }
}

// SAFETY: As long as it is borrowed nobody else uses the right.
unsafe impl<R: MayChange> MayChange for &mut R {
    fn shape(&mut self) -> Option<&mut ShapeLock> {
        (**self).shape()
    }
}

/// ptdump does not walk through all tables.
struct NoDump(NotThreadSafe);

impl Drop for NoDump {
    fn drop(&mut self) {
        // SAFETY: It was taken, by this thread.
        unsafe { bindings::rox_allow_dump() };
    }
}

/// The right to take tables out of use: [`ShapeLock`], and ptdump does not walk through all tables.
pub(crate) struct JoinLock {
    // Dropped in this order.
    shape: ShapeLock,
    _no_dump: NoDump,
}

impl JoinLock {
    /// Takes the locks, unless ptdump is walking through tables, which may take long.
    ///
    /// Context: may sleep.
    pub(crate) fn try_lock(bbml3: Bbml3) -> Option<Self> {
        // SAFETY: Tries to take a lock, and does not wait for it.
        if !unsafe { bindings::rox_try_prevent_dump() } {
            return None;
        }
        let no_dump = NoDump(NotThreadSafe);

        Some(Self {
            shape: ShapeLock::lock(bbml3),
            _no_dump: no_dump,
        })
    }

    /// Returns the lock of the shape.
    pub(crate) fn shape_lock(&mut self) -> &mut ShapeLock {
        &mut self.shape
    }
}

// SAFETY: It has a `ShapeLock`.
unsafe impl MayChange for JoinLock {
    fn shape(&mut self) -> Option<&mut ShapeLock> {
        Some(&mut self.shape)
    }
}

/// The right to change permissions of pages while the machine sleeps: no other CPU runs, and this
/// one has interrupts off.
pub(crate) struct OnlyCpu(NotThreadSafe);

impl OnlyCpu {
    /// Returns the right, in the part of hibernation that copies memory.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: Reads the state of the system and of this CPU.
        unsafe { bindings::rox_is_only_cpu() }.then_some(Self(NotThreadSafe))
    }
}

// SAFETY: Nobody else runs.
unsafe impl MayChange for OnlyCpu {}
