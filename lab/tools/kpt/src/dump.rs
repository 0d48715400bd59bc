// SPDX-License-Identifier: GPL-2.0
//! The parser: the text of `kernel_page_tables` to regions and stretches.
//!
//! The kernel prints `---[ NAME ]---` where a region starts, and one line for each stretch of
//! entries of equal level and attributes. The lines have no gaps between them: a stretch of
//! empty entries is a line without attributes. The walk ends at the top of the address space,
//! which is printed as an end of 0. All of this is checked.
//!
//! The kernel looks at the markers only when it meets an entry, and passes at most two at a
//! time. A region that starts inside a large unmapped range is so announced at its end.
//! A generic KASAN kernel prints its shared shadow tables as one PTE line without walking
//! them; tables counted in `kasan-shadow` are those of the address range, not of memory.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Place, Problem};
use crate::granule::{Granularity, Level, PageSize, Va, VaRange};
use crate::input::Source;

/// What the kernel may do with memory through a leaf.
///
/// Ordered by how much a map should stress it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Nothing: the entry holds an address but is not valid.
    Invalid,
    /// Read and write.
    Rw,
    /// Read.
    Ro,
    /// Read and execute.
    Rox,
    /// Write and execute, which must not exist.
    Wx,
}

impl Permission {
    /// Every permission class, in the order of its tables.
    pub const ALL: [Self; 5] = [Self::Rw, Self::Ro, Self::Rox, Self::Wx, Self::Invalid];
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Invalid => "invalid",
            Self::Rw => "RW",
            Self::Ro => "RO",
            Self::Rox => "ROX",
            Self::Wx => "W+X",
        })
    }
}

/// The attributes of a leaf that this tool looks at. Memory type, shareability, and what user
/// space may do are checked to be words that the kernel prints, and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The hardware uses the entry.
    pub valid: bool,
    /// The kernel may write.
    pub writable: bool,
    /// The kernel may execute.
    pub executable: bool,
    /// The entry is part of a contiguous run.
    pub contiguous: bool,
}

impl Attributes {
    /// The permission class.
    pub fn permission(self) -> Permission {
        match (self.valid, self.writable, self.executable) {
            (false, _, _) => Permission::Invalid,
            (true, true, true) => Permission::Wx,
            (true, true, false) => Permission::Rw,
            (true, false, true) => Permission::Rox,
            (true, false, false) => Permission::Ro,
        }
    }
}

/// One line of a dump: adjacent entries of equal level and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The addresses.
    pub range: VaRange,
    /// The level of the entries.
    pub level: Level,
    /// The attributes; empty entries have none.
    pub attributes: Option<Attributes>,
}

impl Stretch {
    /// What a leaf here maps, if these entries are leaves.
    pub fn granularity(&self) -> Option<Granularity> {
        self.attributes
            .map(|attributes| Granularity::of_leaf(self.level, attributes.contiguous))
    }
}

/// What the kernel announces with one marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// A short name: `linear`, `modules`, `vmalloc`, `vmemmap`, `pci-io`, `fixmap`, and
    /// `after-linear` and the like for what follows an end marker.
    pub name: String,
    /// The text of the marker.
    pub title: String,
    /// The lines, in address order.
    pub stretches: Vec<Stretch>,
}

impl Region {
    fn new(title: &str) -> Self {
        let (subject, prefix) = if let Some(subject) = title.strip_suffix(" end") {
            (subject, "after-")
        } else {
            let subject = title.strip_suffix(" start");
            let subject = subject.or_else(|| title.strip_suffix(" area"));
            (subject.unwrap_or(title), "")
        };
        let subject = match subject {
            "Linear Mapping" => "linear".to_owned(),
            other => other
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    '(' | ')' | '/' => None,
                    c => Some(c.to_ascii_lowercase()),
                })
                .collect(),
        };
        Self {
            name: format!("{prefix}{subject}"),
            title: title.to_owned(),
            stretches: Vec::new(),
        }
    }

    /// The leaves, in address order.
    pub fn leaves(&self) -> impl Iterator<Item = (VaRange, Granularity, Attributes)> + '_ {
        self.stretches.iter().filter_map(|stretch| {
            let granularity = stretch.granularity()?;
            Some((stretch.range, granularity, stretch.attributes?))
        })
    }

    /// The addresses from the first line to the last.
    pub fn span(&self) -> Option<VaRange> {
        let first = self.stretches.first()?.range;
        Some(first.hull(self.stretches.last()?.range))
    }

    /// Whether the region says nothing: it has no leaf and no L3 table.
    pub fn is_vacant(&self) -> bool {
        let tells = |stretch: &Stretch| stretch.level == Level::Pte || stretch.attributes.is_some();
        !self.stretches.iter().any(tells)
    }
}

