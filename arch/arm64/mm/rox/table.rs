// SPDX-License-Identifier: GPL-2.0

//! The live page tables of the kernel.
//!
//! The only file that touches them. What it is asked to do with them is in `walk`; who may ask is
//! in `lock`.

use core::{
    mem::ManuallyDrop,
    ops::Range, //
};

use kernel::{
    bindings,
    build_assert::static_assert, //
};

use super::{
    blocks,
    coalesce::Join,
    descriptor::{
        self,
        Descriptor,
        Leaf, //
    },
    execmem::GEOMETRY,
    flush::Flush,
    geometry::{
        Geometry,
        LeafSize,
        Level, //
    },
    lock::{
        JoinLock,
        MayChange,
        OnlyCpu,
        ShapeLock, //
    },
    stats,
    walk::{
        Exclusive,
        Shape,
        Tables, //
    },
    worker, //
};

static_assert!(descriptor::RDONLY == bindings::PTE_RDONLY);
static_assert!(descriptor::WRITE == bindings::PTE_WRITE);
static_assert!(descriptor::PXN == bindings::PTE_PXN);
static_assert!(descriptor::PRESENT_INVALID == bindings::PTE_PRESENT_INVALID);
static_assert!(descriptor::WAS_CONTIGUOUS == bindings::PTE_WAS_CONT);
static_assert!(descriptor::WAS_BLOCK == bindings::PMD_TABLE_WAS_BLOCK);
static_assert!(descriptor::PENDING == bindings::PMD_TABLE_PENDING);

/// A table that no entry points to. One that never was part of the kernel's page tables is freed
/// when it is dropped; for the others there is [`Self::free_later`].
///
/// # Invariants
///
/// The address of a page that was allocated for a table. No entry points to it, and nobody else
/// writes to it.
pub(super) struct Table(*mut u64);

// SAFETY: A table may be used and freed by any thread.
unsafe impl Send for Table {}

impl Table {
    /// Allocates a table of `level`.
    ///
    /// Context: may sleep.
    pub(super) fn new(level: Level) -> Option<Self> {
        // SAFETY: May sleep, by the contract of this function.
        let table = unsafe { bindings::rox_alloc_table(level == Level::Pte) };

        if table.is_null() {
            return None;
        }
        // INVARIANT: It was just allocated.
        Some(Self(table))
    }

    /// Returns the address, and leaves the table to the caller.
    fn into_raw(self) -> *mut u64 {
        ManuallyDrop::new(self).0
    }

    /// Frees the table when nobody reads it any more who began to before this.
    pub(super) fn free_later(self) {
        // SAFETY: No entry points to it by the type invariants, and RCU readers alone may read it.
        unsafe { bindings::rox_free_table_later(self.into_raw()) };
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: Nobody else uses it by the type invariants.
        unsafe { bindings::rox_free_table(self.0) };
    }
}

/// The kernel's page tables, and the right to change them.
pub(crate) struct KernelTables<R> {
    right: R,
}

impl<R: MayChange> KernelTables<R> {
    /// Wraps the right.
    ///
    /// # Safety
    ///
    /// Entries come from walks through these tables alone, and walks are for memory for which the
    /// invariants of [`Entry`] hold.
    pub(crate) unsafe fn new(right: R) -> Self {
        Self { right }
    }

    /// Returns the right.
    pub(crate) fn right(&mut self) -> &mut R {
        &mut self.right
    }

    /// Makes what was written visible to all walkers, this CPU's included.
    pub(crate) fn sync(&mut self) {
        // SAFETY: Barriers alone.
        unsafe { bindings::rox_sync_tables() };
    }

    /// Returns how many operations it takes to remove leaves in `range` from all TLBs.
    pub(crate) fn operations(&self, range: &Range<usize>) -> usize {
        // SAFETY: Reads a CPU capability.
        unsafe { bindings::rox_tlb_operations(range.start, range.end) }
    }

    /// Begins to remove leaves in `range` from all TLBs. What was written is visible.
    pub(crate) fn begin_invalidation(&mut self, range: &Range<usize>) {
        // SAFETY: TLBs can be emptied at any time.
        unsafe { bindings::rox_invalidate_tlb(range.start, range.end) };
    }

    /// Waits until what [`Self::begin_invalidation`] has begun is done.
    pub(crate) fn complete_invalidation(&mut self) {
        // SAFETY: Barriers alone.
        unsafe { bindings::rox_complete_invalidation() };
    }
}

impl KernelTables<OnlyCpu> {
    /// Removes everything from the TLB of this CPU, after what was written is visible.
    pub(crate) fn invalidate_all(&mut self) {
        self.sync();
        // SAFETY: TLBs can be emptied at any time.
        unsafe { bindings::rox_invalidate_local_tlb() };
    }
}

impl Exclusive for KernelTables<OnlyCpu> {}

/// An entry of a table that is part of the kernel's page tables, or will be.
///
/// # Invariants
///
/// The table is not freed as long as the entry can be asked for. Either it maps memory of the
/// caller. Or, for `stats` and `coalesce`, it maps any part of the linear map: [`ShapeLock`] keeps
/// joins by others and the removal of memory away.
#[derive(Clone, Copy)]
pub(crate) struct Entry(*mut u64);

