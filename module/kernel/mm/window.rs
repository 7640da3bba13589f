// SPDX-License-Identifier: GPL-2.0

//! Windows: from mmap of the device, or a fork, to the end of the VMA.
//!
//! ```text
//! struct vm_area_struct        the host's; vm_private_data is a reference
//!   Window                     which process, where, which address space
//!     FileWindows              the open file's: at most one in each process
//!     Shadow                   counts it: while there is one, the boot stays
//! ```
//!
//! # Lock order
//!
//! ```text
//! the host's mmap lock, or the VMA's lock
//!   the shadow's state, for reading
//!     the locks of core/mm
//!   FileWindows::of                       nothing is taken under it
//!   Windows::by_id                        nothing but what zaps in all windows (i_mmap_rwsem)
//! ```
//!
//! A fork comes with the host's mmap lock held for writing. So nobody takes that lock
//! who has one of the others: a request takes it first ([`Locked`]), and whatever it
//! reads from its caller or tells him, it does when all are given up.

use super::host::Gone;
use super::host::HostMm;
use super::host::Locked;
use super::host::Mapping;
use super::host::Notes;
use super::host::Table;
use super::proc::Directory;
use super::requests;
use crate::bindings;
use crate::platform::now_ns;
use crate::platform::Kernel;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use crate::users::FileAccount;
use core::ffi::c_void;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use kernel::mm::virt::flags;
use kernel::mm::virt::VmaNew;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::rbtree::RBTreeNodeReservation;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::sync::UniqueArc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::COMM_LEN;
use shadowmm_core::quota::Kind;
use shadowmm_core::quota::Told;
use shadowmm_core::report::RateLimit;
use shadowmm_core::slab::ObjAddr;

/// How many pages come or go before the user's count has them (`MEMCG_CHARGE_BATCH`).
const TOLD_PAGES: u64 = 64;

/// How often it is told in the log that a window was not forked.
static FORKS_REFUSED: RateLimit = RateLimit::of_log();

/// The windows of a shadow, by the number of their address space.
#[pin_data]
pub(crate) struct Windows {
    #[pin]
    by_id: Mutex<RBTree<u32, Arc<Window>>>,
    /// How many there are, those that are coming included.
    count: AtomicU32,
}

impl Windows {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            by_id <- new_mutex!(RBTree::new()),
            count: AtomicU32::new(0),
        })
    }

    /// Whether there is one. While the shadow's state is held for writing, none comes.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// The window of an address space.
    pub(super) fn find(&self, id: u32) -> Option<Arc<Window>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// Looks at the window of an address space, which stays meanwhile. Unlike with
    /// [`Windows::find`], it never ends with the caller, who may have locks that its end
    /// needs.
    pub(super) fn look<R>(&self, id: u32, job: impl FnOnce(&Window) -> R) -> Option<R> {
        self.by_id.lock().get(&id).map(|window| job(window))
    }

    /// The window behind that of this number: with 0, the first.
    pub(super) fn next(&self, id: u32) -> Option<Arc<Window>> {
        let windows = self.by_id.lock();
        let next = windows.cursor_lower_bound(&id.saturating_add(1))?;
        Some(next.current().1.clone())
    }
}

/// Keeps the boot where it is: while there is one, the shadow is not begun anew.
pub(super) struct Pinned(pub(super) Arc<Shadow>);

impl Pinned {
    fn new(shadow: &Arc<Shadow>) -> Self {
        shadow.windows.count.fetch_add(1, Relaxed);
        Self(shadow.clone())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.0.windows.count.fetch_sub(1, Relaxed);
    }
}

/// What windows are like that are mapped through a file.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) tree: u32,
    pub(super) layout: u32,
    pub(super) seed: u64,
}

/// The windows of an open file, by the host's mm.
#[pin_data]
pub(crate) struct FileWindows {
    #[pin]
    of: Mutex<RBTree<usize, Arc<Window>>>,
    #[pin]
    pub(super) options: Mutex<Options>,
    account: Arc<FileAccount>,
}

impl FileWindows {
    /// None.
    pub(crate) fn new(account: Arc<FileAccount>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                of <- new_mutex!(RBTree::new()),
                options <- new_mutex!(Options::default()),
                account,
            }),
            GFP_KERNEL,
        )
    }

    /// The calling process's.
    pub(crate) fn current(&self) -> CoreResult<Arc<Window>> {
        let windows = self.of.lock();
        let window = windows.get(&HostMm::current_number());
        window.cloned().ok_or(Error::NoWindow)
    }
}

