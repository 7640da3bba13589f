// SPDX-License-Identifier: GPL-2.0

//! The host's side of a window: the process's mm, its lock, and its page table.

use super::files;
use super::files::Copied;
use super::files::Unread;
use super::window::Window;
use crate::bindings;
use core::cell::Cell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings::mm_struct;
use kernel::types::NotThreadSafe;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::HostTable;
use shadowmm_core::mm::Populate;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::Region;
use shadowmm_core::platform::Process;

/// A process's mm: what it is, not what is in it.
///
/// # Invariants
///
/// A reference to the struct (`mm_count`) is ours.
pub(super) struct HostMm(NonNull<mm_struct>);

// SAFETY: A reference can be given up by anybody.
unsafe impl Send for HostMm {}
// SAFETY: What is done with it needs no lock of the owner's.
unsafe impl Sync for HostMm {}

impl HostMm {
    /// # Safety
    ///
    /// The mm is there, and not null.
    pub(super) unsafe fn new(mm: *mut mm_struct) -> Self {
        // SAFETY: By this function's own.
        unsafe {
            bindings::shadowmm_mm_grab(mm);
            Self(NonNull::new_unchecked(mm))
        }
    }

    /// The calling process's.
    pub(super) fn current() -> Option<Self> {
        // SAFETY: Reads a pointer of the running task's, whose mm stays while it runs.
        let mm = unsafe { bindings::shadowmm_current_mm() };
        // SAFETY: As above.
        (!mm.is_null()).then(|| unsafe { Self::new(mm) })
    }

    /// The number of the calling process's; that of no other while it runs.
    pub(super) fn current_number() -> usize {
        // SAFETY: Reads a pointer of the running task's.
        unsafe { bindings::shadowmm_current_mm() }.addr()
    }

    /// The number of this one; that of no other while this lives.
    pub(super) fn number(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Of whom it is; nobody has it any more where the number is 0.
    pub(super) fn process(&self) -> Process {
        let mut raw = bindings::shadowmm_process::default();
        // SAFETY: By the type's invariant.
        if unsafe { bindings::shadowmm_mm_process(self.0.as_ptr(), &raw mut raw) } {
            Process {
                pid: raw.pid,
                oom_score_adj: raw.oom_score_adj,
                comm: raw.comm,
            }
        } else {
            Process::default()
        }
    }

    /// Kills whoever has it: whether there was anybody.
    pub(super) fn kill(&self) -> bool {
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_mm_kill(self.0.as_ptr()) }
    }
}

impl Drop for HostMm {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant; it is not used any more.
        unsafe { bindings::shadowmm_mm_drop(self.0.as_ptr()) };
    }
}

/// The device's file, as what windows are mapped of (`struct address_space`).
#[derive(Clone, Copy)]
pub(super) struct Mapping(*mut kernel::bindings::address_space);

// SAFETY: It is a number for whoever has it, but for what is unsafe to call.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// That of a window's VMA, and of its copies.
    ///
    /// # Safety
    ///
    /// The VMA is there, and has a file.
    pub(super) unsafe fn of(vma: *mut kernel::bindings::vm_area_struct) -> Self {
        // SAFETY: By this function's own.
        Self(unsafe { bindings::shadowmm_mapping_of(vma) })
    }

    /// Zaps a range of addresses in all windows.
    ///
    /// # Safety
    ///
    /// A VMA of this mapping has its file still.
    pub(super) unsafe fn zap(self, range: VirtRange) {
        let (start, len) = (range.start.0, range.len());
        if len != 0 {
            // SAFETY: By this function's own.
            unsafe { bindings::shadowmm_mapping_zap(self.0, start, len) };
        }
    }
}

/// The calling process's mmap lock is held for reading, and the window there while this
/// lives.
///
/// # Invariants
///
/// `shadowmm_window_lock` has filled `raw`.
pub(super) struct Locked {
    raw: bindings::shadowmm_locked,
    table: bindings::shadowmm_table,
    _not_send: NotThreadSafe,
}

