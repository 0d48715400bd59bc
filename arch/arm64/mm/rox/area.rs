// SPDX-License-Identifier: GPL-2.0

//! vmalloc areas, and where their pages are in the linear map.
//!
//! Reads `struct vm_struct`; changes nothing.

use core::{
    marker::PhantomData,
    ops::Range,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::runs::Runs;

/// An area that vmalloc allocated.
///
/// # Invariants
///
/// `vm` is valid for `'a`, has `VM_ALLOC` set, and has either no pages or `nr_pages` of them, which
/// stay as they are for `'a`.
pub(crate) struct Area<'a> {
    vm: NonNull<bindings::vm_struct>,
    _owned: PhantomData<&'a ()>,
}

impl<'a> Area<'a> {
    /// Returns the area that contains all of `range`, which starts at a page boundary.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is no such area, or vmalloc did not allocate it.
    ///
    /// # Safety
    ///
    /// The caller owns the area, and neither frees nor shrinks it for `'a`.
    pub(crate) unsafe fn covering(range: &Range<usize>) -> Result<Self> {
        // SAFETY: Looks the address up under vmalloc's own locks.
        let vm = unsafe { bindings::find_vm_area(range.start as *const c_void) };
        let vm = NonNull::new(vm).ok_or(EINVAL)?;

        // SAFETY: By the safety requirements of this function.
        let area = unsafe { Self::new(vm) }?;
        if range.end > area.range().end {
            return Err(EINVAL);
        }
        Ok(area)
    }

    /// Wraps `vm`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if vmalloc did not allocate it.
    ///
    /// # Safety
    ///
    /// `vm` is a valid area, and the caller owns it and neither frees nor shrinks it for `'a`.
    pub(crate) unsafe fn new(vm: NonNull<bindings::vm_struct>) -> Result<Self> {
        // INVARIANT: By the safety requirements; the flag is checked below.
        let area = Self {
            vm,
            _owned: PhantomData,
        };
        if !area.has(bindings::VM_ALLOC) {
            return Err(EINVAL);
        }
        Ok(area)
    }

    fn has(&self, flag: u32) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.vm.as_ptr()).flags & flag as usize != 0 }
    }

    /// Returns whether `vfree()` resets the permissions of the linear alias, page by page.
    pub(crate) fn is_reset_when_freed(&self) -> bool {
        self.has(bindings::VM_FLUSH_RESET_PERMS)
    }

    /// Returns the VAs of the area, without its guard page.
    pub(crate) fn range(&self) -> Range<usize> {
        let guard = match self.has(bindings::VM_NO_GUARD) {
            true => 0,
            false => PAGE_SIZE,
        };
        // SAFETY: Valid by the type invariants.
        let (addr, size) = unsafe { ((*self.vm.as_ptr()).addr, (*self.vm.as_ptr()).size) };
        let start = untagged(addr as usize);
        start..start + size - guard
    }

    /// Returns the linear aliases of the pages behind `range`, a part of the area, as physically
    /// contiguous runs.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if not all of `range` has pages.
    pub(crate) fn alias_runs(
        &self,
        range: &Range<usize>,
    ) -> Result<Runs<impl Iterator<Item = usize> + 'a>> {
        // SAFETY: Valid by the type invariants.
        let (pages, count) = unsafe { ((*self.vm.as_ptr()).pages, (*self.vm.as_ptr()).nr_pages) };
        if pages.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants there are that many, and they stay as they are.
        let pages: &'a [_] = unsafe { slice::from_raw_parts(pages, count) };

        let start = self.range().start;
        let first = (range.start - start) / PAGE_SIZE;
        let last = (range.end - start).div_ceil(PAGE_SIZE);
        let pages = pages.get(first..last).ok_or(EINVAL)?;

        let alias = |page: *mut bindings::page| {
            // SAFETY: The pages of an area are valid, and arm64 has no highmem.
            untagged(unsafe { bindings::page_address(page) } as usize)
        };
        Ok(Runs::new(pages.iter().copied().map(alias), PAGE_SIZE))
    }
}

/// Returns a kernel VA without the tag that KASAN may have put into its top byte.
pub(crate) fn untagged(addr: usize) -> usize {
    addr | (0xff << 56)
}
