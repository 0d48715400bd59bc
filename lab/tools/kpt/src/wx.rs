// SPDX-License-Identifier: GPL-2.0
//! Finds memory that is writable and executable. Like the kernel's own check, it looks at the
//! two attributes alone: an entry that is not valid counts, since making it valid takes no
//! more than setting one bit.

use std::fmt;

use crate::dump::Dump;
use crate::granule::{Granularity, VaRange};
use crate::layout;

/// A range that is writable and executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the dump.
    pub file: String,
    /// The region.
    pub region: String,
    /// The addresses.
    pub range: VaRange,
    /// How they are mapped.
    pub granularity: Granularity,
    /// Whether the entries are valid.
    pub valid: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            region,
            range,
            granularity,
            valid,
        } = self;
        let size = layout::bytes(range.bytes());
        let validity = if *valid { "" } else { ", not valid" };
        write!(
            f,
            "{file}: W+X in {region}: {range} ({size}, {granularity}{validity})"
        )
    }
}

/// The ranges of a dump that are writable and executable.
pub fn find(dump: &Dump) -> Vec<Finding> {
    let in_region = |region| move |leaf| (region, leaf);
    dump.regions
        .iter()
        .flat_map(|region| region.leaves().map(in_region(region)))
        .filter(|(_, (_, _, attributes))| attributes.writable && attributes.executable)
        .map(|(region, (range, granularity, attributes))| Finding {
            file: dump.file.clone(),
            region: region.name.clone(),
            range,
            granularity,
            valid: attributes.valid,
        })
        .collect()
}
