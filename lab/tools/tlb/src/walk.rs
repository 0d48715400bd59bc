// SPDX-License-Identifier: GPL-2.0
//! A walk of page tables with 4 KiB pages, as the MMU does it (Arm ARM, D8.2 and D8.3).

/// The size of a page, as a power of two.
pub const PAGE_SHIFT: u8 = 12;
/// How many bits of an address each level resolves.
const LEVEL_BITS: u8 = 9;
/// How many entries the contiguous bit joins, as a power of two.
const CONTIGUOUS_SHIFT: u8 = 4;

const VALID: u64 = 1;
/// Above the last level, the entry points to a table; at the last level every leaf has it.
const TABLE: u64 = 1 << 1;
const CONTIGUOUS: u64 = 1 << 52;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What a walk has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The size of the leaf, as a power of two; of the whole run if it is contiguous.
    pub shift: u8,
    /// The physical addresses of the entries that were read, from the root on.
    pub entries: Vec<u64>,
}

/// Walks the tables under `root`, a physical address, that translate the low `bits` of `va`. `read`
/// returns the entry at a physical address. Returns nothing if no leaf maps the address, or an
/// entry cannot be read.
pub fn walk(
    root: u64,
    bits: u8,
    va: u64,
    mut read: impl FnMut(u64) -> Option<u64>,
) -> Option<Walk> {
    let levels = (bits - PAGE_SHIFT).div_ceil(LEVEL_BITS);
    let va = va & ((1 << bits) - 1);
    let mut table = root;
    let mut entries = Vec::with_capacity(levels.into());

    for level in (0..levels).rev() {
        let shift = PAGE_SHIFT + level * LEVEL_BITS;
        // The root resolves what the levels below it leave.
        let index = match level + 1 == levels {
            true => va >> shift,
            false => va >> shift & ((1 << LEVEL_BITS) - 1),
        };
        let place = table + index * 8;
        let entry = read(place)?;
        entries.push(place);
        let is_leaf = match (entry & VALID != 0, entry & TABLE != 0, level) {
            (false, _, _) | (_, false, 0) => return None,
            (_, is_table, 0) => is_table,
            (_, is_table, _) => !is_table,
        };
        if is_leaf {
            let more = match entry & CONTIGUOUS {
                0 => 0,
                _ => CONTIGUOUS_SHIFT,
            };
            return Some(Walk {
                shift: shift + more,
                entries,
            });
        }
        table = entry & ADDRESS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const VA: u64 = 0xffff_0000_4020_3000;

    /// Tables at 0x1000, 0x2000 and so on that map [`VA`] by a leaf of a level.
    fn tables(leaf_level: u8, attributes: u64) -> HashMap<u64, u64> {
        let mut memory = HashMap::new();
        for level in (leaf_level..=3).rev() {
            let table = 0x1000 * u64::from(4 - level);
            let shift = PAGE_SHIFT + level * LEVEL_BITS;
            let place = table + (VA >> shift & 0x1ff) * 8;
            let entry = match level == leaf_level {
                true if level == 0 => 0x8000_0000 | VALID | TABLE | attributes,
                true => 0x8000_0000 | VALID | attributes,
                false => (table + 0x1000) | VALID | TABLE,
            };
            memory.insert(place, entry);
        }
        memory
    }

    fn shift_and_entries(memory: &HashMap<u64, u64>) -> Option<(u8, usize)> {
        let walk = walk(0x1000, 48, VA, |place| {
            Some(memory.get(&place).copied().unwrap_or(0))
        })?;
        Some((walk.shift, walk.entries.len()))
    }

    #[test]
    fn a_leaf_of_each_level_is_found() {
        assert_eq!(shift_and_entries(&tables(0, 0)), Some((12, 4)));
        assert_eq!(shift_and_entries(&tables(1, 0)), Some((21, 3)));
        assert_eq!(shift_and_entries(&tables(2, 0)), Some((30, 2)));
    }

    #[test]
    fn a_contiguous_run_is_one_leaf() {
        assert_eq!(shift_and_entries(&tables(0, CONTIGUOUS)), Some((16, 4)));
        assert_eq!(shift_and_entries(&tables(1, CONTIGUOUS)), Some((25, 3)));
    }

    #[test]
    fn what_is_not_mapped_is_not_found() {
        assert_eq!(shift_and_entries(&HashMap::new()), None);
        let mut memory = tables(0, 0);
        for entry in memory.values_mut() {
            if *entry & ADDRESS == 0x8000_0000 {
                *entry &= !TABLE;
            }
        }
        assert_eq!(shift_and_entries(&memory), None);
        assert_eq!(walk(0x1000, 48, VA, |_| None), None);
    }
}
