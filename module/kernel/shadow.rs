// SPDX-License-Identifier: GPL-2.0

//! The shadow: core's boot on the host's memory, and who may use it when.
//!
//! ```text
//! HostMemory      the region; returned last
//!   State         behind a semaphore
//!     store       what core keeps outside the region
//!     boot        borrows both; dropped first
//! ```
//!
//! Requests on the running shadow hold the semaphore for reading, so they run
//! beside one another; stepping and resetting the boot hold it for writing.

use crate::bindings;
use crate::daemons;
use crate::failure;
use crate::mm::Windows;
use crate::movable;
use crate::movable::Handles;
use crate::movable::Uses;
use crate::percpu_rwsem::PercpuRwSemaphore;
use crate::platform::Kernel;
use crate::region::HostMemory;
use crate::rwsem::RwSemaphore;
use crate::slab::SlabFiles;
use crate::slab_report;
use crate::uapi;
use crate::users::Users;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::CrashParameter;
use shadowmm_core::boot::Stage;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::boot::NR_STAGES;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::InterleavePrev;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::Policy;
use shadowmm_core::error::Error;
use shadowmm_core::error::Refusals;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::firmware;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::firmware::MapSource;
use shadowmm_core::page::PageDescriptor;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PfnRange;
use shadowmm_core::phys::MAX_NODES;
use shadowmm_core::report::NodeFile;
use shadowmm_core::slices;
use shadowmm_core::tunables::Tunable;

pub(crate) type Boot<'m> = boot::Boot<'m, Kernel>;
pub(crate) type Mm<'m> = boot::Mm<'m, Kernel>;

/// An empty store, to be copied from: the value is too large for the stack.
static EMPTY: Store<'static, Kernel> = Store::new();

/// An empty map, likewise.
static EMPTY_MAP: FirmwareMap = FirmwareMap::NEW;

kernel::sync::global_lock! {
    // SAFETY: Initialised in the module's init, before anything else.
    pub(crate) unsafe(uninit) static CURRENT: Mutex<Option<Arc<Shadow>>> = None;
}

/// Whether the module has begun: a tracepoint can be listened to before that. Ordered with the
/// numbers of listeners.
pub(crate) static READY: AtomicBool = AtomicBool::new(false);

/// [`current`], also before the module has begun.
pub(crate) fn current_if_ready() -> Option<Arc<Shadow>> {
    READY.load(SeqCst).then(current).flatten()
}

/// The shadow of this module, while it is loaded.
pub(crate) fn current() -> Option<Arc<Shadow>> {
    CURRENT.lock().clone()
}

/// Keeps a shadow current until it is dropped.
pub(crate) struct Current(());

impl Current {
    /// Makes `shadow` the current one.
    pub(crate) fn new(shadow: Arc<Shadow>) -> Self {
        *CURRENT.lock() = Some(shadow);
        Self(())
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        daemons::stop();
        let shadow = CURRENT.lock().take();
        // Returning the host's memory may sleep; not under the lock.
        drop(shadow);
    }
}

/// Says in the log what was refused, and makes the error a kernel's.
pub(crate) fn refused(what: &str, error: Error) -> kernel::error::Error {
    pr_err!("{}: {}\n", what, error.sentence());
    kernel::error::Error::from_errno(-(error.errno() as i32))
}

/// The release of the kernel that this runs in.
pub(crate) fn kernel_release() -> &'static str {
    // SAFETY: The release is NUL-terminated and never changes.
    let release = unsafe { CStr::from_char_ptr(bindings::shadowmm_kernel_release()) };
    release.to_str().unwrap_or("")
}

/// Fills `map` with the built-in machine: a node for each of the host's that
/// the region has memory on.
fn builtin(host: &HostMemory, map: &mut FirmwareMap) -> CoreResult<()> {
    let mut shares = [Pages::ZERO; MAX_NODES];
    let nodes = host.shares(&mut shares);
    // SAFETY: Reads a counter.
    let cpus = unsafe { bindings::shadowmm_nr_online_cpus() };
    firmware::builtin(map, shares.get(..nodes).unwrap_or(&[]), cpus)
}

/// Makes an empty map on the heap; it is too large for the stack.
pub(crate) fn new_map() -> CoreResult<KVBox<FirmwareMap>> {
    let map = KVBox::<FirmwareMap>::new_uninit(GFP_KERNEL);
    let mut map = map.map_err(|_| Error::NoHostMemory)?;
    // SAFETY: Both are valid for one map, and a copy of an empty map is one.
    unsafe {
        core::ptr::copy_nonoverlapping(&raw const EMPTY_MAP, map.as_mut_ptr(), 1);
        Ok(map.assume_init())
    }
}

