// SPDX-License-Identifier: GPL-2.0
//! A kernel's System.map: where functions are, and which function an address is in.

use std::path::Path;

use crate::error::Error;

/// The symbols of a kernel, by address.
#[derive(Clone, Debug)]
pub struct Symbols {
    file: String,
    /// Addresses, ascending, each with a name.
    names: Vec<(u64, String)>,
    /// Further names of those addresses.
    aliases: Vec<(u64, String)>,
}

/// Where the code of a function is: from its first instruction to the next symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The address of the first instruction.
    pub start: u64,
    /// The first address after it.
    pub end: u64,
}

impl Code {
    /// Whether an address is in the function.
    pub fn holds(self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

impl Symbols {
    /// Reads a System.map.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        Self::parse(&file, &String::from_utf8_lossy(&command::read(path)?))
    }

    /// Parses the text of a System.map: lines of address, type and name.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let mut fields = line.split(' ');
            let parsed = (fields.next(), fields.next(), fields.next(), fields.next());
            let symbol = match parsed {
                (Some(address), Some(kind), Some(name), None)
                    if address.len() == 16 && kind.len() == 1 && !name.is_empty() =>
                {
                    let address = u64::from_str_radix(address, 16).ok();
                    address.map(|address| (address, kind, name.to_owned()))
                }
                _ => None,
            };
            let (address, kind, name) = symbol.ok_or_else(|| Error::Syntax {
                file: file.to_owned(),
                line: number + 1,
                expected: "an address, a type and a name",
                found: line.chars().take(80).collect(),
                remedy: "give the System.map of the kernel that runs; build it again if this is it",
            })?;
            // Codes, weak ones too; other symbols, and clang's $x marks, are in the way.
            if matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with('$') {
                all.push((address, name));
            }
        }
        // Of several names of an address the first stands for it: rather a function's, and
        // rather not that for code which runs before the kernel is mapped.
        all.sort_by_key(|(address, name)| (*address, is_mark(name) || name.starts_with("__pi_")));
        let mut names: Vec<(u64, String)> = Vec::new();
        let mut aliases = Vec::new();
        for symbol in all {
            match names.last() {
                Some((address, _)) if *address == symbol.0 => aliases.push(symbol),
                _ => names.push(symbol),
            }
        }
        Ok(Self {
            file: file.to_owned(),
            names,
            aliases,
        })
    }

    /// Where a function is, if the kernel has it.
    pub fn find(&self, name: &str) -> Option<Code> {
        let mut all = self.names.iter().chain(&self.aliases);
        let (start, _) = all.find(|(_, other)| other == name)?;
        let next = self.names.partition_point(|(address, _)| address <= start);
        let end = self.names.get(next).map_or(*start, |(address, _)| *address);
        Some(Code { start: *start, end })
    }

    /// Where a function is that the kernel must have.
    pub fn require(&self, name: &str) -> Result<Code, Error> {
        self.find(name).ok_or_else(|| Error::Symbol {
            file: self.file.clone(),
            symbol: name.to_owned(),
        })
    }

    /// The number of the function that an address is in, for [`Self::name`]; none for an
    /// address outside of the kernel image, such as a module's.
    pub fn index(&self, address: u64) -> Option<usize> {
        let next = self.names.partition_point(|(start, _)| *start <= address);
        // The last symbol is the end of the image.
        (next < self.names.len()).then(|| next.checked_sub(1))?
    }

    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of the function with that number, as the source has it.
    pub fn name(&self, index: usize) -> Option<String> {
        let (_, name) = self.names.get(index)?;
        Some(format!("{:#}", rustc_demangle::demangle(name)))
    }
}

/// Whether a symbol marks where a part of the image begins or ends, such as `_stext` and
/// `__sched_text_start`.
fn is_mark(name: &str) -> bool {
    let ends = ["text", "_start", "_end"];
    name.starts_with('_') && ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
ffff800080010000 T _stext
ffff800080010000 T first
ffff800080010100 t second
ffff800080010100 t $x.1
ffff800080010180 d data
ffff800080010200 T _etext
";

    #[test]
    fn functions_are_found() {
        let symbols = Symbols::parse("System.map", MAP).expect("good");
        let second = symbols.require("second").expect("there");
        assert_eq!(
            (second.start, second.end),
            (0xffff_8000_8001_0100, 0xffff_8000_8001_0200)
        );
        assert!(second.holds(second.start) && !second.holds(second.end));
        let first = symbols.require("first").expect("there");
        assert_eq!(first.end, second.start);
        assert_eq!(symbols.find("data"), None);
        let name = |address| symbols.index(address).and_then(|index| symbols.name(index));
        assert_eq!(name(second.start + 4).as_deref(), Some("second"));
        assert_eq!(name(first.start).as_deref(), Some("first"));
        assert_eq!(name(first.start - 4), None);
        assert_eq!(name(second.end + 4), None);
    }

    #[test]
    fn one_name_stands_for_an_address() {
        let map = "\
ffff800080010000 T __pi_clean
ffff800080010000 T clean
ffff800080010100 T _etext
";
        let symbols = Symbols::parse("System.map", map).expect("good");
        assert_eq!(symbols.name(0).as_deref(), Some("clean"));
        assert_eq!(symbols.find("__pi_clean"), symbols.find("clean"));
    }

    #[test]
    fn names_of_rust_are_readable() {
        let map = "\
ffff800080010000 T _RNvNtCs9Y30C6oaoEw_8kpgtable10permission10set_memory
ffff800080010100 T _etext
";
        let symbols = Symbols::parse("System.map", map).expect("good");
        let name = symbols.name(0).expect("there");
        assert_eq!(name, "kpgtable::permission::set_memory");
    }

    #[test]
    fn a_missing_function_is_named() {
        let symbols = Symbols::parse("System.map", MAP).expect("good");
        let error = symbols.require("third").expect_err("missing").to_string();
        assert!(
            error.contains("System.map: there is no symbol third"),
            "{error}"
        );
    }

    #[test]
    fn other_files_are_refused() {
        for text in [
            "ffff800080010000 T",
            "#!/bin/sh\n",
            "ffff8000 T short",
            "\u{fffd}ELF x y",
        ] {
            let error = Symbols::parse("f", text).expect_err(text).to_string();
            assert!(error.contains("f:1: expected an address"), "{error}");
        }
    }
}