impl<R: MayChange> Tables for KernelTables<R> {
    type Entry = Entry;

    // With two levels of tables the kernel has none of level 1.
    const TOP: Level = match bindings::CONFIG_PGTABLE_LEVELS {
        2 => Level::Pmd,
        _ => Level::Pud,
    };

    const GEOMETRY: Geometry = GEOMETRY;

    fn top(&self, addr: usize) -> Option<Entry> {
        // SAFETY: Tables above go with the memory that they map, as those do that have leaves.
        let entry = unsafe { bindings::rox_top_entry(addr) };

        // INVARIANT: As for those.
        (!entry.is_null()).then_some(Entry(entry))
    }

    fn first(&self, descriptor: Descriptor) -> Entry {
        // INVARIANT: By the contract of `Tables` this is a table that an entry points to.
        // SAFETY: Converts an address.
        Entry(unsafe { bindings::rox_table(descriptor.bits()) })
    }

    fn at(&self, entry: Entry, offset: isize) -> Entry {
        // INVARIANT: By the contract of `Tables` this is an entry of the same table.
        Entry(entry.0.wrapping_offset(offset))
    }

    fn read(&self, entry: Entry) -> Descriptor {
        // A volatile access is READ_ONCE(); a helper function for each entry of a table costs
        // more than all else that is done with it.
        // SAFETY: Valid by the type invariants, and aligned. All other accesses are single ones
        // too: the kernel's by READ_ONCE() and WRITE_ONCE(), and the MMU's.
        Descriptor::from_bits(unsafe { entry.0.read_volatile() })
    }

    fn write(&mut self, entry: Entry, level: Level, descriptor: Descriptor) {
        if level == Level::Pte {
            // SAFETY: As for `read()`; here it is WRITE_ONCE(). `self` is the right to change it.
            unsafe { entry.0.write_volatile(descriptor.bits()) };
        } else {
            // It may be in the top table, which is read-only.
            // SAFETY: As above.
            unsafe { bindings::rox_write_upper_entry(entry.0, descriptor.bits()) };
        }
    }

    fn resized(&mut self, addr: usize, bytes: usize, from: LeafSize, to: LeafSize) {
        stats::resized(&mut self.right, addr, bytes, from, to);
    }

    fn needs_break(&self) -> bool {
        // SAFETY: Reads a CPU capability.
        unsafe { bindings::rox_needs_break() }
    }

    fn invalidate_leaves(&mut self, range: &Range<usize>) {
        let mut flush = Flush::new();

        flush.add(self, range.clone());
        flush.finish(self);
    }

    fn changed(&mut self, addr: usize) {
        worker::note_table(self, addr);
    }
}

impl Shape for KernelTables<ShapeLock> {
    fn allocate(&mut self, level: Level, addr: usize) -> Option<(Entry, u64)> {
        let parked = match level {
            Level::Pte => blocks::take_table(&mut self.right, addr),
            _ => None,
        };
        let table = parked.or_else(|| Table::new(level))?;
        // SAFETY: Converts an address.
        let address = unsafe { bindings::rox_table_address(table.0) };

        // INVARIANT: The table becomes part of the kernel's page tables.
        Some((Entry(table.into_raw()), address))
    }

    fn publish(&mut self) {
        self.sync();
    }

    fn may_execute(&self, addr: usize) -> bool {
        // SAFETY: Compares an address.
        !unsafe { bindings::rox_is_linear_map(addr) }
    }
}

impl Join for KernelTables<JoinLock> {
    fn may_join(&mut self, leaf: Leaf, range: &Range<usize>) -> bool {
        // SAFETY: Compares an address.
        if !unsafe { bindings::rox_is_linear_map(range.start) } {
            return true;
        }
        // What is read-only, or shared by a realm, may have several owners, of whom each makes his
        // part as it was when he frees it; that must not take memory for a split. A block of a
        // cache has one.
        // SAFETY: Reads a variable that does not change after boot.
        let shared = unsafe { bindings::prot_ns_shared } as u64;
        let is_default = leaf.is_writable() && leaf.descriptor().bits() & shared == 0;

        // SAFETY: Looks at what kind of memory it is.
        let may_be_leaf = unsafe { bindings::rox_may_be_leaf(range.start, range.len()) };

        may_be_leaf && (is_default || blocks::is_alias(self.right.shape_lock(), range))
    }

    fn invalidate_walks(&mut self, range: &Range<usize>) {
        self.sync();
        // SAFETY: TLBs and walk caches can be emptied at any time.
        unsafe { bindings::rox_invalidate_walks(range.start, range.end) };
    }

    fn retire(&mut self, first: Entry, range: &Range<usize>) {
        // INVARIANT: By the contract of `Join` no entry points to it; and only tables that have
        // the place of a block are retired, which `allocate()` has allocated.
        let table = Table(first.0);

        if let Some(table) = blocks::park(self.right.shape_lock(), range.start, table) {
            table.free_later();
        }
    }
}