/// A whole dump.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The name of the file.
    pub file: String,
    /// The page size of the kernel.
    pub page_size: PageSize,
    /// The regions, in address order.
    pub regions: Vec<Region>,
}

impl Dump {
    /// Parses a dump. Without a page size, it is inferred; with one, it is checked.
    pub fn parse(source: &Source, page_size: Option<PageSize>) -> Result<Self, Error> {
        let mut parser = Parser::default();
        let mut newest = 1;
        for (line, text) in source.lines()? {
            parser
                .line(line, text)
                .map_err(|problem| source.error(line, problem))?;
            newest = line;
        }
        let (regions, lines) = parser
            .finish()
            .map_err(|problem| source.error(newest, problem))?;
        let stretches = || regions.iter().flat_map(|region| &region.stretches);
        let page_size = page_size
            .or_else(|| infer_page_size(stretches()))
            .ok_or_else(|| Place::file(source.name()).error(Problem::AmbiguousPageSize))?;
        for (stretch, line) in stretches().zip(lines) {
            let range = stretch.range;
            if !range.is_aligned(smallest_step(stretch, page_size)) {
                return Err(source.error(line, Problem::PageSize { range, page_size }));
            }
        }
        Ok(Self {
            file: source.name().to_owned(),
            page_size,
            regions,
        })
    }

    /// The region of that name.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// The region of that name, or an error that lists those that there are.
    pub fn require_region(&self, name: &str) -> Result<&Region, Error> {
        self.region(name).ok_or_else(|| {
            let known: Vec<&str> = self.regions.iter().map(|r| r.name.as_str()).collect();
            Place::file(&self.file).error(Problem::NoRegion {
                wanted: name.to_owned(),
                known: known.join(", "),
            })
        })
    }

    /// The leaves of all regions, in address order.
    pub fn leaves(&self) -> impl Iterator<Item = (VaRange, Granularity, Attributes)> + '_ {
        self.regions.iter().flat_map(Region::leaves)
    }
}

/// What the bounds of a line are a multiple of. Lines of the levels that may be folded into
/// each other are only held to the page size when they map nothing.
fn smallest_step(stretch: &Stretch, page_size: PageSize) -> u64 {
    match (stretch.level, stretch.attributes) {
        (Level::Pte | Level::Pmd, _) | (_, Some(_)) => page_size.entry_bytes(stretch.level),
        (Level::Pud | Level::P4d | Level::Pgd, None) => page_size.bytes(),
    }
}

/// Infers the page size from where the lines start. A kernel of any use has a single page
/// with attributes of its own somewhere, a guard page for one, so the finest bound of a PTE
/// line is the page size. Where PTE lines say nothing, because there are none or because all
/// are coarse, PMD lines can still tell 4K pages from the others.
fn infer_page_size<'a>(stretches: impl Iterator<Item = &'a Stretch>) -> Option<PageSize> {
    let (mut finest_pte, mut finest_pmd) = (u64::MAX, u64::MAX);
    for stretch in stretches {
        let bounds = stretch.range.start().0 | stretch.range.end().0;
        let step = bounds & bounds.wrapping_neg();
        match stretch.level {
            Level::Pte => finest_pte = finest_pte.min(step),
            Level::Pmd => finest_pmd = finest_pmd.min(step),
            Level::Pud | Level::P4d | Level::Pgd => {}
        }
    }
    let fits = |page_size: &PageSize| {
        let pte = page_size.bytes() <= finest_pte;
        pte && page_size.entry_bytes(Level::Pmd) <= finest_pmd
    };
    let largest = PageSize::ALL.into_iter().rev().find(fits)?;
    // 4K is the smallest there is. A larger size that fits is taken at its word only if a
    // PTE line has a bound that the next larger one could not have.
    let seen = finest_pte < 4 * largest.bytes();
    (largest == PageSize::Size4K || seen).then_some(largest)
}

