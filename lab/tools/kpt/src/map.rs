// SPDX-License-Identifier: GPL-2.0
//! Draws a region as a picture: address order from left to right and from top to bottom, the
//! colour of a stretch is its granularity, its hatching the permission class. A bar is one
//! leaf or contiguous run where those are large, else a cell of 2 MiB; so one glance shows
//! where a region is split and how large the rest of its leaves are.
//!
//! A row is a power of two of bytes, chosen so that few rows are needed. Rows that map nothing
//! are left out, with a label that says how much. A row is made of narrow slots; a slot with
//! several kinds of memory shows the smallest granularity and the permission class that
//! matters most, so that a single page can't hide.

use std::collections::BTreeMap;

use svg::node::element::{Definitions, Group, Line, Pattern, Rectangle, Text, Title};
use svg::Document;

use crate::dump::{Dump, Permission, Region};
use crate::error::{Error, Place, Problem};
use crate::granule::{Granularity, Level, PageSize, Va, VaRange, WindowCounter, CHUNK};
use crate::layout;
use crate::summary::Counters;

const MARGIN: u32 = 24;
const ADDRESS_WIDTH: u32 = 170;
const BAR_WIDTH: u32 = SLOTS * SLOT_WIDTH;
const TABLES_WIDTH: u32 = 110;
const WIDTH: u32 = MARGIN + ADDRESS_WIDTH + BAR_WIDTH + TABLES_WIDTH + MARGIN;
const HEADER_HEIGHT: u32 = 186;
const LEGEND_STEP: usize = 226;
const ROW_HEIGHT: u32 = 20;
const ROW_STEP: u32 = 25;
const GAP_STEP: u32 = 26;

/// Slots of a row, and the width of one.
const SLOTS: u32 = 512;
const SLOT_WIDTH: u32 = 2;

/// Rows are doubled until no more than this are needed.
const MAX_ROWS: u64 = 32;

/// The shortest row: two cells.
const MIN_ROW: u64 = 2 * CHUNK;

/// Cells in a row at most; where 2 MiB would give more, cells are larger.
const MAX_CELLS: u64 = 64;

const FONT: &str = "'DejaVu Sans', 'Liberation Sans', Arial, sans-serif";
const MONO: &str = "'DejaVu Sans Mono', 'Liberation Mono', monospace";
const INK: &str = "#1f2328";
const FAINT_INK: &str = "#656d76";
const EMPTY: &str = "#eef0f2";

/// What a slot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shade {
    granularity: Granularity,
    permission: Permission,
}

/// A row of the picture.
struct Row {
    slots: Vec<Option<Shade>>,
    tables: u64,
}

/// How addresses become rows, slots and cells.
#[derive(Clone, Copy)]
struct Scale {
    page_size: PageSize,
    row: u64,
    cell: u64,
}

impl Scale {
    fn of(region: &Region, page_size: PageSize) -> Self {
        let rows = |row: u64| {
            let mut rows = WindowCounter::new(row);
            region.leaves().for_each(|(range, _, _)| rows.touch(range));
            rows.count()
        };
        let mut row = MIN_ROW;
        while rows(row) > MAX_ROWS {
            row *= 2;
        }
        Self {
            page_size,
            row,
            cell: CHUNK.max(row / MAX_CELLS),
        }
    }

    fn slot(self) -> u64 {
        self.row / u64::from(SLOTS)
    }

    /// The number of the bar that a slot with this shade is part of.
    fn bar(self, slot: u64, shade: Option<Shade>) -> u64 {
        let leaf = shade.map_or(0, |shade| self.page_size.leaf_bytes(shade.granularity));
        slot * self.slot() / self.cell.max(leaf)
    }
}

/// Draws the region of that name.
pub fn draw(dump: &Dump, name: &str) -> Result<String, Error> {
    let region = dump.require_region(name)?;
    if region.leaves().next().is_none() {
        let problem = Problem::NothingMapped(name.to_owned());
        return Err(Place::file(&dump.file).error(problem));
    }
    let scale = Scale::of(region, dump.page_size);
    let mut picture = Group::new().add(header(dump, region, scale));
    let mut top = HEADER_HEIGHT;
    let mut newest: Option<u64> = None;
    for (index, row) in rows(region, scale) {
        let skipped = newest.map_or(0, |newest| index - newest - 1);
        if skipped > 0 {
            picture = picture.add(gap(top, skipped * scale.row));
            top += GAP_STEP;
        }
        picture = picture.add(bars(top, index, &row, scale));
        top += ROW_STEP;
        newest = Some(index);
    }
    let height = top + MARGIN;
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("font-family", FONT)
        .add(Title::new(title(dump, region)))
        .add(hatches())
        .add(rectangle(0, 0, WIDTH, height, "#ffffff"))
        .add(picture);
    Ok(format!("{document}\n"))
}

