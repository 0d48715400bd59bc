// SPDX-License-Identifier: GPL-2.0

//! Which ranges TLBs have to forget after a change, with as few operations as can be.
//!
//! Up to a limit, the one that `flush_tlb_kernel_range()` has for its range, each range of leaves
//! that have changed is invalidated by itself, and one wait ends all of them. Above the limit,
//! which is for all ranges of a change together, one operation removes all that TLBs hold.

use core::ops::Range;

use kernel::bindings;

use super::ffi;

/// Ranges of VAs of which TLBs may hold leaves as they were before a change.
///
/// Whoever makes the change calls [`Self::finish`] before it goes on.
#[must_use]
pub(crate) struct Flush {
    /// Ranges whose invalidation has not begun: the first `used`.
    ranges: [Range<usize>; Self::ROOM],
    used: usize,
    /// How many operations all ranges take so far, or more than [`Self::LIMIT`].
    operations: usize,
}

impl Flush {
    /// Most changes have fewer ranges than this, and so wait for their stores once.
    const ROOM: usize = 16;

    /// How many operations a change may take before one operation for everything replaces them.
    const LIMIT: usize = bindings::MAX_DVM_OPS as usize;

    /// Returns a value without ranges.
    pub(crate) fn new() -> Self {
        Self {
            ranges: [const { 0..0 }; Self::ROOM],
            used: 0,
            operations: 0,
        }
    }

    /// Adds `range`, whose leaves have been written.
    pub(crate) fn add(&mut self, range: Range<usize>) {
        if self.is_for_all() {
            return;
        }
        if let Some(last) = self.ranges[..self.used].last_mut() {
            if last.end == range.start {
                last.end = range.end;
                return;
            }
        }
        if self.used == Self::ROOM {
            self.begin();
        }
        self.ranges[self.used] = range;
        self.used += 1;
    }

    /// Makes the stores visible, and waits until no TLB holds a leaf as it was before.
    pub(crate) fn finish(mut self) {
        self.begin();
        if self.is_for_all() {
            ffi::sync_tables();
            ffi::invalidate_tlb(&(0..usize::MAX));
        } else if self.operations == 0 {
            // The leaves were not valid, so no TLB holds them.
            ffi::sync_tables();
            return;
        }
        ffi::complete_invalidation();
    }

    /// Begins to invalidate the ranges, unless that takes too many operations.
    fn begin(&mut self) {
        let ranges = &self.ranges[..self.used];
        for range in ranges {
            self.operations += ffi::tlb_operations(range);
        }
        if self.used != 0 && !self.is_for_all() {
            ffi::sync_tables();
            for range in ranges {
                ffi::invalidate_tlb(range);
            }
        }
        self.used = 0;
    }

    fn is_for_all(&self) -> bool {
        self.operations >= Self::LIMIT
    }
}
