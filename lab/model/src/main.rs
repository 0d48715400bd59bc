// SPDX-License-Identifier: GPL-2.0

//! Random sequences of splits, permission changes, restores and joins on modelled translation
//! tables, made by the very files that change the live kernel's tables, and checked after each step
//! against an oracle that knows pages alone.
//!
//! After a step, every page that a written entry maps must have exactly the attributes and the
//! output address that the oracle has for it; be mapped by a leaf, or contiguous run, that is whole
//! and no smaller than the cuts need that nothing has healed; and a step that fails must have
//! changed nothing. A table that is taken away is neither read nor written again, and was not
//! before what led to it was invalidated.

// As in the kernel.
#![allow(clippy::precedence)]

mod memory;
mod oracle;
mod passes;
mod steps;

#[path = "../../../arch/arm64/mm/rox/coalesce.rs"]
mod coalesce;
#[allow(dead_code)]
#[path = "../../../arch/arm64/mm/rox/descriptor.rs"]
mod descriptor;
#[allow(dead_code)]
#[path = "../../../arch/arm64/mm/rox/geometry.rs"]
mod geometry;
#[path = "../../../arch/arm64/mm/rox/pending.rs"]
mod pending;
#[allow(dead_code)]
#[path = "../../../arch/arm64/mm/rox/walk.rs"]
mod walk;

use clap::Parser;

/// Tests the page-table code of the series on modelled tables, for 4K, 16K and 64K pages.
#[derive(Parser)]
struct Arguments {
    /// Steps, a third of them for each page size.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Where random numbers start; a failure names the seed that repeats it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let Arguments { steps, seed } = Arguments::parse();
    let each = steps.div_ceil(3);

    passes::count_steps();
    passes::run(seed, steps / 10);
    steps::run::<memory::Pages4K>(seed, each);
    steps::run::<memory::Pages16K>(seed, each);
    steps::run::<memory::Pages64K>(seed, each);
}
