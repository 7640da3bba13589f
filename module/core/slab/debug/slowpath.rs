// SPDX-License-Identifier: GPL-2.0

//! Where the slab layer's slow path meets the checks. A cache that is debugged
//! has no magazines: each of its objects comes and goes here.
//!
//! ```text
//! alloc.rs  new slab     set_up_checked     the bytes, before the freelist is made
//!           take         take_checked       one object (alloc_single_from_partial)
//! free.rs   give         give_checked       one object (free_to_partial_list)
//! node.rs   discard      check_left         a slab whose pages go (free_slab)
//! registry  destroy      write_left         what is still alive (list_slab_objects)
//! anybody   validate     validate_cache     every object (validate_slab_cache)
//! ```
//!
//! A slab that was given up stays on the list of full ones, frozen: all of its
//! objects count as used. In Linux it is on no list.

use super::finding::Finding;
use super::finding::Findings;
use super::inspect::Cache;
use super::inspect::Slab as View;
use super::layout::Layout;
use super::layout::TrackItem;
use super::pattern::SlabBytes;
use super::pattern::SLUB_RED_ACTIVE;
use super::traces::Location;
use super::traces::Locations;
use super::track::Track;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::platform::Platform;
use crate::slab::node::Discarded;
use crate::slab::node::LockedNode;
use crate::slab::page::Fullness;
use crate::slab::page::Slab;
use crate::slab::state::CacheCells;
use crate::slab::state::Shape;
use crate::slab::system::SlabAllocator;
use crate::slab::CacheId;
use crate::slab::CacheName;
use crate::slab::ObjAddr;
use crate::slab::SlabFlags;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// Who asks for an object of a debugged cache, and for how many bytes of it.
#[derive(Clone, Copy, Default)]
pub(in crate::slab) struct Asked {
    /// What kmalloc was asked for, in bytes; 0 for the whole object.
    pub(in crate::slab) size: u32,
    /// Who asks.
    pub(in crate::slab) track: Track,
}

