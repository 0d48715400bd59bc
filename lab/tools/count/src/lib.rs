// SPDX-License-Identifier: GPL-2.0
//! Counts what loading and unloading kernel modules costs, and other operations on executable
//! memory, in instructions, TLBI, DSB, I-cache maintenance and IPIs, and compares kernels. This
//! crate is all of it that needs no QEMU: which instructions count ([`opcode`], [`ipi`]), where
//! they count ([`track`]), what a run leaves ([`record`]), and what is said about runs
//! ([`report`], [`most`], [`operations`], [`stacks`]). Beside that, what another plugin, in
//! `stores/`, knows of the kernel's page tables ([`leaves`]). It reads files and writes results,
//! nothing else.
//! The plugin in `plugin/` brings QEMU's events here and writes the record.
//!
//! # What is counted
//!
//! Instructions that the kernel executes
//!
//! - inside of the system calls `init_module()`, `finit_module()` and `delete_module()`: from
//!   the first instruction of `__arm64_sys_finit_module()` and its like to its return, by the
//!   task that made the call, for each call;
//! - inside of the functions by which the kernel frees memory of modules later, in kworkers
//!   (see [`track::DEFERRED`]): "deferred", for each function;
//! - with `operations=on`, inside of [`track::OPERATIONS`] and of what those defer.
//!
//! Work that is deferred to a function that is not in that list counts as "all else", which
//! the report has too: a number there that differs between kernels asks for a new entry.
//!
//! Besides single instructions there count
//!
//! - I-cache rounds: calls of `caches_clean_inval_pou()`, by which the kernel makes text that it
//!   has written visible to instruction fetches. On CPUs that need less than others for that
//!   (IDC, DIC) it executes other instructions, but as many rounds;
//! - IPIs: the CPUs to which function calls are sent ([`ipi`]), each of which is disturbed. With
//!   one CPU there are none.
//!
//! Not counted is what runs on the CPU meanwhile: other tasks, from one `cpu_switch_to()` to
//! the next, and interrupts with the soft interrupts at their end, from their entry to their
//! `ERET`, except deferred functions in them. How often those come depends on the clock, not
//! on the work. Exceptions that the task itself causes count, and soft interrupts that it runs
//! because it enables them again.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod counts;
pub mod error;
pub mod ipi;
pub mod leaves;
pub mod most;
pub mod opcode;
pub mod operations;
pub mod record;
pub mod report;
pub mod stacks;
pub mod symbols;
pub mod table;
pub mod track;
