// SPDX-License-Identifier: GPL-2.0
//! One TLB: sets of entries, of which a set gives up the one that was used least recently.

/// How large a TLB is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many entries there are.
    pub entries: usize,
    /// How many of them a set has: all, if the TLB is fully associative.
    pub ways: usize,
}

/// An entry: the mapping of one leaf.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The virtual address, in units of the leaf's size.
    page: u64,
    /// The leaf's size, as a power of two.
    shift: u8,
    /// When it was last used.
    used: u64,
}

impl Entry {
    fn maps(&self, va: u64) -> bool {
        va >> self.shift == self.page
    }

    /// Whether it maps an address from `first` to `last`.
    fn overlaps(&self, first: u64, last: u64) -> bool {
        (first >> self.shift..=last >> self.shift).contains(&self.page)
    }
}

/// A TLB. Each leaf takes one entry, whatever its size.
#[derive(Clone, Debug)]
pub struct Tlb {
    ways: usize,
    sets: Vec<Vec<Entry>>,
    /// The sizes of leaves that there are entries of, as a bit each.
    shifts: u64,
    now: u64,
}

impl Tlb {
    /// A TLB that is empty. Its sets all have as many entries.
    pub fn new(geometry: Geometry) -> Self {
        let Geometry { entries, ways } = geometry;
        assert!(
            ways > 0 && entries > 0 && entries % ways == 0,
            "{entries} entries cannot be in sets of {ways}"
        );
        Self {
            ways,
            sets: vec![Vec::with_capacity(ways); entries / ways],
            shifts: 0,
            now: 0,
        }
    }

    fn set(&self, va: u64, shift: u8) -> usize {
        ((va >> shift) % self.sets.len() as u64) as usize
    }

    /// Looks for the entry that maps an address, and returns the size of its leaf.
    pub fn look_up(&mut self, va: u64) -> Option<u8> {
        self.now += 1;
        let mut shifts = self.shifts;
        while shifts != 0 {
            let set = self.set(va, shifts.trailing_zeros() as u8);
            if let Some(entry) = self.sets[set].iter_mut().find(|entry| entry.maps(va)) {
                entry.used = self.now;
                return Some(entry.shift);
            }
            // One set has entries of all sizes.
            if self.sets.len() == 1 {
                return None;
            }
            shifts &= shifts - 1;
        }
        None
    }

    /// Puts in the leaf that maps an address, of `1 << shift` bytes.
    pub fn insert(&mut self, va: u64, shift: u8) {
        self.now += 1;
        self.shifts |= 1 << shift;
        let (index, ways) = (self.set(va, shift), self.ways);
        let set = &mut self.sets[index];
        if set.len() == ways {
            let oldest = (0..ways).min_by_key(|way| set[*way].used);
            set.swap_remove(oldest.unwrap_or(0));
        }
        set.push(Entry {
            page: va >> shift,
            shift,
            used: self.now,
        });
    }

    /// Removes what maps an address from `first` to `last`.
    pub fn invalidate(&mut self, first: u64, last: u64) {
        for set in &mut self.sets {
            set.retain(|entry| !entry.overlaps(first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Geometry = Geometry {
        entries: 4,
        ways: 4,
    };
    const TWO_SETS: Geometry = Geometry {
        entries: 4,
        ways: 2,
    };

    /// Looks up pages in turn, again and again, and returns how many lookups missed.
    fn misses(tlb: &mut Tlb, pages: impl Iterator<Item = u64> + Clone, shift: u8) -> usize {
        let all = pages.clone().chain(pages.clone()).chain(pages);
        all.filter(|page| {
            let va = page << shift;
            let missed = tlb.look_up(va).is_none();
            if missed {
                tlb.insert(va, shift);
            }
            missed
        })
        .count()
    }

    #[test]
    fn what_fits_misses_once() {
        for shift in [12, 16, 21, 25, 30] {
            for geometry in [FOUR, TWO_SETS] {
                assert_eq!(misses(&mut Tlb::new(geometry), 0..4, shift), 4);
            }
        }
    }

    #[test]
    fn one_more_in_turn_misses_always() {
        assert_eq!(misses(&mut Tlb::new(FOUR), 0..5, 12), 15);
        // Three of the even set, two of the odd one, which stay.
        assert_eq!(misses(&mut Tlb::new(TWO_SETS), 0..5, 12), 3 * 3 + 2);
    }

    #[test]
    fn a_set_overflows_alone() {
        let mut tlb = Tlb::new(TWO_SETS);
        assert_eq!(misses(&mut tlb, [0, 2, 4].into_iter(), 12), 9);
        assert_eq!(misses(&mut tlb, [1, 3].into_iter(), 12), 2);
    }

    #[test]
    fn sizes_lie_beside_each_other() {
        for geometry in [FOUR, TWO_SETS] {
            let mut tlb = Tlb::new(geometry);
            tlb.insert(0, 21);
            tlb.insert(3 << 21, 12);
            assert_eq!(tlb.look_up(0x1f_f000), Some(21));
            assert_eq!(tlb.look_up((3 << 21) + 8), Some(12));
            assert_eq!(tlb.look_up((3 << 21) + 0x1000), None);
        }
    }

    #[test]
    fn what_is_used_stays() {
        let mut tlb = Tlb::new(FOUR);
        for page in 0..4 {
            tlb.insert(page << 12, 12);
        }
        assert!(tlb.look_up(0).is_some());
        tlb.insert(4 << 12, 12);
        assert!(tlb.look_up(0).is_some());
        assert!(tlb.look_up(1 << 12).is_none());
    }

    #[test]
    fn what_is_invalidated_is_gone() {
        let mut tlb = Tlb::new(FOUR);
        for (va, shift) in [(0, 21), (1 << 21, 12), ((1 << 21) + 0x1000, 12)] {
            tlb.insert(va, shift);
        }
        // One byte of a block is enough.
        tlb.invalidate(0x5000, 0x5fff);
        assert_eq!(tlb.look_up(0), None);
        assert_eq!(tlb.look_up(1 << 21), Some(12));
        tlb.invalidate(1 << 21, (1 << 21) + 0xfff);
        assert_eq!(tlb.look_up(1 << 21), None);
        assert_eq!(tlb.look_up((1 << 21) + 0x1000), Some(12));
        tlb.invalidate(0, u64::MAX);
        assert_eq!(tlb.look_up((1 << 21) + 0x1000), None);
    }
}
