// SPDX-License-Identifier: GPL-2.0
//! The headline table: for each kernel, how many L3 tables the linear map needs at boot, with
//! all modules loaded, and after all are unloaded.
//!
//! A run directory holds `run.json` (a [`Run`]) and the dumps `boot.dump`, `loaded.dump` and
//! `unloaded.dump`. With address randomisation, modules are not where the dump has its marker
//! for them. So module text is the executable memory of those vmalloc areas that hold a
//! section of a module, when the directory has `sections` and `vmallocinfo` (see
//! [`crate::text`]), and that of the modules region when it has no `sections`.
//!
//! A measured [`Row`] is also the format of recorded results: a JSON array of
//! rows, as `kpt report --json` prints it. A measured row replaces a recorded one for the same
//! kernel, `rodata=`, CPU and page size.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dump::{Dump, Permission};
use crate::error::{Error, Place, Problem};
use crate::granule::{Granularity, PageSize, VaRange};
use crate::input::Source;
use crate::layout;
use crate::summary::Counters;
use crate::text::{self, Areas};

/// What was run, as `run.json` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The kernel and its version.
    pub kernel: String,
    /// The value of `rodata=`.
    pub cmdline_rodata: String,
    /// The CPU: `bbml3` or `plain`.
    pub cpu: String,
    /// The page size of the kernel.
    pub page_size: PageSize,
    /// How many modules were loaded.
    pub modules: u64,
    /// The size of the module files.
    pub module_bytes: u64,
    /// The base or the series.
    pub kind: Kind,
    /// The day of the run.
    pub date: String,
    /// What to type to repeat it.
    pub command: String,
}

impl Run {
    /// What was loaded.
    fn loaded(&self) -> String {
        let modules = layout::counted(self.modules, "module", "modules");
        format!("{modules} with {}", layout::bytes(self.module_bytes))
    }
}

/// Whose kernel ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The base, without the series.
    Stock,
    /// With the series.
    Ours,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What was run.
    #[serde(flatten)]
    pub run: Run,
    /// L3 tables of the linear map at boot.
    pub boot_l3_tables: u64,
    /// L3 tables of the linear map with all modules loaded.
    pub loaded_l3_tables: u64,
    /// L3 tables of the linear map after all were unloaded.
    pub unloaded_l3_tables: u64,
    /// Bytes of the linear map in contiguous PMD runs at boot, less those after unloading.
    pub cont_pmd_bytes_lost: i64,
    /// Bytes of module text, mapped ROX, with all modules loaded.
    pub module_rox_bytes: u64,
    /// Those of them mapped by PMD leaves or larger.
    pub module_rox_pmd_bytes: u64,
    /// Those of them mapped by anything larger than a page.
    pub module_rox_block_bytes: u64,
    /// Whether the row comes from a record and not from this run.
    #[serde(default)]
    pub recorded: bool,
}

impl Row {
    /// Measures a run directory.
    pub fn measure(directory: &Path) -> Result<Self, Error> {
        let run: Run = read_json(&directory.join("run.json"))?;
        let dump = |name| {
            let source = Source::read(&directory.join(name))?;
            Dump::parse(&source, Some(run.page_size))
        };
        let (boot, loaded, unloaded) = (
            dump("boot.dump")?,
            dump("loaded.dump")?,
            dump("unloaded.dump")?,
        );
        let linear = |dump: &Dump| -> Result<Counters, Error> {
            let region = dump.require_region("linear")?;
            Ok(Counters::of(region, dump.page_size))
        };
        let at_boot = linear(&boot)?;
        let after = linear(&unloaded)?;
        let rox = RoxBytes::of(&loaded, &module_areas(directory, &loaded)?);
        Ok(Self {
            boot_l3_tables: at_boot.l3_tables,
            loaded_l3_tables: linear(&loaded)?.l3_tables,
            unloaded_l3_tables: after.l3_tables,
            cont_pmd_bytes_lost: layout::change(
                after.granularity.cont_pmd.bytes,
                at_boot.granularity.cont_pmd.bytes,
            ),
            module_rox_bytes: rox.all,
            module_rox_pmd_bytes: rox.pmd,
            module_rox_block_bytes: rox.block,
            recorded: false,
            run,
        })
    }

    /// Whether both rows measure the same thing.
    fn is_same_case(&self, other: &Self) -> bool {
        let case = |row: &Self| {
            let run = &row.run;
            (
                run.kernel.clone(),
                run.cmdline_rodata.clone(),
                run.cpu.clone(),
                run.page_size,
            )
        };
        case(self) == case(other)
    }

