// SPDX-License-Identifier: GPL-2.0
//! What an AArch64 instruction is, by its opcode. Names and encodings are those of the Arm
//! Architecture Reference Manual (DDI 0487): `SYS` and its aliases, barriers, returns.

/// What an instruction is counted as, besides as an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `TLBI` of everything, such as `VMALLE1IS`.
    TlbiAll,
    /// `TLBI` of a range, such as `RVAE1IS`.
    TlbiRange,
    /// `TLBI` of one address, such as `VAE1IS`, or of one ASID.
    TlbiOne,
    /// `DSB`, with or without `nXS`.
    Dsb,
    /// `ISB`.
    Isb,
    /// `IC`.
    Ic,
    /// `DC` other than `DC ZVA` and its like, which write memory.
    Dc,
}

impl Class {
    /// The class of an instruction, if it has one.
    pub fn of(opcode: u32) -> Option<Self> {
        const SYS: u32 = 0xd508_0000;
        const SYS_MASK: u32 = 0xfff8_0000;
        const BARRIER_MASK: u32 = 0xffff_f0ff;
        const DSB: u32 = 0xd503_309f;
        const ISB: u32 = 0xd503_30df;
        const DSB_NXS: u32 = 0xd503_323f;
        const DSB_NXS_MASK: u32 = 0xffff_f3ff;

        if opcode & SYS_MASK == SYS {
            return Self::of_system(System::of(opcode));
        }
        if opcode & DSB_NXS_MASK == DSB_NXS {
            return Some(Self::Dsb);
        }
        match opcode & BARRIER_MASK {
            // DSB with these options is SSBB and PSSBB, barriers of speculation alone.
            DSB if matches!(field(opcode, 8, 4), 0 | 4) => None,
            DSB => Some(Self::Dsb),
            ISB => Some(Self::Isb),
            _ => None,
        }
    }

    fn of_system(system: System) -> Option<Self> {
        let System { op1, crn, crm, op2 } = system;
        match (crn, crm) {
            (7, 1 | 5) => Some(Self::Ic),
            (7, 6 | 10..=14) => Some(Self::Dc),
            // CRn 9 has the operations of CRn 8 once more, as nXS.
            (8 | 9, 2 | 5 | 6) => Some(Self::TlbiRange),
            (8 | 9, 1 | 3 | 7) if op2 == 0 || (op1 == 4 && matches!(op2, 4 | 6)) => {
                Some(Self::TlbiAll)
            }
            (8 | 9, _) => Some(Self::TlbiOne),
            _ => None,
        }
    }
}

/// What a `TLBI` invalidates, of EL1 and EL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlbi {
    /// All.
    All,
    /// What is of one ASID: nothing that is global.
    Asid,
    /// The address in a register, which has this number.
    Address(usize),
    /// The range in a register, which has this number.
    Range(usize),
}

impl Tlbi {
    /// What an instruction invalidates, if it is a `TLBI`.
    pub fn of(opcode: u32) -> Option<Self> {
        let class = Class::of(opcode)?;
        let register = field(opcode, 0, 5) as usize;

        match class {
            Class::TlbiAll => Some(Self::All),
            Class::TlbiRange => Some(Self::Range(register)),
            Class::TlbiOne if System::of(opcode).op2 == 2 => Some(Self::Asid),
            Class::TlbiOne => Some(Self::Address(register)),
            _ => None,
        }
    }

    /// The first and the last address that the operand of `TLBI` by address names.
    pub fn address(operand: u64) -> (u64, u64) {
        let first = sign_extended(operand << 12, 56);
        (first, first | 0xfff)
    }

    /// The first and the last address that the operand of `TLBI` by range names, with pages of
    /// 4 KiB.
    pub fn range(operand: u64) -> (u64, u64) {
        let bits = |low: u32, count: u32| operand >> low & ((1 << count) - 1);
        let first = sign_extended(bits(0, 37) << 12, 49);
        let pages = (bits(39, 5) + 1) << (5 * bits(44, 2) + 1);
        (first, first.saturating_add((pages << 12) - 1))
    }
}

/// A number of so many bits, of which the highest stands for all above it.
fn sign_extended(number: u64, bits: u32) -> u64 {
    ((number << (64 - bits)) as i64 >> (64 - bits)) as u64
}

/// How an instruction leaves the code around it, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// `RET`, with or without pointer authentication.
    Return,
    /// `ERET`, with or without pointer authentication.
    Exception,
}

impl Leave {
    /// Whether an instruction is one that returns.
    pub fn of(opcode: u32) -> Option<Self> {
        const RET: u32 = 0xd65f_0000;
        const RET_MASK: u32 = 0xffff_fc1f;

        match opcode {
            0xd65f_0bff | 0xd65f_0fff => Some(Self::Return),
            0xd69f_03e0 | 0xd69f_0bff | 0xd69f_0fff => Some(Self::Exception),
            _ if opcode & RET_MASK == RET => Some(Self::Return),
            _ => None,
        }
    }
}

