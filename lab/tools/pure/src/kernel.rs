// SPDX-License-Identifier: GPL-2.0
//! The files of the kernel crate that use `core` alone, as they are, and what the rest of this
//! crate uses of them. `tables.rs` implements their traits.

#[path = "../../../../arch/arm64/mm/kpgtable/change.rs"]
mod change;
#[path = "../../../../arch/arm64/mm/kpgtable/collapse.rs"]
mod collapse;
#[path = "../../../../arch/arm64/mm/kpgtable/descriptor.rs"]
mod descriptor;
#[path = "../../../../arch/arm64/mm/kpgtable/extents.rs"]
mod extents;
#[path = "../../../../arch/arm64/mm/kpgtable/granule.rs"]
mod granule;
#[path = "../../../../arch/arm64/mm/kpgtable/pending.rs"]
mod pending;
#[path = "../../../../arch/arm64/mm/kpgtable/split.rs"]
mod split;
#[path = "../../../../arch/arm64/mm/kpgtable/walk.rs"]
mod walk;

pub(crate) use change::{apply, check, flip, Exclusive, Needs};
pub(crate) use collapse::{collapse_chunk, Collapse};
pub(crate) use descriptor::{
    Change, Descriptor, Kind, Leaf, TableAddress, TableDescriptor, PRESENT_INVALID, PXN, RDONLY,
    VALID, WAS_CONT, WRITE,
};
#[cfg(test)]
pub(crate) use extents::Extents;
pub(crate) use granule::{Granule, LeafSize, Level};
pub(crate) use pending::Pending;
pub(crate) use split::{map_by_ptes, split, Split};
pub(crate) use walk::{count_blocks, measure, Error, Tables};
