// SPDX-License-Identifier: GPL-2.0
//! Leaves of the kernel's page tables, by the stores that a kernel makes to them: which executable
//! ones stop being so without having been invalid, and which entries change in a way that needs
//! break-before-make without it.
//!
//! What a table is follows from stores too: what an entry points to, and no longer does. So
//! whoever calls this tells every store to memory that may hold tables, from the first one.

use std::collections::HashMap;

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const USER: u64 = 1 << 6;
const ACCESS_FLAG: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
/// Which type memory has: an index of MAIR_EL1, with tags (MTE) or not.
const ATTR_INDEX: u64 = 0b111 << 2;
const NORMAL: u64 = 0;
const NORMAL_TAGGED: u64 = 1 << 2;
/// Who shares memory.
const SHAREABILITY: u64 = 0b11 << 8;
const CONTIGUOUS: u64 = 1 << 52;
/// Of entries that are not valid: they map something all the same.
const PRESENT_INVALID: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// PXNTable and UXNTable: the kernel sets one of them in each table descriptor, and never in a leaf.
const TABLE: u64 = 1 << 59 | UXN_TABLE;
/// The one that is set in the kernel's own tables.
const UXN_TABLE: u64 = 1 << 60;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Size of a table.
const PAGE: u64 = 1 << 12;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// It points to the table at this address.
    Table(u64),
    /// A leaf that the kernel may execute.
    Executable,
    /// Another leaf.
    Leaf,
    /// A leaf that is not valid.
    Invalid,
    /// Nothing, or something that is no entry.
    Other,
}

impl Entry {
    fn of(value: u64) -> Self {
        if value & VALID == 0 {
            return match value & PRESENT_INVALID != 0 && value & UXN != 0 {
                true => Self::Invalid,
                false => Self::Other,
            };
        }
        if value & TABLE != 0 {
            return match value & TABLE_OR_PAGE != 0 {
                true => Self::Table(value & ADDRESS),
                false => Self::Other,
            };
        }
        match value & (ACCESS_FLAG | USER | UXN | PXN) {
            bits if bits == ACCESS_FLAG | UXN => Self::Executable,
            bits if bits & ACCESS_FLAG != 0 => Self::Leaf,
            _ => Self::Other,
        }
    }
}

/// Whether a store of `value` may change what is known, wherever it goes.
pub fn matters(value: u64) -> bool {
    matches!(Entry::of(value), Entry::Table(_)) || is_kernel_leaf(value)
}

/// Whether it is a valid leaf of the kernel's own tables. A page that was a table once may hold
/// anything, so this looks at the bits that are always 0, too.
fn is_kernel_leaf(value: u64) -> bool {
    match Entry::of(value) {
        _ if value >> 59 != 0 => false,
        Entry::Executable => true,
        Entry::Leaf => value & UXN != 0 && value & USER == 0,
        _ => false,
    }
}

/// Whether an entry of the kernel's own tables points to a table. As for [`is_kernel_leaf`].
fn is_kernel_table(value: u64) -> bool {
    let is_plain = value >> 61 == 0 && value & (PAGE - 1) & !ACCESS_FLAG == VALID | TABLE_OR_PAGE;

    is_plain && matches!(Entry::of(value), Entry::Table(_)) && value & UXN_TABLE != 0
}

/// Whether a valid entry may become another valid one only by way of an invalid one, and a TLB
/// invalidation (Arm ARM, "Using break-before-make when updating translation table entries").
fn needs_break(from: u64, to: u64) -> bool {
    match (Entry::of(from), Entry::of(to)) {
        (Entry::Table(one), Entry::Table(other)) => one != other,
        (Entry::Table(_), _) | (_, Entry::Table(_)) => true,
        _ => {
            let is_normal = |value| matches!(value & ATTR_INDEX, NORMAL | NORMAL_TAGGED);
            let mut fixed = ADDRESS | CONTIGUOUS | NOT_GLOBAL | SHAREABILITY;
            // The kernel makes tagged memory untagged while it boots: pgattr_change_is_safe().
            if !(is_normal(from) && is_normal(to)) {
                fixed |= ATTR_INDEX;
            }
            (from ^ to) & fixed != 0
        }
    }
}

/// A valid executable leaf that became a valid one that is not, in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The address of the entry.
    pub entry: u64,
    /// What it held.
    pub from: u64,
    /// What it holds.
    pub to: u64,
}

/// An entry of the kernel's own tables that became another one in a way that needs
/// break-before-make, without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbroken {
    /// What it was, and what it is.
    pub entry: Direct,
    /// It was invalid meanwhile, but no TLB was invalidated.
    pub is_in_tlbs: bool,
}

/// What was found out of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// It took execution away.
    pub direct: Option<Direct>,
    /// It was not legal without FEAT_BBML3.
    pub unbroken: Option<Unbroken>,
}

