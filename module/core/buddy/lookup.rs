// SPDX-License-Identifier: GPL-2.0

//! What a page is, from the descriptors alone: the block that it lies in, why it
//! can't be freed, and at which order it could.
//!
//! Both page managers keep these states in these descriptors, so the answers are the same
//! for both. Without the lock of whoever owns the blocks they may be old at once; and
//! whoever has the block may split, merge or free it while it is looked for, so that what
//! can't be is only so if it is time after time.

use super::allocator::BlockInfo;
use super::MemMap;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pfn;

/// How often what can't be is looked at again.
const LOOKS: usize = 16;

/// The block that a page lies in; `None` when there is no such page.
pub(crate) fn block_of(map: &impl MemMap, pfn: Pfn) -> Option<BlockInfo> {
    let page = map.page(pfn)?;
    let mut block = BlockInfo {
        head: pfn,
        order: PageOrder::ZERO,
        state: PageState::Hole,
    };
    for _ in 0..LOOKS {
        (block.state, block.order) = page.state_and_order();
        let around = match block.state {
            PageState::Tail => around(map, pfn),
            PageState::SlabTail => slab_of(map, pfn),
            _ => Some(block),
        };
        if let Some(found) = around {
            block = found;
            break;
        }
    }
    // Whether a free block is a CPU's or the zone's is nobody's affair.
    if block.state == PageState::Pageset {
        block.state = PageState::Buddy;
    }
    Some(block)
}

/// Whether the block at `pfn` could be freed at this order.
///
/// # Errors
///
/// Those of [`PageAllocator::free`].
///
/// [`PageAllocator::free`]: super::PageAllocator::free
pub(crate) fn check_free(map: &impl MemMap, pfn: Pfn, order: PageOrder) -> Result<()> {
    let page = map.page(pfn).ok_or(Error::ForeignPfn)?;
    match page.is_allocated(order) {
        true => Ok(()),
        false => Err(free_refusal(map, pfn, page)),
    }
}

/// Why this page can't be freed at the order asked for.
#[cold]
pub(crate) fn free_refusal(map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) -> Error {
    let mut refusals = (0..LOOKS).map(|_| refusal(map, pfn, page.state()));
    let known = refusals.find(|&refusal| refusal != Error::Corrupt);
    known.unwrap_or(Error::Corrupt)
}

/// The order of the allocated block that starts at `pfn`, and that could be freed at it.
///
/// # Errors
///
/// Those of [`PageAllocator::free`], but for an order that is not the block's.
///
/// [`PageAllocator::free`]: super::PageAllocator::free
pub(crate) fn allocated_order(map: &impl MemMap, pfn: Pfn) -> Result<PageOrder> {
    let page = map.page(pfn).ok_or(Error::ForeignPfn)?;
    for _ in 0..LOOKS {
        // In one look: a block that somebody splits meanwhile has one order or the other.
        match page.state_and_order() {
            (PageState::Allocated, order) => return Ok(order),
            (state, _) => match refusal(map, pfn, state) {
                Error::Corrupt => {}
                refusal => return Err(refusal),
            },
        }
    }
    Err(Error::Corrupt)
}

/// Why a page in this state can't be freed, if `pfn` is in no other by now.
fn refusal(map: &impl MemMap, pfn: Pfn, state: PageState) -> Error {
    match state {
        PageState::Hole => Error::ForeignPfn,
        PageState::Reserved => Error::PageReserved,
        PageState::Buddy | PageState::Pageset => Error::DoubleFree,
        PageState::Slab | PageState::SlabTail => Error::SlabPage,
        PageState::Allocated => Error::WrongOrder,
        PageState::Tail => match around(map, pfn) {
            Some(block) if block.state == PageState::Allocated => Error::NotBlockHead,
            Some(_) => Error::DoubleFree,
            None => Error::Corrupt,
        },
    }
}

/// The block whose inside `pfn` lies in: at each larger order, the only
/// page where it could start is looked at.
fn around(map: &impl MemMap, pfn: Pfn) -> Option<BlockInfo> {
    PageOrder::all().skip(1).find_map(|order| {
        let head = pfn.align_down(order);
        let (state, order) = map.page(head)?.state_and_order();
        let is_head = matches!(
            state,
            PageState::Buddy | PageState::Allocated | PageState::Pageset
        );
        let reaches = pfn < head + order.pages();
        (is_head && reaches).then_some(BlockInfo { head, order, state })
    })
}

/// The slab that a page behind its first lies in.
fn slab_of(map: &impl MemMap, pfn: Pfn) -> Option<BlockInfo> {
    let head = map.page(pfn)?.slab_head(pfn)?;
    let (state, order) = map.page(head)?.state_and_order();
    let reaches = head <= pfn && pfn < head + order.pages();
    (state == PageState::Slab && reaches).then_some(BlockInfo { head, order, state })
}
