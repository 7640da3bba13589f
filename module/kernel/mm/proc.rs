// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/mm/ID`: a directory while there is a window, and core's texts in it.

use super::window::Window;
use crate::bindings;
use crate::procfs::to_errno;
use crate::procfs::SeqWriter;
use crate::shadow;
use core::fmt;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;
use kernel::bindings::seq_file;
use kernel::sync::Arc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::phys::PAGE_SIZE;
use shadowmm_core::report::maps;
use shadowmm_core::report::mm_status;
use shadowmm_core::report::smaps;

/// The directory of an address space; it goes with this.
pub(super) struct Directory(AtomicPtr<bindings::shadowmm_space_dir>);

impl Directory {
    /// Makes it. An address space whose directory can't be made has none.
    pub(super) fn new(id: u32) -> Self {
        // SAFETY: The files call the functions below alone.
        Self(AtomicPtr::new(unsafe {
            bindings::shadowmm_proc_space_add(id)
        }))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: `new` made it, or there is none; it is removed once.
        unsafe { bindings::shadowmm_proc_space_remove(self.0.load(Relaxed)) };
    }
}

/// The window of an address space.
fn window(id: u32) -> CoreResult<Arc<Window>> {
    let shadow = shadow::current().ok_or(Error::NoSuchSpace)?;
    shadow.windows.find(id).ok_or(Error::NoSuchSpace)
}

/// Writes what file number `file` of procfs_mm.c says of the first VMA that ends behind
/// `addr`, and says where the next is to be looked for: [`u64::MAX`] where there is none.
///
/// # Safety
///
/// `m` is the seq_file of a show callback below our directory, and there is room for `next`.
#[no_mangle]
unsafe extern "C" fn shadowmm_proc_space_vma(
    m: *mut seq_file,
    file: u32,
    id: u32,
    addr: u64,
    next: *mut u64,
) -> i32 {
    let written = write_vma(id, file, VirtAddr(addr), &mut SeqWriter(m));
    let behind = written.ok().flatten().map_or(u64::MAX, |next| next.0);
    // SAFETY: By this function's own.
    unsafe { next.write(behind) };
    to_errno(written.map(|_| ()))
}

fn write_vma(
    id: u32,
    file: u32,
    addr: VirtAddr,
    out: &mut dyn fmt::Write,
) -> CoreResult<Option<VirtAddr>> {
    window(id)?.with(|space| {
        let written = match file {
            0 => maps::write_next(out, &space, addr),
            1 => smaps::write_next(out, &space, addr),
            _ => return Err(Error::BadKind),
        };
        written.map_err(|_| Error::Corrupt)
    })
}

/// Writes file number `file` of procfs_mm.c for an address space: one that is not of VMAs.
///
/// # Safety
///
/// `m` is the seq_file of a show callback below our directory.
#[no_mangle]
unsafe extern "C" fn shadowmm_proc_space_show(m: *mut seq_file, file: u32, id: u32) -> i32 {
    to_errno(write_text(id, file, &mut SeqWriter(m)))
}

fn write_text(id: u32, file: u32, out: &mut dyn fmt::Write) -> CoreResult<()> {
    let window = window(id)?;
    window.refresh();
    window.with(|space| {
        let written = match file {
            2 => smaps::write_rollup(out, &space),
            3 => mm_status::write(out, &space),
            _ => return Err(Error::BadKind),
        };
        written.map_err(|_| Error::Corrupt)
    })
}

/// Fills entries of a pagemap, from page number `page` on: how many there were.
///
/// # Safety
///
/// `entries` has `nr` of them.
#[no_mangle]
unsafe extern "C" fn shadowmm_proc_pagemap(
    id: u32,
    page: u64,
    entries: *mut u64,
    nr: usize,
    frames: bool,
) -> i32 {
    // SAFETY: By this function's own.
    let entries = unsafe { core::slice::from_raw_parts_mut(entries, nr) };
    let filled = window(id).and_then(|window| {
        let addr = VirtAddr(page.saturating_mul(PAGE_SIZE));
        window.with(|space| Ok(space.pagemap(addr, entries, frames)))
    });
    filled.map_or_else(|error| -(error.errno() as i32), |filled| filled as i32)
}