impl<'m, P: Platform> SlabAllocator<'_, 'm, P> {
    /// Whether a cache's objects come and go here (`kmem_cache_debug`).
    #[inline]
    pub(in crate::slab) const fn is_checked(shape: &Shape) -> bool {
        shape.geometry.flags.has(SlabFlags::DEBUG)
    }

    /// The cache as the checks see it.
    fn inspect<R>(&self, shape: &Shape, work: impl FnOnce(&Cache<'_, P>) -> R) -> R {
        let cells = self.cells::<CacheCells>(shape.addr);
        let name = cells.and_then(|cells| cells.name.get());
        let (none, depot) = (Findings::new(), self.depot());
        work(&Cache {
            platform: self.platform(),
            name: name.as_ref().map_or("<unknown>", CacheName::as_str),
            layout: Layout::new(&shape.geometry),
            random: shape.random,
            stacks: &depot,
            findings: cells.map_or(&none, |cells| &cells.findings),
            taint: &self.table().debug.taint,
        })
    }

    /// A slab as the checks see it.
    fn view(&self, shape: &Shape, slab: &Slab<'m>) -> View<'m> {
        let (first, inuse) = slab.page.slab_counts();
        let frozen = slab.page.is_slab_frozen();
        View {
            is_partial: !frozen && slab.fullness() != Fullness::Full,
            inuse: inuse.into(),
            freelist: first.map_or(0, |first| slab.object(shape, first.into()).get()),
            frozen,
            ..self.view_of_new(slab)
        }
    }

    /// The same of one that is still to be: nothing is read of the descriptors, which are
    /// those of an allocated block.
    fn view_of_new(&self, slab: &Slab<'m>) -> View<'m> {
        View {
            bytes: SlabBytes::new(slab.words),
            base: slab.pfn.addr().0,
            descriptor: self
                .mm
                .sparse
                .descriptor_addr(slab.pfn)
                .unwrap_or(PhysAddr(0))
                .0,
            zone: slab.page.zone_id(),
            is_partial: true,
            objects: slab.objects,
            inuse: 0,
            freelist: 0,
            frozen: false,
        }
    }

    /// Notes in the slab what has become of the view.
    fn store(shape: &Shape, slab: &Slab<'m>, view: &View<'m>) {
        let first = slab.index(shape, view.freelist);
        slab.page
            .set_slab_counts(first.map(|first| first as u16), view.inuse as u16);
        if view.frozen {
            slab.page.freeze_slab();
        }
    }

    /// Fills a new slab of a cache that is debugged; its freelist is made
    /// afterwards.
    pub(in crate::slab) fn set_up_checked(&self, shape: &Shape, slab: &Slab<'m>) {
        if Self::is_checked(shape) {
            let view = self.view_of_new(slab);
            self.inspect(shape, |cache| cache.setup_slab(&view));
        }
    }

    /// Has the objects of a boot cache that were taken before there were caches
    /// look like such (`early_kmem_cache_node_alloc`).
    pub(in crate::slab) fn activate(&self, shape: &Shape, slab: &Slab<'m>, object: ObjAddr) {
        if !Self::is_checked(shape) {
            return;
        }
        let view = self.view(shape, slab);
        self.inspect(shape, |cache| {
            if let Some(place) = view.place(&cache.layout, object.get()) {
                cache.init_object(&view, place, SLUB_RED_ACTIVE);
            }
        });
    }

    /// How many bytes of an object were asked for, where it keeps that
    /// (`get_orig_size`). It lies where the object's owner may have written: what
    /// cannot have been asked for counts as not kept.
    pub(in crate::slab) fn asked_size(&self, shape: &Shape, object: ObjAddr) -> Option<Bytes> {
        let (slab, at) = self.asked_place(shape, object)?;
        let asked = SlabBytes::new(slab.words).word(at);
        let sound = (1..=u64::from(shape.geometry.object_size)).contains(&asked);
        sound.then_some(Bytes(asked))
    }

    fn asked_place(&self, shape: &Shape, object: ObjAddr) -> Option<(Slab<'m>, u32)> {
        let layout = Layout::new(&shape.geometry);
        let at = layout.orig_size()?;
        let (slab, index) = self.find_object(shape, object).ok()?;
        Some((slab, layout.object(index) + at))
    }

    /// The object's owner wants so many bytes of it from now on (`__do_krealloc`):
    /// what lies behind them is red. `None`: as many as it has
    /// (`skip_orig_size_check`).
    pub(in crate::slab) fn set_asked_size(
        &self,
        shape: &Shape,
        object: ObjAddr,
        size: Option<Bytes>,
    ) {
        let Some((slab, at)) = self.asked_place(shape, object) else {
            return;
        };
        let whole = shape.geometry.object_size;
        let size = size.map_or(whole, |size| size.0.min(whole.into()) as u32);
        let bytes = SlabBytes::new(slab.words);
        bytes.set_word(at, size.into());
        let begin = slab.index(shape, object.get()).unwrap_or(0);
        let begin = Layout::new(&shape.geometry).object(begin);
        if shape.geometry.flags.has(SlabFlags::RED_ZONE) {
            bytes.fill(begin + size..begin + whole, SLUB_RED_ACTIVE);
        }
    }

    /// Gives an object of a debugged cache back, whose page is of one of its slabs.
    ///
    /// # Errors
    ///
    /// What the checks have found; see [`Cache::free_object`].
    pub(in crate::slab) fn free_checked(
        &self,
        cache: &'m CacheCells,
        shape: &Shape,
        object: ObjAddr,
        caller: u64,
    ) -> Result<()> {
        let slab = self.slab_around(shape, object).ok_or(Error::NotAnObject)?;
        let node = self
            .node(cache, slab.page.nid())
            .ok_or(Error::NotAnObject)?;
        let track = self.witness(shape, caller);
        let mut discarded = Discarded::NONE;
        let freed = {
            let locked = self.lock_node(shape, node);
            crate::slab::node::add(&node.free_slow, 1);
            locked.give_checked(&slab, object, &track, &mut discarded)
        };
        self.free_discarded(discarded);
        freed
    }

    /// An object that is not the cache's was to be freed to it
    /// (`warn_free_bad_obj`).
    pub(in crate::slab) fn tell_bad_free(&self, shape: &Shape, object: ObjAddr) {
        let other = self.cache_of(object).ok();
        let other = other.and_then(|id| self.table().cache(id).ok());
        self.inspect(shape, |cache| {
            let Some(other) = other.map(CacheCells::shape) else {
                return cache.tell_bad_free(object.get(), None);
            };
            let slab = self.slab_around(&other, object);
            let view = slab.map(|slab| self.view(&other, &slab));
            self.inspect(&other, |owner| {
                let other = view.as_ref().map(|view| (owner, view));
                cache.tell_bad_free(object.get(), other);
            });
        });
    }

    /// A freelist that nobody checks was found broken behind an object, or the
    /// object was to be put where it is already: what the running kernel's hardened
    /// freelists stop at.
    pub(in crate::slab) fn tell_hardened(
        &self,
        shape: &Shape,
        slab: &Slab<'m>,
        object: ObjAddr,
        finding: Finding,
    ) {
        let reason = match finding {
            Finding::AlreadyFree => "Object already free",
            _ => "Freepointer corrupt",
        };
        let view = self.view(shape, slab);
        self.inspect(shape, |cache| {
            cache.object_err(Some(finding), &view, object.get(), reason);
        });
    }

    /// Writes what is left in a slab of a cache that is to go, and counts it as
    /// found.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(in crate::slab) fn write_left(
        &self,
        shape: &Shape,
        slab: &Slab<'m>,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let view = self.view(shape, slab);
        self.inspect(shape, |cache| {
            let written = cache.write_remaining(out, &view);
            cache.tell_remaining(&view);
            written
        })
    }

    /// Looks at every object of a cache (`validate_slab_cache`): how many slabs
    /// those were, and how much was found. Linux looks at full slabs only where
    /// owners are tracked; here they are on a list in any case.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    pub(in crate::slab) fn check_cache(&self, id: CacheId) -> Result<(u64, u64)> {
        let cache = self.table().cache(id)?;
        let shape = cache.shape();
        let before = cache.findings.total();
        let mut slabs = 0;
        for node in self.nodes(cache) {
            let locked = self.lock_node(&shape, node);
            self.inspect(&shape, |cache| {
                // One that is mended goes to another list, in front, and is not looked at
                // once more.
                let lists = [Fullness::Partial, Fullness::Empty, Fullness::Full];
                for (fullness, start) in lists.map(|list| (list, locked.list_start(list))) {
                    slabs += locked.check_list(cache, fullness, start);
                }
            });
        }
        Ok((slabs, cache.findings.total().wrapping_sub(before)))
    }

    /// What was found in a cache so far, by kind. It is the caller who knows that the
    /// cache does not end meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`].
    pub fn findings(&self, id: CacheId) -> Result<&'m Findings> {
        Ok(&self.table().cache(id)?.findings)
    }

    /// See [`ObjectAllocator::write_traces`](crate::slab::ObjectAllocator::write_traces);
    /// where owners are not tracked, Linux has no such file.
    pub(in crate::slab) fn gather_traces(
        &self,
        id: CacheId,
        item: TrackItem,
        table: &mut [Location],
        out: &mut dyn fmt::Write,
    ) -> Result<u64> {
        let cells = self.table().cache(id)?;
        let shape = cells.shape();
        if !shape.geometry.flags.has(SlabFlags::STORE_USER) {
            return Err(Error::NotSupported);
        }
        let mut locations = Locations::new(table);
        self.inspect(&shape, |cache| {
            for node in self.nodes(cells) {
                let locked = self.lock_node(&shape, node);
                for fullness in [Fullness::Partial, Fullness::Full] {
                    for slab in locked.slabs(fullness) {
                        cache.gather(&self.view(&shape, &slab), item, &mut locations);
                    }
                }
            }
            let nodes = self.mm.nodes.online().count();
            let written = cache.write_traces(out, &mut locations, nodes);
            written.map_err(|_| Error::Corrupt)
        })?;
        Ok(locations.left_out())
    }
}

