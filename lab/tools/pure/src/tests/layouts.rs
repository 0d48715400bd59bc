// SPDX-License-Identifier: GPL-2.0

//! Two changes between all boundaries of a few leaves of each size, and what they collapse to: what
//! Kani would call a bounded proof.

use std::ops::Range;

use super::unless_miri;
use crate::{
    model::{Mapped, Model, Step},
    oracle::units,
    tables::{PageSize, Pages16K, Pages4K, Pages64K},
};

/// Ends of ranges: at and beside those of the leaves at the start of a block, and of the block.
fn ends(units: &[usize; 5], pages: usize) -> Vec<usize> {
    let (run, block) = (units[1], units[2]);
    let mut ends = vec![
        0,
        1,
        run - 1,
        run,
        block - run,
        block - 1,
        block,
        block + 1,
        pages,
    ];
    ends.retain(|&end| end <= pages);
    ends.dedup();
    ends
}

/// All ranges between such ends.
fn ranges(units: &[usize; 5], pages: usize) -> Vec<Range<usize>> {
    let ends = ends(units, pages);
    let starts = ends.iter().enumerate();
    starts
        .flat_map(|(index, &start)| ends[index + 1..].iter().map(move |&end| start..end))
        .collect()
}

/// To read-only; to text, as one change; to invalid; to what it was.
const SOME_CHANGES: [usize; 4] = [1, 5, 7, 0];

fn check<P: PageSize>() {
    let units = units::<P>();
    // Two blocks of level 2, or as many pages or contiguous runs of them; with 4K pages also the
    // contiguous run that the blocks are part of.
    let two = 2 * units[2];
    let mut layouts: Vec<(usize, Vec<Mapped>)> = (0..3)
        .map(|unit| (two, vec![(0, unit, two / units[unit])]))
        .collect();
    if units[3] <= 16 * 512 {
        layouts.push((units[3], vec![(0, 3, 1)]));
    }

    for (pages, mapped) in layouts {
        let ranges = ranges(&units, pages.min(two));
        let changes = ranges.iter().flat_map(|pages| {
            SOME_CHANGES.map(|change| Step::Change {
                pages: pages.clone(),
                change,
                tables: None,
            })
        });
        let collapses = [
            Step::CollapsePending,
            Step::CollapseChunk {
                page: 0,
                pages: units[1],
            },
            Step::CollapseChunk {
                page: 0,
                pages: units[2],
            },
        ];
        let steps: Vec<Step> = changes.collect();
        let few = unless_miri(1, 4001);
        // Of the second changes every so many-th, another one each time: looking at all pages is
        // what takes time.
        let apart = unless_miri(pages.div_ceil(200), 1);
        let pairs = steps.iter().enumerate().flat_map(|(index, first)| {
            let seconds = steps.iter().skip(index % apart).step_by(apart);
            seconds.map(move |second| (first, second))
        });
        for (number, (first, second)) in pairs.enumerate().step_by(few) {
            let mut model = Model::<P>::new(pages, &mapped, number % 2 == 0);
            model.step(first);
            model.step(second);
            model.step(&collapses[number % collapses.len()]);
            model.step(&Step::Restore { pages: 0..pages });
            model.restore_all();
            model.check_sizes();
        }
    }
}

#[test]
fn pairs_of_changes_4k() {
    check::<Pages4K>();
}

#[test]
fn pairs_of_changes_16k() {
    check::<Pages16K>();
}

#[test]
fn pairs_of_changes_64k() {
    check::<Pages64K>();
}
