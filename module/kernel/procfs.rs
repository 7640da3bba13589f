// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/`: core's texts, read through seq_file.

use crate::bindings;
use crate::shadow;
use core::fmt;
use core::ptr::NonNull;
use kernel::bindings::seq_file;
use kernel::prelude::*;

/// The directory. Its files are gone when this is dropped.
pub(crate) struct Directory(NonNull<bindings::proc_dir_entry>);

// SAFETY: The entry is only used to be removed, which any thread may do.
unsafe impl Send for Directory {}
// SAFETY: Nothing can be done with a shared reference.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes the directory and its files, root's alone to read.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The files call shadowmm_proc_show() alone.
        let dir = unsafe { bindings::shadowmm_proc_create() };
        Ok(Self(NonNull::new(dir).ok_or(ENOMEM)?))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Waits for those who are reading.
        // SAFETY: We made it, and it is removed once.
        unsafe { bindings::shadowmm_proc_remove(self.0.as_ptr()) };
    }
}

/// A seq_file as a place to write text to. Overflow is seq_file's to handle: it
/// asks again with a larger buffer.
struct SeqWriter(*mut seq_file);

impl fmt::Write for SeqWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: The pointer is valid during show, and so is the text.
        unsafe { kernel::bindings::seq_write(self.0, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

/// Writes report number `file` of the table in procfs.c.
///
/// # Safety
///
/// `m` is the seq_file of a show callback below our directory.
#[no_mangle]
unsafe extern "C" fn shadowmm_proc_show(m: *mut seq_file, file: u32) -> i32 {
    let Some(shadow) = shadow::current() else {
        return ENODEV.to_errno();
    };
    match shadow.write_text(file, &mut SeqWriter(m)) {
        Ok(()) => 0,
        Err(error) => -(error.errno() as i32),
    }
}
