// SPDX-License-Identifier: GPL-2.0

//! A cache, in cells: how its slabs are laid out, and what there is one of.

use super::names::NameCells;
use crate::phys::cells;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::slab::barn::barn_size;
use crate::slab::debug::Findings;
use crate::slab::geometry::Geometry;
use crate::slab::magazine::magazine_capacity;
use crate::slab::object::CacheId;
use crate::slab::object::CacheName;
use crate::slab::object::Constructor;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

cells! {
    /// A cache (`struct kmem_cache`). Behind it lie the addresses of its
    /// [`NodeCells`], one for each node number, 0 where it has none.
    #[repr(align(8))]
    pub(in crate::slab) struct CacheCells {
        pub(in crate::slab) id: AtomicU32,
        /// Where it lies itself.
        pub(in crate::slab) addr: AtomicU64,
        /// How many caches it is; as `i32`, -1 for one that is never shared.
        pub(in crate::slab) refcount: AtomicU32,
        pub(in crate::slab) name: NameCells,
        object_size: AtomicU32,
        size: AtomicU32,
        inuse: AtomicU32,
        offset: AtomicU32,
        align: AtomicU32,
        red_left_pad: AtomicU32,
        flags: AtomicU32,
        orders: AtomicU32,
        objects: AtomicU32,
        min_objects: AtomicU32,
        min_partial: AtomicU32,
        sheaf_capacity: AtomicU32,
        pub(in crate::slab) useroffset: AtomicU32,
        pub(in crate::slab) usersize: AtomicU32,
        /// Not 0 where its objects are core's own ([`CacheArgs::of_core`](super::super::CacheArgs::of_core)).
        pub(in crate::slab) of_core: AtomicU32,
        /// See [`reciprocal`].
        inverse: AtomicU64,
        /// How many objects a CPU keeps; 0 for none.
        pub(in crate::slab) capacity: AtomicU32,
        ctor: AtomicU64,
        /// For how many objects the constructor has run.
        pub(in crate::slab) constructed: AtomicU64,
        /// What free pointers are hidden with (`random`).
        random: AtomicU64,
        /// Which cache it was, in the order in which they came.
        pub(in crate::slab) sequence: AtomicU64,
        /// The newest alias.
        pub(in crate::slab) aliases: AtomicU64,
        /// The CPUs' array; 0 for none.
        pub(in crate::slab) cpus: AtomicU64,
        /// Requests that were not served.
        pub(in crate::slab) failed: AtomicU64,
        /// How often CPUs' magazines were taken from them.
        pub(in crate::slab) cpu_flush: AtomicU64,
        /// Requests from anywhere that are at work in it.
        pub(in crate::slab) users: AtomicU64,
        /// What debugging has found.
        pub(in crate::slab) findings: Findings,
    }
}

/// With which number an offset in a slab is multiplied for the upper half of the
/// product to be the object's index: 2^64 / size, rounded up. For offsets below
/// 2^32 the lower half is less than this number for multiples of the size, and for
/// them alone.
const fn reciprocal(size: u32) -> u64 {
    match u64::MAX.checked_div(size as u64) {
        Some(quotient) => quotient.wrapping_add(1),
        None => 0,
    }
}

/// With what the free pointer that lies at this address is hidden by a cache that has
/// this number (`freelist_ptr_encode`).
#[inline(always)]
pub(in crate::slab) const fn free_pointer_mask(random: u64, at: u64) -> u64 {
    random ^ at.swap_bytes()
}

impl CacheCells {
    /// A cache of this kind, with nothing in it.
    pub(in crate::slab) fn init(
        &self,
        addr: u64,
        id: CacheId,
        name: &CacheName,
        geometry: &Geometry,
        random: u64,
    ) {
        self.addr.store(addr, Relaxed);
        self.id.store(id.get().into(), Relaxed);
        self.refcount.store(1, Relaxed);
        self.name.set(name);
        self.set_geometry(geometry);
        self.random.store(random, Relaxed);
        self.findings.clear();
        for zero in [
            &self.useroffset,
            &self.usersize,
            &self.of_core,
            &self.capacity,
        ] {
            zero.store(0, Relaxed);
        }
        for zero in [
            &self.ctor,
            &self.constructed,
            &self.sequence,
            &self.aliases,
            &self.cpus,
            &self.failed,
            &self.cpu_flush,
            &self.users,
        ] {
            zero.store(0, Relaxed);
        }
    }

    /// Says how the slabs are laid out. With slabs there, only what a merge
    /// changes may be other than before.
    pub(in crate::slab) fn set_geometry(&self, geometry: &Geometry) {
        let orders = u32::from(geometry.order.get()) | (u32::from(geometry.min_order.get()) << 8);
        for (cell, value) in [
            (&self.object_size, geometry.object_size),
            (&self.size, geometry.size),
            (&self.inuse, geometry.inuse),
            (&self.offset, geometry.offset),
            (&self.align, geometry.align),
            (&self.red_left_pad, geometry.red_left_pad),
            (&self.flags, geometry.flags.bits()),
            (&self.orders, orders),
            (&self.objects, geometry.objects),
            (&self.min_objects, geometry.min_objects),
            (&self.min_partial, geometry.min_partial),
            (&self.sheaf_capacity, geometry.sheaf_capacity),
        ] {
            cell.store(value, Relaxed);
        }
        self.inverse.store(reciprocal(geometry.size), Relaxed);
    }

