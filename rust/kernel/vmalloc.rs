// SPDX-License-Identifier: GPL-2.0

//! Areas of virtually contiguous kernel memory.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use core::{
    ops::Range,
    ptr::NonNull,
    slice, //
};

use crate::{
    bindings,
    error::{
        code::EINVAL,
        Result, //
    },
    ffi::c_void,
    page::PAGE_SIZE,
    types::Opaque, //
};

/// An area that vmalloc has allocated: a wrapper of the kernel's `struct vm_struct`.
///
/// # Invariants
///
/// - `VM_ALLOC` is set.
/// - As long as there is a reference to the area, nobody frees it, or changes its address, its
///   size, its pages, its caller, or whether `VM_NO_GUARD` is set. Other flags may change.
///
/// # Examples
///
/// ```
/// use kernel::{page::PAGE_SIZE, vmalloc::VmArea};
///
/// let buffer = VVec::from_elem(0u8, 2 * PAGE_SIZE, GFP_KERNEL)?;
///
/// // SAFETY: `buffer` owns the area, and lives longer than `area`.
/// let area = unsafe { VmArea::find(buffer.as_ptr().cast()) }?;
/// assert_eq!(area.range().start, buffer.as_ptr() as usize);
/// assert_eq!(area.range().len(), 2 * PAGE_SIZE);
/// assert_eq!(area.pages().len(), 2);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct VmArea(Opaque<bindings::vm_struct>);

// SAFETY: By the type invariants, what the methods read does not change.
unsafe impl Sync for VmArea {}

impl VmArea {
    /// Returns the area at `vm`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if vmalloc has not allocated it, but mapped what somebody else has.
    ///
    /// # Safety
    ///
    /// `vm` is valid for `'a`. Until then nobody frees the area, or changes its address, its size
    /// or its pages.
    pub unsafe fn from_raw<'a>(vm: NonNull<bindings::vm_struct>) -> Result<&'a Self> {
        // SAFETY: `vm` is valid, and `Self` has the layout of what it points to.
        // INVARIANT: The flag is checked below, the rest is the caller's promise.
        let area: &Self = unsafe { vm.cast().as_ref() };

        match area.has(bindings::VM_ALLOC) {
            true => Ok(area),
            false => Err(EINVAL),
        }
    }

    /// Returns the area that `addr` is in.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is none, or if vmalloc has not allocated it.
    ///
    /// # Safety
    ///
    /// If there is an area, then for `'a` nobody frees it, or changes its address, its size or its
    /// pages.
    pub unsafe fn find<'a>(addr: *const c_void) -> Result<&'a Self> {
        // SAFETY: An FFI call without preconditions; it looks the address up under its own lock.
        let vm = unsafe { bindings::find_vm_area(addr) };

        // SAFETY: By the safety requirements of this function.
        unsafe { Self::from_raw(NonNull::new(vm).ok_or(EINVAL)?) }
    }

    fn has(&self, flag: u32) -> bool {
        // SAFETY: The area is valid by the type invariants. Other flags may change meanwhile; a
        // volatile read is READ_ONCE().
        let flags = unsafe { (&raw const (*self.0.get()).flags).read_volatile() };
        flags & flag as usize != 0
    }

    /// Returns the virtual addresses of the area, without its guard page.
    pub fn range(&self) -> Range<usize> {
        // SAFETY: By the type invariants these fields stay as they are.
        let (addr, size) = unsafe { ((*self.0.get()).addr, (*self.0.get()).size) };
        let guard = match self.has(bindings::VM_NO_GUARD) {
            true => 0,
            false => PAGE_SIZE,
        };

        addr as usize..addr as usize + size - guard
    }

    /// Returns whether `vfree()` makes the pages of the area valid and writable in the direct map.
    pub fn resets_permissions(&self) -> bool {
        self.has(bindings::VM_FLUSH_RESET_PERMS)
    }

    /// Returns the address in the kernel's text from which the area was allocated.
    pub fn caller(&self) -> usize {
        // SAFETY: By the type invariants the area is valid, and nobody changes the field.
        unsafe { (*self.0.get()).caller as usize }
    }

    /// Returns the pages of the area, in the order in which it maps them. There may be none.
    pub fn pages(&self) -> &[NonNull<bindings::page>] {
        // SAFETY: By the type invariants these fields stay as they are.
        let (pages, count) = unsafe { ((*self.0.get()).pages, (*self.0.get()).nr_pages) };
        if pages.is_null() {
            return &[];
        }

        // SAFETY: An area that has pages has `nr_pages` of them, none of which is null; by the type
        // invariants they stay as they are.
        unsafe { slice::from_raw_parts(pages.cast(), count) }
    }
}
