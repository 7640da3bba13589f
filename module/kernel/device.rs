// SPDX-License-Identifier: GPL-2.0

//! `/dev/shadowmm`: requests from outside, and whom the pages belong to.
//!
//! Lock order (that of objects is in slab.rs): an open file's `held`, then the shadow's `sharing`, its state, a
//! zone. The caller's memory is never touched under any of them.

use crate::abi;
use crate::abi::Records;
use crate::bench;
use crate::diff::OpenDiff;
use crate::diff::SlabDiff;
use crate::held::Held;
use crate::held::Room;
use crate::mm;
use crate::mm::FileWindows;
use crate::movable::Uses;
use crate::procfs;
use crate::records;
use crate::shadow;
use crate::shadow::Shadow;
use crate::shadow::BATCH;
use crate::slab;
use crate::slab::FileObjects;
use crate::uapi;
use crate::users::check_admin;
use crate::users::FileAccount;
use kernel::error::to_result;
use kernel::fs::File;
use kernel::ioctl::_IO;
use kernel::miscdevice::MiscDevice;
use kernel::miscdevice::MiscDeviceOptions;
use kernel::miscdevice::MiscDeviceRegistration;
use kernel::mm::virt::VmaNew;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::types::Opaque;
use kernel::uaccess::UserPtr;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::InterleavePrev;
use shadowmm_core::buddy::Policy;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::page::PageDescriptor;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shadowmm_core::quota::Kind;

const MAGIC: u32 = uapi::SHADOWMM_IOC_MAGIC;
const VERSION: u32 = _IO(MAGIC, 0x00);
const STAGE: u32 = _IO(MAGIC, 0x01);
const MAP: u32 = _IO(MAGIC, 0x02);
const ALLOC: u32 = _IO(MAGIC, 0x03);
const FREE: u32 = _IO(MAGIC, 0x04);
const PAGE: u32 = _IO(MAGIC, 0x05);
const REPORT: u32 = _IO(MAGIC, 0x06);
const VALIDATE: u32 = _IO(MAGIC, 0x07);
const RECLAIM: u32 = _IO(MAGIC, 0x18);
const BULK: u32 = _IO(MAGIC, 0x08);
const EXACT: u32 = _IO(MAGIC, 0x09);
const BLOCK: u32 = _IO(MAGIC, 0x0a);
const POLICY: u32 = _IO(MAGIC, 0x0b);
const CONTIG: u32 = _IO(MAGIC, 0x0c);
const CREATE: u32 = _IO(MAGIC, 0x20);
const CACHE: u32 = _IO(MAGIC, 0x21);
const OBJECT: u32 = _IO(MAGIC, 0x22);
const OBJECTS: u32 = _IO(MAGIC, 0x23);
const KMALLOC: u32 = _IO(MAGIC, 0x24);
const BYTES: u32 = _IO(MAGIC, 0x25);
const MISUSE: u32 = _IO(MAGIC, 0x0d);
const BENCH: u32 = _IO(MAGIC, 0x10);
const BENCH_SLAB: u32 = _IO(MAGIC, 0x11);
const BENCH_LOOKUP: u32 = _IO(MAGIC, 0x12);
const MM_CONFIG: u32 = _IO(MAGIC, 0x40);
const MM_INFO: u32 = _IO(MAGIC, 0x41);
const MM_MMAP: u32 = _IO(MAGIC, 0x42);
const MM_MUNMAP: u32 = _IO(MAGIC, 0x43);
const MM_MPROTECT: u32 = _IO(MAGIC, 0x44);
const MM_MREMAP: u32 = _IO(MAGIC, 0x45);
const MM_MADVISE: u32 = _IO(MAGIC, 0x46);
const MM_BRK: u32 = _IO(MAGIC, 0x47);
const MM_MLOCK: u32 = _IO(MAGIC, 0x48);
const MM_MINCORE: u32 = _IO(MAGIC, 0x49);
const MM_MSYNC: u32 = _IO(MAGIC, 0x4a);
const MM_LIMITS: u32 = _IO(MAGIC, 0x4b);
const MM_WALK: u32 = _IO(MAGIC, 0x4c);
const MM_VMAS: u32 = _IO(MAGIC, 0x4d);
const DIFF_OPEN: u32 = _IO(MAGIC, 0x14);
const DIFF_PLAY: u32 = _IO(MAGIC, 0x15);
const DIFF_STATE: u32 = _IO(MAGIC, 0x16);
const DIFF_CACHES: u32 = _IO(MAGIC, 0x34);
const DIFF_OBJECTS: u32 = _IO(MAGIC, 0x35);
const DIFF_CACHE: u32 = _IO(MAGIC, 0x36);

