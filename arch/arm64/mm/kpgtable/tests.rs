// SPDX-License-Identifier: GPL-2.0

//! KUnit tests: `pure` by value, `live` and `whole` by what memory really does; and what the tests
//! share.
//!
//! The live tests ask the MMU: a store through `copy_to_kernel_nofault()` succeeds where memory is
//! writable and fails where it is not.

use kernel::{
    bindings,
    kunit,
    page::PAGE_SIZE,
    prelude::*,
    sizes::SZ_2M, //
};

use super::{
    descriptor::Leaf,
    granule::LeafSize,
    lock::{
        ChangeLeaves,
        PgtableSplitGuard,
        ResizeLeaves,
        WholeLeaves, //
    },
    owned::{
        OwnedMapping,
        OwnedRange, //
    },
    table::KernelTables,
    walk::{
        self,
        Tables, //
    }, //
};

mod live;
mod pure;
mod whole;

/// Returns the proof that leaves can be split, or has the test skipped.
pub(crate) fn token_or_skip() -> Option<ResizeLeaves> {
    let token = ResizeLeaves::get();
    if token.is_none() {
        kunit::mark_skipped(c"leaves cannot be split");
    }
    token
}

/// Returns the proof that leaves keep their size, or has the test skipped.
pub(crate) fn whole_or_skip() -> Option<WholeLeaves> {
    match ChangeLeaves::get() {
        Some(ChangeLeaves::Whole(token)) => Some(token),
        _ => {
            kunit::mark_skipped(c"leaves do not keep their size");
            None
        }
    }
}

/// Returns `size` bytes at `addr`, rounded to whole pages, as memory of the test.
pub(crate) fn owned(addr: usize, size: usize) -> Result<OwnedRange> {
    let start = addr & !(PAGE_SIZE - 1);
    let end = (addr + size).next_multiple_of(PAGE_SIZE);

    // SAFETY: The tests own the memory that they ask for. Of other memory of the same chunk or
    // block they only read entries of tables, which the owners keep.
    unsafe { OwnedRange::new(start, end - start) }
}

/// Returns the word at `addr`, if that can be read.
pub(crate) fn load(addr: usize) -> Option<u32> {
    let mut word = 0u32;
    let buffer = (&raw mut word).cast::<c_void>();
    let addr = addr as *const c_void;

    // SAFETY: The buffer has the size given; an invalid address gives an error.
    let ret = unsafe { bindings::copy_from_kernel_nofault(buffer, addr, size_of::<u32>()) };
    (ret == 0).then_some(word)
}

/// Returns whether `word`, which is there already, can be stored at `addr`.
pub(crate) fn can_store(addr: usize, word: u32) -> bool {
    let buffer = (&raw const word).cast::<c_void>();
    let addr = addr as *mut c_void;

    // SAFETY: An invalid address gives an error, and nothing changes otherwise.
    unsafe { bindings::copy_to_kernel_nofault(addr, buffer, size_of::<u32>()) == 0 }
}

/// Returns whether the word at `addr` can be read and written.
pub(crate) fn is_writable(addr: usize) -> bool {
    load(addr).is_some_and(|word| can_store(addr, word))
}

/// Returns whether the word at `addr` can be read, but not written.
pub(crate) fn is_read_only(addr: usize) -> bool {
    load(addr).is_some_and(|word| !can_store(addr, word))
}

/// Returns the linear alias of each page of `size` bytes of a vmalloc area at `addr`.
pub(crate) fn aliases(addr: usize, size: usize) -> Result<KVec<usize>> {
    let mut aliases = KVec::new();

    // SAFETY: The tests own the memory that they ask for.
    let mapping = unsafe { OwnedMapping::find(addr, size) }?;
    for extent in mapping.pages()?.alias_extents() {
        for page in extent.step_by(PAGE_SIZE) {
            aliases.push(page, GFP_KERNEL)?;
        }
    }
    Ok(aliases)
}

/// Returns how many bytes leaves of each size map in `size` bytes at `addr`.
pub(crate) fn sizes(addr: usize, size: usize) -> Result<[usize; LeafSize::ALL.len()]> {
    let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
    let range = owned(addr, size)?;
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::with_mapping(&mut guard, &range);
    let mut sizes = [0; LeafSize::ALL.len()];

    walk::measure(&mut tables, range.range(), |size, bytes| {
        sizes[size.index()] += bytes;
    });
    Ok(sizes)
}

/// Returns the leaf that maps `addr`.
pub(crate) fn leaf_at(addr: usize) -> Result<Leaf> {
    let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
    let range = owned(addr, 1)?;
    let mut guard = PgtableSplitGuard::lock(token);
    let tables = KernelTables::with_mapping(&mut guard, &range);

    walk::find(&tables, range.range().start).leaf.ok_or(EINVAL)
}

/// Waits until leaves have the `wanted` sizes, for up to two seconds. Returns whether they have.
pub(crate) fn becomes(
    addr: usize,
    size: usize,
    wanted: [usize; LeafSize::ALL.len()],
) -> Result<bool> {
    for _ in 0..40 {
        if sizes(addr, size)? == wanted {
            return Ok(true);
        }
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(50) };
    }
    Ok(false)
}

/// Lets the page of the linear map at `addr` collapse again, after `permission::map_by_ptes()`.
fn undo_map_by_ptes(token: ResizeLeaves, addr: usize) -> Result {
    let mut guard = PgtableSplitGuard::lock(token);
    let mut tables = KernelTables::linear_map(&mut guard);
    let end = walk::find(&tables, addr);
    let (Some(entry), Some(leaf)) = (end.entry, end.leaf) else {
        return Err(EINVAL);
    };

    tables.write(entry, end.level, leaf.clear_cont().descriptor());
    Ok(())
}

/// vmalloc memory of two chunks, which the test owns.
pub(crate) struct Memory {
    pub(crate) addr: usize,
}

impl Memory {
    pub(crate) const SIZE: usize = 2 * SZ_2M;

    pub(crate) fn new(huge: bool) -> Result<Self> {
        // SAFETY: Allocating is always safe in a context that can sleep.
        let ptr = unsafe {
            if huge {
                bindings::vmalloc_huge_node_noprof(Self::SIZE, bindings::GFP_KERNEL, -1)
            } else {
                bindings::vmalloc_noprof(Self::SIZE)
            }
        };
        if ptr.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self { addr: ptr as usize })
    }

    pub(crate) fn page(&self, index: usize) -> usize {
        self.addr + index * PAGE_SIZE
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: The memory is the test's own, and all of it is writable again.
        unsafe { bindings::vfree(self.addr as *const c_void) };
    }
}
