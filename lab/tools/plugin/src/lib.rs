// SPDX-License-Identifier: GPL-2.0
//! What the lab's QEMU TCG plugins have in common: a [`Watcher`] is made when QEMU starts, is shown
//! each instruction of the kernel when it is translated, and writes what it has seen when QEMU ends.
//! A plugin watches, and changes nothing in the guest.

mod linear_map;
mod memory;

use std::fmt::Display;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use qemu_plugin::{
    qemu_plugin_get_registers, qemu_plugin_register_atexit_cb, Args, HasCallbacks, Info,
    Instruction, PluginId, Register, RegisterDescriptor, TranslationBlock, VCPUIndex,
};

pub use linear_map::{LinearMap, KERNEL};
pub use memory::memory;

/// What a plugin sees and does.
pub trait Watcher: Sized + Send + Sync + 'static {
    /// The name of the plugin in messages.
    const NAME: &'static str;

    /// Why the plugin cannot start.
    type Error: Display;

    /// Makes the watcher from the plugin's arguments.
    fn new(args: &Args, info: &Info) -> Result<Self, Self::Error>;

    /// What all plugins have.
    fn common(&self) -> &Common;

    /// Returns whether code at an address is the kernel's.
    fn is_kernel(&self, address: u64) -> bool;

    /// A block of the kernel's instructions is translated.
    fn translate_block(self: &Arc<Self>, _: &TranslationBlock) {}

    /// An instruction of the kernel is translated: has callbacks registered for it.
    fn translate(self: &Arc<Self>, instruction: &Instruction, address: u64, opcode: u32);

    /// QEMU ends: writes what was seen, or returns why not.
    fn finish(&self) -> Result<(), String>;
}

/// What all plugins have: the registers of vCPUs, and what has gone wrong.
#[derive(Default)]
pub struct Common {
    registers: OnceLock<Registers>,
    problem: OnceLock<String>,
}

impl Common {
    /// Something is wrong that makes the result worthless.
    pub fn fail(&self, problem: String) {
        self.problem.get_or_init(|| problem);
    }

    /// What has gone wrong, if anything.
    pub fn problem(&self) -> Option<&str> {
        self.problem.get().map(String::as_str)
    }

    /// The registers, which are there since the first vCPU is.
    pub fn registers(&self) -> Option<&Registers> {
        let registers = self.registers.get();
        if registers.is_none() {
            self.fail("a vCPU runs that was never made".to_owned());
        }
        registers
    }

    /// What was read; none, and the plugin has failed, if it could not be.
    pub fn read<T>(&self, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.fail(problem)).ok()
    }
}

/// Locks what changes while the guest runs.
pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin for QEMU, from a [`Watcher`].
pub struct Shell<W>(OnceLock<Arc<W>>);

impl<W> Default for Shell<W> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<W: Watcher> Register for Shell<W> {
    fn register(&mut self, id: PluginId, args: &Args, info: &Info) -> qemu_plugin::Result<()> {
        let watcher = match W::new(args, info) {
            Ok(watcher) => Arc::new(watcher),
            Err(error) => {
                eprintln!("{}: {error}", W::NAME);
                process::exit(1);
            }
        };
        let last = Arc::clone(&watcher);
        qemu_plugin_register_atexit_cb(id, move |_| {
            if let Err(problem) = last.finish() {
                eprintln!("{}: {problem}", W::NAME);
            }
        })?;
        self.0.get_or_init(|| watcher);
        Ok(())
    }
}

impl<W: Watcher> HasCallbacks for Shell<W> {
    fn on_vcpu_init(&mut self, _: PluginId, _: VCPUIndex) -> qemu_plugin::Result<()> {
        if let Some(watcher) = self.0.get() {
            let common = watcher.common();
            if let Some(registers) = common.read(Registers::find()) {
                common.registers.get_or_init(|| registers);
            }
        }
        Ok(())
    }

    fn on_translation_block_translate(
        &mut self,
        _: PluginId,
        block: TranslationBlock,
    ) -> qemu_plugin::Result<()> {
        let Some(watcher) = self.0.get() else {
            return Ok(());
        };
        if !watcher.is_kernel(block.vaddr()) {
            return Ok(());
        }
        watcher.translate_block(&block);
        for instruction in block.instructions() {
            let address = instruction.vaddr();
            let mut bytes = [0; 4];
            if instruction.read_data(&mut bytes) != bytes.len() {
                let problem = format!("the instruction at {address:#x} cannot be read");
                watcher.common().fail(problem);
            }
            watcher.translate(&instruction, address, u32::from_le_bytes(bytes));
        }
        Ok(())
    }
}

/// The registers that are read, which are the same for every vCPU.
pub struct Registers {
    x: Vec<RegisterDescriptor<'static>>,
    sp: RegisterDescriptor<'static>,
    task: RegisterDescriptor<'static>,
    ttbr1: RegisterDescriptor<'static>,
    tcr: RegisterDescriptor<'static>,
}

impl Registers {
    /// Finds them. Only for the callback of a new vCPU.
    fn find() -> Result<Self, String> {
        let all = qemu_plugin_get_registers().map_err(|error| error.to_string())?;
        let find = |name: &str| {
            let register = all.iter().find(|register| register.name == name);
            register
                .cloned()
                .ok_or_else(|| format!("this QEMU does not show the register {name}"))
        };
        Ok(Self {
            x: (0..31)
                .map(|number| find(&format!("x{number}")))
                .collect::<Result<_, _>>()?,
            sp: find("sp")?,
            task: find("SP_EL0")?,
            ttbr1: find("TTBR1_EL1")?,
            tcr: find("TCR_EL1")?,
        })
    }

    /// A general register.
    pub fn x(&self, number: usize) -> Result<u64, String> {
        let register = self.x.get(number);
        register.map_or_else(|| Err(format!("there is no register x{number}")), read)
    }

    /// The stack pointer.
    pub fn sp(&self) -> Result<u64, String> {
        read(&self.sp)
    }

    /// In the kernel, `current`.
    pub fn task(&self) -> Result<u64, String> {
        read(&self.task)
    }

    /// The root of the kernel's page tables, and an ASID.
    pub fn ttbr1(&self) -> Result<u64, String> {
        read(&self.ttbr1)
    }

    /// How addresses are translated.
    pub fn tcr(&self) -> Result<u64, String> {
        read(&self.tcr)
    }
}

fn read(register: &RegisterDescriptor) -> Result<u64, String> {
    let bytes = register.read().map_err(|error| error.to_string())?;
    number(&bytes).ok_or_else(|| format!("the register {} is not of 64 bits", register.name))
}

/// Eight bytes of the guest as a number.
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}
