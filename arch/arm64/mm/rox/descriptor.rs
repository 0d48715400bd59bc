// SPDX-License-Identifier: GPL-2.0

//! A descriptor of a translation table as a value: what it is, and what it can be changed to.
//!
//! Bits are those of stage 1 descriptors, Arm ARM (DDI 0487) D8.3. A change that would make a leaf
//! writable and executable has no result.
//!
//! Pure: uses `core` alone and touches no table.

use super::geometry::{
    Geometry,
    LeafSize,
    Level, //
};

/// The descriptor is used by translation.
pub(crate) const VALID: u64 = 1 << 0;
/// Of valid descriptors: a table, or a page of the last level, and not a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP\[2\].
pub(crate) const RDONLY: u64 = 1 << 7;
/// The access flag.
const AF: u64 = 1 << 10;
/// Linux: what is not valid maps something all the same. The bit is nG in valid descriptors.
pub(crate) const PRESENT_INVALID: u64 = 1 << 11;
/// DBM, which Linux sets in all leaves that may be written.
pub(crate) const WRITE: u64 = 1 << 51;
/// The leaf is one of a contiguous run.
const CONTIGUOUS: u64 = 1 << 52;
/// The kernel does not execute what the leaf maps.
pub(crate) const PXN: u64 = 1 << 53;
/// Linux: a leaf was one of a contiguous run, and becomes one again when the rest of the run is
/// like it. Of tables: so was the block whose place it has. Reserved for software in leaves, and
/// ignored in tables.
pub(crate) const WAS_CONTIGUOUS: u64 = 1 << 57;
/// Linux, of tables: it has the place of a block. Ignored by the MMU.
pub(crate) const WAS_BLOCK: u64 = 1 << 58;
/// Linux, of tables: it, or one below it, has leaves that have changed since somebody looked
/// whether they collapse. Ignored by the MMU.
pub(crate) const PENDING: u64 = 1 << 56;
/// Of tables: as [`PXN`] in all leaves below.
const PXN_TABLE: u64 = 1 << 59;
/// Of tables: user space executes nothing below.
const UXN_TABLE: u64 = 1 << 60;

/// A change of the attributes of a leaf: bits that are cleared, then bits that are set.
///
/// # Invariants
///
/// It does not touch the bits that say how large the leaf is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    set: u64,
    clear: u64,
}

impl Change {
    /// Returns the change with these masks, or [`None`] if it would change what a descriptor is.
    pub(crate) const fn new(set: u64, clear: u64) -> Option<Self> {
        if (set | clear) & (TABLE_OR_PAGE | CONTIGUOUS | WAS_CONTIGUOUS) != 0 {
            return None;
        }
        // INVARIANT: Checked above.
        Some(Self { set, clear })
    }

    /// To read-only and executable. `guarded` is the bit of guarded pages (FEAT_BTI), or 0.
    pub(crate) const fn rox(guarded: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: RDONLY | guarded,
            clear: WRITE | PXN,
        }
    }

    /// To read-only and not executable.
    pub(crate) const fn ro_nx(guarded: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: RDONLY | PXN,
            clear: WRITE | guarded,
        }
    }

    /// To writable; whether it is executable stays.
    pub(crate) const fn rw() -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: WRITE,
            clear: RDONLY,
        }
    }

    /// To writable and not executable, the opposite of [`Self::rox`].
    pub(crate) const fn rw_nx(guarded: u64) -> Self {
        // INVARIANT: Permissions alone.
        Self {
            set: WRITE | PXN,
            clear: RDONLY | guarded,
        }
    }

    /// To valid and writable, as memory in the linear map is by default. `valid` are the bits of a
    /// valid leaf of the kernel.
    pub(crate) const fn linear_map_default(valid: u64) -> Self {
        // INVARIANT: Permissions and validity alone.
        Self {
            set: valid | WRITE,
            clear: PRESENT_INVALID | RDONLY,
        }
    }

    /// Returns what the linear alias has to change, if anything: it follows whether memory is
    /// writable, and is never executable.
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

    /// To valid as `leaf` is, or invalid as it is: whether it is global counts too.
    pub(crate) const fn validity_of(leaf: Leaf) -> Self {
        // INVARIANT: Validity alone.
        Self {
            set: leaf.bits & (VALID | PRESENT_INVALID),
            clear: VALID | PRESENT_INVALID,
        }
    }

    /// Returns what the change does to validity alone.
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
    /// Nothing is mapped.
    Hole,
    /// It points to a table of the next level.
    Table,
    /// It maps memory, or would if it were valid.
    Leaf(Leaf),
}

impl Descriptor {
    /// Wraps `bits` as they are in a table.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the descriptor of a table. `address` is the table's PA as descriptors hold it; if
    /// `pxn`, the kernel executes nothing of what the table maps.
    pub(crate) const fn table(address: u64, pxn: bool) -> Self {
        let pxn = if pxn { PXN_TABLE } else { 0 };
        Self(address | pxn | UXN_TABLE | AF | TABLE_OR_PAGE | VALID)
    }

    /// Returns the bits as they are in a table.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns whether this table has the place of a block.
    pub(crate) const fn was_block(self) -> bool {
        self.0 & WAS_BLOCK != 0
    }

    /// Returns whether leaves in this table, or in one below it, have changed since somebody looked
    /// whether they collapse.
    pub(crate) const fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Returns this table with or without the note that [`Self::is_pending`] reads.
    pub(crate) const fn with_pending(self, is_pending: bool) -> Self {
        let pending = if is_pending { PENDING } else { 0 };
        Self(self.0 & !PENDING | pending)
    }

