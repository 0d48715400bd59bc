// SPDX-License-Identifier: GPL-2.0

//! What TLBs may hold of leaves that have changed: gathered over a change, and removed with a
//! bounded number of operations.
//!
//! Each operation goes to all CPUs, and the lock is held until they have done it. So there is the
//! limit that `flush_tlb_kernel_range()` has for one range, for all ranges together; above it one
//! operation removes all that TLBs hold.

use core::ops::Range;

use kernel::bindings;

use super::{
    lock::MayChange,
    table::KernelTables, //
};

/// Ranges of addresses for which TLBs may hold what is no longer so.
///
/// [`Self::finish`] has to be called before whoever changed the leaves goes on.
pub(crate) struct Flush {
    /// Those that are not being removed yet: the first `used`.
    ranges: [Range<usize>; Self::ROOM],
    used: usize,
    /// How many operations all ranges take so far, or more than it takes to remove all.
    operations: usize,
}

impl Flush {
    /// Most changes have fewer ranges, and wait for their stores once.
    const ROOM: usize = 16;

    /// How many operations a change may take before it is one for all.
    const LIMIT: usize = bindings::MAX_DVM_OPS as usize;

    /// Returns one without ranges.
    pub(crate) fn new() -> Self {
        Self {
            ranges: [const { 0..0 }; Self::ROOM],
            used: 0,
            operations: 0,
        }
    }

    /// Adds `range`, whose leaves have been written.
    pub(crate) fn add<R: MayChange>(&mut self, tables: &mut KernelTables<R>, range: Range<usize>) {
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
            self.begin(tables);
        }
        self.ranges[self.used] = range;
        self.used += 1;
    }

    /// Makes what was written visible, and waits until no TLB holds what was there before.
    pub(crate) fn finish<R: MayChange>(mut self, tables: &mut KernelTables<R>) {
        self.begin(tables);
        if self.is_for_all() {
            tables.sync();
            tables.begin_invalidation(&(0..usize::MAX));
        } else if self.operations == 0 {
            // Leaves that were not valid: no TLB holds those.
            tables.sync();
            return;
        }
        tables.complete_invalidation();
    }

    /// Begins to remove the ranges, unless it takes too much.
    fn begin<R: MayChange>(&mut self, tables: &mut KernelTables<R>) {
        let ranges = &self.ranges[..self.used];
        for range in ranges {
            self.operations += tables.operations(range);
        }
        if self.used != 0 && !self.is_for_all() {
            tables.sync();
            for range in ranges {
                tables.begin_invalidation(range);
            }
        }
        self.used = 0;
    }

    fn is_for_all(&self) -> bool {
        self.operations >= Self::LIMIT
    }
}
