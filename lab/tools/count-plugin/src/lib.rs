// SPDX-License-Identifier: GPL-2.0
//! A QEMU TCG plugin that counts the instructions, TLBI, DSB, I-cache rounds and IPIs that loads
//! and unloads of modules take an arm64 Linux kernel, and the work that they defer. It watches: it
//! reads registers and memory of the guest and changes nothing there. On the host it reads a
//! System.map and writes one file, the record, when QEMU ends.
//!
//! usage: `-plugin libcount_plugin.so,symbols=System.map,out=FILE[,stacks=on][,operations=on]`
//!
//! The guest boots with `nokaslr`. What counts, and why that is sound, is in the crate
//! `count`; here are QEMU's events:
//!
//! - Generated code adds to a [`count::counts::Counts`] of each vCPU, in line: for each instruction of the
//!   kernel one addition, for a TLBI and its like a second one. User instructions have none.
//! - Few addresses have a callback, before or after that addition: where functions begin that
//!   are followed, `RET` in them, where interrupts and context switches begin, `ERET`. It
//!   tells the [`Tracker`], with what the vCPU has counted up to there.
//! - The write that sends an interrupt to other CPUs has a callback that reads what it writes.
//! - With `stacks=on` each TLBI and DSB, and what else has its stacks recorded, has a callback
//!   that walks the frame pointers, and each block of
//!   instructions one that is called while the vCPU counts.

mod machine;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use qemu_plugin::{register, Args, CallbackFlags, Info, Instruction, TranslationBlock, VCPUIndex};

use command::FileError;
use count::arguments::Arguments;
use count::error::Error;
use count::ipi;
use count::opcode::{self, Class, Leave};
use count::record::{self, Event, FunctionCost, Record, Stack};
use count::symbols::{Code, Symbols};
use count::track::{
    Context, Function, Kind, Role, Tracker, DEFERRED, DEFERRED_BY_OPERATIONS, INITCALL, OPERATIONS,
    SECTIONS,
};

use machine::{Board, Switches};
use plugin::{number, Common, Registers, Shell, Watcher};

register!(Shell::<Shared>::default());

/// Where `struct module` has its name, and how long that can be: `state` and `list` come first.
const MODULE_NAME: (u64, usize) = (24, 56);

/// The function that makes text that was written visible to instruction fetches.
const ICACHE_ROUND: &str = "caches_clean_inval_pou";

/// The register number that stands for XZR where it is read.
const XZR: usize = 31;

/// No address of user space is as high.
const KERNEL: u64 = 0xffff_0000_0000_0000;

/// Functions that get a `struct module *` first when the name is known and still there.
const NAMING: [&str; 2] = ["do_init_module", "free_module"];

/// What happens at an address.
#[derive(Clone, Copy, Debug)]
enum Hook {
    /// The function with this number begins.
    Enter(usize),
    /// An interrupt of the kernel begins.
    Interrupt,
    /// A context switch begins.
    Switch,
    /// A module is in x0.
    Name,
}

/// The functions of a way to an event: numbers of [`Symbols`], none for a module's.
type Way = (Kind, Event, Vec<Option<usize>>);

/// What changes while the guest runs.
struct State {
    tracker: Tracker,
    ways: HashMap<Way, u64>,
}

/// All that callbacks need.
struct Shared {
    out: PathBuf,
    stacks: bool,
    symbols: Symbols,
    absent: Vec<String>,
    hooks: HashMap<u64, Vec<Hook>>,
    /// Where [`ICACHE_ROUND`] begins: all its names stand for this address.
    icache_round: u64,
    followed: Vec<Code>,
    /// The numbers that the followed functions have in `symbols`: there stacks end.
    roots: HashSet<usize>,
    board: Board,
    /// The kind that each vCPU counts for, as 1 and up in [`Kind::ALL`].
    switches: Switches,
    /// Instructions of each function in `symbols`, and last of modules, by kind.
    functions: Vec<[AtomicU64; Kind::ALL.len()]>,
    common: Common,
    state: Mutex<State>,
}

impl Watcher for Shared {
    const NAME: &'static str = "count";

    type Error = Error;

