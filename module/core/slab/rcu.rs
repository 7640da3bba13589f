// SPDX-License-Identifier: GPL-2.0

//! Empty slabs that somebody may still look at (`SLAB_TYPESAFE_BY_RCU`): an object
//! that is freed stays one of its cache's until a grace period is over, and so do
//! its pages.
//!
//! ```text
//! the last object of a slab is freed       nobody can wait there
//!   the slab is the node's no more         as any other's that is not kept
//!   waiting      the node's third place    its pages are still the cache's
//! now and then, or when somebody shrinks   Mm::refresh, shrink.rs
//!   waiting -> nowhere; synchronize(); the pages go
//! ```
//!
//! Linux has a callback for each slab (`rcu_free_slab`), here one wait is for all
//! that have gathered.

use super::flags::SlabFlags;
use super::node::sub;
use super::node::Discarded;
use super::node::LockedNode;
use super::page::Slab;
use super::system::SlabAllocator;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

impl<P: Platform> SlabAllocator<'_, '_, P> {
    /// Whether slabs wait for a grace period to be over.
    pub(crate) fn has_waiting(&self) -> bool {
        self.table().is_up() && self.table().waiting.load(Relaxed) != 0
    }

    /// Gives the pages of all slabs back that wait, after a grace period; how many.
    /// Sleeps. Nothing is done while somebody else changes what caches there are.
    pub(crate) fn free_waiting(&self) -> Pages {
        if !self.has_waiting() {
            return Pages::ZERO;
        }
        let Some(_lock) = self.table().try_lock() else {
            return Pages::ZERO;
        };
        // One that comes from here on is seen the next time.
        self.table().waiting.store(0, Relaxed);
        let mut all = Discarded::NONE;
        for (_, cache) in self.table().caches() {
            let shape = cache.shape();
            if !shape.geometry.flags.has(SlabFlags::TYPESAFE_BY_RCU) {
                continue;
            }
            for node in self.nodes(cache) {
                self.lock_node(&shape, node).take_waiting(&mut all);
            }
        }
        if !all.list.is_empty() {
            self.platform().synchronize();
        }
        self.free_discarded(all)
    }
}

impl<'m, P: Platform> LockedNode<'_, '_, 'm, P> {
    /// A slab that is on no list, and all of whose objects are free, is the node's
    /// no more, and its pages go as soon as they may (`discard_slab`).
    pub(super) fn discard(&self, slab: &Slab<'m>, discarded: &mut Discarded) {
        if !self.shape.geometry.flags.has(SlabFlags::TYPESAFE_BY_RCU) {
            return self.leave(slab, discarded);
        }
        self.count_left(slab);
        let waiting = &self.cells.waiting;
        let mut list = waiting.get();
        list.push_tail(self.system.mm.sparse, slab.pfn, slab.page);
        waiting.set(&list);
        super::node::add(&waiting.nr, 1);
        self.system.table().waiting.store(1, Relaxed);
    }

    /// Has `discarded` the slabs that wait, too. They have to wait on.
    pub(super) fn take_waiting(&self, discarded: &mut Discarded) {
        let map = self.system.mm.sparse;
        let mut next = self.cells.waiting.get().first();
        while let Some((pfn, page)) = next.and_then(|pfn| Some((pfn, map.page(pfn)?))) {
            next = page.next();
            sub(&self.cells.pages, page.order().pages().0);
            discarded.list.push_tail(map, pfn, page);
        }
        self.cells.waiting.clear();
    }
}
