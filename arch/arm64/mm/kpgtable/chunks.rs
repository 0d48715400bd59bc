// SPDX-License-Identifier: GPL-2.0

//! The memory that the execmem caches hold, in chunks, and the table that is deposited for each.
//!
//! A chunk that a level 2 leaf maps, by itself or with others, has a deposited table until that
//! leaf is split. With 4K pages, where the leaf is the chunk, a collapse deposits it again. So
//! making a part of the chunk writable, and read-only again, which has to succeed when the part is
//! freed, never asks the page allocator. When the chunk collapses, its table needs no grace period
//! before it is deposited: nobody writes to it until it maps the same pages again, so software that
//! still reads it finds the right ones.

use core::ops::Range;

use kernel::{
    build_assert::static_assert,
    prelude::*,
    sizes::SZ_2M, //
};

use super::{
    lock::{
        Guarded,
        PgtableSplitGuard, //
    },
    owned::OwnedMapping,
    table::RetiredTable,
    GRANULE, //
};

/// Size of a chunk in bytes: a PMD with 4K pages. With 16K and 64K pages, whose PMDs are far larger
/// than module text, it is a contiguous run of PTEs.
pub(crate) const CHUNK_SIZE: usize = SZ_2M;
static_assert!(GRANULE.is_leaf_size(CHUNK_SIZE));

/// A chunk of [`CHUNK_SIZE`] bytes at VA `start`.
struct Chunk {
    start: usize,
    /// The VA of its linear alias, if that is contiguous and aligned as a chunk is.
    alias: Option<usize>,
    table: Option<RetiredTable>,
    /// Whether its leaves have changed since the worker last looked.
    has_changed: bool,
}

/// What the caches hold.
struct Held {
    /// Each vmalloc area, whether it is made of chunks or of pages.
    areas: KVec<OwnedMapping<'static>>,
    chunks: KVec<Chunk>,
}

static HELD: Guarded<Held> = Guarded::new(Held {
    areas: KVec::new(),
    chunks: KVec::new(),
});

/// Returns the chunk that contains `addr`.
fn find(guard: &mut PgtableSplitGuard, addr: usize) -> Option<&mut Chunk> {
    let start = addr & !(CHUNK_SIZE - 1);
    let mut chunks = HELD.get(guard).chunks.iter_mut();

    chunks.find(|chunk| chunk.start == start)
}

/// Adds `area`. [`add`] is for its chunks.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for that.
pub(crate) fn add_area(guard: &mut PgtableSplitGuard, area: OwnedMapping<'static>) -> Result {
    Ok(HELD.get(guard).areas.push(area, GFP_KERNEL)?)
}

/// Adds the chunk at VA `start` with its linear alias, if that is contiguous and aligned, and with
/// the table that is deposited for it.
///
/// # Errors
///
/// [`ENOMEM`] if there is no memory for that.
pub(crate) fn add(
    guard: &mut PgtableSplitGuard,
    start: usize,
    alias: Option<usize>,
    table: Option<RetiredTable>,
) -> Result {
    let chunk = Chunk {
        start,
        alias,
        table,
        has_changed: false,
    };
    Ok(HELD.get(guard).chunks.push(chunk, GFP_KERNEL)?)
}

/// Removes the area `range` and all its chunks, and frees their tables.
pub(crate) fn remove(guard: &mut PgtableSplitGuard, range: &Range<usize>) {
    let held = HELD.get(guard);

    held.areas.retain(|area| area.range() != range);
    held.chunks.retain(|chunk| !range.contains(&chunk.start));
}

/// Returns whether any of `mapping`, VAs of vmalloc memory, is in a cache.
pub(crate) fn contain(guard: &mut PgtableSplitGuard, mapping: &Range<usize>) -> bool {
    let mut areas = HELD.get(guard).areas.iter();
    areas.any(|area| overlap(area.range(), mapping))
}

/// Returns whether any of `range`, a part of the linear map, is an alias of memory in a cache.
///
/// # Errors
///
/// [`EINVAL`] if there is a cache whose memory vmalloc has not allocated.
pub(crate) fn have_alias(guard: &mut PgtableSplitGuard, range: &Range<usize>) -> Result<bool> {
    for area in &HELD.get(guard).areas {
        let mut aliases = area.pages()?.alias_extents();
        if aliases.any(|extent| overlap(&extent, range)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Withdraws the table that is deposited for the chunk that contains `addr`, if there is one.
pub(crate) fn withdraw(guard: &mut PgtableSplitGuard, addr: usize) -> Option<RetiredTable> {
    find(guard, addr)?.table.take()
}

/// Deposits `table`, which mapped what is at VA `start`. Frees the table if that is not a chunk,
/// and the table that was deposited before, if there was one.
pub(crate) fn deposit(guard: &mut PgtableSplitGuard, start: usize, table: RetiredTable) {
    if let Some(chunk) = find(guard, start) {
        chunk.table = Some(table);
    }
}

/// Returns whether `range` of the linear map is the alias of a chunk.
pub(crate) fn is_alias(guard: &mut PgtableSplitGuard, range: &Range<usize>) -> bool {
    let mut chunks = HELD.get(guard).chunks.iter();

    range.len() == CHUNK_SIZE && chunks.any(|chunk| chunk.alias == Some(range.start))
}

/// Returns how many tables are deposited.
pub(crate) fn deposited_tables(guard: &mut PgtableSplitGuard) -> usize {
    let chunks = HELD.get(guard).chunks.iter();

    chunks.filter(|chunk| chunk.table.is_some()).count()
}

/// Marks the chunk that contains `addr` as changed. Returns whether there is one.
pub(crate) fn mark_changed(guard: &mut PgtableSplitGuard, addr: usize) -> bool {
    let Some(chunk) = find(guard, addr) else {
        return false;
    };

    chunk.has_changed = true;
    true
}

/// Returns the VAs of a chunk whose leaves have changed since it was last returned.
///
/// The chunk stays at least until the guard is released.
pub(crate) fn take_changed(guard: &mut PgtableSplitGuard) -> Option<Range<usize>> {
    let mut chunks = HELD.get(guard).chunks.iter_mut();
    let chunk = chunks.find(|chunk| chunk.has_changed)?;

    chunk.has_changed = false;
    Some(chunk.start..chunk.start + CHUNK_SIZE)
}