    fn new(args: &Args, info: &Info) -> Result<Self, Error> {
        let arguments = Arguments::parse(&args.raw)?;
        if info.target_name != "aarch64" || info.system.is_none() {
            return Err(Error::Argument {
                argument: info.target_name.clone(),
                problem: "this plugin is for qemu-system-aarch64",
            });
        }
        let symbols = Symbols::read(&arguments.symbols)?;
        let mut this = Self {
            out: arguments.out,
            stacks: arguments.stacks,
            absent: Vec::new(),
            hooks: HashMap::new(),
            icache_round: symbols.require(ICACHE_ROUND)?.start,
            followed: Vec::new(),
            roots: HashSet::new(),
            board: Board::new(),
            switches: Switches::new(),
            functions: (0..=symbols.len()).map(|_| Default::default()).collect(),
            common: Common::default(),
            state: Mutex::new(State {
                tracker: Tracker::new(Vec::new()),
                ways: HashMap::new(),
            }),
            symbols,
        };
        let mut functions = Vec::new();
        let (operations, their_deferred) = match arguments.operations {
            true => (&OPERATIONS[..], &DEFERRED_BY_OPERATIONS[..]),
            false => (&[][..], &[][..]),
        };
        for &(name, kind) in SECTIONS.iter().chain(operations) {
            let code = this.symbols.require(name)?;
            this.follow(&mut functions, name, Role::Counts(kind), code);
        }
        for name in DEFERRED.iter().chain(their_deferred).copied() {
            match this.symbols.find(name) {
                Some(code) => {
                    let role = Role::Counts(Kind::Deferred);
                    this.follow(&mut functions, name, role, code);
                }
                None => this.absent.push(name.to_owned()),
            }
        }
        let code = this.symbols.require(INITCALL)?;
        this.follow(&mut functions, INITCALL, Role::Own, code);
        for name in NAMING {
            this.hook(name, Hook::Name)?;
        }
        this.hook("el1h_64_irq", Hook::Interrupt)?;
        this.hook("cpu_switch_to", Hook::Switch)?;
        this.lock().tracker = Tracker::new(functions);
        Ok(this)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_kernel(&self, address: u64) -> bool {
        address >= KERNEL
    }

    /// Has the instructions of a block counted for the function that it is in.
    fn translate_block(self: &Arc<Self>, block: &TranslationBlock) {
        if !self.stacks {
            return;
        }
        let shared = Arc::clone(self);
        let function = self.symbols.index(block.vaddr());
        let function = function.unwrap_or(self.symbols.len());
        let instructions = block.size() as u64;
        self.switches.call(block, move |vcpu| {
            let kind = usize::try_from(shared.switches.get(vcpu)).unwrap_or(0);
            let counts = shared.functions.get(function);
            if let Some(count) = counts.and_then(|counts| counts.get(kind.checked_sub(1)?)) {
                count.fetch_add(instructions, Ordering::Relaxed);
            }
        });
    }

    /// Says what happens when an instruction of the kernel is executed: what this registers is
    /// done in this order.
    fn translate(self: &Arc<Self>, instruction: &Instruction, address: u64, opcode: u32) {
        let class = Class::of(opcode);

        for hook in self.hooks.get(&address).into_iter().flatten().copied() {
            self.call(instruction, move |shared, vcpu| shared.at(hook, vcpu));
        }
        self.board.count(instruction, class);
        match Leave::of(opcode) {
            Some(Leave::Return) => {
                let followed = self.followed.iter();
                if let Some(function) = followed.clone().position(|one| one.holds(address)) {
                    self.call(instruction, move |shared, vcpu| {
                        shared.at_return(function, vcpu);
                    });
                }
            }
            Some(Leave::Exception) => self.call(instruction, Self::at_exception_return),
            None => {}
        }
        if let Some(source) = opcode::sgi_source(opcode) {
            self.call(instruction, move |shared, vcpu| {
                shared.at_sgi(source, address, vcpu);
            });
        }
        let round = (address == self.icache_round).then_some(Event::Icache);
        if round.is_some() {
            self.board.count_icache(instruction);
        }
        if self.stacks {
            let barrier = match class {
                Some(Class::Dsb) => Some(Event::Dsb),
                Some(Class::TlbiAll | Class::TlbiRange | Class::TlbiOne) => Some(Event::Tlbi),
                _ => None,
            };
            for event in [barrier, round].into_iter().flatten() {
                self.call(instruction, move |shared, vcpu| {
                    shared.at_event(event, 1, address, vcpu);
                });
            }
        }
    }

    /// Writes the record.
    fn finish(&self) -> Result<(), String> {
        if let Some(problem) = self.common.problem() {
            return Err(format!(
                "{problem}; there is no record of this run\n  remedy: use the toolchain root's QEMU"
            ));
        }
        let state = self.lock();
        let name = |function: &Option<usize>| {
            let name = function.and_then(|function| self.symbols.name(function));
            name.unwrap_or_else(|| "[module]".to_owned())
        };
        let stacks = state.ways.iter().map(|((kind, event, way), count)| Stack {
            kind: *kind,
            event: *event,
            functions: way.iter().map(name).collect(),
            count: *count,
        });
        let mut stacks: Vec<Stack> = stacks.collect();
        stacks.sort();
        let functions = self
            .functions
            .iter()
            .enumerate()
            .flat_map(|(index, counts)| {
                let costs = counts
                    .iter()
                    .zip(Kind::ALL)
                    .map(move |(count, kind)| FunctionCost {
                        kind,
                        function: name(&Some(index)),
                        instructions: count.load(Ordering::Relaxed),
                    });
                costs.filter(|cost| cost.instructions != 0)
            });
        let record = Record {
            sections: state.tracker.sections(),
            deferred: state.tracker.deferred(),
            absent: self.absent.clone(),
            stacks,
            functions: functions.collect(),
            whole: self.board.sum(),
        };
        let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
        // A file that is there is whole.
        let part = self.out.with_extension("part");
        std::fs::write(&part, text + "\n")
            .and_then(|()| std::fs::rename(&part, &self.out))
            .map_err(|source| {
                let file = self.out.display().to_string();
                FileError::Write { file, source }.to_string()
            })
    }
}

impl Shared {
    fn follow(&mut self, functions: &mut Vec<Function>, name: &str, role: Role, code: Code) {
        let hook = Hook::Enter(functions.len());
        self.hooks.entry(code.start).or_default().push(hook);
        self.followed.push(code);
        if role != Role::Own {
            self.roots.extend(self.symbols.index(code.start));
        }
        functions.push(Function {
            name: name.to_owned(),
            role,
        });
    }

