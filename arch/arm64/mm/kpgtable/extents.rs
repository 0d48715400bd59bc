// SPDX-License-Identifier: GPL-2.0

//! From pages to extents: ranges of pages that are adjacent in physical memory.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

/// An iterator that makes ranges of page addresses, as long as each page follows the one before it.
///
/// Pages that are adjacent in the linear map are adjacent in physical memory.
#[derive(Clone)]
pub(crate) struct Extents<I> {
    pages: I,
    page_size: usize,
    /// The first page of the next extent.
    next: Option<usize>,
}

impl<I: Iterator<Item = usize>> Extents<I> {
    /// Takes the VAs of `pages`, each of `page_size` bytes.
    pub(crate) fn new(mut pages: I, page_size: usize) -> Self {
        let next = pages.next();
        Self {
            pages,
            page_size,
            next,
        }
    }
}

impl<I: Iterator<Item = usize>> Iterator for Extents<I> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next.take()?;
        let mut end = start + self.page_size;

        for page in self.pages.by_ref() {
            if page != end {
                self.next = Some(page);
                break;
            }
            end += self.page_size;
        }
        Some(start..end)
    }
}
