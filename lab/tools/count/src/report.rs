// SPDX-License-Identifier: GPL-2.0
//! Runs side by side, and whether one costs at most what another costs.
//!
//! Judged against another run are TLBI and DSB, and the instructions that are not a module's own: the modules are
//! the same in all runs, but what their init functions execute may depend on the clock. Against
//! figures everything is judged for which there is one ([`crate::most`]).

use std::path::Path;

use serde::Serialize;

use crate::counts::Counts;
use crate::error::Error;
use crate::most::{Bounded, Most, Subject};
use crate::record::{About, Run};
use crate::table::{grouped, render, tenths};
use crate::track::Kind;

/// What is judged, and shown for each module.
const JUDGED: [(&str, Get); 3] = [
    ("instructions", |cost| cost.without_own()),
    ("TLBI", |cost| cost.counts.tlbi()),
    ("DSB", |cost| cost.counts.dsb),
];

/// The instructions that are judged.
const WITHOUT_OWN: &str = "- without modules' own init";

/// All that is shown in total.
const SHOWN: [(&str, Get); 12] = [
    ("instructions", |cost| cost.counts.instructions),
    (WITHOUT_OWN, |cost| cost.without_own()),
    ("TLBI", |cost| cost.counts.tlbi()),
    ("- of one address", |cost| cost.counts.tlbi_one),
    ("- of a range", |cost| cost.counts.tlbi_range),
    ("- of everything", |cost| cost.counts.tlbi_all),
    ("DSB", |cost| cost.counts.dsb),
    ("ISB", |cost| cost.counts.isb),
    ("IC", |cost| cost.counts.ic),
    ("DC", |cost| cost.counts.dc),
    ("I-cache rounds", |cost| cost.counts.icache),
    ("IPI", |cost| cost.counts.ipi),
];

/// The system calls, and all that they defer.
const ALL: [Kind; 3] = [Kind::Load, Kind::Unload, Kind::Deferred];

/// Takes one number of a cost.
pub type Get = fn(&Cost) -> u64;

/// What something costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// All of it.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many of the instructions were executed by the module's own init function.
    pub own_instructions: u64,
}

impl Cost {
    /// The name of the instructions in [`Self::AVERAGE`]; a module's own are not among them.
    pub const INSTRUCTIONS: &str = "instructions";

    /// What is shown of an average, zeroes too.
    pub const AVERAGE: [(&str, Get); 5] = [
        ("TLBI", |cost| cost.counts.tlbi()),
        ("DSB", |cost| cost.counts.dsb),
        ("I-cache rounds", |cost| cost.counts.icache),
        ("IPI", |cost| cost.counts.ipi),
        (Self::INSTRUCTIONS, |cost| cost.without_own()),
    ];

    /// The costs of what was counted, `own` of that by a module's init function.
    pub fn of(counts: Counts, own: Counts) -> Self {
        Self {
            counts,
            own_instructions: own.instructions,
        }
    }

    /// The instructions that are not the module's own.
    pub fn without_own(&self) -> u64 {
        self.counts
            .instructions
            .saturating_sub(self.own_instructions)
    }

    /// What a run costs of the given kinds.
    fn of_run(run: &Run, kinds: &[Kind]) -> Self {
        let total = kinds
            .iter()
            .fold(Counts::default(), |sum, kind| sum + run.total(*kind));
        let own = kinds
            .iter()
            .fold(Counts::default(), |sum, kind| sum + run.own(*kind));
        Self::of(total, own)
    }
}

/// Runs of the same modules in the same order.
#[derive(Debug)]
pub struct Report {
    runs: Vec<Run>,
}

/// One comparison of two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// What is compared.
    pub what: &'static str,
    /// Where: in the system calls, or in them and in deferred work.
    pub place: &'static str,
    /// What the run costs.
    pub cost: u64,
    /// What it may cost.
    pub limit: u64,
    /// Whether it costs at most that.
    pub within: bool,
    /// Whether it has to. Collapsing leaves is deferred, and noalias has nothing to collapse: what
    /// is deferred is told, and does not decide.
    pub decides: bool,
}

/// What happened to a module, with one entry for each run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Loaded or unloaded.
    pub kind: Kind,
    /// What that took.
    pub costs: Vec<Cost>,
}

impl Report {
    /// Reads the directories of runs.
    pub fn read<P: AsRef<Path>>(directories: &[P]) -> Result<Self, Error> {
        let mut runs: Vec<Run> = Vec::new();
        for directory in directories {
            let directory = directory.as_ref();
            let run = Run::read(directory)?;
            if !run.done.is_empty() {
                return Err(Error::Run {
                    file: directory.display().to_string(),
                    problem: "other operations than loads and unloads were done".to_owned(),
                    remedy: "use `count operations` for it",
                });
            }
            if let Some(problem) = runs.first().and_then(|first| differ(first, &run)) {
                return Err(Error::run(directory.display().to_string(), problem));
            }
            if runs
                .iter()
                .any(|other| other.about.label == run.about.label)
            {
                return Err(Error::Run {
                    file: directory.display().to_string(),
                    problem: format!("there is a run `{}` already", run.about.label),
                    remedy: "name each run once",
                });
            }
            runs.push(run);
        }
        Ok(Self { runs })
    }