impl Locked {
    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] for a process that is about to die, [`Error::NoWindow`]
    /// when the window is gone.
    pub(super) fn new(window: &Window) -> CoreResult<Self> {
        let mut raw = bindings::shadowmm_locked::default();
        let mut interrupted = false;
        let private = (&raw const *window).cast::<c_void>();
        let start = window.range.start.0 as usize;
        // SAFETY: Both are ours to be written; the window is compared alone.
        let locked = unsafe {
            bindings::shadowmm_window_lock(&raw mut raw, private, start, &raw mut interrupted)
        };
        match (locked, interrupted) {
            (true, _) => Ok(Self {
                table: bindings::shadowmm_table {
                    vma: raw.vma,
                    vmf: core::ptr::null_mut(),
                },
                raw,
                _not_send: PhantomData,
            }),
            (false, true) => Err(Error::Interrupted),
            (false, false) => Err(Error::NoWindow),
        }
    }

    pub(super) fn table(&self) -> &bindings::shadowmm_table {
        &self.table
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_window_unlock(&raw mut self.raw) };
    }
}

/// The host's page table for a window.
///
/// # Invariants
///
/// The window's VMA, and the fault if there is one, are the host's, and stay while this
/// lives: the caller has the mmap lock, or the VMA's.
pub(super) struct Table<'a> {
    raw: &'a bindings::shadowmm_table,
    region: &'a Region<'a>,
    window: &'a Window,
    notes: &'a Notes,
}

/// What is left to be done when the locks are given up: a page of a file to be read, and then
/// pages to be made. Or that the memory of one is broken.
#[derive(Default)]
pub(super) struct Notes {
    unread: Cell<Option<Unread>>,
    rest: Cell<Option<Populate>>,
    poisoned: Cell<bool>,
}

impl Notes {
    /// The page that is to be read.
    pub(super) fn unread(&self) -> Option<Unread> {
        self.unread.take()
    }

    /// The same, where that is not all.
    pub(super) fn rest(&self) -> Option<(Unread, Populate)> {
        self.unread.take().zip(self.rest.take())
    }

    /// Whether the memory of a page of a file is broken that was to be copied.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }
}

impl<'a> Table<'a> {
    /// # Safety
    ///
    /// As the type's invariant has it.
    pub(super) unsafe fn new(
        raw: &'a bindings::shadowmm_table,
        region: &'a Region<'a>,
        window: &'a Window,
        notes: &'a Notes,
    ) -> Self {
        Self {
            raw,
            region,
            window,
            notes,
        }
    }

    fn host_pfn(&self, pfn: Pfn) -> CoreResult<usize> {
        let pfn = self.region.host_pfn(pfn).ok_or(Error::ForeignPfn)?;
        Ok(pfn as usize)
    }
}

/// No table: the window is unmapped, and whatever the host had of it is gone.
pub(super) struct Gone;

impl HostTable for Gone {
    fn enter(&self, _addr: VirtAddr, _pfn: Pfn, _writable: bool) -> CoreResult<()> {
        Err(Error::NoWindow)
    }

    fn zap(&self, _range: VirtRange) {}
}

impl HostTable for Table<'_> {
    #[inline]
    fn enter(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> CoreResult<()> {
        let pfn = self.host_pfn(pfn)?;
        // SAFETY: By the type's invariant; the frame is one of the region's.
        let error =
            unsafe { bindings::shadowmm_window_enter(self.raw, addr.0 as usize, pfn, writable) };
        match error {
            0 => Ok(()),
            _ => Err(Error::NoHostMemory),
        }
    }

    fn enter_huge(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> bool {
        let Ok(pfn) = self.host_pfn(pfn) else {
            return false;
        };
        // SAFETY: As above; core has 2 MiB there.
        unsafe { bindings::shadowmm_window_enter_huge(self.raw, addr.0 as usize, pfn, writable) }
    }

    fn is_full(&self, charged: i64, more: u64) -> bool {
        // The same fault or request counts again when it is done.
        self.window.count_pages(|| charged);
        self.window.is_full(more)
    }

    fn has_no_huge(&self, asked: bool) -> bool {
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_window_has_no_huge(self.raw, asked) }
    }

    fn read_file(&self, file: u64, index: u64, into: Pfn) -> CoreResult<bool> {
        match files::copy(file, index, self.host_pfn(into)?) {
            Copied::Done => Ok(true),
            Copied::Ended => Ok(false),
            Copied::Unread => {
                // The VMA has a reference, and stays while its lock is held.
                self.notes.unread.set(Some(Unread::new(file, index)));
                Err(Error::FileNotRead)
            }
            Copied::Poisoned => {
                self.notes.poisoned.set(true);
                Err(Error::NothingThere)
            }
        }
    }

    fn populate_later(&self, rest: Populate) {
        let first = self.notes.rest.take().unwrap_or(rest);
        self.notes.rest.set(Some(first));
    }

    fn zap(&self, range: VirtRange) {
        let (start, len) = (range.start.0 as usize, range.len() as usize);
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_window_zap(self.raw, start, len) };
    }
}
