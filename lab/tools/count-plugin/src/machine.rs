// SPDX-License-Identifier: GPL-2.0
//! The counters that QEMU keeps for each vCPU. All unsafe code of the plugin is here.

use std::mem::{offset_of, size_of};

use qemu_plugin::sys::{
    qemu_plugin_num_vcpus, qemu_plugin_scoreboard, qemu_plugin_scoreboard_find,
    qemu_plugin_scoreboard_new, qemu_plugin_u64_sum,
};
use qemu_plugin::{
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu, qemu_plugin_u64_add, qemu_plugin_u64_get,
    qemu_plugin_u64_set, CallbackFlags, Instruction, PluginCondition, PluginOp, PluginU64,
    TranslationBlock, VCPUIndex,
};

use count::counts::Counts;
use count::opcode::Class;

/// A [`Counts`] for each vCPU, that generated code adds to.
pub struct Board(*mut qemu_plugin_scoreboard);

// SAFETY: QEMU's functions for a scoreboard may be called on any thread.
unsafe impl Send for Board {}
// SAFETY: As above.
unsafe impl Sync for Board {}

impl Board {
    /// A board that is never freed: it lives as long as QEMU.
    pub fn new() -> Self {
        // SAFETY: A plugin may do this at any time. QEMU fills new entries with zeroes.
        Self(unsafe { qemu_plugin_scoreboard_new(size_of::<Counts>()) })
    }

    fn field(&self, offset: usize) -> PluginU64 {
        PluginU64 {
            score: self.0,
            offset,
        }
    }

    /// Has an instruction counted when it is executed.
    pub fn count(&self, instruction: &Instruction, class: Option<Class>) {
        let all = Some(offset_of!(Counts, instructions));
        let class = class.map(|class| match class {
            Class::TlbiAll => offset_of!(Counts, tlbi_all),
            Class::TlbiRange => offset_of!(Counts, tlbi_range),
            Class::TlbiOne => offset_of!(Counts, tlbi_one),
            Class::Dsb => offset_of!(Counts, dsb),
            Class::Isb => offset_of!(Counts, isb),
            Class::Ic => offset_of!(Counts, ic),
            Class::Dc => offset_of!(Counts, dc),
        });
        for offset in [all, class].into_iter().flatten() {
            self.add_one(instruction, offset);
        }
    }

    /// Has an I-cache round counted when an instruction is executed, the first of one.
    pub fn count_icache(&self, instruction: &Instruction) {
        self.add_one(instruction, offset_of!(Counts, icache));
    }

    fn add_one(&self, instruction: &Instruction, offset: usize) {
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
            instruction.clone(),
            PluginOp::QEMU_PLUGIN_INLINE_ADD_U64,
            self.field(offset),
            1,
        );
    }

    /// Counts CPUs to which a vCPU sends a function call. Only for that vCPU's own callbacks.
    pub fn add_ipi(&self, vcpu: VCPUIndex, cpus: u64) -> Result<(), String> {
        let field = self.field(offset_of!(Counts, ipi));
        qemu_plugin_u64_add(field, vcpu, cpus).map_err(|error| error.to_string())
    }

    /// What a vCPU has counted. Only for that vCPU's own callbacks.
    pub fn read(&self, vcpu: VCPUIndex) -> Counts {
        // SAFETY: The board has an entry for each vCPU, with the layout of `Counts` and
        // aligned for it, which any bytes are. It stays where it is while a callback runs, and
        // the thread that runs it is the only one that changes it.
        unsafe {
            qemu_plugin_scoreboard_find(self.0, vcpu)
                .cast::<Counts>()
                .read()
        }
    }

    /// What all vCPUs have counted, when none runs.
    pub fn sum(&self) -> Counts {
        if vcpus() < 1 {
            return Counts::default();
        }
        // SAFETY: The board is QEMU's, and `field` is called with offsets in `Counts`.
        let sum = |offset| unsafe { qemu_plugin_u64_sum(self.field(offset)) };
        Counts {
            instructions: sum(offset_of!(Counts, instructions)),
            tlbi_all: sum(offset_of!(Counts, tlbi_all)),
            tlbi_range: sum(offset_of!(Counts, tlbi_range)),
            tlbi_one: sum(offset_of!(Counts, tlbi_one)),
            dsb: sum(offset_of!(Counts, dsb)),
            isb: sum(offset_of!(Counts, isb)),
            ic: sum(offset_of!(Counts, ic)),
            dc: sum(offset_of!(Counts, dc)),
            icache: sum(offset_of!(Counts, icache)),
            ipi: sum(offset_of!(Counts, ipi)),
        }
    }
}

/// How many vCPUs there are.
pub fn vcpus() -> u64 {
    // SAFETY: It only asks for a number.
    let vcpus = unsafe { qemu_plugin_num_vcpus() };
    u64::try_from(vcpus).unwrap_or(0)
}

/// A number for each vCPU that says whether blocks of instructions have their callbacks.
pub struct Switches(*mut qemu_plugin_scoreboard);

// SAFETY: QEMU's functions for a scoreboard may be called on any thread.
unsafe impl Send for Switches {}
// SAFETY: As above.
unsafe impl Sync for Switches {}

impl Switches {
    /// Switches that are off. They are never freed: they live as long as QEMU.
    pub fn new() -> Self {
        // SAFETY: A plugin may do this at any time. QEMU fills new entries with zeroes.
        Self(unsafe { qemu_plugin_scoreboard_new(size_of::<u64>()) })
    }

    fn entry(&self) -> PluginU64 {
        PluginU64 {
            score: self.0,
            offset: 0,
        }
    }

    /// Turns a vCPU's off, with 0, or on. Only for that vCPU's own callbacks.
    pub fn set(&self, vcpu: VCPUIndex, value: u64) {
        qemu_plugin_u64_set(self.entry(), vcpu, value);
    }

    /// What a vCPU's was set to.
    pub fn get(&self, vcpu: VCPUIndex) -> u64 {
        qemu_plugin_u64_get(self.entry(), vcpu)
    }

    /// Has `callback` called when a block is executed on a vCPU whose switch is on.
    pub fn call<F>(&self, block: &TranslationBlock, callback: F)
    where
        F: Fn(VCPUIndex) + Send + Sync + 'static,
    {
        block.register_conditional_execute_callback_flags(
            callback,
            CallbackFlags::QEMU_PLUGIN_CB_NO_REGS,
            PluginCondition::QEMU_PLUGIN_COND_NE,
            self.entry(),
            0,
        );
    }
}