/// The state of the parser between two lines.
#[derive(Debug, Default)]
struct Parser {
    regions: Vec<Region>,
    /// The line number of each stretch, in order.
    lines: Vec<usize>,
    newest: Option<VaRange>,
}

impl Parser {
    fn line(&mut self, line: usize, text: &str) -> Result<(), Problem> {
        if let Some(marker) = text.strip_prefix("---[ ") {
            let title = marker.strip_suffix(" ]---");
            let title = title.filter(|title| title.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            return self.marker(title.ok_or_else(|| syntax("a marker `---[ NAME ]---`", text))?);
        }
        let stretch = parse_stretch(text)?;
        let range = stretch.range;
        let region = self.regions.last_mut().ok_or(Problem::NoMarker)?;
        if let Some(newest) = self.newest {
            let end = newest.end();
            if range.start() <= newest.last() {
                return Err(Problem::Overlap { range, end });
            }
            if range.start() != end {
                return Err(Problem::Missing { range, end });
            }
        }
        region.stretches.push(stretch);
        self.lines.push(line);
        self.newest = Some(range);
        Ok(())
    }

    fn marker(&mut self, title: &str) -> Result<(), Problem> {
        let region = Region::new(title);
        if self.regions.iter().any(|known| known.name == region.name) {
            return Err(Problem::SecondMarker(title.to_owned()));
        }
        self.regions.push(region);
        Ok(())
    }

    fn finish(self) -> Result<(Vec<Region>, Vec<usize>), Problem> {
        match self.newest {
            Some(newest) if newest.end() == Va(0) => Ok((self.regions, self.lines)),
            Some(newest) => Err(Problem::CutDump(newest.end())),
            None => Err(syntax(
                "a range line `0xSTART-0xEND ...`",
                "the end of the file",
            )),
        }
    }
}

/// Parses `0xSTART-0xEND  SIZE LEVEL [ATTRIBUTE...]`.
fn parse_stretch(text: &str) -> Result<Stretch, Problem> {
    let mut words = text.split_ascii_whitespace();
    let addresses = words.next().unwrap_or_default();
    let (start, end) = addresses
        .split_once('-')
        .ok_or_else(|| syntax("a marker or a range `0xSTART-0xEND`", text))?;
    let range = parse_range(parse_va(start)?, parse_va(end)?)?;

    let printed = words.next().ok_or_else(|| syntax("a size", text))?;
    let actual = kernel_size(range.bytes());
    if printed != actual {
        return Err(Problem::Size {
            printed: shorten(printed),
            actual,
        });
    }
    let level = match words.next() {
        Some("PGD") => Level::Pgd,
        Some("P4D") => Level::P4d,
        Some("PUD") => Level::Pud,
        Some("PMD") => Level::Pmd,
        Some("PTE") => Level::Pte,
        other => {
            return Err(syntax(
                "a level (PGD, P4D, PUD, PMD, PTE)",
                other.unwrap_or(text),
            ))
        }
    };
    Ok(Stretch {
        range,
        level,
        attributes: parse_attributes(words)?,
    })
}

/// Parses an address as the kernel prints it: sixteen hexadecimal digits after `0x`.
fn parse_va(word: &str) -> Result<Va, Problem> {
    let digits = word.strip_prefix("0x").filter(|digits| digits.len() == 16);
    digits
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(Va)
        .ok_or_else(|| syntax("an address of 16 hexadecimal digits", word))
}

/// The range between two addresses as the kernel prints them, where an end of 0 is the top.
pub(crate) fn parse_range(start: Va, end: Va) -> Result<VaRange, Problem> {
    if !start.is_kernel() {
        return Err(Problem::NotKernel(start));
    }
    VaRange::new(start, Va(end.0.wrapping_sub(1))).ok_or(Problem::Backwards { start, end })
}

/// A size as the kernel prints it: in the largest unit that needs no fraction, where a unit
/// is 1024 of the one before and the first is KiB.
fn kernel_size(bytes: u64) -> String {
    let mut size = bytes / 1024;
    let mut unit = 'K';
    for larger in ['M', 'G', 'T', 'P', 'E'] {
        if size % 1024 != 0 {
            break;
        }
        size /= 1024;
        unit = larger;
    }
    format!("{size}{unit}")
}

/// Parses the attribute words. No words at all are those of an empty entry.
fn parse_attributes<'a>(
    words: impl Iterator<Item = &'a str>,
) -> Result<Option<Attributes>, Problem> {
    let mut any = false;
    let (mut valid, mut contiguous) = (true, false);
    let (mut writable, mut executable) = (None, None);
    for word in words {
        any = true;
        let replaced = match word {
            "RW" => writable.replace(true),
            "ro" => writable.replace(false),
            "x" => executable.replace(true),
            "NX" => executable.replace(false),
            "F" => {
                valid = false;
                None
            }
            "CON" => {
                contiguous = true;
                None
            }
            "USR" | "SHD" | "AF" | "NG" | "BLK" | "UXN" | "GP" | "DEVICE/nGnRnE"
            | "DEVICE/nGnRE" | "MEM/NORMAL-NC" | "MEM/NORMAL" | "MEM/NORMAL-TAGGED" => None,
            other => return Err(syntax("an attribute that the kernel prints", other)),
        };
        if replaced.is_some() {
            return Err(Problem::Attributes("`RW` or `ro`, and `x` or `NX`"));
        }
    }
    if !any {
        return Ok(None);
    }
    Ok(Some(Attributes {
        valid,
        writable: writable.ok_or(Problem::Attributes("`RW` or `ro`"))?,
        executable: executable.ok_or(Problem::Attributes("`x` or `NX`"))?,
        contiguous,
    }))
}

