// SPDX-License-Identifier: GPL-2.0
//! A QEMU TCG plugin that follows every store of an arm64 Linux kernel to its page tables, and
//! says which of them turn a valid executable leaf into a valid one that is not, and which change
//! an entry of the kernel's own tables in a way that needs break-before-make, without it. It
//! watches, and changes nothing in the guest; it writes one file when QEMU ends.
//!
//! usage: `-plugin libstores_plugin.so,out=FILE`
//!
//! The guest boots with `arm64.nomops`: what memory-set instructions store, QEMU does not tell.
//! What it tells of `DC ZVA`, which clears new tables, is the address alone, so that this has to
//! know where the linear map is: it sees that by the first store there.
//!
//! What counts is in [`count::leaves`]. Here are QEMU's events: stores of instructions at
//! addresses of the kernel, and at its physical addresses, where it makes its first tables; to
//! the linear map, the fixmap, and physical addresses, since tables are written nowhere else.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use qemu_plugin::{register, Args, CallbackFlags, Info, Instruction, MemRW, MemValue};

use count::leaves::{self, Direct, Leaves, Unbroken};
use count::opcode::{self, Class};
use plugin::{Common, LinearMap, Shell, Watcher, KERNEL};

register!(Shell::<Shared>::default());

/// Where QEMU's machine virt has its memory.
const MEMORY: u64 = 0x4000_0000;
const MEMORY_END: u64 = MEMORY + (4 << 30);
/// What is above is the fixmap.
const FIXMAP: u64 = 0xffff_ffff_0000_0000;
/// How many direct changes are named.
const NAMED: usize = 20;

/// What `DC ZVA` clears on QEMU's CPU max.
const ZVA_BYTES: u64 = 64;

/// All that callbacks need.
struct Shared {
    out: PathBuf,
    state: Mutex<State>,
    /// Pages of memory with words that are known, a bit each: stores to them always matter.
    pages: Vec<AtomicU64>,
    linear: LinearMap,
    common: Common,
}

#[derive(Default)]
struct State {
    leaves: Leaves,
    /// The first direct changes, and the instructions that made them.
    named: Vec<(Direct, u64)>,
    /// The first changes without break-before-make, and the instructions that made them.
    unbroken: Vec<(Unbroken, u64)>,
}

/// Whether an address is one of the guest's memory.
fn is_memory(address: u64) -> bool {
    (MEMORY..MEMORY_END).contains(&address)
}

/// Whether tables may be written through an address.
fn may_be_table(address: u64) -> bool {
    LinearMap::ADDRESSES.contains(&address) || address >= FIXMAP || is_memory(address)
}

impl Watcher for Shared {
    const NAME: &'static str = "stores";

    type Error = &'static str;

