// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the pure parts, by value.

use core::ops::Range;

use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

use crate::{
    change::{
        self,
        Exclusive, //
    },
    descriptor::{
        self,
        Change,
        Descriptor,
        Kind,
        Leaf,
        TableAddress,
        TableDescriptor, //
    },
    extents::Extents,
    granule::{
        Granule,
        LeafSize,
        Level, //
    },
    walk::{
        self,
        Tables, //
    },
    GRANULE, //
};

#[kunit_tests(arm64_kpgtable_pure)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;

    // SAFETY: It never reaches live tables.
    const TABLE: TableAddress = unsafe { TableAddress::from_bits(0x1000) };

    /// A valid, writable leaf of the kernel's data, as its PA, its type, and the access flag.
    fn leaf(level: Level, address: u64) -> Option<Leaf> {
        let kind = if level == Level::Pte { 3 } else { 1 };
        let bits = address | kind | 1 << 10 | descriptor::WRITE | descriptor::PXN;

        // SAFETY: It never reaches live tables.
        match unsafe { Descriptor::from_bits(bits) }.kind(level) {
            Kind::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// To writable and not executable.
    fn rw_nx() -> Result<Change> {
        Change::new(descriptor::WRITE | descriptor::PXN, descriptor::RDONLY).ok_or(EINVAL)
    }

    #[test]
    fn a_granule_has_the_sizes_of_the_architecture() {
        let sizes = |shift| {
            Granule::new(shift).map(|g| {
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
    fn descriptors_are_told_apart() {
        // SAFETY: They never reach live tables.
        let kind = |bits, level| match unsafe { Descriptor::from_bits(bits) }.kind(level) {
            Kind::None => 'n',
            Kind::Table(_) => 't',
            Kind::Leaf(_) => 'l',
        };

        assert_eq!(kind(0, Level::Pmd), 'n');
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
            let granule = Granule::new(shift).ok_or(EINVAL)?;
            for index in [0, 1, granule.entries() - 1] {
                let offset = (index << shift) as u64;
                let page = leaf(Level::Pte, address + offset).ok_or(EINVAL)?;
                let part = block.part(Level::Pte, index, &granule);

                assert!(part.is_cont());
                assert_eq!(part.size().bytes(&granule), granule.run_size(Level::Pte));
                assert!(part.never_cont() == page);
            }
        }
        Ok(())
    }

    #[test]
    fn a_split_can_be_undone_and_nothing_else() -> Result {
        let granule = GRANULE;
        let pages = granule.entries();
        let size = granule.size(Level::Pmd);
        let block = leaf(Level::Pmd, size as u64).ok_or(EINVAL)?;
        let first = block.part(Level::Pte, 0, &granule);

        // Whether or not the runs were split too; and the block becomes what it was.
        for split in [false, true] {
            let part = |index| match block.part(Level::Pte, index, &granule) {
                part if split => part.clear_cont(),
                part => part,
            };
            assert!(part(0).begins(size, &granule));
            for index in 1..pages {
                assert!(part(0).is_continued_by(part(index), index, &granule));
            }
            let table = block.replaced_by(TABLE, Level::Pte, true);
            assert!(table.was_block());
            assert!(part(0).to_block(Level::Pmd, table) == block);
            assert!(part(0).clear_cont().set_cont() == first);
        }
        // The block was one of a run itself.
        let table = block.clear_cont().replaced_by(TABLE, Level::Pte, true);
        assert!(first.to_block(Level::Pmd, table) == block.clear_cont());

        // Other attributes, another address, not split by us, not valid, not aligned.
        let ro = Change::new(descriptor::RDONLY, descriptor::WRITE).ok_or(EINVAL)?;
        let invalid = Change::new(descriptor::PRESENT_INVALID, descriptor::VALID).ok_or(EINVAL)?;
        let second = block.part(Level::Pte, 1, &granule);
        assert!(!first.is_continued_by(second.with(ro).ok_or(EINVAL)?, 1, &granule));
        assert!(!first.is_continued_by(second, 2, &granule));
        assert!(!first.is_continued_by(second.never_cont(), 1, &granule));
        assert!(!first.with(invalid).ok_or(EINVAL)?.begins(size, &granule));
        assert!(!first.never_cont().begins(size, &granule));
        assert!(!second.begins(size, &granule));
        assert!(!TableDescriptor::new(TABLE, Level::Pte, true).was_block());
        Ok(())
    }

    #[test]
    fn a_table_can_be_marked_and_nothing_else_of_it_changes() {
        let table = TableDescriptor::new(TABLE, Level::Pte, true);
        let marked = table.with_pending(true);

        assert!(marked.is_pending() && !table.is_pending());
        let kind = marked.descriptor().kind(Level::Pmd);
        assert!(matches!(kind, Kind::Table(same) if same == marked));
        assert!(marked.with_pending(false) == table);
    }

    #[test]
    fn leaf_sizes_are_in_order() {
        for (index, size) in LeafSize::ALL.iter().enumerate() {
            assert_eq!(size.index(), index);
        }
        assert!(LeafSize::ALL
            .windows(2)
            .all(|pair| pair[0].bytes(&GRANULE) < pair[1].bytes(&GRANULE)));
    }

    #[test]
    fn no_leaf_is_writable_and_executable() -> Result {
        let data = leaf(Level::Pte, 0).ok_or(EINVAL)?;
        let x = Change::new(0, descriptor::PXN).ok_or(EINVAL)?;
        let rw = Change::new(descriptor::WRITE, descriptor::RDONLY).ok_or(EINVAL)?;

        assert!(data.with(x).is_none());
        let rox = Change::new(descriptor::RDONLY, descriptor::WRITE | descriptor::PXN);
        let text = data.with(rox.ok_or(EINVAL)?).ok_or(EINVAL)?;
        assert!(text.is_executable() && !text.is_writable());
        assert!(text.with(rw).is_none());
        let data = text.with(rw_nx()?).ok_or(EINVAL)?;
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

    impl Tables for Blocks {
        type Entry = usize;

        const TOP: Level = Level::Pmd;
        const GRANULE: Granule = GRANULE;

        fn top(&self, addr: usize) -> Option<usize> {
            let index = addr / GRANULE.size(Level::Pmd);
            (index < self.entries.len()).then_some(index)
        }

        fn first(&self, _: TableDescriptor) -> usize {
            0
        }

        fn at(&self, entry: usize, offset: isize) -> usize {
            entry.wrapping_add_signed(offset)
        }

        fn read(&self, entry: usize) -> Descriptor {
            // SAFETY: It never reaches live tables.
            unsafe { Descriptor::from_bits(self.entries[entry]) }
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
            let size = GRANULE.size(Level::Pmd);

            self.cached[range.start / size..range.end / size].fill(false);
            self.invalidations += 1;
        }
    }

    impl Exclusive for Blocks {}

    #[test]
    fn hibernation_flips_whole_leaves_and_leaves_no_trace() -> Result {
        let size = GRANULE.size(Level::Pmd);
        // A page that is not the first of a read-only block.
        let page = 2 * size + 3 * PAGE_SIZE;
        let set = descriptor::VALID | descriptor::WRITE;
        let clear = descriptor::PRESENT_INVALID | descriptor::RDONLY;
        let map = Change::new(set, clear).ok_or(EINVAL)?;
        let unmap = Change::new(descriptor::PRESENT_INVALID, descriptor::VALID).ok_or(EINVAL)?;

        let mut blocks = Blocks::new(false);
        let before = blocks.entries;
        let block = LeafSize::new(Level::Pmd, false);
        assert!(change::flip(&mut blocks, page, map) == Ok(block));
        assert_eq!(blocks.entries[2], Blocks::RX);
        assert!(change::flip(&mut blocks, page, unmap) == Ok(block));
        assert_eq!(blocks.entries, before);
        assert!(change::flip(&mut blocks, 5 * size, map) == Err(walk::Error::Invalid));
        Ok(())
    }

    #[test]
    fn executable_leaves_are_invalid_before_they_are_not_executable() -> Result {
        let all = 0..5 * GRANULE.size(Level::Pmd);
        let to = rw_nx()?;
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
        let changed = change::apply(&mut blocks, &all, to, |_, _| stale += 1);
        assert!(changed == Ok(true));
        assert_eq!(stale, 0);
        assert_eq!(blocks.entries, after);
        assert_eq!(blocks.early, 0);
        assert_eq!(blocks.invalidations, 2);

        // Other CPUs may see it: the caller invalidates TLBs.
        let mut blocks = Blocks::new(false);
        let mut stale = 0;
        let changed = change::apply(&mut blocks, &all, to, |_, _| stale += 1);
        assert!(changed == Ok(true));
        assert_eq!(stale, 3);
        assert_eq!(blocks.entries, after);
        assert_eq!(blocks.early, 3);
        assert_eq!(blocks.invalidations, 0);
        Ok(())
    }

    #[test]
    fn a_change_leaves_the_size_alone() {
        assert!(Change::new(1 << 52, 0).is_none());
        assert!(Change::new(0, 1 << 1).is_none());
    }

    #[test]
    fn extents_have_what_is_adjacent() {
        let pages = [0x1000, 0x2000, 0x3000, 0x8000, 0x7000, 0x9000, 0xa000];
        let mut extents = Extents::new(pages.into_iter(), 0x1000);

        assert_eq!(extents.next(), Some(0x1000..0x4000));
        assert_eq!(extents.next(), Some(0x8000..0x9000));
        assert_eq!(extents.next(), Some(0x7000..0x8000));
        assert_eq!(extents.next(), Some(0x9000..0xb000));
        assert_eq!(extents.next(), None);
        assert_eq!(extents.next(), None);

        assert_eq!(Extents::new([].into_iter(), 0x1000).next(), None);
    }

    #[test]
    fn the_alias_follows_writability_alone() -> Result {
        let ro = Change::new(descriptor::RDONLY, descriptor::WRITE);
        let rox = Change::new(descriptor::RDONLY, descriptor::WRITE | descriptor::PXN);
        assert!(rox.ok_or(EINVAL)?.of_alias() == ro);

        let nx = Change::new(descriptor::PXN, 0).ok_or(EINVAL)?;
        assert!(nx.of_alias().is_none());
        Ok(())
    }
}
