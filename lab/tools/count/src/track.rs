// SPDX-License-Identifier: GPL-2.0
//! Where each vCPU's instructions count: follows the calls of some functions through context
//! switches, interrupts and migration.
//!
//! Each task has a stack of what it is in: a call of one of the functions, or an interrupt on
//! top of one. A vCPU counts for the call on top of the stack of the task that it runs; below
//! an interrupt nothing counts. The vCPU counts all the time, and what it has counted since
//! the last event goes to the place where it was counting.
//!
//! - A call begins at the function's first instruction and ends at a `RET` of the function
//!   with the same stack pointer. Calls of the functions below it belong to it.
//! - In a section the call of the module's own init function is counted once more, apart:
//!   how long that runs may depend on the clock (raid6_pq tries what is fastest).
//! - An interrupt begins at `el1h_64_irq`, where the stack pointer is at the saved registers,
//!   and ends at the `ERET` that has them removed again. What comes in between, further
//!   exceptions and other tasks included, has a stack pointer that is lower or far away.
//! - The task is SP_EL0, which is `current`; `cpu_switch_to()` has the next one in x1.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::record::{Deferred, Section};

/// The system calls: each call is a section of its own.
pub const SECTIONS: [(&str, Kind); 3] = [
    ("__arm64_sys_init_module", Kind::Load),
    ("__arm64_sys_finit_module", Kind::Load),
    ("__arm64_sys_delete_module", Kind::Unload),
];

/// Functions that do other things to executable memory, for which the system calls do too much
/// besides: each call is a section of its own, after the first module is loaded.
pub const OPERATIONS: [(&str, Kind); 8] = [
    ("bpf_prog_load", Kind::BpfLoad),
    // The last close() of a program.
    ("bpf_prog_release", Kind::BpfFree),
    // By tracefs and perf a probe is registered without being armed, and enabled then.
    ("register_kprobe", Kind::KprobeSet),
    ("enable_kprobe", Kind::KprobeSet),
    ("disable_kprobe", Kind::KprobeRemove),
    ("unregister_kprobe", Kind::KprobeRemove),
    ("register_ftrace_function", Kind::TracerOn),
    ("unregister_ftrace_function", Kind::TracerOff),
];

/// The function that calls a module's init function.
pub const INITCALL: &str = "do_one_initcall";

/// Functions of kworkers that free memory of modules later, or collapse leaves. A kernel need not have
/// all.
pub const DEFERRED: [&str; 8] = [
    // kernel/module/main.c: init text and init data
    "do_free_init",
    // arch/arm64/mm/kpgtable/shim.c: collapses leaves that were split
    "collapse_work_fn",
    // mm/execmem.c: chunks of the caches, and parts whose free failed at first
    "execmem_cache_clean",
    "execmem_cache_free_slow",
    // mm/vmalloc.c: vfree() in atomic context, and unmapped areas, lazily
    "delayed_vfree_work",
    "drain_vmap_area_work",
    "purge_vmap_node",
    "cleanup_vm_area_work",
];

/// Functions to which [`OPERATIONS`] leave a part of their work, besides [`DEFERRED`].
pub const DEFERRED_BY_OPERATIONS: [&str; 3] = [
    // kernel/bpf/: what close() has an RCU callback do, and that a kworker
    "__bpf_prog_put_rcu",
    "bpf_prog_free_deferred",
    // arch/arm64/kernel/patching.c: stop_machine() has it called in the stopper threads
    "aarch64_insn_patch_text_cb",
];

/// What is done: to a module by a system call, or by one of the other operations.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `init_module()` and `finit_module()`.
    Load,
    /// `delete_module()`.
    Unload,
    /// Nothing of that: work that was deferred.
    Deferred,
    /// A BPF program is loaded.
    BpfLoad,
    /// A BPF program is freed.
    BpfFree,
    /// A kprobe is set.
    KprobeSet,
    /// A kprobe is removed.
    KprobeRemove,
    /// The function tracer is turned on.
    TracerOn,
    /// The function tracer is turned off.
    TracerOff,
}

/// What the calls of a function are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sections, or deferred work.
    Counts(Kind),
    /// In a section, what the module itself does.
    Own,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Load,
        Self::Unload,
        Self::Deferred,
        Self::BpfLoad,
        Self::BpfFree,
        Self::KprobeSet,
        Self::KprobeRemove,
        Self::TracerOn,
        Self::TracerOff,
    ];

    /// How many sections there are of this kind each time that it is done.
    pub fn calls(self) -> u64 {
        let functions = OPERATIONS.iter().filter(|(_, kind)| *kind == self);
        match functions.count() {
            // Either of the system calls that load a module.
            0 => 1,
            functions => functions as u64,
        }
    }
}