    fn hook(&mut self, name: &str, hook: Hook) -> Result<(), Error> {
        let start = self.symbols.require(name)?.start;
        self.hooks.entry(start).or_default().push(hook);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        plugin::lock(&self.state)
    }

    /// Has `callback` called at an instruction, with registers that can be read.
    fn call<F>(self: &Arc<Self>, instruction: &Instruction, callback: F)
    where
        F: Fn(&Self, VCPUIndex) + Send + Sync + 'static,
    {
        let shared = Arc::clone(self);
        instruction.register_execute_callback_flags(
            move |vcpu| callback(&shared, vcpu),
            CallbackFlags::QEMU_PLUGIN_CB_R_REGS,
        );
    }

    /// What the tracker wants to know of a vCPU; none, and the run fails, if it can't be read.
    fn context(&self, vcpu: VCPUIndex) -> Option<Context> {
        let registers = self.registers()?;
        Some(Context {
            vcpu: vcpu as usize,
            task: self.read(registers.task())?,
            sp: self.read(registers.sp())?,
            now: self.board.read(vcpu),
        })
    }

    fn read(&self, register: Result<u64, String>) -> Option<u64> {
        self.common.read(register)
    }

    fn registers(&self) -> Option<&Registers> {
        self.common.registers()
    }

    fn at(&self, hook: Hook, vcpu: VCPUIndex) {
        let mut state = self.lock();
        let tracker = &mut state.tracker;
        // An idle tracker waits for a function to begin. Skipped events change nothing.
        if !matches!(hook, Hook::Enter(_)) && tracker.is_idle() {
            return;
        }
        let Some(registers) = self.registers() else {
            return;
        };
        match hook {
            Hook::Enter(function) => {
                if let Some(context) = self.context(vcpu) {
                    tracker.enter(context, function);
                }
            }
            Hook::Interrupt => {
                if let Some(context) = self.context(vcpu) {
                    tracker.interrupt(context);
                }
            }
            Hook::Switch => {
                if let Some(next) = self.read(registers.x(1)) {
                    tracker.switch(vcpu as usize, next, self.board.read(vcpu));
                }
            }
            Hook::Name => {
                let both = (self.read(registers.task()), self.read(registers.x(0)));
                if let (Some(task), Some(module)) = both {
                    let (offset, length) = MODULE_NAME;
                    tracker.name(task, || {
                        let field = plugin::memory(module.wrapping_add(offset), length)?;
                        record::module_name(&field)
                    });
                }
            }
        }
        self.switch(tracker, vcpu);
    }