    /// Returns what the descriptor is in a table of `level`.
    #[inline]
    pub(crate) fn kind(self, level: Level) -> Kind {
        if level != Level::Pte && self.0 & (TABLE_OR_PAGE | VALID) == TABLE_OR_PAGE | VALID {
            Kind::Table
        } else if self.0 & (VALID | PRESENT_INVALID) == 0 {
            Kind::Hole
        } else {
            // INVARIANT: Neither a table nor a hole.
            Kind::Leaf(Leaf {
                bits: self.0,
                level,
            })
        }
    }
}

/// A descriptor that maps memory: a page, a block, or one of a contiguous run.
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

    /// Returns whether the leaf is one of a contiguous run.
    pub(crate) const fn is_contiguous(self) -> bool {
        self.bits & CONTIGUOUS != 0
    }

    /// Returns whether translation uses the leaf, so that TLBs may hold it.
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

    /// Returns the size, and the alignment, of what has to be changed together: the leaf, or the
    /// contiguous run that it is one of.
    #[inline]
    pub(crate) const fn size(self) -> LeafSize {
        LeafSize::new(self.level, self.is_contiguous())
    }

    /// Returns the leaf after `change`, or [`None`] if that were one that is both writable and
    /// executable, or no leaf at all.
    #[inline]
    pub(crate) fn with(self, change: Change) -> Option<Self> {
        // INVARIANT: The bits that say what a descriptor is stay; that it is present is checked.
        let leaf = Self {
            bits: self.bits & !change.clear | change.set,
            ..self
        };
        let is_present = leaf.bits & (VALID | PRESENT_INVALID) != 0;
        (is_present && !(leaf.is_writable() && leaf.is_executable())).then_some(leaf)
    }

    /// Returns whether a CPU that sees `to` in the place of this leaf sees a valid executable leaf
    /// become a valid one that is not. Cortex-A715 must not (erratum 2645198).
    pub(crate) const fn loses_execution(self, to: Self) -> bool {
        self.is_valid() && self.is_executable() && to.is_valid() && !to.is_executable()
    }

    /// Returns this leaf as one that translation does not use.
    pub(crate) const fn invalid(self) -> Self {
        // INVARIANT: It is present; what else it is stays.
        Self {
            bits: self.bits & !VALID | PRESENT_INVALID,
            ..self
        }
    }

    /// Returns this leaf of a contiguous run as one for itself, with a note of what it was.
    pub(crate) const fn alone(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !CONTIGUOUS | WAS_CONTIGUOUS,
            ..self
        }
    }

    /// Returns this leaf as one for itself that never becomes one of a run.
    pub(crate) const fn pinned(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !(CONTIGUOUS | WAS_CONTIGUOUS),
            ..self
        }
    }

    /// Returns [`Self::alone`] as the leaf of a contiguous run that it was.
    pub(crate) const fn together(self) -> Self {
        // INVARIANT: What else it is stays.
        Self {
            bits: self.bits & !WAS_CONTIGUOUS | CONTIGUOUS,
            ..self
        }
    }

    /// Returns whether the leaf is one of a contiguous run, or was.
    pub(crate) const fn is_of_run(self) -> bool {
        self.bits & (CONTIGUOUS | WAS_CONTIGUOUS) != 0
    }

    /// Returns whether this leaf and those that follow it can be one that maps `size` bytes, as
    /// far as this leaf is concerned: it is valid, was made smaller by a split, and its PA is
    /// aligned.
    pub(crate) const fn begins(self, size: usize, geometry: &Geometry) -> bool {
        let offset = (size - geometry.size(self.level)) as u64;

        self.is_valid() && self.is_of_run() && self.bits & offset == 0
    }

    /// Returns whether `leaf`, `index` leaves behind this one, which [`Self::begins`] something,
    /// maps what follows in memory, with the same attributes.
    pub(crate) const fn is_continued_by(
        self,
        leaf: Self,
        index: usize,
        geometry: &Geometry,
    ) -> bool {
        let offset = (index * geometry.size(self.level)) as u64;
        let differs = (self.bits | offset) ^ leaf.bits;

        leaf.is_of_run() && differs & !(CONTIGUOUS | WAS_CONTIGUOUS) == 0
    }

    /// Returns the table descriptor that has the place of this block. `address` is the table's PA
    /// as descriptors hold it; if `pxn`, the kernel executes nothing of what it maps.
    pub(crate) const fn replaced_by(self, address: u64, pxn: bool) -> Descriptor {
        let was_contiguous = if self.is_of_run() { WAS_CONTIGUOUS } else { 0 };
        Descriptor(Descriptor::table(address, pxn).0 | was_contiguous | WAS_BLOCK)
    }

    /// Returns the block of `level` that this leaf, the first one in `table`, begins.
    pub(crate) const fn whole(self, level: Level, table: Descriptor) -> Self {
        // Pages have the bit set, blocks do not.
        let bits = self.bits & !(TABLE_OR_PAGE | CONTIGUOUS | WAS_CONTIGUOUS);
        // INVARIANT: It is the descriptor of a block; validity stays.
        Self {
            bits: bits | table.0 & WAS_CONTIGUOUS,
            level,
        }
    }

    /// Returns leaf `index` of those of the next level, all of contiguous runs, that together map
    /// what this block maps.
    pub(crate) const fn part(self, index: usize, geometry: &Geometry) -> Self {
        let level = self.level.next();
        let page = match level {
            Level::Pte => TABLE_OR_PAGE,
            Level::Pmd | Level::Pud => 0,
        };
        // A block is aligned to its size, so that an offset in it has its bits for itself.
        let offset = (index * geometry.size(level)) as u64;
        // INVARIANT: The type of a leaf is set as the next level has it; validity stays.
        Self {
            bits: self.bits & !WAS_CONTIGUOUS | offset | page | CONTIGUOUS,
            level,
        }
    }
}
