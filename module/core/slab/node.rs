// SPDX-License-Identifier: GPL-2.0

//! What a cache has on one node, with the node's lock held: slabs go from list to
//! list as objects come and go.
//!
//! ```text
//!              take                    take the last
//!   empty ---------------> partial ---------------------> full
//!     ^  <-----------------  | ^  <----------------------  |
//!     |     give the last    | |          give             |
//!     |                      | +--- a freed one is last    |
//!     +-- or discard, when there are min_partial or more   |
//! ```
//!
//! In Linux the empty slabs stand among the partial ones, and are taken from when
//! it is their turn. Here they come last, so that slabs that could be given back
//! are touched only when there is no other object; both count for `min_partial`,
//! as there.

use super::barn::Barn;
use super::barn::BarnWord;
use super::debug::Finding;
use super::object::ObjAddr;
use super::page::Fullness;
use super::page::Slab;
use super::state::ListCells;
use super::state::NodeCells;
use super::state::Shape;
use super::system::SlabAllocator;
use crate::buddy::PageList;
use crate::page::PageDescriptor;
use crate::phys::Bytes;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::phys::Window;
use crate::platform::Platform;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A node's lists, while its lock is held.
pub(super) struct LockedNode<'s, 'a, 'm, P: Platform> {
    pub(super) system: SlabAllocator<'a, 'm, P>,
    pub(super) shape: &'s Shape,
    pub(super) cells: &'m NodeCells,
    _guard: P::RawGuard<'a>,
}

/// Slabs on no list, linked through their first pages: to be given back once no
/// lock is held.
#[must_use = "slabs on no list are lost"]
pub(super) struct Discarded {
    pub(super) list: PageList,
}

impl Discarded {
    pub(super) const NONE: Self = Self {
        list: PageList::NEW,
    };
}

/// What the slabs of a cache on a node have in common where these are as nearly all are:
/// of the usual order, and in the node's main window.
struct Usual<'m> {
    /// What the first page says of itself.
    head: u32,
    /// How many objects there are.
    objects: u32,
    /// How long one is.
    size: Bytes,
    /// The descriptors of most of the node's pages.
    map: &'m Stretch<'m>,
    /// What most of its memory is seen through.
    window: &'m Window<'m>,
}

impl<'m> Usual<'m> {
    /// The slab at `pfn`, if it is such a one.
    #[inline(always)]
    fn slab(&self, pfn: Pfn) -> Option<Slab<'m>> {
        let index = pfn.0.wrapping_sub(self.map.start.0);
        let page = self.map.map.get(index as usize)?;
        if page.slab_head_key() != self.head {
            return None;
        }
        Some(Slab {
            pfn,
            page,
            words: self.window.slice(PhysRange::new(pfn.addr(), self.size))?,
            objects: self.objects,
        })
    }
}

impl<'a, 'm, P: Platform> SlabAllocator<'a, 'm, P> {
    /// Locks a cache's node.
    #[inline]
    pub(super) fn lock_node<'s>(
        &self,
        shape: &'s Shape,
        cells: &'m NodeCells,
    ) -> LockedNode<'s, 'a, 'm, P>
    where
        'm: 'a,
    {
        LockedNode {
            system: *self,
            shape,
            cells,
            _guard: self.platform().raw_lock(&cells.lock),
        }
    }
}

impl<'s, 'a, 'm, P: Platform> LockedNode<'s, 'a, 'm, P> {
    /// How many slabs a list has, and the first.
    pub(super) fn list_start(&self, fullness: Fullness) -> (u64, Option<Pfn>) {
        let cells = self.list(fullness);
        (cells.nr.load(Relaxed), cells.get().first())
    }

