// SPDX-License-Identifier: GPL-2.0

//! Memory that the caller owns: what C code hands over, and the linear aliases of its pages.
//!
//! C code promises once, where it calls this crate, that the memory is its own. The types of this
//! file carry the promise from there on. They change no permission.

use core::{
    ops::Range,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    vmalloc::VmArea, //
};

use super::extents::Extents;

/// A range of VAs of whole pages, in vmalloc's address space or in the linear map.
///
/// # Invariants
///
/// As long as the value exists, its holder owns the memory that the range maps: nobody else frees
/// it, unmaps it, or changes its permissions.
pub(crate) struct OwnedRange(Range<usize>);

impl OwnedRange {
    /// Returns the `size` bytes from the VA `addr`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if they are not whole pages, or wrap around.
    ///
    /// # Safety
    ///
    /// The caller owns the memory as the type invariants say.
    pub(crate) unsafe fn new(addr: usize, size: usize) -> Result<Self> {
        let start = untagged(addr);

        if (start | size) % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        // INVARIANT: By the safety requirements of this function.
        Ok(Self(start..start.checked_add(size).ok_or(EINVAL)?))
    }

    /// Returns the VAs.
    pub(crate) fn range(&self) -> &Range<usize> {
        &self.0
    }
}

/// A part of a vmalloc area, or all of it, that the caller owns.
///
/// # Invariants
///
/// `range` is in `area`.
pub(crate) struct OwnedMapping<'a> {
    range: OwnedRange,
    area: &'a VmArea,
}

impl<'a> OwnedMapping<'a> {
    /// Returns the `size` bytes from the VA `addr`, a part of one area.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if they are not whole pages, or if no area that vmalloc has allocated has all of
    /// them.
    ///
    /// # Safety
    ///
    /// If there is an area that has all of them, then for `'a` the caller owns these bytes, and
    /// nobody frees or changes the area.
    pub(crate) unsafe fn find(addr: usize, size: usize) -> Result<Self> {
        // SAFETY: By the safety requirements of this function.
        let area = unsafe { VmArea::find(addr as *const c_void) }?;
        // SAFETY: By the safety requirements of this function, if the area has all of the range,
        // which is checked below.
        let range = unsafe { OwnedRange::new(addr, size) }?;

        if range.0.end > untagged(area.range().end) {
            return Err(EINVAL);
        }
        // INVARIANT: The area has `addr`, and its end was just checked.
        Ok(Self { range, area })
    }

    /// Returns all of the area at `vm`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `vm` is null, or if vmalloc has not allocated the area.
    ///
    /// # Safety
    ///
    /// `vm` is null or valid for `'a`. Then the caller owns all memory of the area for `'a`, and
    /// nobody frees or changes the area.
    pub(crate) unsafe fn new(vm: *mut bindings::vm_struct) -> Result<Self> {
        // SAFETY: By the safety requirements of this function.
        let area = unsafe { VmArea::from_raw(NonNull::new(vm).ok_or(EINVAL)?) }?;
        let range = area.range();

        // SAFETY: By the safety requirements of this function.
        let range = unsafe { OwnedRange::new(range.start, range.len()) }?;
        // INVARIANT: The range is that of the area.
        Ok(Self { range, area })
    }

    /// Returns the area that it is a part of.
    pub(crate) fn area(&self) -> &VmArea {
        self.area
    }

    /// Returns the range.
    pub(crate) fn owned(&self) -> &OwnedRange {
        &self.range
    }

    /// Returns the VAs.
    pub(crate) fn range(&self) -> &Range<usize> {
        self.range.range()
    }

    /// Returns the pages of the part.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if not all of it has pages.
    pub(crate) fn pages(&self) -> Result<OwnedPages<'a>> {
        self.pages_of(self.range())
    }

    /// Returns the pages behind `part` of it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `part` is not in it, or not all of `part` has pages.
    pub(crate) fn pages_of(&self, part: &Range<usize>) -> Result<OwnedPages<'a>> {
        if part.start < self.range().start || part.end > self.range().end {
            return Err(EINVAL);
        }
        let start = untagged(self.area.range().start);
        let first = (part.start - start) / PAGE_SIZE;
        let last = (part.end - start).div_ceil(PAGE_SIZE);
        let pages = self.area.pages().get(first..last).ok_or(EINVAL)?;

        // INVARIANT: The pages of an area are valid. The caller owns `part`, and with it the memory
        // of these pages.
        Ok(OwnedPages(pages))
    }
}

/// Pages of which the caller owns the memory.
///
/// # Invariants
///
/// The pages are valid, and for `'a` the holder owns their memory.
#[derive(Clone, Copy)]
pub(crate) struct OwnedPages<'a>(&'a [NonNull<bindings::page>]);

impl<'a> OwnedPages<'a> {
    /// Returns the `nr` pages that the array at `pages` points to.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `pages` is null, and `nr` is not 0.
    ///
    /// # Safety
    ///
    /// For `'a`, `pages` is null or an array of `nr` valid pages whose memory the caller owns.
    pub(crate) unsafe fn from_raw(pages: *mut *mut bindings::page, nr: usize) -> Result<Self> {
        let pages = match NonNull::new(pages) {
            // SAFETY: By the safety requirements of this function; valid pages are not null.
            Some(pages) => unsafe { slice::from_raw_parts(pages.cast().as_ptr(), nr) },
            None if nr == 0 => &[],
            None => return Err(EINVAL),
        };
        // INVARIANT: By the safety requirements of this function.
        Ok(Self(pages))
    }

    /// Returns the address of the array of the pages.
    pub(crate) fn as_ptr(&self) -> *const NonNull<bindings::page> {
        self.0.as_ptr()
    }

    /// Returns the VAs of the pages in the linear map, as extents.
    pub(crate) fn alias_extents(&self) -> Extents<impl Iterator<Item = usize> + Clone + 'a> {
        let alias = |page: &NonNull<bindings::page>| {
            // SAFETY: The page is valid by the type invariants, and arm64 has no highmem.
            untagged(unsafe { bindings::page_address(page.as_ptr()) } as usize)
        };
        Extents::new(self.0.iter().map(alias), PAGE_SIZE)
    }
}

/// Returns a kernel VA without the tag that KASAN may have put into its top byte.
pub(crate) fn untagged(addr: usize) -> usize {
    addr | (0xff << 56)
}
