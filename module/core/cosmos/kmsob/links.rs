// SPDX-License-Identifier: GPL-2.0

//! Lists of blocks, linked through the descriptors of their first pages, as
//! Cosmos links `msadsc_t` by `md_list`.
//!
//! A list's head is 32 bits: a frame number plus one, 0 for an empty list. So a
//! page of zeroes is a header of empty lists.

use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::Pfn;

/// The first block of a list, as its head keeps it.
pub(super) const fn first(head: u32) -> Option<Pfn> {
    match head {
        0 => None,
        head => Some(Pfn(head as u64 - 1)),
    }
}

/// The same for the head.
const fn head_of(pfn: Option<Pfn>) -> u32 {
    match pfn {
        None => 0,
        Some(pfn) => (pfn.0 as u32).wrapping_add(1),
    }
}

/// The list with this block at its head (`list_add`).
pub(super) fn push<A: PageAllocator>(pages: &A, head: u32, pfn: Pfn) -> Result<u32> {
    let next = first(head);
    let page = page(pages, pfn)?;
    if let Some(next) = next {
        self::page(pages, next)?.set_prev(Some(pfn));
    }
    page.set_next(next);
    page.set_prev(None);
    Ok(head_of(Some(pfn)))
}

/// The list without this block (`list_del`).
pub(super) fn remove<A: PageAllocator>(pages: &A, head: u32, pfn: Pfn) -> Result<u32> {
    let page = page(pages, pfn)?;
    let (prev, next) = (page.prev(), page.next());
    if let Some(next) = next {
        self::page(pages, next)?.set_prev(prev);
    }
    page.set_next(None);
    page.set_prev(None);
    match prev {
        None => Ok(head_of(next)),
        Some(prev) => {
            self::page(pages, prev)?.set_next(next);
            Ok(head)
        }
    }
}

fn page<A: PageAllocator>(pages: &A, pfn: Pfn) -> Result<&PageDescriptor> {
    pages.descriptor(pfn).ok_or(Error::SlabDamaged)
}
