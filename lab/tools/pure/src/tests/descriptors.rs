// SPDX-License-Identifier: GPL-2.0

//! Descriptors: all patterns of the bits that mean something to the code, at all levels.

use super::unless_miri;
use crate::{
    kernel::{
        Change, Granule, Kind, Leaf, LeafSize, Level, PRESENT_INVALID, PXN, RDONLY, VALID,
        WAS_CONT, WRITE,
    },
    tables::{descriptor, table_address, PageSize, Pages16K, Pages4K, Pages64K},
};

const TABLE_OR_PAGE: u64 = 1 << 1;
const CONT: u64 = 1 << 52;
/// A bit of attributes that the code knows nothing of.
const GUARDED: u64 = 1 << 50;

/// What says what a descriptor is, or was.
const SHAPE: [u64; 3] = [TABLE_OR_PAGE, CONT, WAS_CONT];
/// What a change may touch.
const ATTRIBUTES: [u64; 6] = [VALID, PRESENT_INVALID, RDONLY, WRITE, PXN, GUARDED];
const LEVELS: [Level; 3] = [Level::Pud, Level::Pmd, Level::Pte];

/// Returns all values of so many bits.
fn patterns<const N: usize>(bits: [u64; N]) -> impl Iterator<Item = u64> + Clone {
    (0..1_usize << N).map(move |number| {
        let is_set = |&index: &usize| number >> index & 1 == 1;
        (0..N).filter(is_set).map(|index| bits[index]).sum()
    })
}

/// Returns all leaves of a level without an address.
fn leaves(level: Level) -> impl Iterator<Item = Leaf> + Clone {
    patterns(SHAPE).flat_map(move |shape| {
        patterns(ATTRIBUTES).filter_map(move |attributes| leaf(shape | attributes, level))
    })
}

fn leaf(bits: u64, level: Level) -> Option<Leaf> {
    match descriptor(bits).kind(level) {
        Kind::Leaf(leaf) => Some(leaf),
        _ => None,
    }
}

/// A leaf as a level has it: a page has the bit that a block has not.
fn is_sound(leaf: &Leaf) -> bool {
    let is_page = leaf.descriptor().bits() & TABLE_OR_PAGE != 0;
    !leaf.is_valid() || is_page == (leaf.level() == Level::Pte)
}

/// All that a pattern of bits can be, by the words of the architecture and of Linux.
#[test]
fn all_kinds() {
    for level in LEVELS {
        for bits in patterns(SHAPE).flat_map(|shape| patterns(ATTRIBUTES).map(move |a| a | shape)) {
            let is_valid = bits & VALID != 0;
            let is_table = is_valid && bits & TABLE_OR_PAGE != 0 && level != Level::Pte;
            let is_leaf = !is_table && (is_valid || bits & PRESENT_INVALID != 0);
            let (table, leaf) = match descriptor(bits).kind(level) {
                Kind::Table(table) => {
                    assert_eq!(table.descriptor().bits(), bits);
                    assert_eq!(Some(table.below()), level.next());
                    assert!(!table.is_pending() && !table.was_block());
                    (true, None)
                }
                Kind::Leaf(leaf) => (false, Some(leaf)),
                Kind::None => (false, None),
            };
            assert_eq!((table, leaf.is_some()), (is_table, is_leaf), "{bits:#x}");
            if let Some(leaf) = leaf {
                assert_eq!(leaf.descriptor().bits(), bits);
                assert_eq!(leaf.level(), level);
                assert_eq!(leaf.is_valid(), is_valid);
                assert_eq!(leaf.size(), LeafSize::new(level, bits & CONT != 0));
            }
        }
    }
}

/// All changes there are of all leaves there are: none makes a leaf writable and executable,
/// another size, or no leaf at all.
#[test]
fn no_change_makes_a_leaf_writable_and_executable() {
    let few = unless_miri(1, 37);
    for (set, clear) in patterns(ATTRIBUTES)
        .flat_map(|set| patterns(ATTRIBUTES).map(move |clear| (set, clear)))
        .step_by(few)
    {
        let change = Change::new(set, clear).expect("it touches attributes alone");
        for level in [Level::Pmd, Level::Pte] {
            for leaf in leaves(level).step_by(few) {
                let bits = leaf.descriptor().bits();
                let wanted = bits & !clear | set;
                let is_wx = (wanted & RDONLY == 0 || wanted & WRITE != 0) && wanted & PXN == 0;
                let is_present = wanted & (VALID | PRESENT_INVALID) != 0;

                let after = leaf.with(change).map(|leaf| leaf.descriptor().bits());
                assert_eq!(after, (is_present && !is_wx).then_some(wanted), "{bits:#x}");
            }
        }
    }
}

/// No change touches what says how large a leaf is, or was.
#[test]
fn no_change_is_of_sizes() {
    for (set, clear) in patterns(SHAPE).flat_map(|set| patterns(SHAPE).map(move |c| (set, c))) {
        assert_eq!(Change::new(set, clear).is_some(), set | clear == 0);
    }
}

