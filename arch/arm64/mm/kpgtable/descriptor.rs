// SPDX-License-Identifier: GPL-2.0

//! Descriptors of translation tables as values: what they are, and what they can be changed to.
//!
//! The bits are those of stage 1 descriptors, Arm ARM (DDI 0487) D8.3. A change that would make a
//! leaf writable and executable has no result.
//!
//! Pure: uses `core` alone and touches no table.

use super::granule::{
    Granule,
    LeafSize,
    Level, //
};

/// The MMU uses the descriptor.
pub(crate) const VALID: u64 = 1 << 0;
/// Of valid descriptors: a table, or a page of the last level; not a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP\[2\].
pub(crate) const RDONLY: u64 = 1 << 7;
/// The access flag.
const AF: u64 = 1 << 10;
/// Linux: the descriptor maps memory although it is not valid. In valid descriptors the bit is nG.
pub(crate) const PRESENT_INVALID: u64 = 1 << 11;
/// DBM, which Linux sets in all leaves that may be written.
pub(crate) const WRITE: u64 = 1 << 51;
/// The leaf is part of a contiguous run.
const CONT: u64 = 1 << 52;
/// The kernel does not execute what the leaf maps.
pub(crate) const PXN: u64 = 1 << 53;
/// Linux, of tables: a leaf in this table, or in one below it, has changed, and the worker has not
/// looked at the table since. The MMU ignores it.
pub(crate) const PENDING: u64 = 1 << 56;
/// Linux: the leaf was part of a contiguous run, and becomes so again when the rest of the run is
/// like it. In a table: the block that the table replaced was part of a run. The bit is reserved
/// for software in leaves, and ignored in tables.
pub(crate) const WAS_CONT: u64 = 1 << 57;
/// Linux, of tables: the table replaced a block. The MMU ignores it.
pub(crate) const WAS_BLOCK: u64 = 1 << 58;
/// Of tables: as [`PXN`] in all leaves below.
const PXN_TABLE: u64 = 1 << 59;
/// Of tables: user space executes nothing below.
const UXN_TABLE: u64 = 1 << 60;

/// A change of the attributes of a leaf: bits to clear, then bits to set.
///
/// # Invariants
///
/// It leaves alone the bits that say how large the leaf is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    set: u64,
    clear: u64,
}

impl Change {
    /// Returns the change with these masks, or [`None`] if it would change the size of a leaf.
    pub(crate) const fn new(set: u64, clear: u64) -> Option<Self> {
        if (set | clear) & (TABLE_OR_PAGE | CONT | WAS_CONT) != 0 {
            return None;
        }
        // INVARIANT: Checked above.
        Some(Self { set, clear })
    }

    /// To read-only and executable. `gp` is the bit of guarded pages (FEAT_BTI), or 0.
    pub(crate) const fn rox(gp: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: RDONLY | gp,
            clear: WRITE | PXN,
        }
    }

    /// To read-only and not executable.
    pub(crate) const fn ro_nx(gp: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: RDONLY | PXN,
            clear: WRITE | gp,
        }
    }

    /// To writable. Whether it is executable stays.
    pub(crate) const fn rw() -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: WRITE,
            clear: RDONLY,
        }
    }

    /// To writable and not executable, the opposite of [`Self::rox`].
    pub(crate) const fn rw_nx(gp: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: WRITE | PXN,
            clear: RDONLY | gp,
        }
    }

    /// To valid and writable, the default of the linear map. `valid` are the bits of a valid leaf
    /// of the kernel.
    pub(crate) const fn linear_map_default(valid: u64) -> Self {
        // INVARIANT: Permissions and validity alone.
        Self {
            set: valid | WRITE,
            clear: PRESENT_INVALID | RDONLY,
        }
    }

    /// Returns the change that the linear alias gets, if any. The alias is writable if the memory
    /// is, and is never executable.
    pub(crate) const fn of_alias(&self) -> Option<Self> {
        if (self.set | self.clear) & RDONLY == 0 {
            return None;
        }
        // INVARIANT: Permissions alone.
        Some(Self {
            set: self.set & (RDONLY | WRITE),
            clear: self.clear & (RDONLY | WRITE),
        })
    }

    /// To valid if `leaf` is valid, else to invalid. This includes whether the leaf is global.
    pub(crate) const fn validity_of(leaf: Leaf) -> Self {
        // INVARIANT: Validity alone.
        Self {
            set: leaf.bits & (VALID | PRESENT_INVALID),
            clear: VALID | PRESENT_INVALID,
        }
    }

    /// Returns the part of the change that is about validity.
    pub(crate) const fn of_validity(&self) -> Self {
        // INVARIANT: Validity alone.
        Self {
            set: self.set & (VALID | PRESENT_INVALID),
            clear: self.clear & (VALID | PRESENT_INVALID),
        }
    }

    /// Returns whether the change lets the kernel execute.
    pub(crate) const fn allows_execution(&self) -> bool {
        self.clear & PXN != 0
    }

    /// Returns whether the change lets the kernel write.
    pub(crate) const fn allows_write(&self) -> bool {
        self.set & WRITE != 0
    }

    /// Returns whether the change keeps the kernel from executing.
    pub(crate) const fn removes_execution(&self) -> bool {
        self.set & PXN != 0
    }
}

