// SPDX-License-Identifier: GPL-2.0
//! Says for each loaded module whether its text lies in the execmem cache.
//!
//! The cache takes memory in chunks. An area of it is a vmalloc area that starts at a multiple of 2 MiB, is a multiple of
//! 2 MiB long when its guard page, if it has one, is left out, and was allocated from
//! mm/execmem.c. Text is in the cache when it lies inside such an area and the dump maps all of it read-only and
//! executable. vmallocinfo names the function that an allocation returns to; which of the
//! `execmem_*` functions that is depends on what the compiler inlined, so all of them pass.
//!
//! Three files of one moment are needed: the dump, a list of sections with one line
//! `MODULE SECTION ADDRESS SIZE` for each (the size in decimal, 0 when it is not known), and a
//! copy of `/proc/vmallocinfo`. Only the section `.text` decides. The others are reported: the
//! memory of `.init.text` is given back after a module has loaded, its address stays in sysfs.
//!
//! The JSON of `kpt text` is a [`TextReport`]; its field names are stable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::dump::{parse_range, shorten, syntax, Dump, Permission};
use crate::error::{Error, Problem};
use crate::granule::{Granularity, Va, VaRange, CHUNK};
use crate::input::{self, Source};
use crate::layout::{self, Align, Table};

/// The section that decides about a module.
const TEXT: &str = ".text";

/// Where the text of every module lies.
#[derive(Clone, Debug, Serialize)]
pub struct TextReport {
    /// The modules, by name.
    pub modules: Vec<ModuleText>,
    /// The sums.
    pub totals: Totals,
}

/// Where the text of a module lies.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleText {
    /// The name of the module.
    pub name: String,
    /// Whether its `.text` is in the cache; null when it has none.
    pub in_cache: Option<bool>,
    /// Its sections, in the order of the list.
    pub sections: Vec<SectionText>,
}

/// Where a section lies.
#[derive(Clone, Debug, Serialize)]
pub struct SectionText {
    /// The name of the section.
    pub section: String,
    /// Its first address, as `0x` and 16 digits.
    pub address: Va,
    /// Its size; 0 when it is not known.
    pub size: u64,
    /// The smallest granularity that maps it; null when nothing does.
    pub granularity: Option<Granularity>,
    /// Why it is not in the cache; null when it is.
    pub outside: Option<Outside>,
}

/// Sums over the `.text` sections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Modules with a `.text`.
    pub modules: u64,
    /// Those with their `.text` in the cache.
    pub modules_in_cache: u64,
    /// Bytes of `.text`, as far as sizes are known.
    pub text_bytes: u64,
    /// Those in the cache.
    pub text_bytes_in_cache: u64,
    /// Bytes of the cache's areas that hold them.
    pub cache_bytes: u64,
    /// Those that leaves or contiguous runs of at least 2 MiB map.
    pub cache_bytes_in_blocks: u64,
}

/// Why a section is not in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// No vmalloc area holds all of it.
    NoArea,
    /// The area does not start at a multiple of 2 MiB.
    Base(Va),
    /// The area, less a guard page, is not a multiple of 2 MiB long.
    Size(u64),
    /// The area was allocated by other code.
    Caller(String),
    /// A part of it is not mapped at all.
    Unmapped,
    /// A part of it is mapped with this permission.
    Permission(Permission),
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArea => write!(f, "in no vmalloc area"),
            Self::Base(base) => write!(f, "area base {base} is not 2 MiB aligned"),
            Self::Size(size) => write!(f, "area size {} is not whole 2 MiB", layout::bytes(*size)),
            Self::Caller(caller) if caller.is_empty() => write!(f, "area has no caller"),
            Self::Caller(caller) => write!(f, "area is {caller}'s"),
            Self::Unmapped => write!(f, "not mapped"),
            Self::Permission(permission) => write!(f, "mapped {permission}"),
        }
    }
}

/// A vmalloc area in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its addresses, the guard page included.
    pub range: VaRange,
    /// The function that the allocation returned to; empty when the kernel names none.
    pub caller: String,
}

/// The vmalloc areas in use, by their start.
#[derive(Clone, Debug, Default)]
pub struct Areas(BTreeMap<Va, Area>);

impl Areas {
    /// Parses a copy of `/proc/vmallocinfo`. Areas that only wait to be purged are left out.
    pub fn parse(source: &Source) -> Result<Self, Error> {
        let mut areas = BTreeMap::new();
        for (line, text) in source.lines()? {
            let area = parse_area(text).map_err(|problem| source.error(line, problem))?;
            areas.extend(area.map(|area| (area.range.start(), area)));
        }
        Ok(Self(areas))
    }

    /// The areas that hold at least one of these ranges, in address order.
    pub fn holding_any(&self, ranges: impl IntoIterator<Item = VaRange>) -> Vec<VaRange> {
        let areas = ranges.into_iter().filter_map(|range| self.holding(range));
        let areas: BTreeMap<Va, VaRange> = areas.map(|a| (a.range.start(), a.range)).collect();
        areas.into_values().collect()
    }

