// SPDX-License-Identifier: GPL-2.0

//! The command line of `model`, which runs the page-table code of the series: see the crate `pure`.
//! It panics at the first difference, and names the seed that repeats it.
#![forbid(unsafe_code)]

use clap::Parser;

/// Tests the page-table code of the series on modelled tables, for 4K, 16K and 64K pages.
///
/// Exit status 0: no difference; 101: a message says what differs, and which seed repeats it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Steps, a third of them for each page size
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Where random numbers start; a failure names the seed that repeats it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let Arguments { steps, seed } = command::parse();

    pure::passes::count_steps();
    pure::passes::run(seed, steps / 10);
    pure::volume::run(seed, steps);
}
