// SPDX-License-Identifier: GPL-2.0
//! Checks the linear aliases of what the ROX cache holds: read-only in every dump, and, if that
//! is asked for, mapped by blocks.
//!
//! A dump says which addresses are writable, not which memory is cached. A list of aliases that
//! was made just before says that, with one line `0xSTART-0xEND 0xMAPPING PERMISSION` for each
//! contiguous part: the addresses in the linear map, that in the cache, and what the maker of
//! the list saw. The dump decides here; the last word of a line is not looked at.

use std::fmt;
use std::path::Path;

use crate::dump::{parse_range, syntax, Dump, Permission};
use crate::error::{Error, Problem};
use crate::granule::{Granularity, PageSize, VaRange, WindowCounter};
use crate::input::Source;
use crate::layout::{self, Align, Table};
use crate::text::parse_pointer;

/// Parses a list of aliases, and puts it into address order.
pub fn parse(source: &Source) -> Result<Vec<VaRange>, Error> {
    let mut aliases = Vec::new();
    for (line, text) in source.lines()? {
        aliases.push(parse_alias(text).map_err(|problem| source.error(line, problem))?);
    }
    aliases.sort_by_key(|alias| alias.start());
    Ok(aliases)
}

/// Parses `0xSTART-0xEND 0xMAPPING PERMISSION`.
fn parse_alias(text: &str) -> Result<VaRange, Problem> {
    let wanted = || syntax("`0xSTART-0xEND 0xMAPPING PERMISSION`", text);
    let mut words = text.split_ascii_whitespace();
    let (range, mapping) = words.next().zip(words.next()).ok_or_else(wanted)?;
    if words.count() != 1 {
        return Err(wanted());
    }
    parse_pointer(mapping)?;
    let (start, end) = range.split_once('-').ok_or_else(wanted)?;
    parse_range(parse_pointer(start)?, parse_pointer(end)?)
}

/// How one dump maps the aliases of cached memory.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The name of the dump.
    pub file: String,
    /// Bytes of cached memory.
    pub bytes: u64,
    /// Bytes that each granularity maps, in the order of [`Granularity::ALL`].
    pub granularity: [u64; 5],
    /// Last-level tables that map a part of it.
    pub l3_tables: u64,
    /// What is not read-only.
    pub findings: Vec<Finding>,
}

/// An alias of cached memory that is not read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The addresses.
    pub range: VaRange,
    /// What it is instead; nothing when the linear map lacks a part of it.
    pub permission: Option<Permission>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = layout::bytes(self.range.bytes());
        write!(f, "alias of cached memory: {} ({size}) is ", self.range)?;
        match self.permission {
            Some(permission) => write!(f, "{permission}"),
            None => write!(f, "not mapped as a whole"),
        }
    }
}

impl Sample {
    /// Reads the files `dump` and `aliases` of a directory.
    pub fn read(dir: &Path, page_size: Option<PageSize>) -> Result<Self, Error> {
        let dump = Dump::parse(&Source::read(&dir.join("dump"))?, page_size)?;
        Self::of(&dump, &parse(&Source::read(&dir.join("aliases"))?)?)
    }

    /// Looks `aliases`, which are in address order, up in the linear map of a dump.
    pub fn of(dump: &Dump, aliases: &[VaRange]) -> Result<Self, Error> {
        let linear = dump.require_region("linear")?;
        let mut sample = Self {
            file: dump.file.clone(),
            bytes: aliases.iter().map(|alias| alias.bytes()).sum(),
            granularity: [0; 5],
            l3_tables: 0,
            findings: Vec::new(),
        };
        let mut tables = WindowCounter::new(dump.page_size.table_bytes());
        for alias in aliases {
            let mut mapped = 0;
            for (leaf, granularity, attributes) in linear.leaves() {
                let Some(range) = leaf.intersection(*alias) else {
                    continue;
                };
                mapped += range.bytes();
                for (bytes, of) in sample.granularity.iter_mut().zip(Granularity::ALL) {
                    *bytes += if of == granularity { range.bytes() } else { 0 };
                }
                if granularity <= Granularity::ContPte {
                    tables.touch(range);
                }
                let permission = attributes.permission();
                if permission != Permission::Ro {
                    let permission = Some(permission);
                    sample.findings.push(Finding { range, permission });
                }
            }
            if mapped != alias.bytes() {
                let (range, permission) = (*alias, None);
                sample.findings.push(Finding { range, permission });
            }
        }
        sample.l3_tables = tables.count();
        Ok(sample)
    }
}

