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
