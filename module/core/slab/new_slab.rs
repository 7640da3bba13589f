// SPDX-License-Identifier: GPL-2.0

//! A slab is made of pages of the page allocator, and goes back to it
//! (`allocate_slab`, `__free_slab`).

use super::flags::SlabFlags;
use super::object::CacheId;
use super::object::Constructor;
use super::page::Slab;
use super::state::CacheCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::allocator::Allocator;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::Gfp;
use crate::buddy::PageAllocator;
use crate::buddy::PageRef;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How many blocks that are not in one piece in the host are put aside before a
/// request for a slab is given up.
const MAX_ASIDE: usize = 4;

/// Pages that were taken for a slab.
struct Block<'m> {
    pfn: Pfn,
    page: &'m PageDescriptor,
    words: &'m [AtomicU64],
}

/// What of a request's flags concerns the pages of a new slab (`new_slab`): all
/// but those for what the object is to be, or where.
#[inline]
pub(super) fn page_gfp(gfp: Gfp, flags: SlabFlags, order: PageOrder) -> Gfp {
    let dropped = gfp::GFP_ZONEMASK
        | gfp::__GFP_RECLAIMABLE
        | gfp::__GFP_ZERO
        | gfp::__GFP_WRITE
        | gfp::__GFP_COMP
        | gfp::__GFP_ACCOUNT
        | gfp::__GFP_ZEROTAGS;
    let mut gfp = gfp.without(dropped);
    for (flag, adds) in [
        (SlabFlags::CACHE_DMA, gfp::__GFP_DMA),
        (SlabFlags::CACHE_DMA32, gfp::__GFP_DMA32),
        (SlabFlags::RECLAIM_ACCOUNT, gfp::__GFP_RECLAIMABLE),
    ] {
        if flags.has(flag) {
            gfp = gfp | adds;
        }
    }
    match order {
        PageOrder::ZERO => gfp,
        _ => gfp | gfp::__GFP_COMP,
    }
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// A block of pages for a slab, in one piece of host memory.
    #[inline]
    fn alloc_slab_page(&self, gfp: Gfp, order: PageOrder, nid: NodeId) -> Result<Block<'m>> {
        let request = AllocRequest::new(gfp, order).on(nid);
        let pfn = self.mm.allocator().alloc(&request)?;
        match self.block(pfn) {
            Some(block) => Ok(block),
            None => self.alloc_other_page(&request, pfn),
        }
    }

    /// The block that begins at `pfn`, if it is in one piece of host memory.
    #[inline]
    fn block(&self, pfn: Pfn) -> Option<Block<'m>> {
        let page = self.page(pfn)?;
        let words = self.words(page.nid(), Slab::range(pfn, page))?;
        Some(Block { pfn, page, words })
    }

    /// Another block than that at `first`. What is not in one piece is kept until one
    /// is found, or it would come again.
    #[cold]
    #[inline(never)]
    fn alloc_other_page(&self, request: &AllocRequest, first: Pfn) -> Result<Block<'m>> {
        let pages = self.mm.allocator();
        let mut aside = [None; MAX_ASIDE];
        let mut found = Err(Error::NoMemory);
        let mut next = Ok(first);
        for place in &mut aside {
            *place = next.ok();
            next = pages.alloc(request);
            found = next.and_then(|pfn| self.block(pfn).ok_or(Error::NoMemory));
            if found.is_ok() {
                next = Err(Error::NoMemory);
                break;
            }
        }
        let aside = aside.into_iter().chain([next.ok()]);
        for pfn in aside.flatten() {
            // It was just taken, and the allocator counts a refusal.
            let _ = pages.free(pfn, request.order());
        }
        found
    }

    /// Whether there is no memory for a new slab of a cache, be it of the least order: no
    /// zone that its slabs come from has a block for one above its min watermark. Where
    /// there are no watermarks, a block is taken and given back.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`], and those of a request that can't be.
    pub fn is_short(&self, id: CacheId, gfp: Gfp) -> Result<bool> {
        let geometry = {
            let _pinned = self.platform().pin_cpu();
            self.table().cache(id)?.geometry()
        };
        let order = geometry.min_order;
        let request = AllocRequest::new(page_gfp(gfp, geometry.flags, order), order);
        match self.mm.allocator() {
            Allocator::Buddy(buddy) => Ok(!buddy.is_above_min(&request)?),
            Allocator::Cosmos(pages) => match pages.alloc(&request) {
                Ok(pfn) => pages.free(pfn, order).map(|()| false),
                Err(_) => Ok(true),
            },
        }
    }

    /// A new slab, on no list, which is still to begin ([`Slab::begin`]), and whether
    /// it is smaller than wished for (`allocate_slab`). The caller is not pinned and
    /// holds no lock.
    ///
    /// # Errors
    ///
    /// Those of the page allocator; [`Error::ConstructorFailed`].
    pub(super) fn new_slab(
        &self,
        cache: Option<&CacheCells>,
        shape: &Shape,
        gfp: Gfp,
        nid: NodeId,
    ) -> Result<(Slab<'m>, bool)> {
        let geometry = &shape.geometry;
        let (order, min) = (geometry.order, geometry.min_order);
        let plain = page_gfp(gfp, geometry.flags, min);
        // The larger block is worth no effort: there is a smaller one.
        let mut first = page_gfp(gfp, geometry.flags, order) | gfp::__GFP_NOWARN;
        first = (first | gfp::__GFP_NORETRY).without(gfp::__GFP_NOFAIL);
        if first.has(gfp::__GFP_DIRECT_RECLAIM) && order > min {
            first = (first | gfp::__GFP_NOMEMALLOC).without(gfp::__GFP_RECLAIM);
        }
        let (block, fell_back) = match self.alloc_slab_page(first, order, nid) {
            Ok(block) => (block, false),
            Err(_) => (self.alloc_slab_page(plain, min, nid)?, true),
        };
        let Block { pfn, page, words } = block;
        let slab = Slab::new(pfn, page, words, shape);
        self.set_up_checked(shape, &slab);
        // First the objects, then the free pointers, which may lie in them: as in
        // Linux, a constructor leaves that place alone, or what it writes is lost.
        let constructed = cache.map_or(Ok(()), |cache| construct(cache, shape, &slab));
        if let Err(error) = constructed {
            // It is an allocated block still.
            self.mm.allocator().free(pfn, page.order())?;
            return Err(error);
        }
        let order = page.order();
        for i in 1..order.pages().0 {
            if let Some(tail) = self.page(pfn + Pages(i)) {
                tail.set_slab_tail(pfn, shape.id);
            }
        }
        page.set_slab(order, shape.id);
        // Until now they were the block's references.
        page.set_slab_counts(None, 0);
        if cache.is_some() {
            self.watch_new(shape, &slab);
        }
        Ok((slab, fell_back))
    }

    /// Gives a slab's pages back; it is on no list (`__free_slab`). May be called
    /// pinned. How many pages that are.
    pub(super) fn free_slab(&self, pfn: Pfn, page: &PageDescriptor) -> Pages {
        let (order, zone) = (page.order(), page.zone_id());
        for i in 1..order.pages().0 {
            if let Some(tail) = self.page(pfn + Pages(i)) {
                tail.set_next(None);
                tail.set_tail_in(zone);
            }
        }
        page.set_count(1);
        page.set_allocated_in(zone, order);
        match self.mm.allocator().free_page(PageRef { pfn, page }, order) {
            Ok(()) => order.pages(),
            // The page allocator has counted it.
            Err(_) => Pages::ZERO,
        }
    }
}

/// Runs the constructor on all objects of a slab (`setup_object`).
///
/// # Errors
///
/// [`Error::ConstructorFailed`] for the first that it refuses.
fn construct(cache: &CacheCells, shape: &Shape, slab: &Slab<'_>) -> Result<()> {
    match cache.ctor() {
        Constructor::None => {}
        Constructor::Fill(byte) => {
            let size = Bytes(shape.geometry.object_size.into());
            for index in 0..slab.objects {
                slab.fill(shape, index, size, byte);
            }
            cache.constructed.fetch_add(slab.objects.into(), Relaxed);
        }
        Constructor::FailAfter(count) => {
            for _ in 0..slab.objects {
                if cache.constructed.load(Relaxed) >= count.into() {
                    return Err(Error::ConstructorFailed);
                }
                cache.constructed.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}