/// An open file. Its blocks go back when it is released, however that comes.
#[pin_data(PinnedDrop)]
pub(crate) struct OpenFile {
    pub(crate) shadow: Arc<Shadow>,
    #[pin]
    pub(crate) held: Mutex<Held>,
    pub(crate) objects: Arc<FileObjects>,
    pub(crate) windows: Arc<FileWindows>,
    /// What it has, with its user's.
    pub(crate) account: Arc<FileAccount>,
    /// Where pages come from when a request names no node.
    #[pin]
    pub(crate) policy: Mutex<Policy>,
    pub(crate) interleave: InterleavePrev,
    /// By which the shadow knows the file's handles.
    number: u64,
    #[pin]
    diff: Mutex<OpenDiff>,
    #[pin]
    slab_diff: Mutex<SlabDiff>,
}

/// The device while it is there. [`MiscDeviceRegistration`] knows no mode.
///
/// # Invariants
///
/// `raw` is registered, as [`MiscDeviceOptions::into_raw`] made it but for its mode.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration {
    #[pin]
    raw: Opaque<kernel::bindings::miscdevice>,
}

// SAFETY: It is registered and removed on any thread.
unsafe impl Send for Registration {}
// SAFETY: Nothing is done by reference.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the device, with the mode that `device_mode=` says.
    pub(crate) fn new() -> impl PinInit<Self, kernel::error::Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(|slot: *mut kernel::bindings::miscdevice| {
                let options = MiscDeviceOptions { name: c"shadowmm" };
                let mut device = options.into_raw::<OpenFile>();
                // SAFETY: The parameters are set before init, this one never later.
                device.mode = unsafe { (*crate::bindings::shadowmm_params()).device_mode };
                // SAFETY: There is room for one.
                unsafe { slot.write(device) };
                // INVARIANT: What is returned says whether it is registered.
                // SAFETY: It is pinned, and removed before it goes.
                to_result(unsafe { kernel::bindings::misc_register(slot) })
            }),
        }? kernel::error::Error)
    }
}

#[pinned_drop]
impl PinnedDrop for Registration {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariant.
        unsafe { kernel::bindings::misc_deregister(self.raw.get()) };
    }
}