    /// The area that holds all of a range.
    fn holding(&self, range: VaRange) -> Option<&Area> {
        let (_, area) = self.0.range(..=range.start()).next_back()?;
        (range.last() <= area.range.last()).then_some(area)
    }
}

/// Parses `0xSTART-0xEND SIZE CALLER+OFFSET/LENGTH ...`, or nothing from an unpurged area.
fn parse_area(text: &str) -> Result<Option<Area>, Problem> {
    let mut words = text.split_ascii_whitespace();
    let addresses = words.next().unwrap_or_default();
    let (start, end) = addresses
        .split_once('-')
        .ok_or_else(|| syntax("an area `0xSTART-0xEND SIZE ...`", text))?;
    let range = parse_range(parse_pointer(start)?, parse_pointer(end)?)?;
    let printed = words.next().ok_or_else(|| syntax("a size", text))?;
    if printed != range.bytes().to_string() {
        return Err(Problem::Size {
            printed: shorten(printed),
            actual: range.bytes().to_string(),
        });
    }
    let caller = match words.next() {
        Some("unpurged") => return Ok(None),
        Some(word) => word.split_once("+0x").map_or("", |(symbol, _)| symbol),
        None => "",
    };
    Ok(Some(Area {
        range,
        caller: caller.to_owned(),
    }))
}

/// Parses a pointer: `0x` and hexadecimal digits, of which the first two may be a tag of KASAN's.
pub(crate) fn parse_pointer(word: &str) -> Result<Va, Problem> {
    word.strip_prefix("0x")
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(|address| Va(address).untagged())
        .ok_or_else(|| syntax("an address `0x...`", word))
}

/// A section of a loaded module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The module.
    pub module: String,
    /// The name of the section.
    pub name: String,
    /// Its addresses; the first one alone when its size is not known.
    pub range: VaRange,
    /// Its size; 0 when it is not known.
    pub size: u64,
}

/// Parses a list of sections.
pub fn parse_sections(source: &Source) -> Result<Vec<Section>, Error> {
    let mut sections = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, text) in source.lines()? {
        let section = parse_section(text).map_err(|problem| source.error(line, problem))?;
        if !seen.insert((section.module.clone(), section.name.clone())) {
            let problem = Problem::SecondSection {
                section: section.name,
                module: section.module,
            };
            return Err(source.error(line, problem));
        }
        sections.push(section);
    }
    Ok(sections)
}

/// Parses `MODULE SECTION ADDRESS SIZE`.
fn parse_section(text: &str) -> Result<Section, Problem> {
    let wanted = || syntax("`MODULE SECTION ADDRESS SIZE`", text);
    let mut words = text.split_ascii_whitespace();
    let mut word = || words.next().ok_or_else(wanted);
    let (module, name, address, size) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(wanted());
    }
    let address = parse_pointer(address)?;
    if !address.is_kernel() {
        return Err(Problem::NotKernel(address));
    }
    let size: u64 = size
        .parse()
        .map_err(|_| syntax("a size in decimal", size))?;
    let last = address.0.checked_add(size.max(1) - 1);
    let range = last.and_then(|last| VaRange::new(address, Va(last)));
    Ok(Section {
        module: module.to_owned(),
        name: name.to_owned(),
        range: range.ok_or_else(|| syntax("a size that fits behind the address", text))?,
        size,
    })
}

impl Section {
    /// Where the section lies.
    fn locate(&self, areas: &Areas, dump: &Dump) -> SectionText {
        let mapping = Mapped::of(self.range, dump);
        SectionText {
            section: self.name.clone(),
            address: self.range.start(),
            size: self.size,
            granularity: mapping.as_ref().map(|mapping| mapping.finest),
            outside: self.outside(areas, mapping, dump.page_size.bytes()),
        }
    }

    /// The first rule that the section breaks, if it breaks one.
    fn outside(&self, areas: &Areas, mapped: Option<Mapped>, guard: u64) -> Option<Outside> {
        let Some(area) = areas.holding(self.range) else {
            return Some(Outside::NoArea);
        };
        let size = area.range.bytes();
        let usable = match size % CHUNK {
            0 => size,
            _ => size.saturating_sub(guard),
        };
        if !area.range.start().is_aligned(CHUNK) {
            return Some(Outside::Base(area.range.start()));
        }
        if usable == 0 || usable % CHUNK != 0 {
            return Some(Outside::Size(usable));
        }
        if !area.caller.starts_with("execmem_") {
            return Some(Outside::Caller(area.caller.clone()));
        }
        match mapped {
            Some(mapped) if mapped.whole => mapped.other.map(Outside::Permission),
            _ => Some(Outside::Unmapped),
        }
    }
}

/// How a dump maps a range of which it maps at least a part.
struct Mapped {
    finest: Granularity,
    /// Nothing is left out.
    whole: bool,
    /// The first permission other than ROX.
    other: Option<Permission>,
}

