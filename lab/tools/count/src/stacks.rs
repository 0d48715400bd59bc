// SPDX-License-Identifier: GPL-2.0
//! From where TLBI, DSB and other events came: runs side by side, and as folded stacks, which
//! flame graph tools read. And in which functions instructions were executed.

use std::collections::BTreeMap;

use crate::record::{Event, Run, Stack};
use crate::table::{grouped, render};
use crate::track::Kind;

/// Which stacks are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The event.
    pub event: Event,
    /// Where; everywhere if none.
    pub kind: Option<Kind>,
}

impl Filter {
    fn takes(&self, stack: &Stack) -> bool {
        stack.event == self.event && self.kind.is_none_or(|kind| kind == stack.kind)
    }
}

/// How often each run came to the event by the innermost `depth` functions, the most
/// frequent ways first.
pub fn to_text(runs: &[Run], filter: Filter, depth: usize) -> String {
    let mut ways: BTreeMap<&[String], Vec<u64>> = BTreeMap::new();
    let mut totals = vec![0; runs.len()];
    for (index, run) in runs.iter().enumerate() {
        for stack in run.record.stacks.iter().filter(|stack| filter.takes(stack)) {
            let way = stack.functions.get(..depth).unwrap_or(&stack.functions);
            let counts = ways.entry(way).or_insert_with(|| vec![0; runs.len()]);
            counts[index] += stack.count;
            totals[index] += stack.count;
        }
    }
    let mut ways: Vec<_> = ways.into_iter().collect();
    // Stable: equally frequent ways stay sorted by name.
    ways.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().max().copied()));
    let row = |name: String, counts: &[u64]| {
        let cells = counts.iter().map(|count| grouped(*count));
        std::iter::once(name).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = vec![vec![format!("{:?} by", filter.event).to_uppercase()]];
    rows[0].extend(runs.iter().map(|run| run.about.label.clone()));
    rows.extend(ways.iter().map(|(way, counts)| {
        let way: Vec<String> = way.iter().map(|name| short(name)).collect();
        row(way.join(" < "), counts)
    }));
    rows.push(row("in all".to_owned(), &totals));
    render(&rows)
}

/// The instructions of each function, those first in which the runs differ most.
pub fn functions_to_text(runs: &[Run], kind: Option<Kind>) -> String {
    let mut functions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        for one in &run.record.functions {
            if kind.is_none_or(|kind| kind == one.kind) {
                let zeroes = || vec![0; runs.len()];
                let counts = functions.entry(&one.function).or_insert_with(zeroes);
                counts[index] += one.instructions;
            }
        }
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    let spread = |counts: &[u64]| {
        let (least, most) = (counts.iter().min(), counts.iter().max());
        most.zip(least).map(|(most, least)| (most - least, *most))
    };
    functions.sort_by_key(|(_, counts)| std::cmp::Reverse(spread(counts)));
    let mut rows = vec![vec!["INSTRUCTIONS IN".to_owned()]];
    rows[0].extend(runs.iter().map(|run| run.about.label.clone()));
    for (name, counts) in functions {
        let mut row = vec![short(name)];
        row.extend(counts.iter().map(|count| grouped(*count)));
        rows.push(row);
    }
    render(&rows)
}

/// The beginning of a name that is long, as those of generic functions are.
fn short(name: &str) -> String {
    const LONGEST: usize = 60;

    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    let start = name.chars().take(LONGEST - 1);
    start.chain(['…']).collect()
}

/// The stacks of a run, one a line, outermost function first.
pub fn to_folded(run: &Run, filter: Filter) -> String {
    let mut lines = BTreeMap::new();
    for stack in run.record.stacks.iter().filter(|stack| filter.takes(stack)) {
        let functions = stack.functions.iter().rev().map(String::as_str);
        let functions: Vec<&str> = functions.collect();
        *lines.entry(functions.join(";")).or_insert(0) += stack.count;
    }
    let lines = lines
        .iter()
        .map(|(line, count)| format!("{line} {count}\n"));
    lines.collect()
}