/// Whether an instruction calls a function: `BL` or `BLR`, with or without pointer
/// authentication.
pub fn is_call(opcode: u32) -> bool {
    const BL: u32 = 0x9400_0000;
    const BL_MASK: u32 = 0xfc00_0000;
    const BLR: u32 = 0xd63f_0000;
    const BLR_MASK: u32 = 0xfeff_f000;

    opcode & BL_MASK == BL || opcode & BLR_MASK == BLR
}

/// The number of the general register that an instruction writes to `ICC_SGI1R_EL1`, which sends
/// an interrupt to other CPUs: none if it does something else, 31 for XZR.
pub fn sgi_source(opcode: u32) -> Option<usize> {
    const MSR_SGI1R: u32 = 0xd518_cba0;
    const MSR_MASK: u32 = 0xffff_ffe0;

    (opcode & MSR_MASK == MSR_SGI1R).then(|| field(opcode, 0, 5) as usize)
}

/// The number of the general register that has the address which an instruction clears memory at:
/// none if it is not `DC ZVA`, 31 for XZR.
pub fn zva_address(opcode: u32) -> Option<usize> {
    const DC_ZVA: u32 = 0xd50b_7420;
    const DC_MASK: u32 = 0xffff_ffe0;

    (opcode & DC_MASK == DC_ZVA).then(|| field(opcode, 0, 5) as usize)
}

/// The operands of `SYS` that say which operation it is.
struct System {
    op1: u32,
    crn: u32,
    crm: u32,
    op2: u32,
}

impl System {
    fn of(opcode: u32) -> Self {
        Self {
            op1: field(opcode, 16, 3),
            crn: field(opcode, 12, 4),
            crm: field(opcode, 8, 4),
            op2: field(opcode, 5, 3),
        }
    }
}

