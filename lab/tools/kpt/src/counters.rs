// SPDX-License-Identifier: GPL-2.0
//! Compares what the kernel counts about its page tables with dumps of them: the `DirectMap` and
//! `PageTables` lines of /proc/meminfo, the `direct_map` lines of /proc/vmstat.

use std::ffi::OsString;
use std::path::Path;

use crate::dump::Dump;
use crate::error::{Error, Problem};
use crate::granule::{Granularity, PageSize};
use crate::input::Source;
use crate::layout;
use crate::summary::{Counters, Summary};

/// How the kernel maps memory, and what it says of that, at one moment.
pub struct Moment {
    /// The name of the dump, and its page size.
    dump: String,
    page_size: PageSize,
    /// What it says of the linear map.
    linear: Counters,
    /// The L3 tables of all regions, in bytes.
    tables: u64,
    meminfo: Source,
    vmstat: Source,
}

/// How many page tables may be there that no entry is seen to point to: a few user processes'.
const SLACK: u64 = 32;

impl Moment {
    /// Reads `PREFIX.dump`, `PREFIX.meminfo` and `PREFIX.vmstat`.
    pub fn read(prefix: &Path, page_size: Option<PageSize>) -> Result<Self, Error> {
        let read = |kind: &str| {
            let mut name = OsString::from(prefix);
            name.push(kind);
            Source::read(Path::new(&name))
        };
        let dump = Dump::parse(&read(".dump")?, page_size)?;
        Self::of(&dump, read(".meminfo")?, read(".vmstat")?)
    }

    fn of(dump: &Dump, meminfo: Source, vmstat: Source) -> Result<Self, Error> {
        let regions = Summary::of(dump).regions.into_iter();
        let tables: u64 = regions.map(|region| region.counters.l3_tables).sum();
        Ok(Self {
            dump: dump.file.clone(),
            page_size: dump.page_size,
            linear: Counters::of_linear_map(dump)?,
            tables: tables * dump.page_size.bytes(),
            meminfo,
            vmstat,
        })
    }

    /// Compares the DirectMap lines with the dump; returns what differs, a line each.
    pub fn check_direct_map(&self) -> Result<Vec<String>, Error> {
        let mut differ = Vec::new();
        let mut seen = 0;

        for (line, text) in self.meminfo.lines()? {
            let Some((label, _)) = text.split_once(':') else {
                continue;
            };
            if !label.starts_with("DirectMap") {
                continue;
            }
            let granularity = Granularity::ALL
                .into_iter()
                .find(|&granularity| name(self.page_size, granularity) == label)
                .ok_or_else(|| {
                    let expected = "a DirectMap line for a size of leaves";
                    let found = text.to_string();
                    let problem = Problem::Syntax { expected, found };
                    self.meminfo.error(line, problem)
                })?;
            let counted = kilobytes(&self.meminfo, line, text)?;
            seen += 1;
            let bytes = self.linear.granularity.get(granularity).bytes;
            if bytes != counted {
                differ.push(format!(
                    "{label}: {} in {}, {} in {}",
                    layout::bytes(counted),
                    self.meminfo.name(),
                    layout::bytes(bytes),
                    self.dump
                ));
            }
        }
        if seen == 0 {
            differ.push(format!(
                "{}: there is no DirectMap line",
                self.meminfo.name()
            ));
        }
        Ok(differ)
    }

    /// What page tables take, in bytes.
    fn page_tables(&self) -> Result<u64, Error> {
        let mut lines = self.meminfo.lines()?;
        let (line, text) = lines
            .find(|(_, text)| text.starts_with("PageTables:"))
            .ok_or_else(|| {
                let (expected, found) = ("a PageTables line", "none".to_string());
                self.meminfo.error(0, Problem::Syntax { expected, found })
            })?;
        kilobytes(&self.meminfo, line, text)
    }

