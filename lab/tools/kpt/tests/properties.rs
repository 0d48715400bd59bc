// SPDX-License-Identifier: GPL-2.0
//! Properties that hold for any input: nothing panics, a dump that lacks its end is refused,
//! and what is counted is what was written.

use std::collections::BTreeSet;

use kpt::diff::Diff;
use kpt::dump::Dump;
use kpt::granule::{Granularity, PageSize};
use kpt::input::Source;
use kpt::summary::Counters;
use kpt::text::{self, Areas, TextReport};
use kpt::{aliases, map, wx};
use proptest::prelude::*;

const BASE: u64 = 0xffff_0000_0000_0000;

/// A size in the form of the kernel, written down in another way than the tool does it.
fn printed_size(bytes: u64) -> String {
    let kib = bytes >> 10;
    let steps = (kib.trailing_zeros() / 10).min(5);
    let unit = char::from(b"KMGTPE"[steps as usize]);
    format!("{}{unit}", kib >> (10 * steps))
}

/// What is written about a dump while it is written.
#[derive(Debug, Default)]
struct Expected {
    bytes: [u64; 5],
    entries: [u64; 5],
    tables: BTreeSet<u64>,
}

/// A dump with one region, of stretches each with a granularity, a number of entries and an
/// index of a permission.
fn written(page_size: PageSize, stretches: &[(usize, u64, usize)]) -> (String, Expected) {
    let table = page_size.table_bytes();
    let pud = page_size.leaf_bytes(Granularity::Pud);
    let mut text = String::from("---[ Linear Mapping start ]---\n");
    let mut expected = Expected::default();
    let mut at = BASE;
    let mut line = |at: &mut u64, end: u64, rest: &str| {
        if *at != end {
            let size = printed_size(end.wrapping_sub(*at));
            text.push_str(&format!("0x{at:016x}-0x{end:016x}   {size:>10} {rest}\n"));
            *at = end;
        }
    };
    for &(granularity, entries, permission) in stretches {
        let leaf = page_size.leaf_bytes(Granularity::ALL[granularity]);
        // The address space has room for a few blocks of the largest size.
        let entries = entries.min(2 * pud / leaf);
        let bytes = leaf * entries;
        let level = ["PTE", "PTE", "PMD", "PMD", "PUD"][granularity];
        let contiguous = if granularity % 2 == 1 { "CON" } else { "   " };
        let permission = ["  RW NX", "  ro NX", "  ro x ", "  RW x ", "F ro NX"][permission];
        if level == "PTE" {
            expected
                .tables
                .extend(at / table..=(at + bytes - 1) / table);
        }
        expected.bytes[granularity] += bytes;
        expected.entries[granularity] += entries;
        let end = at + bytes;
        line(
            &mut at,
            end,
            &format!("{level}     {permission} SHD AF    {contiguous}     UXN    MEM/NORMAL"),
        );
        line(&mut at, end.next_multiple_of(table), "PTE");
        line(&mut at, end.next_multiple_of(pud), "PMD");
    }
    line(&mut at, 0, "PGD");
    (text, expected)
}

fn page_sizes() -> impl Strategy<Value = PageSize> {
    proptest::sample::select(PageSize::ALL.to_vec())
}

fn stretches() -> impl Strategy<Value = Vec<(usize, u64, usize)>> {
    proptest::collection::vec((0usize..5, 1u64..3000, 0usize..5), 1..20)
}

fn parsed(text: &str, page_size: Option<PageSize>) -> Dump {
    let source = Source::from_bytes("dump", text.into()).expect("text");
    Dump::parse(&source, page_size).expect("a dump")
}