    /// The run of that name.
    fn run(&self, label: &str) -> Result<&Run, Error> {
        let mut runs = self.runs.iter();
        runs.find(|run| run.about.label == label)
            .ok_or_else(|| Error::Run {
                file: label.to_owned(),
                problem: "no run has this name".to_owned(),
                remedy: "give the name of a run, as its run.json has it",
            })
    }

    /// Compares a run with the limit.
    pub fn judge(&self, label: &str, limit: &str) -> Result<Vec<Judgement>, Error> {
        let (run, limit) = (self.run(label)?, self.run(limit)?);
        let calls = &[Kind::Load, Kind::Unload][..];
        let places = [
            ("in the system calls", calls, true),
            ("with what they defer", &ALL, false),
        ];
        let judged = places.iter().flat_map(|&(place, kinds, decides)| {
            let (cost, limit) = (Cost::of_run(run, kinds), Cost::of_run(limit, kinds));
            JUDGED.iter().map(move |(what, get)| {
                let (cost, limit) = (get(&cost), get(&limit));
                Judgement {
                    what,
                    place,
                    cost,
                    limit,
                    within: cost <= limit,
                    decides,
                }
            })
        });
        Ok(judged.collect())
    }

    /// Holds a run against bounds; a run of `limit` is for those that are shares of it.
    pub fn judge_most(
        &self,
        label: &str,
        limit: Option<&str>,
        bounds: &[Most],
    ) -> Result<Vec<Bounded>, Error> {
        let run = self.run(label)?;
        let limit = limit.map(|limit| self.run(limit)).transpose()?;
        let subject = Subject {
            label,
            cost: Cost::of_run(run, &ALL),
            modules: self.loaded(),
            limit: limit.map(|limit| (limit.about.label.as_str(), Cost::of_run(limit, &ALL))),
        };
        let bounded = bounds.iter().map(|most| {
            most.judge(subject).ok_or_else(|| Error::Run {
                file: label.to_owned(),
                problem: "a bound is a share of another run".to_owned(),
                remedy: "name that run with --limit",
            })
        });
        bounded.collect()
    }

    /// How many modules were loaded.
    fn loaded(&self) -> usize {
        let modules = self.modules();
        let loaded = modules.iter().filter(|module| module.kind == Kind::Load);
        loaded.count()
    }

    /// What was done, one after the other.
    pub fn modules(&self) -> Vec<Module> {
        let Some(first) = self.runs.first() else {
            return Vec::new();
        };
        let steps = first.record.sections.iter().enumerate();
        let steps = steps.map(|(index, section)| Module {
            name: section.module.clone().unwrap_or_default(),
            kind: section.kind,
            costs: {
                let sections = self.runs.iter().map(|run| run.record.sections.get(index));
                let costs = sections.flatten().map(|one| Cost::of(one.counts, one.own));
                costs.collect()
            },
        });
        steps.collect()
    }

    /// The table of totals.
    pub fn to_text(&self) -> String {
        let costs = |cost: &dyn Fn(&Run) -> Cost| self.runs.iter().map(cost).collect::<Vec<_>>();
        let mut rows = vec![self.heads("")];
        for (title, kind) in [
            ("init_module()", Kind::Load),
            ("delete_module()", Kind::Unload),
            ("deferred", Kind::Deferred),
        ] {
            rows.push(vec![title.to_owned()]);
            rows.extend(shown(&costs(&|run| Cost::of_run(run, &[kind]))));
            if kind == Kind::Deferred {
                rows.extend(self.deferred());
            }
        }
        rows.push(vec!["all else, from boot to the end".to_owned()]);
        rows.extend(shown(&costs(&|run| {
            let all = Cost::of_run(run, &ALL);
            Cost::of(run.record.whole - all.counts, Counts::default())
        })));
        let loaded = self.loaded();
        rows.push(vec![
            "each module, with what is deferred, its own instructions left out".to_owned(),
        ]);
        rows.extend(Cost::AVERAGE.iter().map(|(name, get)| {
            let cells = self
                .runs
                .iter()
                .map(|run| tenths(get(&Cost::of_run(run, &ALL)), loaded as u64));
            std::iter::once(format!("  {name}")).chain(cells).collect()
        }));
        format!("{loaded} modules\n\n{}", render(&rows))
    }