/// A window. Its address space ends with it, at the latest.
pub(crate) struct Window {
    pub(super) pinned: Pinned,
    file: Arc<FileWindows>,
    pub(super) mm: HostMm,
    mapping: Mapping,
    pub(super) range: VirtRange,
    /// A reference is the window's.
    space: ObjAddr,
    pub(super) id: u32,
    /// Who has made it.
    uid: u32,
    /// What its user has been told of ([`MmCells::charged`](shadowmm_core::mm::MmCells)).
    pages: Told,
    /// The VMAs that its user has been told of: all, when nobody is at work in it.
    vmas: Told,
    _directory: Directory,
}

impl Window {
    /// Makes one with the address space that `make` makes, of so many VMAs at most, and
    /// enters it everywhere. Its process has none in `file`.
    fn new(
        pinned: Pinned,
        file: &Arc<FileWindows>,
        (mm, mapping): (HostMm, Mapping),
        range: VirtRange,
        vmas: u64,
        make: impl FnOnce(&Mm<'_>) -> CoreResult<(ObjAddr, u32)>,
    ) -> CoreResult<Arc<Self>> {
        let charge = file.account.charge(Kind::Spaces, 1)?;
        let vmas_charge = file.account.charge(Kind::Vmas, vmas)?;
        // What can fail comes before the address space is there.
        let of = RBTreeNodeReservation::new(GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
        let by_id = RBTreeNodeReservation::new(GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
        let room = UniqueArc::new_uninit(GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
        let shadow = pinned.0.clone();
        let (space, id) = shadow.with_mm(make)?;
        // It is the window's from here on.
        charge.keep(1);
        vmas_charge.keep(vmas);
        let number = mm.number();
        let window: Arc<Self> = room
            .write(Self {
                pinned,
                file: file.clone(),
                mm,
                mapping,
                range,
                space,
                id,
                // SAFETY: Asks about the caller.
                uid: unsafe { bindings::shadowmm_current_uid() },
                pages: Told::new(0),
                vmas: Told::new(vmas as i64),
                _directory: Directory::new(id),
            })
            .into();
        // Nobody is at work in it yet. A boot that failed has no windows.
        let pages = window.with(|space| {
            window.count_vmas(&space);
            Ok(space.cells().charged())
        });
        let pages = pages.unwrap_or(0);
        // A child has pages from the start. Where that is too much, the window goes.
        file.account.reserve(Kind::Pages, pages.max(0) as u64)?;
        // That is reserved already.
        window.pages.set(pages.max(0), |_, _| ());
        file.of.lock().insert(of.into_node(number, window.clone()));
        let by_id = by_id.into_node(id, window.clone());
        shadow.windows.by_id.lock().insert(by_id);
        window.refresh();
        Ok(window)
    }

    /// Zaps what the host has entered of a range. The window is in [`Windows`], and stays there
    /// meanwhile ([`Windows::look`]).
    pub(super) fn zap(&self, range: VirtRange) {
        let part = range.intersect(self.range);
        // SAFETY: The window is taken out of `Windows` before its VMA gives its file up.
        unsafe { self.mapping.zap(part) };
    }

    /// Whether so many pages may not come: its user would have more than he may.
    pub(super) fn is_full(&self, more: u64) -> bool {
        self.file.account.is_full(Kind::Pages, more)
    }

    /// Tells its user how many pages there are, where they have become many more or fewer
    /// than he knows of: his other processes count in the same place.
    pub(super) fn count_pages(&self, charged: impl Fn() -> i64) {
        let account = &self.file.account;
        self.pages.tell(TOLD_PAGES, charged, |before, now| {
            account.settle(Kind::Pages, before, now);
        });
    }

    /// Tells its user how many VMAs there are, by whoever may have changed that: as above.
    fn count_vmas(&self, space: &AddressSpace<'_, '_, Kernel>) {
        let account = &self.file.account;
        let count = || space.map_count() as i64;
        self.vmas.tell(1, count, |before, now| {
            account.settle(Kind::Vmas, before, now);
        });
    }

    /// Uses the address space.
    pub(crate) fn with<R>(
        &self,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        self.pinned.0.with_mm(|mm| job(mm.spaces().at(self.space)?))
    }

    /// The same with the host's table at hand, for somebody who has one of the host's
    /// locks. What it leaves to be done behind that, `notes` has.
    ///
    /// # Safety
    ///
    /// As the invariant of [`Table`] has it.
    pub(super) unsafe fn with_table<R>(
        &self,
        table: &bindings::shadowmm_table,
        notes: &Notes,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        self.pinned.0.with_mm(|mm| {
            // SAFETY: By this function's own.
            let table = unsafe { Table::new(table, mm.region, self, notes) };
            job(mm.spaces().at(self.space)?, &table)
        })
    }

    /// The same for the process that has the window. Files are read between: then there is
    /// no lock.
    pub(super) fn with_host<R>(
        &self,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let notes = Notes::default();
        let done = self.with_host_once(&notes, job)?;
        while let Some((unread, rest)) = notes.rest() {
            let read = unread.read();
            if let Err(Error::Interrupted) = read {
                rest.refused(Error::Interrupted)?;
                break;
            }
            let gone_on = self.with_host_once(&notes, |space, table| {
                Ok(match read {
                    Ok(()) => space.go_on(table, rest),
                    Err(error) => space.go_on_without(table, rest, error),
                })
            });
            // Without the window there is nothing to go on with.
            gone_on.unwrap_or_else(|error| rest.refused(error))?;
        }
        Ok(done)
    }

    fn with_host_once<R>(
        &self,
        notes: &Notes,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let locked = Locked::new(self)?;
        let counted = |space: AddressSpace<'_, '_, Kernel>, table: &Table<'_>| {
            let done = job(space, table);
            self.count_pages(|| space.cells().charged());
            self.count_vmas(&space);
            done
        };
        // SAFETY: The mmap lock is held while `locked` lives.
        unsafe { self.with_table(locked.table(), notes, counted) }
    }

    /// The same for what may make VMAs, as long as its user has fewer than he may. One
    /// such request more than that may come of it.
    pub(super) fn change<R>(
        &self,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let _one = self.file.account.charge(Kind::Vmas, 1)?;
        self.with_host(job)
    }

    /// The same for what mostly makes fewer: it is told whether it may make one more.
    pub(super) fn change_if<R>(
        &self,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>, CoreResult<()>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let one = self.file.account.charge(Kind::Vmas, 1);
        let may = one.as_ref().map(|_| ()).map_err(|&error| error);
        self.with_host(|space, table| job(space, table, may))
    }

    /// Notes whose it is: a child's process is not there yet when its window is made, and
    /// names change.
    pub(super) fn refresh(&self) {
        let process = self.mm.process();
        // A boot that failed has no windows.
        let _ = self.with(|space| {
            let cells = space.cells();
            cells.set_pid(process.pid);
            cells.set_comm(process.comm);
            cells.set_oom_score_adj(process.oom_score_adj);
            Ok(())
        });
    }

    /// Whether the caller may look at it.
    pub(super) fn may_look(&self) -> bool {
        // SAFETY: Asks about the caller.
        unsafe { bindings::shadowmm_mm_may_look(self.uid) }
    }

    /// What the VMA keeps of it: a reference.
    fn into_private(window: Arc<Self>) -> *mut c_void {
        Arc::into_raw(window).cast_mut().cast()
    }

    /// The window of a VMA.
    ///
    /// # Safety
    ///
    /// `private` is a VMA's that is locked, or that the caller has alone, for as long as
    /// the reference is used: it is closed only when nobody has its lock.
    pub(super) unsafe fn of<'a>(private: *const c_void) -> &'a Self {
        // SAFETY: It is a reference's, by this function's own.
        unsafe { &*private.cast::<Self>() }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let account = &self.file.account;
        let settle = |kind| move |before, now| account.settle(kind, before, now);
        self.vmas.set(0, settle(Kind::Vmas));
        account.release(Kind::Spaces, 1);
        let left = self.pinned.0.with_mm(|mm| {
            // The VMA is gone, and the host's entries with it.
            Ok(mm.spaces().at(self.space)?.end(&Gone))
        });
        // Who shares objects with it is a child of it, or it one of his: they have the same
        // open file, and what the objects still have stays counted there.
        self.pages.set(left.unwrap_or(0), settle(Kind::Pages));
        if let Err(error) = left {
            pr_err!(
                "an address space could not be freed: {}\n",
                error.sentence()
            );
        }
    }
}

/// mmap of the device.
pub(crate) fn map(shadow: &Arc<Shadow>, file: &Arc<FileWindows>, vma: &VmaNew) -> CoreResult<()> {
    let (wanted, has) = (flags::READ | flags::WRITE, vma.flags());
    if has & flags::SHARED == 0 {
        return Err(Error::WindowPrivate);
    }
    if has & flags::EXEC != 0 {
        return Err(Error::WindowExecutable);
    }
    if has & wanted != wanted {
        return Err(Error::WindowAccess);
    }
    // SAFETY: The VMA is being made, and is the caller's alone.
    if unsafe { (*vma.as_ptr()).vm_pgoff } != 0 {
        return Err(Error::WindowOffset);
    }
    // The process's mmap lock is held for writing: it makes no other meanwhile.
    if file.current().is_ok() {
        return Err(Error::WindowTaken);
    }
    let mm = HostMm::current().ok_or(Error::NoWindow)?;
    // SAFETY: The VMA is being made, and has the device's file.
    let mapping = unsafe { Mapping::of(vma.as_ptr()) };
    let range = VirtRange::new(vma.start() as u64, vma.end() as u64);
    let (options, process) = (*file.options.lock(), mm.process());
    let made = Window::new(Pinned::new(shadow), file, (mm, mapping), range, 0, |mm| {
        let config = requests::config(&mm.platform, options, &process);
        let space = mm.spaces().create(range, &config)?;
        Ok((space.addr(), space.cells().id()))
    });
    shadow.window_used();
    // SAFETY: The VMA is being made, and the reference is its.
    unsafe { bindings::shadowmm_window_setup(vma.as_ptr(), Window::into_private(made?)) };
    Ok(())
}

/// A process forks: its window's address space is copied for the child.
///
/// # Safety
///
/// Called by window.c with a VMA's window, that VMA, and the mm of the child, while the
/// mmap locks of both are held for writing.
#[no_mangle]
unsafe extern "C" fn shadowmm_window_fork(
    window: *mut c_void,
    parent: *mut bindings::shadowmm_table,
    child: *mut kernel::bindings::mm_struct,
) -> *mut c_void {
    // SAFETY: By this function's own.
    let (window, parent, mm) = unsafe { (Window::of(window), &*parent, HostMm::new(child)) };
    let pinned = Pinned::new(&window.pinned.0);
    let vmas = window.vmas.get() as u64;
    // A fork touches nothing.
    let notes = Notes::default();
    let host = (mm, window.mapping);
    let forked = Window::new(pinned, &window.file, host, window.range, vmas, |mm| {
        // SAFETY: The mmap lock is held, by this function's own.
        let table = unsafe { Table::new(parent, mm.region, window, &notes) };
        // Whose it is, the host does not know yet: `refresh` notes it.
        let child = mm
            .spaces()
            .at(window.space)?
            .fork(&table, 0, [0; COMM_LEN])?;
        Ok((child.addr(), child.cells().id()))
    });
    match forked {
        Ok(window) => Window::into_private(window),
        // dup_mmap() does not ask. The child's first touch of the window is its end.
        Err(error) => {
            if FORKS_REFUSED.allow(now_ns()).is_some() {
                pr_warn!("a window could not be forked: {}\n", error.sentence());
            }
            core::ptr::null_mut()
        }
    }
}

/// A window's VMA is gone: nobody touches it any more, and the host has no entry of it.
///
/// # Safety
///
/// Called by window.c with what was a VMA's, once.
#[no_mangle]
unsafe extern "C" fn shadowmm_window_close(window: *mut c_void) {
    // SAFETY: The VMA's reference, by this function's own.
    let window = unsafe { Arc::from_raw(window.cast_const().cast::<Window>()) };
    // What is removed is dropped when the locks are given up.
    let of = window.file.of.lock().remove_node(&window.mm.number());
    let by_id = window.pinned.0.windows.by_id.lock().remove_node(&window.id);
    drop((of, by_id));
}
