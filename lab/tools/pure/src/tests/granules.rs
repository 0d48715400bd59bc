// SPDX-License-Identifier: GPL-2.0

//! Translation granules: all three, and each size that a leaf can have.

use crate::{
    kernel::{Granule, LeafSize, Level},
    oracle::units,
    tables::{PageSize, Pages16K, Pages4K, Pages64K},
};

const LEVELS: [Level; 3] = [Level::Pud, Level::Pmd, Level::Pte];

#[test]
fn the_architecture_has_three() {
    let shifts = (0..64).filter(|&shift| Granule::new(shift).is_some());
    assert_eq!(shifts.collect::<Vec<_>>(), [12, 14, 16]);
}

/// Arm ARM D8.7.1, and Documentation/arch/arm64/hugetlbpage.rst.
#[test]
fn sizes_are_those_of_the_architecture() {
    const K: usize = 1 << 10;
    const M: usize = 1 << 20;
    const G: usize = 1 << 30;

    fn sizes<P: PageSize>() -> [usize; 5] {
        LeafSize::ALL.map(|size| size.bytes(&P::GRANULE))
    }
    assert_eq!(sizes::<Pages4K>(), [4 * K, 64 * K, 2 * M, 32 * M, G]);
    assert_eq!(sizes::<Pages16K>(), [16 * K, 2 * M, 32 * M, G, 64 * G]);
    assert_eq!(
        sizes::<Pages64K>(),
        [64 * K, 2 * M, 512 * M, 16 * G, 4096 * G]
    );
}

#[test]
fn sizes_agree_with_each_other() {
    fn check<P: PageSize>() {
        let granule = P::GRANULE;
        for (index, size) in LeafSize::ALL.into_iter().enumerate() {
            assert_eq!(size.index(), index);
            assert_eq!(size.bytes(&granule) >> P::SHIFT, units::<P>()[index]);
            // From the smallest.
            assert!(index == 0 || LeafSize::ALL[index - 1].bytes(&granule) < size.bytes(&granule));
        }
        for level in LEVELS {
            assert_eq!(
                granule.run_size(level),
                granule.run(level) * granule.size(level)
            );
            // A contiguous run is aligned to its size, and never across two tables.
            assert_eq!(granule.entries() % granule.run(level), 0);
            if let Some(below) = level.next() {
                let table = granule.entries() * granule.size(below);
                assert_eq!(granule.size(level), table);
            }
        }
        assert_eq!(granule.page() / 8, granule.entries());
    }
    check::<Pages4K>();
    check::<Pages16K>();
    check::<Pages64K>();
}

/// At both sides of each boundary that there is: an address is in one table, at one entry.
#[test]
fn an_address_is_in_one_entry() {
    fn check<P: PageSize>() {
        let granule = P::GRANULE;
        for level in LEVELS {
            let (size, table) = (granule.size(level), granule.size(level) * granule.entries());
            for boundary in LeafSize::ALL.map(|size| size.bytes(&granule)) {
                for addr in [boundary - 1, boundary, boundary + 1, 3 * boundary - 1] {
                    let (start, index) = (granule.table(level, addr), granule.index(level, addr));
                    assert!(index < granule.entries());
                    assert_eq!(start % table, 0);
                    assert_eq!(addr / size * size, start + index * size);
                }
            }
        }
    }
    check::<Pages4K>();
    check::<Pages16K>();
    check::<Pages64K>();
}
