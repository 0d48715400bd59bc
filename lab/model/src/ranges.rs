// SPDX-License-Identifier: GPL-2.0

//! Random use of `pending`, against a set of numbers.

use std::collections::HashSet;

use rand::{rngs::SmallRng, Rng, SeedableRng};

use crate::pending::Pending;

/// Makes `steps` random steps from `seed`; panics at the first that goes wrong.
pub fn run(seed: u64, steps: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut pending = Pending::new();
    let mut added = HashSet::new();

    for _ in 0..steps {
        if random.random_bool(0.6) {
            let start = random.random_range(0..4000);
            let end = start + random.random_range(0..20);
            pending.add(&(start..end));
            added.extend(start..end);
        } else if let Some(range) = pending.take(16) {
            assert!(!range.is_empty());
            assert_eq!(range.start / 16, (range.end - 1) / 16, "more than a step");
            added.retain(|number| !range.contains(number));
            if random.random_bool(0.2) {
                // What is behind the step is not wanted any more.
                let end = range.end + random.random_range(0..100);
                pending.skip(range.end, end);
                added.retain(|number| !(range.end..end).contains(number));
            }
        } else {
            assert!(added.is_empty(), "something is lost");
        }
    }
    println!("Pending: {steps} steps, no difference");
}
