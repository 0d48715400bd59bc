// SPDX-License-Identifier: GPL-2.0
//! Compares two dumps region by region: every counter, and every address whose granularity or
//! permission class differs. Memory type and other attributes are not compared.
//!
//! The JSON of `kpt diff` is a [`Diff`]; its field names are stable.

use std::iter::Peekable;

use serde::Serialize;

use crate::dump::{Attributes, Dump, Permission, Region};
use crate::error::Error;
use crate::granule::{Granularity, PageSize, Va, VaRange};
use crate::input;
use crate::layout::{self, Align, Table};
use crate::summary::Counters;

/// What changed between two dumps.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// The name of the first file.
    pub before: String,
    /// The name of the second file.
    pub after: String,
    /// The page size of the first.
    pub before_page_size: PageSize,
    /// The page size of the second.
    pub after_page_size: PageSize,
    /// Whether nothing that is compared differs.
    pub equal: bool,
    /// The regions that either dump has, those of the first in their order.
    pub regions: Vec<RegionDiff>,
}

/// What changed in a region.
#[derive(Clone, Debug, Serialize)]
pub struct RegionDiff {
    /// The short name of the region.
    pub name: String,
    /// Every counter, changed or not.
    pub counters: Vec<CounterDiff>,
    /// The address ranges that changed, in address order.
    pub changes: Vec<Change>,
}

/// A counter in both dumps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterDiff {
    /// The name of the counter.
    pub name: &'static str,
    /// Its value in the first dump.
    pub before: u64,
    /// Its value in the second dump.
    pub after: u64,
    /// The second less the first.
    pub delta: i64,
}

/// An address range that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The first address, as `0x` and 16 digits.
    pub start: Va,
    /// The first address after the range, in the same form; 0 is the top.
    pub end: Va,
    /// The length of the range.
    pub bytes: u64,
    /// How the first dump maps it; null when it does not.
    pub before: Option<Mapping>,
    /// How the second dump maps it; null when it does not.
    pub after: Option<Mapping>,
}

/// How an address is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// By which kind of leaf.
    pub granularity: Granularity,
    /// With which permissions.
    pub permission: Permission,
}

impl Diff {
    /// Compares two dumps.
    pub fn between(before: &Dump, after: &Dump) -> Self {
        let mut names: Vec<&str> = before.regions.iter().map(|r| r.name.as_str()).collect();
        for region in &after.regions {
            if !names.contains(&region.name.as_str()) {
                names.push(&region.name);
            }
        }
        let regions: Vec<RegionDiff> = names
            .into_iter()
            .map(|name| RegionDiff::between(name, before, after))
            .collect();
        Self {
            before: before.file.clone(),
            after: after.file.clone(),
            before_page_size: before.page_size,
            after_page_size: after.page_size,
            equal: before.page_size == after.page_size && regions.iter().all(RegionDiff::is_equal),
            regions,
        }
    }

    /// The comparison as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        input::to_json(self)
    }

    /// The comparison as text: what differs, with at most `limit` address ranges a region.
    pub fn to_text(&self, limit: usize) -> String {
        let mut text = format!(
            "before: {}, {} pages\nafter:  {}, {} pages\n",
            self.before, self.before_page_size, self.after, self.after_page_size
        );
        if self.equal {
            text.push_str("\nno difference\n");
        }
        for region in self.regions.iter().filter(|region| !region.is_equal()) {
            text.push_str(&format!("\n{}\n", region.name));
            text.push_str(&region.counter_table());
            text.push_str(&region.change_table(limit));
        }
        text
    }
}

impl RegionDiff {
    fn between(name: &str, before: &Dump, after: &Dump) -> Self {
        let counters = |dump: &Dump| {
            let region = dump.region(name);
            region.map_or_else(Counters::default, |r| Counters::of(r, dump.page_size))
        };
        let (old, new) = (counters(before), counters(after));
        let pairs = old.named().into_iter().zip(new.named());
        Self {
            name: name.to_owned(),
            counters: pairs
                .map(|((name, before), (_, after))| CounterDiff {
                    name,
                    before,
                    after,
                    delta: layout::change(before, after),
                })
                .collect(),
            changes: changes(before.region(name), after.region(name)),
        }
    }

    fn is_equal(&self) -> bool {
        self.changes.is_empty() && self.counters.iter().all(|counter| counter.delta == 0)
    }