#[vtable]
impl MiscDevice for OpenFile {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        let shadow = shadow::current().ok_or(ENODEV)?;
        let account = FileAccount::open(&shadow)?;
        let windows = FileWindows::new(account.clone())?;
        let room = KBox::<Self>::new_uninit(GFP_KERNEL)?;
        // Where the shadow knows of a file, there is one to be dropped: nothing may fail
        // behind this.
        let objects = shadow.slab.file_opened()?;
        let number = shadow.file_opened();
        let slab_diff = SlabDiff::new(shadow.clone());
        let file = room.write_pin_init(pin_init!(Self {
            shadow,
            held <- new_mutex!(Held::new()),
            objects,
            windows,
            account,
            policy <- new_mutex!(Policy::Local),
            interleave: InterleavePrev::new(),
            number,
            diff <- new_mutex!(OpenDiff::default()),
            slab_diff <- new_mutex!(slab_diff),
        }))?;
        Ok(file)
    }

    fn mmap(me: Pin<&Self>, _file: &File, vma: &VmaNew) -> Result {
        mm::map(&me.shadow, &me.windows, vma).map_err(|error| {
            me.shadow.refusals.count(error);
            kernel::error::Error::from_errno(-(error.errno() as i32))
        })
    }

    fn ioctl(me: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        let result = match cmd {
            VERSION => abi::answer(arg, version),
            STAGE => abi::answer(arg, |request| me.stage(request)),
            MAP => abi::answer(arg, |request| me.map(request)),
            ALLOC => abi::answer_or_undo(
                arg,
                |request| me.alloc(request),
                |request, ()| me.undo_alloc(request),
            ),
            FREE => abi::answer(arg, |request| me.free(request)),
            PAGE => abi::answer(arg, |request| me.page(request)),
            REPORT => abi::answer(arg, |request| me.report(request)),
            VALIDATE => abi::answer(arg, |request| me.validate(request)),
            RECLAIM => abi::answer(arg, |request| me.reclaim(request)),
            BULK => abi::answer_or_undo(
                arg,
                |request| me.bulk(request),
                |_, taken| me.undo_bulk(&taken),
            ),
            EXACT => abi::answer_or_undo(
                arg,
                |request| me.exact(request),
                |request, ()| me.undo_exact(request),
            ),
            BLOCK => abi::answer_or_undo(
                arg,
                |request| me.block(request),
                |request, ()| me.undo_block(request),
            ),
            POLICY => abi::answer(arg, |request| me.policy(request)),
            CONTIG => abi::answer_or_undo(
                arg,
                |request| me.contig(request),
                |request, ()| me.undo_contig(request),
            ),
            CREATE => abi::answer_or_undo(
                arg,
                |request| me.create(request),
                |request, ()| me.undo_create(request),
            ),
            CACHE => abi::answer(arg, |request| me.cache(request)),
            OBJECT => abi::answer_or_undo(
                arg,
                |request| me.object(request),
                |_, taken| me.undo_objects(&[taken]),
            ),
            OBJECTS => abi::answer_or_undo(
                arg,
                |request| me.objects(request),
                |_, taken| me.undo_objects(&taken),
            ),
            KMALLOC => abi::answer_or_undo(
                arg,
                |request| me.kmalloc(request),
                |_, taken| me.undo_objects(&[taken]),
            ),
            BYTES => abi::answer(arg, |request| me.bytes(request)),
            MISUSE => abi::answer(arg, |request| me.misuse(request)),
            BENCH => abi::answer(arg, |request| bench::run(&me.shadow, request)),
            BENCH_SLAB => abi::answer(arg, |request| bench::objects::run(&me.shadow, request)),
            BENCH_LOOKUP => abi::answer(arg, |request| {
                bench::lookups::run(&*me.windows.current()?, request)
            }),
            MM_CONFIG => abi::answer(arg, |request| me.mm_config(request)),
            MM_INFO => abi::answer(arg, |request| me.mm_info(request)),
            MM_MMAP => abi::answer_or_undo(
                arg,
                |request| me.mm_mmap(request),
                |request, ()| me.undo_mmap(request),
            ),
            MM_MUNMAP => abi::answer(arg, |request| me.mm_munmap(request)),
            MM_MPROTECT => abi::answer(arg, |request| me.mm_mprotect(request)),
            MM_MREMAP => abi::answer(arg, |request| me.mm_mremap(request)),
            MM_MADVISE => abi::answer(arg, |request| me.mm_madvise(request)),
            MM_BRK => abi::answer(arg, |request| me.mm_brk(request)),
            MM_MLOCK => abi::answer(arg, |request| me.mm_mlock(request)),
            MM_MINCORE => abi::answer(arg, |request| me.mm_mincore(request)),
            MM_MSYNC => abi::answer(arg, |request| me.mm_msync(request)),
            MM_LIMITS => abi::answer(arg, |request| me.mm_limits(request)),
            MM_WALK => abi::answer(arg, |request| me.mm_walk(request)),
            MM_VMAS => abi::answer(arg, |request| me.mm_vmas(request)),
            DIFF_OPEN => abi::answer_or_undo(
                arg,
                |request| me.diff.lock().open(request),
                |_, ()| me.diff.lock().close(),
            ),
            DIFF_PLAY => abi::answer(arg, |request| me.diff.lock().play(request)),
            DIFF_STATE => abi::answer(arg, |request| me.diff.lock().state(request)),
            DIFF_CACHES => abi::answer_or_undo(
                arg,
                |request| me.slab_diff.lock().caches(request),
                |_, had| me.slab_diff.lock().drop_from(had),
            ),
            DIFF_OBJECTS => abi::answer(arg, |request| me.slab_diff.lock().objects(request)),
            DIFF_CACHE => abi::answer(arg, |request| me.slab_diff.lock().look(request)),
            _ => {
                me.shadow.unknown_ioctl();
                return Err(ENOTTY);
            }
        };
        result.map(|()| 0).map_err(|error| {
            me.shadow.refusals.count(error);
            kernel::error::Error::from_errno(-(error.errno() as i32))
        })
    }
}

