// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of memory from the execmem caches, by what memory really does.

use kernel::{
    bindings,
    kunit,
    page::PAGE_SIZE,
    prelude::*,
    sizes::SZ_4K,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::{
    execmem_arch_populate,
    execmem_arch_release,
    execmem_arch_set_ro,
    execmem_arch_set_rox,
    execmem_arch_set_rw,
    ranges,
    sync_icache,
    trap::{
        self,
        TRAP, //
    }, //
};
use crate::{
    chunks::CHUNK_SIZE,
    granule::{
        Granule,
        LeafSize, //
    },
    lock::ChangeLeaves,
    tests::*,
    GRANULE, //
};

const MODULE_TEXT: bindings::execmem_type = bindings::execmem_type_EXECMEM_MODULE_TEXT;
const MODULE_RODATA: bindings::execmem_type = bindings::execmem_type_EXECMEM_MODULE_RODATA;

/// Returns whether memory of this type comes from a cache, or has the test skipped.
fn is_cached_or_skip(part: bindings::execmem_type) -> bool {
    // SAFETY: An FFI call without preconditions.
    let is_cached = unsafe { bindings::execmem_is_cached(part) };
    if !is_cached {
        kunit::mark_skipped(c"there is no cache");
    }
    is_cached
}

#[kunit_tests(arm64_kpgtable_execmem)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_a_leaf_with_every_page_size() {
        for shift in [12, 14, 16] {
            assert!(Granule::new(shift).is_some_and(|g| g.is_leaf_size(CHUNK_SIZE)));
        }
        assert_eq!(GRANULE.page(), PAGE_SIZE);
        assert!(!GRANULE.is_leaf_size(CHUNK_SIZE / 2 + PAGE_SIZE));
    }

    #[test]
    fn fill_leaves_nothing_but_traps() -> Result {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut text = KVec::from_elem(0xd503201f_u32, len, GFP_KERNEL)?;

            trap::fill(&mut text);
            // BRK #0x100, in memory order.
            assert!(text
                .iter()
                .all(|insn| insn.to_ne_bytes() == [0x00, 0x20, 0x20, 0xd4]));
        }
        Ok(())
    }

    #[test]
    fn a_chunk_of_text_collapses() -> Result {
        if token_or_skip().is_none() || !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        // vmalloc makes contiguous runs of pages only where it has the helpers of hugetlb.
        if PAGE_SIZE != SZ_4K && !cfg!(CONFIG_HUGETLB_PAGE) {
            kunit::mark_skipped(c"vmalloc makes no contiguous runs");
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let chunk = text.addr & !(CHUNK_SIZE - 1);
        let mut whole = [0; LeafSize::ALL.len()];
        whole[if PAGE_SIZE == SZ_4K { 2 } else { 1 }] = CHUNK_SIZE;
        assert!(becomes(chunk, CHUNK_SIZE, whole)?);

        // SAFETY: The memory is the test's own.
        let ret = unsafe { execmem_arch_set_rw(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(sizes(chunk, CHUNK_SIZE)? != whole);
        // SAFETY: As above.
        let ret = unsafe { execmem_arch_set_rox(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(becomes(chunk, CHUNK_SIZE, whole)?);
        Ok(())
    }

    #[test]
    fn leaves_of_a_chunk_keep_their_size() -> Result {
        if whole_or_skip().is_none() {
            return Ok(());
        }
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = Cached::new(part)?;
            let chunk = memory.addr & !(CHUNK_SIZE - 1);
            let alias = aliases(memory.addr, PAGE_SIZE)?[0] & !(CHUNK_SIZE - 1);
            let mut pages = [0; LeafSize::ALL.len()];
            pages[0] = CHUNK_SIZE;
            let mut block = [0; LeafSize::ALL.len()];
            block[2] = CHUNK_SIZE;

            assert_eq!(sizes(chunk, CHUNK_SIZE)?, pages);
            assert_eq!(sizes(alias, CHUNK_SIZE)?, block);
            // SAFETY: The memory is the test's own.
            let ret = unsafe { execmem_arch_set_rw(memory.addr as *mut c_void, Cached::SIZE) };
            assert_eq!(ret, 0);
            assert_eq!(sizes(chunk, CHUNK_SIZE)?, pages);
            assert_eq!(sizes(alias, CHUNK_SIZE)?, block);
        }
        Ok(())
    }

    #[test]
    fn a_released_chunk_is_ordinary_memory() -> Result {
        if ChangeLeaves::get().is_none() {
            kunit::mark_skipped(c"there are no chunks");
            return Ok(());
        }
        let memory = Memory::new(true)?;
        let aliases = aliases(memory.addr, Memory::SIZE)?;

        // SAFETY: The memory is the test's own.
        let vm = unsafe { bindings::find_vm_area(memory.addr as *const c_void) };
        // SAFETY: As above.
        assert_eq!(unsafe { execmem_arch_populate(vm) }, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_read_only(memory.page(index)) && is_read_only(alias));
        }

        // SAFETY: As above, and nobody uses it.
        assert_eq!(unsafe { execmem_arch_release(vm) }, 0);
        for (index, &alias) in aliases.iter().enumerate() {
            assert!(is_writable(memory.page(index)) && is_writable(alias));
        }
        Ok(())
    }

    /// Memory for a part of a module, which the test owns.
    struct Cached {
        addr: usize,
    }

    impl Cached {
        const SIZE: usize = 2 * PAGE_SIZE;

        fn new(part: bindings::execmem_type) -> Result<Self> {
            // SAFETY: Allocating is always safe in a context that can sleep.
            let ptr = unsafe { bindings::execmem_alloc(part, Self::SIZE) };
            if ptr.is_null() {
                return Err(ENOMEM);
            }
            Ok(Self { addr: ptr as usize })
        }

        /// Calls a function that changes permissions, for all pages. Returns what it returned.
        fn call(&self, function: unsafe extern "C" fn(usize, c_int) -> c_int) -> c_int {
            // SAFETY: The memory is the test's own, and it uses it as it is permitted.
            unsafe { function(self.addr, (Self::SIZE / PAGE_SIZE) as c_int) }
        }

        /// Returns the address of each instruction.
        fn insns(&self) -> impl Iterator<Item = usize> + Clone {
            (self.addr..self.addr + Self::SIZE).step_by(size_of::<u32>())
        }
    }

    impl Drop for Cached {
        fn drop(&mut self) {
            // SAFETY: The memory is the test's own.
            unsafe { bindings::execmem_free(self.addr as *mut c_void) };
        }
    }

    #[test]
    fn memory_is_cached_where_it_can_be() {
        let can_be = ChangeLeaves::get().is_some() && ranges::is_enabled();
        // SAFETY: An FFI call without preconditions.
        let is_as_it_can_be = |part| unsafe { bindings::execmem_is_cached(part) } == can_be;

        assert!(ranges::EXECUTABLE.into_iter().all(is_as_it_can_be));
        assert!(is_as_it_can_be(MODULE_RODATA));
    }

    #[test]
    fn cached_data_and_its_alias_are_read_only() -> Result {
        // SAFETY: An FFI call without preconditions.
        let is_cached = unsafe { bindings::execmem_is_cached(MODULE_RODATA) };
        let data = Cached::new(MODULE_RODATA)?;
        let ptr = data.addr as *mut c_void;
        let aliases = aliases(data.addr, Cached::SIZE)?;

        if !is_cached {
            // As on any kernel without the cache: plain writable memory.
            assert!(is_writable(data.addr));
            return Ok(());
        }
        assert!(is_read_only(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        assert!(is_writable(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_ro(ptr, Cached::SIZE) }, 0);
        assert!(is_read_only(data.addr) && !leaf_at(data.addr)?.is_executable());
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        Ok(())
    }

    #[test]
    fn data_that_is_freed_writable_is_read_only() -> Result {
        if !is_cached_or_skip(MODULE_RODATA) {
            return Ok(());
        }

        // The first allocation keeps the chunk in the cache while the second is freed.
        let _keep = Cached::new(MODULE_RODATA)?;
        let data = Cached::new(MODULE_RODATA)?;
        let addr = data.addr;

        // SAFETY: The memory is the test's own.
        let ret = unsafe { execmem_arch_set_rw(addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        assert!(is_writable(addr));
        drop(data);
        assert!(!leaf_at(addr)?.is_writable());
        Ok(())
    }

    #[test]
    fn text_and_data_share_no_chunk() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let data = Cached::new(MODULE_RODATA)?;

        let area_of = |memory: &Cached| {
            // SAFETY: Looks an address up.
            unsafe { bindings::find_vm_area(memory.addr as *const c_void) }
        };

        assert!(leaf_at(text.addr)?.is_executable() && !leaf_at(data.addr)?.is_executable());
        assert_ne!(area_of(&text), area_of(&data));
        Ok(())
    }

    #[test]
    fn cached_text_traps_and_its_alias_stays_read_only() -> Result {
        // SAFETY: An FFI call without preconditions.
        if !unsafe { bindings::execmem_is_rox(MODULE_TEXT) } {
            // As on any kernel without the cache: plain writable memory.
            assert!(is_writable(Cached::new(MODULE_TEXT)?.addr));
            return Ok(());
        }
        ranges::EXECUTABLE.into_iter().try_for_each(check_text)
    }

    fn check_text(part: bindings::execmem_type) -> Result {
        let text = Cached::new(part)?;
        let ptr = text.addr as *mut c_void;
        let aliases = aliases(text.addr, Cached::SIZE)?;

        assert!(text.insns().all(|insn| load(insn) == Some(TRAP)));
        assert!(is_read_only(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        assert!(is_writable(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_rox(ptr, Cached::SIZE) }, 0);
        assert!(is_read_only(text.addr));
        assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        Ok(())
    }

    #[test]
    fn permissions_of_cached_memory_change_and_its_alias_stays() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = Cached::new(part)?;
            let aliases = aliases(memory.addr, Cached::SIZE)?;
            let is_now = |writable, executable| -> Result<bool> {
                let leaf = leaf_at(memory.addr)?;
                Ok(leaf.is_writable() == writable
                    && leaf.is_executable() == executable
                    && aliases.iter().all(|&alias| is_read_only(alias)))
            };

            assert_eq!(memory.call(bindings::set_memory_rox), 0);
            assert!(is_now(false, true)?);
            assert_eq!(memory.call(bindings::set_memory_rw), EINVAL.to_errno());
            assert!(is_now(false, true)?);
            assert_eq!(memory.call(bindings::set_memory_nx), 0);
            assert!(is_now(false, false)?);
            assert_eq!(memory.call(bindings::set_memory_rw), 0);
            assert!(is_now(true, false)? && is_writable(memory.addr));
            assert_eq!(memory.call(bindings::set_memory_x), EINVAL.to_errno());
            assert!(is_now(true, false)?);
            assert_eq!(memory.call(bindings::set_memory_ro), 0);
            assert!(is_now(false, false)?);
            assert_eq!(memory.call(bindings::set_memory_x), 0);
            assert!(is_now(false, true)?);
        }
        Ok(())
    }

    #[test]
    fn what_a_user_did_to_cached_memory_ends_when_it_is_freed() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            // It keeps the chunk in the cache while the others are freed.
            let _keep = Cached::new(part)?;
            for functions in [
                [bindings::set_memory_nx, bindings::set_memory_rw],
                [bindings::set_memory_ro, bindings::set_memory_x],
                [bindings::set_memory_nx, bindings::set_memory_ro],
            ] {
                let memory = Cached::new(part)?;
                let addr = memory.addr;
                let aliases = aliases(addr, Cached::SIZE)?;

                for function in functions {
                    assert_eq!(memory.call(function), 0);
                }
                drop(memory);
                let leaf = leaf_at(addr)?;
                // Freed text is writable for a while. Then it is ROX, or somebody has it.
                assert!(part == MODULE_TEXT || !(leaf.is_writable() || leaf.is_executable()));
                assert!(!(leaf.is_writable() && leaf.is_executable()));
                assert!(aliases.iter().all(|&alias| is_read_only(alias)));
            }
        }
        Ok(())
    }

    #[test]
    fn a_range_that_leaves_its_part_of_a_cache_is_refused() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = [Cached::new(part)?, Cached::new(part)?];
            let executable = leaf_at(memory[0].addr)?.is_executable();
            let pages = (Cached::SIZE / PAGE_SIZE) as c_int;

            for function in [
                bindings::set_memory_nx,
                bindings::set_memory_x,
                bindings::set_memory_ro,
                bindings::set_memory_rw,
                bindings::set_memory_rox,
            ] {
                for Cached { addr } in &memory {
                    // SAFETY: The calls are ones that fail.
                    let ret = unsafe { function(*addr, pages + 1) };
                    assert_eq!(ret, EINVAL.to_errno());
                    // SAFETY: As above.
                    let ret = unsafe { function(*addr + PAGE_SIZE, pages) };
                    assert_eq!(ret, EINVAL.to_errno());
                    // SAFETY: As above.
                    let ret = unsafe { function(*addr - PAGE_SIZE, 2) };
                    assert_eq!(ret, EINVAL.to_errno());
                    let leaf = leaf_at(*addr)?;
                    assert!(!leaf.is_writable() && leaf.is_executable() == executable);
                }
            }

            // Nobody owns what is free.
            let addr = memory[1].addr;
            drop(memory);
            // SAFETY: The call is one that fails.
            let ret = unsafe { bindings::set_memory_nx(addr, 1) };
            assert_eq!(ret, EINVAL.to_errno());
        }
        Ok(())
    }

    #[test]
    fn the_alias_of_cached_memory_is_not_to_be_changed() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        for part in [MODULE_TEXT, MODULE_RODATA] {
            let memory = Cached::new(part)?;
            let aliases = aliases(memory.addr, Cached::SIZE)?;
            // SAFETY: The memory is the test's own.
            let page = unsafe { bindings::vmalloc_to_page(memory.addr as *const c_void) };

            // SAFETY: As above; the calls are ones that change nothing.
            let results = unsafe {
                [
                    bindings::set_direct_map_invalid_noflush(page),
                    bindings::set_direct_map_default_noflush(page),
                    bindings::set_direct_map_valid_noflush(page, 1, false),
                    bindings::set_direct_map_valid_noflush(page, 1, true),
                ]
            };
            // SAFETY: An FFI call without preconditions.
            let expected = match unsafe { bindings::can_set_direct_map() } {
                true => EINVAL.to_errno(),
                false => 0,
            };
            assert!(results.iter().all(|&ret| ret == expected));
            // SAFETY: As above; the calls are ones that fail.
            let results = unsafe {
                [
                    bindings::set_memory_valid(aliases[0], 1, 0),
                    bindings::set_memory_valid(memory.addr, 1, 0),
                ]
            };
            assert!(results.iter().all(|&ret| ret == EINVAL.to_errno()));
            assert!(is_read_only(memory.addr));
            assert!(aliases.iter().all(|&alias| is_read_only(alias)));
        }
        Ok(())
    }

    // An indirect call to code that has no CFI type would trap.
    #[cfg(not(CONFIG_CFI))]
    #[test]
    fn text_executes_after_it_was_written() -> Result {
        // BTI C; MOV W0, #42; RET.
        const CODE: [u32; 3] = [0xd503245f, 0x52800540, 0xd65f03c0];

        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }
        let text = Cached::new(MODULE_TEXT)?;
        let ptr = text.addr as *mut c_void;

        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_rw(ptr, Cached::SIZE) }, 0);
        // SAFETY: The memory is the test's own, and writable.
        unsafe { ptr.cast::<[u32; 3]>().write(CODE.map(u32::to_le)) };
        sync_icache(&(ptr.cast_const()..ptr.wrapping_byte_add(Cached::SIZE).cast_const()));
        // SAFETY: The memory is the test's own.
        assert_eq!(unsafe { execmem_arch_set_rox(ptr, Cached::SIZE) }, 0);

        // SAFETY: The code follows the C calling convention, and is executable.
        let function: extern "C" fn() -> c_int = unsafe { core::mem::transmute(ptr) };
        assert_eq!(function(), 42);
        Ok(())
    }

    /// Returns the address of text that was written, and then freed.
    fn write_and_free() -> Result<usize> {
        let text = Cached::new(MODULE_TEXT)?;
        // SAFETY: The memory is the test's own.
        let ret = unsafe { execmem_arch_set_rw(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        for insn in text.insns() {
            // SAFETY: The memory is the test's own, and writable.
            unsafe { (insn as *mut u32).write_volatile(0xd503201f) };
        }
        // SAFETY: The memory is the test's own.
        let ret = unsafe { execmem_arch_set_rox(text.addr as *mut c_void, Cached::SIZE) };
        assert_eq!(ret, 0);
        Ok(text.addr)
    }

    /// Checks that text is as nobody has written it.
    fn assert_full_of_traps(addr: usize) {
        let mut insns = (addr..addr + Cached::SIZE).step_by(size_of::<u32>());
        assert!(insns.all(|insn| load(insn) == Some(TRAP)));
        assert!(is_read_only(addr));
    }

    #[test]
    fn freed_text_is_not_executable() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }

        // The first allocation keeps the chunk in the cache while the second is freed.
        let keep = Cached::new(MODULE_TEXT)?;
        // Other users of the cache may fill it meanwhile: one time in ten is enough.
        let mut was_seen = [false; 2];
        for _ in 0..10 {
            let addr = write_and_free()?;
            let aliases = aliases(addr, Cached::SIZE)?;
            was_seen[0] |= !leaf_at(addr)?.is_executable();
            assert!(aliases.iter().all(|&alias| is_read_only(alias)));

            // An owner that does not write to it gets it as all memory of the cache is.
            let next = Cached::new(MODULE_TEXT)?;
            was_seen[1] |= next.addr == addr;
            assert!(leaf_at(next.addr)?.is_executable());
            assert_full_of_traps(next.addr);
        }
        assert_eq!(was_seen, [true; 2]);
        drop(keep);
        Ok(())
    }

    #[test]
    fn freed_text_is_filled_with_traps() -> Result {
        if !is_cached_or_skip(MODULE_TEXT) {
            return Ok(());
        }

        let keep = Cached::new(MODULE_TEXT)?;
        let addr = write_and_free()?;
        // Beside tests of other suites, nobody has text for a while.
        for _ in 0..50 {
            if leaf_at(addr)?.is_executable() {
                break;
            }
            fsleep(Delta::from_millis(100));
        }
        assert!(leaf_at(addr)?.is_executable());
        assert_full_of_traps(addr);
        drop(keep);
        Ok(())
    }
}
