// SPDX-License-Identifier: GPL-2.0

//! Objects go back to their slabs, with the node's lock held (`__slab_free`).
//!
//! ```text
//! give_all    many that nobody has
//!   give_usual  in slabs of the usual order, in the node's main window
//!     give_one    an object alone, whose slab stays where it is: nearly all in no order
//!     give_some   those of one slab that follow one another, whatever becomes of it
//!   give_any    wherever it lies, and whatever it is
//! settle      a slab that is empty now, or was full, goes to its list, or away
//! ```
//!
//! What is looked up for all of them is looked up once (`Ways`), and what happens to a
//! slab happens once for all of its objects that come together, as in Linux, which
//! makes a list of them first (`build_detached_freelist`).

use super::debug::Finding;
use super::node::add;
use super::node::Discarded;
use super::node::LockedNode;
use super::object::ObjAddr;
use super::page::Fullness;
use super::page::Slab;
use super::state::free_pointer_mask;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::NO_INDEX;
use crate::phys::Window;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use crate::sparse::Stretch;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How the slabs of a node are found from their objects, where these are as nearly
/// all are: in slabs of the usual order, in the node's main window.
pub(super) struct Ways<'m> {
    /// What such a slab's first page says of itself; 0, which none says, where there is
    /// none.
    head: u32,
    /// How many objects it has.
    objects: u32,
    /// What the number of objects in use in it is less than, 2 being taken away from it,
    /// when it is neither full nor empty as soon as one comes back.
    partial: u32,
    /// What of an object's address is that of its slab.
    slab_mask: u64,
    /// How far one is from the next.
    size: u64,
    /// With what an offset is multiplied for the index of the object there
    /// ([`Shape::inverse`](super::state::Shape::inverse)).
    inverse: u64,
    /// What the lower half of the product is less than for the offsets in such a slab at
    /// which objects begin, and for no other in it.
    exact: u64,
    /// Where in it its free pointer is.
    pointer: u64,
    /// With what that is hidden.
    random: u64,
    /// The address of the first page of which there is a descriptor here.
    first: u64,
    /// Those of most of the node's pages.
    map: &'m [PageDescriptor],
    /// Where the window begins.
    start: u64,
    /// All of it.
    words: &'m [AtomicU64],
}

impl Ways<'_> {
    /// Whether an object begins so many bytes behind the start of such a slab, and in it.
    #[inline(always)]
    fn begins(&self, offset: u64) -> bool {
        self.inverse.wrapping_mul(offset) < self.exact
    }

    /// The index of the object that begins so many bytes behind the start of such a
    /// slab, and in it, if one does.
    #[inline(always)]
    fn index(&self, offset: u64) -> Option<u32> {
        let product = u128::from(self.inverse).wrapping_mul(offset.into());
        ((product as u64) < self.exact).then_some((product >> 64) as u32)
    }

    /// The window from the slab at `base` on; nothing where that is not in it.
    #[inline(always)]
    fn words_from(&self, base: u64) -> &[AtomicU64] {
        let first = base.wrapping_sub(self.start) / 8;
        self.words.get(first as usize..).unwrap_or_default()
    }

    /// Has an object's free pointer lead to another, or to 0 for none; `false` when it
    /// leads to the object itself, or is not in the window.
    #[inline(always)]
    fn link(&self, object: u64, behind: u64) -> bool {
        let at = object.wrapping_add(self.pointer);
        let word = self.words.get((at.wrapping_sub(self.start) / 8) as usize);
        let Some(word) = word.filter(|_| object != behind) else {
            return false;
        };
        word.store(behind ^ free_pointer_mask(self.random, at), Relaxed);
        true
    }

    /// Gives an object back to its slab at `base`, if that is such a one, and stays on
    /// the list where it is. The node's count of free ones is the caller's.
    #[inline(always)]
    fn give_one(&self, base: u64, object: u64) -> bool {
        let page = base.wrapping_sub(self.first) >> PAGE_SHIFT;
        let Some(head) = self.map.get(page as usize) else {
            return false;
        };
        let counts = head.slab_word();
        if head.slab_head_key() != self.head || !counts.stays_partial(self.partial) {
            return false;
        }
        let Some(index) = self.index(object.wrapping_sub(base)) else {
            return false;
        };
        let first = u64::from(counts.first());
        let behind = base.wrapping_add(first.wrapping_mul(self.size));
        if !self.link(object, behind) {
            return false;
        }
        head.set_slab_word(counts.given(index));
        true
    }
}