/// A function whose calls are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What its calls are.
    pub role: Role,
}

impl Function {
    /// What its calls count for by themselves.
    fn kind(&self) -> Option<Kind> {
        match self.role {
            Role::Counts(kind) => Some(kind),
            Role::Own => None,
        }
    }
}

/// The registers that an event needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The vCPU.
    pub vcpu: usize,
    /// The task: SP_EL0.
    pub task: u64,
    /// The stack pointer.
    pub sp: u64,
    /// What the vCPU has counted since it started.
    pub now: Counts,
}

/// What a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Call { function: usize, at: At, sp: u64 },
    Interrupt { sp: u64 },
}

/// What a vCPU counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    place: usize,
    own: bool,
}

/// What instructions count for: one section, or all calls of a deferred function after sections of
/// a kind.
#[derive(Clone, Debug)]
struct Place {
    function: usize,
    /// For a deferred function, the kind of the last section that began before its calls.
    after: Option<Kind>,
    module: Option<String>,
    calls: u64,
    open: u64,
    counts: Counts,
    own: Counts,
}

impl Place {
    fn of(function: usize, after: Option<Kind>) -> Self {
        Self {
            function,
            after,
            module: None,
            calls: 0,
            open: 0,
            counts: Counts::default(),
            own: Counts::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Vcpu {
    seen: Counts,
    at: Option<At>,
}

/// Follows the calls of functions.
#[derive(Clone, Debug)]
pub struct Tracker {
    functions: Vec<Function>,
    places: Vec<Place>,
    tasks: HashMap<u64, Vec<Frame>>,
    vcpus: Vec<Vcpu>,
    /// The kind of the last section that began; none before the first module.
    last: Option<Kind>,
}

impl Tracker {
    /// The size of the registers saved at an exception is below this, and stacks are farther
    /// apart.
    const NEAR: u64 = 4096;

    /// Follows the calls of `functions`; events name one by its index.
    pub fn new(functions: Vec<Function>) -> Self {
        Self {
            functions,
            places: Vec::new(),
            tasks: HashMap::new(),
            vcpus: Vec::new(),
            last: None,
        }
    }

    /// Whether no task is in any of the functions, so that interrupts, exception returns and
    /// context switches change nothing.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What a vCPU counts for now.
    pub fn counting(&self, vcpu: usize) -> Option<Kind> {
        let place = self.places.get(self.vcpus.get(vcpu)?.at?.place)?;
        self.functions.get(place.function)?.kind()
    }

    /// A function is called.
    pub fn enter(&mut self, context: Context, function: usize) {
        let Some(role) = self.functions.get(function).map(|function| function.role) else {
            return;
        };
        // What happens before the first module, while the kernel boots, has to do with none.
        let begins = matches!(role, Role::Counts(Kind::Load | Kind::Unload));
        if self.last.is_none() && !begins {
            return;
        }
        let frames = self.tasks.get(&context.task);
        let top = frames.and_then(|frames| frames.last()).copied();
        let at = match (role, top) {
            (Role::Own, Some(Frame::Call { at, .. })) if self.is_section(at.place) => {
                At { own: true, ..at }
            }
            (Role::Own, _) | (Role::Counts(_), Some(Frame::Call { .. })) => return,
            (Role::Counts(Kind::Deferred), _) => At {
                place: self.deferred_place(function),
                own: false,
            },
            (Role::Counts(kind), _) => {
                self.last = Some(kind);
                self.places.push(Place::of(function, None));
                At {
                    place: self.places.len() - 1,
                    own: false,
                }
            }
        };
        self.settle(context.vcpu, context.now);
        self.tasks
            .entry(context.task)
            .or_default()
            .push(Frame::Call {
                function,
                at,
                sp: context.sp,
            });
        if let Some(place) = self.places.get_mut(at.place) {
            place.calls += 1;
            place.open += 1;
        }
        self.resume(context.vcpu, context.task);
    }

    /// A `RET` of a function is about to be executed.
    pub fn leave(&mut self, context: Context, function: usize) {
        let Some(frames) = self.tasks.get_mut(&context.task) else {
            return;
        };
        let ended = match frames.last() {
            Some(Frame::Call {
                function: called,
                at,
                sp,
            }) if *called == function && *sp == context.sp => *at,
            _ => return,
        };
        frames.pop();
        let done = frames.is_empty();
        self.settle(context.vcpu, context.now);
        if done {
            self.tasks.remove(&context.task);
        }
        if let Some(place) = self.places.get_mut(ended.place) {
            place.open -= 1;
        }
        self.resume(context.vcpu, context.task);
    }

    /// An interrupt is taken from the kernel.
    pub fn interrupt(&mut self, context: Context) {
        let Some(frames) = self.tasks.get_mut(&context.task) else {
            return;
        };
        if let Some(Frame::Call { .. }) = frames.last() {
            frames.push(Frame::Interrupt { sp: context.sp });
            self.settle(context.vcpu, context.now);
            self.resume(context.vcpu, context.task);
        }
    }

    /// An `ERET` is about to be executed.
    pub fn exception_return(&mut self, context: Context) {
        let Some(frames) = self.tasks.get_mut(&context.task) else {
            return;
        };
        let Some(Frame::Interrupt { sp }) = frames.last() else {
            return;
        };
        if context.sp > *sp && context.sp - *sp < Self::NEAR {
            frames.pop();
            self.settle(context.vcpu, context.now);
            self.resume(context.vcpu, context.task);
        }
    }

    /// A vCPU goes on with another task.
    pub fn switch(&mut self, vcpu: usize, next: u64, now: Counts) {
        self.settle(vcpu, now);
        self.resume(vcpu, next);
    }

    /// A task is at work on the module of that name: its section is that module's, unless it
    /// has one already.
    pub fn name(&mut self, task: u64, name: impl FnOnce() -> Option<String>) {
        let frames = self.tasks.get(&task);
        let Some(Frame::Call { at, .. }) = frames.and_then(|frames| frames.last()) else {
            return;
        };
        let place = at.place;
        if !self.is_section(place) {
            return;
        }
        let place = self.places.get_mut(place);
        if let Some(place) = place.filter(|place| place.module.is_none()) {
            place.module = name();
        }
    }

    /// The sections, in the order of their beginnings.
    pub fn sections(&self) -> Vec<Section> {
        let sections = self.places.iter().filter(|place| place.after.is_none());
        let sections = sections.filter_map(|place| {
            let function = self.functions.get(place.function)?;
            Some(Section {
                kind: function.kind()?,
                function: function.name.clone(),
                module: place.module.clone(),
                returned: place.open == 0,
                counts: place.counts,
                own: place.own,
            })
        });
        sections.collect()
    }

    /// The deferred functions.
    pub fn deferred(&self) -> Vec<Deferred> {
        let mut places: Vec<&Place> = self.places.iter().collect();
        places.sort_by_key(|place| (place.function, place.after));
        let deferred = places.into_iter().filter_map(|place| {
            Some(Deferred {
                function: self.functions.get(place.function)?.name.clone(),
                after: place.after?,
                calls: place.calls,
                returned: place.open == 0,
                counts: place.counts,
            })
        });
        deferred.collect()
    }

    /// The place of a deferred function after the last section.
    fn deferred_place(&mut self, function: usize) -> usize {
        let after = self.last;
        let mut places = self.places.iter();
        let known = places.position(|place| place.function == function && place.after == after);
        known.unwrap_or_else(|| {
            self.places.push(Place::of(function, after));
            self.places.len() - 1
        })
    }

    fn is_section(&self, place: usize) -> bool {
        let place = self.places.get(place);
        place.is_some_and(|place| place.after.is_none())
    }

    fn vcpu(&mut self, vcpu: usize) -> &mut Vcpu {
        if self.vcpus.len() <= vcpu {
            self.vcpus.resize(vcpu + 1, Vcpu::default());
        }
        &mut self.vcpus[vcpu]
    }

    /// Gives what a vCPU has counted to the place where it was counting.
    fn settle(&mut self, vcpu: usize, now: Counts) {
        let state = self.vcpu(vcpu);
        let (counted, at) = (now - state.seen, state.at);
        state.seen = now;
        let Some(at) = at else { return };
        if let Some(place) = self.places.get_mut(at.place) {
            place.counts += counted;
            if at.own {
                place.own += counted;
            }
        }
    }

    /// From here on a vCPU counts for what `task` is in.
    fn resume(&mut self, vcpu: usize, task: u64) {
        let at = match self.tasks.get(&task).and_then(|frames| frames.last()) {
            Some(Frame::Call { at, .. }) => Some(*at),
            _ => None,
        };
        self.vcpu(vcpu).at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: usize = 0;
    const UNLOAD: usize = 1;
    const FREE: usize = 2;
    const INIT: usize = 3;
    const PROBE: usize = 4;
    const TASK: u64 = 0xffff_0000_0100_0000;
    const KWORKER: u64 = 0xffff_0000_0200_0000;
    const STACK: u64 = 0xffff_8000_8100_3e00;
    const OTHER_STACK: u64 = 0xffff_8000_8200_3e00;
    const SAVED: u64 = 0x150;

    fn tracker() -> Tracker {
        let function = |name: &str, role| Function {
            name: name.to_owned(),
            role,
        };
        Tracker::new(vec![
            function("finit", Role::Counts(Kind::Load)),
            function("delete", Role::Counts(Kind::Unload)),
            function("free", Role::Counts(Kind::Deferred)),
            function("initcall", Role::Own),
            function("probe", Role::Counts(Kind::KprobeSet)),
        ])
    }

    fn at(vcpu: usize, task: u64, sp: u64, instructions: u64) -> Context {
        Context {
            vcpu,
            task,
            sp,
            now: counts(instructions),
        }
    }

    fn counts(instructions: u64) -> Counts {
        Counts {
            instructions,
            ..Counts::default()
        }
    }

    fn counted(tracker: &Tracker) -> Vec<u64> {
        let sections = tracker.sections();
        assert!(sections.iter().all(|section| section.returned));
        sections.iter().map(|s| s.counts.instructions).collect()
    }

    #[test]
    fn a_call_counts_from_its_first_instruction_to_its_return() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 100), LOAD);
        tracker.name(TASK, || Some("ext4".to_owned()));
        tracker.name(TASK, || Some("another".to_owned()));
        assert_eq!(tracker.counting(0), Some(Kind::Load));
        // An early return of a function that has the same range, such as an inner one.
        tracker.leave(at(0, TASK, STACK - 64, 120), LOAD);
        tracker.leave(at(0, TASK, STACK, 150), LOAD);
        assert!(tracker.is_idle());
        tracker.enter(at(0, TASK, STACK, 1000), UNLOAD);
        tracker.leave(at(0, TASK, STACK, 1007), UNLOAD);
        assert_eq!(counted(&tracker), [50, 7]);
        let sections = tracker.sections();
        assert_eq!(sections[0].module.as_deref(), Some("ext4"));
        assert_eq!(sections[1].kind, Kind::Unload);
    }

    #[test]
    fn other_tasks_do_not_count_and_a_task_may_migrate() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 100), LOAD);
        tracker.switch(0, KWORKER, counts(110));
        assert_eq!(tracker.counting(0), None);
        tracker.switch(1, TASK, counts(5000));
        tracker.leave(at(1, TASK, STACK, 5003), LOAD);
        tracker.switch(0, TASK, counts(900));
        assert_eq!(counted(&tracker), [13]);
    }

    #[test]
    fn interrupts_do_not_count() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 0), LOAD);
        let saved = STACK - 0x400;
        tracker.interrupt(at(0, TASK, saved, 10));
        // A nested interrupt, on the stack of interrupts, and its return.
        tracker.interrupt(at(0, TASK, OTHER_STACK - SAVED, 50));
        tracker.exception_return(at(0, TASK, OTHER_STACK, 60));
        // Preempted on the way out, with an interrupt before the task goes on.
        tracker.switch(0, KWORKER, counts(100));
        tracker.switch(0, TASK, counts(500));
        tracker.interrupt(at(0, TASK, saved - SAVED, 510));
        tracker.exception_return(at(0, TASK, saved, 520));
        assert_eq!(tracker.counting(0), None);
        tracker.exception_return(at(0, TASK, saved + SAVED, 600));
        assert_eq!(tracker.counting(0), Some(Kind::Load));
        // The return of an exception that the task itself caused.
        tracker.exception_return(at(0, TASK, saved + SAVED, 603));
        tracker.leave(at(0, TASK, STACK, 605), LOAD);
        assert_eq!(counted(&tracker), [15]);
    }

    #[test]
    fn deferred_work_counts_apart() {
        let mut tracker = tracker();
        // Before the first module.
        tracker.enter(at(0, KWORKER, OTHER_STACK, 0), FREE);
        tracker.leave(at(0, KWORKER, OTHER_STACK, 10), FREE);
        assert!(tracker.is_idle());
        // In a section: the section's.
        tracker.enter(at(0, TASK, STACK, 100), UNLOAD);
        tracker.enter(at(0, TASK, STACK - 64, 110), FREE);
        tracker.leave(at(0, TASK, STACK - 64, 120), FREE);
        // In an interrupt of a section: deferred.
        tracker.interrupt(at(0, TASK, STACK - 0x400, 130));
        tracker.enter(at(0, TASK, OTHER_STACK, 140), FREE);
        tracker.leave(at(0, TASK, OTHER_STACK, 147), FREE);
        tracker.exception_return(at(0, TASK, STACK - 0x400 + SAVED, 160));
        tracker.leave(at(0, TASK, STACK, 170), UNLOAD);
        // In a task of its own, beside a section on another vCPU.
        tracker.enter(at(1, TASK, STACK, 1000), LOAD);
        tracker.enter(at(0, KWORKER, OTHER_STACK, 200), FREE);
        tracker.leave(at(0, KWORKER, OTHER_STACK, 205), FREE);
        tracker.leave(at(1, TASK, STACK, 1001), LOAD);
        assert_eq!(counted(&tracker), [40, 1]);
        let deferred = tracker.deferred();
        let seen = deferred
            .iter()
            .map(|one| (one.calls, one.counts.instructions));
        // After the load, and after the unload.
        assert_eq!(seen.collect::<Vec<_>>(), [(1, 5), (1, 7)]);
    }

    #[test]
    fn deferred_work_belongs_to_the_last_section() {
        let mut tracker = tracker();
        for (section, instructions) in [(LOAD, 5), (UNLOAD, 7), (LOAD, 11)] {
            tracker.enter(at(0, TASK, STACK, 0), section);
            tracker.leave(at(0, TASK, STACK, 0), section);
            tracker.enter(at(0, KWORKER, OTHER_STACK, 0), FREE);
            tracker.leave(at(0, KWORKER, OTHER_STACK, instructions), FREE);
            tracker.switch(0, TASK, counts(0));
        }
        let deferred = tracker.deferred();
        let seen = deferred
            .iter()
            .map(|one| (one.after, one.calls, one.counts.instructions));
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen, [(Kind::Load, 2, 16), (Kind::Unload, 1, 7)]);
    }

    #[test]
    fn other_operations_wait_for_the_first_module() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 0), PROBE);
        assert!(tracker.is_idle());
        tracker.enter(at(0, TASK, STACK, 0), LOAD);
        // In a section: the section's, and what is deferred later stays the module's.
        tracker.enter(at(0, TASK, STACK - 64, 10), PROBE);
        tracker.leave(at(0, TASK, STACK - 64, 20), PROBE);
        tracker.leave(at(0, TASK, STACK, 30), LOAD);
        tracker.enter(at(0, KWORKER, OTHER_STACK, 30), FREE);
        tracker.leave(at(0, KWORKER, OTHER_STACK, 32), FREE);
        assert_eq!(counted(&tracker), [30]);
        tracker.enter(at(0, TASK, STACK, 40), PROBE);
        assert_eq!(tracker.counting(0), Some(Kind::KprobeSet));
        tracker.leave(at(0, TASK, STACK, 44), PROBE);
        assert_eq!(counted(&tracker), [30, 4]);
        assert_eq!(tracker.deferred()[0].after, Kind::Load);
    }

    #[test]
    fn what_the_module_does_itself_is_told() {
        let mut tracker = tracker();
        // At boot, and in deferred work: no module's.
        tracker.enter(at(0, TASK, STACK, 0), INIT);
        tracker.leave(at(0, TASK, STACK, 5), INIT);
        tracker.enter(at(0, TASK, STACK, 10), LOAD);
        tracker.enter(at(0, TASK, STACK - 64, 13), INIT);
        tracker.interrupt(at(0, TASK, STACK - 0x400, 14));
        tracker.exception_return(at(0, TASK, STACK - 0x400 + SAVED, 50));
        tracker.leave(at(0, TASK, STACK - 64, 57), INIT);
        tracker.leave(at(0, TASK, STACK, 60), LOAD);
        tracker.enter(at(0, KWORKER, STACK, 100), FREE);
        tracker.enter(at(0, KWORKER, STACK - 64, 110), INIT);
        tracker.leave(at(0, KWORKER, STACK, 120), FREE);
        assert_eq!(counted(&tracker), [14]);
        assert_eq!(tracker.sections()[0].own.instructions, 8);
        assert_eq!(tracker.deferred()[0].counts.instructions, 20);
    }

    #[test]
    fn a_call_that_did_not_return_is_told() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 0), LOAD);
        assert!(!tracker.sections()[0].returned);
    }

    #[test]
    fn unknown_functions_and_tasks_do_nothing() {
        let mut tracker = tracker();
        tracker.enter(at(0, TASK, STACK, 0), 99);
        tracker.leave(at(0, TASK, STACK, 0), LOAD);
        tracker.interrupt(at(0, TASK, STACK, 0));
        tracker.exception_return(at(7, TASK, STACK, 0));
        tracker.name(TASK, || unreachable!());
        assert!(tracker.is_idle() && tracker.sections().is_empty());
    }
}