/// The rows that map something, by their number: their address over the size of a row.
fn rows(region: &Region, scale: Scale) -> BTreeMap<u64, Row> {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    for (range, granularity, attributes) in region.leaves() {
        let shade = Shade {
            granularity,
            permission: attributes.permission(),
        };
        let slots = range.start().0 / scale.slot()..=range.last().0 / scale.slot();
        for index in slots.start() / u64::from(SLOTS)..=slots.end() / u64::from(SLOTS) {
            let row = rows.entry(index).or_insert_with(|| Row {
                slots: vec![None; SLOTS as usize],
                tables: tables(region, index, scale),
            });
            for (slot, shown) in (index * u64::from(SLOTS)..).zip(&mut row.slots) {
                if slots.contains(&slot) {
                    *shown = Some(shown.map_or(shade, |shown| Shade {
                        granularity: shown.granularity.min(shade.granularity),
                        permission: shown.permission.max(shade.permission),
                    }));
                }
            }
        }
    }
    rows
}

/// The number of L3 tables that serve a row.
fn tables(region: &Region, index: u64, scale: Scale) -> u64 {
    let first = index * scale.row;
    let mut tables = WindowCounter::new(scale.page_size.table_bytes());
    if let Some(row) = VaRange::new(Va(first), Va(first + (scale.row - 1))) {
        let stretches = region.stretches.iter().filter(|e| e.level == Level::Pte);
        let parts = stretches.filter_map(|stretch| stretch.range.intersection(row));
        parts.for_each(|part| tables.touch(part));
    }
    tables.count()
}

fn title(dump: &Dump, region: &Region) -> String {
    format!("{}: {}", printable(&dump.file), region.name)
}

/// The title, the scale and the legend.
fn header(dump: &Dump, region: &Region, scale: Scale) -> Group {
    let counters = Counters::of(region, dump.page_size);
    let span = region.span().map(|span| span.to_string());
    let subtitle = format!(
        "{}, {} pages: {} mapped, {}. A row is {}, a cell {}; large leaves and runs are one bar.",
        span.unwrap_or_default(),
        dump.page_size,
        layout::bytes(counters.mapped_bytes),
        layout::counted(counters.l3_tables, "L3 table", "L3 tables"),
        layout::bytes(scale.row),
        layout::bytes(scale.cell),
    );
    let group = Group::new()
        .add(label(MARGIN, 40, 20, &title(dump, region)).set("font-weight", "bold"))
        .add(label(MARGIN, 62, 12, &subtitle).set("fill", FAINT_INK));
    let group = legend_row(
        group,
        82,
        "granularity",
        Granularity::ALL.map(|granularity| {
            let usage = counters.granularity.get(granularity);
            let leaf = layout::bytes(dump.page_size.leaf_bytes(granularity));
            Entry {
                fill: colour(granularity),
                hatch: None,
                name: format!("{granularity} ({leaf})"),
                amount: match usage.entries {
                    0 => "none".to_owned(),
                    entries => format!(
                        "{} in {}",
                        layout::bytes(usage.bytes),
                        layout::counted(entries, "entry", "entries")
                    ),
                },
            }
        }),
    );
    legend_row(
        group,
        128,
        "permission",
        Permission::ALL.map(|permission| Entry {
            fill: "#c9ced6",
            hatch: hatch(permission),
            name: permission.to_string(),
            amount: match counters.permission_bytes.get(permission) {
                0 => "none".to_owned(),
                bytes => layout::bytes(bytes),
            },
        }),
    )
}

/// An entry of the legend.
struct Entry {
    fill: &'static str,
    hatch: Option<&'static str>,
    name: String,
    amount: String,
}

fn legend_row(group: Group, top: u32, heading: &str, entries: [Entry; 5]) -> Group {
    let heading = label(MARGIN, top + 20, 12, heading).set("fill", FAINT_INK);
    let lefts = (MARGIN + ADDRESS_WIDTH..).step_by(LEGEND_STEP);
    lefts
        .zip(entries)
        .fold(group.add(heading), |group, (left, entry)| {
            group
                .add(swatch(left, top, 34, 32, entry.fill, entry.hatch))
                .add(label(left + 44, top + 13, 13, &entry.name).set("font-weight", "bold"))
                .add(label(left + 44, top + 29, 12, &entry.amount))
        })
}

