// SPDX-License-Identifier: GPL-2.0
//! The numbers: how many instructions of each class were executed, and what else is counted.

use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// Executed instructions, and events. In the plugin QEMU's generated code adds to the fields of one of
/// these for each vCPU, which is why its layout is fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[repr(C)]
pub struct Counts {
    /// All instructions, those below among them.
    pub instructions: u64,
    /// TLBI of everything.
    pub tlbi_all: u64,
    /// TLBI of a range of addresses.
    pub tlbi_range: u64,
    /// TLBI of one address, or of one ASID.
    pub tlbi_one: u64,
    /// DSB.
    pub dsb: u64,
    /// ISB.
    pub isb: u64,
    /// Maintenance of the instruction cache.
    pub ic: u64,
    /// Maintenance of the data cache.
    pub dc: u64,
    /// Calls of `caches_clean_inval_pou()`: rounds of making new text visible to fetches.
    pub icache: u64,
    /// CPUs to which a function call was sent, by [`crate::ipi`].
    pub ipi: u64,
}

impl Counts {
    /// TLBI of any kind.
    pub fn tlbi(&self) -> u64 {
        self.tlbi_all + self.tlbi_range + self.tlbi_one
    }

    /// The counts with `change` done to each pair of fields.
    fn zip(self, other: Self, change: fn(u64, u64) -> u64) -> Self {
        Self {
            instructions: change(self.instructions, other.instructions),
            tlbi_all: change(self.tlbi_all, other.tlbi_all),
            tlbi_range: change(self.tlbi_range, other.tlbi_range),
            tlbi_one: change(self.tlbi_one, other.tlbi_one),
            dsb: change(self.dsb, other.dsb),
            isb: change(self.isb, other.isb),
            ic: change(self.ic, other.ic),
            dc: change(self.dc, other.dc),
            icache: change(self.icache, other.icache),
            ipi: change(self.ipi, other.ipi),
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

impl<'a> std::iter::Sum<&'a Counts> for Counts {
    fn sum<I: Iterator<Item = &'a Counts>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| sum + *one)
    }
}