/// What a step of the boot is asked for.
#[derive(Clone, Copy)]
pub(crate) enum StageOp {
    Next,
    Run,
    Reset,
}

impl StageOp {
    /// `None` where it is only asked which stage was reached.
    pub(crate) fn from_abi(op: u32) -> CoreResult<Option<Self>> {
        match op {
            uapi::SHADOWMM_STAGE_GET => Ok(None),
            uapi::SHADOWMM_STAGE_NEXT => Ok(Some(Self::Next)),
            uapi::SHADOWMM_STAGE_RUN => Ok(Some(Self::Run)),
            uapi::SHADOWMM_STAGE_RESET => Ok(Some(Self::Reset)),
            _ => Err(Error::BadKind),
        }
    }
}

/// How many blocks of a file that is closed go back in one go.
pub(crate) const BATCH: usize = 31;

/// A block that was allocated, and where it lies.
pub(crate) struct Block {
    pub(crate) pfn: Pfn,
    pub(crate) nid: NodeId,
    pub(crate) zone: ZoneType,
}

/// A request, and the policy of whom it comes from.
pub(crate) struct Placed<'a> {
    pub(crate) request: AllocRequest,
    pub(crate) policy: Policy,
    pub(crate) prev: &'a InterleavePrev,
}

impl Placed<'_> {
    /// Has `take` serve the request: where the policy says, if it names no
    /// node itself.
    fn take(
        &self,
        mm: &Mm<'_>,
        take: impl FnOnce(&AllocRequest) -> CoreResult<Pfn>,
    ) -> CoreResult<Pfn> {
        match self.request.nid() {
            NodeId::NONE => mm
                .policies()
                .alloc_by(&self.request, self.policy, self.prev, take),
            _ => take(&self.request),
        }
    }
}

/// Marks blocks that were just taken as open files'.
fn hold(mm: &Mm<'_>, blocks: impl Iterator<Item = Pfn>) {
    for page in blocks.filter_map(|pfn| mm.sparse.page(pfn)) {
        page.set_held();
    }
}

/// Whether a block stays where it is.
fn check_stays(mm: &Mm<'_>, pfn: Pfn) -> CoreResult<()> {
    match mm.sparse.page(pfn) {
        Some(page) if page.is_movable() => Err(Error::MayMove),
        _ => Ok(()),
    }
}

/// A boot with what it borrows.
///
/// # Invariants
///
/// `boot` is dropped before `store` is written again or freed.
struct State {
    /// Boxed: it is too large to be moved about on the stack.
    boot: Option<KBox<Boot<'static>>>,
    store: KVBox<MaybeUninit<Store<'static, Kernel>>>,
    /// The map of the next boot.
    map: KVBox<FirmwareMap>,
    config: KBox<Config>,
}

impl State {
    /// The boot, unless it could not be begun.
    fn boot(&self) -> CoreResult<&Boot<'static>> {
        Ok(self.boot.as_ref().ok_or(Error::BootFailed)?)
    }
}

/// The shadow.
#[pin_data]
pub(crate) struct Shadow {
    // Fields are dropped in this order: the host's memory after all that
    // points into it.
    #[pin]
    state: PercpuRwSemaphore<State>,
    /// One change of the boot after the other, with the nodes' threads that come and go: whoever
    /// writes to `state` has this first.
    #[pin]
    turn: Mutex<()>,
    pub(crate) host: HostMemory,
    /// Open files give blocks up holding it for reading. Who joins the holders
    /// of a block without being one holds it for writing: nobody leaves then,
    /// so a block that somebody has stays his.
    #[pin]
    sharing: RwSemaphore<()>,
    /// The blocks that open files know by a handle.
    pub(crate) handles: Arc<Handles>,
    /// The objects of open files.
    #[pin]
    pub(crate) slab: SlabFiles,
    /// The windows of processes.
    #[pin]
    pub(crate) windows: Windows,
    /// Who has how much.
    #[pin]
    pub(crate) users: Users,
    /// How often requests were refused, by reason.
    pub(crate) refusals: Refusals,
    /// Pages that belong to open files.
    held_pages: AtomicU64,
    open_files: AtomicU32,
    /// The number of the last file that was opened.
    last_file: AtomicU64,
    /// The number that the first address space of the next boot gets.
    next_space: AtomicU32,
}

