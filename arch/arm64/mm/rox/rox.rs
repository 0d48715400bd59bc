// SPDX-License-Identifier: GPL-2.0

//! Executable memory of arm64 from a cache of read-only executable (ROX) blocks, and the read-only
//! data of modules from one of read-only blocks.
//!
//! The caches themselves are mm/execmem.c. What is here fills executable blocks with trapping
//! instructions and changes permissions, on CPUs that can change the size of live leaves, and with
//! `rodata=on`. Documentation/arch/arm64/execmem.rst says what it promises.
//!
//! This file holds the functions that C calls; nothing else here is visible to it.
//!
//! - `geometry`, `descriptor`: sizes of leaves; descriptors as values. Pure.
//! - `walk`: splits and changes leaves, of tables that it knows by a trait. Pure.
//! - `coalesce`: joins leaves again that were split. Pure.
//! - `runs`: pages to contiguous runs; pure. `trap`: what free memory is filled with.
//! - `lock`: who may change page tables, and when. The protocol is there.
//! - `table`: the live tables. `blocks`: the caches' blocks, and a table for each.
//! - `area`: vmalloc areas and the linear aliases of their pages.
//! - `permission`: what a call changes, and in which order. `flush`: what TLBs forget then.
//! - `stats`: how much of the linear map is mapped by leaves of each size.
//! - `worker`: when leaves are joined. `pending`: where; pure.
//! - `execmem`: ranges and block size.
//!
//! `unsafe` is where C is called or memory of C is used, where live tables are read and written,
//! and where a lock guards what is shared; elsewhere it passes contracts on.
//!
//! C header: [`arch/arm64/include/asm/rox.h`](srctree/arch/arm64/include/asm/rox.h)

use core::{
    ops::Range,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    error::from_result,
    page::{
        page_align,
        PAGE_SIZE, //
    },
    prelude::*, //
};

mod area;
mod blocks;
mod coalesce;
mod descriptor;
mod execmem;
mod flush;
mod geometry;
mod lock;
mod pending;
mod permission;
mod runs;
mod stats;
mod table;
#[cfg(CONFIG_ARM64_EXECMEM_ROX_KUNIT_TEST)]
mod tests;
mod trap;
mod walk;
mod worker;

use area::Area;
use descriptor::Change;
use geometry::LeafSize;
use lock::{
    Bbml3,
    ShapeLock, //
};

#[allow(dead_code)]
const __LOG_PREFIX: &[u8] = b"rox\0";

/// Turns the caches on where they can be had. See the header.
///
/// # Safety
///
/// `info` must be valid, and nobody else may use it during the call.
#[export]
pub unsafe extern "C" fn rox_execmem_setup(info: *mut bindings::execmem_info) {
    if let Some(bbml3) = Bbml3::get().filter(|_| execmem::is_wanted()) {
        // SAFETY: By the safety requirements of this function.
        execmem::enable(bbml3, unsafe { &mut *info });
        pr_info!("executable memory and read-only data from caches of 2 MiB blocks\n");
    }
}

/// Changes permissions of a part of a vmalloc area and its linear alias. See the header.
///
/// # Safety
///
/// The caller must own the area that contains `addr`, or the part of a cache that does.
#[export]
pub unsafe extern "C" fn rox_change_memory(
    addr: usize,
    numpages: c_int,
    set_mask: bindings::pgprot_t,
    clear_mask: bindings::pgprot_t,
) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        let change = Change::new(set_mask.pgprot, clear_mask.pgprot).ok_or(EINVAL)?;
        let size = usize::try_from(numpages)?
            .checked_mul(PAGE_SIZE)
            .ok_or(EINVAL)?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::set_memory(bbml3, range(addr, size)?, change) }?;
        Ok(0)
    })
}

/// Changes attributes in the linear map. See the header.
///
/// # Safety
///
/// The caller must own the memory that the range maps.
#[export]
pub unsafe extern "C" fn rox_change_linear_map(
    start: usize,
    size: usize,
    set_mask: bindings::pgprot_t,
    clear_mask: bindings::pgprot_t,
) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        let change = Change::new(set_mask.pgprot, clear_mask.pgprot).ok_or(EINVAL)?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::set_linear_map(bbml3, range(start, size)?, change) }?;
        Ok(0)
    })
}

