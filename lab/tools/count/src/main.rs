// SPDX-License-Identifier: GPL-2.0
//! The command line of `count`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser, Subcommand};
use command::Verdict;

use count::error::Error;
use count::most::{self, Most};
use count::operations::Operations;
use count::record::{Event, Run};
use count::report::{self, Report};
use count::stacks::{self, Filter};
use count::track::Kind;

/// Compares what loading and unloading modules costs different kernels.
///
/// A run is a directory with counts.json, order and run.json, as lab/count-modules makes it. Exit
/// status 0: well; 1: a run costs more than it may; 2: error.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print runs side by side; exit 1 if one costs more than it may
    #[command(group = ArgGroup::new("bounds").args(["limit", "most"]).multiple(true))]
    Report {
        /// The run that may cost at most what --limit and --most say
        #[arg(long, requires = "bounds", value_name = "LABEL")]
        judge: Option<String>,
        /// The run to compare with
        #[arg(long, requires = "judge", value_name = "LABEL")]
        limit: Option<String>,
        /// What the modules may cost with all that is deferred: tlbi, dsb, icache, ipi or
        /// instructions; with -per-module the average one; with -of-limit as a share of what they
        /// cost the run of --limit
        #[arg(long, requires = "judge", value_name = "WHAT=FIGURE")]
        most: Vec<Most>,
        /// Write all of it, each module included, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write a table of the modules
        #[arg(long, value_name = "FILE")]
        modules: Option<PathBuf>,
        /// The runs
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
    /// Print what operations cost each time, with what they defer, runs side by side
    Operations {
        /// Write all of it as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// The runs
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
    /// Print from where TLBI, DSB, I-cache rounds or IPIs came, in runs with stacks
    Stacks {
        /// What came from there
        #[arg(long, default_value = "tlbi")]
        event: Event,
        /// Only in this
        #[arg(long)]
        kind: Option<Kind>,
        /// How many functions tell one way from another
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
        depth: u8,
        /// Print folded stacks instead, of the first run, for a flame graph
        #[arg(long)]
        folded: bool,
        /// The runs
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
    /// Print in which functions instructions were executed, in runs with stacks
    Functions {
        /// Only in this
        #[arg(long)]
        kind: Option<Kind>,
        /// The runs
        #[arg(required = true)]
        runs: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    command::exit("count", run(command::parse::<Cli>().command))
}

/// Does what is asked for; not well if a run costs more than it may.
fn run(command: Command) -> Result<Verdict, Error> {
    match command {
        Command::Report {
            judge,
            limit,
            most,
            json,
            modules,
            runs,
        } => {
            let report = Report::read(&runs)?;
            let mut text = report.to_text();
            let (mut judgements, mut bounded) = (Vec::new(), Vec::new());
            if let Some(label) = judge {
                text.push('\n');
                if let Some(limit) = &limit {
                    judgements = report.judge(&label, limit)?;
                    text.push_str(&report::judgements_to_text(&judgements, &label, limit));
                }
                bounded = report.judge_most(&label, limit.as_deref(), &most)?;
                text.push_str(&most::bounded_to_text(&bounded, &label));
            }
            if let Some(file) = json {
                command::write(&file, &report.to_json(&judgements, &bounded)?)?;
            }
            if let Some(file) = modules {
                command::write(&file, &report.modules_to_text())?;
            }
            command::print(&text)?;
            let good = judgements.iter().all(|one| one.within || !one.decides);
            Ok((good && bounded.iter().all(|one| one.within)).into())
        }
        Command::Operations { json, runs } => {
            let operations = Operations::read(&runs)?;
            if let Some(file) = json {
                command::write(&file, &operations.to_json()?)?;
            }
            command::print(&operations.to_text())?;
            Ok(Verdict::Well)
        }
        Command::Stacks {
            event,
            kind,
            depth,
            folded,
            runs,
        } => {
            let runs = read_runs(&runs)?;
            let filter = Filter { event, kind };
            if let (true, Some(first)) = (folded, runs.first()) {
                command::print(&stacks::to_folded(first, filter))?;
            } else {
                command::print(&stacks::to_text(&runs, filter, depth.into()))?;
            }
            Ok(Verdict::Well)
        }
        Command::Functions { kind, runs } => {
            command::print(&stacks::functions_to_text(&read_runs(&runs)?, kind))?;
            Ok(Verdict::Well)
        }
    }
}

/// Reads runs, of modules or of other operations.
fn read_runs(directories: &[PathBuf]) -> Result<Vec<Run>, Error> {
    let runs = directories.iter().map(|directory| Run::read(directory));
    runs.collect()
}
