// SPDX-License-Identifier: GPL-2.0

//! The shadow's page allocator measured beside the host's, in the same boot and
//! by the same loops (bench/shapes.rs).
//!
//! ```text
//! request -> [ make ready ] -> shadow, host, shadow, host ... -> [ put in order ]
//!                              a block each, by the time-stamp counter
//! ```
//!
//! The shadow is asked through the trait of page allocators, for pages by reference,
//! as code in the kernel would; the host through `alloc_pages()` and
//! `__free_pages()`, as its drivers do.

pub(crate) mod lookups;
#[expect(
    unreachable_pub,
    reason = "the same file is a public module of tests/bench"
)]
mod object_shapes;
pub(crate) mod objects;
#[expect(
    unreachable_pub,
    reason = "the same file is a public module of tests/bench"
)]
mod shapes;
#[expect(
    unreachable_pub,
    reason = "the same file is a public module of tests/bench"
)]
mod sizes;

use crate::abi;
use crate::bindings;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use crate::uapi;
use crate::users::check_admin;
use core::arch::asm;
use core::ptr;
use kernel::ffi::c_long;
use kernel::ffi::c_void;
use kernel::prelude::*;
use shadowmm_core::allocator::Allocator;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::PageRef;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::PageOrder;
use shapes::Lots;
use shapes::Shape;
use shapes::Side;

/// The lots of every measurement.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The shadow's allocator.
struct Ours<'a, 'm, A> {
    allocator: &'a A,
    mm: &'a Mm<'m>,
}

