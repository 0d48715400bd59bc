// SPDX-License-Identifier: GPL-2.0

//! What the caches of mm/execmem.c ask of the architecture: the functions that C calls.
//!
//! - `ranges`: which memory comes from the caches.
//! - `chunk`: what happens to a chunk when it enters a cache, while it is there, and when it
//!   leaves.
//! - `trap`: what free executable memory is filled with.
//!
//! C headers: [`include/linux/execmem.h`](srctree/include/linux/execmem.h),
//! [`arch/arm64/include/asm/kpgtable.h`](srctree/arch/arm64/include/asm/kpgtable.h)

use core::{
    ops::Range,
    slice, //
};

use kernel::{
    bindings,
    error::from_result,
    page::page_align,
    prelude::*, //
};

mod chunk;
mod ranges;
#[cfg(CONFIG_ARM64_KPGTABLE_KUNIT_TEST)]
mod tests;
mod trap;

use crate::{
    chunks,
    descriptor::Change,
    lock::{
        ChangeLeaves,
        PgtableSplitGuard, //
    },
    owned::{
        OwnedMapping,
        OwnedRange, //
    },
    unprotected, //
};

/// Turns the caches on where they can be had. See `asm/kpgtable.h`.
///
/// # Safety
///
/// `info` is valid, and nobody else uses it during the call.
#[export]
pub(crate) unsafe extern "C" fn execmem_rox_setup(info: *mut bindings::execmem_info) {
    if let Some(token) = ChangeLeaves::get().filter(|_| ranges::is_enabled()) {
        // SAFETY: By the safety requirements of this function.
        ranges::enable(token, unsafe { &mut *info });
        let how = match token {
            ChangeLeaves::Resize(_) => "",
            ChangeLeaves::Whole(_) => ", mapped by pages; the linear map keeps its blocks",
        };
        pr_info!("execmem caches: executable memory and read-only data in 2 MiB chunks{how}\n");
    }
}

/// Returns the size of a chunk. See `linux/execmem.h`.
///
/// # Safety
///
/// An FFI function without preconditions.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_chunk_size() -> usize {
    chunks::CHUNK_SIZE
}

/// Returns how many page tables are deposited for chunks. See `asm/kpgtable.h`.
///
/// # Safety
///
/// An FFI function without preconditions but its context.
#[export]
pub(crate) unsafe extern "C" fn kpgtable_deposited_tables() -> c_ulong {
    ChangeLeaves::get().map_or(0, |token| {
        chunks::deposited_tables(&mut PgtableSplitGuard::lock(token))
    })
}

/// Returns how much of an area has no protection in the linear map. See `shim.h`.
///
/// # Safety
///
/// `area` and `caller` are valid for reads and writes.
#[export]
pub(crate) unsafe extern "C" fn kpgtable_unprotected(
    area: *mut usize,
    caller: *mut usize,
) -> usize {
    let Some(token) = ChangeLeaves::get() else {
        return 0;
    };
    // SAFETY: By the safety requirements of this function.
    let before = unsafe { area.read() };
    let next = unprotected::next(&mut PgtableSplitGuard::lock(token), before);

    next.map_or(0, |(key, unprotected)| {
        // SAFETY: By the safety requirements of this function.
        unsafe {
            area.write(key);
            caller.write(unprotected.caller);
        }
        unprotected.bytes
    })
}

/// Makes memory of a cache writable. See `linux/execmem.h`.
///
/// # Safety
///
/// The caller owns the memory, which is in a cache, and nobody executes it.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_set_rw(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set(ptr, size, chunk::rw_nx()) }
}

/// Makes memory of the ROX cache read-only and executable. See `linux/execmem.h`.
///
/// # Safety
///
/// The caller owns the memory, which is in that cache, and nobody writes to it.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_set_rox(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set(ptr, size, chunk::rox()) }
}

/// Makes memory of the RO cache read-only and not executable. See `linux/execmem.h`.
///
/// # Safety
///
/// The caller owns the memory, which is in that cache, and nobody writes to it.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_set_ro(ptr: *mut c_void, size: usize) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { set(ptr, size, chunk::ro_nx()) }
}

