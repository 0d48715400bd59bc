// SPDX-License-Identifier: GPL-2.0
//! Runs side by side, and whether one has as few walks as it should.

use std::str::FromStr;

use count::table;

use crate::model::Section;
use crate::record::Run;

/// What is printed of each section.
const COLUMNS: [&str; 9] = [
    "section",
    "run",
    "instructions",
    "loads+stores",
    "L1D misses",
    "data walks",
    "fetch walks",
    "walks/1000 instr.",
    "table bytes",
];

/// Makes a table: for each section a line of each run.
pub fn table(runs: &[Run]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    let names = runs.first().map_or(&[][..], |run| &run.sections);
    for (index, (name, _)) in names.iter().enumerate() {
        for run in runs {
            let Some((_, section)) = run.sections.get(index) else {
                continue;
            };
            rows.push(row(name, &run.label, section));
        }
    }
    table::render(&rows)
}

fn row(name: &str, label: &str, section: &Section) -> Vec<String> {
    let walks = section.data.walks + section.fetch.walks;
    let share = walks as f64 * 1000.0 / section.instructions.max(1) as f64;
    vec![
        name.to_owned(),
        label.to_owned(),
        table::grouped(section.instructions),
        table::grouped(section.data.accesses),
        table::grouped(section.data.first_misses),
        table::grouped(section.data.walks),
        table::grouped(section.fetch.walks),
        format!("{share:.3}"),
        table::grouped(section.table_bytes),
    ]
}

/// A bound: in one section, a run may have at most a share of the data walks of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    section: String,
    share: f64,
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = |text: &str| text.parse().ok().filter(|share| *share > 0.0);
        let parts = text.split_once('=');
        parts
            .and_then(|(section, text)| {
                Some(Self {
                    section: section.to_owned(),
                    share: share(text)?,
                })
            })
            .ok_or("it has the form SECTION=SHARE, such as read=0.25")
    }
}

impl Bound {
    /// Returns a line that says whether `run` keeps the bound, and whether it does. It does not
    /// where there is nothing to compare: where a run lacks the section, the other has no walks,
    /// or walks failed, or one did much more than the other.
    pub fn judge(&self, run: &Run, limit: &Run) -> (String, bool) {
        let section = |run: &Run| {
            let mut all = run.sections.iter();
            let found = all.find(|(name, _)| *name == self.section);
            found.map(|(_, section)| section.clone())
        };
        let (Some(ours), Some(theirs)) = (section(run), section(limit)) else {
            return self.not_comparable("there is no such section");
        };
        let done = ours.data.accesses as f64 / theirs.data.accesses as f64;
        if theirs.data.walks == 0 || ours.faults + theirs.faults != 0 {
            return self.not_comparable("no walks, or walks that found no leaf");
        }
        if !(0.9..=1.1).contains(&done) {
            return self.not_comparable("one run did much more than the other");
        }
        let share = ours.data.walks as f64 / theirs.data.walks as f64;
        let well = share <= self.share;
        let word = if well { "ok" } else { "NOT OK" };
        let text = format!(
            "{word}  {}: data walks are {share:.3} of those of {}, may be {}",
            self.section, limit.label, self.share
        );
        (text, well)
    }

    fn not_comparable(&self, why: &str) -> (String, bool) {
        (format!("NOT OK  {}: {why}", self.section), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Costs;

    fn run(label: &str, walks: u64) -> Run {
        let section = Section {
            instructions: 2000,
            data: Costs {
                accesses: 1000,
                walks,
                ..Costs::default()
            },
            ..Section::default()
        };
        Run {
            label: label.to_owned(),
            sections: vec![("read".to_owned(), section)],
        }
    }

    #[test]
    fn runs_stand_below_each_other() {
        let text = table(&[run("stock", 8), run("ours", 2)]);
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1][..2], ["read", "stock"]);
        assert!(lines[1].contains(&"4.000") && lines[2].contains(&"1.000"));
    }

    #[test]
    fn a_bound_is_kept_or_not() {
        let judge = |text: &str, ours, theirs| {
            let bound: Bound = text.parse().expect("a bound");
            bound.judge(&run("ours", ours), &run("stock", theirs)).1
        };
        assert!(judge("read=0.25", 2, 8));
        assert!(!judge("read=0.25", 3, 8));
        assert!(!judge("read=0.25", 0, 0));
        assert!(!judge("tar=0.25", 2, 8));
    }

    #[test]
    fn what_cannot_be_compared_keeps_no_bound() {
        let bound: Bound = "read=1".parse().expect("a bound");
        let with = |change: fn(&mut Section)| {
            let mut run = run("ours", 2);
            change(&mut run.sections[0].1);
            bound.judge(&run, &self::run("stock", 8)).1
        };
        assert!(with(|_| ()));
        assert!(!with(|section| section.faults = 1));
        assert!(!with(|section| section.data.accesses = 0));
        assert!(!with(|section| section.data.accesses = 1200));
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for text in ["", "read", "read=", "read=x", "read=0", "read=-1"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }
}