impl<'a, A: PageAllocator> Side for Ours<'a, '_, A> {
    type Block = PageRef<'a>;
    type Request = AllocRequest;

    fn none() -> PageRef<'a> {
        PageRef::none()
    }

    #[inline(always)]
    fn request(&self, order: u32) -> AllocRequest {
        let order = PageOrder::new(order).unwrap_or(PageOrder::MAX);
        AllocRequest::new(gfp::GFP_KERNEL, order)
    }

    #[inline(always)]
    fn constant<const ORDER: u32>() -> Option<&'static AllocRequest> {
        Some(
            const {
                &match PageOrder::new(ORDER) {
                    Some(order) => AllocRequest::new(gfp::GFP_KERNEL, order),
                    None => panic!("no order of the buddy system"),
                }
            },
        )
    }

    #[inline(always)]
    fn alloc(&self, request: &AllocRequest) -> Option<PageRef<'a>> {
        self.allocator.alloc_page(request).ok()
    }

    #[inline(always)]
    fn free(&self, block: PageRef<'a>, request: &AllocRequest) {
        if let Err(error) = self.allocator.free_page(block, request.order()) {
            not_freed(error);
        }
    }

    #[inline(always)]
    fn alloc_here(&self, request: &AllocRequest) -> Option<PageRef<'a>> {
        self.allocator.alloc_page_here(request).ok()
    }

    #[inline(always)]
    fn free_here(&self, block: PageRef<'a>, request: &AllocRequest) {
        if let Err(error) = self.allocator.free_page_here(block, request.order()) {
            not_freed(error);
        }
    }

    #[inline]
    fn alloc_bulk(&self, request: &AllocRequest, blocks: &mut [PageRef<'a>]) -> usize {
        self.allocator.alloc_page_bulk(request, blocks).unwrap_or(0)
    }

    #[inline]
    fn free_bulk(&self, blocks: &[PageRef<'a>], _request: &AllocRequest) {
        if self.allocator.free_page_bulk(blocks) != blocks.len() {
            not_freed(Error::Corrupt);
        }
    }

    fn drain(&self) {
        if let Allocator::Buddy(buddy) = self.mm.allocator() {
            buddy.drain_all_pages();
        }
    }
}

#[cold]
fn not_freed(error: Error) {
    pr_err!(
        "bench: a held block could not be freed: {}\n",
        error.sentence()
    );
}

/// The host's.
struct Host;

/// What the host is asked for.
struct HostRequest {
    gfp: kernel::bindings::gfp_t,
    order: u32,
}

impl Side for Host {
    type Block = *mut kernel::bindings::page;
    type Request = HostRequest;

    fn none() -> Self::Block {
        ptr::null_mut()
    }

    fn request(&self, order: u32) -> HostRequest {
        HostRequest {
            gfp: kernel::bindings::GFP_KERNEL,
            order,
        }
    }

    #[inline(always)]
    fn constant<const ORDER: u32>() -> Option<&'static HostRequest> {
        Some(
            const {
                &HostRequest {
                    gfp: kernel::bindings::GFP_KERNEL,
                    order: ORDER,
                }
            },
        )
    }

    #[inline]
    fn alloc(&self, request: &HostRequest) -> Option<Self::Block> {
        // SAFETY: The caller may sleep; the order is below 11.
        let page = unsafe { kernel::bindings::alloc_pages_noprof(request.gfp, request.order) };
        (!page.is_null()).then_some(page)
    }

    #[inline]
    fn free(&self, block: Self::Block, request: &HostRequest) {
        // SAFETY: `alloc` gave it, and nobody else knows it.
        unsafe { kernel::bindings::__free_pages(block, request.order) };
    }

    #[inline]
    fn alloc_bulk(&self, request: &HostRequest, blocks: &mut [Self::Block]) -> usize {
        // SAFETY: The places are valid and empty, and the caller may sleep.
        let taken = unsafe {
            kernel::bindings::alloc_pages_bulk_noprof(
                request.gfp,
                bindings::shadowmm_bench_node(),
                ptr::null_mut(),
                blocks.len() as i32,
                blocks.as_mut_ptr(),
            )
        };
        taken as usize
    }

    /// Modules have no such call.
    #[inline]
    fn free_bulk(&self, blocks: &[Self::Block], request: &HostRequest) {
        for &block in blocks {
            self.free(block, request);
        }
    }

    /// Modules have no such call either; but whoever wants a page block in one
    /// piece has the CPUs' pages of its zone drained first.
    fn drain(&self) {
        let pages = PageOrder::PAGEBLOCK.pages().0 as usize;
        // SAFETY: The caller may sleep, and the pages are freed as they came.
        unsafe {
            let nid = bindings::shadowmm_bench_node();
            let first = bindings::shadowmm_alloc_contig(pages, nid);
            if !first.is_null() {
                let pfn = bindings::shadowmm_page_to_pfn(first);
                kernel::bindings::free_contig_range(pfn, pages);
            }
        }
    }
}

/// The CPU's time-stamp counter, when all before has been done. Under QEMU's
/// -icount it counts instructions.
fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// A side with what its blocks need.
struct Bench<S: Side> {
    side: S,
    blocks: KVVec<S::Block>,
    /// How many blocks in front are held all the time.
    held: usize,
    lots: Lots,
    ticks: KVVec<u64>,
}

impl<S: Side> Bench<S> {
    fn new(side: S, request: &uapi::shadowmm_bench, wanted: bool) -> Result<Self> {
        let no_memory = |_| Error::NoHostMemory;
        let mut blocks = KVVec::new();
        let mut ticks = KVVec::new();
        if wanted {
            let room = request.blocks as usize;
            blocks
                .resize(shapes::ROOM, S::none(), GFP_KERNEL)
                .map_err(no_memory)?;
            ticks.reserve(room, GFP_KERNEL).map_err(no_memory)?;
        }
        let mut bench = Self {
            side,
            blocks,
            held: 0,
            lots: Lots::new(SEED),
            ticks,
        };
        if wanted && request.head.flags & uapi::SHADOWMM_BENCH_FRAGMENTED != 0 {
            bench.held = shapes::fragment(&bench.side, &mut bench.blocks);
        }
        Ok(bench)
    }

