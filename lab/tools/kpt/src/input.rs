// SPDX-License-Identifier: GPL-2.0
//! Reads a named file, or standard input for `-`, as lines of text. All
//! text that the tool reads is printed by a kernel, which ends every line: one without its
//! newline was cut.

use std::path::Path;

use command::STANDARD;

use crate::error::{Error, Place, Problem};

/// A file that was read: its name, for messages, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Reads a file; `-` is standard input.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::from_bytes(&command::name(path), command::read(path)?)
    }

    /// Takes bytes for the text of a file of that name.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error
                .as_bytes()
                .iter()
                .take(error.utf8_error().valid_up_to());
            let line = valid.filter(|byte| **byte == b'\n').count() + 1;
            Place::line(name, line).error(Problem::NotText)
        })?;
        if text.is_empty() {
            return Err(Place::file(name).error(Problem::Empty));
        }
        Ok(Self {
            name: name.to_owned(),
            text,
        })
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines of the file with their places, or an error when the last one is cut.
    pub fn lines(&self) -> Result<impl Iterator<Item = (usize, &str)>, Error> {
        if !self.text.ends_with('\n') {
            return Err(Place::line(&self.name, self.text.lines().count()).error(Problem::CutLine));
        }
        Ok(self
            .text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line)))
    }

    /// The error that `problem` is on a line of this file.
    pub fn error(&self, line: usize, problem: Problem) -> Error {
        Place::line(&self.name, line).error(problem)
    }
}

/// Fails when more than one of `paths` is standard input.
pub fn check_standard_input<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Error> {
    let named = paths
        .into_iter()
        .filter(|path| path.as_os_str() == STANDARD);
    if named.count() > 1 {
        return Err(Place::file("standard input").error(Problem::StdinTwice));
    }
    Ok(())
}

/// A result as JSON, indented, with a newline at its end.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(Error::Json)?;
    text.push('\n');
    Ok(text)
}
