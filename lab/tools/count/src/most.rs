// SPDX-License-Identifier: GPL-2.0
//! Bounds that are given as figures: what loads, unloads and all that they defer may cost a run.

use std::str::FromStr;

use serde::Serialize;

use crate::report::{Cost, Get};
use crate::table::decimal;

/// What can have a bound, by the name that `--most` has for it and by that of tables.
const MEASURES: [(&str, &str, Get); 5] = [
    ("tlbi", "TLBI", |cost| cost.counts.tlbi()),
    ("dsb", "DSB", |cost| cost.counts.dsb),
    ("icache", "I-cache rounds", |cost| cost.counts.icache),
    ("ipi", "IPI", |cost| cost.counts.ipi),
    ("instructions", "instructions", |cost| cost.without_own()),
];

/// A bound: `WHAT=FIGURE`, `WHAT-per-module=FIGURE` or `WHAT-of-limit=FIGURE`.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    title: &'static str,
    get: Get,
    unit: Unit,
    figure: f64,
}

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// All modules.
    All,
    /// The average module.
    PerModule,
    /// What the run of `--limit` costs.
    OfLimit,
}

impl FromStr for Most {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, figure) = text
            .split_once('=')
            .ok_or("a bound has the form WHAT=FIGURE")?;
        let units = [
            ("-per-module", Unit::PerModule),
            ("-of-limit", Unit::OfLimit),
        ];
        let with_unit = units
            .iter()
            .find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, *unit)));
        let (what, unit) = with_unit.unwrap_or((name, Unit::All));
        let measure = MEASURES.iter().find(|(known, ..)| *known == what);
        let (_, title, get) = *measure.ok_or_else(|| {
            let known: Vec<&str> = MEASURES.iter().map(|(known, ..)| *known).collect();
            format!(
                "there is {}, each with -per-module or -of-limit, too",
                known.join(", ")
            )
        })?;
        let figure = figure.parse().ok();
        let figure = figure.filter(|figure: &f64| figure.is_finite() && *figure >= 0.0);
        Ok(Self {
            title,
            get,
            unit,
            figure: figure.ok_or("the figure is no number from 0 up")?,
        })
    }
}

/// What is known of a run that has bounds.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name of the run.
    pub label: &'a str,
    /// What it costs, with what is deferred.
    pub cost: Cost,
    /// How many modules were loaded and unloaded.
    pub modules: usize,
    /// The name and cost of the run of `--limit`.
    pub limit: Option<(&'a str, Cost)>,
}

/// A figure of a run, and its bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounded {
    /// What the figure is.
    pub what: String,
    /// The figure.
    pub cost: f64,
    /// What it may be.
    pub most: f64,
    /// Whether it is at most that.
    pub within: bool,
}

impl Most {
    /// Whether a run keeps the bound; none for a share of a run that there is not.
    pub fn judge(&self, subject: Subject<'_>) -> Option<Bounded> {
        let cost = (self.get)(&subject.cost) as f64;
        let (what, cost) = match self.unit {
            Unit::All => (self.title.to_owned(), cost),
            Unit::PerModule => (
                format!("{} per module", self.title),
                cost / subject.modules as f64,
            ),
            Unit::OfLimit => {
                let (label, limit) = subject.limit?;
                let limit = (self.get)(&limit) as f64;
                // Nothing of nothing is within every bound.
                let share = if cost == 0.0 { 0.0 } else { cost / limit };
                (format!("{}, of those of {label}", self.title), share)
            }
        };
        Some(Bounded {
            what,
            cost,
            most: self.figure,
            within: cost <= self.figure,
        })
    }
}

/// One sentence for each bound.
pub fn bounded_to_text(bounded: &[Bounded], label: &str) -> String {
    let lines = bounded.iter().map(|one| {
        let (verdict, relation) = match one.within {
            true => ("ok", "at most"),
            false => ("NOT OK", "above"),
        };
        format!(
            "{verdict}: {} with what they defer: {label} {}, {relation} the {} of --most\n",
            one.what,
            decimal(one.cost),
            decimal(one.most),
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;

    fn cost(tlbi_one: u64, instructions: u64) -> Cost {
        Cost {
            counts: Counts {
                tlbi_one,
                instructions,
                ..Counts::default()
            },
            own_instructions: 0,
        }
    }

    fn judge(most: &str) -> Option<Bounded> {
        let subject = Subject {
            label: "ours",
            cost: cost(30, 970),
            modules: 4,
            limit: Some(("limit", cost(0, 1000))),
        };
        most.parse::<Most>().expect(most).judge(subject)
    }

    #[test]
    fn figures_are_held_against_bounds() {
        let cases = [
            ("tlbi=30", true, "TLBI"),
            ("tlbi=29", false, "TLBI"),
            ("tlbi-per-module=7.5", true, "TLBI per module"),
            ("tlbi-per-module=7.4", false, "TLBI per module"),
            (
                "instructions-of-limit=0.97",
                true,
                "instructions, of those of limit",
            ),
            (
                "instructions-of-limit=0.969",
                false,
                "instructions, of those of limit",
            ),
            // More than nothing is no share of it.
            ("tlbi-of-limit=1000000", false, "TLBI, of those of limit"),
            ("ipi-of-limit=0", true, "IPI, of those of limit"),
            ("icache-per-module=0", true, "I-cache rounds per module"),
        ];
        for (most, within, what) in cases {
            let bounded = judge(most).expect(most);
            assert_eq!(bounded.within, within, "{most}");
            assert_eq!(bounded.what, what, "{most}");
        }
        let text = bounded_to_text(&[judge("tlbi-per-module=7").expect("judged")], "ours");
        assert_eq!(
            text,
            "NOT OK: TLBI per module with what they defer: ours 7.5, above the 7 of --most\n"
        );
    }

    #[test]
    fn a_share_needs_another_run() {
        let alone = Subject {
            label: "ours",
            cost: cost(1, 1),
            modules: 1,
            limit: None,
        };
        let most: Most = "dsb-of-limit=1".parse().expect("good");
        assert_eq!(most.judge(alone), None);
    }

    #[test]
    fn other_bounds_are_refused() {
        for text in [
            "",
            "tlbi",
            "tlbi=",
            "tlbi=x",
            "tlbi=-1",
            "tlbi=NaN",
            "tlbi=inf",
            "isb=1",
            "tlbi-per-modules=1",
            "-per-module=1",
        ] {
            assert!(text.parse::<Most>().is_err(), "{text}");
        }
    }
}