    /// One block, unless the side is not wanted.
    fn block(&mut self, what: What) -> Result<()> {
        let free = self.blocks.get_mut(self.held..).unwrap_or_default();
        if free.is_empty() {
            return Ok(());
        }
        let ticks = match what {
            What::Here(shape) => shape.run(&self.side, free, &mut self.lots, &ticks),
            What::Exchange(cpu) => exchange(&self.side, cpu, free)?,
        };
        let ticks = ticks.ok_or(Error::NoMemory)?;
        self.ticks
            .push(ticks, GFP_KERNEL)
            .map_err(|_| Error::NoHostMemory)
    }
}

impl<S: Side> Drop for Bench<S> {
    fn drop(&mut self) {
        let request = self.side.request(0);
        let held = self.blocks.get(..self.held).unwrap_or_default();
        shapes::give_back(&self.side, &request, held);
    }
}

/// What a block is.
#[derive(Clone, Copy)]
enum What {
    /// A shape, on this CPU.
    Here(Shape),
    /// Pages are taken on that CPU and go back on this.
    Exchange(u32),
}

impl What {
    fn of(request: &uapi::shadowmm_bench) -> Result<Self> {
        match (request.shape, request.cpu) {
            (uapi::SHADOWMM_BENCH_EXCHANGE, _) if request.order != 0 => Err(Error::WrongOrder),
            (uapi::SHADOWMM_BENCH_EXCHANGE, cpu) => Ok(Self::Exchange(cpu)),
            (_, 0) => Ok(Self::Here(shape_of(request)?)),
            _ => Err(Error::CpuOffline),
        }
    }

    fn operations(self) -> usize {
        match self {
            Self::Here(shape) => shape.operations(),
            Self::Exchange(_) => shapes::BULK,
        }
    }
}

/// Does what a [`on_cpu`] was given.
///
/// # Safety
///
/// `work` leads to an `Option<F>`, which is nobody else's meanwhile.
unsafe extern "C" fn do_there<F: FnOnce()>(work: *mut c_void) -> c_long {
    // SAFETY: The caller's promise.
    let work = unsafe { &mut *work.cast::<Option<F>>() };
    if let Some(work) = work.take() {
        work();
    }
    0
}

/// Has something done on a CPU, and waits until it is. It must not care which
/// thread does it.
///
/// # Errors
///
/// [`Error::CpuOffline`] where there is no such CPU.
fn on_cpu<F: FnOnce()>(cpu: u32, work: F) -> Result<()> {
    let mut work = Some(work);
    // SAFETY: The work outlives the call, which waits until it is done, and it is
    // not touched meanwhile.
    let done = unsafe {
        let work: *mut Option<F> = &raw mut work;
        bindings::shadowmm_bench_on_cpu(cpu, Some(do_there::<F>), work.cast())
    };
    match done {
        0 => Ok(()),
        _ => Err(Error::CpuOffline),
    }
}

/// A block of pages that are taken on `cpu` and freed on this CPU: what both took
/// by the CPUs' counters; `None` when pages ran out.
fn exchange<S: Side>(side: &S, cpu: u32, blocks: &mut [S::Block]) -> Result<Option<u64>> {
    let blocks = blocks.get_mut(..shapes::BULK).unwrap_or_default();
    let request = side.request(0);
    let mut count = 0;
    let mut taking = 0;
    on_cpu(cpu, || {
        let start = ticks();
        count = shapes::take(side, &request, blocks);
        taking = ticks().wrapping_sub(start);
    })?;
    let taken = blocks.get(..count).unwrap_or_default();
    let start = ticks();
    shapes::give_back(side, &request, taken);
    let freeing = ticks().wrapping_sub(start);
    let all = taken.len() == shapes::BULK;
    Ok(all.then_some(taking.wrapping_add(freeing)))
}

