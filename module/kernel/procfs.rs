// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/`: core's texts, read through seq_file.

use crate::bindings;
use crate::shadow;
use core::fmt;
use core::fmt::Write;
use kernel::bindings::seq_file;
use kernel::ffi::c_char;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::phys::NodeId;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::CacheName;
use shadowmm_core::slab::MAX_CACHE_NAME;
use shadowmm_core::tunables::Tunable;
use shadowmm_core::tunables::NR_TUNABLES;

const _: () = assert!(bindings::SHADOWMM_NR_TUNABLES as usize == NR_TUNABLES);

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

/// Makes the directory of a cache. The caller holds no lock that a reader may
/// wait for, here and below; it sees to it that no two have one name.
pub(crate) fn add_cache(id: CacheId, name: &CacheName) {
    with_name(name, |name| {
        // SAFETY: The name is a C string, and is copied.
        unsafe { bindings::shadowmm_proc_cache_add(id.get().into(), name) };
    });
}

/// Makes a link to the directory of a cache, for another name that it has.
pub(crate) fn link_cache(id: CacheId, alias: &CacheName, name: &CacheName) {
    with_name(alias, |alias| {
        with_name(name, |name| {
            // SAFETY: As above.
            unsafe { bindings::shadowmm_proc_cache_link(id.get().into(), alias, name) };
        });
    });
}

/// Removes the directory of a cache, and the links to it.
pub(crate) fn remove_cache(id: CacheId) {
    // SAFETY: May be called for any cache, also for one that has none.
    unsafe { bindings::shadowmm_proc_cache_remove(id.get().into()) };
}

/// Has a worker call [`Shadow::objects_used`](crate::shadow::Shadow::objects_used), under whatever locks.
pub(crate) fn name_caches_soon() {
    // SAFETY: Called while the device is open, hence not beside unloading.
    unsafe { bindings::shadowmm_proc_name_caches_soon() };
}

/// The worker.
#[no_mangle]
extern "C" fn shadowmm_proc_name_caches() {
    if let Some(shadow) = shadow::current() {
        shadow.objects_used();
    }
}

/// Removes the directories of all caches.
pub(crate) fn forget_caches() {
    // SAFETY: 0 stands for all.
    unsafe { bindings::shadowmm_proc_cache_remove(0) };
}

/// Has `use_name` use the name as C has it.
fn with_name(name: &CacheName, use_name: impl FnOnce(*const c_char)) {
    let mut text = [0u8; MAX_CACHE_NAME + 1];
    for (to, from) in text.iter_mut().zip(name.as_str().bytes()) {
        *to = from;
    }
    use_name(text.as_ptr().cast());
}

/// A seq_file as a place to write text to. Overflow is seq_file's to handle: it
/// asks again with a larger buffer.
pub(crate) struct SeqWriter(pub(crate) *mut seq_file);

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
    to_errno(written)
}

/// Writes file number `file` of core's `CacheFile` for a cache.
///
/// # Safety
///
/// `m` is the seq_file of a show callback below our directory.
#[no_mangle]
unsafe extern "C" fn shadowmm_proc_cache_show(m: *mut seq_file, file: u32, cache: u32) -> i32 {
    let Some(shadow) = shadow::current() else {
        return ENODEV.to_errno();
    };
    to_errno(shadow.write_cache_text(cache, file, &mut SeqWriter(m)))
}

/// Does what `value`, written to that file, says.
#[no_mangle]
extern "C" fn shadowmm_proc_cache_write(file: u32, cache: u32, value: usize) -> i32 {
    let Some(shadow) = shadow::current() else {
        return ENODEV.to_errno();
    };
    to_errno(shadow.cache_written(cache, file, value as u64))
}

pub(crate) fn to_errno(done: CoreResult<()>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(error) => -(error.errno() as i32),
    }
}

/// The nodes that the shadow has, as bits.
#[no_mangle]
extern "C" fn shadowmm_proc_nodes() -> u64 {
    shadow::current().map_or(0, |shadow| shadow.nodes_online())
}

/// A file of `/proc/shadowmm/vm`.
#[derive(Clone, Copy)]
enum Knob {
    /// Of the page allocator.
    Pages(Tunable),
    /// Of address spaces: these come behind.
    Spaces(MmKnob),
}

impl Knob {
    fn of(which: u32) -> Option<Self> {
        let which = which as usize;
        match Tunable::ALL.get(which) {
            Some(&which) => Some(Self::Pages(which)),
            None => {
                let which = MmKnob::ALL.get(which - NR_TUNABLES)?;
                Some(Self::Spaces(*which))
            }
        }
    }
}

/// Puts the name of tunable number `which` into `name`, a C string, if there is
/// one and room for it.
///
/// # Safety
///
/// `name` has room for `size` bytes.
#[no_mangle]
unsafe extern "C" fn shadowmm_tunable_name(which: u32, name: *mut u8, size: usize) -> bool {
    let text = match Knob::of(which) {
        Some(Knob::Pages(which)) => which.name(),
        Some(Knob::Spaces(which)) => which.name(),
        None => return false,
    };
    if text.len() >= size {
        return false;
    }
    // SAFETY: There is room for the text and its end, by this function's own.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), name, text.len());
        name.add(text.len()).write(0);
    }
    true
}

/// Writes the value of tunable number `which`.
///
/// # Safety
///
/// `m` is the seq_file of a show callback below our directory.
#[no_mangle]
unsafe extern "C" fn shadowmm_tunable_show(m: *mut seq_file, which: u32) -> i32 {
    with_tunable(which, |shadow, which| {
        let mut out = SeqWriter(m);
        match which {
            Knob::Pages(which) => shadow.write_tunable(which, &mut out)?,
            Knob::Spaces(which) => {
                let value = shadow.with_mm(|mm| Ok(mm.spaces().knob(which)))?;
                writeln!(out, "{value}").map_err(|_| Error::Corrupt)?;
            }
        }
        Ok(0)
    }) as i32
}

/// Turns tunable number `which` as the text says, and says how much of it was
/// read.
///
/// # Safety
///
/// `text` has `len` bytes.
#[no_mangle]
unsafe extern "C" fn shadowmm_tunable_write(which: u32, text: *const u8, len: usize) -> isize {
    // SAFETY: By this function's own.
    let text = unsafe { core::slice::from_raw_parts(text, len) };
    with_tunable(which, |shadow, which| {
        let text = core::str::from_utf8(text).map_err(|_| Error::BadText);
        let read = text.and_then(|text| match which {
            Knob::Pages(which) => shadow.tune(which, text),
            Knob::Spaces(which) => shadow.with_mm(|mm| mm.spaces().read_knob(which, text)),
        });
        if let Err(error) = read {
            shadow.refusals.count(error);
        }
        Ok(read? as isize)
    })
}

/// Does `job` with a tunable; the errno of what it says.
fn with_tunable(which: u32, job: impl FnOnce(&shadow::Shadow, Knob) -> CoreResult<isize>) -> isize {
    let (Some(shadow), Some(which)) = (shadow::current(), Knob::of(which)) else {
        return ENODEV.to_errno() as isize;
    };
    job(&shadow, which).unwrap_or_else(|error| -(error.errno() as isize))
}
