// SPDX-License-Identifier: GPL-2.0
//! A QEMU TCG plugin that feeds a model of a CPU's TLBs with what an arm64 Linux kernel accesses, and
//! has it walk the page tables that the guest has at that moment. It reads registers and memory of
//! the guest and changes nothing there. On the host it reads a System.map, and writes one file, the
//! record, when QEMU ends.
//!
//! usage: `-plugin libtlb_plugin.so,symbols=System.map,out=FILE`
//!
//! The guest boots with `nokaslr` and `arm64.nomops`, and has one CPU and 4 KiB pages. It begins a
//! section, and ends the one before, by sethostname(); nothing is modelled before the first call,
//! and what follows the last one counts for nothing.
//!
//! What is modelled is in the crate `tlb`. Here are QEMU's events: blocks of instructions, which are
//! fetched, their loads and stores, and TLBI.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use qemu_plugin::{register, Args, CallbackFlags, Info, Instruction, MemRW, TranslationBlock};

use count::opcode::{self, Tlbi};
use count::symbols::Symbols;
use plugin::{Common, LinearMap, Shell, Watcher, KERNEL};
use tlb::model::{Model, Section, Side, NEOVERSE_N1};
use tlb::record::Record;
use tlb::walk::{self, Walk};

register!(Shell::<Shared>::default());

/// The system call that begins a section.
const MARK: &str = "__arm64_sys_sethostname";
/// The register number that stands for XZR where it is read.
const XZR: usize = 31;
/// The bits of TTBR1_EL1 that are an address of 48 bits.
const BADDR: u64 = 0x0000_ffff_ffff_f000;

/// All that callbacks need.
struct Shared {
    out: PathBuf,
    mark: u64,
    /// Whether a section has begun.
    runs: AtomicBool,
    linear: LinearMap,
    /// What the MMU is told about the kernel's page tables.
    tables: OnceLock<Tables>,
    state: Mutex<State>,
    common: Common,
}

/// Where the kernel's page tables are.
#[derive(Clone, Copy)]
struct Tables {
    /// The physical address of the root.
    root: u64,
    /// How many bits of addresses they translate.
    bits: u8,
}

struct State {
    model: Model,
    sections: Vec<Section>,
}

impl Watcher for Shared {
    const NAME: &'static str = "tlb";

    type Error = String;

