// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of a linear map whose leaves keep their size.

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::*;
use crate::{
    granule::Level,
    unprotected,
    GRANULE, //
};

#[kunit_tests(arm64_kpgtable_whole)]
mod tests {
    use super::*;

    /// Calls a function that changes permissions of pages from `addr` on, which are the test's own
    /// and used as they are permitted. Returns what it returned.
    fn call(
        function: unsafe extern "C" fn(usize, c_int) -> c_int,
        addr: usize,
        pages: usize,
    ) -> c_int {
        // SAFETY: The memory is the test's own, and it uses it as it is permitted.
        unsafe { function(addr, pages as c_int) }
    }

    /// Returns how many bytes of areas are counted as unprotected.
    fn counted(token: WholeLeaves) -> usize {
        let mut guard = PgtableSplitGuard::lock(token);
        let mut area = 0;
        let mut sum = 0;

        while let Some((key, unprotected)) = unprotected::next(&mut guard, area) {
            area = key;
            sum += unprotected.bytes;
        }
        sum
    }

    /// Returns a page of `memory` that a block of the linear map maps, and its linear alias. Boot
    /// maps a few blocks by pages, where something needs that.
    fn page_in_block(memory: &Memory) -> Result<(usize, usize)> {
        let block = GRANULE.size(Level::Pmd);

        for (index, &alias) in aliases(memory.addr, Memory::SIZE)?.iter().enumerate() {
            if sizes(alias & !(block - 1), block)?[2] == block {
                return Ok((memory.page(index), alias));
            }
        }
        Err(EINVAL)
    }

    #[test]
    fn a_part_of_a_leaf_stays_writable_and_is_counted() -> Result {
        let Some(token) = whole_or_skip() else {
            return Ok(());
        };
        let memory = Memory::new(false)?;
        let (page, alias) = page_in_block(&memory)?;
        let before = counted(token);

        // vfree() has nothing to reset after this.
        assert_eq!(call(bindings::set_memory_nx, page, 1), 0);
        assert_eq!(counted(token), before);
        // Again changes nothing, and is not counted again.
        for _ in 0..2 {
            assert_eq!(call(bindings::set_memory_ro, page, 1), 0);
            assert!(is_read_only(page) && is_writable(alias));
            assert_eq!(counted(token), before + PAGE_SIZE);
        }
        assert_eq!(call(bindings::set_memory_rw, page, 1), 0);
        assert!(is_writable(page) && is_writable(alias));
        assert_eq!(counted(token), before);

        // vfree() has it forgotten.
        assert_eq!(call(bindings::set_memory_ro, page, 1), 0);
        assert_eq!(counted(token), before + PAGE_SIZE);
        drop(memory);
        assert_eq!(counted(token), before);
        Ok(())
    }

    #[test]
    fn a_part_of_a_leaf_does_not_become_executable() -> Result {
        let Some(token) = whole_or_skip() else {
            return Ok(());
        };
        let memory = Memory::new(false)?;
        let (page, _) = page_in_block(&memory)?;
        let before = counted(token);

        assert_eq!(call(bindings::set_memory_rox, page, 1), EINVAL.to_errno());
        assert!(is_writable(page) && !leaf_at(page)?.is_executable());
        assert_eq!(call(bindings::set_memory_ro, page, 1), 0);
        assert_eq!(call(bindings::set_memory_x, page, 1), EINVAL.to_errno());
        assert!(is_read_only(page) && !leaf_at(page)?.is_executable());
        assert_eq!(call(bindings::set_memory_rw, page, 1), 0);
        assert_eq!(counted(token), before);
        Ok(())
    }

    #[test]
    fn a_whole_leaf_is_protected() -> Result {
        let Some(token) = whole_or_skip() else {
            return Ok(());
        };
        // Two blocks, each of which is one leaf of the linear map.
        let memory = Memory::new(true)?;
        let pages = Memory::SIZE / PAGE_SIZE;
        let aliases = aliases(memory.addr, Memory::SIZE)?;
        let whole = sizes(aliases[0], GRANULE.size(Level::Pmd))?;
        let before = counted(token);
        let are = |is: fn(usize) -> bool| aliases.iter().all(|&alias| is(alias));

        // vfree() would leave the alias read-only.
        assert_eq!(
            call(bindings::set_memory_ro, memory.addr, pages),
            EINVAL.to_errno()
        );
        assert!(is_writable(memory.addr) && are(is_writable));
        // SAFETY: The test owns the area, and nobody else changes its flags.
        unsafe {
            let area = bindings::find_vm_area(memory.addr as *const c_void);
            (*area).flags |= bindings::VM_FLUSH_RESET_PERMS as usize;
        }
        assert_eq!(call(bindings::set_memory_ro, memory.addr, pages), 0);
        assert!(is_read_only(memory.addr) && are(is_read_only));
        assert_eq!(counted(token), before);
        assert_eq!(call(bindings::set_memory_x, memory.addr, pages), 0);
        assert!(leaf_at(memory.addr)?.is_executable() && are(is_read_only));
        assert_eq!(call(bindings::set_memory_nx, memory.addr, pages), 0);
        assert_eq!(call(bindings::set_memory_rw, memory.addr, pages), 0);
        assert!(is_writable(memory.addr) && are(is_writable));
        assert_eq!(sizes(aliases[0], GRANULE.size(Level::Pmd))?, whole);
        Ok(())
    }

    #[test]
    fn single_pages_of_the_linear_map_stay_as_they_are() -> Result {
        if whole_or_skip().is_none() {
            return Ok(());
        }
        let memory = Memory::new(false)?;
        let (addr, alias) = page_in_block(&memory)?;
        // SAFETY: The memory is the test's own.
        let page = unsafe { bindings::vmalloc_to_page(addr as *const c_void) };

        // SAFETY: An FFI call without preconditions.
        assert!(!unsafe { bindings::can_set_direct_map() });
        // SAFETY: The memory is the test's own, and it does not use the alias.
        assert_eq!(unsafe { bindings::set_direct_map_invalid_noflush(page) }, 0);
        assert!(is_writable(alias));
        // SAFETY: As above; the call is one that fails.
        let ret = unsafe { bindings::set_memory_valid(alias, 1, 0) };
        assert_eq!(ret, EINVAL.to_errno());
        assert!(is_writable(alias));
        Ok(())
    }
}
