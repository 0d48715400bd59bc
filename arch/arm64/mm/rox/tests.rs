// SPDX-License-Identifier: GPL-2.0

//! KUnit tests: the pure parts by value, the rest by what memory really does.
//!
//! The live tests ask the MMU: a store through `copy_to_kernel_nofault()` succeeds where memory is
//! writable and fails where it is not.

use kernel::{
    bindings,
    kunit,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::{
    area::{
        self,
        Area, //
    },
    descriptor::Leaf,
    geometry::LeafSize,
    lock::{
        Bbml3,
        ShapeLock, //
    },
    table::KernelTables,
    walk::{
        self,
        Tables, //
    }, //
};

/// Returns the proof that leaves can be split, or has the test skipped.
fn bbml3_or_skip() -> Option<Bbml3> {
    let bbml3 = Bbml3::get();
    if bbml3.is_none() {
        kunit::mark_skipped(c"leaves cannot be split");
    }
    bbml3
}

/// Returns whether memory of this type comes from a cache, or has the test skipped.
fn is_cached_or_skip(part: bindings::execmem_type) -> bool {
    // SAFETY: Reads what was set up at boot.
    let is_cached = unsafe { bindings::execmem_is_cached(part) };
    if !is_cached {
        kunit::mark_skipped(c"there is no cache");
    }
    is_cached
}

/// Returns the word at `addr`, if that can be read.
fn load(addr: usize) -> Option<u32> {
    let mut word = 0u32;
    let buffer = (&raw mut word).cast::<c_void>();
    let addr = addr as *const c_void;

    // SAFETY: The buffer has the size given; an invalid address gives an error.
    let ret = unsafe { bindings::copy_from_kernel_nofault(buffer, addr, size_of::<u32>()) };
    (ret == 0).then_some(word)
}

/// Returns whether `word`, which is there already, can be stored at `addr`.
fn can_store(addr: usize, word: u32) -> bool {
    let buffer = (&raw const word).cast::<c_void>();
    let addr = addr as *mut c_void;

    // SAFETY: An invalid address gives an error, and nothing changes otherwise.
    unsafe { bindings::copy_to_kernel_nofault(addr, buffer, size_of::<u32>()) == 0 }
}

/// Returns whether the word at `addr` can be read and written.
fn is_writable(addr: usize) -> bool {
    load(addr).is_some_and(|word| can_store(addr, word))
}

/// Returns whether the word at `addr` can be read, but not written.
fn is_read_only(addr: usize) -> bool {
    load(addr).is_some_and(|word| !can_store(addr, word))
}

/// Returns the linear alias of each page of `size` bytes of a vmalloc area at `addr`.
fn aliases(addr: usize, size: usize) -> Result<KVec<usize>> {
    let start = area::untagged(addr);
    let mapping = start..start + size;
    // SAFETY: The tests own the areas that they ask for.
    let area = unsafe { Area::covering(&mapping) }?;
    let mut aliases = KVec::new();

    for run in area.alias_runs(&mapping)? {
        for page in run.step_by(PAGE_SIZE) {
            aliases.push(page, GFP_KERNEL)?;
        }
    }
    Ok(aliases)
}

/// Returns how many level 2 leaves map `size` bytes at `addr`.
fn blocks(addr: usize, size: usize) -> Result<usize> {
    let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
    // SAFETY: The tests own the memory that they ask for.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    Ok(walk::count_blocks(&mut tables, &(addr..addr + size))?)
}

/// Returns how many bytes leaves of each size map in `size` bytes at `addr`.
fn sizes(addr: usize, size: usize) -> Result<[usize; LeafSize::ALL.len()]> {
    let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
    // SAFETY: The tests own the memory that they ask for.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    let mut sizes = [0; LeafSize::ALL.len()];

    walk::measure(&mut tables, &(addr..addr + size), |size, bytes| {
        sizes[size.index()] += bytes;
    });
    Ok(sizes)
}

/// Returns the leaf that maps `addr`.
fn leaf_at(addr: usize) -> Result<Leaf> {
    let bbml3 = Bbml3::get().ok_or(EOPNOTSUPP)?;
    // SAFETY: The tests own the memory that they ask for, or the rest of its block.
    let tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };

    walk::find(&tables, addr).leaf.ok_or(EINVAL)
}

/// Waits until leaves have the `wanted` sizes, for up to two seconds. Returns whether they have.
fn becomes(addr: usize, size: usize, wanted: [usize; LeafSize::ALL.len()]) -> Result<bool> {
    for _ in 0..40 {
        if sizes(addr, size)? == wanted {
            return Ok(true);
        }
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(50) };
    }
    Ok(false)
}

/// Undoes what [`permission::map_by_pages`] has done to the page of the linear map at `addr`.
fn unpin(bbml3: Bbml3, addr: usize) -> Result {
    // SAFETY: The tests own the memory that they ask for.
    let mut tables = unsafe { KernelTables::new(ShapeLock::lock(bbml3)) };
    let end = walk::find(&tables, addr);
    let (Some(entry), Some(leaf)) = (end.entry, end.leaf) else {
        return Err(EINVAL);
    };

    tables.write(entry, end.level, leaf.alone().descriptor());
    Ok(())
}

