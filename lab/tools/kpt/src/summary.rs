// SPDX-License-Identifier: GPL-2.0
//! Counts what a region consists of: bytes and entries of each granularity, L3 tables, bytes
//! of each permission class. An entry is one TLB entry's worth: a leaf, or a whole contiguous
//! run.
//!
//! The JSON of `kpt show` is a [`Summary`]; its field names are stable.

use serde::Serialize;

use crate::dump::{Dump, Permission, Region};
use crate::error::Error;
use crate::granule::{Granularity, Level, PageSize, Va, WindowCounter};
use crate::input;
use crate::layout::{self, Align, Table};

/// The regions that a summary always has, also when they map nothing.
const ALWAYS: [&str; 3] = ["linear", "modules", "vmalloc"];

/// A dump, counted.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The name of the file.
    pub file: String,
    /// `4k`, `16k` or `64k`.
    pub page_size: PageSize,
    /// The regions that map something, in address order, and always `linear`, `modules` and
    /// `vmalloc` when the dump has their markers.
    pub regions: Vec<RegionSummary>,
}

/// A region, counted.
#[derive(Clone, Debug, Serialize)]
pub struct RegionSummary {
    /// The short name.
    pub name: String,
    /// The text of the kernel's marker.
    pub title: String,
    /// The first address, as `0x` and 16 digits; null when no line follows the marker.
    pub start: Option<Va>,
    /// The first address after the region, in the same form; 0 is the top.
    pub end: Option<Va>,
    /// The numbers.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The numbers of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Bytes that a leaf covers.
    pub mapped_bytes: u64,
    /// Bytes and entries of each granularity.
    pub granularity: ByGranularity,
    /// Last-level tables: aligned spans of one PMD entry with any PTE-level entry, be it empty.
    pub l3_tables: u64,
    /// Bytes of each permission class.
    pub permission_bytes: ByPermission,
    /// Lines with the contiguous hint that are not whole runs. The architecture wants equal
    /// attributes throughout a run, so anything but 0 is a bug of the kernel.
    pub cut_runs: u64,
}

/// One [`Usage`] for each granularity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the granularities")]
pub struct ByGranularity {
    pub pte: Usage,
    pub cont_pte: Usage,
    pub pmd: Usage,
    pub cont_pmd: Usage,
    pub pud: Usage,
}

impl ByGranularity {
    /// The usage of one granularity.
    pub fn get(&self, granularity: Granularity) -> Usage {
        match granularity {
            Granularity::Pte => self.pte,
            Granularity::ContPte => self.cont_pte,
            Granularity::Pmd => self.pmd,
            Granularity::ContPmd => self.cont_pmd,
            Granularity::Pud => self.pud,
        }
    }

    fn get_mut(&mut self, granularity: Granularity) -> &mut Usage {
        match granularity {
            Granularity::Pte => &mut self.pte,
            Granularity::ContPte => &mut self.cont_pte,
            Granularity::Pmd => &mut self.pmd,
            Granularity::ContPmd => &mut self.cont_pmd,
            Granularity::Pud => &mut self.pud,
        }
    }
}

/// How much is mapped by leaves of one granularity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Leaves, or contiguous runs.
    pub entries: u64,
}

/// Bytes of each permission class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByPermission {
    /// Writable, not executable.
    pub rw: u64,
    /// Neither writable nor executable.
    pub ro: u64,
    /// Executable, not writable.
    pub rox: u64,
    /// Writable and executable.
    pub wx: u64,
    /// Not valid.
    pub invalid: u64,
}

impl ByPermission {
    /// The bytes of one permission class.
    pub fn get(&self, permission: Permission) -> u64 {
        match permission {
            Permission::Rw => self.rw,
            Permission::Ro => self.ro,
            Permission::Rox => self.rox,
            Permission::Wx => self.wx,
            Permission::Invalid => self.invalid,
        }
    }

    fn get_mut(&mut self, permission: Permission) -> &mut u64 {
        match permission {
            Permission::Rw => &mut self.rw,
            Permission::Ro => &mut self.ro,
            Permission::Rox => &mut self.rox,
            Permission::Wx => &mut self.wx,
            Permission::Invalid => &mut self.invalid,
        }
    }
}

impl Counters {
    /// Counts the linear map of a dump that has one.
    pub fn of_linear_map(dump: &Dump) -> Result<Self, Error> {
        let region = dump.require_region("linear")?;
        Ok(Self::of(region, dump.page_size))
    }

    /// Counts a region.
    pub fn of(region: &Region, page_size: PageSize) -> Self {
        let mut counters = Self::default();
        for granularity in Granularity::ALL {
            let leaf_bytes = page_size.leaf_bytes(granularity);
            let mut entries = WindowCounter::new(leaf_bytes);
            let usage = counters.granularity.get_mut(granularity);
            for (range, _, _) in region.leaves().filter(|(_, g, _)| *g == granularity) {
                entries.touch(range);
                usage.bytes += range.bytes();
                // Other leaves are whole: the parser has seen to that.
                counters.cut_runs += u64::from(!range.is_aligned(leaf_bytes));
            }
            usage.entries = entries.count();
            counters.mapped_bytes += usage.bytes;
        }
        for (range, _, attributes) in region.leaves() {
            *counters.permission_bytes.get_mut(attributes.permission()) += range.bytes();
        }
        let mut tables = WindowCounter::new(page_size.table_bytes());
        let last_level = region.stretches.iter().filter(|e| e.level == Level::Pte);
        last_level.for_each(|stretch| tables.touch(stretch.range));
        counters.l3_tables = tables.count();
        counters
    }