    /// Says how many empty slabs a node may keep.
    pub(in crate::slab) fn set_min_partial(&self, slabs: u32) {
        self.min_partial.store(slabs, Relaxed);
    }

    /// How the slabs are laid out.
    #[inline]
    pub(in crate::slab) fn geometry(&self) -> Geometry {
        let orders = self.orders.load(Relaxed);
        let order = |bits: u32| PageOrder::new(bits & 0xff).unwrap_or(PageOrder::ZERO);
        let flags = crate::slab::flags::SlabFlags::from_bits(self.flags.load(Relaxed));
        Geometry {
            object_size: self.object_size.load(Relaxed),
            size: self.size.load(Relaxed),
            inuse: self.inuse.load(Relaxed),
            offset: self.offset.load(Relaxed),
            align: self.align.load(Relaxed),
            red_left_pad: self.red_left_pad.load(Relaxed),
            flags: flags.unwrap_or_default(),
            order: order(orders),
            objects: self.objects.load(Relaxed),
            min_order: order(orders >> 8),
            min_objects: self.min_objects.load(Relaxed),
            min_partial: self.min_partial.load(Relaxed),
            sheaf_capacity: self.sheaf_capacity.load(Relaxed),
        }
    }

    /// Where it lies.
    #[inline]
    pub(in crate::slab) fn addr(&self) -> u64 {
        self.addr.load(Relaxed)
    }

    /// Its number; `None` where there is no cache.
    #[inline]
    pub(in crate::slab) fn id(&self) -> Option<CacheId> {
        CacheId::new(u16::try_from(self.id.load(Relaxed)).ok()?)
    }

    /// What is done to the objects of a new slab.
    #[inline]
    pub(in crate::slab) fn ctor(&self) -> Constructor {
        Constructor::from_bits(self.ctor.load(Relaxed))
    }

    pub(in crate::slab) fn set_ctor(&self, ctor: Constructor) {
        self.ctor.store(ctor.to_bits(), Relaxed);
    }

    /// All that whoever works on its slabs needs.
    #[inline]
    pub(in crate::slab) fn shape(&self) -> Shape {
        Shape {
            id: self.id.load(Relaxed) as u16,
            addr: self.addr(),
            geometry: self.geometry(),
            inverse: self.inverse.load(Relaxed),
            random: self.random.load(Relaxed),
        }
    }
}

impl Shape {
    /// That of a cache which is still to be made.
    pub(in crate::slab) fn new(id: u16, geometry: Geometry, random: u64) -> Self {
        Self {
            id,
            addr: 0,
            geometry,
            inverse: reciprocal(geometry.size),
            random,
        }
    }

    /// How many objects a CPU may keep.
    #[inline]
    pub(in crate::slab) fn capacity(&self) -> u32 {
        magazine_capacity(self.geometry.sheaf_capacity)
    }

    /// How large a node's store is.
    #[inline]
    pub(in crate::slab) fn barn_size(&self) -> Bytes {
        barn_size(self.geometry.sheaf_capacity)
    }

    /// In which order the objects of a new slab come: a number that nobody knows who
    /// does not know the cache's own, another for each slab. Linux draws an order for
    /// each cache, and where it begins for each slab; a number drawn for each slab is
    /// what costs most of it.
    #[inline]
    pub(in crate::slab) const fn order_of(&self, pfn: Pfn, sequence: u64) -> u64 {
        let mut mixed = self.random ^ (pfn.0 << 24) ^ sequence;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The index of the object that begins so many bytes behind the first of a slab's
    /// `objects`, if one does.
    #[inline(always)]
    pub(in crate::slab) fn index_at(&self, offset: u64, objects: u32) -> Option<u32> {
        // With the product in between each is a branch, and nothing is put together.
        if offset >= u64::from(self.geometry.size).wrapping_mul(objects.into()) {
            return None;
        }
        let product = u128::from(offset).wrapping_mul(self.inverse.into());
        ((product as u64) < self.inverse).then_some((product >> 64) as u32)
    }

    /// With what the free pointer that lies at this address is hidden
    /// (`freelist_ptr_encode`).
    #[inline(always)]
    pub(in crate::slab) const fn free_pointer_mask(&self, at: u64) -> u64 {
        free_pointer_mask(self.random, at)
    }
}

/// How a cache's slabs are read.
#[derive(Clone, Copy)]
pub(in crate::slab) struct Shape {
    pub(in crate::slab) id: u16,
    /// Where its cells are; 0 for a cache that is still to be made.
    pub(in crate::slab) addr: u64,
    pub(in crate::slab) geometry: Geometry,
    /// See [`reciprocal`].
    pub(in crate::slab) inverse: u64,
    pub(in crate::slab) random: u64,
}
