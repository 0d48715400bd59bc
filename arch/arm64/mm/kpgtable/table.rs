// SPDX-License-Identifier: GPL-2.0

//! The live page tables of the kernel.
//!
//! The only file that touches them. `walk` and the files like it decide what to do with them;
//! `lock` says who may.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Range, //
};

use kernel::{
    bindings,
    build_assert::static_assert, //
};

use super::{
    change::Exclusive,
    chunks,
    collapse::Collapse,
    descriptor::{
        self,
        Descriptor,
        Leaf,
        TableAddress,
        TableDescriptor, //
    },
    ffi,
    flush::Flush,
    granule::{
        Granule,
        LeafSize,
        Level, //
    },
    lock::{
        CollapseGuard,
        MayChange,
        PgtableSplitGuard,
        ResizeLeaves,
        SnapshotContext, //
    },
    owned::OwnedRange,
    split::Split,
    stats,
    walk::Tables,
    worker,
    GRANULE, //
};

static_assert!(descriptor::RDONLY == bindings::PTE_RDONLY);
static_assert!(descriptor::WRITE == bindings::PTE_WRITE);
static_assert!(descriptor::PXN == bindings::PTE_PXN);
static_assert!(descriptor::PRESENT_INVALID == bindings::PTE_PRESENT_INVALID);
static_assert!(descriptor::WAS_CONT == bindings::PTE_WAS_CONT);
static_assert!(descriptor::WAS_BLOCK == bindings::PMD_TABLE_WAS_BLOCK);
static_assert!(descriptor::PENDING == bindings::PMD_TABLE_PENDING);

/// A table that no entry has pointed to yet. It is freed when it is dropped.
///
/// # Invariants
///
/// The address of a page that was allocated for a table, and that nobody else uses.
pub(crate) struct NewTable(*mut u64);

// SAFETY: Any thread may use and free the page.
unsafe impl Send for NewTable {}

impl NewTable {
    /// Allocates a table of `level`.
    ///
    /// Context: may sleep.
    pub(crate) fn new(level: Level) -> Option<Self> {
        // SAFETY: An FFI call without preconditions but the context.
        let table = unsafe { bindings::kpgtable_alloc_table(level == Level::Pte) };

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
}

impl Drop for NewTable {
    fn drop(&mut self) {
        // SAFETY: `kpgtable_alloc_table()` returned it, and nobody else uses it.
        unsafe { bindings::kpgtable_free_table(self.0) };
    }
}

/// A table that no entry points to any more, but that software may still read. When it is dropped,
/// it is freed after an RCU grace period.
///
/// # Invariants
///
/// The address of a page that was allocated for a table. No entry points to it, and nobody writes
/// to it.
pub(crate) struct RetiredTable(*mut u64);

// SAFETY: Any thread may use and free the page.
unsafe impl Send for RetiredTable {}

impl RetiredTable {
    /// Returns the address, and leaves the table to the caller.
    fn into_raw(self) -> *mut u64 {
        ManuallyDrop::new(self).0
    }
}

impl From<NewTable> for RetiredTable {
    /// A new table may be kept like one that software still reads.
    fn from(table: NewTable) -> Self {
        // INVARIANT: Nobody else uses it.
        Self(table.into_raw())
    }
}

impl Drop for RetiredTable {
    fn drop(&mut self) {
        // SAFETY: `kpgtable_alloc_table()` returned it, and no entry points to it. What still reads
        // it is an RCU reader, or reads memory of a chunk that nobody owns any more; see `lock`.
        unsafe { bindings::kpgtable_free_table_later(self.0) };
    }
}

/// The kernel's page tables, for the holder of a guard.
///
/// Walks reach the linear map, and one range of vmalloc memory.
///
/// # Invariants
///
/// For `'a` nobody frees or unmaps what is mapped at `mapping`.
pub(crate) struct KernelTables<'a, G> {
    guard: &'a mut G,
    mapping: Range<usize>,
}

impl<'a, G: MayChange> KernelTables<'a, G> {
    /// Returns the tables of the linear map.
    pub(crate) fn linear_map(guard: &'a mut G) -> Self {
        // INVARIANT: The range is empty.
        Self {
            guard,
            mapping: 0..0,
        }
    }

    /// Returns the tables of the linear map and of `mapping`.
    pub(crate) fn with_mapping(guard: &'a mut G, mapping: &'a OwnedRange) -> Self {
        // INVARIANT: For `'a` the caller owns the memory.
        Self {
            guard,
            mapping: mapping.range().clone(),
        }
    }

    /// Returns the guard.
    pub(crate) fn guard(&mut self) -> &mut G {
        self.guard
    }
}

impl<'a> KernelTables<'a, CollapseGuard> {
    /// Returns the tables of the linear map and of `chunk`, as [`chunks::take_changed`] has
    /// returned it for this guard.
    pub(crate) fn with_chunk(guard: &'a mut CollapseGuard, chunk: &Range<usize>) -> Self {
        // INVARIANT: A chunk is freed after `chunks::remove()`, which takes the guard.
        Self {
            guard,
            mapping: chunk.clone(),
        }
    }
}

impl Exclusive for KernelTables<'_, SnapshotContext> {}

/// An entry of a table that is, or is going to be, part of the kernel's page tables.
///
/// # Invariants
///
/// The address of an entry of a table that is not freed during `'a`, or until [`Collapse::retire`]
/// takes it. A guard is borrowed for `'a`. The table maps memory that nobody frees or unmaps
/// meanwhile; or it maps a part of the linear map, whose tables are freed only by holders of that
/// guard's lock, or while no other CPU runs.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(*mut u64, PhantomData<&'a ()>);

impl<'a, G: MayChange> Tables for KernelTables<'a, G> {
    type Entry = Entry<'a>;