/// Makes pages valid and writable in the linear map. See the header.
///
/// # Safety
///
/// `pages` must be `nr` valid pages that the caller owns, or anything if `nr` is 0.
#[export]
pub unsafe extern "C" fn rox_reset_linear_map(
    pages: *mut *mut bindings::page,
    nr: c_ulong,
) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        if nr == 0 {
            return Ok(0);
        }
        // SAFETY: By the safety requirements of this function.
        let pages = unsafe { slice::from_raw_parts(pages, nr) };

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::reset_linear_map(bbml3, area::alias_runs(pages)) }?;
        Ok(0)
    })
}

/// Maps a part of the linear map by pages, for good. See the header.
///
/// # Safety
///
/// The caller must own the memory that the range maps.
#[export]
pub unsafe extern "C" fn rox_map_by_pages(start: usize, size: usize) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::map_by_pages(bbml3, range(start, size)?) }?;
        Ok(0)
    })
}

/// Joins leaves that were split. See the header.
///
/// # Safety
///
/// For the work that `rox_queue_joining()` queues.
#[export]
pub unsafe extern "C" fn rox_join_leaves(is_first: bool) -> bool {
    Bbml3::get().is_some_and(|bbml3| (!is_first || worker::begin(bbml3)) && worker::step(bbml3))
}

/// How many page tables are parked for blocks of the caches. See the header.
///
/// # Safety
///
/// The caller can sleep.
#[export]
pub unsafe extern "C" fn rox_parked_tables() -> c_ulong {
    Bbml3::get().map_or(0, |bbml3| {
        blocks::parked_tables(&mut ShapeLock::lock(bbml3)) as c_ulong
    })
}

/// Counts leaves of the linear map for the first time. See the header.
///
/// # Safety
///
/// `start` and `size` must be those of the linear map.
#[export]
pub unsafe extern "C" fn rox_stats_start(start: usize, size: usize) {
    if let Some(bbml3) = Bbml3::get() {
        stats::start(bbml3, &(start..start + size));
    }
}

/// Counts leaves of memory that is added. See the header.
///
/// # Safety
///
/// Nobody uses the memory yet.
#[export]
pub unsafe extern "C" fn rox_stats_add(start: usize, size: usize) {
    if let Some(bbml3) = Bbml3::get() {
        stats::count(bbml3, &(start..start + size));
    }
}

/// Counts no longer what is about to be removed. See the header.
///
/// # Safety
///
/// Nobody uses the memory any more, and the caller holds the lock of `rox_lock_shape()`.
#[export]
pub unsafe extern "C" fn rox_stats_remove(start: usize, size: usize) {
    if let Some(bbml3) = Bbml3::get() {
        // SAFETY: By the safety requirements of this function.
        let mut lock = unsafe { ShapeLock::held(bbml3) };

        stats::uncount(&mut lock, &(start..start + size));
    }
}

/// How much of the linear map is mapped by leaves of a size. See the header.
///
/// # Safety
///
/// `leaf_size` must be valid for a write.
#[export]
pub unsafe extern "C" fn rox_stats_get(index: c_uint, leaf_size: *mut usize) -> usize {
    let Some(&size) = LeafSize::ALL.get(index as usize) else {
        return 0;
    };
    // SAFETY: By the safety requirements of this function.
    unsafe { leaf_size.write(size.bytes(&execmem::GEOMETRY)) };
    stats::bytes(size)
}

/// The size of the caches' blocks. See `include/linux/execmem.h`.
///
/// # Safety
///
/// Always safe to call.
#[export]
pub unsafe extern "C" fn execmem_arch_block_size() -> usize {
    execmem::BLOCK_SIZE
}

/// Makes memory of a cache writable. See `include/linux/execmem.h`.
///
/// # Safety
///
/// The caller must own the memory, which must be of a cache, and nobody may execute it.
#[export]
pub unsafe extern "C" fn execmem_arch_set_rw(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set_cached(ptr, size, permission::rw_nx()) }
}

/// Makes memory of the ROX cache read-only and executable. See `include/linux/execmem.h`.
///
/// # Safety
///
/// The caller must own the memory, which must be of that cache, and nobody may write to it.
#[export]
pub unsafe extern "C" fn execmem_arch_set_rox(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set_cached(ptr, size, permission::rox()) }
}