impl Mapped {
    fn of(range: VaRange, dump: &Dump) -> Option<Self> {
        let parts: Vec<_> = dump
            .leaves()
            .filter_map(|(leaf, granularity, attributes)| {
                let part = leaf.intersection(range)?;
                Some((part.bytes(), granularity, attributes.permission()))
            })
            .collect();
        let bytes: u64 = parts.iter().map(|(bytes, _, _)| bytes).sum();
        let mut permissions = parts.iter().map(|(_, _, permission)| *permission);
        Some(Self {
            finest: parts.iter().map(|(_, granularity, _)| *granularity).min()?,
            whole: bytes == range.bytes(),
            other: permissions.find(|permission| *permission != Permission::Rox),
        })
    }
}

impl TextReport {
    /// Locates every section in the areas and the dump.
    pub fn of(sections: &[Section], areas: &Areas, dump: &Dump) -> Self {
        let mut by_module: BTreeMap<&str, Vec<SectionText>> = BTreeMap::new();
        let mut cached = Vec::new();
        for section in sections {
            let located = section.locate(areas, dump);
            if located.section == TEXT && located.outside.is_none() {
                cached.push(section.range);
            }
            by_module.entry(&section.module).or_default().push(located);
        }
        let mut totals = Totals::default();
        let mut modules = Vec::new();
        for (name, sections) in by_module {
            let text = sections.iter().find(|section| section.section == TEXT);
            if let Some(text) = text {
                totals.add(text);
            }
            modules.push(ModuleText {
                name: name.to_owned(),
                in_cache: text.map(|text| text.outside.is_none()),
                sections,
            });
        }
        for area in areas.holding_any(cached) {
            totals.add_area(area, dump);
        }
        Self { modules, totals }
    }

    /// Whether at least `percent` of the areas that hold text are mapped by blocks.
    pub fn is_in_blocks(&self, percent: u64) -> bool {
        self.totals.cache_bytes_in_blocks * 100 >= self.totals.cache_bytes * percent
    }

    /// The names of the modules with a `.text` that is not in the cache.
    pub fn outside(&self) -> Vec<&str> {
        let outside = self.modules.iter().filter(|m| m.in_cache == Some(false));
        outside.map(|module| module.name.as_str()).collect()
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        input::to_json(self)
    }

    /// The report as text: a line for each section, the sums, and what is outside.
    pub fn to_text(&self) -> String {
        let mut table = Table::new([
            ("module", Align::Left),
            ("section", Align::Left),
            ("address", Align::Left),
            ("size", Align::Right),
            ("mapped by", Align::Left),
            ("in the cache", Align::Left),
        ]);
        for module in &self.modules {
            for section in &module.sections {
                let size = match section.size {
                    0 => "?".to_owned(),
                    size => layout::bytes(size),
                };
                let granularity = section.granularity.map(|g| g.to_string());
                let cache = match &section.outside {
                    None => "yes".to_owned(),
                    Some(outside) => format!("no: {outside}"),
                };
                table.row([
                    module.name.clone(),
                    section.section.clone(),
                    section.address.to_string(),
                    size,
                    granularity.unwrap_or_else(|| "-".to_owned()),
                    cache,
                ]);
            }
        }
        let totals = &self.totals;
        let sizes = match totals.text_bytes {
            0 => "sizes not listed".to_owned(),
            bytes => format!(
                "{} of {}",
                layout::bytes(totals.text_bytes_in_cache),
                layout::bytes(bytes)
            ),
        };
        let mut text = format!(
            "{}\n{} of {} modules have their text in the cache ({sizes})\n",
            table.render(),
            totals.modules_in_cache,
            totals.modules,
        );
        text.push_str(&format!(
            "{} of the cache's {} are mapped by blocks\n",
            layout::bytes(totals.cache_bytes_in_blocks),
            layout::bytes(totals.cache_bytes)
        ));
        let outside = self.outside();
        if !outside.is_empty() {
            text.push_str(&format!("not in the cache: {}\n", outside.join(", ")));
        }
        text
    }
}

impl Totals {
    /// Adds what maps an area of the cache, its guard page left out.
    fn add_area(&mut self, area: VaRange, dump: &Dump) {
        for (leaf, granularity, _) in dump.leaves() {
            let Some(part) = leaf.intersection(area) else {
                continue;
            };
            self.cache_bytes += part.bytes();
            if dump.page_size.leaf_bytes(granularity) >= CHUNK {
                self.cache_bytes_in_blocks += part.bytes();
            }
        }
    }

    fn add(&mut self, text: &SectionText) {
        self.modules += 1;
        self.text_bytes = self.text_bytes.saturating_add(text.size);
        if text.outside.is_none() {
            self.modules_in_cache += 1;
            self.text_bytes_in_cache = self.text_bytes_in_cache.saturating_add(text.size);
        }
    }
}
