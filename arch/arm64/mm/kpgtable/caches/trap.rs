// SPDX-License-Identifier: GPL-2.0

//! What free executable memory is filled with.
//!
//! Writes to the memory that it is given, and to nothing else. The caller maintains the caches.

use kernel::bindings;

/// `BRK #FAULT_BRK_IMM`, as a CPU fetches it.
///
/// Its handler always reports an error: a kernel that executes it has an Oops at its address.
pub(crate) const TRAP: u32 = bindings::AARCH64_BREAK_FAULT;

/// Fills `text` with [`TRAP`].
pub(crate) fn fill(text: &mut [u32]) {
    let Some(first) = text.first_mut() else {
        return;
    };
    // Instructions are little-endian, whatever the endianness of data is. Arm ARM B2.6.
    *first = TRAP.to_le();

    // Copying what is there already is several times faster than storing word by word.
    let mut filled = 1;
    while filled < text.len() {
        let (done, rest) = text.split_at_mut(filled);
        let count = filled.min(rest.len());
        rest[..count].copy_from_slice(&done[..count]);
        filled += count;
    }
}
