// SPDX-License-Identifier: GPL-2.0
//! Leaves of the kernel's page tables, by the stores that a kernel makes to them: which are
//! executable, and which stop being so without having been invalid.
//!
//! What a table is follows from stores too: what an entry points to, and no longer does. So
//! whoever calls this tells every store to memory that may hold tables, from the first one.

use std::collections::HashMap;

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const USER: u64 = 1 << 6;
const ACCESS_FLAG: u64 = 1 << 10;
/// Of entries that are not valid: they map something all the same.
const PRESENT_INVALID: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// PXNTable and UXNTable: the kernel sets one of them in each table descriptor, and never in a leaf.
const TABLE: u64 = 1 << 59 | 1 << 60;
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
    matches!(Entry::of(value), Entry::Table(_) | Entry::Executable)
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
}

impl Leaves {
    /// Tells that the word at an address has become `value`.
    pub fn store(&mut self, address: u64, value: u64) -> Option<Direct> {
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
        self.executable.contains_key(&address) || self.pointers.contains_key(&address)
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
        assert_eq!(leaves.store(TABLE_AT + 8, RW), Some(direct));
        assert_eq!((leaves.stored, leaves.broken, leaves.direct), (1, 0, 1));
        // Once.
        assert_eq!(leaves.store(TABLE_AT + 8, RW), None);
    }

    #[test]
    fn an_invalid_leaf_in_between_is_seen() {
        let mut leaves = leaves();
        assert_eq!(leaves.store(TABLE_AT + 8, INVALID), None);
        assert_eq!(leaves.store(TABLE_AT + 8, RW), None);
        assert_eq!((leaves.stored, leaves.broken, leaves.direct), (1, 1, 0));
    }

    #[test]
    fn what_was_unmapped_may_be_mapped_as_anything() {
        let mut leaves = leaves();
        leaves.store(TABLE_AT + 8, 0);
        assert_eq!(leaves.store(TABLE_AT + 8, RW), None);
        leaves.store(TABLE_AT + 8, RX);
        leaves.clear(TABLE_AT, PAGE);
        assert_eq!(leaves.store(TABLE_AT + 8, RW), None);
        assert_eq!((leaves.broken, leaves.direct), (0, 0));
    }

    #[test]
    fn tables_that_nothing_points_to_do_not_count() {
        let mut leaves = leaves();
        // A block takes its place.
        leaves.store(POINTER, RX & !2);
        assert_eq!(leaves.store(TABLE_AT + 8, RW), None);
        assert_eq!(leaves.direct, 0);
    }

    #[test]
    fn user_pages_are_not_executable_for_the_kernel() {
        assert_eq!(Entry::of(RX | USER), Entry::Leaf);
        assert_eq!(Entry::of(RX & !UXN | USER | PXN), Entry::Leaf);
        assert!(!matters(RX | USER) && matters(RX) && matters(TABLE_AT | 1 << 59 | 3));
        assert!(!matters(RW) && !matters(0) && !matters(INVALID));
    }
}
