// SPDX-License-Identifier: GPL-2.0

//! Which ranges of executable memory use the caches of mm/execmem.c.

use kernel::bindings;

use crate::lock::ChangeLeaves;

/// The types of memory that are executable, and come from the ROX cache.
pub(crate) const EXECUTABLE: [bindings::execmem_type; 4] = [
    bindings::execmem_type_EXECMEM_MODULE_TEXT,
    bindings::execmem_type_EXECMEM_KPROBES,
    bindings::execmem_type_EXECMEM_FTRACE,
    bindings::execmem_type_EXECMEM_BPF,
];

/// Returns whether `execmem_rox=` allows memory to come from the caches.
pub(crate) fn is_enabled() -> bool {
    // SAFETY: The variable does not change after early parameters were parsed.
    unsafe { bindings::execmem_rox }
}

/// Turns the caches on, for all types that are executable and for the read-only data of modules.
pub(crate) fn enable(token: ChangeLeaves, info: &mut bindings::execmem_info) {
    let how = match token {
        ChangeLeaves::Resize(_) => 0,
        // No leaf of the mapping changes its size, and none of the linear alias.
        ChangeLeaves::Whole(_) => bindings::execmem_range_flags_EXECMEM_PTE_MAPPED,
    };

    // Kprobes take single pages. In the range of module text they need no chunk of their own.
    info.ranges[bindings::execmem_type_EXECMEM_KPROBES as usize] =
        info.ranges[bindings::execmem_type_EXECMEM_MODULE_TEXT as usize];

    for executable in EXECUTABLE {
        info.ranges[executable as usize].flags |=
            bindings::execmem_range_flags_EXECMEM_ROX_CACHE | how;
    }

    let rodata = &mut info.ranges[bindings::execmem_type_EXECMEM_MODULE_RODATA as usize];
    rodata.flags |= bindings::execmem_range_flags_EXECMEM_RO_CACHE | how;
    // Memory that direct branches reach is for text. The fallback contains it, and is near enough
    // for data.
    if rodata.fallback_start != 0 {
        rodata.start = rodata.fallback_start;
        rodata.end = rodata.fallback_end;
    }
}
