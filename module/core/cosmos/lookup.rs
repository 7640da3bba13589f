// SPDX-License-Identifier: GPL-2.0

//! What a page is, from the descriptors alone: the block that it lies in, and
//! why it can't be freed.
//!
//! The answers are those of the buddy system, because both keep the same
//! states in the same descriptors. Without the area's lock they may be old at
//! once.

use crate::buddy::slab_of;
use crate::buddy::BlockInfo;
use crate::buddy::MemMap;
use crate::error::Error;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pfn;

/// The block that a page lies in; `None` when there is no such page.
pub(super) fn block_of(map: &impl MemMap, pfn: Pfn) -> Option<BlockInfo> {
    let (state, order) = map.page(pfn)?.state_and_order();
    let alone = BlockInfo {
        head: pfn,
        order,
        state,
    };
    match state {
        PageState::Tail => Some(head_of(map, pfn).unwrap_or(alone)),
        PageState::SlabTail => Some(slab_of(map, pfn).unwrap_or(alone)),
        _ => Some(alone),
    }
}

/// Why this page can't be freed at the order asked for.
#[cold]
pub(super) fn free_refusal(map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) -> Error {
    match page.state() {
        PageState::Hole => Error::ForeignPfn,
        PageState::Reserved => Error::PageReserved,
        PageState::Allocated => Error::WrongOrder,
        PageState::Slab | PageState::SlabTail => Error::SlabPage,
        PageState::Tail => match head_of(map, pfn) {
            Some(block) if block.state == PageState::Allocated => Error::NotBlockHead,
            Some(_) => Error::DoubleFree,
            None => Error::Corrupt,
        },
        // On a list; here there is no other way to be free.
        _ => Error::DoubleFree,
    }
}

/// The block whose inside `pfn` lies in: at each larger size, the only page
/// where it could start is looked at.
fn head_of(map: &impl MemMap, pfn: Pfn) -> Option<BlockInfo> {
    PageOrder::all().skip(1).find_map(|order| {
        let head = pfn.align_down(order);
        let (state, size) = map.page(head)?.state_and_order();
        let is_head = matches!(state, PageState::Buddy | PageState::Allocated);
        let reaches = pfn < head + size.pages();
        (is_head && reaches).then_some(BlockInfo {
            head,
            order: size,
            state,
        })
    })
}