/// An entry of a translation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(u64);

/// What a [`Descriptor`] is at its level.
pub(crate) enum Kind {
    /// It maps nothing (`pmd_none()`).
    None,
    /// It points to a table of the next level.
    Table(TableDescriptor),
    /// It maps memory, or would if it were valid.
    Leaf(Leaf),
}

impl Descriptor {
    /// Wraps `bits` as they are in a table.
    ///
    /// # Safety
    ///
    /// They were read from an entry of live tables, or never reach live tables.
    pub(crate) const unsafe fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits as they are in a table.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns what the descriptor is in a table of `level`.
    #[inline]
    pub(crate) const fn kind(self, level: Level) -> Kind {
        match level.next() {
            Some(below) if self.0 & (TABLE_OR_PAGE | VALID) == TABLE_OR_PAGE | VALID => {
                // INVARIANT: Checked above.
                Kind::Table(TableDescriptor {
                    bits: self.0,
                    below,
                })
            }
            _ if self.0 & (VALID | PRESENT_INVALID) == 0 => Kind::None,
            // INVARIANT: It maps memory, and is not a table.
            _ => Kind::Leaf(Leaf {
                bits: self.0,
                level,
            }),
        }
    }
}

/// The PA of a table, as the bits that descriptors have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableAddress(u64);

impl TableAddress {
    /// Wraps the bits.
    ///
    /// # Safety
    ///
    /// They are those of a table that the caller has allocated and gives up, or never reach live
    /// tables.
    pub(crate) const unsafe fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A descriptor that points to a table.
///
/// # Invariants
///
/// `bits` are those of a table descriptor; the table that it points to is of level `below`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableDescriptor {
    bits: u64,
    below: Level,
}

impl TableDescriptor {
    /// Returns the descriptor of the table of level `below` at `address`. If `pxn`, the kernel
    /// executes nothing of what the table maps.
    pub(crate) const fn new(address: TableAddress, below: Level, pxn: bool) -> Self {
        let pxn = if pxn { PXN_TABLE } else { 0 };
        // INVARIANT: These are the bits of a table descriptor.
        Self {
            bits: address.0 | pxn | UXN_TABLE | AF | TABLE_OR_PAGE | VALID,
            below,
        }
    }

    /// Returns the descriptor as an entry of a table.
    pub(crate) const fn descriptor(self) -> Descriptor {
        Descriptor(self.bits)
    }

    /// Returns the level of the table that the descriptor points to.
    pub(crate) const fn below(self) -> Level {
        self.below
    }

    /// Returns whether the table replaced a block.
    pub(crate) const fn was_block(self) -> bool {
        self.bits & WAS_BLOCK != 0
    }

    /// Returns whether leaves in the table, or in one below it, have changed since the worker
    /// looked at it.
    pub(crate) const fn is_pending(self) -> bool {
        self.bits & PENDING != 0
    }

    /// Returns this descriptor with or without the bit that [`Self::is_pending`] reads.
    pub(crate) const fn with_pending(self, is_pending: bool) -> Self {
        let pending = if is_pending { PENDING } else { 0 };
        // INVARIANT: The other bits stay.
        Self {
            bits: self.bits & !PENDING | pending,
            ..self
        }
    }
}

/// A descriptor that maps memory: a page or a block, either of which may be part of a contiguous
/// run.
///
/// # Invariants
///
/// `bits` are those of a leaf in a table of `level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    bits: u64,
    level: Level,
}

impl Leaf {
    /// Returns the leaf as an entry of a table.
    pub(crate) const fn descriptor(self) -> Descriptor {
        Descriptor(self.bits)
    }

    /// Returns the level of the table that the leaf is in.
    pub(crate) const fn level(self) -> Level {
        self.level
    }

    /// Returns whether the leaf is part of a contiguous run.
    pub(crate) const fn is_cont(self) -> bool {
        self.bits & CONT != 0
    }

    /// Returns whether the leaf is, or was, part of a contiguous run.
    pub(crate) const fn is_or_was_cont(self) -> bool {
        self.bits & (CONT | WAS_CONT) != 0
    }

    /// Returns whether the MMU uses the leaf, so that TLBs may hold it.
    pub(crate) const fn is_valid(self) -> bool {
        self.bits & VALID != 0
    }

    /// Returns whether the kernel may write to what the leaf maps.
    pub(crate) const fn is_writable(self) -> bool {
        self.bits & RDONLY == 0 || self.bits & WRITE != 0
    }

