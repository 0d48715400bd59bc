// SPDX-License-Identifier: GPL-2.0

//! The page-table code of the series that touches no hardware, made of the very files that change
//! the live kernel's tables, and what proves it on any machine:
//!
//! - `cargo test`: domains that are small are enumerated (`tests/`: descriptors, translation
//!   granules, extents, and two changes between all boundaries of a few leaves), and sequences of
//!   steps are generated and shrunk (`tests/machine.rs`, with proptest-state-machine);
//! - `lab/cargo miri`: the same tests, fewer of each, under Miri;
//! - the command `model`: a million random steps ([`volume`]), and how many steps a pass takes
//!   ([`passes`]).
//!
//! A step is a permission change, a split, a collapse, or the like, on modelled translation tables.
//! After it, every page that a written entry maps must have exactly the attributes and the output
//! address that the oracle, which knows single pages, has for it; be mapped by a leaf, or contiguous
//! run, that is whole and no smaller than the cuts need that nothing has collapsed since; and a step
//! that fails must have changed nothing. A table that is withdrawn is neither read nor written
//! again, and was not before what led to it was invalidated.
// `kernel` and `tables` alone have unsafe code: descriptors are made of bits, and a trait of the
// kernel has an unsafe function.
#![deny(unsafe_code)]

// As in the kernel.
#[allow(clippy::precedence, dead_code, unsafe_code)]
mod kernel;
mod model;
mod oracle;
pub mod passes;
mod tables;
#[cfg(test)]
mod tests;
pub mod volume;