impl<'m, P: Platform> LockedNode<'_, '_, 'm, P> {
    /// How slabs of the usual order are found from their objects.
    #[inline]
    pub(super) fn ways(&self) -> Ways<'m> {
        let (nid, geometry) = (self.cells.nid(), &self.shape.geometry);
        let table = self.system.table();
        let map = table.map(nid).unwrap_or(&Stretch::EMPTY);
        let window = table.window(nid).unwrap_or(&Window::EMPTY);
        // Those of a cache with red zones go back one by one, and checked.
        let head = match geometry.red_left_pad {
            0 => PageDescriptor::slab_head_key_of(nid, self.shape.id, geometry.order),
            _ => 0,
        };
        let size = u64::from(geometry.size);
        // That of a multiple of the size grows by so much with each index, and that of
        // no other offset is less than `inverse`, which is far more. Where it does not
        // grow, the size is a power of two, and nothing is left behind the last object.
        let inverse = self.shape.inverse;
        let grows = inverse.wrapping_mul(size);
        let exact = grows.wrapping_mul(geometry.objects.into()).max(1);
        Ways {
            head,
            objects: geometry.objects,
            partial: geometry.objects.saturating_sub(2),
            slab_mask: !geometry.order.pages().bytes().0.wrapping_sub(1),
            size,
            inverse,
            exact,
            pointer: geometry.offset.into(),
            random: self.shape.random,
            first: map.start.addr().0,
            map: map.map,
            start: window.range().start.0,
            words: window.all(),
        }
    }

    /// Gives objects back that nobody has (`__slab_free`). One that is refused was no
    /// object when it was freed.
    pub(super) fn give_all(&self, objects: &[AtomicU64], discarded: &mut Discarded) {
        let ways = self.ways();
        let mut rest = objects;
        while !rest.is_empty() {
            let given = self.give_usual(&ways, rest, |word| word.load(Relaxed), discarded);
            rest = rest.get(given..).unwrap_or_default();
            if let Some((unusual, more)) = rest.split_first() {
                let _ = self.give_any(ObjAddr::new(unusual.load(Relaxed)), discarded);
                rest = more;
            }
        }
    }

    /// Gives objects back, from the first on, as long as they are in slabs of the usual
    /// order in the node's main window, and all is as it should be; how many that were.
    #[inline(always)]
    pub(super) fn give_usual<T>(
        &self,
        ways: &Ways<'m>,
        objects: &[T],
        address: impl Fn(&T) -> u64 + Copy,
        discarded: &mut Discarded,
    ) -> usize {
        let mut given = 0usize;
        // Of those, how many are counted as free.
        let mut counted = 0usize;
        // No slab begins there.
        let mut last = u64::MAX;
        while let Some(object) = objects.get(given).map(address) {
            // A block lies at a multiple of its size.
            let base = object & ways.slab_mask;
            // Whoever is not alone may have more behind him.
            if base != last && ways.give_one(base, object) {
                last = base;
                given = given.wrapping_add(1);
                continue;
            }
            let rest = objects.get(given..).unwrap_or_default();
            add(&self.cells.free, given.wrapping_sub(counted) as u64);
            let some = self.give_some(ways, rest, address, discarded);
            given = given.wrapping_add(some);
            counted = given;
            if some == 0 {
                break;
            }
        }
        add(&self.cells.free, given.wrapping_sub(counted) as u64);
        given
    }

    /// Gives objects of one slab back, from the first on. What happens to the slab
    /// happens once.
    #[inline(never)]
    fn give_some<T>(
        &self,
        ways: &Ways<'m>,
        objects: &[T],
        address: impl Fn(&T) -> u64,
        discarded: &mut Discarded,
    ) -> usize {
        let Some(base) = objects.first().map(&address) else {
            return 0;
        };
        let base = base & ways.slab_mask;
        let page = base.wrapping_sub(ways.first) >> PAGE_SHIFT;
        let near = ways.map.get(page as usize);
        let Some(head) = near.or_else(|| self.far_page(base)) else {
            return 0;
        };
        // Whoever was given up has a number of objects in use that no other has.
        let (first, inuse) = head.slab_raw_counts();
        if head.slab_head_key() != ways.head || inuse.wrapping_sub(1) >= ways.objects {
            return 0;
        }
        let words = ways.words_from(base);
        let mut behind = match first {
            NO_INDEX => 0,
            first => base.wrapping_add(u64::from(first).wrapping_mul(ways.size)),
        };
        let mut given = 0usize;
        // There are no more than are in use.
        let objects = objects.get(..inuse as usize).unwrap_or(objects);
        while let Some(object) = objects.get(given).map(&address) {
            let offset = object.wrapping_sub(base);
            if offset > !ways.slab_mask {
                break;
            }
            if !ways.begins(offset) {
                break;
            }
            let pointer = offset.wrapping_add(ways.pointer);
            let word = words.get((pointer / 8) as usize);
            let Some(word) = word.filter(|_| object != behind) else {
                break;
            };
            let mask = free_pointer_mask(ways.random, base.wrapping_add(pointer));
            word.store(behind ^ mask, Relaxed);
            behind = object;
            given = given.wrapping_add(1);
        }
        let left = inuse.wrapping_sub(given as u32);
        if given == 0 {
            return 0;
        }
        // Only that of the last is wanted.
        let index = ways.index(behind.wrapping_sub(base)).unwrap_or(NO_INDEX);
        head.set_slab_raw_counts(index, left);
        add(&self.cells.free, given as u64);
        if first == NO_INDEX || left == 0 {
            self.settle_usual(base, head, first, discarded);
        }
        given
    }

    #[cold]
    #[inline(never)]
    fn far_page(&self, addr: u64) -> Option<&'m PageDescriptor> {
        self.system.page(ObjAddr::new(addr).pfn())
    }

    /// See [`LockedNode::settle_given`], for a slab of the usual order at `base` whose
    /// freelist began with `first`.
    #[inline(never)]
    fn settle_usual(
        &self,
        base: u64,
        head: &'m PageDescriptor,
        first: u32,
        discarded: &mut Discarded,
    ) {
        let was = match first {
            NO_INDEX => Fullness::Full,
            _ => Fullness::Partial,
        };
        let slab = Slab::new(ObjAddr::new(base).pfn(), head, &[], self.shape);
        self.settle_given(&slab, was, discarded);
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
    #[inline]
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
}
