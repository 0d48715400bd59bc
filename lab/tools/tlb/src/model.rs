// SPDX-License-Identifier: GPL-2.0
//! What the accesses of one CPU do to its TLBs: a TLB of the first level for instruction fetches, one
//! for data, and one of the second level for both.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::cache::{Geometry, Tlb};
use crate::walk::{Walk, PAGE_SHIFT};

/// The size of a line of a data cache, as a power of two: page-table entries come by such lines.
const LINE_SHIFT: u8 = 6;

/// The TLBs of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// The first level, of instruction fetches.
    pub fetch: Geometry,
    /// The first level, of loads and stores.
    pub data: Geometry,
    /// The second level.
    pub second: Geometry,
}

/// Neoverse N1, whose TLBs are those of the Cortex-A76: Arm Cortex-A76 Core Technical Reference
/// Manual (100798), A5.2 TLB organization.
pub const NEOVERSE_N1: Core = Core {
    fetch: Geometry {
        entries: 48,
        ways: 48,
    },
    data: Geometry {
        entries: 48,
        ways: 48,
    },
    second: Geometry {
        entries: 1280,
        ways: 5,
    },
};

/// What an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The fetch of an instruction.
    Fetch,
    /// A load or a store.
    Data,
}

/// What the accesses of one side have cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Accesses; fetches of one page, one after the other, are one.
    pub accesses: u64,
    /// Accesses that the first level had no entry for.
    pub first_misses: u64,
    /// Accesses that neither level had an entry for: the MMU has walked the tables.
    pub walks: u64,
    /// Entries of tables that these walks have read, without caches of walks.
    pub entries: u64,
}

/// What was counted from one moment to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Instructions of the kernel.
    pub instructions: u64,
    /// Instruction fetches.
    pub fetch: Costs,
    /// Loads and stores.
    pub data: Costs,
    /// Accesses that no leaf maps: the CPU takes a fault.
    pub faults: u64,
    /// Bytes of page tables that walks have read, by whole lines, each counted once.
    pub table_bytes: u64,
}

/// The TLBs, and what was counted.
#[derive(Debug)]
pub struct Model {
    fetch: First,
    data: First,
    second: Tlb,
    lines: HashSet<u64>,
    section: Section,
}

/// A TLB of the first level.
#[derive(Debug)]
struct First {
    tlb: Tlb,
    /// The page of the access before, which is at hand still.
    page: Option<u64>,
}

impl First {
    fn new(geometry: Geometry) -> Self {
        Self {
            tlb: Tlb::new(geometry),
            page: None,
        }
    }
}

impl Model {
    /// TLBs that are empty.
    pub fn new(core: Core) -> Self {
        Self {
            fetch: First::new(core.fetch),
            data: First::new(core.data),
            second: Tlb::new(core.second),
            lines: HashSet::new(),
            section: Section::default(),
        }
    }

    /// Instructions were executed.
    pub fn execute(&mut self, instructions: u64) {
        self.section.instructions += instructions;
    }

    /// An access to an address. `walk` walks the tables, if it comes to that.
    pub fn access(&mut self, side: Side, va: u64, walk: impl FnOnce() -> Option<Walk>) {
        let (first, costs) = match side {
            Side::Fetch => (&mut self.fetch, &mut self.section.fetch),
            Side::Data => (&mut self.data, &mut self.section.data),
        };
        let page = Some(va >> PAGE_SHIFT);
        if first.page == page {
            // Loads and stores are counted one by one.
            costs.accesses += u64::from(side == Side::Data);
            return;
        }
        costs.accesses += 1;
        if first.tlb.look_up(va).is_none() {
            costs.first_misses += 1;
            let shift = match self.second.look_up(va) {
                Some(shift) => shift,
                None => {
                    costs.walks += 1;
                    let Some(walk) = walk() else {
                        self.section.faults += 1;
                        return;
                    };
                    costs.entries += walk.entries.len() as u64;
                    let lines = walk.entries.iter().map(|place| place >> LINE_SHIFT);
                    self.lines.extend(lines);
                    self.second.insert(va, walk.shift);
                    walk.shift
                }
            };
            first.tlb.insert(va, shift);
        }
        first.page = page;
    }

    /// A TLBI removes what maps an address from `first` to `last`.
    pub fn invalidate(&mut self, first: u64, last: u64) {
        for side in [&mut self.fetch, &mut self.data] {
            side.tlb.invalidate(first, last);
            side.page = None;
        }
        self.second.invalidate(first, last);
    }

    /// Returns what was counted since the last time. The TLBs keep their entries.
    pub fn take(&mut self) -> Section {
        let mut section = std::mem::take(&mut self.section);
        section.table_bytes = (self.lines.len() as u64) << LINE_SHIFT;
        self.lines.clear();
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk that finds a leaf of `1 << shift` bytes, by an entry for each, in a table at 0.
    fn leaf(va: u64, shift: u8) -> Option<Walk> {
        Some(Walk {
            shift,
            entries: vec![(va >> shift) * 8],
        })
    }

    /// What a chase over `leaves` leaves of `1 << shift` bytes costs, `rounds` times.
    fn chase(leaves: u64, shift: u8, rounds: u64) -> Section {
        let mut model = Model::new(NEOVERSE_N1);
        for _ in 0..rounds {
            for va in (0..leaves).map(|leaf| leaf << shift) {
                model.access(Side::Data, va, || leaf(va, shift));
            }
        }
        model.take()
    }

    #[test]
    fn a_chase_costs_what_arithmetic_says() {
        for shift in [12, 16, 21, 25, 30] {
            // Fits the first level; the second; neither.
            for (leaves, first, walks) in [(48, 48, 48), (49, 490, 49), (1280, 12800, 1280)] {
                let data = chase(leaves, shift, 10).data;
                assert_eq!(data.accesses, leaves * 10);
                assert_eq!(
                    (data.first_misses, data.walks),
                    (first, walks),
                    "{leaves}, {shift}"
                );
            }
            // One leaf more in each set than it has ways.
            assert_eq!(chase(1280 + 256, shift, 10).data.walks, 15360);
        }
    }

    #[test]
    fn a_line_of_tables_counts_once() {
        // Eight entries a line.
        assert_eq!(chase(80, 12, 3).table_bytes, 10 * 64);
        assert_eq!(chase(80, 12, 3).data.entries, 80);
    }

    #[test]
    fn sides_share_the_second_level() {
        let mut model = Model::new(NEOVERSE_N1);
        model.access(Side::Data, 0, || leaf(0, 21));
        model.access(Side::Fetch, 0x3000, || panic!("there is an entry"));
        let section = model.take();
        assert_eq!((section.fetch.first_misses, section.fetch.walks), (1, 0));
        assert_eq!((section.data.first_misses, section.data.walks), (1, 1));
    }

    #[test]
    fn a_fault_leaves_no_entry() {
        let mut model = Model::new(NEOVERSE_N1);
        for _ in 0..2 {
            model.access(Side::Data, 0, || None);
        }
        let section = model.take();
        assert_eq!((section.faults, section.data.walks), (2, 2));
    }

    #[test]
    fn a_tlbi_has_the_next_access_walk() {
        let mut model = Model::new(NEOVERSE_N1);
        model.access(Side::Data, 0, || leaf(0, 12));
        model.invalidate(0x1000, 0x1fff);
        model.access(Side::Data, 8, || panic!("there is an entry"));
        model.invalidate(0, 0xfff);
        model.access(Side::Data, 16, || leaf(16, 12));
        assert_eq!(model.take().data.walks, 2);
    }
}