    // With two levels of tables the kernel has none of level 1.
    const TOP: Level = match bindings::CONFIG_PGTABLE_LEVELS {
        2 => Level::Pmd,
        _ => Level::Pud,
    };

    const GRANULE: Granule = GRANULE;

    fn top(&self, addr: usize) -> Option<Entry<'a>> {
        // A split looks at what maps both sides of the end of the mapping.
        let end = self.mapping.end;
        let is_reached = self.mapping.contains(&addr)
            || (addr == end && addr % GRANULE.run_size(Self::TOP) != 0);
        // SAFETY: A table that maps a part of `mapping` stays, by the type invariants. For other
        // addresses C returns only entries of the linear map.
        let entry = unsafe { bindings::kpgtable_top_entry(addr, is_reached) };

        // INVARIANT: As above; the guard is borrowed for `'a`.
        (!entry.is_null()).then_some(Entry(entry, PhantomData))
    }

    fn first(&self, table: TableDescriptor) -> Entry<'a> {
        // SAFETY: An FFI call without preconditions; it converts an address.
        let first = unsafe { bindings::kpgtable_table(table.descriptor().bits()) };

        // INVARIANT: By the contract of `Tables` an entry of these tables points to this table.
        Entry(first, PhantomData)
    }

    fn at(&self, entry: Entry<'a>, offset: isize) -> Entry<'a> {
        let start = entry.0 as usize & !(GRANULE.page() - 1);
        let moved = entry.0.wrapping_offset(offset) as usize;
        debug_assert_eq!(moved & !(GRANULE.page() - 1), start);
        let entry_offset = moved & (GRANULE.page() - 1);

        // INVARIANT: A table is one page, so this is an entry of the same table.
        Entry(entry.0.with_addr(start | entry_offset), PhantomData)
    }

    fn read(&self, entry: Entry<'a>) -> Descriptor {
        // A volatile access is READ_ONCE(). Calling a helper function for each entry of a table
        // would cost more than all else that is done with the entry.
        // SAFETY: Valid by the type invariants, and aligned. All other accesses are single ones
        // too: the kernel uses READ_ONCE() and WRITE_ONCE(), and the MMU reads whole entries.
        let bits = unsafe { entry.0.read_volatile() };

        // SAFETY: They were read from live tables.
        unsafe { Descriptor::from_bits(bits) }
    }

    fn write(&mut self, entry: Entry<'a>, level: Level, descriptor: Descriptor) {
        if level == Level::Pte {
            // SAFETY: As for `read()`; a volatile write is WRITE_ONCE(). The guard is the right to
            // change the entry.
            unsafe { entry.0.write_volatile(descriptor.bits()) };
        } else {
            // The entry may be in the top table, which is read-only.
            // SAFETY: As above.
            unsafe { bindings::kpgtable_write_entry(entry.0, descriptor.bits()) };
        }
    }

    fn resized(&mut self, addr: usize, bytes: usize, from: LeafSize, to: LeafSize) {
        if ffi::is_linear_map(addr) {
            stats::resized(self.guard, bytes, from, to);
        }
    }

    fn changed(&mut self, addr: usize) {
        worker::mark_table(self, addr);
    }

    fn needs_break(&self) -> bool {
        ffi::needs_break()
    }

    fn invalidate_leaves(&mut self, range: &Range<usize>) {
        let mut flush = Flush::new();

        flush.add(range.clone());
        flush.finish();
    }
}

impl Split for KernelTables<'_, PgtableSplitGuard> {
    type Permit = ResizeLeaves;

    fn allocate(
        &mut self,
        _: ResizeLeaves,
        level: Level,
        addr: usize,
    ) -> Option<(Self::Entry, TableAddress)> {
        let deposited = match level {
            Level::Pte => chunks::withdraw(self.guard, addr),
            _ => None,
        };
        let table = match deposited {
            Some(table) => table.into_raw(),
            None => NewTable::new(level)?.into_raw(),
        };
        // SAFETY: An FFI call without preconditions; it converts an address.
        let address = unsafe { bindings::kpgtable_table_address(table) };
        // SAFETY: They are the address of a table that `into_raw()` gave up.
        let address = unsafe { TableAddress::from_bits(address) };

        // INVARIANT: Nobody frees the table, which becomes part of the kernel's page tables.
        Some((Entry(table, PhantomData), address))
    }

    fn publish(&mut self) {
        ffi::sync_tables();
    }

    fn may_execute(&self, addr: usize) -> bool {
        !ffi::is_linear_map(addr)
    }
}

impl Collapse for KernelTables<'_, CollapseGuard> {
    fn may_collapse(&mut self, leaf: Leaf, range: &Range<usize>) -> bool {
        if !ffi::is_linear_map(range.start) {
            return true;
        }
        // Memory that is read-only, or that a realm shares, may have several owners. Each of them
        // makes its part the default again when it frees it, and that must not need memory for a
        // split. A chunk has one owner, the cache.
        let is_default =
            leaf.is_writable() && leaf.descriptor().bits() & ffi::prot_ns_shared() == 0;

        ffi::may_be_leaf(range) && (is_default || chunks::is_alias(self.guard.split(), range))
    }

    fn invalidate_walks(&mut self, range: &Range<usize>) {
        ffi::sync_tables();
        ffi::invalidate_walks(range);
    }

    unsafe fn retire(&mut self, first: Self::Entry, range: &Range<usize>) {
        // INVARIANT: By the safety requirements of this function no entry points to the table.
        // `allocate()` has allocated it: only a split sets the bit that says that a table replaced
        // a block.
        let table = RetiredTable(first.0);

        chunks::deposit(self.guard.split(), range.start, table);
    }
}