#[kunit_tests(arm64_rox_pure)]
mod pure {
    use super::*;
    use crate::{
        descriptor::{
            self,
            Change,
            Descriptor,
            Kind, //
        },
        execmem::{
            BLOCK_SIZE,
            GEOMETRY, //
        },
        geometry::{
            Geometry,
            LeafSize,
            Level, //
        },
        permission,
        runs::Runs,
        trap, //
    };
    use core::ops::Range;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;

    /// A valid, writable leaf of the kernel's data, as its PA, its type, and the access flag.
    fn leaf(level: Level, address: u64) -> Option<Leaf> {
        let kind = if level == Level::Pte { 3 } else { 1 };
        let bits = address | kind | 1 << 10 | descriptor::WRITE | descriptor::PXN;

        match Descriptor::from_bits(bits).kind(level) {
            Kind::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    #[test]
    fn geometry_has_the_sizes_of_the_architecture() {
        let sizes = |shift| {
            Geometry::new(shift).map(|g| {
                (
                    g.page(),
                    g.run_size(Level::Pte),
                    g.size(Level::Pmd),
                    g.run_size(Level::Pmd),
                    g.size(Level::Pud),
                )
            })
        };

        assert_eq!(sizes(12), Some((4 * KIB, 64 * KIB, 2 * MIB, 32 * MIB, GIB)));
        assert_eq!(
            sizes(14),
            Some((16 * KIB, 2 * MIB, 32 * MIB, GIB, 64 * GIB))
        );
        assert_eq!(
            sizes(16),
            Some((64 * KIB, 2 * MIB, 512 * MIB, 16 * GIB, 4096 * GIB))
        );
        assert_eq!(sizes(13), None);
    }

    #[test]
    fn a_cache_block_is_a_leaf_with_every_page_size() {
        for shift in [12, 14, 16] {
            assert!(Geometry::new(shift).is_some_and(|g| g.is_leaf_size(BLOCK_SIZE)));
        }
        assert_eq!(GEOMETRY.page(), PAGE_SIZE);
        assert!(!GEOMETRY.is_leaf_size(BLOCK_SIZE / 2 + PAGE_SIZE));
    }

    #[test]
    fn descriptors_are_told_apart() {
        let kind = |bits, level| match Descriptor::from_bits(bits).kind(level) {
            Kind::Hole => 'h',
            Kind::Table => 't',
            Kind::Leaf(_) => 'l',
        };

        assert_eq!(kind(0, Level::Pmd), 'h');
        assert_eq!(kind(3, Level::Pmd), 't');
        assert_eq!(kind(1, Level::Pmd), 'l');
        assert_eq!(kind(3, Level::Pte), 'l');
        // Not valid, but present: a block, and a page.
        assert_eq!(kind(descriptor::PRESENT_INVALID, Level::Pud), 'l');
        assert_eq!(kind(descriptor::PRESENT_INVALID | 2, Level::Pte), 'l');
    }

    #[test]
    fn parts_of_a_block_map_what_the_block_maps() -> Result {
        let address = 0x4000_0000;
        let block = leaf(Level::Pmd, address).ok_or(EINVAL)?;

        for shift in [12, 14, 16] {
            let geometry = Geometry::new(shift).ok_or(EINVAL)?;
            for index in [0, 1, geometry.entries() - 1] {
                let offset = (index << shift) as u64;
                let page = leaf(Level::Pte, address + offset).ok_or(EINVAL)?;
                let part = block.part(index, &geometry);

                assert!(part.is_contiguous());
                assert_eq!(part.size().bytes(&geometry), geometry.run_size(Level::Pte));
                assert!(part.pinned() == page);
            }
        }
        Ok(())
    }

    #[test]
    fn a_split_can_be_undone_and_nothing_else() -> Result {
        let geometry = GEOMETRY;
        let pages = geometry.entries();
        let size = geometry.size(Level::Pmd);
        let block = leaf(Level::Pmd, size as u64).ok_or(EINVAL)?;
        let first = block.part(0, &geometry);

        // Whether or not the runs were split too; and the block becomes what it was.
        for split in [false, true] {
            let part = |index| match block.part(index, &geometry) {
                part if split => part.alone(),
                part => part,
            };
            assert!(part(0).begins(size, &geometry));
            for index in 1..pages {
                assert!(part(0).is_continued_by(part(index), index, &geometry));
            }
            let table = block.replaced_by(0x1000, true);
            assert!(table.was_block());
            assert!(part(0).whole(Level::Pmd, table) == block);
            assert!(part(0).alone().together() == first);
        }
        // The block was one of a run itself.
        let table = block.alone().replaced_by(0x1000, true);
        assert!(first.whole(Level::Pmd, table) == block.alone());

        // Other attributes, another address, not split by us, not valid, not aligned.
        let ro = Change::new(descriptor::RDONLY, descriptor::WRITE).ok_or(EINVAL)?;
        let invalid = Change::new(descriptor::PRESENT_INVALID, descriptor::VALID).ok_or(EINVAL)?;
        let second = block.part(1, &geometry);
        assert!(!first.is_continued_by(second.with(ro).ok_or(EINVAL)?, 1, &geometry));
        assert!(!first.is_continued_by(second, 2, &geometry));
        assert!(!first.is_continued_by(second.pinned(), 1, &geometry));
        assert!(!first.with(invalid).ok_or(EINVAL)?.begins(size, &geometry));
        assert!(!first.pinned().begins(size, &geometry));
        assert!(!second.begins(size, &geometry));
        assert!(!Descriptor::table(0x1000, true).was_block());
        Ok(())
    }

    #[test]
    fn a_table_can_have_a_note_and_nothing_else_of_it_changes() {
        let table = Descriptor::table(0x1000, true);
        let noted = table.with_pending(true);

        assert!(noted.is_pending() && !table.is_pending());
        assert!(matches!(noted.kind(Level::Pmd), Kind::Table));
        assert!(noted.with_pending(false) == table);
    }

    #[test]
    fn leaf_sizes_are_in_order() {
        for (index, size) in LeafSize::ALL.iter().enumerate() {
            assert_eq!(size.index(), index);
        }
        assert!(LeafSize::ALL
            .windows(2)
            .all(|pair| pair[0].bytes(&GEOMETRY) < pair[1].bytes(&GEOMETRY)));
    }

    #[test]
    fn no_leaf_is_writable_and_executable() -> Result {
        let data = leaf(Level::Pte, 0).ok_or(EINVAL)?;
        let x = Change::new(0, descriptor::PXN).ok_or(EINVAL)?;
        let rw = Change::new(descriptor::WRITE, descriptor::RDONLY).ok_or(EINVAL)?;

        assert!(data.with(x).is_none());
        let text = data.with(permission::rox()).ok_or(EINVAL)?;
        assert!(text.is_executable() && !text.is_writable());
        assert!(text.with(rw).is_none());
        let data = text.with(permission::rw_nx()).ok_or(EINVAL)?;
        assert!(!data.is_executable() && data.is_writable());
        Ok(())
    }

    /// A table of level 2 blocks, and what was done to it: stores to it, and invalidations.
    struct Blocks {
        entries: [u64; 5],
        needs_break: bool,
        /// For each block whether a TLB may hold it as valid and executable.
        cached: [bool; 5],
        /// How often a block was not executable while a TLB might hold it as executable.
        early: usize,
        invalidations: usize,
    }

    impl Blocks {
        const RX: u64 = 1 | 1 << 10 | descriptor::RDONLY;
        const INVALID_RX: u64 = Self::RX & !descriptor::VALID | descriptor::PRESENT_INVALID;
        const RW: u64 = 1 | 1 << 10 | descriptor::WRITE | descriptor::PXN;
        const INVALID_RW: u64 = Self::RW & !descriptor::VALID | descriptor::PRESENT_INVALID;

        fn new(needs_break: bool) -> Self {
            Self {
                entries: [Self::RX, Self::RX, Self::INVALID_RX, Self::RW, Self::RX],
                needs_break,
                cached: [true, true, false, false, true],
                early: 0,
                invalidations: 0,
            }
        }
    }

    impl walk::Tables for Blocks {
        type Entry = usize;

        const TOP: Level = Level::Pmd;
        const GEOMETRY: Geometry = GEOMETRY;

        fn top(&self, addr: usize) -> Option<usize> {
            let index = addr / GEOMETRY.size(Level::Pmd);
            (index < self.entries.len()).then_some(index)
        }

        fn first(&self, _: Descriptor) -> usize {
            0
        }

        fn at(&self, entry: usize, offset: isize) -> usize {
            entry.wrapping_add_signed(offset)
        }

        fn read(&self, entry: usize) -> Descriptor {
            Descriptor::from_bits(self.entries[entry])
        }

        fn write(&mut self, entry: usize, level: Level, descriptor: Descriptor) {
            self.entries[entry] = descriptor.bits();
            if let Kind::Leaf(leaf) = descriptor.kind(level) {
                let is_early = self.cached[entry] && leaf.is_valid() && !leaf.is_executable();
                self.early += usize::from(is_early);
            }
        }

        fn resized(&mut self, _: usize, _: usize, _: LeafSize, _: LeafSize) {}

        fn changed(&mut self, _: usize) {}

        fn needs_break(&self) -> bool {
            self.needs_break
        }

        fn invalidate_leaves(&mut self, range: &Range<usize>) {
            let size = GEOMETRY.size(Level::Pmd);

            self.cached[range.start / size..range.end / size].fill(false);
            self.invalidations += 1;
        }
    }

    impl walk::Exclusive for Blocks {}

    #[test]
    fn hibernation_flips_whole_leaves_and_leaves_no_trace() -> Result {
        let size = GEOMETRY.size(Level::Pmd);
        // A page that is not the first of a read-only block.
        let page = 2 * size + 3 * PAGE_SIZE;
        let set = descriptor::VALID | descriptor::WRITE;
        let clear = descriptor::PRESENT_INVALID | descriptor::RDONLY;
        let map = Change::new(set, clear).ok_or(EINVAL)?;
        let unmap = Change::new(descriptor::PRESENT_INVALID, descriptor::VALID).ok_or(EINVAL)?;

        let mut blocks = Blocks::new(false);
        let before = blocks.entries;
        let block = LeafSize::new(Level::Pmd, false);
        assert!(walk::flip(&mut blocks, page, map) == Ok(block));
        assert_eq!(blocks.entries[2], Blocks::RX);
        assert!(walk::flip(&mut blocks, page, unmap) == Ok(block));
        assert_eq!(blocks.entries, before);
        assert!(walk::flip(&mut blocks, 5 * size, map) == Err(walk::Error::Invalid));
        Ok(())
    }

    #[test]
    fn executable_leaves_are_invalid_before_they_are_not_executable() {
        let all = 0..5 * GEOMETRY.size(Level::Pmd);
        let to = Change::rw_nx(0);
        let after = [
            Blocks::RW,
            Blocks::RW,
            Blocks::INVALID_RW,
            Blocks::RW,
            Blocks::RW,
        ];

        // Adjacent blocks are invalid together; what was not valid does not become valid.
        let mut blocks = Blocks::new(true);
        let mut stale = 0;
        let changed = walk::apply(&mut blocks, &all, to, |_, _| stale += 1);
        assert!(changed == Ok(true));
        assert_eq!(stale, 0);
        assert_eq!(blocks.entries, after);
        assert_eq!(blocks.early, 0);
        assert_eq!(blocks.invalidations, 2);

        // Other CPUs may see it: the caller invalidates TLBs.
        let mut blocks = Blocks::new(false);
        let mut stale = 0;
        let changed = walk::apply(&mut blocks, &all, to, |_, _| stale += 1);
        assert!(changed == Ok(true));
        assert_eq!(stale, 3);
        assert_eq!(blocks.entries, after);
        assert_eq!(blocks.early, 3);
        assert_eq!(blocks.invalidations, 0);
    }

    #[test]
    fn a_change_leaves_the_size_alone() {
        assert!(Change::new(1 << 52, 0).is_none());
        assert!(Change::new(0, 1 << 1).is_none());
    }

    #[test]
    fn runs_join_what_is_contiguous() {
        let pages = [0x1000, 0x2000, 0x3000, 0x8000, 0x7000, 0x9000, 0xa000];
        let mut runs = Runs::new(pages.into_iter(), 0x1000);

        assert_eq!(runs.next(), Some(0x1000..0x4000));
        assert_eq!(runs.next(), Some(0x8000..0x9000));
        assert_eq!(runs.next(), Some(0x7000..0x8000));
        assert_eq!(runs.next(), Some(0x9000..0xb000));
        assert_eq!(runs.next(), None);
        assert_eq!(runs.next(), None);

        assert_eq!(Runs::new([].into_iter(), 0x1000).next(), None);
    }

    #[test]
    fn the_alias_follows_writability_alone() -> Result {
        let ro = Change::new(descriptor::RDONLY, descriptor::WRITE);
        assert!(permission::rox().of_alias() == ro);

        let nx = Change::new(descriptor::PXN, 0).ok_or(EINVAL)?;
        assert!(nx.of_alias().is_none());
        Ok(())
    }

    #[test]
    fn fill_leaves_nothing_but_traps() -> Result {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut text = KVec::from_elem(0xd503201f_u32, len, GFP_KERNEL)?;

            trap::fill(&mut text);
            // BRK #0x100, in memory order.
            assert!(text
                .iter()
                .all(|insn| insn.to_ne_bytes() == [0x00, 0x20, 0x20, 0xd4]));
        }
        Ok(())
    }
}

#[kunit_tests(arm64_rox_live)]
mod live {
    use super::*;
    use crate::{
        execmem::{
            self,
            BLOCK_SIZE,
            GEOMETRY, //
        },
        geometry::Level,
        permission,
        trap::TRAP, //
    };
    use kernel::{
        sizes::SZ_4K,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    const MODULE_TEXT: bindings::execmem_type = bindings::execmem_type_EXECMEM_MODULE_TEXT;
    const MODULE_RODATA: bindings::execmem_type = bindings::execmem_type_EXECMEM_MODULE_RODATA;

    /// vmalloc memory of two blocks, which the test owns.
    struct Memory {
        addr: usize,
    }

    impl Memory {
        const SIZE: usize = 2 * BLOCK_SIZE;

        fn new(huge: bool) -> Result<Self> {
            // SAFETY: Allocating is always safe in a context that can sleep.
            let ptr = unsafe {
                if huge {
                    bindings::vmalloc_huge_node_noprof(Self::SIZE, bindings::GFP_KERNEL, -1)
                } else {
                    bindings::vmalloc_noprof(Self::SIZE)
                }
            };
            if ptr.is_null() {
                return Err(ENOMEM);
            }
            Ok(Self { addr: ptr as usize })
        }

        fn page(&self, index: usize) -> usize {
            self.addr + index * PAGE_SIZE
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: The memory is the test's own, and all of it is writable again.
            unsafe { bindings::vfree(self.addr as *const c_void) };
        }
    }

    /// Makes a range in the middle of `memory` read-only and writable again, and checks every page
    /// and its alias each time.
    fn check_set_memory(memory: &Memory, first: usize, count: usize) -> Result {
        let aliases = aliases(memory.addr, Memory::SIZE)?;
        let has_changed = |index: usize| (first..first + count).contains(&index);
        let alias_follows = Bbml3::get().is_some();

        // SAFETY: The memory is the test's own.
        let ret = unsafe { bindings::set_memory_ro(memory.page(first), count as c_int) };
        assert_eq!(ret, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            let is_as_asked = match has_changed(index) {
                true => is_read_only,
                false => is_writable,
            };
            assert!(is_as_asked(memory.page(index)));
            assert!(!alias_follows || is_as_asked(alias));
        }

        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_rw(memory.page(first), count as c_int) };
        assert_eq!(ret, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_writable(memory.page(index)));
            assert!(is_writable(alias));
        }
        Ok(())
    }