impl Shadow {
    /// A shadow on `host`, at the first stage of the boot with the built-in map.
    pub(crate) fn new(host: HostMemory, config: KBox<Config>) -> Result<Arc<Self>> {
        let state = State {
            boot: None,
            store: KVBox::new_uninit(GFP_KERNEL)?,
            map: new_map().map_err(|_| ENOMEM)?,
            config,
        };
        let pages = host.pages();
        let shadow = Arc::pin_init(
            try_pin_init!(Self {
                state <- PercpuRwSemaphore::new(state),
                turn <- new_mutex!(()),
                host,
                sharing <- RwSemaphore::new(()),
                handles: Arc::pin_init(Handles::new(), GFP_KERNEL)?,
                slab <- SlabFiles::new(),
                windows <- Windows::new(),
                users <- Users::new(pages),
                refusals: Refusals::new(),
                held_pages: AtomicU64::new(0),
                open_files: AtomicU32::new(0),
                last_file: AtomicU64::new(0),
                next_space: AtomicU32::new(1),
            }),
            GFP_KERNEL,
        )?;
        {
            let mut state = shadow.state.write();
            builtin(&shadow.host, &mut state.map)
                .and_then(|()| shadow.detect(&mut state))
                .map_err(|error| refused("the first stage", error))?;
        }
        Ok(shadow)
    }

    /// Starts the boot anew.
    fn detect(&self, state: &mut State) -> CoreResult<()> {
        // Nothing may be left of the last boot when its store is overwritten.
        state.boot = None;
        let backing = KBox::new(const { Backing::new() }, GFP_KERNEL);
        let mut backing = backing.map_err(|_| Error::NoHostMemory)?;
        // SAFETY: `self.host` is dropped after `self.state`, and the last boot,
        // with all that was made of its backing, is gone.
        unsafe { self.host.backing(&mut backing) }.map_err(|_| Error::MapTooManyEntries)?;
        let store = state.store.as_mut_ptr();
        // SAFETY: Both are valid for one store, and nothing borrows the
        // destination. A copy of an empty store is an empty store.
        unsafe { core::ptr::copy_nonoverlapping(&raw const EMPTY, store, 1) };
        // SAFETY: The store was just written. It is boxed, so it stays where it
        // is; the boot, which borrows it, is dropped before it, by the type's
        // invariant.
        let store = unsafe { NonNull::new_unchecked(store).as_mut() };
        let boot = boot::Boot::detect(
            store,
            &state.map,
            &backing,
            &state.config,
            Kernel::new(self.handles.clone()),
        )?;
        state.boot = Some(KBox::new(boot, GFP_KERNEL).map_err(|_| Error::NoHostMemory)?);
        Ok(())
    }

