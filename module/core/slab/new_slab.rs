// SPDX-License-Identifier: GPL-2.0

//! A slab is made of pages of the page allocator, and goes back to it
//! (`allocate_slab`, `__free_slab`).

use super::flags::SlabFlags;
use super::object::Constructor;
use super::page::Slab;
use super::state::CacheCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::gfp;
use crate::buddy::AllocRequest;
use crate::buddy::Gfp;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// How many blocks that are not in one piece in the host are put aside before a
/// request for a slab is given up.
const MAX_ASIDE: usize = 4;

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
    /// A block of pages for a slab, in one piece of host memory. What is not is
    /// kept until another is found, or it would come again.
    fn alloc_slab_page(&self, gfp: Gfp, order: PageOrder, nid: NodeId) -> Result<Pfn> {
        let request = AllocRequest::new(gfp, order).on(nid);
        let pages = self.mm.allocator();
        let mut aside = [None; MAX_ASIDE];
        let mut found = Err(Error::NoMemory);
        for place in &mut aside {
            found = pages.alloc(&request);
            let Ok(pfn) = found else {
                break;
            };
            let page = self.page(pfn).ok_or(Error::Corrupt)?;
            if self.words(page.nid(), Slab::range(pfn, page)).is_some() {
                break;
            }
            *place = Some(pfn);
            found = Err(Error::NoMemory);
        }
        for pfn in aside.into_iter().flatten() {
            pages.free(pfn, order)?;
        }
        found
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
        let (pfn, fell_back) = match self.alloc_slab_page(first, order, nid) {
            Ok(pfn) => (pfn, false),
            Err(_) => (self.alloc_slab_page(plain, min, nid)?, true),
        };
        let page = self.page(pfn).ok_or(Error::Corrupt)?;
        let words = self.words(page.nid(), Slab::range(pfn, page));
        let words = words.ok_or(Error::Corrupt)?;
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
        page.set_slab_counts(None, 0);
        let order = page.order();
        for i in 1..order.pages().0 {
            if let Some(tail) = self.page(pfn + Pages(i)) {
                tail.set_slab_tail(pfn, shape.id);
            }
        }
        page.set_slab(order, shape.id);
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
        match self.mm.allocator().free(pfn, order) {
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
            for index in 0..slab.objects {
                slab.fill(shape, index, byte);
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