/// The samples as text: a line for each, and what is wrong.
pub fn to_text(samples: &[Sample]) -> String {
    let right = |head: String| (head, Align::Right);
    let mut table = Table::new(
        [("dump".to_owned(), Align::Left), right("cached".to_owned())]
            .into_iter()
            .chain(Granularity::ALL.map(|g| right(g.to_string())))
            .chain([right("L3 tables".to_owned())]),
    );
    let mut findings = String::new();
    for sample in samples {
        let mut cells = vec![sample.file.clone(), layout::bytes(sample.bytes)];
        cells.extend(sample.granularity.map(|bytes| match bytes {
            0 => "-".to_owned(),
            bytes => layout::bytes(bytes),
        }));
        cells.push(sample.l3_tables.to_string());
        table.row(cells);
        for finding in &sample.findings {
            findings.push_str(&format!("{}: {finding}\n", sample.file));
        }
    }
    let l3_tables = samples.iter().map(|sample| sample.l3_tables).max();
    format!(
        "{}{findings}{}, at most {} of cached memory in any\n",
        table.render(),
        layout::counted(samples.len() as u64, "sample", "samples"),
        layout::counted(l3_tables.unwrap_or(0), "L3 table", "L3 tables"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR: &str = "---[ Linear Mapping start ]---\n\
        0xffff000000000000-0xffff000000200000           2M PMD       ro NX SHD AF BLK UXN\n\
        0xffff000000200000-0xffff000000400000           2M PMD       RW NX SHD AF BLK UXN\n\
        0xffff000000400000-0xffff000000401000           4K PTE       ro NX SHD AF UXN\n\
        0xffff000000401000-0xffff000000600000        2044K PTE     F ro NX SHD AF UXN\n\
        0xffff000000600000-0x0000000000000000  268435450M PMD\n";

    fn sample(aliases: &str) -> Result<Sample, Error> {
        let dump = Source::from_bytes("dump", LINEAR.into())?;
        let aliases = parse(&Source::from_bytes("aliases", aliases.into())?)?;
        Sample::of(&Dump::parse(&dump, Some(PageSize::Size4K))?, &aliases)
    }

    #[test]
    fn a_read_only_block_is_well() {
        let sample = sample(
            "0xffff000000001000-0xffff000000200000 0xffff800000001000 ro\n\
             0xffff000000000000-0xffff000000001000 0xffff800000000000 ro\n",
        );
        let sample = sample.expect("a sample");
        assert_eq!(sample.bytes, 2 << 20);
        assert_eq!(sample.granularity, [0, 0, 2 << 20, 0, 0]);
        assert_eq!((sample.l3_tables, sample.findings.len()), (0, 0));
    }

    #[test]
    fn a_writable_alias_is_found() {
        let found = sample("0xffff0000001ff000-0xffff000000201000 0xffff800000000000 ro\n");
        let found = found.expect("a sample").findings;
        assert_eq!(found.len(), 1);
        let message = found[0].to_string();
        let range = "0xffff000000200000-0xffff000000201000 (4 KiB) is RW";
        assert!(message.ends_with(range), "{message}");
    }

    #[test]
    fn invalid_and_missing_aliases_are_found() {
        let found = sample("0xffff000000400000-0xffff000000601000 0xffff800000000000 ro\n");
        let sample = found.expect("a sample");
        assert_eq!(sample.l3_tables, 1);
        let permissions: Vec<_> = sample.findings.iter().map(|f| f.permission).collect();
        assert_eq!(permissions, [Some(Permission::Invalid), None]);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "0xffff000000000000-0xffff000000001000 0xffff800000000000\n",
            "0xffff000000000000-0xffff000000001000 0xffff800000000000 ro x\n",
            "0xffff000000001000-0xffff000000001000 0xffff800000000000 ro\n",
            "0x0-0x0 0xffff800000000000 unmapped\n",
        ] {
            assert!(sample(line).is_err(), "{line}");
        }
    }
}
