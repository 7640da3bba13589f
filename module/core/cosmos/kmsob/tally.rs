// SPDX-License-Identifier: GPL-2.0

//! What there is of a cache: counted by walking its containers.

use super::caches::Room;
use super::layout::SizeIndex;
use super::layout::KOBLST_STEP;
use super::locked::Locked;
use super::locked::Place;
use super::record;
use super::Kmsob;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::slab::CacheCounts;
use crate::slab::CacheNodeReport;
use crate::slab::CacheReport;
use crate::slab::Constructor;
use crate::slab::Geometry;
use crate::slab::ObjAddr;
use crate::slab::SlabFlags;
use core::sync::atomic::Ordering::Relaxed;

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Pages on a node that are containers', extensions' or large objects'.
    pub fn pages_on(&self, nid: NodeId) -> Pages {
        let mut pages = self.pages_of_all(nid, |_, _| true);
        let locked = self.lock();
        locked.find_large(|pfn, order, _| {
            if locked.is_on(pfn, Some(nid)) {
                pages += order.pages();
            }
            None::<()>
        });
        pages
    }

    /// What there is of a cache, at one moment.
    pub(super) fn cache_report(&self, owner: Owner) -> Result<CacheReport> {
        let locked = self.lock();
        let room = locked.room(owner)?;
        let nodes = locked.tally(owner, None)?;
        let record = locked.record(owner)?;
        let mut counts = CacheCounts::default();
        let mut geometry = geometry(room);
        let name = match record {
            Some(record) => {
                counts.alloc_slowpath = record.allocs.load(Relaxed);
                counts.free_slowpath = record.frees.load(Relaxed);
                counts.failed = u64::from(record.failed.load(Relaxed));
                geometry.object_size = record.object_size.load(Relaxed);
                geometry.flags = record.flags();
                record.name()?
            }
            None => record::builtin_name(owner)?,
        };
        if let Some(list) = owner.of_size().map(|size| locked.list(size)) {
            let list = list?;
            counts.alloc_slowpath = list.allocs.load(Relaxed);
            counts.free_slowpath = list.frees.load(Relaxed);
            counts.failed = list.failed.load(Relaxed);
            let created = list.created.load(Relaxed);
            counts.alloc_slab = created.wrapping_add(list.extended.load(Relaxed));
            counts.free_slab = counts.alloc_slab.wrapping_sub(nodes.slabs);
        }
        Ok(CacheReport {
            id: owner.id().ok_or(Error::NoSuchCache)?,
            name,
            refcount: 1,
            geometry,
            ctor: Constructor::None,
            useroffset: 0,
            usersize: 0,
            nodes,
            cached: 0,
            active_objects: nodes.objects,
            pages: Pages(nodes.slabs.saturating_mul(geometry.order.pages().0)),
            counts,
        })
    }
}

/// How such objects lie in their blocks; an extension stands for all, and the
/// fewer objects of a container's own block are the fewest.
fn geometry(room: Room) -> Geometry {
    let size = room.size().0 as u32;
    let (order, objects, least) = match room {
        Room::Object(size) => (size.order(), size.extension().objects, size.own().objects),
        Room::Pages(order) => (order, 1, 1),
    };
    Geometry {
        object_size: size,
        size,
        inuse: size,
        offset: 0,
        align: KOBLST_STEP as u32,
        red_left_pad: 0,
        flags: SlabFlags::NONE,
        order,
        objects,
        min_order: order,
        min_objects: least,
        min_partial: 0,
        sheaf_capacity: 0,
    }
}

impl<P: Platform, A: PageAllocator> Locked<'_, P, A> {
    /// Counts what a cache has, on one node or on all.
    pub(super) fn tally(&self, owner: Owner, nid: Option<NodeId>) -> Result<CacheNodeReport> {
        let mut report = CacheNodeReport::default();
        match self.room(owner)? {
            Room::Object(size) => self.tally_blocks(owner, size, nid, &mut report)?,
            Room::Pages(_) => {
                self.find_large(|pfn, _, its| {
                    if its == owner && self.is_on(pfn, nid) {
                        report.slabs = report.slabs.wrapping_add(1);
                    }
                    None::<()>
                });
                report.full = report.slabs;
                report.total_objects = report.slabs;
                report.objects = report.slabs;
            }
        }
        Ok(report)
    }

    /// The cache of a size has the blocks and what is free in them.
    fn tally_blocks(
        &self,
        owner: Owner,
        size: SizeIndex,
        nid: Option<NodeId>,
        report: &mut CacheNodeReport,
    ) -> Result<()> {
        self.find_container(size, |container| {
            self.for_each_block(&container, |block| {
                if !self.is_on(block.pfn(), nid) {
                    return Ok(());
                }
                let (mut its, mut others) = (0u64, 0u64);
                for index in 0..block.layout.objects {
                    match self.owner(&block, index)? {
                        Some(found) if found == owner => its = its.wrapping_add(1),
                        Some(_) => others = others.wrapping_add(1),
                        None => {}
                    }
                }
                report.objects = report.objects.wrapping_add(its);
                if owner.of_size().is_none() {
                    report.total_objects = report.total_objects.wrapping_add(its);
                    return Ok(());
                }
                let objects = u64::from(block.layout.objects);
                let kind = match its.wrapping_add(others) {
                    0 => &mut report.empty,
                    used if used == objects => &mut report.full,
                    _ => &mut report.partial,
                };
                *kind = kind.wrapping_add(1);
                report.slabs = report.slabs.wrapping_add(1);
                let ours = objects.wrapping_sub(others);
                report.total_objects = report.total_objects.wrapping_add(ours);
                Ok(())
            })?;
            Ok(None::<()>)
        })?;
        Ok(())
    }

    /// Whether a block lies on a node, or none in particular is meant.
    pub(super) fn is_on(&self, pfn: Pfn, nid: Option<NodeId>) -> bool {
        let page = self.pool.pages.descriptor(pfn);
        nid.is_none_or(|nid| page.is_some_and(|page| page.nid() == nid))
    }

    /// What room the object at an address has.
    ///
    /// # Errors
    ///
    /// Those of [`Locked::locate`]; [`Error::ObjectFree`].
    pub(super) fn room_at(&self, object: ObjAddr) -> Result<Room> {
        match self.locate(object)? {
            Place::Object {
                container,
                block,
                index,
            } => {
                self.owner(&block, index)?.ok_or(Error::ObjectFree)?;
                Ok(Room::Object(container.size))
            }
            Place::Large { order, .. } => Ok(Room::Pages(order)),
        }
    }

    /// The `nth` object that a cache has.
    pub(super) fn nth_of(&self, owner: Owner, nth: u64) -> Result<Option<(Pfn, ObjAddr)>> {
        let mut left = nth;
        let mut is_it = || {
            let is_it = left == 0;
            left = left.wrapping_sub(1);
            is_it
        };
        let Room::Object(size) = self.room(owner)? else {
            return Ok(self.find_large(|pfn, _, its| {
                let object = ObjAddr::new(pfn.addr().0);
                (its == owner && is_it()).then_some((pfn, object))
            }));
        };
        self.find_container(size, |container| {
            let mut found = None;
            self.for_each_block(&container, |block| {
                for index in 0..block.layout.objects {
                    if self.owner(&block, index)? == Some(owner) && is_it() {
                        found = Some((block.pfn(), block.object(index)));
                    }
                }
                Ok(())
            })?;
            Ok(found)
        })
    }
}
