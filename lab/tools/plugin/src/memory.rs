// SPDX-License-Identifier: GPL-2.0
//! The guest's memory. All unsafe code of the crate is here.

use qemu_plugin::sys::{qemu_plugin_read_memory_vaddr, GByteArray};

// QEMU is linked with GLib.
unsafe extern "C" {
    fn g_byte_array_new() -> *mut GByteArray;
    fn g_byte_array_unref(array: *mut GByteArray);
}

/// Memory of the guest, by the addresses of the vCPU whose callback this is called in; none
/// if nothing is mapped there.
pub fn memory(address: u64, length: usize) -> Option<Vec<u8>> {
    // The crate's own function for this gives QEMU an array that GLib has not made.
    // SAFETY: GLib makes an array, or ends the process.
    let array = unsafe { g_byte_array_new() };
    // SAFETY: The array is GLib's. QEMU gives it that length and fills it.
    let bytes = unsafe {
        let filled = qemu_plugin_read_memory_vaddr(address, array, length);
        let bytes = (filled && (*array).len as usize == length)
            .then(|| std::slice::from_raw_parts((*array).data, length).to_vec());
        g_byte_array_unref(array);
        bytes
    };
    bytes.filter(|bytes| !bytes.is_empty())
}
