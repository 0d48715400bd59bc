// SPDX-License-Identifier: GPL-2.0
//! The command line of `tlb`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use command::Verdict;

use tlb::record::{Error, Run};
use tlb::report::{self, Bound};

/// Prints how often the MMU had to walk its page tables, by the model of TLBs, runs side by side.
///
/// A run is a directory with tlb.json and order, as lab/tlb makes it. Exit status 0: well; 1: a
/// bound is not kept; 2: error.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The last run may have at most this share of the first one's data walks in a section
    #[arg(long, value_name = "SECTION=SHARE")]
    most: Vec<Bound>,
    /// Write all of it as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,
}

fn main() -> ExitCode {
    command::exit("tlb", run(&command::parse()))
}

/// Prints the report; not well if a bound is not kept.
fn run(cli: &Cli) -> Result<Verdict, Error> {
    let runs = cli.runs.iter().map(|path| Run::read(path));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let mut text = report::table(&runs);
    let mut well = true;
    if let ([first, ..], Some(last)) = (&runs[..], runs.last()) {
        for bound in &cli.most {
            let (line, keeps) = bound.judge(last, first);
            text += &format!("{line}\n");
            well &= keeps;
        }
    }
    if let Some(path) = &cli.json {
        let json = serde_json::to_string_pretty(&runs).map_err(|source| Error::Json {
            file: command::name(path),
            source,
        })?;
        command::write(path, &json)?;
    }
    command::print(&text)?;
    Ok(Verdict::from(well))
}
