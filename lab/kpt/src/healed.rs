// SPDX-License-Identifier: GPL-2.0
//! Says whether the linear map is mapped by leaves of the same sizes as before.

use crate::dump::Dump;
use crate::error::Error;
use crate::geometry::Granularity;
use crate::layout::{self, Align, Table};
use crate::summary::Counters;

/// Compares granularity and L3 tables of the linear map; returns a table, and whether they are
/// equal.
pub fn compare(before: &Dump, after: &Dump) -> Result<(String, bool), Error> {
    let (before, after) = (
        Counters::of_linear_map(before)?,
        Counters::of_linear_map(after)?,
    );
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