/// A row: its address, its bars, and its number of L3 tables.
fn bars(top: u32, index: u64, row: &Row, scale: Scale) -> Group {
    let left = MARGIN + ADDRESS_WIDTH;
    let address = Va(index * scale.row).to_string();
    let mut group = Group::new()
        .add(label(MARGIN, top + 15, 13, &address).set("font-family", MONO))
        .add(rectangle(left, top, BAR_WIDTH, ROW_HEIGHT, EMPTY));
    if row.tables > 0 {
        let tables = layout::counted(row.tables, "L3 table", "L3 tables");
        let tables = label(left + BAR_WIDTH + 12, top + 15, 12, &tables);
        group = group.add(tables.set("fill", colour(Granularity::Pte)));
    }
    let numbered = (index * u64::from(SLOTS)..).zip(&row.slots);
    let keyed: Vec<_> = numbered
        .map(|(slot, shade)| (scale.bar(slot, *shade), *shade))
        .collect();
    let mut x = left;
    for bar in keyed.chunk_by(|one, next| one == next) {
        let width = bar.iter().map(|_| SLOT_WIDTH).sum();
        if let Some((_, Some(shade))) = bar.first() {
            // A pixel of the background divides bars, unless that would be half of the bar.
            let drawn = if width > 2 * SLOT_WIDTH {
                width - 1
            } else {
                width
            };
            let (fill, hatch) = (colour(shade.granularity), hatch(shade.permission));
            group = group.add(swatch(x, top, drawn, ROW_HEIGHT, fill, hatch));
        }
        x += width;
    }
    group
}

/// The label in place of rows that map nothing.
fn gap(top: u32, bytes: u64) -> Group {
    let left = MARGIN + ADDRESS_WIDTH;
    let middle = top + 10;
    let text = format!("{} not mapped", layout::bytes(bytes));
    let line = Line::new()
        .set("x1", left)
        .set("x2", left + BAR_WIDTH)
        .set("y1", middle)
        .set("y2", middle)
        .set("stroke", "#b6bcc4")
        .set("stroke-dasharray", "2 5");
    let centre = left + BAR_WIDTH / 2;
    Group::new()
        .add(line)
        .add(rectangle(centre - 90, middle - 9, 180, 18, "#ffffff"))
        .add(
            label(centre, middle + 4, 12, &text)
                .set("text-anchor", "middle")
                .set("fill", FAINT_INK),
        )
}

/// From red for a single page to green for the largest block.
fn colour(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Pte => "#d7301f",
        Granularity::ContPte => "#fc8d59",
        Granularity::Pmd => "#f4cf58",
        Granularity::ContPmd => "#91cf60",
        Granularity::Pud => "#1a9850",
    }
}

/// The hatching of a permission class; plain writable memory has none.
fn hatch(permission: Permission) -> Option<&'static str> {
    match permission {
        Permission::Rw => None,
        Permission::Ro => Some("url(#ro)"),
        Permission::Rox => Some("url(#rox)"),
        Permission::Wx => Some("url(#wx)"),
        Permission::Invalid => Some("url(#invalid)"),
    }
}

fn hatches() -> Definitions {
    let pattern = |id: &str, size: u32, angle: u32| {
        Pattern::new()
            .set("id", id)
            .set("patternUnits", "userSpaceOnUse")
            .set("width", size)
            .set("height", size)
            .set("patternTransform", format!("rotate({angle})"))
    };
    let ink = |rectangle: Rectangle, opacity: f64| rectangle.set("fill-opacity", opacity);
    Definitions::new()
        .add(pattern("ro", 6, 45).add(ink(rectangle(0, 0, 1, 6, "#ffffff"), 0.85)))
        .add(
            pattern("rox", 6, 45)
                .add(ink(rectangle(0, 0, 2, 6, "#10243e"), 0.8))
                .add(ink(rectangle(0, 0, 6, 2, "#10243e"), 0.8)),
        )
        .add(
            pattern("wx", 8, 0)
                .add(rectangle(0, 0, 8, 8, "#c51bff"))
                .add(rectangle(0, 0, 4, 4, "#000000"))
                .add(rectangle(4, 4, 4, 4, "#000000")),
        )
        .add(pattern("invalid", 4, 0).add(ink(rectangle(0, 0, 4, 2, "#ffffff"), 0.9)))
}

/// A rectangle, hatched or not.
fn swatch(x: u32, y: u32, width: u32, height: u32, fill: &str, hatch: Option<&str>) -> Group {
    let layers = [Some(fill), hatch].into_iter().flatten();
    layers.fold(Group::new(), |group, fill| {
        group.add(rectangle(x, y, width, height, fill))
    })
}

fn rectangle(x: u32, y: u32, width: u32, height: u32, fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", height)
        .set("fill", fill)
}

fn label(x: u32, y: u32, size: u32, text: &str) -> Text {
    Text::new(text)
        .set("x", x)
        .set("y", y)
        .set("font-size", size)
        .set("fill", INK)
}

/// A file name without the characters that XML has no way to write.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
