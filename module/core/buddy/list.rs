// SPDX-License-Identifier: GPL-2.0

//! The intrusive list: pages linked through their own descriptors.
//!
//! ```text
//! PageList   head ----------v                                   v---- tail
//!                       [page 512] next -> [page 8] next -> [page 96] -> NIL
//!               NIL <-- prev       <- prev          <- prev
//! ```
//!
//! The links are 32-bit frame numbers and safe atomics, so that a report may
//! follow them without the lock (and may see a list that is being changed).
//! The list itself is plain data: it belongs to whoever holds the lock around
//! it, and that holder alone changes the links of the pages on it.

use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::PageLink;
use crate::phys::Pfn;

/// A doubly linked list of pages. It owns nothing and may be dropped at will.
///
/// A page is on at most one list at a time, and every page on a list has a
/// descriptor; who breaks that gets a wrong list, but no wrong memory access.
#[derive(Debug)]
pub struct PageList {
    head: PageLink,
    tail: PageLink,
}

impl PageList {
    /// No page.
    pub const NEW: Self = Self {
        head: PageLink::NONE,
        tail: PageLink::NONE,
    };

    /// The list of these ends, for those who keep it as two numbers.
    #[inline]
    pub(crate) const fn of(head: u32, tail: u32) -> Self {
        Self {
            head: PageLink::of(head),
            tail: PageLink::of(tail),
        }
    }

    /// Its ends as numbers.
    #[inline]
    pub(crate) const fn ends(&self) -> (u32, u32) {
        (self.head.raw(), self.tail.raw())
    }

    /// The first page.
    #[inline]
    pub fn first(&self) -> Option<Pfn> {
        self.head.pfn()
    }

    /// The last page.
    #[inline]
    pub fn last(&self) -> Option<Pfn> {
        self.tail.pfn()
    }

    /// Whether there is no page.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == PageLink::NONE
    }

    /// Puts `page`, which is on no list, before all others (`list_add`).
    #[inline]
    pub fn push_head(&mut self, map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) {
        self.link_head(map, pfn, page);
    }

    /// Puts `page`, which is on no list, behind all others (`list_add_tail`).
    #[inline]
    pub fn push_tail(&mut self, map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) {
        self.link_tail(map, pfn, page);
    }

    /// [`PageList::push_head`], and whether it is the only page then.
    #[inline(always)]
    pub(super) fn link_head(&mut self, map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) -> bool {
        page.set_prev_link(PageLink::NONE);
        page.set_next_link(self.head);
        let head = self.head.pfn().and_then(|head| map.page(head));
        match head {
            Some(head) => head.set_prev_link(pfn.into()),
            None => self.tail = pfn.into(),
        }
        self.head = pfn.into();
        head.is_none()
    }

    /// [`PageList::push_tail`], and whether it is the only page then.
    #[inline(always)]
    pub(super) fn link_tail(&mut self, map: &impl MemMap, pfn: Pfn, page: &PageDescriptor) -> bool {
        page.set_prev_link(self.tail);
        page.set_next_link(PageLink::NONE);
        let tail = self.tail.pfn().and_then(|tail| map.page(tail));
        match tail {
            Some(tail) => tail.set_next_link(pfn.into()),
            None => self.head = pfn.into(),
        }
        self.tail = pfn.into();
        tail.is_none()
    }

    /// Takes the first page out, whose descriptor is `page`; whether it was the
    /// only one.
    #[inline(always)]
    pub(crate) fn remove_first(&mut self, map: &impl MemMap, page: &PageDescriptor) -> bool {
        let next = page.next_link();
        self.head = next;
        match next.pfn().and_then(|next| map.page(next)) {
            Some(next) => {
                next.set_prev_link(PageLink::NONE);
                false
            }
            None => {
                self.tail = PageLink::NONE;
                true
            }
        }
    }

    /// Takes `page`, which is on this list, out (`list_del`). Its own links
    /// stay as they were: they mean nothing until it is on a list again.
    #[inline]
    pub fn remove(&mut self, map: &impl MemMap, page: &PageDescriptor) {
        let next = page.next_link();
        let prev = page.prev_link();
        match prev.pfn().and_then(|prev| map.page(prev)) {
            Some(prev) => prev.set_next_link(next),
            None => self.head = next,
        }
        match next.pfn().and_then(|next| map.page(next)) {
            Some(next) => next.set_prev_link(prev),
            None => self.tail = prev,
        }
    }

    /// Moves what stands before `pfn`, which is on this list, behind the last
    /// page, so that `pfn` is the first (`move_freelist_head`).
    pub fn rotate_to_head(&mut self, map: &impl MemMap, pfn: Pfn) {
        let Some(page) = map.page(pfn) else { return };
        if let Some(before) = page.prev() {
            self.cut_behind(map, before, page.prev_link(), pfn.into());
        }
    }

    /// Moves `pfn`, which is on this list, and what stands before it behind the
    /// last page, so that `pfn` is the last (`move_freelist_tail`).
    pub fn rotate_to_tail(&mut self, map: &impl MemMap, pfn: Pfn) {
        let Some(page) = map.page(pfn) else { return };
        if page.next().is_some() {
            self.cut_behind(map, pfn, pfn.into(), page.next_link());
        }
    }

    /// Joins the ends and makes new ones between `last` and `first`, which
    /// follows it.
    fn cut_behind(&mut self, map: &impl MemMap, last: Pfn, last_link: PageLink, first: PageLink) {
        let page = |link: PageLink| link.pfn().and_then(|pfn| map.page(pfn));
        let (Some(head), Some(tail)) = (page(self.head), page(self.tail)) else {
            return;
        };
        let (Some(new_head), Some(new_tail)) = (page(first), map.page(last)) else {
            return;
        };
        tail.set_next_link(self.head);
        head.set_prev_link(self.tail);
        new_head.set_prev_link(PageLink::NONE);
        new_tail.set_next_link(PageLink::NONE);
        self.head = first;
        self.tail = last_link;
    }

    /// The pages, first to last.
    pub fn iter<'a, M: MemMap>(&self, map: &'a M) -> Pages<'a, M> {
        Pages {
            map,
            next: self.head.pfn(),
        }
    }
}

/// The pages of a [`PageList`], first to last.
pub struct Pages<'a, M> {
    map: &'a M,
    next: Option<Pfn>,
}

impl<'a, M: MemMap> Iterator for Pages<'a, M> {
    type Item = (Pfn, &'a PageDescriptor);

    fn next(&mut self) -> Option<Self::Item> {
        let pfn = self.next?;
        let page = self.map.page(pfn)?;
        self.next = page.next();
        Some((pfn, page))
    }
}