    /// Turns the callbacks of blocks on while a vCPU counts.
    fn switch(&self, tracker: &Tracker, vcpu: VCPUIndex) {
        if self.stacks {
            let kind = tracker.counting(vcpu as usize);
            let place = kind.and_then(|kind| Kind::ALL.iter().position(|one| *one == kind));
            self.switches
                .set(vcpu, place.map_or(0, |place| place as u64 + 1));
        }
    }

    fn at_return(&self, function: usize, vcpu: VCPUIndex) {
        let mut state = self.lock();
        if state.tracker.is_idle() {
            return;
        }
        if let Some(context) = self.context(vcpu) {
            state.tracker.leave(context, function);
            self.switch(&state.tracker, vcpu);
        }
    }

    fn at_exception_return(&self, vcpu: VCPUIndex) {
        let mut state = self.lock();
        if state.tracker.is_idle() {
            return;
        }
        if let Some(context) = self.context(vcpu) {
            state.tracker.exception_return(context);
            self.switch(&state.tracker, vcpu);
        }
    }

    /// The general register `source` is about to be written to ICC_SGI1R_EL1.
    fn at_sgi(&self, source: usize, address: u64, vcpu: VCPUIndex) {
        let Some(registers) = self.registers() else {
            return;
        };
        let value = match source {
            XZR => Some(0),
            _ => self.read(registers.x(source)),
        };
        let Some(value) = value else {
            return;
        };
        let cpus = ipi::called_cpus(value, machine::vcpus());
        if cpus == 0 {
            return;
        }
        if let Err(problem) = self.board.add_ipi(vcpu, cpus) {
            self.common.fail(problem);
        }
        if self.stacks {
            self.at_event(Event::Ipi, cpus, address, vcpu);
        }
    }

    /// Records from where `event` comes, which counts `times` times.
    fn at_event(&self, event: Event, times: u64, address: u64, vcpu: VCPUIndex) {
        let mut state = self.lock();
        if let Some(kind) = state.tracker.counting(vcpu as usize) {
            let way = (kind, event, self.way(address));
            *state.ways.entry(way).or_insert(0) += times;
        }
    }

    /// The functions that an instruction is executed in, outwards to one that is followed.
    fn way(&self, address: u64) -> Vec<Option<usize>> {
        const DEEPEST: usize = 64;

        let mut way = vec![self.symbols.index(address)];
        let Some(registers) = self.registers() else {
            return way;
        };
        let (Some(mut frame), Some(link)) =
            (self.read(registers.x(29)), self.read(registers.x(30)))
        else {
            return way;
        };
        let caller = |link: u64| self.symbols.index(link.wrapping_sub(4));
        while way.len() < DEEPEST {
            let Some(record) = plugin::memory(frame, 16) else {
                break;
            };
            let (next, above) = record.split_at(8);
            let (Some(next), Some(above)) = (number(next), number(above)) else {
                break;
            };
            // A function that has no frame of its own has its caller in x30 alone. In others
            // x30 is anything.
            if way.len() == 1 && link != above && caller(link) != way[0] && follows_call(link) {
                way.push(caller(link));
            }
            way.push(caller(above));
            if way
                .iter()
                .flatten()
                .any(|function| self.roots.contains(function))
                || next <= frame
            {
                break;
            }
            frame = next;
        }
        way
    }
}

/// Whether an address is where a call returns to.
fn follows_call(address: u64) -> bool {
    let before = address.wrapping_sub(4);
    let bytes = (address >= KERNEL)
        .then(|| plugin::memory(before, 4))
        .flatten();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.is_some_and(|bytes| opcode::is_call(u32::from_le_bytes(bytes)))
}
