// SPDX-License-Identifier: GPL-2.0

//! From pages to extents: all sequences of a few pages, and longer ones at random.

use proptest::prelude::*;

use super::unless_miri;
use crate::kernel::Extents;

const PAGE: usize = 4096;

/// Extents have the pages, in their order, and no two that follow each other are one.
fn check(pages: &[usize]) {
    let extents: Vec<_> = Extents::new(pages.iter().copied(), PAGE).collect();
    let of = |extent: &std::ops::Range<usize>| extent.clone().step_by(PAGE);

    assert_eq!(extents.iter().flat_map(of).collect::<Vec<_>>(), pages);
    assert!(extents.iter().all(|extent| !extent.is_empty()));
    assert!(extents.windows(2).all(|two| two[0].end != two[1].start));
}

/// All sequences of up to seven pages out of five.
#[test]
fn all_short_sequences() {
    let longest = unless_miri(7, 3);
    for length in 0..=longest as u32 {
        for number in 0..5_usize.pow(length) {
            let page = |place| number / 5_usize.pow(place) % 5 * PAGE;
            check(&(0..length).map(page).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(super::machine::config(unless_miri(256, 4) as u32))]

    #[test]
    fn long_sequences(extents in prop::collection::vec((0..1000_usize, 1..20_usize), 0..20)) {
        let pages = extents.into_iter().flat_map(|(start, count)| start..start + count);
        check(&pages.map(|page| page * PAGE).collect::<Vec<_>>());
    }
}