#[pinned_drop]
impl PinnedDrop for OpenFile {
    fn drop(self: Pin<&mut Self>) {
        let mut held = self.held.lock();
        let mut batch = [(Pfn(0), PageOrder::ZERO); BATCH];
        let mut count = 0;
        let mut give_up = |block: Option<(Pfn, PageOrder)>| {
            if let (Some(block), Some(slot)) = (block, batch.get_mut(count)) {
                *slot = block;
                count += 1;
            }
            if block.is_none() || count == BATCH {
                self.shadow.free_batch(batch.get(..count).unwrap_or(&[]));
                count = 0;
            }
        };
        while let Some(cursor) = held.cursor_front_mut() {
            let (_, node) = cursor.remove_current();
            let (pfn, holding) = node.to_key_value();
            for _ in 0..holding.references {
                give_up(Some((pfn, holding.order)));
            }
        }
        while let Some(block) = self.shadow.handles.take_any(self.number) {
            give_up(Some(block));
        }
        give_up(None);
        slab::file_closed(&self.shadow, &self.objects);
        self.shadow.file_closed();
    }
}

fn version(request: &mut uapi::shadowmm_version) -> CoreResult<()> {
    request.abi = uapi::SHADOWMM_ABI_VERSION;
    abi::fill_text(&mut request.release, crate::RELEASE);
    abi::fill_text(&mut request.kernel, shadow::kernel_release());
    Ok(())
}

/// The pages that count of a block that is known by a handle: what may be given up when
/// memory is short is in nobody's way.
fn charged(order: PageOrder, uses: Uses) -> u64 {
    match uses.cache {
        true => 0,
        false => order.pages().0,
    }
}

impl OpenFile {
    fn stage(&self, request: &mut uapi::shadowmm_stage) -> CoreResult<()> {
        let (stage, ns) = match shadow::StageOp::from_abi(request.op)? {
            None => self.shadow.stage()?,
            Some(op) => {
                check_admin()?;
                let reached = self.shadow.change_stage(op);
                // Also where it failed: it may have come a part of the way.
                procfs::update_nodes();
                reached?
            }
        };
        request.stage = stage as u32;
        request.ns = ns;
        Ok(())
    }

    fn map(&self, request: &mut uapi::shadowmm_map) -> CoreResult<()> {
        check_admin()?;
        let (map, crashkernel) = records::read_map(request)?;
        self.shadow.set_map(map, crashkernel)
    }

    fn alloc(&self, request: &mut uapi::shadowmm_alloc) -> CoreResult<()> {
        let wanted = records::wanted(request.gfp, request.order, request.nid)?;
        if request.head.flags != 0 {
            return self.alloc_known(request, wanted);
        }
        // What can fail comes before the allocation, so that nothing has to be
        // undone.
        let pages = wanted.order().pages().0;
        let charge = self.account.charge(Kind::Pages, pages)?;
        let mut room = Room::new(1)?;
        let placed = self.placed(wanted);
        let mut held = self.held.lock();
        let block = self.shadow.alloc(&placed)?;
        charge.keep(pages);
        room.enter(&mut held, block.pfn, wanted.order());
        request.pfn = block.pfn.0;
        request.page_nid = block.nid.0;
        request.page_zone = block.zone as u32;
        Ok(())
    }

    /// Gives back what ALLOC has just taken. What may be given up when memory is short may
    /// be gone already.
    fn undo_alloc(&self, request: &uapi::shadowmm_alloc) {
        let mut free = uapi::shadowmm_free {
            pfn: request.pfn,
            order: request.order,
            ..Default::default()
        };
        if request.head.flags != 0 {
            free.head.flags = uapi::SHADOWMM_BY_HANDLE;
            free.pfn = request.handle;
        }
        let _ = self.free(&mut free);
    }

