// SPDX-License-Identifier: GPL-2.0
//! Every way in which input can be wrong. A message names the file, the line where there is
//! one, what is wrong, and what to do about it.

use std::fmt;

use command::FileError;
use thiserror::Error;

use crate::granule::{PageSize, Va, VaRange};

/// Why a command could not be carried out.
#[derive(Debug, Error)]
pub enum Error {
    /// The input cannot be used.
    #[error("{place}: {problem}\n  remedy: {}", problem.remedy())]
    Input {
        /// Where.
        place: Place,
        /// What is wrong there.
        problem: Problem,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A result cannot be written as JSON.
    #[error("the result cannot be written as JSON: {0}\n  remedy: report this as a bug of kpt")]
    Json(serde_json::Error),
}

/// A file, and a line in it where one is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, by the name that it was given with.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
}

impl Place {
    /// A line of a file, counted from 1.
    pub fn line(file: &str, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(line),
        }
    }

    /// A whole file.
    pub fn file(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
        }
    }

    /// The error that `problem` is at this place.
    pub fn error(self, problem: Problem) -> Error {
        Error::Input {
            place: self,
            problem,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// What is wrong with the input.
#[derive(Debug, Error)]
pub enum Problem {
    /// There is nothing in the file.
    #[error("the file is empty")]
    Empty,
    /// A byte of the file is not text.
    #[error("this is not text")]
    NotText,
    /// The last line has no newline.
    #[error("the last line is cut off: it has no newline")]
    CutLine,
    /// The dump stops before the top of the address space.
    #[error("the dump stops at {0}, before the top of the address space")]
    CutDump(Va),
    /// A line is not one that the kernel prints there.
    #[error("expected {expected}, found `{found}`")]
    Syntax {
        /// What can stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A range comes before the first marker.
    #[error("no `---[ ... ]---` marker before the first range")]
    NoMarker,
    /// A marker comes twice.
    #[error("the marker `{0}` comes a second time")]
    SecondMarker(String),
    /// A range is empty or ends before it starts.
    #[error("the range {start}-{end} ends before it starts")]
    Backwards {
        /// The first address.
        start: Va,
        /// The first address after it.
        end: Va,
    },
    /// An address is not in the kernel half of the address space.
    #[error("{0} is not a kernel address")]
    NotKernel(Va),
    /// A range starts before the last one ended.
    #[error("the range {range} overlaps the line before it, which ends at {end}")]
    Overlap {
        /// The range.
        range: VaRange,
        /// The end of the line before it.
        end: Va,
    },
    /// A range starts after the last one ended.
    #[error("the range {range} does not follow the line before it, which ends at {end}")]
    Missing {
        /// The range.
        range: VaRange,
        /// The end of the line before it.
        end: Va,
    },
    /// The printed size is not that of the range.
    #[error("the size is printed as {printed}, but the range has {actual}")]
    Size {
        /// The size on the line.
        printed: String,
        /// The size of the range.
        actual: String,
    },
    /// An attribute comes twice, or two that exclude each other.
    #[error("the attributes do not say exactly once {0}")]
    Attributes(&'static str),
    /// The page size cannot be inferred.
    #[error("the page size cannot be told from these ranges")]
    AmbiguousPageSize,
    /// A range does not fit the page size.
    #[error("the range {range} is not a whole number of entries with {page_size} pages")]
    PageSize {
        /// The range.
        range: VaRange,
        /// The page size.
        page_size: PageSize,
    },
    /// There is no region of that name.
    #[error("there is no region `{wanted}`; the dump has: {known}")]
    NoRegion {
        /// The name asked for.
        wanted: String,
        /// The names of those that the dump has.
        known: String,
    },
    /// A region maps nothing.
    #[error("the region `{0}` maps nothing")]
    NothingMapped(String),
    /// A section of a module is listed twice.
    #[error("the section {section} of {module} is listed twice")]
    SecondSection {
        /// The module.
        module: String,
        /// The section.
        section: String,
    },
    /// A file is not the JSON that was expected.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Standard input was named more than once.
    #[error("standard input can be read only once")]
    StdinTwice,
}

impl Problem {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty => "copy the file again, as root",
            Self::NotText => "give the copy itself, not an archive or an image",
            Self::CutLine | Self::CutDump(_) | Self::Missing { .. } => {
                "copy the whole file again; a console log may lose lines"
            }
            Self::Syntax { .. } => {
                "copy the file itself: a console log mixes kernel messages into it"
            }
            Self::NoMarker => "copy the file from its first line on",
            Self::SecondMarker(_) => "give one dump a file",
            Self::Overlap { .. } => "give one dump a file, and do not edit it",
            Self::Backwards { .. } | Self::Size { .. } | Self::Attributes(_) => {
                "the line is damaged: copy the file again"
            }
            Self::NotKernel(_) => {
                "give the kernel's own tables, read as root with no_hash_pointers on the command line"
            }
            Self::AmbiguousPageSize => "say it with --page-size 4k, 16k or 64k",
            Self::PageSize { .. } => "leave --page-size out, or give that of the kernel that ran",
            Self::NoRegion { .. } => "name one of those with --region",
            Self::NothingMapped(_) => "choose another region: `kpt show` lists what each maps",
            Self::SecondSection { .. } => "list the sections of each loaded module once",
            Self::Json(_) => "`kpt help report` lists the fields; `kpt report --json` writes recorded rows",
            Self::StdinTwice => "give `-` once, and name files for the rest",
        }
    }
}