fn shape_of(request: &uapi::shadowmm_bench) -> Result<Shape> {
    let order = request.order;
    if order > PageOrder::MAX.get().into() {
        return Err(Error::OrderTooLarge);
    }
    let shape = match request.shape {
        uapi::SHADOWMM_BENCH_PAIR => return Ok(Shape::HotPair(order)),
        uapi::SHADOWMM_BENCH_CALLED_PAIR => return Ok(Shape::CalledPair(order)),
        uapi::SHADOWMM_BENCH_ALLOC => Shape::Alloc,
        uapi::SHADOWMM_BENCH_FREE_IN_ORDER => Shape::FreeInOrder,
        uapi::SHADOWMM_BENCH_FREE_REVERSED => Shape::FreeReversed,
        uapi::SHADOWMM_BENCH_FREE_RANDOM => Shape::FreeRandom,
        uapi::SHADOWMM_BENCH_ALLOC_BULK => Shape::AllocBulk,
        uapi::SHADOWMM_BENCH_FREE_BULK => Shape::FreeBulk,
        uapi::SHADOWMM_BENCH_REFILL => Shape::Refill,
        uapi::SHADOWMM_BENCH_RETURN => Shape::Return,
        _ => return Err(Error::BadKind),
    };
    match order {
        0 => Ok(shape),
        _ => Err(Error::WrongOrder),
    }
}

/// Measures what `request` asks for.
pub(crate) fn run(shadow: &Shadow, request: &mut uapi::shadowmm_bench) -> Result<()> {
    check_admin()?;
    let what = What::of(request)?;
    let wanted = |without| request.head.flags & without == 0;
    let ours = wanted(uapi::SHADOWMM_BENCH_NO_SHADOW);
    let theirs = wanted(uapi::SHADOWMM_BENCH_NO_HOST);
    let in_range = (1..=uapi::SHADOWMM_BENCH_MAX_BLOCKS).contains(&request.blocks);
    if !in_range || !(ours || theirs) {
        return Err(Error::BadBlocks);
    }
    let wanted = (ours, theirs);
    let (ours, theirs, pagesets) = shadow.with_mm_unchanged(|mm| {
        let (ours, theirs) = match &mm.allocator() {
            Allocator::Buddy(allocator) => measure(Ours { allocator, mm }, request, what, wanted),
            allocator => measure(Ours { allocator, mm }, request, what, wanted),
        }?;
        Ok((ours, theirs, has_pagesets(mm)))
    })?;
    abi::write_array(request.shadow_ticks, &ours)?;
    abi::write_array(request.host_ticks, &theirs)?;
    request.done = ours.len().max(theirs.len()) as u32;
    request.operations = what.operations() as u32;
    request.pagesets = pagesets.into();
    // SAFETY: Both read what the boot has set.
    unsafe {
        request.tsc_khz = kernel::bindings::tsc_khz;
        request.host = bindings::shadowmm_bench_host();
    }
    Ok(())
}

/// What the blocks of both sides took.
fn measure<S: Side>(
    ours: S,
    request: &uapi::shadowmm_bench,
    what: What,
    wanted: (bool, bool),
) -> Result<(KVVec<u64>, KVVec<u64>)> {
    let mut ours = Bench::new(ours, request, wanted.0)?;
    let mut theirs = Bench::new(Host, request, wanted.1)?;
    for _ in 0..request.blocks {
        ours.block(what)?;
        theirs.block(what)?;
        if kernel::current!().signal_pending() {
            break;
        }
    }
    Ok((
        core::mem::take(&mut ours.ticks),
        core::mem::take(&mut theirs.ticks),
    ))
}

/// Whether CPUs keep pages of their own.
fn has_pagesets(mm: &Mm<'_>) -> bool {
    let mut zones = mm
        .nodes
        .zones()
        .map(|zone| ZoneId::new(zone.nid, zone.kind));
    zones.any(|id| {
        let pageset = mm.stats.pageset(CpuId(0), id);
        pageset.is_some_and(|pageset| pageset.limits().high_max != 0)
    })
}