    /// Compares what page tables take with the L3 tables of the dump, as changes since `before`;
    /// returns a line, and whether no tables were lost meanwhile.
    ///
    /// vmalloc keeps the tables of areas that are gone; they are in the dump. Tables of user
    /// processes are in /proc/meminfo alone.
    pub fn check_tables(&self, before: &Self) -> Result<(String, bool), Error> {
        let taken = layout::change(before.page_tables()?, self.page_tables()?);
        let seen = layout::change(before.tables, self.tables);
        let text = format!(
            "{}: page tables take {} more, L3 tables that the kernel uses {}\n",
            self.dump,
            layout::signed_bytes(taken),
            layout::signed_bytes(seen)
        );
        let slack = SLACK * self.page_size.bytes();
        Ok((text, taken - seen <= slack as i64))
    }

    /// The number of a line `NAME NUMBER` of /proc/vmstat, if there is one.
    fn event(&self, name: &str) -> Result<Option<i64>, Error> {
        for (line, text) in self.vmstat.lines()? {
            let Some(value) = text.strip_prefix(name).and_then(|v| v.strip_prefix(' ')) else {
                continue;
            };
            return value.parse().map(Some).map_err(|_| {
                let (expected, found) = ("a number of events", text.to_string());
                self.vmstat.error(line, Problem::Syntax { expected, found })
            });
        }
        Ok(None)
    }

    /// Splits less collapses of a level since boot; nothing where the kernel does not count them.
    fn splits(&self, level: u32) -> Result<Option<i64>, Error> {
        let splits = self.event(&format!("direct_map_level{level}_splits"))?;
        let collapses = self.event(&format!("direct_map_level{level}_collapses"))?;
        Ok(splits.zip(collapses).map(|(made, undone)| made - undone))
    }

    /// Compares the events of /proc/vmstat with the dump, as changes since `before`: each split
    /// of a PMD block makes an L3 table, each split of a PUD block takes one away. Returns what
    /// they say, a line each, and whether it is true; nothing where the kernel does not count.
    pub fn check_events(&self, before: &Self) -> Result<(String, bool), Error> {
        let (was, is) = (&before.linear, &self.linear);
        let puds = |counters: &Counters| {
            let size = self.page_size.leaf_bytes(Granularity::Pud);
            counters.granularity.get(Granularity::Pud).bytes / size
        };
        let seen = [
            (2, layout::change(was.l3_tables, is.l3_tables)),
            (3, layout::change(puds(is), puds(was))),
        ];
        let mut text = String::new();
        let mut well = true;
        for (level, seen) in seen {
            let (Some(first), Some(last)) = (before.splits(level)?, self.splits(level)?) else {
                continue;
            };
            let counted = last - first;
            text.push_str(&format!(
                "{}: level {level} has {counted:+} splits less collapses, and {seen:+} blocks are split\n",
                self.vmstat.name()
            ));
            well &= counted == seen;
        }
        Ok((text, well))
    }
}

/// The number of a line `Label: NUMBER kB`, in bytes.
fn kilobytes(source: &Source, line: usize, text: &str) -> Result<u64, Error> {
    let value = text.split_once(':').map_or("", |(_, value)| value);
    value
        .strip_suffix("kB")
        .and_then(|kib| kib.trim().parse::<u64>().ok()?.checked_mul(1 << 10))
        .ok_or_else(|| {
            let (expected, found) = ("a number of kB", text.to_string());
            source.error(line, Problem::Syntax { expected, found })
        })
}

