// SPDX-License-Identifier: GPL-2.0
//! The files of the kernel crate that use `core` alone, as they are, and the names by which the
//! rest of this crate knows what is in them. What the kernel crate renames is renamed here, and in
//! `tables.rs`, which implements its traits.

#[path = "../../../../arch/arm64/mm/rox/coalesce.rs"]
mod coalesce;
#[path = "../../../../arch/arm64/mm/rox/descriptor.rs"]
mod descriptor;
#[path = "../../../../arch/arm64/mm/rox/geometry.rs"]
mod geometry;
#[path = "../../../../arch/arm64/mm/rox/pending.rs"]
mod pending;
#[path = "../../../../arch/arm64/mm/rox/runs.rs"]
mod runs;
#[path = "../../../../arch/arm64/mm/rox/walk.rs"]
mod walk;

pub(crate) use coalesce::{
    coalesce as collapse, //
    coalesce_block as collapse_chunk,
    Join as Collapse,
};
pub(crate) use descriptor::{
    Change, Descriptor, Kind, Leaf, PRESENT_INVALID, PXN, RDONLY, VALID, WAS_CONTIGUOUS, WRITE,
};
pub(crate) use geometry::{Geometry as Granule, LeafSize, Level};
pub(crate) use pending::Pending;
#[cfg(test)]
pub(crate) use runs::Runs as Extents;
pub(crate) use walk::{
    apply, check, flip, measure, pin as pte_map, split, Error, Exclusive, Needs, Shape as Split,
    Tables,
};
