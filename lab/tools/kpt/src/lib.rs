// SPDX-License-Identifier: GPL-2.0
//! Reads what an arm64 kernel prints about its own page tables, and says how far a region
//! is split: how many bytes each leaf size maps, how many last-level tables that
//! takes, what may be written and what may be executed.
//!
//! The input is a copy of `/sys/kernel/debug/kernel_page_tables` (`CONFIG_PTDUMP_DEBUGFS`).
//! The copy has to be whole: each line starts where the line before it ended, and the last
//! one ends at the top of the address space, so a copy that lacks a line is refused instead
//! of being counted short.
//!
//! # Modules
//!
//! | module       | what it does                                              | touches          |
//! | ------------ | --------------------------------------------------------- | ---------------- |
//! | [`granule`] | page size, level, leaf size, address ranges               | nothing          |
//! | [`dump`]     | the parser: text to regions and their lines               | nothing          |
//! | [`same`]     | two runs of kernels that should be alike (`kpt same`)     | reads run dirs   |
//! | [`aliases`]  | aliases of cached memory (`kpt aliases`)                  | reads samples    |
//! | [`summary`]  | counters of one region (`kpt show`)                       | nothing          |
//! | [`diff`]     | what changed between two dumps (`kpt diff`)               | nothing          |
//! | [`map`]      | a region as a picture (`kpt map`)                         | nothing          |
//! | [`report`]   | the headline table (`kpt report`)                         | reads run dirs   |
//! | [`text`]     | where module text lies (`kpt text`)                       | nothing          |
//! | [`wx`]       | what is writable and executable (`kpt check-wx`)          | nothing          |
//! | [`layout`]   | humanised sizes, aligned columns                          | nothing          |
//! | [`input`]    | reads a file or stdin as text                            | the file system  |
//! | [`error`]    | every way in which input can be wrong, with its remedy    | nothing          |
//!
//! "Nothing" means that the module works on values that it is given. The binary holds the
//! command line alone.
//!
//! # Words
//!
//! A *leaf* is an entry that maps memory, a *block* a leaf above the last level. A
//! *contiguous run* is a group of adjacent leaves that carry the contiguous hint and can
//! share one TLB entry. An *L3 table* is a last-level table, whatever the number of levels.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aliases;
pub mod counters;
pub mod diff;
pub mod dump;
pub mod error;
pub mod granule;
pub mod input;
pub mod layout;
pub mod map;
pub mod report;
pub mod restored;
pub mod same;
pub mod summary;
pub mod text;
pub mod wx;
