// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/`: core's texts, read through seq_file.

use crate::bindings;
use crate::shadow;
use core::fmt;
use kernel::bindings::seq_file;
use kernel::prelude::*;
use shadowmm_core::phys::NodeId;

/// The directory. Its files are gone when this is dropped.
pub(crate) struct Directory(());

impl Directory {
    /// Makes the directory and its files, root's alone to read.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The files call shadowmm_proc_show() alone.
        if !unsafe { bindings::shadowmm_proc_create() } {
            return Err(ENOMEM);
        }
        let directory = Self(());
        update_nodes();
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Waits for those who are reading.
        // SAFETY: We made it, and it is removed once.
        unsafe { bindings::shadowmm_proc_remove() };
    }
}

/// Makes or removes the directories of nodes, after the boot has gone on or
/// back. The caller holds no lock of the shadow's: a reader may wait for it.
pub(crate) fn update_nodes() {
    // SAFETY: May be called at any time, also while there is no directory.
    unsafe { bindings::shadowmm_proc_update_nodes() };
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
unsafe extern "C" fn shadowmm_proc_show(m: *mut seq_file, file: u32, nid: i32) -> i32 {
    let Some(shadow) = shadow::current() else {
        return ENODEV.to_errno();
    };
    let written = match nid {
        0.. => shadow.write_node_text(NodeId(nid), file, &mut SeqWriter(m)),
        _ => shadow.write_text(file, &mut SeqWriter(m)),
    };
    match written {
        Ok(()) => 0,
        Err(error) => -(error.errno() as i32),
    }
}

/// The nodes that the shadow has, as bits.
#[no_mangle]
extern "C" fn shadowmm_proc_nodes() -> u64 {
    shadow::current().map_or(0, |shadow| shadow.nodes_online())
}