    fn alloc_known(
        &self,
        request: &mut uapi::shadowmm_alloc,
        wanted: AllocRequest,
    ) -> CoreResult<()> {
        if (request.head.size as usize) < size_of::<uapi::shadowmm_alloc>() {
            // There is no room for the handle.
            return Err(Error::BadSize);
        }
        let flags = request.head.flags;
        let uses = Uses {
            movable: flags & uapi::SHADOWMM_ALLOC_MOVABLE != 0,
            cache: flags & uapi::SHADOWMM_ALLOC_CACHE != 0,
        };
        let pages = charged(wanted.order(), uses);
        let charge = self.account.charge(Kind::Pages, pages)?;
        let placed = self.placed(wanted);
        let (block, handle) = self.shadow.alloc_known(self.number, &placed, uses)?;
        charge.keep(pages);
        request.pfn = block.pfn.0;
        request.page_nid = block.nid.0;
        request.page_zone = block.zone as u32;
        request.handle = handle;
        Ok(())
    }

    fn free(&self, request: &mut uapi::shadowmm_free) -> CoreResult<()> {
        let order = PageOrder::new(request.order).ok_or(Error::OrderTooLarge)?;
        if request.head.flags & uapi::SHADOWMM_BY_HANDLE != 0 {
            let (pfn, uses) = self.shadow.handles.take(self.number, request.pfn, order)?;
            self.shadow.free(pfn, order);
            self.account.release(Kind::Pages, charged(order, uses));
            return Ok(());
        }
        let pfn = Pfn(request.pfn);
        let mut held = self.held.lock();
        match held.get(&pfn) {
            None => Err(self.shadow.why_not_ours(pfn, order)),
            Some(holding) if holding.order != order => Err(Error::WrongOrder),
            Some(_) => {
                self.put_one(&mut held, pfn);
                Ok(())
            }
        }
    }

    fn page(&self, request: &mut uapi::shadowmm_page) -> CoreResult<()> {
        let handles = &self.shadow.handles;
        let asked = request.pfn;
        if request.head.flags & uapi::SHADOWMM_BY_HANDLE != 0 {
            (request.pfn, _) = handles
                .find(self.number, asked)
                .map(|(pfn, order)| (pfn.0, order))?;
        }
        let held = self.held.lock();
        self.shadow.with_mm(|mm| {
            records::page(mm, request)?;
            request.pfn = asked;
            let head = Pfn(request.head_pfn);
            request.owner = if request.head_state == uapi::SHADOWMM_PAGE_SLAB {
                uapi::SHADOWMM_OWNER_KERNEL
            } else if request.head_state != uapi::SHADOWMM_PAGE_ALLOCATED {
                uapi::SHADOWMM_OWNER_NONE
            } else if held.get(&head).is_some() || handles.owns(self.number, head) {
                uapi::SHADOWMM_OWNER_SELF
            } else if mm
                .sparse
                .page(Pfn(request.head_pfn))
                .is_some_and(PageDescriptor::is_held)
            {
                uapi::SHADOWMM_OWNER_OTHER
            } else {
                uapi::SHADOWMM_OWNER_KERNEL
            };
            Ok(())
        })
    }

    fn report(&self, request: &mut uapi::shadowmm_report) -> CoreResult<()> {
        let mut out = Records::new(request.capacity);
        records::report(&self.shadow, request, &mut out)?;
        request.count = out.count;
        out.write_to(request.buf)
    }

    fn reclaim(&self, request: &mut uapi::shadowmm_reclaim) -> CoreResult<()> {
        check_admin()?;
        request.pages = records::reclaim(&self.shadow, request)?.0;
        Ok(())
    }

    fn validate(&self, request: &mut uapi::shadowmm_validate) -> CoreResult<()> {
        check_admin()?;
        let mut what = abi::TextField::new(&mut request.what);
        request.checks = self.shadow.validate(&mut what)?;
        Ok(())
    }
}