/// The problem that `found` stands where `expected` should.
pub(crate) fn syntax(expected: &'static str, found: &str) -> Problem {
    Problem::Syntax {
        expected,
        found: shorten(found),
    }
}

/// A piece of input that is safe to show in a message: short and printable.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.escape_debug().take(SHOWN).collect();
    if text.escape_debug().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLE_TO_TOP: &str = "0xffff000000201000-0x0000000000000000   274877904892K PGD\n";

    fn parse(text: &str) -> Result<Dump, Error> {
        Dump::parse(&Source::from_bytes("test", text.into())?, None)
    }

    fn message(text: &str) -> String {
        parse(text).expect_err("an error").to_string()
    }

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!(kernel_size(4096), "4K");
        assert_eq!(kernel_size(2 << 20), "2M");
        assert_eq!(kernel_size((1 << 30) + (2 << 20)), "1026M");
        assert_eq!(kernel_size(511 << 30), "511G");
        assert_eq!(kernel_size(1 << 52), "4P");
    }

    #[test]
    fn markers_become_names() {
        let name = |title| Region::new(title).name;
        assert_eq!(name("Linear Mapping start"), "linear");
        assert_eq!(name("Linear Mapping end"), "after-linear");
        assert_eq!(name("Kasan shadow start"), "kasan-shadow");
        assert_eq!(name("Modules start"), "modules");
        assert_eq!(name("vmalloc() area"), "vmalloc");
        assert_eq!(name("vmalloc() end"), "after-vmalloc");
        assert_eq!(name("PCI I/O start"), "pci-io");
    }

    #[test]
    fn a_line_is_parsed() {
        let dump = parse(&format!(
            "---[ Linear Mapping start ]---\n\
             0xffff000000000000-0xffff000000200000           2M PMD       RW NX SHD AF     CON BLK UXN    MEM/NORMAL-TAGGED\n\
             0xffff000000200000-0xffff000000201000           4K PTE   F   ro x  SHD AF             UXN    MEM/NORMAL\n\
             {HOLE_TO_TOP}"
        ))
        .expect("a dump");
        assert_eq!(dump.page_size, PageSize::Size4K);
        let leaves: Vec<_> = dump.leaves().map(|(_, g, a)| (g, a.permission())).collect();
        assert_eq!(
            leaves,
            [
                (Granularity::ContPmd, Permission::Rw),
                (Granularity::Pte, Permission::Invalid)
            ]
        );
    }

    #[test]
    fn damage_is_named_with_its_line_and_remedy() {
        let marker = "---[ Linear Mapping start ]---\n";
        let page = "0xffff000000200000-0xffff000000201000   4K PTE\n";
        for (text, expected) in [
            (String::new(), "empty"),
            ("garbage\n".into(), "test:1: expected a marker or a range"),
            (page.into(), "test:1: no `---[ ... ]---` marker"),
            (marker.into(), "test:1: expected a range line"),
            (
                format!("{marker}{page}"),
                "test:2: the dump stops at 0xffff000000201000",
            ),
            (
                format!("{marker}{page}{}", HOLE_TO_TOP.trim_end()),
                "test:3: the last line is cut off",
            ),
            (format!("{marker}{marker}"), "test:2: the marker"),
            (
                format!("{marker}{page}{page}"),
                "test:3: the range 0xffff000000200000-0xffff000000201000 overlaps",
            ),
            (
                format!("{marker}{page}0xffff000000300000-0xffff000000301000 4K PTE\n"),
                "test:3: the range 0xffff000000300000-0xffff000000301000 does not follow",
            ),
            (
                format!("{marker}0xffff000000201000-0xffff000000200000 4K PTE\n"),
                "test:2: the range 0xffff000000201000-0xffff000000200000 ends before",
            ),
            (
                format!("{marker}0x0000000000001000-0x0000000000002000 4K PTE\n"),
                "test:2: 0x0000000000001000 is not a kernel address",
            ),
            (
                format!("{marker}0xffff000000200000-0xffff000000201000 8K PTE\n"),
                "test:2: the size is printed as 8K, but the range has 4K",
            ),
            (
                format!("{marker}0xffff000000200000-0xffff000000201000 4K PTX\n"),
                "test:2: expected a level",
            ),
            (
                format!("{marker}0xffff000000200000-0xffff000000201000 4K PTE RW\n"),
                "test:2: the attributes",
            ),
            (
                format!("{marker}0xffff000000200000-0xffff000000201000 4K PTE RW ro NX\n"),
                "test:2: the attributes",
            ),
            (
                format!("{marker}0xffff000000200000-0xffff000000201000 4K PTE RW NX MEM/NORM\n"),
                "test:2: expected an attribute",
            ),
            (
                format!("{marker}0xffff00000020-0xffff000000201000 4K PTE\n"),
                "test:2: expected an address",
            ),
        ] {
            let message = message(&text);
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
            assert!(message.contains("remedy: "), "{message:?}");
        }
    }

    #[test]
    fn a_page_size_that_cannot_be_told_is_asked_for() {
        let text = "---[ Linear Mapping start ]---\n\
             0xffff000000000000-0xffff000040000000   1G PUD RW NX\n\
             0xffff000040000000-0x0000000000000000   268435455G PGD\n";
        let text = text.replace("268435455G", &kernel_size((1 << 48) - (1 << 30)));
        assert!(message(&text).contains("--page-size"));
        let source = Source::from_bytes("test", text.into()).expect("text");
        assert!(Dump::parse(&source, Some(PageSize::Size4K)).is_ok());
        assert!(Dump::parse(&source, Some(PageSize::Size64K)).is_err());
    }

    #[test]
    fn binary_input_names_its_line() {
        let error = Source::from_bytes("test", b"---[ a ]---\n\xff\xfe".to_vec());
        let message = error.expect_err("an error").to_string();
        assert!(message.starts_with("test:2: this is not text"), "{message}");
    }
}