    /// Every number with a name of its own, in the order of the tables.
    pub fn named(&self) -> [(&'static str, u64); 18] {
        let g = &self.granularity;
        let p = &self.permission_bytes;
        [
            ("mapped_bytes", self.mapped_bytes),
            ("pte_bytes", g.pte.bytes),
            ("pte_entries", g.pte.entries),
            ("cont_pte_bytes", g.cont_pte.bytes),
            ("cont_pte_entries", g.cont_pte.entries),
            ("pmd_bytes", g.pmd.bytes),
            ("pmd_entries", g.pmd.entries),
            ("cont_pmd_bytes", g.cont_pmd.bytes),
            ("cont_pmd_entries", g.cont_pmd.entries),
            ("pud_bytes", g.pud.bytes),
            ("pud_entries", g.pud.entries),
            ("l3_tables", self.l3_tables),
            ("rw_bytes", p.rw),
            ("ro_bytes", p.ro),
            ("rox_bytes", p.rox),
            ("wx_bytes", p.wx),
            ("invalid_bytes", p.invalid),
            ("cut_runs", self.cut_runs),
        ]
    }
}

impl Summary {
    /// Counts a dump.
    pub fn of(dump: &Dump) -> Self {
        let shown =
            |region: &&Region| !region.is_vacant() || ALWAYS.contains(&region.name.as_str());
        let regions = dump.regions.iter().filter(shown).map(|region| {
            let span = region.span();
            RegionSummary {
                name: region.name.clone(),
                title: region.title.clone(),
                start: span.map(|span| span.start()),
                end: span.map(|span| span.end()),
                counters: Counters::of(region, dump.page_size),
            }
        });
        Self {
            file: dump.file.clone(),
            page_size: dump.page_size,
            regions: regions.collect(),
        }
    }

    /// The summary as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        input::to_json(self)
    }

    /// The summary as text: one table for granularities, one for permissions.
    pub fn to_text(&self) -> String {
        let right = |head| (head, Align::Right);
        let size_of = |g| format!("{g} {}", layout::bytes(self.page_size.leaf_bytes(g)));
        let name = || ("region".to_owned(), Align::Left);
        let mut leaves = Table::new(
            [name(), right("mapped".to_owned())]
                .into_iter()
                .chain(Granularity::ALL.map(|g| right(size_of(g))))
                .chain([right("L3 tables".to_owned())]),
        );
        let classes = Permission::ALL.map(|p| right(p.to_string()));
        let mut permissions = Table::new([name()].into_iter().chain(classes));

        let mut cut = String::new();
        for region in &self.regions {
            let counters = &region.counters;
            let usage = Granularity::ALL.map(|g| match counters.granularity.get(g) {
                Usage { entries: 0, .. } => "-".to_owned(),
                usage => format!("{} in {}", layout::bytes(usage.bytes), usage.entries),
            });
            let mut cells = vec![region.name.clone(), layout::bytes(counters.mapped_bytes)];
            cells.extend(usage);
            cells.push(counters.l3_tables.to_string());
            leaves.row(cells);

            let bytes = Permission::ALL.map(|p| match counters.permission_bytes.get(p) {
                0 => "-".to_owned(),
                bytes => layout::bytes(bytes),
            });
            permissions.row([region.name.clone()].into_iter().chain(bytes));
            if counters.cut_runs > 0 {
                cut.push_str(&format!(
                    "\nBUG of the kernel: in {}, {} not whole contiguous runs\n",
                    region.name,
                    layout::counted(counters.cut_runs, "line is", "lines are")
                ));
            }
        }
        format!(
            "{}: {} pages\n\nbytes in entries, by granularity\n{}\nbytes, by permission\n{}{cut}",
            self.file,
            self.page_size,
            leaves.render(),
            permissions.render()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Source;

    fn counted(lines: &str) -> RegionSummary {
        let text = format!("---[ Linear Mapping start ]---\n{lines}");
        let source = Source::from_bytes("test", text.into()).expect("text");
        let dump = Dump::parse(&source, None).expect("a dump");
        Summary::of(&dump).regions.remove(0)
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let region = counted(
            "0xffffffffffc00000-0xffffffffffdff000        2044K PTE\n\
             0xffffffffffdff000-0xffffffffffe00000           4K PTE       RW NX\n\
             0xffffffffffe00000-0x0000000000000000           2M PTE\n",
        );
        assert_eq!(region.counters.l3_tables, 2);
        assert_eq!(region.counters.mapped_bytes, 4096);
        assert_eq!(region.end, Some(Va(0)));
    }

    #[test]
    fn a_cut_run_is_one_run_and_is_reported() {
        let region = counted(
            "0xffffffffffe00000-0xffffffffffe04000          16K PTE       RW NX CON\n\
             0xffffffffffe04000-0xffffffffffe10000          48K PTE       ro NX CON\n\
             0xffffffffffe10000-0x0000000000000000        1984K PTE\n",
        );
        assert_eq!(region.counters.cut_runs, 2);
        assert_eq!(region.counters.granularity.cont_pte.entries, 1);
        assert_eq!(region.counters.permission_bytes.ro, 48 << 10);
    }
}
