// SPDX-License-Identifier: GPL-2.0
//! What the command lines of the lab's tools have in common: how they are parsed, how they read and
//! write files, how an error looks, and how they exit.
//!
//! # Errors
//!
//! Each library has one enum of errors, made with `thiserror`, and each message names the file or
//! the argument, what is wrong, and, on a line of its own, the remedy. Nothing adds context to an
//! error later, so that no tool needs boxed errors. A panic is a bug of the tool; only tools that
//! test (`model`, and the crate `pure` behind it) panic at what they look for.
#![forbid(unsafe_code)]

use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{self, ExitCode};

use clap::error::ErrorKind;
use clap::{Command, Parser};
use thiserror::Error;

/// The name that stands for standard input or output.
pub const STANDARD: &str = "-";

/// Parses the command line. What is no subcommand, or no option, ends with what there is, and 2.
pub fn parse<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| {
        match error.kind() {
            ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => {}
            _ => error.exit(),
        }
        // When standard error is closed nobody is there to be told.
        let _ = error.print();
        eprintln!("\nThere is: {}", known(C::command(), env::args().skip(1)));
        process::exit(2);
    })
}

/// Returns the subcommands of a command, or the options of the one that `arguments` name.
fn known(mut command: Command, arguments: impl Iterator<Item = String>) -> String {
    for argument in arguments {
        if let Some(subcommand) = command.find_subcommand(&argument) {
            command = subcommand.clone();
        }
    }
    let subcommands = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned());
    let options = command.get_arguments().filter_map(|one| one.get_long());
    let options = options.chain(["help"]).map(|name| format!("--{name}"));
    match command.has_subcommands() {
        true => subcommands.collect::<Vec<_>>().join(", "),
        false => options.collect::<Vec<_>>().join(", "),
    }
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Well,
    /// A check or a comparison says no.
    Not,
}

impl From<bool> for Verdict {
    fn from(well: bool) -> Self {
        if well {
            Self::Well
        } else {
            Self::Not
        }
    }
}

/// Ends the command `name`: with 0 when all is well, 1 when a check or a comparison says no, and 2,
/// and a message, when that could not be found out.
pub fn exit(name: &str, result: Result<Verdict, impl Display>) -> ExitCode {
    match result {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Not) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// A file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{file}: cannot be read: {source}\n  remedy: check the name and its permissions")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{file}: cannot be written: {source}\n  remedy: check the directory and its space")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The name of a file in messages.
pub fn name(path: &Path) -> String {
    match path.as_os_str() == STANDARD {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

/// Reads a file; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let read = if path.as_os_str() == STANDARD {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.map_err(|source| FileError::Read {
        file: name(path),
        source,
    })
}

/// Reads a file of text; `-` is standard input.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|error| FileError::Read {
        file: name(path),
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

/// Writes a result to a file; `-` is standard output. A reader that closes its end early has
/// read what it wanted, which is no failure.
pub fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let standard = path.as_os_str() == STANDARD;
    let written = if standard {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    } else {
        fs::write(path, text)
    };
    match written {
        Err(source) if !(standard && source.kind() == io::ErrorKind::BrokenPipe) => {
            Err(FileError::Write {
                file: match standard {
                    true => "standard output".to_owned(),
                    false => name(path),
                },
                source,
            })
        }
        _ => Ok(()),
    }
}

/// Writes a result to standard output.
pub fn print(text: &str) -> Result<(), FileError> {
    write(Path::new(STANDARD), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let missing = Path::new("/nonexistent/file");
        let read = read(missing).expect_err("no such file").to_string();
        let write = write(missing, "text").expect_err("no such file");
        assert!(read.starts_with("/nonexistent/file: cannot be read: "));
        assert!(write
            .to_string()
            .starts_with("/nonexistent/file: cannot be written: "));
        assert!(read.contains("\n  remedy: check "));
    }

    #[test]
    fn what_there_is_is_named() {
        let option = clap::Arg::new("json").long("json");
        let show = Command::new("show").arg(option);
        let command = Command::new("test").subcommands([show, Command::new("diff")]);
        let known = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|&argument| argument.to_owned());
            known(command.clone(), arguments)
        };
        assert_eq!(known(&["shwo"]), "show, diff");
        assert_eq!(known(&["show", "--jsno"]), "--json, --help");
    }

    #[test]
    fn exit_statuses() {
        let status = |result: Result<Verdict, &str>| format!("{:?}", exit("test", result));
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(status(Ok(Verdict::Well)), is(0));
        assert_eq!(status(Ok(Verdict::Not)), is(1));
        assert_eq!(status(Err("wrong")), is(2));
    }
}