fn field(opcode: u32, low: u32, bits: u32) -> u32 {
    (opcode >> low) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opcodes as `llvm-mc -triple aarch64 -mattr=+all -show-encoding` gives them.
    #[test]
    fn opcodes_have_their_class() {
        let cases = [
            (0xd508_831f, Some(Class::TlbiAll), "tlbi vmalle1is"),
            (0xd508_871f, Some(Class::TlbiAll), "tlbi vmalle1"),
            (0xd508_811f, Some(Class::TlbiAll), "tlbi vmalle1os"),
            (0xd508_931f, Some(Class::TlbiAll), "tlbi vmalle1isnxs"),
            (0xd50c_839f, Some(Class::TlbiAll), "tlbi alle1is"),
            (0xd50c_83df, Some(Class::TlbiAll), "tlbi vmalls12e1is"),
            (0xd508_8320, Some(Class::TlbiOne), "tlbi vae1is, x0"),
            (0xd508_83a3, Some(Class::TlbiOne), "tlbi vale1is, x3"),
            (0xd508_8360, Some(Class::TlbiOne), "tlbi vaae1is, x0"),
            (0xd508_83e0, Some(Class::TlbiOne), "tlbi vaale1is, x0"),
            (0xd508_8340, Some(Class::TlbiOne), "tlbi aside1is, x0"),
            (0xd508_8760, Some(Class::TlbiOne), "tlbi vaae1, x0"),
            (0xd508_9360, Some(Class::TlbiOne), "tlbi vaae1isnxs, x0"),
            (0xd508_8220, Some(Class::TlbiRange), "tlbi rvae1is, x0"),
            (0xd508_8269, Some(Class::TlbiRange), "tlbi rvaae1is, x9"),
            (0xd508_82e0, Some(Class::TlbiRange), "tlbi rvaale1is, x0"),
            (0xd508_8660, Some(Class::TlbiRange), "tlbi rvaae1, x0"),
            (0xd508_8560, Some(Class::TlbiRange), "tlbi rvaae1os, x0"),
            (0xd503_3f9f, Some(Class::Dsb), "dsb sy"),
            (0xd503_3b9f, Some(Class::Dsb), "dsb ish"),
            (0xd503_3a9f, Some(Class::Dsb), "dsb ishst"),
            (0xd503_379f, Some(Class::Dsb), "dsb nsh"),
            (0xd503_369f, Some(Class::Dsb), "dsb nshst"),
            (0xd503_3e3f, Some(Class::Dsb), "dsb synxs"),
            (0xd503_3a3f, Some(Class::Dsb), "dsb ishnxs"),
            (0xd503_309f, None, "ssbb"),
            (0xd503_349f, None, "pssbb"),
            (0xd503_3bbf, None, "dmb ish"),
            (0xd503_30ff, None, "sb"),
            (0xd503_3fdf, Some(Class::Isb), "isb"),
            (0xd508_711f, Some(Class::Ic), "ic ialluis"),
            (0xd508_751f, Some(Class::Ic), "ic iallu"),
            (0xd50b_7520, Some(Class::Ic), "ic ivau, x0"),
            (0xd50b_7b20, Some(Class::Dc), "dc cvau, x0"),
            (0xd50b_7a20, Some(Class::Dc), "dc cvac, x0"),
            (0xd50b_7e20, Some(Class::Dc), "dc civac, x0"),
            (0xd508_7620, Some(Class::Dc), "dc ivac, x0"),
            (0xd508_7641, Some(Class::Dc), "dc isw, x1"),
            (0xd50b_7420, None, "dc zva, x0"),
            (0xd508_7800, None, "at s1e1r, x0"),
            (0xd51b_4200, None, "msr nzcv, x0"),
            (0xd503_201f, None, "nop"),
            (0x0000_0000, None, "udf #0"),
            (0xffff_ffff, None, "not an instruction"),
        ];
        for (opcode, class, text) in cases {
            assert_eq!(Class::of(opcode), class, "{text}");
        }
    }

    #[test]
    fn what_tlbi_invalidates_is_told() {
        let cases = [
            (0xd508_831f, Some(Tlbi::All), "tlbi vmalle1is"),
            (0xd508_8340, Some(Tlbi::Asid), "tlbi aside1is, x0"),
            (0xd508_83a3, Some(Tlbi::Address(3)), "tlbi vale1is, x3"),
            (0xd508_83e0, Some(Tlbi::Address(0)), "tlbi vaale1is, x0"),
            (0xd508_8269, Some(Tlbi::Range(9)), "tlbi rvaae1is, x9"),
            (0xd503_3b9f, None, "dsb ish"),
        ];
        for (opcode, tlbi, text) in cases {
            assert_eq!(Tlbi::of(opcode), tlbi, "{text}");
        }
        let va: u64 = 0xffff_8000_8123_4000;
        // Of an operand by address the low 44 bits count, above them are level and ASID.
        let operand = (va >> 12 & ((1 << 44) - 1)) | 0x1234 << 48;
        assert_eq!(Tlbi::address(operand), (va, va + 0xfff));
        // NUM and SCALE: (3 + 1) << (5 + 1) pages; TG says 4 KiB.
        let operand = (va >> 12 & ((1 << 37) - 1)) | 3 << 39 | 1 << 44 | 1 << 46;
        assert_eq!(Tlbi::range(operand), (va, va + (256 << 12) - 1));
        assert_eq!(Tlbi::range(0x1000), (0x100_0000, 0x100_1fff));
    }

    #[test]
    fn calls_are_told() {
        let cases = [
            (0x9400_0010, true, "bl .+64"),
            (0x97ff_fff0, true, "bl .-64"),
            (0xd63f_0200, true, "blr x16"),
            (0xd63f_0a1f, true, "blraaz x16"),
            (0xd73f_0a11, true, "blraa x16, x17"),
            (0x1400_0010, false, "b .+64"),
            (0xd61f_0200, false, "br x16"),
            (0xd65f_03c0, false, "ret"),
            (0x0000_0000, false, "udf #0"),
        ];
        for (opcode, call, text) in cases {
            assert_eq!(is_call(opcode), call, "{text}");
        }
    }

    #[test]
    fn writes_of_sgi1r_are_told() {
        let cases = [
            (0xd518_cba0, Some(0), "msr ICC_SGI1R_EL1, x0"),
            (0xd518_cbb3, Some(19), "msr ICC_SGI1R_EL1, x19"),
            (0xd518_cbbf, Some(31), "msr ICC_SGI1R_EL1, xzr"),
            (0xd518_cbc0, None, "msr ICC_ASGI1R_EL1, x0"),
            (0xd518_cbe0, None, "msr ICC_SGI0R_EL1, x0"),
            (0xd538_cba0, None, "mrs x0, S3_0_C12_C11_5"),
            (0xd518_cc80, None, "msr ICC_CTLR_EL1, x0"),
            (0xd503_201f, None, "nop"),
        ];
        for (opcode, register, text) in cases {
            assert_eq!(sgi_source(opcode), register, "{text}");
        }
    }

    #[test]
    fn dc_zva_is_told() {
        let cases = [
            (0xd50b_7420, Some(0), "dc zva, x0"),
            (0xd50b_7433, Some(19), "dc zva, x19"),
            (0xd50b_743f, Some(31), "dc zva, xzr"),
            (0xd50b_7460, None, "dc gva, x0"),
            (0xd50b_7a20, None, "dc cvac, x0"),
        ];
        for (opcode, register, text) in cases {
            assert_eq!(zva_address(opcode), register, "{text}");
        }
    }

    #[test]
    fn returns_are_told() {
        let cases = [
            (0xd65f_03c0, Some(Leave::Return), "ret"),
            (0xd65f_0200, Some(Leave::Return), "ret x16"),
            (0xd65f_0bff, Some(Leave::Return), "retaa"),
            (0xd65f_0fff, Some(Leave::Return), "retab"),
            (0xd69f_03e0, Some(Leave::Exception), "eret"),
            (0xd69f_0bff, Some(Leave::Exception), "eretaa"),
            (0xd61f_0200, None, "br x16"),
            (0xd63f_0200, None, "blr x16"),
            (0xd4200000, None, "brk #0"),
            (0xffff_ffff, None, "not an instruction"),
        ];
        for (opcode, leave, text) in cases {
            assert_eq!(Leave::of(opcode), leave, "{text}");
        }
    }
}