/// An entry of the kernel's own tables that is valid, or was.
#[derive(Clone, Copy, Debug)]
struct Valid {
    value: u64,
    /// How often TLBs had been invalidated when it became invalid; [`None`] if it is valid.
    broken: Option<usize>,
}

/// How an entry was last executable.
#[derive(Clone, Copy, Debug)]
struct Last {
    value: u64,
    /// It is invalid now.
    is_broken: bool,
}

/// What is known of tables.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    /// Entries that are executable, or were until they became invalid.
    executable: HashMap<u64, Last>,
    /// Entries of the kernel's own tables, and of what may become one.
    valid: HashMap<u64, Valid>,
    /// How often TLBs were invalidated.
    invalidations: usize,
    /// Entries that point to tables, and which.
    pointers: HashMap<u64, u64>,
    /// How many entries point to a table.
    pointed: HashMap<u64, usize>,
    /// How many executable leaves were stored.
    pub stored: usize,
    /// How many of them were invalid before they were valid and not executable.
    pub broken: usize,
    /// How many were not.
    pub direct: usize,
    /// How many entries changed without the break-before-make that they need without FEAT_BBML3.
    pub unbroken: usize,
    /// How many of them were invalid meanwhile, but stayed in TLBs.
    pub in_tlbs: usize,
}

impl Leaves {
    /// Tells that a TLB invalidation was executed, of whatever it is.
    pub fn invalidate(&mut self) {
        self.invalidations += 1;
    }

    /// Tells that the word at an address has become `value`.
    pub fn store(&mut self, address: u64, value: u64) -> Found {
        // Before what it points to counts.
        let unbroken = self.store_kernel(address, value);

        Found {
            direct: self.store_any(address, value),
            unbroken,
        }
    }

    /// The word may be an entry of the kernel's own tables.
    fn store_kernel(&mut self, address: u64, value: u64) -> Option<Unbroken> {
        let is_valid = is_kernel_leaf(value) || is_kernel_table(value);
        let last = self.valid.get(&address).copied();

        if !is_valid {
            if let Some(last) = self.valid.get_mut(&address) {
                last.broken.get_or_insert(self.invalidations);
            }
            if !self.is_pointed_to(address) {
                self.valid.remove(&address);
            }
            return None;
        }
        let now = Valid {
            value,
            broken: None,
        };
        self.valid.insert(address, now);
        let last =
            last.filter(|last| self.is_pointed_to(address) && needs_break(last.value, value))?;
        let is_in_tlbs = match last.broken {
            None => false,
            Some(then) if then == self.invalidations => true,
            Some(_) => return None,
        };

        self.unbroken += 1;
        self.in_tlbs += usize::from(is_in_tlbs);
        Some(Unbroken {
            entry: Direct {
                entry: address,
                from: last.value,
                to: value,
            },
            is_in_tlbs,
        })
    }

    fn store_any(&mut self, address: u64, value: u64) -> Option<Direct> {
        let entry = Entry::of(value);

        if let Some(table) = self.pointers.remove(&address) {
            if let Some(count) = self.pointed.get_mut(&table) {
                *count -= 1;
            }
        }
        let before = self.executable.remove(&address);
        let is_live = self.is_pointed_to(address);
        match (entry, before) {
            (Entry::Table(table), _) => {
                self.pointers.insert(address, table);
                *self.pointed.entry(table).or_insert(0) += 1;
            }
            (Entry::Executable, _) => {
                let last = Last {
                    value,
                    is_broken: false,
                };
                self.executable.insert(address, last);
                self.stored += 1;
            }
            (Entry::Invalid, Some(last)) => {
                let last = Last {
                    is_broken: true,
                    ..last
                };
                self.executable.insert(address, last);
            }
            (Entry::Leaf, Some(last)) if is_live && last.is_broken => self.broken += 1,
            (Entry::Leaf, Some(last)) if is_live => {
                self.direct += 1;
                return Some(Direct {
                    entry: address,
                    from: last.value,
                    to: value,
                });
            }
            _ => {}
        }
        None
    }

    /// Tells that `length` bytes from an address have become zeroes.
    pub fn clear(&mut self, address: u64, length: u64) {
        for word in (address..address + length).step_by(8) {
            self.store(word, 0);
        }
    }

    /// Whether stores to the page of an address matter, whatever they store.
    pub fn knows(&self, address: u64) -> bool {
        self.executable.contains_key(&address)
            || self.pointers.contains_key(&address)
            || self.valid.contains_key(&address)
    }

