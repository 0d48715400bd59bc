// SPDX-License-Identifier: GPL-2.0
//! What a run leaves in its directory, and whether it is whole:
//!
//! - `counts.json`, a [`Record`], by the plugin when QEMU ends,
//! - `order`, by the guest: lines `load MODULE` and `unload MODULE`, what it did one after the
//!   other; or `done`: lines `KIND TIMES`, how often it did each operation,
//! - `run.json`, an [`About`], by lab/count-guest.
//!
//! The plugin reads the names of modules in the guest's memory; that they are those of
//! `order`, one after the other, shows that each section is what it is taken for. With `done` it
//! is the number of sections that shows it.

use std::path::Path;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::error::Error;
use crate::track::Kind;

/// What the plugin counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The sections, in the order of their beginnings.
    pub sections: Vec<Section>,
    /// The deferred functions.
    pub deferred: Vec<Deferred>,
    /// Those of [`crate::track::DEFERRED`] that the kernel does not have.
    pub absent: Vec<String>,
    /// From where each [`Event`] came; empty if that was not asked for.
    pub stacks: Vec<Stack>,
    /// In which functions instructions were executed; empty if that was not asked for.
    pub functions: Vec<FunctionCost>,
    /// All that the kernel executed, from its start to its end.
    pub whole: Counts,
}

/// One call of a system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// What it does.
    pub kind: Kind,
    /// The function that was called.
    pub function: String,
    /// The module, if it got so far that it had one.
    pub module: Option<String>,
    /// Whether the call was over when QEMU ended.
    pub returned: bool,
    /// What was executed in it.
    pub counts: Counts,
    /// How much of that by the module's own init function, and what that called.
    pub own: Counts,
}

impl Section {
    /// The name of the module, for messages.
    fn name(&self) -> &str {
        self.module.as_deref().unwrap_or("no module")
    }
}

/// All calls of a deferred function after sections of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deferred {
    /// The function.
    pub function: String,
    /// The kind of the last section that began before.
    pub after: Kind,
    /// How often it was called.
    pub calls: u64,
    /// Whether all calls were over when QEMU ended.
    pub returned: bool,
    /// What was executed in it.
    pub counts: Counts,
}

/// A way to an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Where that was.
    pub kind: Kind,
    /// What happened.
    pub event: Event,
    /// The functions, from that in which it happened outwards.
    pub functions: Vec<String>,
    /// How often; of an IPI, to how many CPUs in all.
    pub count: u64,
}

/// What a function itself took, without those that it called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCost {
    /// Where that was.
    pub kind: Kind,
    /// The function.
    pub function: String,
    /// Instructions, by blocks of them: a block that an exception interrupts counts as a whole.
    pub instructions: u64,
}

/// What it is recorded of from where it came.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// TLBI of any kind.
    Tlbi,
    /// DSB.
    Dsb,
    /// A call of `caches_clean_inval_pou()`.
    Icache,
    /// A function call that is sent to other CPUs.
    Ipi,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The name of the run in reports.
    pub label: String,
    /// The release of the kernel.
    pub kernel: String,
    /// The value of `rodata=`.
    pub rodata: String,
    /// The CPU: `bbml3` or `plain`.
    pub cpu: String,
    /// How many CPUs.
    pub smp: u32,
}

/// A run that is whole.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was run.
    pub about: About,
    /// What was counted.
    pub record: Record,
    /// How often each operation was done; empty for a run of modules alone.
    pub done: Vec<(Kind, u64)>,
}

