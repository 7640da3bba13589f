// SPDX-License-Identifier: GPL-2.0

//! Files that windows have private copies of. Core knows a file by a number, which is
//! its address here; core's VMAs count their references ([`get`], [`put`]).

use crate::bindings;
use core::fmt;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::FileKind;
use shadowmm_core::mm::MmapFile;
use shadowmm_core::platform::FileInfo;

/// Room for a path, with its end.
const PATH_MAX: usize = 4096;

/// An open file of the calling process. A reference to it is the caller's.
///
/// # Errors
///
/// [`Error::BadDescriptor`].
pub(super) fn open(fd: i32) -> CoreResult<MmapFile> {
    let mut found = bindings::shadowmm_file::default();
    // SAFETY: Asks about the caller's files.
    if !unsafe { bindings::shadowmm_file_get(fd, &raw mut found) } {
        return Err(Error::BadDescriptor);
    }
    Ok(MmapFile {
        number: found.number,
        is_readable: found.readable,
        is_writable: found.writable,
        is_append_only: found.append,
        is_noexec: found.noexec,
        kind: match found {
            found if found.huge => FileKind::Huge,
            found if found.zero => FileKind::Zero,
            found if found.pages => FileKind::Pages,
            _ => FileKind::Other,
        },
    })
}

/// Asks those who guard a file whether a part of it may be read. Waits for them: the caller has no
/// lock that others need, and a reference to the file.
///
/// # Errors
///
/// [`Error::FileGuarded`], [`Error::AccessDenied`], [`Error::Interrupted`].
pub(super) fn ask(number: u64, offset: u64, len: u64) -> CoreResult<()> {
    // SAFETY: The reference is the caller's.
    match unsafe { bindings::shadowmm_file_ask(number, offset, len) } {
        0 => Ok(()),
        error if error == EACCES.to_errno() => Err(Error::AccessDenied),
        error if error == EINTR.to_errno() || error == ERESTARTSYS.to_errno() => {
            Err(Error::Interrupted)
        }
        _ => Err(Error::FileGuarded),
    }
}

/// One reference more, for somebody who has one.
pub(crate) fn get(number: u64) {
    // SAFETY: `open` has made the number, and the reference keeps the file.
    unsafe { bindings::shadowmm_file_ref(number) };
}

/// One reference less.
pub(crate) fn put(number: u64) {
    // SAFETY: As above.
    unsafe { bindings::shadowmm_file_put(number) };
}

/// Whether the caller may know which pages of a file the host has in memory.
pub(crate) fn may_know(number: u64) -> bool {
    // SAFETY: As above.
    unsafe { bindings::shadowmm_file_may_know(number) }
}

/// Whether the host has a page of a file in memory.
pub(crate) fn is_resident(number: u64, index: u64) -> bool {
    // SAFETY: As above.
    unsafe { bindings::shadowmm_file_resident(number, index) }
}

/// What came of copying a page.
pub(super) enum Copied {
    /// It is there.
    Done,
    /// The file has ended before it.
    Ended,
    /// It is to be read first.
    Unread,
    /// Its memory is broken.
    Poisoned,
}

/// Copies a page of a file from the host's page cache to a frame of its.
pub(super) fn copy(number: u64, index: u64, host_pfn: usize) -> Copied {
    // SAFETY: As above; the frame is the shadow's.
    match unsafe { bindings::shadowmm_file_copy(number, index, host_pfn) } {
        bindings::SHADOWMM_FILE_COPIED => Copied::Done,
        bindings::SHADOWMM_FILE_ENDED => Copied::Ended,
        bindings::SHADOWMM_FILE_POISONED => Copied::Poisoned,
        _ => Copied::Unread,
    }
}

/// A page of a file that the host's page cache has not.
///
/// # Invariants
///
/// A reference to the file is ours.
pub(super) struct Unread(bindings::shadowmm_unread);

impl Unread {
    /// For somebody who has a reference to the file.
    pub(super) fn new(number: u64, index: u64) -> Self {
        get(number);
        Self(bindings::shadowmm_unread { number, index })
    }

    /// Reads it. The filesystem may take as long as it likes: the caller has no lock that
    /// others need, and may be killed.
    ///
    /// # Errors
    ///
    /// [`Error::NoHostMemory`], [`Error::Interrupted`], and [`Error::NothingThere`] for
    /// what can't be read.
    pub(super) fn read(self) -> CoreResult<()> {
        // SAFETY: By the type's invariant.
        match unsafe { bindings::shadowmm_file_fetch(self.0.number, self.0.index) } {
            0 => Ok(()),
            error if error == ENOMEM.to_errno() => Err(Error::NoHostMemory),
            error if error == EINTR.to_errno() => Err(Error::Interrupted),
            _ => Err(Error::NothingThere),
        }
    }

    /// Gives it, and the reference, to window.c.
    pub(super) fn into_raw(self) -> bindings::shadowmm_unread {
        let mut unread = core::mem::ManuallyDrop::new(self);
        core::mem::take(&mut unread.0)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        put(self.0.number);
    }
}

/// Where it lies.
pub(crate) fn info(number: u64) -> FileInfo {
    let (mut dev, mut ino) = ([0u32; 2], 0);
    // SAFETY: As above; there is room for both.
    unsafe { bindings::shadowmm_file_info(number, dev.as_mut_ptr(), &raw mut ino) };
    FileInfo {
        dev: dev.into(),
        ino,
    }
}

/// Writes its path, as `/proc/PID/maps` has it.
pub(crate) fn write_path(number: u64, out: &mut dyn fmt::Write) -> fmt::Result {
    let room = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL);
    let mut room = room.map_err(|_| fmt::Error)?;
    // SAFETY: As above; there are as many bytes.
    let path = unsafe {
        let path = bindings::shadowmm_file_path(number, room.as_mut_ptr().cast(), room.len());
        if path.is_null() {
            return Ok(());
        }
        CStr::from_char_ptr(path)
    };
    // As seq_path() with "\n": what would end the line is written as its number.
    for part in path.to_bytes().utf8_chunks() {
        for (i, line) in part.valid().split('\n').enumerate() {
            if i > 0 {
                out.write_str("\\012")?;
            }
            out.write_str(line)?;
        }
        for byte in part.invalid() {
            write!(out, "\\{byte:03o}")?;
        }
    }
    Ok(())
}
