// SPDX-License-Identifier: GPL-2.0
//! Models the TLBs of an arm64 CPU that executes the kernel, and reports how often the MMU had to
//! walk its page tables. This crate is all of it that needs no QEMU; the plugin in `tlb-plugin/`
//! feeds it with the accesses of a guest, and with the page tables that the guest really has. It
//! reads records and writes reports, nothing else.
//!
//! | module     | what it does                                             | touches     |
//! | ---------- | -------------------------------------------------------- | ----------- |
//! | [`cache`]  | one TLB                                                  | nothing     |
//! | [`walk`]   | a walk of page tables with 4 KiB pages                   | nothing     |
//! | [`model`]  | what accesses do to two levels of TLBs, and what it cost | nothing     |
//! | [`record`] | what a run leaves                                        | reads files |
//! | [`report`] | runs side by side                                        | nothing     |
//!
//! # What is modelled, and what is not
//!
//! - Accesses by instructions of the kernel to addresses of the kernel, of one CPU, in the order of
//!   the program: no speculation, no prefetches. Accesses to user space are left out, and so are
//!   the entries that those would take: in all runs the same.
//! - An entry maps one leaf of any size, or one contiguous run, in both levels. Cores split some
//!   large leaves in their first level.
//! - A set gives up the entry that was used least recently. What cores do is not published.
//! - TLBI removes what it names. TLBs are looked up as they are while tables change, so a stale entry
//!   stays until its TLBI, as in hardware.
//! - Walks read all levels. Cores keep upper levels in caches, so that what differs is the last
//!   level: count walks, and bytes of tables.
#![forbid(unsafe_code)]

pub mod cache;
pub mod model;
pub mod record;
pub mod report;
pub mod walk;
