// SPDX-License-Identifier: GPL-2.0
//! What a run leaves in its directory: `tlb.json`, a [`Record`] by the plugin, and `order`, by the
//! guest: a name for each section, one a line.

use std::path::Path;

use command::FileError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::Section;

/// What the plugin has counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What made it worthless.
    pub problem: Option<String>,
    /// What was counted from each mark of the guest to the next.
    pub sections: Vec<Section>,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not a record.
    #[error("{file}: {source}\n  remedy: run lab/tlb again; the file is of no use")]
    Json {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The files of a run contradict each other.
    #[error("{file}: {problem}\n  remedy: run lab/tlb again; if it says the same, look at console.log beside the file")]
    Run {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

/// A run: sections with their names.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The name of the directory.
    pub label: String,
    /// The sections, in their order.
    pub sections: Vec<(String, Section)>,
}

impl Run {
    /// Reads a run from its directory.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("tlb.json");
        let file = command::name(&path);
        let text = command::read_text(&path)?;
        let record: Record = serde_json::from_str(&text).map_err(|source| Error::Json {
            file: file.clone(),
            source,
        })?;
        let order = command::read_text(&directory.join("order"))?;
        let label = directory.file_name().unwrap_or(directory.as_os_str());
        Self::new(&label.to_string_lossy(), record, &order)
            .map_err(|problem| Error::Run { file, problem })
    }

    fn new(label: &str, record: Record, order: &str) -> Result<Self, String> {
        if let Some(problem) = record.problem {
            return Err(problem);
        }
        let names: Vec<_> = order.lines().map(str::to_owned).collect();
        if names.len() != record.sections.len() || names.is_empty() {
            let sections = record.sections.len();
            return Err(format!("{sections} sections, and {} names", names.len()));
        }
        Ok(Self {
            label: label.to_owned(),
            sections: names.into_iter().zip(record.sections).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sections: usize) -> Record {
        Record {
            problem: None,
            sections: vec![Section::default(); sections],
        }
    }

    #[test]
    fn each_section_has_its_name() {
        let run = Run::new("ours", record(2), "read\ntar\n").expect("two and two");
        let names: Vec<_> = run.sections.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["read", "tar"]);
    }

    #[test]
    fn what_does_not_match_is_refused() {
        assert!(Run::new("ours", record(1), "read\ntar\n").is_err());
        assert!(Run::new("ours", record(0), "").is_err());
        let bad = Record {
            problem: Some("no TTBR1_EL1".into()),
            ..record(1)
        };
        assert_eq!(
            Run::new("ours", bad, "read\n").err().as_deref(),
            Some("no TTBR1_EL1")
        );
    }
}
