// SPDX-License-Identifier: GPL-2.0
//! A QEMU TCG plugin that follows every store of an arm64 Linux kernel to its page tables, and
//! says which of them turn a valid executable leaf into a valid one that is not. It watches, and
//! changes nothing in the guest; it writes one file when QEMU ends.
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
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use qemu_plugin::{
    Args, CallbackFlags, HasCallbacks, Info, Instruction, MemRW, MemValue, PluginId, Register,
    RegisterDescriptor, TranslationBlock, VCPUIndex, qemu_plugin_get_registers, register,
};

use count::leaves::{self, Direct, Leaves};

register!(Plugin::default());

/// Where QEMU's machine virt has its memory.
const MEMORY: u64 = 0x4000_0000;
const MEMORY_END: u64 = MEMORY + (4 << 30);
/// No address of user space is as high.
const KERNEL: u64 = 0xfff0_0000_0000_0000;
/// The end of the linear map.
const LINEAR_END: u64 = 0xffff_8000_0000_0000;
/// What is above is the fixmap.
const FIXMAP: u64 = 0xffff_ffff_0000_0000;
/// How many direct changes are named.
const NAMED: usize = 20;

/// `DC ZVA, Xt`, without the register.
const DC_ZVA: u32 = 0xd50b_7420;
/// What it clears on QEMU's CPU max.
const ZVA_BYTES: u64 = 64;

/// All that callbacks need.
struct Shared {
    out: PathBuf,
    state: Mutex<State>,
    /// Pages of memory with words that are known, a bit each: stores to them always matter.
    pages: Vec<AtomicU64>,
    /// From an address in memory to that in the linear map; 0 until a store there is seen.
    linear: AtomicU64,
    registers: OnceLock<Vec<RegisterDescriptor<'static>>>,
    problem: OnceLock<String>,
}

#[derive(Default)]
struct State {
    leaves: Leaves,
    /// The first direct changes, and the instructions that made them.
    named: Vec<(Direct, u64)>,
}

#[derive(Default)]
struct Plugin {
    shared: OnceLock<Arc<Shared>>,
}

impl Register for Plugin {
    fn register(&mut self, id: PluginId, args: &Args, _: &Info) -> qemu_plugin::Result<()> {
        let mut out = args.raw.iter().filter_map(|one| one.strip_prefix("out="));
        let (Some(out), None, 1) = (out.next(), out.next(), args.raw.len()) else {
            eprintln!("stores: give the plugin out=FILE and nothing else");
            process::exit(1);
        };
        let words = usize::try_from((MEMORY_END - MEMORY) >> 18).unwrap_or(0);
        let shared = Arc::new(Shared {
            out: out.into(),
            state: Mutex::default(),
            pages: (0..words).map(|_| AtomicU64::new(0)).collect(),
            linear: AtomicU64::new(0),
            registers: OnceLock::new(),
            problem: OnceLock::new(),
        });
        let last = Arc::clone(&shared);
        qemu_plugin::qemu_plugin_register_atexit_cb(id, move |_| last.finish())?;
        self.shared.get_or_init(|| shared);
        Ok(())
    }
}

impl HasCallbacks for Plugin {
    fn on_vcpu_init(&mut self, _: PluginId, _: VCPUIndex) -> qemu_plugin::Result<()> {
        if let Some(shared) = self.shared.get() {
            let all = qemu_plugin_get_registers()?;
            let x = (0..31).filter_map(|number| {
                let name = format!("x{number}");
                all.iter().find(|register| register.name == name).cloned()
            });
            shared.registers.get_or_init(|| x.collect());
        }
        Ok(())
    }

    fn on_translation_block_translate(
        &mut self,
        _: PluginId,
        block: TranslationBlock,
    ) -> qemu_plugin::Result<()> {
        let is_kernel = block.vaddr() >= KERNEL || is_memory(block.vaddr());
        if let Some(shared) = self.shared.get()
            && is_kernel
        {
            for instruction in block.instructions() {
                shared.translate(&instruction);
            }
        }
        Ok(())
    }
}

/// Whether an address is one of the guest's memory.
fn is_memory(address: u64) -> bool {
    (MEMORY..MEMORY_END).contains(&address)
}

/// Whether tables may be written through an address.
fn may_be_table(address: u64) -> bool {
    (KERNEL..LINEAR_END).contains(&address) || address >= FIXMAP || is_memory(address)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is wrong that makes the result worthless.
    fn fail(&self, problem: String) {
        self.problem.get_or_init(|| problem);
    }

    fn translate(self: &Arc<Self>, instruction: &Instruction) {
        let address = instruction.vaddr();
        let mut bytes = [0; 4];
        if instruction.read_data(&mut bytes) != bytes.len() {
            self.fail(format!("the instruction at {address:#x} cannot be read"));
        }
        let opcode = u32::from_le_bytes(bytes);
        let shared = Arc::clone(self);

        if opcode & !0x1f == DC_ZVA {
            let register = (opcode & 0x1f) as usize;
            instruction.register_execute_callback_flags(
                move |_| shared.zeroed(register),
                CallbackFlags::QEMU_PLUGIN_CB_R_REGS,
            );
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

    /// An instruction has stored `value` at `place` in memory, by the address `to`.
    fn stored(&self, instruction: u64, to: u64, place: u64, value: MemValue) {
        if (KERNEL..LINEAR_END).contains(&to) && self.linear.load(Ordering::Relaxed) == 0 {
            self.linear.store(to.wrapping_sub(place), Ordering::Relaxed);
        }
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
            let direct = state.leaves.store(place, word);
            if state.leaves.knows(place) {
                self.mark(place);
            }
            if let Some(direct) = direct
                && state.named.len() < NAMED
            {
                state.named.push((direct, instruction));
            }
        }
    }

    /// `DC ZVA` clears memory at the address in a register.
    fn zeroed(&self, register: usize) {
        // XZR is no address.
        let Some(register) = self.registers.get().and_then(|all| all.get(register)) else {
            return self.fail("a register cannot be read".to_owned());
        };
        let value = register.read().map(|bytes| bytes.try_into());
        let Ok(Ok(bytes)) = value else {
            return self.fail("a register is not of 64 bits".to_owned());
        };
        let to = u64::from_le_bytes(bytes) & !(ZVA_BYTES - 1);
        let place = match is_memory(to) {
            true => to,
            false => to.wrapping_sub(self.linear.load(Ordering::Relaxed)),
        };
        // Tables are cleared there alone.
        if (KERNEL..LINEAR_END).contains(&to) || is_memory(to) {
            if !is_memory(place) {
                return self.fail(format!("DC ZVA at {to:#x} is outside of memory"));
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

    fn finish(&self) {
        let text = match self.problem.get() {
            Some(problem) => format!("problem: {problem}\n"),
            None => self.report(),
        };
        if let Err(error) = std::fs::write(&self.out, text) {
            eprintln!("stores: {}: {error}", self.out.display());
        }
    }

    fn report(&self) -> String {
        let state = self.lock();
        let Leaves {
            stored,
            broken,
            direct,
            ..
        } = state.leaves;
        let mut text =
            format!("executable: {stored}\nthrough invalid: {broken}\ndirect: {direct}\n");
        for (direct, instruction) in &state.named {
            text += &format!(
                "entry {:#x} from {:#x} to {:#x} by the instruction at {instruction:#x}\n",
                direct.entry, direct.from, direct.to
            );
        }
        text
    }
}