    fn new(args: &Args, _: &Info) -> Result<Self, Self::Error> {
        let mut out = args.raw.iter().filter_map(|one| one.strip_prefix("out="));
        let (Some(out), None, 1) = (out.next(), out.next(), args.raw.len()) else {
            return Err("give the plugin out=FILE and nothing else");
        };
        let words = usize::try_from((MEMORY_END - MEMORY) >> 18).unwrap_or(0);
        Ok(Self {
            out: out.into(),
            state: Mutex::default(),
            pages: (0..words).map(|_| AtomicU64::new(0)).collect(),
            linear: LinearMap::default(),
            common: Common::default(),
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_kernel(&self, address: u64) -> bool {
        address >= KERNEL || is_memory(address)
    }

    fn translate(self: &Arc<Self>, instruction: &Instruction, address: u64, opcode: u32) {
        let shared = Arc::clone(self);

        if let Some(register) = opcode::zva_address(opcode) {
            instruction.register_execute_callback_flags(
                move |_| shared.zeroed(register),
                CallbackFlags::QEMU_PLUGIN_CB_R_REGS,
            );
            return;
        }
        if let Some(Class::TlbiAll | Class::TlbiRange | Class::TlbiOne) = Class::of(opcode) {
            instruction.register_execute_callback(move |_| shared.lock().leaves.invalidate());
            return;
        }
        instruction.register_memory_access_callback(
            move |_, info, to| {
                if !may_be_table(to) {
                    return;
                }
                let Some(place) = info.hwaddr(to).filter(|place| !place.is_io()) else {
                    return;
                };
                shared.stored(address, to, place.hwaddr(), info.value());
            },
            MemRW::QEMU_PLUGIN_MEM_W,
        );
    }

    /// Writes what was found.
    fn finish(&self) -> Result<(), String> {
        let text = match self.common.problem() {
            Some(problem) => format!("problem: {problem}\n"),
            None => self.report(),
        };
        command::write(&self.out, &text).map_err(|error| error.to_string())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        plugin::lock(&self.state)
    }

    /// An instruction has stored `value` at `place` in memory, by the address `to`.
    fn stored(&self, instruction: u64, to: u64, place: u64, value: MemValue) {
        self.linear.learn(to, || Some(place));
        let words = match value {
            MemValue::U64(word) => [Some(word), None],
            MemValue::U128(both) => [Some(both as u64), Some((both >> 64) as u64)],
            // No entry is written in parts: what was there is gone.
            _ => [Some(0), None],
        };
        for (index, word) in words.into_iter().enumerate() {
            let place = (place & !7) + 8 * index as u64;
            let Some(word) = word else { continue };
            if !leaves::matters(word) && !self.is_marked(place) {
                continue;
            }
            let mut state = self.lock();
            let found = state.leaves.store(place, word);
            if state.leaves.knows(place) {
                self.mark(place);
            }
            if let Some(direct) = found.direct.filter(|_| state.named.len() < NAMED) {
                state.named.push((direct, instruction));
            }
            if let Some(unbroken) = found.unbroken.filter(|_| state.unbroken.len() < NAMED) {
                state.unbroken.push((unbroken, instruction));
            }
        }
    }

    /// `DC ZVA` clears memory at the address in a register.
    fn zeroed(&self, register: usize) {
        // XZR is no address.
        let value = self.common.registers().map(|all| all.x(register));
        let Some(value) = value.and_then(|value| self.common.read(value)) else {
            return;
        };
        let to = value & !(ZVA_BYTES - 1);
        let place = match is_memory(to) {
            true => to,
            false => self.linear.place(to),
        };
        // Tables are cleared there alone.
        if LinearMap::ADDRESSES.contains(&to) || is_memory(to) {
            if !is_memory(place) {
                let problem = format!("DC ZVA at {to:#x} is outside of memory");
                return self.common.fail(problem);
            }
            if self.is_marked(place) {
                self.lock().leaves.clear(place, ZVA_BYTES);
            }
        }
    }

    fn bit(&self, place: u64) -> Option<(&AtomicU64, u64)> {
        let page = usize::try_from(place.checked_sub(MEMORY)? >> 12).ok()?;
        Some((self.pages.get(page / 64)?, 1 << (page % 64)))
    }

    fn is_marked(&self, place: u64) -> bool {
        self.bit(place)
            .is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn mark(&self, place: u64) {
        if let Some((word, bit)) = self.bit(place) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn report(&self) -> String {
        let state = self.lock();
        let Leaves {
            stored,
            broken,
            direct,
            unbroken,
            in_tlbs,
            ..
        } = state.leaves;
        let mut text = format!(
            "executable: {stored}\nthrough invalid: {broken}\ndirect: {direct}\n\
             without break-before-make: {unbroken}\nof these not invalidated: {in_tlbs}\n"
        );
        for (direct, instruction) in &state.named {
            text += &format!(
                "entry {:#x} from {:#x} to {:#x} by the instruction at {instruction:#x}\n",
                direct.entry, direct.from, direct.to
            );
        }
        for (unbroken, instruction) in &state.unbroken {
            let Direct { entry, from, to } = unbroken.entry;
            text += &format!(
                "without break-before-make: entry {entry:#x} from {from:#x} to {to:#x} by the \
                 instruction at {instruction:#x}\n"
            );
        }
        text
    }
}
