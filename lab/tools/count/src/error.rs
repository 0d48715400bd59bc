// SPDX-License-Identifier: GPL-2.0
//! Every way in which input can be wrong. A message names the file or the argument, what is
//! wrong, and what to do about it.

use command::FileError;
use thiserror::Error;

/// Why something could not be done.
#[derive(Debug, Error)]
pub enum Error {
    /// An argument of the plugin is not one.
    #[error(
        "the plugin's argument `{argument}`: {problem}\n  \
         remedy: give it symbols=System.map,out=FILE and, if wanted, stacks=on and operations=on"
    )]
    Argument {
        /// The argument.
        argument: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not JSON, or not of the right form.
    #[error(
        "{file}: {source}\n  remedy: run lab/count-modules or lab/count-operations again; the file is of no use"
    )]
    Json {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line of a file is not what it should be.
    #[error("{file}:{line}: expected {expected}, found `{found}`\n  remedy: {remedy}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What can stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A kernel has no such symbol.
    #[error(
        "{file}: there is no symbol {symbol}\n  \
         remedy: give the System.map of the kernel that runs, built with modules and KALLSYMS"
    )]
    Symbol {
        /// The file.
        file: String,
        /// The symbol.
        symbol: String,
    },
    /// The files of a run contradict each other, or what is asked of them.
    #[error("{file}: {problem}\n  remedy: {remedy}")]
    Run {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl Error {
    /// The error that a run is wrong, for which a new run is the remedy.
    pub fn run(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Run {
            file: file.into(),
            problem: problem.into(),
            remedy:
                "run lab/count-modules or lab/count-operations again; if it says the same, look at \
                     console.log beside the file",
        }
    }
}