    fn list(&self, fullness: Fullness) -> &'m ListCells {
        match fullness {
            Fullness::Empty => &self.cells.empty,
            Fullness::Partial => &self.cells.partial,
            Fullness::Full => &self.cells.full,
        }
    }

    /// The slabs of a list, first to last.
    pub(super) fn slabs(
        &self,
        fullness: Fullness,
    ) -> impl Iterator<Item = Slab<'m>> + use<'_, 's, 'a, 'm, P> {
        let cells = self.list(fullness);
        let map = self.system.mm.sparse;
        // A broken list may run in a circle; the count ends it.
        let nr = cells.nr.load(Relaxed) as usize;
        let pages = cells.get().iter(map).take(nr);
        pages.filter_map(|(pfn, _)| self.system.slab(self.shape, pfn))
    }

    /// The first slab of a list.
    pub(super) fn first(&self, fullness: Fullness) -> Option<Slab<'m>> {
        let pfn = self.list(fullness).get().first()?;
        self.system.slab(self.shape, pfn)
    }

    /// Takes a slab from its list.
    #[inline]
    pub(super) fn remove(&self, from: Fullness, page: &PageDescriptor) {
        let cells = self.list(from);
        let mut list = cells.get();
        list.remove(self.system.mm.sparse, page);
        cells.set(&list);
        sub(&cells.nr, 1);
    }

    /// Puts a slab on a list: as its first, or as its last.
    #[inline]
    pub(super) fn add(&self, to: Fullness, pfn: Pfn, page: &PageDescriptor, first: bool) {
        let cells = self.list(to);
        let mut list = cells.get();
        match first {
            true => list.push_head(self.system.mm.sparse, pfn, page),
            false => list.push_tail(self.system.mm.sparse, pfn, page),
        }
        cells.set(&list);
        add(&cells.nr, 1);
    }

    /// A slab that is on no list is one of the node's from now on.
    pub(super) fn enter(&self, slab: &Slab<'m>) {
        add(&self.cells.total, slab.objects.into());
        add(
            &self.cells.free,
            u64::from(slab.objects.saturating_sub(slab.inuse())),
        );
        add(&self.cells.pages, slab.page.order().pages().0);
        add(&self.cells.alloc_slab, 1);
        self.add(slab.fullness(), slab.pfn, slab.page, true);
    }

    /// A slab that is on no list, and all of whose objects are free, is the node's
    /// no more.
    pub(super) fn leave(&self, slab: &Slab<'m>, discarded: &mut Discarded) {
        self.count_left(slab);
        sub(&self.cells.pages, slab.page.order().pages().0);
        discarded
            .list
            .push_tail(self.system.mm.sparse, slab.pfn, slab.page);
    }

    /// Its objects are no more.
    pub(super) fn count_left(&self, slab: &Slab<'m>) {
        self.check_left(slab);
        sub(&self.cells.total, slab.objects.into());
        sub(&self.cells.free, slab.objects.into());
        add(&self.cells.free_slab, 1);
    }

    /// The slab to take objects from (`get_partial_node_bulk`).
    pub(super) fn best(&self) -> Option<Slab<'m>> {
        self.first(Fullness::Partial)
            .or_else(|| self.first(Fullness::Empty))
    }

    /// Takes an object for each of `places`, as long as there are some; how many.
    #[inline]
    pub(super) fn take<T>(
        &self,
        places: &mut impl ExactSizeIterator<Item = T>,
        put: impl Fn(T, ObjAddr) + Copy,
    ) -> u32 {
        let usual = self.usual();
        let mut taken = 0u32;
        while places.len() > 0 {
            let (was, pfn) = match self.cells.partial.get().first() {
                Some(pfn) => (Fullness::Partial, Some(pfn)),
                None => (Fullness::Empty, self.cells.empty.get().first()),
            };
            let Some(pfn) = pfn else {
                break;
            };
            let near = usual.as_ref().and_then(|usual| usual.slab(pfn));
            let Some(slab) = near.or_else(|| self.system.slab(self.shape, pfn)) else {
                break;
            };
            let (some, lost) = slab.take(self.shape, places, put);
            taken = taken.wrapping_add(some);
            sub(&self.cells.free, some.into());
            if let Some((lost, object)) = lost {
                (self.system).tell_hardened(self.shape, &slab, object, Finding::FreePointer);
                sub(&self.cells.free, lost.into());
            }
            self.relist_first(&slab, was);
            if some == 0 {
                // A list with a slab on it that has nothing.
                break;
            }
        }
        taken
    }

    /// How the slabs on the node's lists are found in few steps.
    #[inline(always)]
    fn usual(&self) -> Option<Usual<'m>> {
        let (nid, geometry) = (self.cells.nid(), &self.shape.geometry);
        Some(Usual {
            head: PageDescriptor::slab_head_key_of(nid, self.shape.id, geometry.order),
            objects: geometry.objects,
            size: geometry.order.pages().bytes(),
            map: self.system.table().map(nid)?,
            window: self.system.window(nid)?,
        })
    }

    /// Moves the first slab of a list to where it belongs, as the first there.
    #[inline(always)]
    fn relist_first(&self, slab: &Slab<'m>, was: Fullness) {
        let is = slab.fullness();
        if is != was {
            let cells = self.list(was);
            let mut list = cells.get();
            list.remove_first(self.system.mm.sparse, slab.page);
            cells.set(&list);
            sub(&cells.nr, 1);
            self.add(is, slab.pfn, slab.page, true);
        }
    }

    /// Moves a slab to the list where it belongs.
    #[inline]
    pub(super) fn relist(&self, slab: &Slab<'m>, was: Fullness, first: bool) {
        let is = slab.fullness();
        if is != was {
            self.remove(was, slab.page);
            self.add(is, slab.pfn, slab.page, first);
        }
    }

    /// The node's store, if it has one.
    #[inline(always)]
    pub(super) fn barn(&self) -> Option<Barn<'m>> {
        let word = BarnWord::of(&self.cells.barn);
        if !word.is_some() {
            return None;
        }
        let range = word.range(self.shape.barn_size());
        let places = self.system.words(self.cells.nid(), range)?;
        Some(Barn::new(&self.cells.barn, places))
    }

    /// Takes empty slabs from the node, as long as `wants`, and those that wait.
    pub(super) fn discard_empty(&self, mut wants: impl FnMut() -> bool) -> Discarded {
        let mut discarded = Discarded::NONE;
        self.take_waiting(&mut discarded);
        let nr = self.cells.empty.nr.load(Relaxed);
        for _ in 0..nr {
            let first = self.first(Fullness::Empty);
            let Some(slab) = first.filter(|_| wants()) else {
                break;
            };
            self.remove(Fullness::Empty, slab.page);
            self.leave(&slab, &mut discarded);
        }
        discarded
    }
}

/// Adds to a count that the node's lock guards.
#[inline]
pub(super) fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Takes from one.
#[inline]
pub(super) fn sub(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_sub(by), Relaxed);
}