impl Run {
    /// Reads a run's directory.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let record_file = directory.join("counts.json");
        let mut run = Self {
            about: read_json(&directory.join("run.json"))?,
            record: read_json(&record_file)?,
            done: Vec::new(),
        };
        let record_file = record_file.display().to_string();
        let (order, done) = (directory.join("order"), directory.join("done"));
        if done.exists() {
            run.done = parse_done(&done.display().to_string(), &command::read_text(&done)?)?;
            run.check_returns(&record_file)?;
            run.check_done(&record_file)?;
        } else {
            let order = parse_order(&order.display().to_string(), &command::read_text(&order)?)?;
            run.check_returns(&record_file)?;
            run.check_order(&record_file, &order)?;
        }
        Ok(run)
    }

    /// What was counted of a kind.
    pub fn total(&self, kind: Kind) -> Counts {
        if kind == Kind::Deferred {
            return self.record.deferred.iter().map(|one| &one.counts).sum();
        }
        let sections = self.record.sections.iter();
        let sections = sections.filter(|section| section.kind == kind);
        sections.map(|section| &section.counts).sum()
    }

    /// What was counted of a kind, with what was deferred from its sections.
    pub fn with_deferred(&self, kind: Kind) -> Counts {
        let deferred = self.record.deferred.iter();
        let deferred = deferred.filter(|one| one.after == kind);
        let deferred: Counts = deferred.map(|one| &one.counts).sum();
        self.total(kind) + deferred
    }

    /// How much of what was counted of a kind was the modules' own.
    pub fn own(&self, kind: Kind) -> Counts {
        let sections = self.record.sections.iter();
        let sections = sections.filter(|section| section.kind == kind);
        sections.map(|section| &section.own).sum()
    }

    fn check_returns(&self, file: &str) -> Result<(), Error> {
        let sections = &self.record.sections;
        if let Some(open) = sections.iter().find(|section| !section.returned) {
            return Err(Error::run(
                file,
                format!("{} of {} never returned", open.function, open.name()),
            ));
        }
        if let Some(open) = self.record.deferred.iter().find(|one| !one.returned) {
            let problem = format!("{} was not over when the guest ended", open.function);
            return Err(Error::run(file, problem));
        }
        Ok(())
    }

    /// Each kind has as many sections as it takes to do what was done, and no other has any.
    fn check_done(&self, file: &str) -> Result<(), Error> {
        for kind in Kind::ALL {
            let sections = self.record.sections.iter();
            let sections = sections.filter(|section| section.kind == kind).count() as u64;
            let times = self.done.iter().filter(|(other, _)| *other == kind);
            let times: u64 = times.map(|(_, times)| *times).sum();
            if sections != times * kind.calls() {
                let problem = format!("{sections} sections of {kind:?}, but the guest did {times}");
                return Err(Error::run(file, problem));
            }
        }
        if self.done.is_empty() {
            return Err(Error::run(file, "nothing was done"));
        }
        Ok(())
    }

    fn check_order(&self, file: &str, order: &[(Kind, String)]) -> Result<(), Error> {
        let sections = &self.record.sections;
        for (number, (section, (kind, module))) in sections.iter().zip(order).enumerate() {
            if section.kind != *kind || section.module.as_ref() != Some(module) {
                return Err(Error::run(
                    file,
                    format!(
                        "section {} is {:?} of {}, but the guest did {kind:?} of {module}",
                        number + 1,
                        section.kind,
                        section.name()
                    ),
                ));
            }
        }
        if sections.len() != order.len() {
            let problem = format!(
                "{} sections, but the guest loaded and unloaded {} times",
                sections.len(),
                order.len()
            );
            return Err(Error::run(file, problem));
        }
        if sections.is_empty() {
            return Err(Error::run(file, "no module was loaded"));
        }
        Ok(())
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_slice(&command::read(path)?).map_err(|source| Error::Json {
        file: path.display().to_string(),
        source,
    })
}

fn parse_order(file: &str, text: &str) -> Result<Vec<(Kind, String)>, Error> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(number, line)| {
        let step = match line.split_once(' ') {
            Some(("load", module)) => Some((Kind::Load, module)),
            Some(("unload", module)) => Some((Kind::Unload, module)),
            _ => None,
        };
        let step = step.filter(|(_, module)| is_module_name(module));
        let (kind, module) = step.ok_or_else(|| Error::Syntax {
            file: file.to_owned(),
            line: number + 1,
            expected: "`load MODULE` or `unload MODULE`",
            found: line.chars().take(80).collect(),
            remedy: "run lab/count-modules again",
        })?;
        Ok((kind, module.to_owned()))
    });
    lines.collect()
}

fn parse_done(file: &str, text: &str) -> Result<Vec<(Kind, u64)>, Error> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(number, line)| {
        let parsed = line.split_once(' ').and_then(|(kind, times)| {
            let kind = Kind::from_str(kind, false).ok()?;
            // So many fit into a record, and their products into a number.
            let times = times.parse().ok().filter(|times| *times <= 1 << 32)?;
            (kind != Kind::Deferred).then_some((kind, times))
        });
        parsed.ok_or_else(|| Error::Syntax {
            file: file.to_owned(),
            line: number + 1,
            expected: "`KIND TIMES`",
            found: line.chars().take(80).collect(),
            remedy: "run lab/count-operations again",
        })
    });
    lines.collect()
}

/// Whether this can be the name of a module, as the kernel has it.
pub fn is_module_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name at the start of a field of the kernel, if it holds a module's.
pub fn module_name(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(field.get(..end)?).ok()?;
    is_module_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_end_in_a_zero() {
        assert_eq!(module_name(b"ext4\0\xff").as_deref(), Some("ext4"));
        for field in [&b"ext4"[..], b"\0", b"a b\0", b"\xff\0", b""] {
            assert_eq!(module_name(field), None);
        }
    }

    #[test]
    fn what_was_done_is_a_list_of_numbers() {
        let done = parse_done("done", "load 4\nbpf-free 100\n").expect("good");
        assert_eq!(done, [(Kind::Load, 4), (Kind::BpfFree, 100)]);
        for text in [
            "load",
            "load x",
            "load -1",
            "load 99999999999",
            "deferred 3",
            "Load 3",
            "\n",
            "load 1 2",
        ] {
            let error = parse_done("done", text).expect_err(text).to_string();
            assert!(error.contains("done:1: expected `KIND TIMES`"), "{error}");
        }
    }

    #[test]
    fn an_order_is_a_list_of_steps() {
        let order = parse_order("order", "load a\nunload a\n").expect("good");
        let wanted = [(Kind::Load, "a".to_owned()), (Kind::Unload, "a".to_owned())];
        assert_eq!(order, wanted);
        for text in [
            "load",
            "load \n",
            "loads a",
            "load a b",
            "\n",
            "unload \u{fffd}",
        ] {
            let error = parse_order("order", text).expect_err(text).to_string();
            assert!(error.contains("order:1: expected"), "{error}");
        }
    }
}
