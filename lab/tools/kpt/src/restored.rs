// SPDX-License-Identifier: GPL-2.0
//! Says whether the linear map is mapped by leaves of the same sizes as before, or at least by
//! pages nowhere else.

use crate::dump::Dump;
use crate::error::Error;
use crate::granule::Granularity;
use crate::layout::{self, Align, Table};
use crate::summary::Counters;

/// What has to be as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The bytes that leaves of each size map, and the number of L3 tables.
    Granularity,
    /// The number of L3 tables, which may have become smaller.
    L3Tables,
}

/// Compares granularity and L3 tables of the linear map; returns a table, and whether what is
/// demanded is so.
pub fn compare(before: &Dump, after: &Dump, demand: Demand) -> Result<(String, bool), Error> {
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
    let well = match demand {
        Demand::Granularity => {
            before.granularity == after.granularity && before.l3_tables == after.l3_tables
        }
        Demand::L3Tables => after.l3_tables <= before.l3_tables,
    };
    Ok((table.render(), well))
}
