// SPDX-License-Identifier: GPL-2.0

//! Where leaves may be worth joining: a few ranges of addresses that cover all that changed.
//!
//! Pure: uses `core` alone.

use core::ops::Range;

/// Ranges of addresses, of which there is room for a few: when there is none, two become one that
/// covers both, and what is between them.
pub(crate) struct Pending {
    /// Not empty, not touching each other, in no order; the first `used` of them.
    ranges: [Range<usize>; Self::ROOM],
    used: usize,
}

impl Pending {
    const ROOM: usize = 16;

    /// Returns one without ranges.
    pub(crate) const fn new() -> Self {
        Self {
            ranges: [const { 0..0 }; Self::ROOM],
            used: 0,
        }
    }

    /// Adds `range`.
    pub(crate) fn add(&mut self, range: &Range<usize>) {
        let mut new = range.clone();
        if new.is_empty() {
            return;
        }
        loop {
            let ranges = &self.ranges[..self.used];
            let near = match ranges.iter().position(|old| gap(old, &new) == 0) {
                Some(near) => near,
                None if self.used < Self::ROOM => {
                    self.ranges[self.used] = new;
                    self.used += 1;
                    return;
                }
                None => (0..self.used)
                    .min_by_key(|&index| gap(&ranges[index], &new))
                    .unwrap_or(0),
            };
            // What covers both may touch others.
            let old = self.remove(near);
            new = old.start.min(new.start)..old.end.max(new.end);
        }
    }

    /// Takes the first part of a range, up to the next multiple of `step`, a power of two.
    pub(crate) fn take(&mut self, step: usize) -> Option<Range<usize>> {
        let first = self.ranges[..self.used].first_mut()?;
        let start = first.start;
        let boundary = (start & !(step - 1)).checked_add(step);

        match boundary.filter(|&boundary| boundary < first.end) {
            Some(boundary) => {
                first.start = boundary;
                Some(start..boundary)
            }
            None => Some(self.remove(0)),
        }
    }

    /// Forgets what begins at `from` up to `to`: the rest of what [`Self::take`] took from.
    pub(crate) fn skip(&mut self, from: usize, to: usize) {
        let ranges = &self.ranges[..self.used];
        let Some(index) = ranges.iter().position(|range| range.start == from) else {
            return;
        };
        if self.ranges[index].end <= to {
            self.remove(index);
        } else if from < to {
            self.ranges[index].start = to;
        }
    }

    fn remove(&mut self, index: usize) -> Range<usize> {
        self.used -= 1;
        self.ranges.swap(index, self.used);
        self.ranges[self.used].clone()
    }
}

/// Returns how many addresses are between two ranges: 0 if they touch or overlap.
fn gap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.start.max(b.start).saturating_sub(a.end.min(b.end))
}