/// What the kernel asks for, alias included, can be undone, and never writes where it executes.
#[test]
fn the_kernels_changes() {
    for guarded in [0, GUARDED] {
        for change in [
            Change::rox(guarded),
            Change::ro_nx(guarded),
            Change::rw(),
            Change::rw_nx(guarded),
        ] {
            assert!(!(change.allows_write() && change.allows_execution()));
            if let Some(alias) = change.of_alias() {
                assert!(!alias.allows_execution() && !alias.removes_execution());
                assert_eq!(alias.allows_write(), change.allows_write());
            }
        }
        let memory = leaf(VALID | TABLE_OR_PAGE | WRITE | PXN, Level::Pte).expect("a page");
        let text = memory.with(Change::rox(guarded)).expect("it is read-only");
        assert!(text.is_executable() && !text.is_writable());
        assert!(text.with(Change::rw()).is_none(), "writable and executable");
        assert_eq!(text.with(Change::rw_nx(guarded)), Some(memory));
    }
}

/// Leaves that become leaves by themselves become what they were.
#[test]
fn contiguous_leaves_are_split_and_collapse() {
    for level in [Level::Pmd, Level::Pte] {
        for leaf in leaves(level).filter(|leaf| leaf.is_cont()) {
            let single = leaf.clear_cont();
            assert!(!single.is_cont() && single.is_or_was_cont());
            assert_eq!(single.is_valid(), leaf.is_valid());
            let again = single.set_cont();
            let was = leaf.descriptor().bits() & !WAS_CONT;
            assert_eq!(again.descriptor().bits(), was);
            let kept = leaf.never_cont();
            assert!(!kept.is_cont() && !kept.is_or_was_cont());
        }
    }
}

/// A block, whatever its attributes, is what the leaves of the table are that takes its place, and
/// becomes the same block again.
#[test]
fn blocks_are_split_and_collapse() {
    fn check<P: PageSize>() {
        let granule: Granule = P::GRANULE;
        let entries = granule.entries();
        for (level, below) in [(Level::Pud, Level::Pmd), (Level::Pmd, Level::Pte)] {
            let size = granule.size(level) as u64;
            for block in leaves(level).filter(|leaf| leaf.is_valid() && is_sound(leaf)) {
                // At the first address, and at the last that a block of this size can have.
                for address in [0, (1 << 48) - size] {
                    let bits = block.descriptor().bits() | address;
                    let block = leaf(bits, level).expect("a block");
                    let table = table_address(0x1234 << P::SHIFT);
                    let table = block.replaced_by(table, below, false);
                    let kind = table.descriptor().kind(level);
                    assert!(matches!(kind, Kind::Table(same) if same == table));
                    assert!(table.was_block() && !table.is_pending());
                    let marked = table.with_pending(true);
                    assert!(marked.was_block() && marked.is_pending());
                    assert_eq!(marked.with_pending(false), table);

                    let step = unless_miri(entries / 64, entries / 4);
                    let first = block.part(below, 0, &granule);
                    assert!(first.begins(granule.size(level), &granule));
                    for index in (0..entries).step_by(step).chain([1, entries - 1]) {
                        let part = block.part(below, index, &granule);
                        assert!(is_sound(&part));
                        let offset = (index * granule.size(below)) as u64;
                        let mask = !(TABLE_OR_PAGE | CONT | WAS_CONT);
                        assert_eq!(part.descriptor().bits() & mask, bits & mask | offset);
                        assert!(part.is_cont());
                        assert!(first.is_continued_by(part, index, &granule));
                        assert!(first.is_continued_by(part.clear_cont(), index, &granule));
                        assert!(index == 0 || !first.is_continued_by(part, index - 1, &granule));
                    }
                    let again = first.to_block(level, table);
                    let expected = match block.is_or_was_cont() {
                        true => bits & !CONT | WAS_CONT,
                        false => bits,
                    };
                    assert_eq!(again.descriptor().bits(), expected, "{bits:#x}");
                }
            }
        }
    }
    check::<Pages4K>();
    check::<Pages16K>();
    check::<Pages64K>();
}

/// All pairs of leaves: two continue each other if, and only if, they have the same attributes, the
/// addresses follow each other, and neither is one by itself on purpose.
#[test]
fn only_equal_leaves_collapse() {
    let granule = Pages4K::GRANULE;
    let few = unless_miri(1, 13);
    let others = SHAPE.into_iter().chain(ATTRIBUTES);
    let mask = others.fold(0, |mask, bit| mask | bit) & !(CONT | WAS_CONT);

    let pages = leaves(Level::Pte).filter(is_sound);
    for first in pages.clone().step_by(few) {
        for next in pages.clone().step_by(few) {
            for index in [0, 1, 7] {
                let equal = (first.descriptor().bits() ^ next.descriptor().bits()) & mask == 0;
                let at = |pages: u64| {
                    let bits = next.descriptor().bits() | pages << Pages4K::SHIFT;
                    leaf(bits, Level::Pte).expect("a page")
                };
                let continues = |next| first.is_continued_by(next, index, &granule);
                assert_eq!(continues(at(index as u64)), equal && next.is_or_was_cont());
                assert!(!continues(at(index as u64 + 1)));
            }
        }
    }
}

/// All pairs of leaves: a break is needed for those, and only those, that stop being executable.
#[test]
fn what_loses_execution() {
    let few = unless_miri(1, 13);
    for from in leaves(Level::Pte).step_by(few) {
        for to in leaves(Level::Pte).step_by(few) {
            let executes = |leaf: Leaf| leaf.is_valid() && leaf.is_executable();
            let loses = executes(from) && to.is_valid() && !executes(to);
            assert_eq!(from.loses_execution(to), loses);
            assert!(!from.loses_execution(to.invalid()) && !from.invalid().loses_execution(to));
        }
    }
}