impl<'m, P: Platform> LockedNode<'_, '_, 'm, P> {
    /// Notes what has become of a slab of the node, and moves it to its list.
    fn settle(&self, slab: &Slab<'m>, view: &View<'m>, was: Fullness) {
        let before = slab.inuse();
        SlabAllocator::<P>::store(self.shape, slab, view);
        let free = self.cells.free.load(Relaxed);
        let free = free.wrapping_add(before.into());
        let free = free.wrapping_sub(slab.inuse().into());
        self.cells.free.store(free, Relaxed);
        self.relist(slab, was, true);
    }

    /// Takes an object from the slabs of a cache that is debugged
    /// (`alloc_single_from_partial`).
    pub(in crate::slab) fn take_checked(&self, asked: &Asked) -> Option<ObjAddr> {
        while let Some(slab) = self.best() {
            let was = slab.fullness();
            let (taken, view) = self.take_one(&slab, asked);
            self.settle(&slab, &view, was);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// The same from a slab that is not the node's yet
    /// (`alloc_single_from_new_slab`).
    pub(in crate::slab) fn take_first_checked(
        &self,
        slab: &Slab<'m>,
        asked: &Asked,
    ) -> Option<ObjAddr> {
        let (taken, view) = self.take_one(slab, asked);
        SlabAllocator::<P>::store(self.shape, slab, &view);
        taken
    }

    /// Takes a slab's first free object, in a view of it.
    fn take_one(&self, slab: &Slab<'m>, asked: &Asked) -> (Option<ObjAddr>, View<'m>) {
        let mut view = self.system.view(self.shape, slab);
        let taken = self.system.inspect(self.shape, |cache| {
            let first = view.freelist;
            let place = view.place(&cache.layout, first);
            view.freelist = place.map_or(0, |place| cache.free_pointer(&view, place));
            view.inuse += 1;
            let size = match asked.size {
                0 => cache.layout.object_size,
                size => size,
            };
            let place = cache.alloc_object(&mut view, first, size).ok()?;
            if !view.is_valid(&cache.layout, view.freelist) {
                // Without the checks nobody has seen it yet.
                let (finding, what) = (Finding::FreePointer, "Freepointer corrupt");
                cache.object_err(Some(finding), &view, first, what);
                view.freelist = 0;
                view.inuse = view.objects;
            }
            if cache.layout.has(SlabFlags::STORE_USER) {
                (asked.track).store(view.bytes, &cache.layout, place, TrackItem::Alloc);
            }
            Some(ObjAddr::new(first))
        });
        (taken, view)
    }

    /// Gives an object back to its slab (`free_to_partial_list`).
    fn give_checked(
        &self,
        slab: &Slab<'m>,
        object: ObjAddr,
        track: &Track,
        discarded: &mut Discarded,
    ) -> Result<()> {
        let mut view = self.system.view(self.shape, slab);
        let was = slab.fullness();
        let ids = CacheId::new(self.shape.id).zip(slab.page.slab_cache().and_then(CacheId::new));
        let freed = self.system.inspect(self.shape, |cache| {
            let ids = ids.ok_or(Error::NotAnObject)?;
            if view.freelist == object.get() && !cache.layout.has(SlabFlags::CONSISTENCY_CHECKS) {
                // What set_freepointer() stops at.
                let (finding, what) = (Finding::AlreadyFree, "Object already free");
                cache.object_err(Some(finding), &view, object.get(), what);
                return Err(Error::ObjectFree);
            }
            let place = cache.free_object(&mut view, object.get(), ids, track)?;
            view.inuse -= 1;
            cache.set_free_pointer(&view, place, view.freelist);
            view.freelist = object.get();
            Ok(())
        });
        let empty = freed.is_ok() && view.inuse == 0;
        let keeps = self.cells.nr_partial() < self.shape.geometry.min_partial.into();
        if !empty || keeps {
            self.settle(slab, &view, was);
        } else {
            SlabAllocator::<P>::store(self.shape, slab, &view);
            crate::slab::node::add(&self.cells.free, 1);
            self.remove(was, slab.page);
            self.discard(slab, discarded);
        }
        freed
    }

    /// The pages of a slab, which is the node's no more, go back (`free_slab`).
    pub(in crate::slab) fn check_left(&self, slab: &Slab<'m>) {
        let checks = self.shape.geometry.flags.has(SlabFlags::CONSISTENCY_CHECKS);
        // At the end of the layer some of its own objects are in use.
        if checks && slab.inuse() == 0 {
            let view = self.system.view(self.shape, slab);
            self.system
                .inspect(self.shape, |cache| cache.check_discarded(&view));
        }
    }

    /// Looks at so many slabs of a list from one on, but for those that were given up;
    /// how many.
    fn check_list(
        &self,
        cache: &Cache<'_, P>,
        fullness: Fullness,
        (nr, first): (u64, Option<Pfn>),
    ) -> u64 {
        let (mut next, mut slabs) = (first, 0);
        // What is mended may go to another list; the count ends the walk.
        for _ in 0..nr {
            let Some(slab) = next.and_then(|pfn| self.system.slab(self.shape, pfn)) else {
                break;
            };
            next = slab.page.next();
            slabs += 1;
            let mut view = self.system.view(self.shape, &slab);
            if !view.frozen {
                cache.validate_slab(&mut view);
                self.settle(&slab, &view, fullness);
            }
        }
        slabs
    }
}