    fn is_pointed_to(&self, address: u64) -> bool {
        let table = address & !(PAGE - 1);
        self.pointed.get(&table).is_some_and(|count| *count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_AT: u64 = 0x4100_0000;
    const POINTER: u64 = 0x4200_0018;
    const RX: u64 = 0x4300_0000 | UXN | 1 << 50 | 1 << 7 | 0x700 | 3;
    const RW: u64 = RX & !(1 << 7) | PXN;
    const INVALID: u64 = RW & !VALID | PRESENT_INVALID;

    fn leaves() -> Leaves {
        let mut leaves = Leaves::default();
        leaves.store(POINTER, TABLE_AT | 1 << 60 | 3);
        leaves.store(TABLE_AT + 8, RX);
        leaves
    }

    #[test]
    fn a_direct_change_is_found() {
        let direct = Direct {
            entry: TABLE_AT + 8,
            from: RX,
            to: RW,
        };
        let mut leaves = leaves();
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, Some(direct));
        assert_eq!((leaves.stored, leaves.broken, leaves.direct), (1, 0, 1));
        // Once.
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, None);
    }

    #[test]
    fn an_invalid_leaf_in_between_is_seen() {
        let mut leaves = leaves();
        assert_eq!(leaves.store(TABLE_AT + 8, INVALID), Found::default());
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, None);
        assert_eq!((leaves.stored, leaves.broken, leaves.direct), (1, 1, 0));
    }

    #[test]
    fn what_was_unmapped_may_be_mapped_as_anything() {
        let mut leaves = leaves();
        leaves.store(TABLE_AT + 8, 0);
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, None);
        leaves.store(TABLE_AT + 8, RX);
        leaves.clear(TABLE_AT, PAGE);
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, None);
        assert_eq!((leaves.broken, leaves.direct), (0, 0));
    }

    #[test]
    fn tables_that_nothing_points_to_do_not_count() {
        let mut leaves = leaves();
        // A block takes its place.
        leaves.store(POINTER, RX & !2);
        assert_eq!(leaves.store(TABLE_AT + 8, RW).direct, None);
        assert_eq!(leaves.direct, 0);
    }

    /// Each change of a valid entry that has to be by way of an invalid one.
    const RESIZED: [(u64, u64); 6] = [
        (RW, RW | CONTIGUOUS),
        (RW | CONTIGUOUS, RW),
        (RW, RW + PAGE),
        (RW, RW | NOT_GLOBAL),
        (RW, RW | 0b1000),
        (RW & !2, TABLE_AT | UXN_TABLE | 3),
    ];

    #[test]
    fn a_change_of_size_is_found() {
        for (from, to) in RESIZED {
            let mut leaves = leaves();
            leaves.store(TABLE_AT + 16, from);
            let found = leaves.store(TABLE_AT + 16, to).unbroken;
            let entry = Direct {
                entry: TABLE_AT + 16,
                from,
                to,
            };
            let unbroken = Unbroken {
                entry,
                is_in_tlbs: false,
            };
            assert_eq!(found, Some(unbroken), "{from:#x} {to:#x}");
            // And back.
            assert!(leaves.store(TABLE_AT + 16, from).unbroken.is_some());
            assert_eq!((leaves.unbroken, leaves.in_tlbs), (2, 0));
        }
    }

    #[test]
    fn break_before_make_needs_an_invalidation() {
        for (from, to) in RESIZED {
            let mut leaves = leaves();
            leaves.store(TABLE_AT + 16, from);
            leaves.store(TABLE_AT + 16, 0);
            leaves.invalidate();
            assert_eq!(leaves.store(TABLE_AT + 16, to), Found::default());

            leaves.store(TABLE_AT + 16, 0);
            let found = leaves.store(TABLE_AT + 16, from).unbroken;
            assert!(found.is_some_and(|found| found.is_in_tlbs));
            assert_eq!((leaves.unbroken, leaves.in_tlbs), (1, 1));
        }
    }

    #[test]
    fn permissions_change_without_a_break() {
        let mut leaves = leaves();
        for value in [RW, RW | 1 << 7, RX, RW | NORMAL_TAGGED, RW] {
            assert_eq!(leaves.store(TABLE_AT + 16, value).unbroken, None);
        }
        // Text in a page that was a table.
        assert_eq!(
            leaves.store(TABLE_AT + 16, 0x646f_4d20_5b2d_2d2d).unbroken,
            None
        );
        assert_eq!(
            leaves.store(TABLE_AT + 16, 0xd503_201f_d503_201f).unbroken,
            None
        );
        // A table that nothing points to is in no TLB.
        assert_eq!(leaves.store(POINTER + 8, RW).unbroken, None);
        assert_eq!(leaves.store(POINTER + 8, RW + PAGE).unbroken, None);
        assert_eq!(leaves.unbroken, 0);
    }

    #[test]
    fn user_pages_are_not_executable_for_the_kernel() {
        assert_eq!(Entry::of(RX | USER), Entry::Leaf);
        assert_eq!(Entry::of(RX & !UXN | USER | PXN), Entry::Leaf);
        assert!(!matters(RX | USER) && matters(RX) && matters(TABLE_AT | 1 << 59 | 3));
        assert!(matters(RW) && !matters(RW | USER) && !matters(0) && !matters(INVALID));
    }
}
