// SPDX-License-Identifier: GPL-2.0

//! Proofs by enumeration, and sequences of steps that shrink.
//!
//! Kani would prove the same of more values, but cannot be had from a package registry: see
//! `lab/tools/README.md`.

mod descriptors;
mod extents;
mod granules;
mod layouts;
mod machine;

/// One of `all`, or all of `few`: Miri is too slow for all.
const fn unless_miri(all: usize, few: usize) -> usize {
    if cfg!(miri) {
        few
    } else {
        all
    }
}