    #[test]
    fn set_memory_changes_pages_and_no_neighbour() -> Result {
        let memory = Memory::new(false)?;

        check_set_memory(&memory, 3, 1)?;
        check_set_memory(&memory, 1, 15)
    }

    #[test]
    fn huge_mappings_change_where_leaves_can_be_split() -> Result {
        let memory = Memory::new(true)?;
        let block = BLOCK_SIZE / PAGE_SIZE;

        if Bbml3::get().is_some() {
            check_set_memory(&memory, 0, block)?;
            check_set_memory(&memory, block - 1, 2)?;
            return check_set_memory(&memory, 7, 1);
        }
        // SAFETY: The memory is the test's own.
        let ret = unsafe { bindings::set_memory_ro(memory.page(7), 1) };
        assert_eq!(ret, EINVAL.to_errno());
        Ok(())
    }

    #[test]
    fn what_is_as_asked_is_not_split() -> Result {
        if bbml3_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let pages = (Memory::SIZE / PAGE_SIZE) as c_int;
        let whole = blocks(memory.addr, Memory::SIZE)?;
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.page(3), 1) }, 0);
        assert_eq!(blocks(memory.addr, Memory::SIZE)?, whole);

        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, pages) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.page(3), 1) }, 0);
        assert_eq!(blocks(memory.addr, Memory::SIZE)?, whole);

        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.page(3), 1) }, 0);
        assert_eq!(blocks(memory.addr, Memory::SIZE)?, whole.saturating_sub(1));
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, pages) }, 0);
        Ok(())
    }

    #[test]
    fn the_linear_map_heals() -> Result {
        if bbml3_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(false)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        // What is around is others', and may change: look at the largest that one page breaks.
        let reach = GEOMETRY.size(Level::Pmd);
        let start = alias & !(reach - 1);
        // SAFETY: Tests can sleep; and what others have left behind heals meanwhile.
        unsafe { bindings::msleep(2000) };
        let before = sizes(start, reach)?;

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 1) }, 0);
        let split = sizes(start, reach)?;
        assert!(split[0] > 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 1) }, 0);
        assert!(becomes(start, reach, before)?);
        Ok(())
    }

    #[test]
    fn cached_text_is_a_block_again() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        // Runs of pages are made by vmalloc only where it has the helpers of hugetlb.
        if PAGE_SIZE != SZ_4K && !cfg!(CONFIG_HUGETLB_PAGE) {
            kunit::mark_skipped(c"vmalloc makes no contiguous runs");
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let block = text.addr & !(BLOCK_SIZE - 1);
        let mut whole = [0; LeafSize::ALL.len()];
        whole[if PAGE_SIZE == SZ_4K { 2 } else { 1 }] = BLOCK_SIZE;
        assert!(becomes(block, BLOCK_SIZE, whole)?);

        // SAFETY: The memory is the test's own.
        let ret = unsafe { crate::execmem_arch_set_rw(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(sizes(block, BLOCK_SIZE)? != whole);
        // SAFETY: As above.
        let ret = unsafe { crate::execmem_arch_set_rox(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(becomes(block, BLOCK_SIZE, whole)?);
        Ok(())
    }

    #[test]
    fn pinned_pages_stay_pages() -> Result {
        let Some(bbml3) = bbml3_or_skip() else {
            return Ok(());
        };
        let memory = Memory::new(true)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        let run = GEOMETRY.run_size(Level::Pte);
        // SAFETY: Tests can sleep; and what others have left behind heals meanwhile.
        unsafe { bindings::msleep(2000) };
        let before = sizes(alias & !(run - 1), run)?;

        // SAFETY: The memory is the test's own.
        unsafe { permission::map_by_pages(bbml3, alias..alias + PAGE_SIZE) }?;
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 2) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 2) }, 0);
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(1000) };
        // The run that the page is in, and no other.
        let start = alias & !(run - 1);
        assert_eq!(sizes(start, run)?[0], run);

        // The page outlives the test, so it becomes again what it was.
        unpin(bbml3, alias)?;
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 2) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 2) }, 0);
        assert!(becomes(start, run, before)?);
        Ok(())
    }

    #[test]
    fn read_only_data_is_not_joined() -> Result {
        if bbml3_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        let run = GEOMETRY.run_size(Level::Pte);
        let half = run / PAGE_SIZE / 2;

        // As two owners do.
        for first in [0, half] {
            // SAFETY: The memory is the test's own.
            let ret = unsafe { bindings::set_memory_ro(memory.page(first), half as c_int) };
            assert_eq!(ret, 0);
        }
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(1000) };
        assert_eq!(sizes(alias, run)?[0], run);
        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_rw(memory.addr, 2 * half as c_int) };
        assert_eq!(ret, 0);
        Ok(())
    }

    #[test]
    fn writable_memory_does_not_become_executable() -> Result {
        let memory = Memory::new(false)?;

        if Bbml3::get().is_some() {
            // SAFETY: The memory is the test's own; the call is one that fails.
            let ret = unsafe { bindings::set_memory_x(memory.page(1), 2) };
            assert_eq!(ret, EINVAL.to_errno());
        }
        assert!(is_writable(memory.page(1)));
        Ok(())
    }

    #[test]
    fn a_released_block_is_ordinary_memory() -> Result {
        if bbml3_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let aliases = aliases(memory.addr, Memory::SIZE)?;

        // SAFETY: The memory is the test's own.
        let vm = unsafe { bindings::find_vm_area(memory.addr as *const c_void) };
        // SAFETY: As above.
        assert_eq!(unsafe { crate::execmem_arch_populate(vm) }, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_read_only(memory.page(index)) && is_read_only(alias));
        }

        // SAFETY: As above, and nobody uses it.
        assert_eq!(unsafe { crate::execmem_arch_release(vm) }, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_writable(memory.page(index)) && is_writable(alias));
        }
        Ok(())
    }

    #[test]
    fn a_range_that_leaves_its_area_is_refused() -> Result {
        let memory = Memory::new(false)?;
        let pages = Memory::SIZE / PAGE_SIZE;

        if Bbml3::get().is_some() {
            // SAFETY: The memory is the test's own; the call is one that fails.
            let ret = unsafe { bindings::set_memory_ro(memory.page(1), pages as c_int) };
            assert_eq!(ret, EINVAL.to_errno());
            assert!(is_writable(memory.page(1)));
        }
        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_ro(memory.page(1), pages as c_int + 8) };
        assert_eq!(ret, EINVAL.to_errno());
        assert!(is_writable(memory.page(1)));
        Ok(())
    }

    /// Memory for a part of a module, which the test owns.
    struct Cached {
        addr: usize,
    }

    impl Cached {
        const SIZE: usize = 2 * PAGE_SIZE;

        fn new(part: bindings::execmem_type) -> Result<Self> {
            // SAFETY: Allocating is always safe in a context that can sleep.
            let ptr = unsafe { bindings::execmem_alloc(part, Self::SIZE) };
            if ptr.is_null() {
                return Err(ENOMEM);
            }
            Ok(Self { addr: ptr as usize })
        }

        /// Calls a function that changes permissions, for all pages. Returns what it returned.
        fn call(&self, function: unsafe extern "C" fn(usize, c_int) -> c_int) -> c_int {
            // SAFETY: The memory is the test's own, and it uses it as it is permitted.
            unsafe { function(self.addr, (Self::SIZE / PAGE_SIZE) as c_int) }
        }

        /// Returns the address of each instruction.
        fn insns(&self) -> impl Iterator<Item = usize> + Clone {
            (self.addr..self.addr + Self::SIZE).step_by(size_of::<u32>())
        }
    }

    impl Drop for Cached {
        fn drop(&mut self) {
            // SAFETY: The memory is the test's own.
            unsafe { bindings::execmem_free(self.addr as *mut c_void) };
        }
    }

    #[test]
    fn memory_is_cached_where_it_can_be() {
        let can_be = Bbml3::get().is_some() && execmem::is_wanted();
        // SAFETY: Reads what was set up at boot.
        let is_as_it_can_be = |part| unsafe { bindings::execmem_is_cached(part) } == can_be;

        assert!(execmem::EXECUTABLE.into_iter().all(is_as_it_can_be));
        assert!(is_as_it_can_be(MODULE_RODATA));
    }

    #[test]
    fn cached_data_and_its_alias_are_read_only() -> Result {
        // SAFETY: Reads what was set up at boot.
        let is_cached = unsafe { bindings::execmem_is_cached(MODULE_RODATA) };
        let data = Cached::new(MODULE_RODATA)?;
        let ptr = data.addr as *mut c_void;
        let aliases = aliases(data.addr, Cached::SIZE)?;

        if !is_cached {
            // As on any kernel without the cache: plain writable memory.
            assert!(is_writable(data.addr));
            return Ok(());
        }
        assert!(is_read_only(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        assert!(is_writable(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_ro(ptr, Cached::SIZE) }, 0);
        assert!(is_read_only(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        Ok(())
    }

    #[test]
    fn data_that_is_freed_writable_is_read_only() -> Result {
        if !is_cached_or_skip(MODULE_RODATA) {
            return Ok(());
        }

        // The first allocation keeps the block in the cache while the second is freed.
        let _keep = Cached::new(MODULE_RODATA)?;
        let data = Cached::new(MODULE_RODATA)?;
        let addr = data.addr;

        // SAFETY: The memory is the test's own.
        let ret = unsafe { crate::execmem_arch_set_rw(addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(is_writable(addr));
        drop(data);
        assert!(!leaf_at(addr)?.is_writable());
        Ok(())
    }

    #[test]
    fn text_and_data_share_no_block() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let data = Cached::new(MODULE_RODATA)?;

        let area_of = |memory: &Cached| {
            // SAFETY: Looks an address up.
            unsafe { bindings::find_vm_area(memory.addr as *const c_void) }
        };

        assert!(leaf_at(text.addr)?.is_executable() && !leaf_at(data.addr)?.is_executable());
        assert_ne!(area_of(&text), area_of(&data));
        Ok(())
    }

    #[test]
    fn cached_text_traps_and_its_alias_stays_read_only() -> Result {
        // SAFETY: Reads what was set up at boot.
        if !unsafe { bindings::execmem_is_rox(MODULE_TEXT) } {
            // As on any kernel without the cache: plain writable memory.
            assert!(is_writable(Cached::new(MODULE_TEXT)?.addr));
            return Ok(());
        }
        execmem::EXECUTABLE.into_iter().try_for_each(check_text)
    }

    fn check_text(part: bindings::execmem_type) -> Result {
        let text = Cached::new(part)?;
        let ptr = text.addr as *mut c_void;
        let aliases = aliases(text.addr, Cached::SIZE)?;

        assert!(text.insns().all(|insn| load(insn) == Some(TRAP)));
        assert!(is_read_only(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        assert!(is_writable(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_rox(ptr, Cached::SIZE) }, 0);
        assert!(is_read_only(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        Ok(())
    }

    #[test]
    fn permissions_of_cached_memory_change_and_its_alias_stays() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = Cached::new(part)?;
            let aliases = aliases(memory.addr, Cached::SIZE)?;
            let is_now = |writable, executable| -> Result<bool> {
                let leaf = leaf_at(memory.addr)?;
                Ok(leaf.is_writable() == writable
                    && leaf.is_executable() == executable
                    && aliases.iter().all(|&alias| is_read_only(alias)))
            };

            assert_eq!(memory.call(bindings::set_memory_rox), 0);
            assert!(is_now(false, true)?);
            assert_eq!(memory.call(bindings::set_memory_rw), EINVAL.to_errno());
            assert!(is_now(false, true)?);
            assert_eq!(memory.call(bindings::set_memory_nx), 0);
            assert!(is_now(false, false)?);
            assert_eq!(memory.call(bindings::set_memory_rw), 0);
            assert!(is_now(true, false)? && is_writable(memory.addr));
            assert_eq!(memory.call(bindings::set_memory_x), EINVAL.to_errno());
            assert!(is_now(true, false)?);
            assert_eq!(memory.call(bindings::set_memory_ro), 0);
            assert!(is_now(false, false)?);
            assert_eq!(memory.call(bindings::set_memory_x), 0);
            assert!(is_now(false, true)?);
        }
        Ok(())
    }

    #[test]
    fn what_a_user_did_to_cached_memory_ends_when_it_is_freed() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            // It keeps the block in the cache while the others are freed.
            let _keep = Cached::new(part)?;
            for functions in [
                [bindings::set_memory_nx, bindings::set_memory_rw],
                [bindings::set_memory_ro, bindings::set_memory_x],
                [bindings::set_memory_nx, bindings::set_memory_ro],
            ] {
                let memory = Cached::new(part)?;
                let addr = memory.addr;
                let aliases = aliases(addr, Cached::SIZE)?;

                for function in functions {
                    assert_eq!(memory.call(function), 0);
                }
                drop(memory);
                let leaf = leaf_at(addr)?;
                // Freed text is writable for a while. Then it is ROX, or somebody has it.
                assert!(part == MODULE_TEXT || !(leaf.is_writable() || leaf.is_executable()));
                assert!(!(leaf.is_writable() && leaf.is_executable()));
                assert!(aliases.iter().all(|&alias| is_read_only(alias)));
            }
        }
        Ok(())
    }

    #[test]
    fn a_range_that_leaves_its_part_of_a_cache_is_refused() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = [Cached::new(part)?, Cached::new(part)?];
            let executable = leaf_at(memory[0].addr)?.is_executable();
            let pages = (Cached::SIZE / PAGE_SIZE) as c_int;

            for function in [
                bindings::set_memory_nx,
                bindings::set_memory_x,
                bindings::set_memory_ro,
                bindings::set_memory_rw,
                bindings::set_memory_rox,
            ] {
                for Cached { addr } in &memory {
                    // SAFETY: The calls are ones that fail.
                    let ret = unsafe { function(*addr, pages + 1) };
                    assert_eq!(ret, EINVAL.to_errno());
                    // SAFETY: As above.
                    let ret = unsafe { function(*addr + PAGE_SIZE, pages) };
                    assert_eq!(ret, EINVAL.to_errno());
                    // SAFETY: As above.
                    let ret = unsafe { function(*addr - PAGE_SIZE, 2) };
                    assert_eq!(ret, EINVAL.to_errno());
                    let leaf = leaf_at(*addr)?;
                    assert!(!leaf.is_writable() && leaf.is_executable() == executable);
                }
            }

            // Nobody owns what is free.
            let addr = memory[1].addr;
            drop(memory);
            // SAFETY: The call is one that fails.
            let ret = unsafe { bindings::set_memory_nx(addr, 1) };
            assert_eq!(ret, EINVAL.to_errno());
        }
        Ok(())
    }

    #[test]
    fn the_alias_of_cached_memory_is_not_to_be_changed() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = Cached::new(part)?;
            let aliases = aliases(memory.addr, Cached::SIZE)?;
            // SAFETY: The memory is the test's own.
            let page = unsafe { bindings::vmalloc_to_page(memory.addr as *const c_void) };

            // SAFETY: As above; the calls are ones that fail.
            let results = unsafe {
                [
                    bindings::set_direct_map_invalid_noflush(page),
                    bindings::set_direct_map_default_noflush(page),
                    bindings::set_direct_map_valid_noflush(page, 1, false),
                    bindings::set_direct_map_valid_noflush(page, 1, true),
                    bindings::set_memory_valid(aliases[0], 1, 0),
                    bindings::set_memory_valid(memory.addr, 1, 0),
                ]
            };
            assert!(results.iter().all(|&ret| ret == EINVAL.to_errno()));
            assert!(is_read_only(memory.addr));
            assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        }
        Ok(())
    }

    // An indirect call to code that has no CFI type would trap.
    #[cfg(not(CONFIG_CFI))]
    #[test]
    fn text_executes_after_it_was_written() -> Result {
        // BTI C; MOV W0, #42; RET.
        const CODE: [u32; 3] = [0xd503245f, 0x52800540, 0xd65f03c0];

        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let ptr = text.addr as *mut c_void;

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        // SAFETY: The memory is the test's own, and writable.
        unsafe { ptr.cast::<[u32; 3]>().write(CODE.map(u32::to_le)) };
        crate::sync_icache(&(ptr.cast_const()..ptr.wrapping_byte_add(Cached::SIZE).cast_const()));
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { crate::execmem_arch_set_rox(ptr, Cached::SIZE) }, 0);

        // SAFETY: The code follows the C calling convention, and is executable.
        let function: extern "C" fn() -> c_int = unsafe { core::mem::transmute(ptr) };
        assert_eq!(function(), 42);
        Ok(())
    }

    /// Returns the address of text that was written, and then freed.
    fn write_and_free() -> Result<usize> {
        let text = Cached::new(MODULE_TEXT)?;
        // SAFETY: The memory is the test's own.
        let ret = unsafe { crate::execmem_arch_set_rw(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        for insn in text.insns() {
            // SAFETY: The memory is the test's own, and writable.
            unsafe { (insn as *mut u32).write_volatile(0xd503201f) };
        }
        // SAFETY: The memory is the test's own.
        let ret = unsafe { crate::execmem_arch_set_rox(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        Ok(text.addr)
    }

    /// Checks that text is as nobody has written it.
    fn assert_full_of_traps(addr: usize) {
        let mut insns = (addr..addr + Cached::SIZE).step_by(size_of::<u32>());
        assert!(insns.all(|insn| load(insn) == Some(TRAP)));
        assert!(is_read_only(addr));
    }

    #[test]
    fn freed_text_is_not_executable() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }

        // The first allocation keeps the block in the cache while the second is freed.
        let keep = Cached::new(MODULE_TEXT)?;
        // Others may use the cache meanwhile, and fill it: one time in ten is enough.
        let mut was_seen = [false; 2];
        for _ in 0..10 {
            let addr = write_and_free()?;
            let aliases = aliases(addr, Cached::SIZE)?;
            was_seen[0] |= !leaf_at(addr)?.is_executable();
            assert!(aliases.iter().all(|&alias| is_read_only(alias)));

            // Who does not write to it gets it as memory of the cache is.
            let next = Cached::new(MODULE_TEXT)?;
            was_seen[1] |= next.addr == addr;
            assert!(leaf_at(next.addr)?.is_executable());
            assert_full_of_traps(next.addr);
        }
        assert_eq!(was_seen, [true; 2]);
        drop(keep);
        Ok(())
    }

    #[test]
    fn freed_text_is_filled_with_traps() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }

        let keep = Cached::new(MODULE_TEXT)?;
        let addr = write_and_free()?;
        // Beside tests of other suites, nobody has text for a while.
        for _ in 0..50 {
            if leaf_at(addr)?.is_executable() {
                break;
            }
            fsleep(Delta::from_millis(100));
        }
        assert!(leaf_at(addr)?.is_executable());
        assert_full_of_traps(addr);
        drop(keep);
        Ok(())
    }
}