    /// Returns whether the kernel may execute what the leaf maps.
    pub(crate) const fn is_executable(self) -> bool {
        self.bits & PXN == 0
    }

    /// Returns the size, and the alignment, of what has to change together: the leaf, or its
    /// contiguous run.
    #[inline]
    pub(crate) const fn size(self) -> LeafSize {
        LeafSize::new(self.level, self.is_cont())
    }

    /// Returns the leaf after `change`, or [`None`] if it would be writable and executable, or
    /// would map nothing.
    #[inline]
    pub(crate) fn with(self, change: Change) -> Option<Self> {
        // INVARIANT: The bits that say what a descriptor is stay. It is checked that it maps
        // memory.
        let leaf = Self {
            bits: self.bits & !change.clear | change.set,
            ..self
        };
        let is_present = leaf.bits & (VALID | PRESENT_INVALID) != 0;
        (is_present && !(leaf.is_writable() && leaf.is_executable())).then_some(leaf)
    }

    /// Returns whether a store of `to` over this leaf makes a valid executable leaf a valid one
    /// that is not executable. No Cortex-A715 may see that (erratum 2645198).
    pub(crate) const fn loses_execution(self, to: Self) -> bool {
        self.is_valid() && self.is_executable() && to.is_valid() && !to.is_executable()
    }

    /// Returns this leaf as one that the MMU does not use.
    pub(crate) const fn invalid(self) -> Self {
        // INVARIANT: It still maps memory, and the size stays.
        Self {
            bits: self.bits & !VALID | PRESENT_INVALID,
            ..self
        }
    }

    /// Returns this leaf of a contiguous run as a single one that can go back into the run.
    pub(crate) const fn clear_cont(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !CONT | WAS_CONT,
            ..self
        }
    }

    /// Returns the leaf that [`Self::clear_cont`] has returned as part of its contiguous run again.
    pub(crate) const fn set_cont(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !WAS_CONT | CONT,
            ..self
        }
    }

    /// Returns this leaf as a single one that never becomes part of anything larger.
    pub(crate) const fn never_cont(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !(CONT | WAS_CONT),
            ..self
        }
    }

    /// Returns whether this leaf can be the first of `size` bytes of leaves that collapse: it is
    /// valid, a split has made it, and its PA is aligned to `size`.
    pub(crate) const fn begins(self, size: usize, granule: &Granule) -> bool {
        let offset = (size - granule.size(self.level)) as u64;

        self.is_valid() && self.is_or_was_cont() && self.bits & offset == 0
    }

    /// Returns whether `leaf`, the `index`-th after this one, maps the memory that follows, with
    /// the same attributes. [`Self::begins`] is true for this leaf.
    pub(crate) const fn is_continued_by(self, leaf: Self, index: usize, granule: &Granule) -> bool {
        let offset = (index * granule.size(self.level)) as u64;
        let differs = (self.bits | offset) ^ leaf.bits;

        leaf.is_or_was_cont() && differs & !(CONT | WAS_CONT) == 0
    }

    /// Returns the descriptor of the table of level `below` at `address`, which replaces this
    /// block. If `pxn`, the kernel executes nothing of what the table maps.
    pub(crate) const fn replaced_by(
        self,
        address: TableAddress,
        below: Level,
        pxn: bool,
    ) -> TableDescriptor {
        let was_cont = if self.is_or_was_cont() { WAS_CONT } else { 0 };
        let table = TableDescriptor::new(address, below, pxn);
        // INVARIANT: It is `table` with bits that are for software.
        TableDescriptor {
            bits: table.bits | was_cont | WAS_BLOCK,
            ..table
        }
    }

    /// Returns the block of `level` that `table` replaced, of which this is the first leaf.
    pub(crate) const fn to_block(self, level: Level, table: TableDescriptor) -> Self {
        // Pages have the bit set, blocks do not.
        let bits = self.bits & !(TABLE_OR_PAGE | CONT | WAS_CONT);
        // INVARIANT: It is the descriptor of a block, as valid as this leaf.
        Self {
            bits: bits | table.bits & WAS_CONT,
            level,
        }
    }

    /// Returns leaf `index` of those of level `below`, all in contiguous runs, that together map
    /// what this block maps.
    pub(crate) const fn part(self, below: Level, index: usize, granule: &Granule) -> Self {
        let page = match below {
            Level::Pte => TABLE_OR_PAGE,
            Level::Pmd | Level::Pud => 0,
        };
        // The PA of a block is aligned to its size, so the bits of an offset in it are 0.
        let offset = (index * granule.size(below)) as u64;
        // INVARIANT: It is the descriptor of a leaf of level `below`, as valid as this one.
        Self {
            bits: self.bits & !WAS_CONT | offset | page | CONT,
            level: below,
        }
    }
}
