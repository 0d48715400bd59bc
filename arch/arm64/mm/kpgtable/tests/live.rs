// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of permission changes, splits and collapses, by what memory really does.

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::*;
use crate::{
    granule::Level,
    permission,
    GRANULE, //
};

#[kunit_tests(arm64_kpgtable_live)]
mod tests {
    use super::*;

    /// Makes a range in the middle of `memory` read-only and writable again, and checks every page
    /// and its alias each time.
    fn check_set_memory(memory: &Memory, first: usize, count: usize) -> Result {
        let aliases = aliases(memory.addr, Memory::SIZE)?;
        let has_changed = |index: usize| (first..first + count).contains(&index);
        let alias_follows = ResizeLeaves::get().is_some();

        // SAFETY: The memory is the test's own.
        let ret = unsafe { bindings::set_memory_ro(memory.page(first), count as c_int) };
        assert_eq!(ret, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            let is_as_asked = match has_changed(index) {
                true => is_read_only,
                false => is_writable,
            };
            assert!(is_as_asked(memory.page(index)));
            assert!(!alias_follows || is_as_asked(alias));
        }

        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_rw(memory.page(first), count as c_int) };
        assert_eq!(ret, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_writable(memory.page(index)));
            assert!(is_writable(alias));
        }
        Ok(())
    }

    #[test]
    fn set_memory_changes_pages_and_no_neighbour() -> Result {
        let memory = Memory::new(false)?;

        check_set_memory(&memory, 3, 1)?;
        check_set_memory(&memory, 1, 15)
    }

    #[test]
    fn huge_mappings_change_where_leaves_can_be_split() -> Result {
        let memory = Memory::new(true)?;
        let half = Memory::SIZE / PAGE_SIZE / 2;

        if ResizeLeaves::get().is_some() {
            check_set_memory(&memory, 0, half)?;
            check_set_memory(&memory, half - 1, 2)?;
            return check_set_memory(&memory, 7, 1);
        }
        // SAFETY: The memory is the test's own.
        let ret = unsafe { bindings::set_memory_ro(memory.page(7), 1) };
        assert_eq!(ret, EINVAL.to_errno());
        Ok(())
    }

    #[test]
    fn what_is_as_asked_is_not_split() -> Result {
        if token_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let pages = (Memory::SIZE / PAGE_SIZE) as c_int;
        let whole = sizes(memory.addr, Memory::SIZE)?;
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.page(3), 1) }, 0);
        assert_eq!(sizes(memory.addr, Memory::SIZE)?, whole);

        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, pages) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.page(3), 1) }, 0);
        assert_eq!(sizes(memory.addr, Memory::SIZE)?, whole);

        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.page(3), 1) }, 0);
        // Single pages cannot be split.
        let is_split = sizes(memory.addr, Memory::SIZE)? != whole;
        assert_eq!(is_split, whole[0] != Memory::SIZE);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, pages) }, 0);
        Ok(())
    }

    #[test]
    fn the_linear_map_collapses_to_what_it_was() -> Result {
        if token_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(false)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        // The memory around it has other owners, and may change: look at the block around one page.
        let reach = GRANULE.size(Level::Pmd);
        let start = alias & !(reach - 1);
        // SAFETY: Tests can sleep; and what others have split collapses meanwhile.
        unsafe { bindings::msleep(2000) };
        let before = sizes(start, reach)?;

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 1) }, 0);
        let split = sizes(start, reach)?;
        assert!(split[0] > 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 1) }, 0);
        assert!(becomes(start, reach, before)?);
        Ok(())
    }

    #[test]
    fn pte_mapped_pages_stay_pages() -> Result {
        let Some(token) = token_or_skip() else {
            return Ok(());
        };
        let memory = Memory::new(true)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        let run = GRANULE.run_size(Level::Pte);
        // SAFETY: Tests can sleep; and what others have split collapses meanwhile.
        unsafe { bindings::msleep(2000) };
        let before = sizes(alias & !(run - 1), run)?;

        permission::map_by_ptes(token, &owned(alias, PAGE_SIZE)?)?;
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 2) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 2) }, 0);
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(1000) };
        // The run that the page is in, and no other.
        let start = alias & !(run - 1);
        assert_eq!(sizes(start, run)?[0], run);

        // The page outlives the test, so it becomes again what it was.
        undo_map_by_ptes(token, alias)?;
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { bindings::set_memory_ro(memory.addr, 2) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { bindings::set_memory_rw(memory.addr, 2) }, 0);
        assert!(becomes(start, run, before)?);
        Ok(())
    }

    #[test]
    fn read_only_data_does_not_collapse() -> Result {
        if token_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let alias = *aliases(memory.addr, Memory::SIZE)?.first().ok_or(EINVAL)?;
        let run = GRANULE.run_size(Level::Pte);
        let half = run / PAGE_SIZE / 2;

        // As two owners do.
        for first in [0, half] {
            // SAFETY: The memory is the test's own.
            let ret = unsafe { bindings::set_memory_ro(memory.page(first), half as c_int) };
            assert_eq!(ret, 0);
        }
        // SAFETY: Tests can sleep.
        unsafe { bindings::msleep(1000) };
        assert_eq!(sizes(alias, run)?[0], run);
        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_rw(memory.addr, 2 * half as c_int) };
        assert_eq!(ret, 0);
        Ok(())
    }

    #[test]
    fn writable_memory_does_not_become_executable() -> Result {
        let memory = Memory::new(false)?;

        if ResizeLeaves::get().is_some() {
            // SAFETY: The memory is the test's own; the call is one that fails.
            let ret = unsafe { bindings::set_memory_x(memory.page(1), 2) };
            assert_eq!(ret, EINVAL.to_errno());
        }
        assert!(is_writable(memory.page(1)));
        Ok(())
    }

    #[test]
    fn a_range_that_leaves_its_area_is_refused() -> Result {
        let memory = Memory::new(false)?;
        let pages = Memory::SIZE / PAGE_SIZE;

        if ResizeLeaves::get().is_some() {
            // SAFETY: The memory is the test's own; the call is one that fails.
            let ret = unsafe { bindings::set_memory_ro(memory.page(1), pages as c_int) };
            assert_eq!(ret, EINVAL.to_errno());
            assert!(is_writable(memory.page(1)));
        }
        // SAFETY: As above.
        let ret = unsafe { bindings::set_memory_ro(memory.page(1), pages as c_int + 8) };
        assert_eq!(ret, EINVAL.to_errno());
        assert!(is_writable(memory.page(1)));
        Ok(())
    }
}