    fn new(args: &Args, _: &Info) -> Result<Self, Self::Error> {
        let value = |name: &str| {
            let mut all = args.raw.iter().filter_map(|one| one.strip_prefix(name));
            all.next().map(PathBuf::from)
        };
        let (Some(symbols), Some(out), 2) = (value("symbols="), value("out="), args.raw.len())
        else {
            return Err("give the plugin symbols=System.map, out=FILE, and nothing else".into());
        };
        let symbols = Symbols::read(&symbols).map_err(|error| error.to_string())?;
        let mark = symbols.require(MARK).map_err(|error| error.to_string())?;
        Ok(Self {
            out,
            mark: mark.start,
            runs: AtomicBool::new(false),
            linear: LinearMap::default(),
            tables: OnceLock::new(),
            state: Mutex::new(State {
                model: Model::new(NEOVERSE_N1),
                sections: Vec::new(),
            }),
            common: Common::default(),
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_kernel(&self, address: u64) -> bool {
        address >= KERNEL
    }

    fn translate_block(self: &Arc<Self>, block: &TranslationBlock) {
        let shared = Arc::clone(self);
        let (address, count) = (block.vaddr(), block.instructions().count() as u64);

        block.register_execute_callback(move |_| {
            if shared.runs.load(Ordering::Relaxed) {
                let mut state = shared.lock();
                state.model.execute(count);
                let walk = || shared.walk(address);
                state.model.access(Side::Fetch, address, walk);
            }
        });
    }

    fn translate(self: &Arc<Self>, instruction: &Instruction, address: u64, opcode: u32) {
        let shared = Arc::clone(self);
        let flags = CallbackFlags::QEMU_PLUGIN_CB_R_REGS;

        if address == self.mark {
            let shared = Arc::clone(self);
            instruction.register_execute_callback_flags(move |_| shared.begin(), flags);
        }
        if let Some(tlbi) = Tlbi::of(opcode) {
            instruction.register_execute_callback_flags(move |_| shared.invalidate(tlbi), flags);
            return;
        }
        // QEMU does not tell of what this writes.
        if let Some(register) = opcode::zva_address(opcode) {
            instruction.register_execute_callback_flags(move |_| shared.zeroed(register), flags);
            return;
        }
        // Without the registers, which are dear: this is called for each load and store.
        instruction.register_memory_access_callback(
            move |_, info, to| {
                if !shared.counts(to) {
                    return;
                }
                let place = || info.hwaddr(to).map(|place| place.hwaddr());
                shared.linear.learn(to, place);
                let mut state = shared.lock();
                state.model.access(Side::Data, to, || shared.walk(to));
            },
            MemRW::QEMU_PLUGIN_MEM_RW,
        );
    }

    fn finish(&self) -> Result<(), String> {
        let mut state = self.lock();
        let record = Record {
            problem: self.common.problem().map(str::to_owned),
            sections: std::mem::take(&mut state.sections),
        };
        let text = serde_json::to_string(&record).map_err(|error| error.to_string())?;
        command::write(&self.out, &text).map_err(|error| error.to_string())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        plugin::lock(&self.state)
    }

    /// Whether an access to an address is modelled.
    fn counts(&self, to: u64) -> bool {
        to >= KERNEL && self.runs.load(Ordering::Relaxed)
    }

    /// `DC ZVA` clears memory at the address in a register.
    fn zeroed(&self, register: usize) {
        // XZR is no address.
        let to = self.common.registers().map(|all| all.x(register));
        if let Some(to) = to.and_then(|to| self.common.read(to)) {
            if self.counts(to) {
                let mut state = self.lock();
                state.model.access(Side::Data, to, || self.walk(to));
            }
        }
    }

    /// The guest begins a section.
    fn begin(&self) {
        if self.tables.get().is_none() {
            if let Some(tables) = self.tables() {
                self.tables.get_or_init(|| tables);
            }
        }
        let mut state = self.lock();
        let section = state.model.take();
        if self.runs.swap(true, Ordering::Relaxed) {
            state.sections.push(section);
        }
    }

    /// Reads where the kernel's page tables are. The kernel does not change that any more.
    fn tables(&self) -> Option<Tables> {
        let registers = self.common.registers()?;
        let root = self.common.read(registers.ttbr1())?;
        let control = self.common.read(registers.tcr())?;
        // T1SZ. With 52 bits of addresses, entries have another form.
        let bits = 64 - (control >> 16 & 0x3f) as u8;
        if bits > 48 {
            let problem = format!("addresses have {bits} bits, the model knows 48");
            self.common.fail(problem);
            return None;
        }
        Some(Tables {
            root: root & BADDR,
            bits,
        })
    }

    /// Walks the kernel's page tables.
    fn walk(&self, va: u64) -> Option<Walk> {
        let tables = self.tables.get()?;
        walk::walk(tables.root, tables.bits, va, |place| {
            // Before the very first accesses QEMU has not shown where the linear map is.
            let entry = plugin::memory(self.linear.address(place)?, 8);
            let entry = entry.and_then(|bytes| plugin::number(&bytes));
            self.common
                .read(entry.ok_or_else(|| format!("no entry at {place:#x} can be read")))
        })
    }

    /// A TLBI is executed.
    fn invalidate(&self, tlbi: Tlbi) {
        if !self.runs.load(Ordering::Relaxed) {
            return;
        }
        let operand = |register| match register {
            XZR => Some(0),
            register => {
                let registers = self.common.registers()?;
                self.common.read(registers.x(register))
            }
        };
        let range = match tlbi {
            Tlbi::All => Some((0, u64::MAX)),
            Tlbi::Asid => None,
            Tlbi::Address(register) => operand(register).map(Tlbi::address),
            Tlbi::Range(register) => operand(register).map(Tlbi::range),
        };
        // Nothing of user space is in the model.
        if let Some((first, last)) = range.filter(|(_, last)| *last >= KERNEL) {
            self.lock().model.invalidate(first, last);
        }
    }
}