    /// Instructions of each deferred function.
    fn deferred(&self) -> Vec<Vec<String>> {
        let mut names: Vec<&str> = Vec::new();
        for one in self.runs.iter().flat_map(|run| &run.record.deferred) {
            if !names.contains(&one.function.as_str()) {
                names.push(&one.function);
            }
        }
        let row = |name: &&str| {
            let cells = self.runs.iter().map(|run| {
                let all = run.record.deferred.iter();
                let all = all.filter(|one| one.function == *name);
                let sum = all.fold((0, 0), |(instructions, calls), one| {
                    (instructions + one.counts.instructions, calls + one.calls)
                });
                match sum {
                    (_, 0) => "-".to_owned(),
                    (instructions, calls) => format!("{} in {calls}", grouped(instructions)),
                }
            });
            std::iter::once(format!("  {name}()"))
                .chain(cells)
                .collect()
        };
        names.iter().map(row).collect()
    }

    /// The table of modules.
    pub fn modules_to_text(&self) -> String {
        let mut text = String::new();
        for (title, kind) in [
            ("init_module()", Kind::Load),
            ("delete_module()", Kind::Unload),
        ] {
            let mut rows = vec![vec![title.to_owned()], vec![String::new()]];
            for (name, _) in JUDGED {
                rows[0].extend(self.runs.iter().map(|_| name.to_owned()));
                rows[1].extend(self.runs.iter().map(|run| run.about.label.clone()));
            }
            for module in self.modules() {
                if module.kind != kind {
                    continue;
                }
                let mut row = vec![module.name];
                for (_, get) in JUDGED {
                    row.extend(module.costs.iter().map(|cost| grouped(get(cost))));
                }
                rows.push(row);
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&render(&rows));
        }
        text
    }

    /// All of it as JSON.
    pub fn to_json(&self, judgements: &[Judgement], bounds: &[Bounded]) -> Result<String, Error> {
        #[derive(Serialize)]
        struct All<'a> {
            runs: Vec<Total<'a>>,
            judgements: &'a [Judgement],
            bounds: &'a [Bounded],
            modules: Vec<Module>,
        }
        #[derive(Serialize)]
        struct Total<'a> {
            #[serde(flatten)]
            about: &'a About,
            load: Cost,
            unload: Cost,
            deferred: Cost,
        }
        let runs = self.runs.iter().map(|run| Total {
            about: &run.about,
            load: Cost::of_run(run, &[Kind::Load]),
            unload: Cost::of_run(run, &[Kind::Unload]),
            deferred: Cost::of_run(run, &[Kind::Deferred]),
        });
        let all = All {
            runs: runs.collect(),
            judgements,
            bounds,
            modules: self.modules(),
        };
        let mut text = serde_json::to_string_pretty(&all).map_err(|source| Error::Json {
            file: "the report".to_owned(),
            source,
        })?;
        text.push('\n');
        Ok(text)
    }

    fn heads(&self, first: &str) -> Vec<String> {
        let labels = self.runs.iter().map(|run| run.about.label.clone());
        std::iter::once(first.to_owned()).chain(labels).collect()
    }
}

/// Rows for costs of the same thing, one cell for each run.
fn shown(costs: &[Cost]) -> Vec<Vec<String>> {
    let rows = SHOWN.iter().filter(|(name, get)| {
        // What nobody does is not worth a line, nor is what is the line before.
        let same = *name == WITHOUT_OWN && costs.iter().all(|cost| cost.own_instructions == 0);
        !same && costs.iter().any(|cost| get(cost) != 0)
    });
    let rows = rows.map(|(name, get)| {
        let cells = costs.iter().map(|cost| grouped(get(cost)));
        std::iter::once(format!("  {name}")).chain(cells).collect()
    });
    rows.collect()
}

/// One line for each comparison.
pub fn judgements_to_text(judgements: &[Judgement], label: &str, limit: &str) -> String {
    let mut text = String::new();
    for one in judgements {
        let (verdict, relation) = match (one.within, one.decides) {
            (true, _) => ("ok", "at most"),
            (false, true) => ("NOT OK", "more than"),
            (false, false) => ("more", "more than"),
        };
        text.push_str(&format!(
            "{verdict}: {} {}: {label} {}, {relation} {limit} {}{}\n",
            one.what,
            one.place,
            grouped(one.cost),
            grouped(one.limit),
            percent(one.cost, one.limit),
        ));
    }
    text
}

/// By how much a cost differs from a limit.
fn percent(cost: u64, limit: u64) -> String {
    if limit == 0 {
        return String::new();
    }
    let change = (cost as f64 - limit as f64) / limit as f64 * 100.0;
    format!(" ({change:+.2} %)")
}

/// In what two runs differ that should be of the same work.
fn differ(first: &Run, other: &Run) -> Option<String> {
    let name = &first.about.label;
    if first.about.cpu != other.about.cpu || first.about.smp != other.about.smp {
        return Some(format!("the CPUs are not those of the run `{name}`"));
    }
    let steps = |run: &Run| {
        let sections = run.record.sections.iter();
        let steps: Vec<_> = sections.map(|one| (one.kind, one.module.clone())).collect();
        steps
    };
    (steps(first) != steps(other))
        .then(|| format!("the modules are not those of the run `{name}`, or in another order"))
}