/// Makes an area part of the ROX cache. See `linux/execmem.h`.
///
/// # Safety
///
/// `vm` is valid, the area of memory that the caller owns, and filled with trapping instructions.
/// All of this stays so until [`execmem_arch_release`] has returned 0, also if this fails.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_populate(vm: *mut bindings::vm_struct) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { populate(vm, chunk::rox()) }
}

/// Makes an area part of the RO cache. See `linux/execmem.h`.
///
/// # Safety
///
/// `vm` is valid, the area of memory that the caller owns. All of this stays so until
/// [`execmem_arch_release`] has returned 0, also if this fails.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_populate_ro(vm: *mut bindings::vm_struct) -> c_int {
    // SAFETY: By the safety requirements of this function.
    unsafe { populate(vm, chunk::ro_nx()) }
}

/// Makes an area of a cache ready to be freed. See `linux/execmem.h`.
///
/// # Safety
///
/// `vm` is valid, an area of a cache, and nobody uses any part of it.
#[export]
pub(crate) unsafe extern "C" fn execmem_arch_release(vm: *mut bindings::vm_struct) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let area = unsafe { OwnedMapping::new(vm) }?;

        chunk::release(token, &area)?;
        Ok(0)
    })
}

/// Whether all of `mapping` is in one part that a cache has handed out.
///
/// Context: may sleep. It takes the mutex of the caches; they take `pgtable_split_lock` with that
/// mutex held, so a caller that holds either of them deadlocks.
pub(crate) fn is_one_part(mapping: &Range<usize>) -> bool {
    // SAFETY: An FFI call without preconditions but the context; it looks the address up.
    unsafe { bindings::execmem_is_one_part(mapping.start as *const c_void, mapping.len()) }
}

/// Fills executable memory with trapping instructions. See `linux/execmem.h`.
///
/// # Safety
///
/// `ptr` is aligned to an instruction, and valid for reads and writes of `size` bytes, which are
/// initialized and which nobody else uses.
#[export]
pub(crate) unsafe extern "C" fn execmem_fill_trapping_insns(ptr: *mut c_void, size: usize) {
    // SAFETY: By the safety requirements of this function.
    let text = unsafe { slice::from_raw_parts_mut(ptr.cast(), size / size_of::<u32>()) };

    trap::fill(text);
    sync_icache(&text.as_ptr_range());
}

/// Makes instruction fetches of all CPUs see what is in memory.
///
/// An instruction that a CPU has fetched before stays until that CPU's next context synchronization
/// event. This function sends no IPI to force one. Nobody executes free memory; and code that
/// writes text there forces such an event on all CPUs before the text is executed, as
/// `flush_icache_range()` does.
fn sync_icache<T>(text: &Range<*const T>) {
    // SAFETY: Cache maintenance does not change what memory holds.
    unsafe { bindings::caches_clean_inval_pou(text.start as usize, text.end as usize) };
}

/// Changes memory of a cache, and not its linear alias.
///
/// # Safety
///
/// The caller owns the memory, which is in a cache.
unsafe fn set(ptr: *mut c_void, size: usize, to: Change) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        let size = page_align(size).ok_or(EINVAL)?;
        // SAFETY: By the safety requirements of this function.
        let mapping = unsafe { OwnedRange::new(ptr as usize, size) }?;

        chunk::set(token, &mapping, to)?;
        Ok(0)
    })
}

/// Makes an area part of a cache, with the permissions `to`.
///
/// # Safety
///
/// As of [`execmem_arch_populate_ro`].
unsafe fn populate(vm: *mut bindings::vm_struct, to: Change) -> c_int {
    from_result(|| {
        let token = ChangeLeaves::get().ok_or(EOPNOTSUPP)?;
        // SAFETY: By the safety requirements of this function.
        let kept = unsafe { OwnedMapping::new(vm) }?;
        // SAFETY: As above. Both are for the owner of the memory, the cache.
        let area = unsafe { OwnedMapping::new(vm) }?;

        chunk::populate(token, kept, &area, to)?;
        Ok(0)
    })
}
