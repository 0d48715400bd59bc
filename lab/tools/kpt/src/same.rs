// SPDX-License-Identifier: GPL-2.0
//! Holds one run against another that should treat memory alike, a kernel with the series
//! against the stock one where the series must change nothing.
//!
//! Two runs of one kernel do not give equal dumps: stacks, and the pages behind an
//! allocation, lie elsewhere each time, and KFENCE hides other pages. What follows from how
//! the kernel maps memory, and not from where it happened to be, is compared.

use std::fmt;
use std::path::Path;

use crate::dump::Dump;
use crate::error::Error;
use crate::granule::{Granularity, PageSize};
use crate::input::Source;
use crate::summary::{Counters, Summary};

/// The stages of a run, in order; each has a dump.
const STAGES: [&str; 3] = ["boot", "loaded", "unloaded"];

/// The kernel image has that many parts with permissions of their own: text with read-only data,
/// what is freed after boot, and data. Where one ends in the middle of a table's reach, boot maps
/// that by pages; so as many L3 tables of the linear map may be due to the size of an image.
const IMAGE_PARTS: u64 = 3;

/// A counter that two runs do not agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    stage: &'static str,
    region: &'static str,
    counter: String,
    expected: i128,
    found: i128,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stage,
            region,
            counter,
            expected,
            found,
        } = self;
        write!(
            f,
            "{stage}: {region}: {counter} is {found}, and {expected} in the run to compare with"
        )
    }
}

/// The summaries of a run's dumps, in the order of [`STAGES`].
#[derive(Clone, Debug)]
pub struct Run([Summary; STAGES.len()]);

impl Run {
    /// Reads `boot.dump`, `loaded.dump` and `unloaded.dump` of a run directory.
    pub fn read(dir: &Path, page_size: Option<PageSize>) -> Result<Self, Error> {
        let read = |stage| -> Result<Summary, Error> {
            let source = Source::read(&dir.join(format!("{stage}.dump")))?;
            Ok(Summary::of(&Dump::parse(&source, page_size)?))
        };
        let [boot, loaded, unloaded] = STAGES.map(read);
        Ok(Self([boot?, loaded?, unloaded?]))
    }
}

/// Compares `run` with `expected`, and returns what differs:
///
/// - modules: every counter but the number of L3 tables, which depends on where in a table's
///   reach the region begins: below the kernel image, whose size differs. What unloading did
///   to their number is compared;
/// - linear map and vmalloc: by how much read-only, executable and W+X memory has grown since
///   boot, so that the sizes of the two kernel images do not matter;
/// - linear map, with `granularity`: bytes of contiguous runs of blocks and of larger leaves at boot, by how
///   much the bytes at each granularity have grown since, and the number of L3 tables at boot, but
///   for [`IMAGE_PARTS`]. That is for kernels that do not split the linear map; where they do, it
///   depends on where pages happen to be.
pub fn compare(expected: &Run, run: &Run, granularity: bool) -> Vec<Disagreement> {
    let mut all = Vec::new();
    let ([expected_boot, expected_loaded, _], [boot, loaded, _]) = (&expected.0, &run.0);

    for ((stage, expected), now) in STAGES.into_iter().zip(&expected.0).zip(&run.0) {
        let mut check = |region, counter: String, expected, found| {
            if expected != found {
                all.push(Disagreement {
                    stage,
                    region,
                    counter,
                    expected,
                    found,
                });
            }
        };

        let (expected_modules, modules) = (of(expected, "modules"), of(now, "modules"));
        for ((name, expected), (_, found)) in
            expected_modules.named().into_iter().zip(modules.named())
        {
            if name != "l3_tables" {
                check("modules", name.to_owned(), expected.into(), found.into());
            }
        }
        if stage == "unloaded" {
            let kept = |loaded, now: Counters| {
                i128::from(now.l3_tables) - i128::from(of(loaded, "modules").l3_tables)
            };
            check(
                "modules",
                "change of l3_tables by unloading".to_owned(),
                kept(expected_loaded, expected_modules),
                kept(loaded, modules),
            );
        }
        for region in ["linear", "vmalloc"] {
            let expected = growth(expected_boot, expected, region);
            for ((name, expected), (_, found)) in
                expected.into_iter().zip(growth(boot, now, region))
            {
                check(region, format!("growth of {name}"), expected, found);
            }
        }
        if granularity {
            let bytes =
                |summary, level| i128::from(of(summary, "linear").granularity.get(level).bytes);
            for level in Granularity::ALL {
                if stage != "boot" {
                    let counter = format!("growth of bytes of {level}");
                    let grown = |boot, now| bytes(now, level) - bytes(boot, level);
                    let found = grown(boot, now);
                    check("linear", counter, grown(expected_boot, expected), found);
                } else if level > Granularity::Pmd {
                    let counter = format!("bytes of {level}");
                    check("linear", counter, bytes(expected, level), bytes(now, level));
                }
            }
            let [expected, found] = [expected, now].map(|summary| of(summary, "linear").l3_tables);
            if stage == "boot" && expected.abs_diff(found) > IMAGE_PARTS {
                check(
                    "linear",
                    "l3_tables".to_owned(),
                    expected.into(),
                    found.into(),
                );
            }
        }
    }
    all
}

