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
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::NO_INDEX;
use crate::phys::Pfn;
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

/// How the slabs of a node are found from their objects, where these are as nearly
/// all are: in slabs of the usual order, in the node's main window.
pub(super) struct Ways<'m> {
    /// What such a slab's first page says of itself.
    head: u32,
    /// The bits of a page's number in which its slab's pages differ.
    tail_bits: u64,
    /// The first page of which there is a descriptor here.
    first: u64,
    /// Those of most of the node's pages.
    map: &'m [PageDescriptor],
    /// Where the window begins.
    start: u64,
    /// All of it.
    words: &'m [AtomicU64],
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
    pub(super) fn remove(&self, from: Fullness, page: &PageDescriptor) {
        let cells = self.list(from);
        let mut list = cells.get();
        list.remove(self.system.mm.sparse, page);
        cells.set(&list);
        sub(&cells.nr, 1);
    }

    /// Puts a slab on a list: as its first, or as its last.
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

    /// Takes up to `want` objects and says how many.
    pub(super) fn take(&self, want: u32, mut each: impl FnMut(ObjAddr)) -> u32 {
        let mut taken = 0u32;
        while taken < want {
            let Some(slab) = self.best() else {
                break;
            };
            let was = slab.fullness();
            let (some, lost) = slab.take(self.shape, want.wrapping_sub(taken), &mut each);
            taken = taken.wrapping_add(some);
            sub(&self.cells.free, some.into());
            if let Some((lost, object)) = lost {
                (self.system).tell_hardened(self.shape, &slab, object, Finding::FreePointer);
                sub(&self.cells.free, lost.into());
            }
            self.relist(&slab, was, true);
            if some == 0 {
                // A list with a slab on it that has nothing.
                break;
            }
        }
        taken
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
    #[inline]
    pub(super) fn barn(&self) -> Option<Barn<'m>> {
        let word = BarnWord::of(&self.cells.barn);
        if !word.is_some() {
            return None;
        }
        let range = word.range(self.shape.barn_size());
        let places = self.system.words(self.cells.nid(), range)?;
        Some(Barn::new(&self.cells.barn, places))
    }

    /// How slabs of the usual order are found from their objects.
    #[inline]
    pub(super) fn ways(&self) -> Ways<'m> {
        let (nid, geometry) = (self.cells.nid(), &self.shape.geometry);
        let table = self.system.table();
        let map = table.map(nid).unwrap_or(&Stretch::EMPTY);
        let window = table.window(nid).unwrap_or(&Window::EMPTY);
        Ways {
            head: PageDescriptor::slab_head_key_of(nid, self.shape.id, geometry.order),
            tail_bits: geometry.order.pages().0.wrapping_sub(1),
            first: map.start.0,
            map: map.map,
            start: window.range().start.0,
            words: window.slice(window.range()).unwrap_or_default(),
        }
    }

    /// Gives objects back that nobody has; see [`LockedNode::give`].
    pub(super) fn give_all(&self, objects: &[AtomicU64], discarded: &mut Discarded) {
        if objects.is_empty() {
            return;
        }
        let ways = self.ways();
        for object in objects {
            // One that is refused was no object when it was freed.
            let _ = self.give(&ways, ObjAddr::new(object.load(Relaxed)), discarded);
        }
    }

    /// Gives an object back (`__slab_free`). Of a slab that is empty then, and is
    /// not to be kept, nothing is left on the node.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnObject`] when no object begins there, [`Error::ObjectFree`]
    /// when all of its slab are free.
    #[inline(always)]
    pub(super) fn give(
        &self,
        ways: &Ways<'m>,
        object: ObjAddr,
        discarded: &mut Discarded,
    ) -> Result<()> {
        match self.give_usual(ways, object, discarded) {
            true => Ok(()),
            false => self.give_any(object, discarded),
        }
    }

    /// The same in a slab of the usual order in the node's main window, where all is
    /// as it should be; `false` when nothing was done.
    #[inline(always)]
    pub(super) fn give_usual(
        &self,
        ways: &Ways<'m>,
        object: ObjAddr,
        discarded: &mut Discarded,
    ) -> bool {
        let (shape, geometry) = (self.shape, &self.shape.geometry);
        // A block lies at a multiple of its size.
        let pfn = Pfn(object.pfn().0 & !ways.tail_bits);
        let near = ways.map.get(pfn.0.wrapping_sub(ways.first) as usize);
        let Some(head) = near.or_else(|| self.system.page(pfn)) else {
            return false;
        };
        if head.slab_head_key() != ways.head {
            return false;
        }
        // Whoever was given up has a number of objects in use that no other has.
        let (next, inuse) = head.slab_raw_counts();
        if inuse.wrapping_sub(1) >= geometry.objects {
            return false;
        }
        let start = pfn.addr().0.wrapping_add(geometry.red_left_pad.into());
        let offset = object.get().wrapping_sub(start);
        let index = offset.wrapping_mul(shape.inverse.into()) >> 32;
        let size = u64::from(geometry.size);
        if index >= geometry.objects.into() || index.wrapping_mul(size) != offset {
            return false;
        }
        let at = object.get().wrapping_add(geometry.offset.into());
        let word = at.wrapping_sub(ways.start) / 8;
        let Some(word) = ways
            .words
            .get(word as usize)
            .filter(|_| index != next.into())
        else {
            return false;
        };
        let was_full = next == NO_INDEX;
        let behind = match was_full {
            true => 0,
            false => start.wrapping_add(u64::from(next).wrapping_mul(size)),
        };
        word.store(behind ^ shape.free_pointer_mask(at), Relaxed);
        head.set_slab_raw_counts(index as u32, inuse.wrapping_sub(1));
        add(&self.cells.free, 1);
        if was_full || inuse == 1 {
            let was = match was_full {
                true => Fullness::Full,
                false => Fullness::Partial,
            };
            self.settle_given(&Slab::new(pfn, head, &[], shape), was, discarded);
        }
        true
    }

    /// The same wherever it lies, and whatever it is.
    #[cold]
    #[inline(never)]
    pub(super) fn give_any(&self, object: ObjAddr, discarded: &mut Discarded) -> Result<()> {
        let pfn = object.pfn();
        let page = self.system.page(pfn).ok_or(Error::NotAnObject)?;
        if page.slab_key() != PageDescriptor::slab_key_of(self.cells.nid(), self.shape.id) {
            return Err(Error::NotAnObject);
        }
        let pfn = page.slab_head(pfn).ok_or(Error::NotAnObject)?;
        let slab = self.system.slab(self.shape, pfn);
        let slab = slab.ok_or(Error::NotAnObject)?;
        let index = slab.index(self.shape, object.get());
        self.give_in(&slab, index.ok_or(Error::NotAnObject)?, discarded)
    }

    /// The same for an object of this index in a slab of the node.
    #[inline]
    pub(super) fn give_in(
        &self,
        slab: &Slab<'m>,
        index: u32,
        discarded: &mut Discarded,
    ) -> Result<()> {
        let was = slab.fullness();
        if !slab.put(self.shape, index) {
            let object = slab.object(self.shape, index);
            (self.system).tell_hardened(self.shape, slab, object, Finding::AlreadyFree);
            return Err(Error::ObjectFree);
        }
        add(&self.cells.free, 1);
        self.settle_given(slab, was, discarded);
        Ok(())
    }

    /// Moves a slab, one of whose objects came back, to the list where it belongs, or
    /// away.
    #[inline(never)]
    fn settle_given(&self, slab: &Slab<'m>, was: Fullness, discarded: &mut Discarded) {
        let is = slab.fullness();
        if is == was {
            return;
        }
        // What stands on the lists already is counted, as in Linux.
        let keeps = self.cells.nr_partial() < self.shape.geometry.min_partial.into();
        self.remove(was, slab.page);
        match is {
            Fullness::Empty if !keeps => self.discard(slab, discarded),
            Fullness::Empty => self.add(is, slab.pfn, slab.page, true),
            _ => self.add(is, slab.pfn, slab.page, false),
        }
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
