// SPDX-License-Identifier: GPL-2.0

//! Blocks that become smaller ones, or one larger: what changes in the
//! descriptors, for every page allocator. Whoever calls has the lock that
//! guards them.
//!
//! ```text
//! page     0       1       2       3
//!        [ 4, one reference              ]
//!        [ 2, one        ][ 2, one       ]   divided to order 1
//!        [ 1 ][ 1 ]       [ 2, one       ]   and the first half to order 0
//!        [ 4, one reference              ]   joined
//! ```
//!
//! Only allocated blocks that one owner needs are divided or joined: nobody else
//! would know what became of his.

use super::MemMap;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;

/// Whether one owner alone needs the block that starts at `page`.
pub(crate) fn check_sole(page: &PageDescriptor) -> Result<()> {
    match page.is_sole() {
        true => Ok(()),
        false => Err(Error::Shared),
    }
}

/// Makes blocks of order `to` of an allocated block of `order`.
pub(crate) fn divide(map: &impl MemMap, pfn: Pfn, order: PageOrder, to: PageOrder) {
    let step = to.pages().0.max(1);
    // The first page last: until then the others lie in its block.
    for i in (0..order.pages().0 / step).rev() {
        if let Some(page) = map.page(pfn + Pages(i.saturating_mul(step))) {
            page.set_state(PageState::Allocated, to);
            page.set_count(1);
        }
    }
}

/// Makes one block of `order` of single pages that are on their way to a free list.
pub(crate) fn gather(map: &impl MemMap, pfn: Pfn, order: PageOrder) {
    for i in 1..order.pages().0 {
        if let Some(page) = map.page(pfn + Pages(i)) {
            page.set_state(PageState::Tail, PageOrder::ZERO);
        }
    }
    if let Some(page) = map.page(pfn) {
        page.set_state(PageState::Pageset, order);
    }
}

/// Calls `each` with the first page of every block inside the block of `order`
/// at `pfn`, and stops at the first that it refuses.
///
/// # Errors
///
/// [`Error::BadPieces`] when they don't fill it, or one block does; those of
/// [`check_sole`], and of `each`.
pub(crate) fn for_each<M: MemMap>(
    map: &M,
    pfn: Pfn,
    order: PageOrder,
    mut each: impl FnMut(Pfn, &PageDescriptor) -> Result<()>,
) -> Result<()> {
    if !pfn.is_aligned(order) {
        return Err(Error::BadPieces);
    }
    let zone = map.page(pfn).ok_or(Error::ForeignPfn)?.zone_id();
    let mut done = Pages::ZERO;
    while done < order.pages() {
        let at = pfn + done;
        let page = map.page(at).ok_or(Error::BadPieces)?;
        if page.zone_id() != zone {
            return Err(Error::BadPieces);
        }
        each(at, page)?;
        check_sole(page)?;
        done += page.order().pages();
        if page.order() >= order || done > order.pages() {
            return Err(Error::BadPieces);
        }
    }
    Ok(())
}

/// Makes one block of those inside it, which [`for_each`] has walked.
pub(crate) fn join(map: &impl MemMap, pfn: Pfn, order: PageOrder) {
    if let Some(page) = map.page(pfn) {
        page.set_state(PageState::Allocated, order);
    }
    for i in 1..order.pages().0 {
        if let Some(page) = map.page(pfn + Pages(i)) {
            page.set_state(PageState::Tail, PageOrder::ZERO);
            page.set_count(0);
        }
    }
}