    /// Looks at the boot. `look` is for any lifetime of what the boot borrows,
    /// so that nothing of it leaves the semaphore.
    pub(crate) fn with_boot<R>(
        &self,
        look: impl FnOnce(&Boot<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let state = self.state.read();
        look(state.boot()?)
    }

    /// Uses the running memory manager.
    pub(crate) fn with_mm<R>(&self, job: impl FnOnce(&Mm<'_>) -> CoreResult<R>) -> CoreResult<R> {
        self.with_boot(|boot| job(boot.mm()?))
    }

    /// Uses the running memory manager for long, together with the host's. The semaphore stays
    /// free: when CPUs come and go it is taken behind the host's lock of these (workers.c),
    /// which much of the host's memory management takes, too (`kmem_cache_destroy`). Who would
    /// change the boot waits.
    pub(crate) fn with_mm_unchanged<R>(
        &self,
        job: impl FnOnce(&Mm<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        let _turn = self.turn.lock();
        // SAFETY: Who writes has the turn first, and it is ours.
        let state = unsafe { self.state.held() };
        job(state.boot()?.mm()?)
    }

    /// Uses the running memory manager on core's behalf, in the middle of one of
    /// its functions: the semaphore is held already, and taken again it might
    /// wait for somebody who waits for it.
    ///
    /// # Safety
    ///
    /// Whoever called core holds the semaphore until this returns.
    pub(crate) unsafe fn with_mm_held<R>(&self, job: impl FnOnce(&Mm<'_>) -> R) -> CoreResult<R> {
        // SAFETY: By this function's own.
        let state = unsafe { self.state.held() };
        Ok(job(state.boot()?.mm()?))
    }

    /// The stage of the boot. Who only asks keeps nobody waiting.
    pub(crate) fn stage(&self) -> CoreResult<(Stage, [u64; NR_STAGES])> {
        self.with_boot(|boot| Ok((boot.stage(), boot.ns())))
    }

    /// Changes it.
    pub(crate) fn change_stage(&self, op: StageOp) -> CoreResult<(Stage, [u64; NR_STAGES])> {
        let _turn = self.turn.lock();
        if let StageOp::Reset = op {
            // They use what goes away, and wait for those who change it.
            daemons::stop();
        }
        let stage = self.step(op);
        if let StageOp::Reset = op {
            // Where that was refused, others may be making caches just now.
            self.slab.forget_caches(|| self.has_objects());
        }
        // Also where nothing came of it, and the shadow goes on.
        let _ = self.with_mm(|mm| {
            daemons::start(mm);
            Ok(())
        });
        stage
    }

    fn step(&self, op: StageOp) -> CoreResult<(Stage, [u64; NR_STAGES])> {
        let mut state = self.state.write();
        match (op, state.boot.as_mut()) {
            (StageOp::Next, Some(boot)) => {
                boot.advance()?;
            }
            (StageOp::Run, Some(boot)) => boot.run()?,
            (StageOp::Reset, _) => {
                if self.held_pages.load(Relaxed) != 0 {
                    return Err(Error::PagesHeld);
                }
                if self.slab.is_in_use() {
                    return Err(Error::ObjectsHeld);
                }
                if self.windows.any() {
                    return Err(Error::WindowsOpen);
                }
                // Caches that somebody has created stay, and go with all memory.
                let _ = state
                    .boot
                    .as_ref()
                    .and_then(|boot| boot.mm().ok())
                    .map(|mm| {
                        self.next_space.store(mm.spaces().next_number(), Relaxed);
                        mm.shut_down()
                    });
                self.detect(&mut state)?;
            }
            (_, None) => return Err(Error::BootFailed),
        }
        let boot = state.boot()?;
        if let Ok(mm) = boot.mm() {
            mm.spaces().number_from(self.next_space.load(Relaxed));
        }
        Ok((boot.stage(), boot.ns()))
    }

    /// Takes `map` for the boot, which must be at its first stage. If it does
    /// not fit the region, everything stays as it was.
    pub(crate) fn set_map(
        &self,
        mut map: KVBox<FirmwareMap>,
        crashkernel: Option<CrashParameter>,
    ) -> CoreResult<()> {
        let _turn = self.turn.lock();
        let mut state = self.state.write();
        if state
            .boot
            .as_ref()
            .is_some_and(|boot| boot.stage() != Stage::Detect)
        {
            return Err(Error::StageOrder);
        }
        if map.source == MapSource::Builtin {
            builtin(&self.host, &mut map)?;
        }
        let old_crashkernel = state.config.crashkernel;
        let old_map = core::mem::replace(&mut state.map, map);
        if let Some(crashkernel) = crashkernel {
            state.config.crashkernel = crashkernel;
        }
        let result = self.detect(&mut state);
        if result.is_err() {
            state.map = old_map;
            state.config.crashkernel = old_crashkernel;
            // It fitted before. If it did not now, the boot would say so from
            // here on; the caller is told about its own map.
            let _ = self.detect(&mut state);
        }
        result
    }

    /// Allocates a block for an open file.
    pub(crate) fn alloc(&self, placed: &Placed<'_>) -> CoreResult<Block> {
        self.with_mm(|mm| {
            let pfn = placed.take(mm, |request| mm.allocator().alloc(request))?;
            self.taken(mm, pfn, placed.request.order().pages())
        })
    }

    /// Allocates a block that open file `file` knows by a handle.
    pub(crate) fn alloc_known(
        &self,
        file: u64,
        placed: &Placed<'_>,
        uses: Uses,
    ) -> CoreResult<(Block, u64)> {
        let room = movable::Room::new()?;
        // Nobody joins its holders before it is marked.
        let _nobody_joins = self.sharing.read();
        self.with_mm(|mm| {
            if uses.cache && mm.allocator().kind() != AllocatorKind::Buddy {
                // It counts for nobody, and no other would ever take it back.
                return Err(Error::NotSupported);
            }
            let pfn = placed.take(mm, |request| mm.allocator().alloc(request))?;
            let order = placed.request.order();
            let block = self.taken(mm, pfn, order.pages())?;
            let zone = ZoneId::new(block.nid, block.zone);
            if let Some(page) = mm.sparse.page(pfn) {
                // Of one that may only be given up, too: it is not shared. Before anybody
                // knows of it: from then on it may be given up, and be another's.
                page.set_movable(true);
            }
            let handle = self.handles.enter(room, file, pfn, order, zone, uses);
            Ok((block, handle))
        })
    }

    /// Allocates single pages in a row for an open file.
    pub(crate) fn alloc_exact(&self, placed: &Placed<'_>, pages: Pages) -> CoreResult<Block> {
        self.with_mm(|mm| {
            let take = |request: &AllocRequest| mm.allocator().alloc_exact(request, pages);
            let pfn = placed.take(mm, take)?;
            let block = self.taken(mm, pfn, pages)?;
            hold(mm, (0..pages.0).map(|i| pfn + Pages(i)));
            Ok(block)
        })
    }

    /// Allocates single pages for an open file: how many.
    pub(crate) fn alloc_bulk(&self, placed: &Placed<'_>, pages: &mut [Pfn]) -> CoreResult<usize> {
        self.with_mm(|mm| {
            let allocator = mm.allocator();
            let taken = if placed.request.nid() == NodeId::NONE {
                let (request, policy) = (&placed.request, placed.policy);
                let policies = mm.policies();
                policies.alloc_bulk(&allocator, request, policy, placed.prev, pages)?
            } else {
                allocator.alloc_bulk(&placed.request, pages)?
            };
            self.held_pages.fetch_add(taken as u64, Relaxed);
            hold(mm, pages.iter().take(taken).copied());
            Ok(taken)
        })
    }

    /// Allocates pages in a row for an open file: wherever they can be had, or
    /// from `at` on.
    pub(crate) fn alloc_contig(
        &self,
        placed: &Placed<'_>,
        pages: Pages,
        at: Option<Pfn>,
    ) -> CoreResult<Block> {
        self.with_mm(|mm| {
            let allocator = mm.allocator();
            let pfn = match at {
                None => placed.take(mm, |request| allocator.alloc_contig(request, pages))?,
                Some(start) => {
                    let end = start.0.checked_add(pages.0).ok_or(Error::ForeignPfn)?;
                    let range = PfnRange {
                        start,
                        end: Pfn(end),
                    };
                    allocator.alloc_range(range, placed.request.gfp())?;
                    start
                }
            };
            let block = self.taken(mm, pfn, pages)?;
            if !placed.request.gfp().has(gfp::__GFP_COMP) {
                hold(mm, (0..pages.0).map(|i| pfn + Pages(i)));
            }
            Ok(block)
        })
    }

    /// Says that a block is an open file's.
    fn taken(&self, mm: &Mm<'_>, pfn: Pfn, pages: Pages) -> CoreResult<Block> {
        self.held_pages.fetch_add(pages.0, Relaxed);
        hold(mm, [pfn].into_iter());
        let page = mm.sparse.page(pfn).ok_or(Error::Corrupt)?;
        Ok(Block {
            pfn,
            nid: page.nid(),
            zone: page.zone(),
        })
    }

    /// Gives up a reference of an open file's to a block that it holds: how
    /// many there still are.
    pub(crate) fn free(&self, pfn: Pfn, order: PageOrder) -> u32 {
        let _nobody_joins = self.sharing.read();
        self.with_mm(|mm| Ok(self.free_in(mm, pfn, order)))
            .unwrap_or(0)
    }

    /// The same, for somebody who has the memory manager at hand. A block that
    /// others can't join.
    pub(crate) fn free_in(&self, mm: &Mm<'_>, pfn: Pfn, order: PageOrder) -> u32 {
        self.given_up(mm, pfn, order, mm.allocator().put(pfn))
    }

    /// The same for all that an open file still has.
    pub(crate) fn free_batch(&self, blocks: &[(Pfn, PageOrder)]) {
        let _nobody_joins = self.sharing.read();
        let _ = self.with_mm(|mm| {
            let mut pfns = [Pfn(0); BATCH];
            for blocks in slices::batches(blocks, BATCH) {
                let mut orders = blocks.iter().map(|&(_, order)| order);
                for (slot, &(pfn, _)) in pfns.iter_mut().zip(blocks) {
                    *slot = pfn;
                }
                let pfns = pfns.get(..blocks.len()).unwrap_or(&[]);
                mm.allocator().put_batch(pfns, &mut |pfn, put| {
                    self.given_up(mm, pfn, orders.next().unwrap_or_default(), put);
                });
            }
            Ok(())
        });
    }

    /// Notes what came of giving a reference up.
    fn given_up(&self, mm: &Mm<'_>, pfn: Pfn, order: PageOrder, put: CoreResult<bool>) -> u32 {
        if let Ok(false) = put {
            return mm.sparse.page(pfn).map_or(1, |page| page.count().max(1));
        }
        // Whatever came of it, the file does not hold it any more.
        self.held_pages.fetch_sub(order.pages().0, Relaxed);
        if let Err(error) = put {
            pr_err!("a held block could not be freed: {}\n", error.sentence());
        }
        0
    }

    /// Gives up a reference of an open file's to each of these single pages,
    /// which it holds.
    pub(crate) fn free_bulk(&self, pages: &[Pfn]) {
        let _nobody_joins = self.sharing.read();
        let _ = self.with_mm(|mm| {
            let allocator = mm.allocator();
            let is_sole = |pfn: &Pfn| mm.sparse.page(*pfn).is_some_and(PageDescriptor::is_sole);
            for pages in slices::stretches(pages, |a, b| is_sole(a) && is_sole(b)) {
                match pages {
                    // Whether that was the last reference is seen by giving it up.
                    &[pfn] => {
                        let put = allocator.put(pfn);
                        self.given_up(mm, pfn, PageOrder::ZERO, put);
                    }
                    pages => {
                        let freed = allocator.free_bulk(pages);
                        // Whatever came of it, the file does not hold them any more.
                        self.held_pages.fetch_sub(pages.len() as u64, Relaxed);
                        if freed != pages.len() {
                            let left = pages.len() - freed;
                            pr_err!("{left} held blocks could not be freed\n");
                        }
                    }
                }
            }
            Ok(())
        });
    }

    /// Splits a block that an open file holds.
    pub(crate) fn split(&self, pfn: Pfn, order: PageOrder, to: PageOrder) -> CoreResult<()> {
        let _nobody_joins = self.sharing.read();
        self.with_mm(|mm| {
            check_stays(mm, pfn)?;
            mm.allocator().split(pfn, order, to)?;
            let step = 1usize << to.get();
            hold(
                mm,
                (0..order.pages().0).step_by(step).map(|i| pfn + Pages(i)),
            );
            Ok(())
        })
    }

    /// Merges blocks that an open file holds.
    pub(crate) fn merge(&self, pfn: Pfn, order: PageOrder) -> CoreResult<()> {
        let _nobody_joins = self.sharing.read();
        self.with_mm(|mm| {
            for i in 0..order.pages().0 {
                check_stays(mm, pfn + Pages(i))?;
            }
            mm.allocator().merge(pfn, order)?;
            hold(mm, [pfn].into_iter());
            Ok(())
        })
    }

    /// One reference more for somebody who has one: how many there are.
    pub(crate) fn get_again(&self, pfn: Pfn) -> CoreResult<u32> {
        self.with_mm(|mm| {
            check_stays(mm, pfn)?;
            mm.allocator().get(pfn)?;
            Ok(mm.sparse.page(pfn).map_or(0, |page| page.count()))
        })
    }

    /// A reference for an open file that has none, to a block that another
    /// holds: the block's order, and how many there are.
    pub(crate) fn get_of_others(&self, pfn: Pfn) -> CoreResult<(PageOrder, u32)> {
        let _nobody_leaves = self.sharing.write();
        self.with_mm(|mm| {
            let page = mm.sparse.page(pfn).ok_or(Error::ForeignPfn)?;
            mm.allocator().allocated_order(pfn)?;
            // A block that compaction is about to fill becomes both, or neither again.
            match page.is_held_and_movable() {
                (true, false) => mm.allocator().get(pfn)?,
                (true, true) => return Err(Error::MayMove),
                (false, _) => return Err(Error::NotShareable),
            }
            Ok((page.order(), page.count()))
        })
    }

    /// Why a page that an open file does not hold can't be freed by it.
    pub(crate) fn why_not_ours(&self, pfn: Pfn, order: PageOrder) -> Error {
        let verdict = self.with_mm(|mm| mm.allocator().check_free(pfn, order));
        verdict.err().unwrap_or(Error::NotOwner)
    }

    /// The same where no order was named.
    pub(crate) fn why_not_held(&self, pfn: Pfn) -> Error {
        let order = self.with_mm(|mm| mm.allocator().allocated_order(pfn));
        order.err().unwrap_or(Error::NotOwner)
    }

    /// Says in the log what is there.
    pub(crate) fn announce(&self) {
        let state = self.state.read();
        if let Some(boot) = &state.boot {
            if let Some(error) = boot.crash().refused {
                pr_warn!("crashkernel=: {}\n", error.sentence());
            }
            let ns: u64 = boot.ns().iter().sum();
            pr_info!(
                "region of {} MiB, stage {}, boot took {} us\n",
                self.host.pages() >> 8,
                boot.stage().name(),
                ns / 1000
            );
        }
    }

    /// Checks every invariant: how many pages were looked at, and a sentence
    /// in `what` about the one that does not hold.
    pub(crate) fn validate(&self, what: &mut dyn fmt::Write) -> CoreResult<u64> {
        match self.with_boot(|boot| boot.validate())? {
            Ok(pages) => Ok(pages.0),
            Err(flaw) => {
                // What does not fit is left out.
                let _ = write!(what, "{flaw}");
                Ok(0)
            }
        }
    }

    /// Writes the value of a file of `/proc/shadowmm/vm`.
    pub(crate) fn write_tunable(&self, which: Tunable, out: &mut dyn fmt::Write) -> CoreResult<()> {
        let values = self.with_boot(|boot| boot.tunable(which))?;
        writeln!(out, "{values}").map_err(|_| Error::Corrupt)
    }

    /// Turns a knob as the text says that was written to its file. Everybody else
    /// waits meanwhile.
    pub(crate) fn tune(&self, which: Tunable, text: &str) -> CoreResult<usize> {
        let _turn = self.turn.lock();
        let mut state = self.state.write();
        let boot = state.boot.as_mut().ok_or(Error::BootFailed)?;
        boot.tune(which, text)
    }

    /// Writes the text of a file of `/proc/shadowmm`.
    pub(crate) fn write_text(&self, file: u32, out: &mut dyn fmt::Write) -> CoreResult<()> {
        match Text::ALL.get(file as usize) {
            Some(&text) => self.with_boot(|boot| boot.write(text, out)),
            // The files behind the last of the boot's texts.
            None if file as usize == Text::ALL.len() => {
                self.refusals.write(out).map_err(|_| Error::Corrupt)
            }
            None if file as usize == Text::ALL.len() + 1 => failure::write(out),
            None if file as usize == Text::ALL.len() + 2 => {
                slab_report::write(out).map_err(|_| Error::Corrupt)
            }
            None => self.users.write(out).map_err(|_| Error::Corrupt),
        }
    }

    /// Writes the text of a file of `/proc/shadowmm/nodeN`.
    pub(crate) fn write_node_text(
        &self,
        nid: NodeId,
        file: u32,
        out: &mut dyn fmt::Write,
    ) -> CoreResult<()> {
        let file = NodeFile::ALL.get(file as usize).ok_or(Error::BadKind)?;
        self.with_boot(|boot| boot.write_node(nid, *file, out))
    }

    /// The nodes that the boot has brought up, as bits.
    pub(crate) fn nodes_online(&self) -> u64 {
        let online = self.with_boot(|boot| {
            let nodes = boot.nodes()?.online();
            let bits = nodes.filter_map(|node| 1u64.checked_shl(node.node_id.0 as u32));
            Ok(bits.fold(0, |all, bit| all | bit))
        });
        online.unwrap_or(0)
    }

    /// Counts an open file, and gives it a number of its own.
    pub(crate) fn file_opened(&self) -> u64 {
        self.open_files.fetch_add(1, Relaxed);
        self.last_file.fetch_add(1, Relaxed) + 1
    }

    /// Counts one less.
    pub(crate) fn file_closed(&self) {
        self.open_files.fetch_sub(1, Relaxed);
    }

    /// Counts a request that nobody knows.
    pub(crate) fn unknown_ioctl(&self) {
        self.refusals.count(Error::UnknownRequest);
    }

    pub(crate) fn held_pages(&self) -> u64 {
        self.held_pages.load(Relaxed)
    }

    pub(crate) fn open_files(&self) -> u32 {
        self.open_files.load(Relaxed)
    }
}
