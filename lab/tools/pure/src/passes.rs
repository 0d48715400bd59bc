// SPDX-License-Identifier: GPL-2.0

//! Passes that collapse what is pending: how many steps they take, and that they find all that can collapse.

use std::{collections::HashSet, ops::Range};

use rand::{rngs::SmallRng, Rng, SeedableRng};

use crate::{
    kernel::{self, Change, Level, Needs},
    tables::{Memory, PageSize, Pages4K},
};

const GIB: usize = 1 << 30;
/// How many steps a pass may take for each table that has changed.
const LIMIT: usize = 4;
/// How many tables a step may read all of: one that has to be found, one that is found, and twice
/// the one above it; and as much again where two come together.
const READS: usize = 8;

/// A leaf of the linear map, of an address that it may have: valid, writable, not executable.
const DEFAULT: u64 = kernel::VALID | 1 << 10 | 3 << 8 | 1 << 54 | kernel::WRITE | kernel::PXN;
const CONT: u64 = 1 << 52;

/// What a linear map is made of.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Level1,
    RunsOfLevel2,
}

fn linear_map(bytes: usize, leaves: Leaves) -> Memory<Pages4K> {
    let mut memory = Memory::for_bytes(bytes);
    let (level, bits) = match leaves {
        Leaves::Level1 => (Level::Pud, DEFAULT),
        Leaves::RunsOfLevel2 => (Level::Pmd, DEFAULT | CONT),
    };
    for addr in (0..bytes).step_by(Pages4K::GRANULE.size(level)) {
        memory.map(addr, level, addr as u64 | bits);
    }
    memory.bytes = memory.measure(0..bytes);
    memory.writes.clear();
    memory
}

fn change(memory: &mut Memory<Pages4K>, range: &Range<usize>, set: u64, clear: u64) {
    let change = Change::new(set, clear).expect("an ordinary change");
    if kernel::check(memory, range, change) == Ok(Needs::Split) {
        kernel::split(memory, (), range, change).expect("memory");
    }
    kernel::apply(memory, range, change, |_, _| {}).expect("a prepared change");
    memory.writes.clear();
}

fn invalidate(memory: &mut Memory<Pages4K>, range: &Range<usize>) {
    change(memory, range, kernel::PRESENT_INVALID, kernel::VALID);
}

fn restore(memory: &mut Memory<Pages4K>, range: &Range<usize>) {
    change(memory, range, kernel::VALID, kernel::PRESENT_INVALID);
}

/// Makes all steps that there are to make, and returns how many.
fn pass(memory: &mut Memory<Pages4K>) -> usize {
    let mut steps = 0;
    loop {
        memory.reads.set(0);
        let is_more = memory.collapse_some();
        steps += 1;
        let reads = memory.reads.get();
        assert!(
            reads <= READS * Pages4K::GRANULE.entries(),
            "{reads} entries read in a step"
        );
        if !is_more {
            memory.writes.clear();
            return steps;
        }
    }
}

/// Checks that there is nothing left that could collapse.
fn check_done(memory: &mut Memory<Pages4K>, bytes: usize) {
    memory.collapse_all((0..bytes).step_by(Pages4K::GRANULE.size(Level::Pmd)));
    assert!(memory.writes.is_empty(), "a leaf is forgotten");
}

/// Counts steps after single pages were invalid, as secret memory's are, far from each other.
pub fn count_steps() {
    let page = Pages4K::GRANULE.page();
    let mut random = SmallRng::seed_from_u64(1);

    for leaves in [Leaves::Level1, Leaves::RunsOfLevel2] {
        for bytes in [64 * GIB, 256 * GIB, 2048 * GIB] {
            let mut memory = linear_map(bytes, leaves);
            let before = (memory.measure(0..bytes), memory.tables());
            for changes in [17, 100, 2048] {
                // One in each part, at random.
                let part = bytes / changes / page * page;
                let pages: Vec<Range<usize>> = (0..changes)
                    .map(|index| index * part + random.random_range(0..part / page) * page)
                    .map(|start| start..start + page)
                    .collect();
                let tables: HashSet<usize> = (pages.iter())
                    .map(|page| page.start / Pages4K::GRANULE.size(Level::Pmd))
                    .collect();
                let limit = LIMIT * tables.len();

                pages.iter().for_each(|page| invalidate(&mut memory, page));
                let first = pass(&mut memory);
                pages.iter().for_each(|page| restore(&mut memory, page));
                let second = pass(&mut memory);
                println!(
                    "{leaves:?}, {} GiB, {changes} changes in {} tables: {first} and {second} steps",
                    bytes / GIB,
                    tables.len()
                );
                assert!(first <= limit && second <= limit, "more than {limit} steps");
                assert_eq!((memory.measure(0..bytes), memory.tables()), before);
            }
        }
    }
}

/// Makes `steps` random steps from `seed`: changes, and parts of passes; panics if anything is
/// forgotten.
pub fn run(seed: u64, steps: u64) {
    const BYTES: usize = 6 * GIB;
    let mut random = SmallRng::seed_from_u64(seed);

    for leaves in [Leaves::Level1, Leaves::RunsOfLevel2] {
        let mut memory = linear_map(BYTES, leaves);
        let before = (memory.measure(0..BYTES), memory.tables());
        let mut changed: Vec<Range<usize>> = Vec::new();

        for step in 0..steps / 2 {
            match random.random_range(0..100) {
                0..30 if changed.len() < 200 => {
                    // Pages, or as much as leaves of a size map; now and then next to another.
                    let size = [12, 12, 16, 21, 25, 30][random.random_range(0..6)];
                    let size = 1 << size;
                    let start = match changed.last() {
                        Some(last) if random.random_bool(0.5) => last.end & !(size - 1),
                        _ => random.random_range(0..BYTES / size) * size,
                    };
                    let range = start..(start + size).min(BYTES);
                    if !range.is_empty() {
                        invalidate(&mut memory, &range);
                        changed.push(range);
                    }
                }
                0..60 if !changed.is_empty() => {
                    let range = changed.swap_remove(random.random_range(0..changed.len()));
                    restore(&mut memory, &range);
                }
                60..99 => {
                    memory.collapse_some();
                    memory.writes.clear();
                }
                _ if step % 50 == 0 => {
                    pass(&mut memory);
                    check_done(&mut memory, BYTES);
                }
                _ => {}
            }
        }
        for range in changed {
            restore(&mut memory, &range);
        }
        pass(&mut memory);
        assert_eq!((memory.measure(0..BYTES), memory.tables()), before);
        println!(
            "{leaves:?}: {} random steps, nothing is forgotten",
            steps / 2
        );
    }
}