    fn counter_table(&self) -> String {
        let mut table = Table::new([
            ("counter", Align::Left),
            ("before", Align::Right),
            ("after", Align::Right),
            ("delta", Align::Right),
        ]);
        for counter in self.counters.iter().filter(|counter| counter.delta != 0) {
            let CounterDiff {
                name,
                before,
                after,
                delta,
            } = counter;
            table.row(if name.ends_with("_bytes") {
                [
                    (*name).to_owned(),
                    layout::bytes(*before),
                    layout::bytes(*after),
                    layout::signed_bytes(*delta),
                ]
            } else {
                [
                    (*name).to_owned(),
                    before.to_string(),
                    after.to_string(),
                    format!("{delta:+}"),
                ]
            });
        }
        table.render()
    }

    fn change_table(&self, limit: usize) -> String {
        if self.changes.is_empty() {
            return String::new();
        }
        let shown = |mapping: Option<Mapping>| match mapping {
            None => "unmapped".to_owned(),
            Some(m) => format!("{} {}", m.granularity, m.permission),
        };
        let mut table = Table::new([
            ("range", Align::Left),
            ("size", Align::Right),
            ("before", Align::Left),
            ("after", Align::Left),
        ]);
        for change in self.changes.iter().take(limit) {
            table.row([
                format!("{}-{}", change.start, change.end),
                layout::bytes(change.bytes),
                shown(change.before),
                shown(change.after),
            ]);
        }
        let mut text = table.render();
        let rest = self.changes.iter().skip(limit);
        let (count, bytes) = rest.fold((0u64, 0), |(n, sum), c| (n + 1, sum + c.bytes));
        if count > 0 {
            let bytes = layout::bytes(bytes);
            let ranges = layout::counted(count, "more range", "more ranges");
            text.push_str(&format!("  and {ranges} with {bytes}\n"));
        }
        text
    }
}

type Leaf = (VaRange, Granularity, Attributes);

/// The leaves of a region, given out in pieces of the caller's choice.
struct Cursor<I: Iterator<Item = Leaf>> {
    leaves: Peekable<I>,
}

impl<I: Iterator<Item = Leaf>> Cursor<I> {
    /// The next stretch from `at` on: what maps it, and its last address.
    fn stretch(&mut self, at: Va) -> (Option<Mapping>, Va) {
        while self
            .leaves
            .next_if(|(range, _, _)| range.last() < at)
            .is_some()
        {}
        match self.leaves.peek() {
            None => (None, Va(u64::MAX)),
            Some((range, _, _)) if at < range.start() => (None, Va(range.start().0 - 1)),
            Some((range, granularity, attributes)) => {
                let mapping = Mapping {
                    granularity: *granularity,
                    permission: attributes.permission(),
                };
                (Some(mapping), range.last())
            }
        }
    }
}

/// A cursor at the first leaf of a region.
fn cursor(region: Option<&Region>) -> Cursor<impl Iterator<Item = Leaf> + '_> {
    Cursor {
        leaves: region.into_iter().flat_map(Region::leaves).peekable(),
    }
}

/// The ranges that two versions of a region map differently, adjacent ones as one.
fn changes(before: Option<&Region>, after: Option<&Region>) -> Vec<Change> {
    let (mut old, mut new) = (cursor(before), cursor(after));
    let spans = [before, after]
        .into_iter()
        .flatten()
        .filter_map(Region::span);
    let Some(whole) = spans.reduce(VaRange::hull) else {
        return Vec::new();
    };

    let mut changes: Vec<Change> = Vec::new();
    let mut rest = Some(whole);
    while let Some(range) = rest {
        let (before, old_last) = old.stretch(range.start());
        let (after, new_last) = new.stretch(range.start());
        let last = range.last().min(old_last).min(new_last);
        if let Some(piece) = VaRange::new(range.start(), last).filter(|_| before != after) {
            match changes.last_mut() {
                Some(newest)
                    if newest.end == piece.start()
                        && (newest.before, newest.after) == (before, after) =>
                {
                    newest.end = piece.end();
                    newest.bytes += piece.bytes();
                }
                _ => changes.push(Change {
                    start: piece.start(),
                    end: piece.end(),
                    bytes: piece.bytes(),
                    before,
                    after,
                }),
            }
        }
        rest = VaRange::new(Va(last.0.wrapping_add(1)), range.last());
    }
    changes
}