/// The counters of a region; a dump without it has nothing there.
fn of(summary: &Summary, region: &str) -> Counters {
    let mut regions = summary.regions.iter();
    let found = regions.find(|candidate| candidate.name == region);
    found
        .map(|region| region.counters.clone())
        .unwrap_or_default()
}

/// How much of the memory of a region became read-only, executable and W+X since boot.
fn growth(boot: &Summary, now: &Summary, region: &str) -> [(&'static str, i128); 3] {
    let (boot, now) = (of(boot, region), of(now, region));
    let (boot, now) = (boot.permission_bytes, now.permission_bytes);
    let by = |boot: u64, now: u64| i128::from(now) - i128::from(boot);
    [
        ("read-only bytes", by(boot.ro, now.ro)),
        ("ROX bytes", by(boot.rox, now.rox)),
        ("W+X bytes", by(boot.wx, now.wx)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Run {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        Run::read(&dir.join(name), None).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let stock = fixture("stock");
        assert_eq!(compare(&stock, &stock, true), []);
    }

    /// Adds `tables` to the L3 tables of the modules region of a summary.
    fn add_tables(summary: &mut Summary, tables: u64) {
        let mut regions = summary.regions.iter_mut();
        let modules = regions
            .find(|region| region.name == "modules")
            .expect("it is there");
        modules.counters.l3_tables += tables;
    }

    #[test]
    fn where_the_modules_region_begins_does_not_matter() {
        let stock = fixture("stock");
        let mut run = stock.clone();
        add_tables(&mut run.0[1], 1);
        add_tables(&mut run.0[2], 1);
        assert_eq!(compare(&stock, &run, true), []);
        add_tables(&mut run.0[2], 1);
        let differ = compare(&stock, &run, true);
        assert_eq!(differ.len(), 1, "{differ:?}");
        assert_eq!(differ[0].stage, "unloaded");
        assert_eq!(differ[0].found - differ[0].expected, 1);
    }

    /// Maps 2 MiB of the linear map by pages that are mapped by a block in a summary.
    fn split_block(summary: &mut Summary) {
        let mut regions = summary.regions.iter_mut();
        let linear = regions
            .find(|region| region.name == "linear")
            .expect("it is there");
        linear.counters.granularity.pmd.bytes -= 2 << 20;
        linear.counters.granularity.cont_pte.bytes += 2 << 20;
        linear.counters.l3_tables += 1;
    }

    #[test]
    fn where_parts_of_the_kernel_image_end_does_not_matter() {
        let stock = fixture("stock");
        let mut run = stock.clone();
        for _ in 0..IMAGE_PARTS {
            run.0.iter_mut().for_each(split_block);
            assert_eq!(compare(&stock, &run, true), []);
        }
        run.0.iter_mut().for_each(split_block);
        let differ = compare(&stock, &run, true);
        assert_eq!(differ.len(), 1, "{differ:?}");
        assert_eq!(
            (differ[0].stage, differ[0].counter.as_str()),
            ("boot", "l3_tables")
        );
    }

    #[test]
    fn what_loading_splits_matters() {
        let stock = fixture("stock");
        let mut run = stock.clone();
        split_block(&mut run.0[1]);
        let differ = compare(&stock, &run, true);
        assert!(
            !differ.is_empty() && differ.iter().all(|one| one.stage == "loaded"),
            "{differ:?}"
        );
    }

    #[test]
    fn the_cache_shows_in_the_modules_region_and_the_linear_map() {
        let differ = compare(&fixture("stock"), &fixture("ours"), true);
        for region in ["modules", "linear"] {
            assert!(differ.iter().any(|one| one.region == region), "{differ:?}");
        }
    }
}
