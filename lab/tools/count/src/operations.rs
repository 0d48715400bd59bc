// SPDX-License-Identifier: GPL-2.0
//! What operations on executable memory cost each time, runs side by side: see
//! [`crate::track::OPERATIONS`].
//!
//! Work that is deferred counts for the operation that began last; the guest waits for it before
//! it begins with another. Instructions are shown of runs with one CPU alone: with more they are
//! mostly those that wait for another CPU, such as in `stop_machine()`.

use std::path::Path;

use serde::Serialize;

use crate::counts::Counts;
use crate::error::Error;
use crate::record::{About, Run};
use crate::report::Cost;
use crate::table::{render, tenths};
use crate::track::Kind;

/// What is shown, in this order.
const SHOWN: [(Kind, &str); 8] = [
    (Kind::Load, "load of a module"),
    (Kind::Unload, "unload of a module"),
    (Kind::BpfLoad, "load of a BPF program"),
    (Kind::BpfFree, "free of a BPF program"),
    (Kind::KprobeSet, "kprobe registered and enabled"),
    (Kind::KprobeRemove, "kprobe disabled and unregistered"),
    (Kind::TracerOn, "function tracer on"),
    (Kind::TracerOff, "function tracer off"),
];

/// Runs of the same operations.
#[derive(Debug)]
pub struct Operations {
    runs: Vec<Run>,
}

impl Operations {
    /// Reads the directories of runs.
    pub fn read<P: AsRef<Path>>(directories: &[P]) -> Result<Self, Error> {
        let mut runs: Vec<Run> = Vec::new();
        for directory in directories {
            let directory = directory.as_ref();
            let run = Run::read(directory)?;
            let wrong = |problem: &str| Error::Run {
                file: directory.display().to_string(),
                problem: problem.to_owned(),
                remedy: "give runs that lab/count-operations has made together",
            };
            if run.done.is_empty() {
                return Err(wrong("this is a run of modules alone"));
            }
            if runs.first().is_some_and(|first| first.done != run.done) {
                return Err(wrong("other operations were done in this run"));
            }
            runs.push(run);
        }
        Ok(Self { runs })
    }

    /// The table.
    pub fn to_text(&self) -> String {
        let labels = self.runs.iter().map(|run| run.about.label.clone());
        let mut rows = vec![std::iter::once(String::new()).chain(labels).collect()];
        for (kind, title) in SHOWN {
            let times = self.times(kind);
            if times == 0 {
                continue;
            }
            rows.push(vec![format!("{title}, average of {times}")]);
            rows.extend(Cost::AVERAGE.iter().map(|(name, get)| {
                let cells = self.runs.iter().map(|run| match (*name, run.about.smp) {
                    (Cost::INSTRUCTIONS, 2..) => "-".to_owned(),
                    _ => tenths(get(&cost(run, kind)), times),
                });
                std::iter::once(format!("  {name}")).chain(cells).collect()
            }));
        }
        render(&rows)
    }

    /// All of it as JSON: totals, and how often each was done.
    pub fn to_json(&self) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Total<'a> {
            #[serde(flatten)]
            about: &'a About,
            operations: Vec<Operation>,
        }
        #[derive(Serialize)]
        struct Operation {
            kind: Kind,
            times: u64,
            #[serde(flatten)]
            cost: Cost,
        }
        let runs = self.runs.iter().map(|run| Total {
            about: &run.about,
            operations: {
                let done = SHOWN.iter().map(|(kind, _)| Operation {
                    kind: *kind,
                    times: self.times(*kind),
                    cost: cost(run, *kind),
                });
                done.filter(|one| one.times != 0).collect()
            },
        });
        let runs: Vec<Total> = runs.collect();
        let mut text = serde_json::to_string_pretty(&runs).map_err(|source| Error::Json {
            file: "the report".to_owned(),
            source,
        })?;
        text.push('\n');
        Ok(text)
    }

    /// How often an operation was done in each run.
    fn times(&self, kind: Kind) -> u64 {
        let done = self.runs.iter().take(1).flat_map(|run| &run.done);
        let times = done.filter(|(other, _)| *other == kind);
        times.map(|(_, times)| *times).sum()
    }
}

/// What an operation costs a run in all.
fn cost(run: &Run, kind: Kind) -> Cost {
    let own: Counts = run.own(kind);
    Cost::of(run.with_deferred(kind), own)
}