/// Makes memory of the cache of data read-only and not executable. See `include/linux/execmem.h`.
///
/// # Safety
///
/// The caller must own the memory, which must be of that cache, and nobody may write to it.
#[export]
pub unsafe extern "C" fn execmem_arch_set_ro(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set_cached(ptr, size, permission::ro_nx()) }
}

/// Makes a block one of the ROX cache. See `include/linux/execmem.h`.
///
/// # Safety
///
/// `vm` must be valid, the area of memory that the caller owns, filled with trapping instructions.
#[export]
pub unsafe extern "C" fn execmem_arch_populate(vm: *mut bindings::vm_struct) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { populate(vm, permission::rox()) }
}

/// Makes a block one of the cache of data. See `include/linux/execmem.h`.
///
/// # Safety
///
/// `vm` must be valid, the area of memory that the caller owns.
#[export]
pub unsafe extern "C" fn execmem_arch_populate_ro(vm: *mut bindings::vm_struct) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { populate(vm, permission::ro_nx()) }
}

/// Makes a block ready to be freed. See `include/linux/execmem.h`.
///
/// # Safety
///
/// `vm` must be valid, the area of a block of a cache, and nobody may use any part of it.
#[export]
pub unsafe extern "C" fn execmem_arch_release(vm: *mut bindings::vm_struct) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let block = unsafe { block(vm) }?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::release(bbml3, &block) }?;
        Ok(0)
    })
}

/// Fills executable memory with trapping instructions. See `include/linux/execmem.h`.
///
/// # Safety
///
/// `ptr` must be aligned to an instruction and valid for reads and writes of `size` bytes, which
/// are initialized and which nobody else uses.
#[export]
pub unsafe extern "C" fn execmem_fill_trapping_insns(ptr: *mut c_void, size: usize) {
    // SAFETY: By the safety requirements of this function.
    let text = unsafe { slice::from_raw_parts_mut(ptr.cast(), size / size_of::<u32>()) };

    trap::fill(text);
    sync_icache(&text.as_ptr_range());
}

/// Makes all CPUs fetch what is in memory, and not what was there before.
///
/// What they have fetched before goes with their next context synchronization event. No IPI forces
/// one here: nobody executes free memory, and whoever writes text there forces one before the text
/// is executed, as `flush_icache_range()` does.
fn sync_icache<T>(text: &Range<*const T>) {
    // SAFETY: Cache maintenance does not change what memory holds.
    unsafe { bindings::caches_clean_inval_pou(text.start as usize, text.end as usize) };
}

/// Changes memory of a cache, and not its linear alias.
///
/// # Safety
///
/// The caller must own the memory, which must be of a cache.
unsafe fn set_cached(ptr: *mut c_void, size: usize, change: Change) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        let size = page_align(size).ok_or(EINVAL)?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::set_cached(bbml3, range(ptr as usize, size)?, change) }?;
        Ok(0)
    })
}

/// Makes a block one of a cache, with the permissions `to`.
///
/// # Safety
///
/// As of [`permission::populate`]; `vm` must be valid, the area of the block.
unsafe fn populate(vm: *mut bindings::vm_struct, to: Change) -> c_int {
    from_result(|| {
        let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let block = unsafe { block(vm) }?;

        // SAFETY: By the safety requirements of this function.
        unsafe { permission::populate(bbml3, &block, to) }?;
        Ok(0)
    })
}

/// Returns the area `vm`, or [`EINVAL`] if it can't be a block.
///
/// # Safety
///
/// As of [`Area::new`].
unsafe fn block<'a>(vm: *mut bindings::vm_struct) -> Result<Area<'a>> {
    // SAFETY: By the safety requirements of this function.
    unsafe { Area::new(NonNull::new(vm).ok_or(EINVAL)?) }
}

/// Returns the VAs of `size` bytes from `addr`, or [`EINVAL`] if they are not pages, or wrap.
fn range(addr: usize, size: usize) -> Result<Range<usize>> {
    let start = area::untagged(addr);

    if (start | size) % PAGE_SIZE != 0 {
        return Err(EINVAL);
    }
    Ok(start..start.checked_add(size).ok_or(EINVAL)?)
}
