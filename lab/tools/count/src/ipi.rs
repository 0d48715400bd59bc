// SPDX-License-Identifier: GPL-2.0
//! Interrupts from CPU to CPU: what a write of `ICC_SGI1R_EL1` sends to how many, as the GICv3
//! architecture (IHI 0069) has it. An instruction that writes it is found by
//! [`crate::opcode::sgi_source`].

/// The interrupt by which arm64 Linux has other CPUs call a function: `IPI_CALL_FUNC` in
/// arch/arm64/include/asm/smp.h. IPIs are the SGIs of the same numbers.
const CALL_FUNCTION: u64 = 1;

/// How many of `cpus` CPUs are sent a function call when `value` is written to `ICC_SGI1R_EL1`:
/// 0 for another interrupt.
pub fn called_cpus(value: u64, cpus: u64) -> u64 {
    const INTID_SHIFT: u32 = 24;
    const INTID_MASK: u64 = 0xf;
    const TARGET_LIST: u64 = 0xffff;
    const TO_ALL_OTHERS: u64 = 1 << 40;

    if (value >> INTID_SHIFT) & INTID_MASK != CALL_FUNCTION {
        return 0;
    }
    if value & TO_ALL_OTHERS != 0 {
        return cpus.saturating_sub(1);
    }
    (value & TARGET_LIST).count_ones().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: u64 = 1 << 24;

    #[test]
    fn each_target_of_a_call_counts() {
        assert_eq!(called_cpus(CALL | 0b0010, 4), 1);
        assert_eq!(called_cpus(CALL | 0b1101, 4), 3);
        assert_eq!(called_cpus(CALL | 0xffff, 64), 16);
        assert_eq!(called_cpus(CALL, 4), 0);
    }

    #[test]
    fn affinities_are_no_targets() {
        let elsewhere = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xff << 16;
        assert_eq!(called_cpus(CALL | elsewhere | 0b11, 64), 2);
    }

    #[test]
    fn a_call_of_all_others_goes_to_them() {
        // The list has no meaning then.
        assert_eq!(called_cpus(CALL | 1 << 40 | 0b1, 4), 3);
        assert_eq!(called_cpus(CALL | 1 << 40, 1), 0);
        assert_eq!(called_cpus(CALL | 1 << 40, 0), 0);
    }

    #[test]
    fn other_interrupts_do_not_count() {
        for intid in (0..16).filter(|intid| *intid != CALL_FUNCTION) {
            assert_eq!(called_cpus(intid << 24 | 0b1111, 4), 0, "{intid}");
            assert_eq!(called_cpus(intid << 24 | 1 << 40, 4), 0, "{intid}");
        }
    }
}
