// SPDX-License-Identifier: GPL-2.0

//! How much vmalloc memory is read-only while its linear alias stays writable, and who allocated
//! it.
//!
//! There is such memory only if leaves of the linear map keep their size, and somebody makes memory
//! read-only that comes from no cache of mm/execmem.c.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

use super::{
    lock::{
        Guarded,
        PgtableSplitGuard, //
    },
    owned::{
        OwnedMapping,
        OwnedPages, //
    },
    table::KernelTables,
    walk, //
};

/// A vmalloc area that has such memory.
#[derive(Clone, Copy)]
pub(crate) struct Unprotected {
    /// From where in the kernel's text it was allocated.
    pub(crate) caller: usize,
    pub(crate) bytes: usize,
}

/// The areas, by the address of their array of pages, which no other area has.
static AREAS: Guarded<Option<RBTree<usize, Unprotected>>> = Guarded::new(None);

/// Memory for the record of an area.
pub(crate) struct Reservation(RBTreeNodeReservation<usize, Unprotected>);

/// Allocates memory for a record, if [`update`] should need one.
///
/// # Errors
///
/// [`ENOMEM`] if there is none.
pub(crate) fn reserve() -> Result<Reservation> {
    Ok(Reservation(RBTreeNodeReservation::new(GFP_KERNEL)?))
}

/// Returns how many bytes of `mapping` are read-only while their linear alias is writable.
pub(crate) fn bytes(guard: &mut PgtableSplitGuard, mapping: &OwnedMapping<'_>) -> usize {
    let Ok(pages) = mapping.pages() else {
        return 0;
    };
    let tables = KernelTables::with_mapping(guard, mapping.owned());
    let is_writable = |addr| {
        let leaf = walk::find(&tables, addr).leaf;
        leaf.is_some_and(|leaf| leaf.is_writable())
    };
    let addrs = mapping.range().clone().step_by(PAGE_SIZE);
    let aliases = pages
        .alias_extents()
        .flat_map(|extent| extent.step_by(PAGE_SIZE));

    let unprotected = addrs
        .zip(aliases)
        .filter(|&(addr, alias)| !is_writable(addr) && is_writable(alias));
    unprotected.count() * PAGE_SIZE
}

/// Counts the area of `mapping` anew: [`bytes`] of that was `before`, under this hold of the lock,
/// and now is what it is.
pub(crate) fn update(
    guard: &mut PgtableSplitGuard,
    mapping: &OwnedMapping<'_>,
    before: usize,
    reservation: Reservation,
) {
    let now = bytes(guard, mapping);
    let key = mapping.area().pages().as_ptr() as usize;
    let areas = AREAS.get(guard).get_or_insert_with(RBTree::new);

    let all = areas.get(&key).map_or(0, |area| area.bytes);
    // It is the sum of what earlier calls have added.
    let all = (all + now).saturating_sub(before);
    areas.remove(&key);
    if all != 0 {
        let area = Unprotected {
            caller: mapping.area().caller(),
            bytes: all,
        };
        areas.insert(reservation.0.into_node(key, area));
    }
}

/// Forgets the area that has all of `pages`: its memory is being freed.
pub(crate) fn forget(guard: &mut PgtableSplitGuard, pages: &OwnedPages<'_>) {
    if let Some(areas) = AREAS.get(guard) {
        areas.remove(&(pages.as_ptr() as usize));
    }
}

/// Returns the first area with a key above `key`: its key, and itself.
pub(crate) fn next(guard: &mut PgtableSplitGuard, key: usize) -> Option<(usize, Unprotected)> {
    let areas = AREAS.get(guard).as_ref()?;
    let cursor = areas.cursor_lower_bound(&(key + 1))?;
    let (key, area) = cursor.current();

    Some((*key, *area))
}
