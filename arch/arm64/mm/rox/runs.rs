// SPDX-License-Identifier: GPL-2.0

//! From pages to physically contiguous runs.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

/// An iterator that joins the addresses of pages, in the order in which they come, into ranges as
/// long as they are contiguous.
///
/// Pages that are contiguous in the linear map are contiguous in physical memory.
#[derive(Clone)]
pub(crate) struct Runs<I> {
    pages: I,
    page_size: usize,
    /// The first page of the next run.
    next: Option<usize>,
}

impl<I: Iterator<Item = usize>> Runs<I> {
    /// Joins `pages`, each of `page_size` bytes.
    pub(crate) fn new(mut pages: I, page_size: usize) -> Self {
        let next = pages.next();
        Self {
            pages,
            page_size,
            next,
        }
    }
}

impl<I: Iterator<Item = usize>> Iterator for Runs<I> {
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
