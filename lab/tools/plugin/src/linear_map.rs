// SPDX-License-Identifier: GPL-2.0
//! Where the kernel's linear map is, which a plugin sees by the first access there.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// No address of user space is as high.
pub const KERNEL: u64 = 0xfff0_0000_0000_0000;

/// The linear map.
#[derive(Default)]
pub struct LinearMap {
    /// From an address in memory to that in the linear map; 0 until an access there is seen.
    offset: AtomicU64,
}

impl LinearMap {
    /// Where it can be.
    pub const ADDRESSES: Range<u64> = KERNEL..0xffff_8000_0000_0000;

    /// Learns from an access to `address`, if that is in the linear map. `place` says where it is
    /// in memory, if QEMU knows.
    pub fn learn(&self, address: u64, place: impl FnOnce() -> Option<u64>) {
        if Self::ADDRESSES.contains(&address) && self.offset.load(Ordering::Relaxed) == 0 {
            if let Some(place) = place() {
                let offset = address.wrapping_sub(place);
                self.offset.store(offset, Ordering::Relaxed);
            }
        }
    }

    /// The address of a place in memory, if the linear map was seen.
    pub fn address(&self, place: u64) -> Option<u64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != 0).then(|| offset.wrapping_add(place))
    }

    /// The place in memory of an address; the address itself until the linear map was seen.
    pub fn place(&self, address: u64) -> u64 {
        address.wrapping_sub(self.offset.load(Ordering::Relaxed))
    }
}
