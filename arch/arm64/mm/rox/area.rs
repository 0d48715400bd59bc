// SPDX-License-Identifier: GPL-2.0

//! vmalloc areas, and where their pages are in the linear map.
//!
//! Reads `struct vm_struct`; changes no permission.

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
    ) -> Result<Runs<impl Iterator<Item = usize> + Clone + 'a>> {
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

        // SAFETY: The pages of an area are valid.
        Ok(unsafe { alias_runs(pages) })
    }
}

/// Returns the linear aliases of `pages` as physically contiguous runs.
///
/// # Safety
///
/// The pages are valid.
pub(crate) unsafe fn alias_runs(
    pages: &[*mut bindings::page],
) -> Runs<impl Iterator<Item = usize> + Clone + '_> {
    let alias = |&page: &*mut bindings::page| {
        // SAFETY: By the safety requirements of this function; and arm64 has no highmem.
        untagged(unsafe { bindings::page_address(page) } as usize)
    };
    Runs::new(pages.iter().map(alias), PAGE_SIZE)
}

/// Gets rid of mappings that vmalloc has not unmapped yet, and of what TLBs hold of them.
///
/// Context: may sleep.
pub(crate) fn unmap_stale() {
    // SAFETY: By the contract of this function.
    unsafe { bindings::vm_unmap_aliases() };
}

/// Returns a kernel VA without the tag that KASAN may have put into its top byte.
pub(crate) fn untagged(addr: usize) -> usize {
    addr | (0xff << 56)
}