/// The name that the kernel gives a granularity in /proc/meminfo.
fn name(page_size: PageSize, granularity: Granularity) -> String {
    let size = page_size.leaf_bytes(granularity);
    let (count, unit) = match size {
        _ if size >= 1 << 30 => (size >> 30, 'G'),
        _ if size >= 1 << 20 => (size >> 20, 'M'),
        _ => (size >> 10, 'k'),
    };
    format!("DirectMap{count}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a linear map of 1 GiB that one block maps, and later one L3 table too.
    fn moment(split: bool, splits: u32, tables: u64) -> Moment {
        let start = 0xffff_0000_0000_0000u64;
        let mut dump = String::from("---[ Linear Mapping start ]---\n");
        let mut line = |from: u64, to: u64, size: &str, level: &str, block: &str| {
            dump.push_str(&format!(
                "{:#018x}-{:#018x} {size:>9} {level}       RW NX SHD AF    {block}    UXN    MEM/NORMAL\n",
                start + from,
                start + to
            ));
        };
        if split {
            line(0, 2 << 20, "2M", "PTE", "   ");
            line(2 << 20, 1 << 30, "1022M", "PMD", "BLK");
        } else {
            line(0, 1 << 30, "1G", "PMD", "BLK");
        }
        dump.push_str("---[ Linear Mapping end ]---\n");
        let (end, top) = (start + (1 << 30), 0);
        dump.push_str(&format!("{end:#018x}-{top:#018x}   262143G PUD\n"));
        let page_size = PageSize::Size4K;
        let (ptes, pmds) = if split { (2048, 1046528) } else { (0, 1048576) };
        let meminfo =
            format!("PageTables: {tables} kB\nDirectMap4k: {ptes} kB\nDirectMap2M: {pmds} kB\n");
        let vmstat = format!(
            "nr_free 1\ndirect_map_level2_splits {splits}\ndirect_map_level2_collapses 1\n"
        );
        let source =
            |name: &str, text: String| Source::from_bytes(name, text.into_bytes()).expect("a text");
        let dump = Dump::parse(&source("dump", dump), Some(page_size)).expect("a dump");
        Moment::of(&dump, source("meminfo", meminfo), source("vmstat", vmstat)).expect("a moment")
    }

    #[test]
    fn what_agrees_passes() {
        let (before, after) = (moment(false, 1, 400), moment(true, 2, 404));
        for moment in [&before, &after] {
            assert_eq!(
                moment.check_direct_map().expect("lines"),
                Vec::<String>::new()
            );
        }
        assert!(after.check_tables(&before).expect("lines").1);
        assert!(after.check_events(&before).expect("lines").1);
    }

    #[test]
    fn what_does_not_agree_is_told() {
        let before = moment(false, 1, 400);
        let mut after = moment(true, 1, 600);
        assert!(!after.check_tables(&before).expect("lines").1);
        let (text, well) = after.check_events(&before).expect("lines");
        assert!(!well && text.contains("+0 splits"), "{text}");
        after.meminfo = moment(false, 1, 400).meminfo;
        assert_eq!(after.check_direct_map().expect("lines").len(), 2);
    }

    #[test]
    fn a_kernel_without_the_events_is_not_asked() {
        let mut before = moment(false, 1, 400);
        before.vmstat = Source::from_bytes("vmstat", b"nr_free 1\n".to_vec()).expect("a text");
        let (text, well) = moment(true, 1, 400)
            .check_events(&before)
            .expect("no error");
        assert_eq!((text.as_str(), well), ("", true));
    }

    #[test]
    fn garbage_is_an_error() {
        let mut garbage = moment(false, 1, 400);
        garbage.meminfo =
            Source::from_bytes("meminfo", b"DirectMap4k: many\n".to_vec()).expect("a text");
        assert!(garbage.check_direct_map().is_err());
        garbage.vmstat =
            Source::from_bytes("vmstat", b"direct_map_level2_splits x\n".to_vec()).expect("a text");
        assert!(garbage.check_events(&moment(false, 1, 400)).is_err());
    }

    #[test]
    fn sizes_have_the_names_of_the_kernel() {
        let names = |size| Granularity::ALL.map(|granularity| name(size, granularity));
        assert_eq!(
            names(PageSize::Size4K),
            [
                "DirectMap4k",
                "DirectMap64k",
                "DirectMap2M",
                "DirectMap32M",
                "DirectMap1G"
            ]
        );
        assert_eq!(
            names(PageSize::Size64K)[..4],
            [
                "DirectMap64k",
                "DirectMap2M",
                "DirectMap512M",
                "DirectMap16G"
            ]
        );
    }
}