proptest! {
    #[test]
    fn what_is_written_is_counted(page_size in page_sizes(), stretches in stretches()) {
        let (text, expected) = written(page_size, &stretches);
        let dump = parsed(&text, Some(page_size));
        let region = dump.region("linear").expect("the linear map");
        let counters = Counters::of(region, page_size);
        for (index, granularity) in Granularity::ALL.into_iter().enumerate() {
            let usage = counters.granularity.get(granularity);
            prop_assert_eq!(usage.bytes, expected.bytes[index]);
            prop_assert_eq!(usage.entries, expected.entries[index]);
        }
        prop_assert_eq!(counters.l3_tables, expected.tables.len() as u64);
        prop_assert_eq!(counters.cut_runs, 0);
        prop_assert_eq!(wx::find(&dump).is_empty(), stretches.iter().all(|s| s.2 != 3));
        prop_assert!(map::draw(&dump, "linear").is_ok());
    }

    #[test]
    fn the_page_size_is_inferred_from_a_single_page(
        page_size in page_sizes(),
        stretches in stretches(),
    ) {
        let mut stretches = stretches;
        stretches.push((0, 1, 0));
        let (text, _) = written(page_size, &stretches);
        prop_assert_eq!(parsed(&text, None).page_size, page_size);
    }

    #[test]
    fn a_dump_without_its_end_is_refused(
        stretches in stretches(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (mut text, _) = written(PageSize::Size4K, &stretches);
        text.truncate(cut.index(text.len()));
        let source = Source::from_bytes("dump", text.into());
        let dump = source.and_then(|source| Dump::parse(&source, Some(PageSize::Size4K)));
        prop_assert!(dump.is_err());
    }

    #[test]
    fn a_damaged_dump_does_not_panic(
        stretches in stretches(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (text, _) = written(PageSize::Size4K, &stretches);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let source = Source::from_bytes("dump", bytes);
        if let Ok(dump) = source.and_then(|source| Dump::parse(&source, None)) {
            let _ = Diff::between(&dump, &dump).to_text(3);
            let _ = map::draw(&dump, "linear");
        }
    }

    #[test]
    fn a_difference_has_the_bytes_that_differ(old in stretches(), new in stretches()) {
        let (old, _) = written(PageSize::Size4K, &old);
        let (new, _) = written(PageSize::Size4K, &new);
        let (old, new) = (parsed(&old, Some(PageSize::Size4K)), parsed(&new, Some(PageSize::Size4K)));
        let there = Diff::between(&old, &new);
        let back = Diff::between(&new, &old);
        prop_assert!(Diff::between(&old, &old).equal);
        prop_assert_eq!(there.equal, back.equal);
        for (there, back) in there.regions.iter().zip(&back.regions) {
            let bounds = |diff: &kpt::diff::RegionDiff| -> Vec<_> {
                diff.changes.iter().map(|change| (change.start, change.end)).collect()
            };
            prop_assert_eq!(bounds(there), bounds(back));
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(source) = Source::from_bytes("bytes", bytes) {
            let _ = Dump::parse(&source, None);
            let _ = Areas::parse(&source);
            let _ = text::parse_sections(&source);
            let _ = aliases::parse(&source);
        }
    }

    #[test]
    fn arbitrary_lines_do_not_panic(
        text in "(---\\[ [a-z ]{0,9} \\]---\n|0x[0-9a-f]{16}-0x[0-9a-f]{16} {1,3}[0-9]{1,3}[KMG] (PTE|PMD) (RW|ro)? (NX|x)?\n){0,9}",
    ) {
        if let Ok(source) = Source::from_bytes("lines", text.into()) {
            let _ = Dump::parse(&source, None);
            let _ = Areas::parse(&source);
        }
    }

    #[test]
    fn arbitrary_sections_do_not_panic(
        address in (BASE..=u64::MAX),
        size in any::<u64>(),
        area in (BASE..=u64::MAX, any::<u64>()),
    ) {
        let sections = Source::from_bytes("s", format!("m .text 0x{address:x} {size}\n").into());
        let sections = sections.and_then(|source| text::parse_sections(&source));
        let (start, bytes) = area;
        let end = start.wrapping_add(bytes);
        let areas = format!("0x{start:x}-0x{end:x} {bytes} execmem_alloc+0x1/0x2 vmalloc\n");
        let areas = Source::from_bytes("v", areas.into()).and_then(|source| Areas::parse(&source));
        if let (Ok(sections), Ok(areas)) = (sections, areas) {
            let (text, _) = written(PageSize::Size4K, &[(0, 1, 2)]);
            let dump = parsed(&text, None);
            let _ = TextReport::of(&sections, &areas, &dump).to_text();
        }
    }
}