    /// The row in markdown.
    fn to_markdown(&self) -> String {
        let run = &self.run;
        let pages = match run.page_size {
            PageSize::Size4K => String::new(),
            other => format!(", {other} pages"),
        };
        let emphasis = match run.kind {
            Kind::Stock => "",
            Kind::Ours => "**",
        };
        let origin = if self.recorded {
            format!(
                "recorded {} on {}: `{}`",
                cell(&run.date),
                cell(&run.kernel),
                cell(&run.command)
            )
        } else {
            "this run".to_owned()
        };
        format!(
            "| {emphasis}{}, rodata={}{pages}{emphasis} | {} | {} | {} | {} | {} | {} | {origin} |\n",
            cell(&run.kernel),
            cell(&run.cmdline_rodata),
            cell(&run.cpu),
            self.boot_l3_tables,
            self.loaded_l3_tables,
            self.unloaded_l3_tables,
            mebibytes(self.cont_pmd_bytes_lost),
            self.blocks(),
        )
    }

    /// The share of module text under PMD leaves, and under any larger than a page when that
    /// is another share.
    fn blocks(&self) -> String {
        let share = |bytes: u64| {
            let percent = u128::from(bytes) * 100;
            percent.checked_div(u128::from(self.module_rox_bytes))
        };
        match (
            share(self.module_rox_pmd_bytes),
            share(self.module_rox_block_bytes),
        ) {
            (Some(pmd), Some(block)) if pmd == block => format!("{pmd} %"),
            (Some(pmd), Some(block)) => format!("{pmd} % PMD, {block} % PMD or contPTE"),
            _ => "no module text".to_owned(),
        }
    }
}

/// Where module text can lie: see the description of this file.
fn module_areas(directory: &Path, loaded: &Dump) -> Result<Vec<VaRange>, Error> {
    let sections = directory.join("sections");
    if !sections.exists() {
        return Ok(loaded
            .require_region("modules")?
            .span()
            .into_iter()
            .collect());
    }
    let sections = text::parse_sections(&Source::read(&sections)?)?;
    let areas = Areas::parse(&Source::read(&directory.join("vmallocinfo"))?)?;
    Ok(areas.holding_any(sections.iter().map(|section| section.range)))
}

/// Bytes mapped ROX.
struct RoxBytes {
    all: u64,
    pmd: u64,
    block: u64,
}

impl RoxBytes {
    /// Counts in disjoint ranges.
    fn of(dump: &Dump, ranges: &[VaRange]) -> Self {
        let at_least = |least| {
            let leaves = dump.leaves().filter(|(_, granularity, attributes)| {
                *granularity >= least && attributes.permission() == Permission::Rox
            });
            let parts = leaves.flat_map(|(leaf, _, _)| {
                ranges
                    .iter()
                    .filter_map(move |range| leaf.intersection(*range))
            });
            parts.map(VaRange::bytes).sum()
        };
        Self {
            all: at_least(Granularity::Pte),
            pmd: at_least(Granularity::Pmd),
            block: at_least(Granularity::ContPte),
        }
    }
}

/// The rows of the table: the recorded ones that were not measured again, then the measured.
pub fn merge(recorded: Vec<Row>, measured: Vec<Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = recorded
        .into_iter()
        .filter(|old| !measured.iter().any(|new| new.is_same_case(old)))
        .map(|row| Row {
            recorded: true,
            ..row
        })
        .collect();
    rows.extend(measured);
    // Stable: within a kind, recorded rows stay before measured ones, in their order.
    rows.sort_by_key(|row| row.run.kind);
    rows
}

/// Reads recorded rows.
pub fn read_recorded(path: &Path) -> Result<Vec<Row>, Error> {
    read_json(path)
}

/// The table in markdown.
pub fn to_markdown(rows: &[Row]) -> String {
    let loaded: BTreeSet<String> = rows.iter().map(|row| row.run.loaded()).collect();
    let loaded: Vec<String> = loaded.into_iter().collect();
    let mut text = format!(
        "Last-level (L3) tables of the linear map. All loaded: {}.\n\n\
         | kernel | CPU | at boot | all loaded | all unloaded | contPMD bytes lost | module text under blocks | measured |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        loaded.join(", or ")
    );
    rows.iter()
        .for_each(|row| text.push_str(&row.to_markdown()));
    text
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let source = Source::read(path)?;
    serde_json::from_str(source.text())
        .map_err(|error| Place::line(source.name(), error.line()).error(Problem::Json(error)))
}

/// Text that is safe inside a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A change in MiB. A gain is negative.
fn mebibytes(bytes: i64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if bytes % (1 << 20) == 0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{mib:.1} MiB")
    }
}
