// SPDX-License-Identifier: GPL-2.0
//! Says whether the linear map is mapped as it was before, and whether the kernel counts its
//! leaves rightly: the `DirectMap` lines of /proc/meminfo.

use crate::dump::Dump;
use crate::error::{Error, Problem};
use crate::geometry::{Granularity, PageSize};
use crate::input::Source;
use crate::layout::{self, Align, Table};
use crate::summary::{Counters, Summary};

/// The region that this is about.
const REGION: &str = "linear";

/// How the linear map is mapped.
fn linear(dump: &Dump) -> Result<Counters, Error> {
    dump.require_region(REGION)?;
    let regions = Summary::of(dump).regions;
    let linear = regions.into_iter().find(|region| region.name == REGION);
    Ok(linear.map(|region| region.counters).unwrap_or_default())
}

/// Compares granularity and L3 tables of the linear map; returns a table, and whether they are
/// equal.
pub fn compare(before: &Dump, after: &Dump) -> Result<(String, bool), Error> {
    let (before, after) = (linear(before)?, linear(after)?);
    let mut table = Table::new([
        ("linear map", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
    ]);
    for granularity in Granularity::ALL {
        let bytes =
            |counters: &Counters| layout::bytes(counters.granularity.get(granularity).bytes);
        table.row([granularity.to_string(), bytes(&before), bytes(&after)]);
    }
    table.row([
        "L3 tables".to_string(),
        before.l3_tables.to_string(),
        after.l3_tables.to_string(),
    ]);
    let equal = before.granularity == after.granularity && before.l3_tables == after.l3_tables;
    Ok((table.render(), equal))
}

/// How much more than a few user processes page tables may take that no entry is seen to point to.
const SLACK: u64 = 128 << 10;

/// Compares what page tables take, by two copies of /proc/meminfo, with the L3 tables of two dumps
/// of the same moments; returns a line, and whether no tables were lost meanwhile.
///
/// vmalloc keeps the tables of areas that are gone; they are in the dump. Tables of user processes
/// are in /proc/meminfo alone.
pub fn check_tables(
    (dump_before, before): (&Dump, &Source),
    (dump_after, after): (&Dump, &Source),
) -> Result<(String, bool), Error> {
    let seen = |dump: &Dump| -> u64 {
        let tables = |region: crate::summary::RegionSummary| region.counters.l3_tables;
        let regions = Summary::of(dump).regions.into_iter();
        regions.map(tables).sum::<u64>() * dump.page_size.bytes()
    };
    let taken = layout::change(page_tables(before)?, page_tables(after)?);
    let seen = layout::change(seen(dump_before), seen(dump_after));
    let text = format!(
        "page tables take {} more, L3 tables that the kernel uses {}\n",
        layout::signed_bytes(taken),
        layout::signed_bytes(seen)
    );
    Ok((text, taken - seen <= SLACK as i64))
}

/// What page tables take, in bytes.
fn page_tables(meminfo: &Source) -> Result<u64, Error> {
    for (line, text) in meminfo.lines()? {
        let Some(value) = text.strip_prefix("PageTables:") else {
            continue;
        };
        let kib = value.strip_suffix("kB").map(str::trim);
        let Some(kib) = kib.and_then(|kib| kib.parse::<u64>().ok()) else {
            let expected = "PageTables in kB";
            let found = text.to_string();
            return Err(meminfo.error(line, Problem::Syntax { expected, found }));
        };
        return Ok(kib << 10);
    }
    let (expected, found) = ("a PageTables line", "none".to_string());
    Err(meminfo.error(0, Problem::Syntax { expected, found }))
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

/// Compares a copy of /proc/meminfo with a dump; returns what differs, a line each.
pub fn check_meminfo(dump: &Dump, meminfo: &Source) -> Result<Vec<String>, Error> {
    let linear = linear(dump)?;
    let mut differ = Vec::new();
    let mut seen = 0;

    for (line, text) in meminfo.lines()? {
        let Some((label, value)) = text.split_once(':') else {
            continue;
        };
        if !label.starts_with("DirectMap") {
            continue;
        }
        let expected = Granularity::ALL
            .into_iter()
            .find(|&granularity| name(dump.page_size, granularity) == label);
        let counted = value
            .strip_suffix("kB")
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        let (Some(granularity), Some(kib)) = (expected, counted) else {
            return Err(meminfo.error(
                line,
                Problem::Syntax {
                    expected: "a DirectMap line for a size of leaves, in kB",
                    found: text.to_string(),
                },
            ));
        };
        seen += 1;
        let bytes = linear.granularity.get(granularity).bytes;
        if bytes != kib << 10 {
            differ.push(format!(
                "{label}: {kib} kB in {}, {} kB in {}",
                meminfo.name(),
                bytes >> 10,
                dump.file
            ));
        }
    }
    if seen == 0 {
        differ.push(format!("{}: there is no DirectMap line", meminfo.name()));
    }
    Ok(differ)
}

#[cfg(test)]
mod tests {
    use super::*;

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
