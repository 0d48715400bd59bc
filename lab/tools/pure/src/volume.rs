// SPDX-License-Identifier: GPL-2.0

//! Many random steps, on as much memory as a small machine has: what the command `model` does.
//!
//! Sequences of steps that proptest generates are shrunk when one fails, but it takes a copy of the
//! model for each, and keeps all steps to do so: this makes some ten times as many in the same time,
//! in sequences of thousands, on gigabytes with leaves of all sizes. A failure names the seed that
//! repeats it.

use std::{any::type_name, ops::Range};

use rand::{rngs::SmallRng, Rng, SeedableRng};

use crate::{
    model::{Mapped, Model, Step, CHANGES},
    oracle::{largest_unit, units},
    tables::{PageSize, Pages16K, Pages4K, Pages64K},
};

/// Steps before everything is restored, and the tables are made anew.
const EPOCH: u64 = 3_000;

/// Maps what a linear map or vmalloc has: leaves of all sizes side by side, and nothing between
/// some. Returns how many pages there may be, too.
fn layout<P: PageSize>(random: &mut SmallRng) -> (usize, Vec<Mapped>) {
    let units = units::<P>();
    let largest = largest_unit(&units);
    let pages = if largest == 4 {
        2 * units[4]
    } else {
        6 * units[3]
    };

    let mut mapped = Vec::new();
    let mut page = 0;
    while page < pages {
        let unit = (0..=largest)
            .rev()
            .find(|&unit| {
                page % units[unit] == 0
                    && page + units[unit] <= pages
                    && (unit == 0 || random.random_bool(0.6))
            })
            .unwrap_or(0);
        // A level 2 table that is made for smaller leaves is not all made of them.
        if random.random_bool(0.02) {
            page += units[unit.min(2)];
            continue;
        }
        // Now and then all of a larger unit, which nobody may make of them.
        let larger = (unit + 1).min(largest);
        let fits = page % units[larger] == 0 && page + units[larger] <= pages;
        let count = match fits && random.random_bool(0.2) {
            true => units[larger] / units[unit],
            false => 1,
        };
        mapped.push((page, unit, count));
        page += count * units[unit];
    }
    (pages, mapped)
}

/// Chooses a range: short or long, at a boundary of a leaf or anywhere.
fn range(random: &mut SmallRng, units: &[usize; 5], pages: usize) -> Range<usize> {
    let near = units[random.random_range(0..4)];
    let start = random.random_range(0..pages / near) * near;
    let start = match random.random_range(0..3) {
        0 => start,
        1 => start.saturating_sub(random.random_range(0..20)),
        _ => (start + random.random_range(0..40)).min(pages - 1),
    };
    let length = match random.random_range(0..32) {
        0..=24 => random.random_range(1..40),
        25..=28 => units[1],
        29..=30 => units[2],
        _ => random.random_range(1..=units[2] + units[1]),
    };
    start..(start + length).min(pages)
}

/// Chooses a step.
fn step<P: PageSize>(random: &mut SmallRng, pages: usize, may_map_by_ptes: bool) -> Step {
    let units = units::<P>();
    let range = range(random, &units, pages);
    let page = range.start;

    match random.random_range(0..500) {
        // It looks at 1 GiB of pages: rarely.
        0 => Step::RestoreWidely { page },
        1 if may_map_by_ptes => Step::MapByPtes {
            pages: page..range.end.min(page + 3),
        },
        2..=100 => Step::Restore { pages: range },
        101..=125 => Step::CollapseChunk {
            page,
            pages: (2 << 20) >> P::SHIFT,
        },
        126..=199 => Step::CollapseChunk {
            page,
            pages: units[random.random_range(1..=2)],
        },
        // It looks at all tables that have changed, which takes as long as hundreds of others.
        200 => Step::CollapsePending,
        201..=220 => Step::Flip {
            page,
            global: random.random_bool(0.5),
        },
        _ => Step::Change {
            pages: range,
            change: random.random_range(0..CHANGES.len()),
            tables: random.random_bool(0.2).then(|| random.random_range(0..3)),
        },
    }
}

/// Says which seed repeats what went wrong.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with --seed {}", self.0);
        }
    }
}

fn run_one<P: PageSize>(seed: u64, steps: u64) {
    let name = type_name::<P>().rsplit("::").next().unwrap_or_default();
    let mut done = 0;
    let mut epoch = seed;

    while done < steps {
        let _seed = Seed(epoch);
        let mut random = SmallRng::seed_from_u64(epoch);
        let (pages, mapped) = layout::<P>(&mut random);
        let mut model = Model::<P>::new(pages, &mapped, random.random_bool(0.5));
        model.check_all();
        for _ in 0..EPOCH.min(steps - done) {
            // Not always: what is PTE-mapped for good keeps the rest from being as at first.
            model.step(&step::<P>(&mut random, pages, epoch % 4 == 0));
            done += 1;
        }
        model.check_all();
        model.check_tables();
        model.check_sizes();
        model.restore_all();
        model.check_sizes();
        epoch += 1;
    }
    println!("{name}: {steps} steps, no difference");
}

/// Makes `steps` random steps from `seed`, a third of them for each page size; panics at the first
/// that goes wrong.
pub fn run(seed: u64, steps: u64) {
    let each = steps.div_ceil(3);
    run_one::<Pages4K>(seed, each);
    run_one::<Pages16K>(seed, each);
    run_one::<Pages64K>(seed, each);
}
