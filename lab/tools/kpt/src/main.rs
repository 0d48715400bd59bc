// SPDX-License-Identifier: GPL-2.0
//! The command line of `kpt`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::Verdict;

use kpt::aliases::{self, Sample};
use kpt::counters::Moment;
use kpt::diff::Diff;
use kpt::dump::Dump;
use kpt::error::Error;
use kpt::granule::PageSize;
use kpt::input::{self, Source};
use kpt::report::{self, Row};
use kpt::restored::Demand;
use kpt::same::Run;
use kpt::summary::Summary;
use kpt::text::{Areas, TextReport};
use kpt::{map, restored, same, text, wx};

/// Reads dumps of an arm64 kernel's page tables.
///
/// A dump is a copy of /sys/kernel/debug/kernel_page_tables; `-` is standard input. Exit
/// status 0: well, or equal; 1: a check failed, or dumps differ; 2: error.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count bytes, entries, L3 tables and permissions of each region
    Show {
        /// The dump
        dump: PathBuf,
        #[command(flatten)]
        pages: Pages,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two dumps; exit 1 if granularity or permissions differ anywhere
    Diff {
        /// The dump before
        before: PathBuf,
        /// The dump after
        after: PathBuf,
        #[command(flatten)]
        pages: Pages,
        /// Show at most this many address ranges of each region (JSON has all)
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw a region as an SVG picture
    Map {
        /// The dump
        dump: PathBuf,
        /// The region: linear, modules, vmalloc, or another name that `kpt show` lists
        #[arg(long)]
        region: String,
        /// The picture to write; `-` is standard output
        #[arg(short, long)]
        output: PathBuf,
        #[command(flatten)]
        pages: Pages,
    },
    /// Print the headline table from run directories and recorded rows
    ///
    /// A run directory holds boot.dump, loaded.dump, unloaded.dump and run.json, an object
    /// with the fields kernel, cmdline_rodata, cpu, page_size (4k, 16k, 64k), modules,
    /// module_bytes, kind (stock, ours), date and command. Where modules lie outside of the
    /// modules region, which address randomisation does, it holds the two files of `kpt text`
    /// too, as sections and vmallocinfo.
    Report {
        /// Print these rows too, labelled as recorded, unless a run measures the same case
        #[arg(long)]
        recorded: Option<PathBuf>,
        /// Print JSON, which is what --recorded takes
        #[arg(long)]
        json: bool,
        /// The run directories
        #[arg(required_unless_present = "recorded")]
        runs: Vec<PathBuf>,
    },
    /// Compare two runs of kernels that should map memory alike; exit 1 where they do not
    ///
    /// A run directory holds boot.dump, loaded.dump and unloaded.dump.
    Same {
        /// The run to compare with
        expected: PathBuf,
        /// The run
        run: PathBuf,
        /// Compare the granularity of the linear map too: for runs that do not split it
        #[arg(long)]
        granularity: bool,
        #[command(flatten)]
        pages: Pages,
    },
    /// Say where the text of each module lies; exit 1 if any .text is not in the cache
    Text {
        /// A list of `MODULE SECTION 0xADDRESS SIZE`, with 0 for an unknown size
        #[arg(long)]
        sections: PathBuf,
        /// A copy of /proc/vmallocinfo
        #[arg(long)]
        vmallocinfo: PathBuf,
        /// Exit 1 also if less than this share of the cache's areas is mapped by blocks
        #[arg(long, value_name = "PERCENT", default_value_t = 0)]
        in_blocks: u64,
        /// The dump
        dump: PathBuf,
        #[command(flatten)]
        pages: Pages,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say how the linear aliases of cached memory are mapped; exit 1 if one is not read-only
    ///
    /// A sample is a directory that holds a dump and, as aliases, a list with one line
    /// `0xSTART-0xEND 0xMAPPING PERMISSION` for each part of what the cache held throughout
    /// the dump, which lab/guest-tests/sample-tables.sh makes.
    Aliases {
        /// The samples
        #[arg(required = true)]
        samples: Vec<PathBuf>,
        /// Exit 1 also if an L3 table maps cached memory
        #[arg(long)]
        blocks: bool,
        #[command(flatten)]
        pages: Pages,
    },
    /// Say whether the linear map is mapped by leaves of the same sizes as before; exit 1 if not
    Restored {
        /// Demand only that it has no more L3 tables than before
        #[arg(long)]
        l3_tables: bool,
        /// The dump before
        before: PathBuf,
        /// The dump after
        after: PathBuf,
        #[command(flatten)]
        pages: Pages,
    },
    /// Compare what the kernel counts with dumps; exit 1 where it differs
    ///
    /// At each moment the DirectMap lines of /proc/meminfo say how the linear map is mapped.
    /// Since the first one, no page table was lost, and the direct_map lines of /proc/vmstat,
    /// where there are any, say how many blocks are split.
    Counters {
        /// Moments: copies of kernel_page_tables, /proc/meminfo and /proc/vmstat, as
        /// MOMENT.dump, MOMENT.meminfo and MOMENT.vmstat
        #[arg(required = true, value_name = "MOMENT")]
        moments: Vec<PathBuf>,
        #[command(flatten)]
        pages: Pages,
    },
    /// Name every range that is writable and executable; exit 1 if there is one
    CheckWx {
        /// The dumps
        #[arg(required = true)]
        dumps: Vec<PathBuf>,
        #[command(flatten)]
        pages: Pages,
    },
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Pages {
    /// The page size of the kernel [default: inferred from the finest range of the dump; an
    /// error where that leaves it open]
    #[arg(long)]
    page_size: Option<PageSize>,
}

impl Pages {
    fn read(self, path: &Path) -> Result<Dump, Error> {
        Dump::parse(&Source::read(path)?, self.page_size)
    }
}

fn main() -> ExitCode {
    command::exit("kpt", run(command::parse::<Cli>().command))
}

fn run(command: Command) -> Result<Verdict, Error> {
    match command {
        Command::Show { dump, pages, json } => {
            let summary = Summary::of(&pages.read(&dump)?);
            command::print(&if json {
                summary.to_json()?
            } else {
                summary.to_text()
            })?;
            Ok(Verdict::Well)
        }
        Command::Diff {
            before,
            after,
            pages,
            limit,
            json,
        } => {
            input::check_standard_input([before.as_path(), &after])?;
            let diff = Diff::between(&pages.read(&before)?, &pages.read(&after)?);
            command::print(&if json {
                diff.to_json()?
            } else {
                diff.to_text(limit)
            })?;
            Ok(diff.equal.into())
        }
        Command::Map {
            dump,
            region,
            output,
            pages,
        } => {
            let dump = pages.read(&dump)?;
            command::write(&output, &map::draw(&dump, &region)?)?;
            Ok(Verdict::Well)
        }
        Command::Report {
            recorded,
            json,
            runs,
        } => {
            let recorded = match recorded {
                Some(path) => report::read_recorded(&path)?,
                None => Vec::new(),
            };
            let measured: Result<_, _> = runs.iter().map(|run| Row::measure(run)).collect();
            let rows = report::merge(recorded, measured?);
            command::print(&if json {
                input::to_json(&rows)?
            } else {
                report::to_markdown(&rows)
            })?;
            Ok(Verdict::Well)
        }
        Command::Same {
            expected,
            run,
            granularity,
            pages,
        } => {
            let expected = Run::read(&expected, pages.page_size)?;
            let run = Run::read(&run, pages.page_size)?;
            let differ = same::compare(&expected, &run, granularity);
            let lines = differ.iter().map(|one| format!("{one}\n"));
            command::print(&lines.collect::<String>())?;
            Ok(differ.is_empty().into())
        }
        Command::Text {
            sections,
            vmallocinfo,
            in_blocks,
            dump,
            pages,
            json,
        } => {
            input::check_standard_input([sections.as_path(), &vmallocinfo, &dump])?;
            let sections = text::parse_sections(&Source::read(&sections)?)?;
            let areas = Areas::parse(&Source::read(&vmallocinfo)?)?;
            let report = TextReport::of(&sections, &areas, &pages.read(&dump)?);
            command::print(&if json {
                report.to_json()?
            } else {
                report.to_text()
            })?;
            Ok((report.outside().is_empty() && report.is_in_blocks(in_blocks)).into())
        }
        Command::Aliases {
            samples,
            blocks,
            pages,
        } => {
            let read = |dir: &PathBuf| Sample::read(dir, pages.page_size);
            let samples: Vec<Sample> = samples.iter().map(read).collect::<Result<_, _>>()?;
            command::print(&aliases::to_text(&samples))?;
            let well =
                |sample: &Sample| sample.findings.is_empty() && !(blocks && sample.l3_tables != 0);
            Ok(samples.iter().all(well).into())
        }
        Command::Restored {
            l3_tables,
            before,
            after,
            pages,
        } => {
            input::check_standard_input([before.as_path(), &after])?;
            let demand = match l3_tables {
                true => Demand::L3Tables,
                false => Demand::Granularity,
            };
            let (before, after) = (pages.read(&before)?, pages.read(&after)?);
            let (text, well) = restored::compare(&before, &after, demand)?;
            command::print(&text)?;
            Ok(well.into())
        }
        Command::Counters { moments, pages } => {
            let read = |prefix: &PathBuf| Moment::read(prefix, pages.page_size);
            let moments: Vec<Moment> = moments.iter().map(read).collect::<Result<_, _>>()?;
            let (mut text, mut well) = (String::new(), true);
            for moment in &moments {
                for line in moment.check_direct_map()? {
                    text.push_str(&format!("{line}\n"));
                    well = false;
                }
            }
            for moment in &moments[1..] {
                for (line, agrees) in [
                    moment.check_tables(&moments[0])?,
                    moment.check_events(&moments[0])?,
                ] {
                    text.push_str(&line);
                    well &= agrees;
                }
            }
            command::print(&text)?;
            Ok(well.into())
        }
        Command::CheckWx { dumps, pages } => {
            input::check_standard_input(dumps.iter().map(PathBuf::as_path))?;
            let mut findings = Vec::new();
            for dump in &dumps {
                findings.extend(wx::find(&pages.read(dump)?));
            }
            let lines = findings.iter().map(|finding| format!("{finding}\n"));
            command::print(&lines.collect::<String>())?;
            Ok(findings.is_empty().into())
        }
    }
}
