// SPDX-License-Identifier: GPL-2.0

//! The running memory manager: what the boot ends in.

use super::steps::for_each_cpu_node;
use crate::allocator::Allocator;
use crate::buddy::BuddySystem;
use crate::buddy::Deferred;
use crate::buddy::PageAllocator;
use crate::buddy::Policies;
use crate::buddy::ShrinkControl;
use crate::buddy::Shrinker;
use crate::buddy::Statistics;
use crate::buddy::Violation;
use crate::buddy::VmEvent;
use crate::cosmos::kmsob::Kmsob;
use crate::cosmos::kmsob::KmsobPool;
use crate::cosmos::CosmosSystem;
use crate::cosmos::MemAreas;
use crate::early::MemoryRanges;
use crate::error::Error;
use crate::firmware::CpuMap;
use crate::memblock::RetiredMemblock;
use crate::mm::AddressSpaces;
use crate::mm::SpacesTable;
use crate::node::Node;
use crate::node::Nodes;
use crate::page::ZoneId;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Region;
use crate::platform::Platform;
use crate::slab::ObjectAllocator;
use crate::slab::ObjectAllocatorKind;
use crate::slab::Objects;
use crate::slab::SlabAllocator;
use crate::slab::SlabConfig;
use crate::slab::SlabTable;
use crate::sparse::Sparse;
use crate::tunables::Tunables;
use crate::watermark;
use crate::watermark::Reserves;
use core::fmt;

/// Cosmos's object pool over the page allocator that has the pages.
pub type KmsobOf<'a, 'm, P> = Kmsob<'a, P, Allocator<'a, P, Sparse<'m>, Nodes<'m, P>>>;

/// A booted shadow. Everybody may use it at once: what changes is behind the
/// zones' locks or belongs to one CPU.
pub struct Mm<'m, P: Platform> {
    /// The surroundings.
    pub platform: P,
    /// The memory.
    pub region: &'m Region<'m>,
    /// The page descriptors.
    pub sparse: &'m Sparse<'m>,
    /// Nodes and zones.
    pub nodes: &'m Nodes<'m, P>,
    /// What has happened.
    pub stats: Statistics<'m>,
    /// Cosmos's areas, if Cosmos's manager has the pages.
    pub areas: Option<MemAreas<'m, P>>,
    /// Where the slab layer finds its caches.
    pub(crate) slab: &'m SlabTable<'m>,
    /// The head of Cosmos's object pool, if that makes objects.
    pub kmsob: Option<KmsobPool<'m, P>>,
    /// What was wanted of the slab layer.
    pub(crate) slab_config: &'m SlabConfig,
    /// What address spaces have in common.
    pub(crate) spaces: SpacesTable,
    /// What memblock was at the hand-off.
    pub memblock: RetiredMemblock<'m>,
    /// The knobs of `/proc/sys/vm`.
    pub tunables: Tunables,
    /// What was decided from them.
    pub reserves: Reserves,
}

impl<'m, P: Platform> Mm<'m, P> {
    /// The page allocator that has the pages.
    #[inline]
    pub fn allocator(&self) -> Allocator<'_, P, Sparse<'m>, Nodes<'m, P>> {
        match &self.areas {
            None => Allocator::Buddy(self.buddy()),
            Some(areas) => Allocator::Cosmos(CosmosSystem {
                platform: &self.platform,
                map: self.sparse,
                zones: self.nodes,
                memory: self.region,
                stats: &self.stats,
                areas,
            }),
        }
    }

    /// The buddy system; it has no page where another allocator has them.
    #[inline]
    pub fn buddy(&self) -> BuddySystem<'_, P, Sparse<'m>, Nodes<'m, P>> {
        BuddySystem {
            platform: &self.platform,
            map: self.sparse,
            zones: self.nodes,
            memory: self.region,
            stats: &self.stats,
            shrinker: Some(self),
        }
    }

    /// The slab layer. Its first use brings it up (`kmem_cache_init`).
    ///
    /// # Errors
    ///
    /// Those of the page allocator, when it has no pages for the layer's own
    /// caches.
    #[inline]
    pub fn slab(&self) -> Result<SlabAllocator<'_, 'm, P>, Error> {
        let slab = SlabAllocator::new(self);
        match self.slab.is_up() {
            true => Ok(slab),
            false => self.bring_up(slab),
        }
    }

    #[cold]
    #[inline(never)]
    fn bring_up<'a>(
        &'a self,
        slab: SlabAllocator<'a, 'm, P>,
    ) -> Result<SlabAllocator<'a, 'm, P>, Error> {
        slab.bring_up()?;
        // Who needs one for which there is no memory tries again.
        let _ = self.spaces().make_caches();
        Ok(slab)
    }

    /// The private address spaces.
    #[inline]
    pub const fn spaces(&self) -> AddressSpaces<'_, 'm, P> {
        AddressSpaces::new(self)
    }

    /// Ends what was built on pages, the last first: the address spaces' caches, and then
    /// the slab layer. Before the boot begins anew.
    ///
    /// # Errors
    ///
    /// [`Error::CacheBusy`] while there is an address space, an object, or a cache of a
    /// user's; what comes after that stays.
    pub fn shut_down(&self) -> Result<(), Error> {
        self.spaces().shut_down()?;
        SlabAllocator::new(self).shut_down()
    }

    /// Cosmos's object pool, if that makes objects.
    pub fn kmsob(&self) -> Option<KmsobOf<'_, 'm, P>> {
        let pool = self.kmsob.as_ref()?;
        Some(Kmsob {
            pages: self.allocator(),
            platform: &self.platform,
            memory: self.region,
            pool,
        })
    }

    /// Pages of slabs on a node, or on all for none: of caches whose objects can be
    /// reclaimed, or of the others. None before the layer is up.
    pub fn slab_pages(&self, nid: NodeId, reclaimable: bool) -> Pages {
        match self.slab.is_up() {
            true => SlabAllocator::new(self).slab_pages(nid, reclaimable),
            false => Pages::ZERO,
        }
    }

    /// Who makes objects of pages. The first use brings it up.
    ///
    /// # Errors
    ///
    /// Those of [`Mm::slab`].
    pub fn objects(&self) -> Result<Objects<'_, 'm, P>, Error> {
        Ok(match self.kmsob() {
            Some(kmsob) => Objects::Kmsob(kmsob),
            None => Objects::Slab(self.slab()?),
        })
    }

    /// The same where it is up: for those who look.
    pub fn objects_if_up(&self) -> Option<Objects<'_, 'm, P>> {
        match self.kmsob() {
            Some(kmsob) => Some(Objects::Kmsob(kmsob)),
            None if self.slab.is_up() => Some(Objects::Slab(SlabAllocator::new(self))),
            None => None,
        }
    }

    /// Makes the caches of address spaces, if they are not there yet: who brings the slab layer up does that (`proc_caches_init`,
    /// `maple_tree_init`), and who needs all of them, or a name that is none of theirs, waits for him, or makes what he
    /// had no memory for. Where Cosmos's pool makes the objects they are nobody's affair.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCache`] where the layer is not up; what keeps the page allocator from giving pages.
    pub fn make_caches(&self) -> Result<(), Error> {
        match self.objects_if_up() {
            Some(Objects::Slab(_)) => self.spaces().make_caches(),
            Some(Objects::Kmsob(_)) => Ok(()),
            None => Err(Error::NoSuchCache),
        }
    }

    /// Which of them it is.
    pub fn objects_kind(&self) -> ObjectAllocatorKind {
        match self.kmsob {
            Some(_) => ObjectAllocatorKind::Kmsob,
            None => ObjectAllocatorKind::Slab,
        }
    }

    /// Somebody begins to want to be told of every object, or nobody does any more. The
    /// layer need not be up: whoever brings it up just now may have asked before, and is
    /// waited for. Sleeps.
    pub fn refresh_told(&self) {
        SlabAllocator::new(self).refresh_told();
    }

    /// Where NUMA policies have their requests served.
    pub fn policies(&self) -> Policies<'_, P, Sparse<'m>, Nodes<'m, P>> {
        Policies {
            platform: &self.platform,
            map: self.sparse,
            zones: self.nodes,
            stats: &self.stats,
        }
    }

    /// The ranges of RAM with their nodes.
    pub fn memory(&self) -> impl MemoryRanges + '_ {
        let regions = self.memblock.memory.as_slice().iter();
        regions.map(|region| (region.nid, region.memory_pfns()))
    }

    /// Pages that the allocator was given (`totalram_pages`).
    pub fn managed(&self) -> Pages {
        self.nodes.zones().map(|zone| zone.managed()).sum()
    }

    /// Pages that are free (`NR_FREE_PAGES`).
    pub fn free(&self) -> Pages {
        self.nodes.online().map(|node| self.free_on(node)).sum()
    }

    /// Pages of a node that are free.
    pub fn free_on(&self, node: &Node<'_, P>) -> Pages {
        let allocator = self.allocator();
        let zones = node.zones().iter();
        let reports = zones.filter_map(|zone| {
            let id = ZoneId::new(zone.nid, zone.kind);
            allocator.free_report(id)
        });
        reports.map(|report| report.free).sum()
    }

    /// What the manager itself takes of the region: descriptors, section
    /// tables, nodes with their zones, statistics.
    pub fn metadata(&self) -> Bytes {
        let sparse = self.sparse.map_bytes() + self.sparse.table_bytes();
        sparse + self.nodes.data_bytes() + self.stats.bytes() + self.cosmos_bytes()
    }

    /// What Cosmos's areas and the head of its object pool take of the region.
    pub(super) fn cosmos_bytes(&self) -> Bytes {
        let areas = self.areas.as_ref().map_or(Bytes::ZERO, MemAreas::bytes);
        areas + self.kmsob.as_ref().map_or(Bytes::ZERO, KmsobPool::bytes)
    }

    /// Lets the CPUs keep pages of their own; again when CPUs have come or gone
    /// or the watermarks have changed (`setup_per_cpu_pageset`,
    /// `page_alloc_cpu_online`). The map says which CPU is on which node.
    /// A CPU that is about to come up counts as one that is.
    pub fn setup_pagesets(&self, cpus: &CpuMap, coming: Option<CpuId>) {
        self.buddy().setup_pagesets(|nid| {
            let mut up = 0;
            for_each_cpu_node(&self.platform, self.nodes, cpus, |cpu, on| {
                let counts = self.platform.is_online(cpu) || coming == Some(cpu);
                up += u64::from(on == nid && counts);
            });
            up
        });
    }

    /// What a CPU that is gone has kept goes back: its objects first, which may give
    /// pages back (`slub_cpu_dead`, `page_alloc_cpu_dead`).
    pub fn drain_dead(&self, cpu: CpuId) {
        SlabAllocator::new(self).drain_cpu(cpu);
        self.buddy().drain_pages(cpu);
    }

    /// What is to be done now and then on each CPU, by a thread that stays there: its
    /// pagesets shrink and expire, and slabs go that have waited for a grace period.
    /// Whether there is more to do in a second. Sleeps.
    pub fn refresh(&self) -> bool {
        SlabAllocator::new(self).free_waiting();
        self.buddy().refresh_pagesets()
    }

    /// Whether [`Mm::refresh`] would find something on that CPU.
    pub fn wants_refresh(&self, cpu: CpuId) -> bool {
        SlabAllocator::new(self).has_waiting() || self.buddy().wants_refresh(cpu)
    }

    /// Gives the zones of a node, or of all, back what the CPUs keep of them
    /// (`drain_all_pages`), and says how many pages those were.
    ///
    /// # Errors
    ///
    /// [`Error::NodeOffline`] where there is no such node.
    pub fn drain(&self, nid: Option<NodeId>) -> Result<Pages, Error> {
        let buddy = self.buddy();
        let Some(nid) = nid else {
            return Ok(buddy.drain_all_pages());
        };
        let node = self.nodes.get_online(nid).ok_or(Error::NodeOffline)?;
        let zones = node.zones().iter();
        let drained = zones.map(|zone| buddy.drain_zone(ZoneId::new(nid, zone.kind)));
        Ok(drained.sum())
    }

    /// Compacts a node, or all, and says how many pages have moved meanwhile
    /// (`/proc/sys/vm/compact_memory`).
    ///
    /// # Errors
    ///
    /// [`Error::NodeOffline`] where there is no such node.
    pub fn compact(&self, nid: Option<NodeId>) -> Result<Pages, Error> {
        if nid.is_some_and(|nid| self.nodes.get_online(nid).is_none()) {
            return Err(Error::NodeOffline);
        }
        let moved = || self.stats.vm_event(VmEvent::PgmigrateSuccess);
        let before = moved();
        let buddy = self.buddy();
        for node in self.nodes.online() {
            if nid.is_none_or(|nid| nid == node.node_id) {
                buddy.compact_node(node.node_id);
            }
        }
        Ok(Pages(moved().wrapping_sub(before)))
    }

    /// Checks every invariant, from memblock to the free lists.
    ///
    /// # Errors
    ///
    /// The first [`Flaw`] found.
    pub fn validate(&self) -> Result<(), Flaw> {
        let told = |room| move |(_, text)| Flaw::new(room, text);
        let memblock = self.memblock.validate();
        memblock.map_err(|_| Flaw::new("memblock", "a region array is not in order"))?;
        self.sparse
            .validate(self.memory())
            .map_err(told("sparse"))?;
        self.nodes.validate(self.memory()).map_err(told("node"))?;
        let pages = self.nodes.validate_pages(self.sparse, self.memory());
        pages.map_err(told("page"))?;
        let marks = watermark::validate(self.nodes, &self.tunables, &self.reserves);
        marks.map_err(told("watermark"))?;
        let allocator = self.allocator();
        allocator.validate().map_err(|violation| Flaw {
            room: allocator.kind().name(),
            text: violation.what,
            place: Some(violation),
        })?;
        let objects = self.kmsob().map_or(Ok(()), |kmsob| kmsob.validate());
        objects.map_err(|flaw| Flaw::new("kmsob", flaw.what))?;
        let slab = SlabAllocator::new(self).validate();
        slab.map_err(|flaw| Flaw::new("slab", flaw.what))?;
        let spaces = self.spaces().validate();
        spaces.map_err(|wrong| Flaw::new("mm", wrong))
    }
}

/// What nobody uses of the slab layer, or of Cosmos's pool in its place, goes when
/// memory is short.
impl<P: Platform> Shrinker for Mm<'_, P> {
    fn name(&self) -> &'static str {
        match &self.kmsob {
            None => SlabAllocator::new(self).name(),
            Some(_) => "shadowmm-kmsob",
        }
    }

    fn count(&self, control: &ShrinkControl) -> u64 {
        match self.kmsob() {
            None => SlabAllocator::new(self).count(control),
            Some(kmsob) => kmsob.unused(control.nid).0,
        }
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        let Some(kmsob) = self.kmsob() else {
            return SlabAllocator::new(self).scan(control);
        };
        // A container's extensions are looked at together, wherever they lie.
        let pages = kmsob.shrink_all();
        control.nr_scanned = control.nr_scanned.max(pages.0);
        control.reclaimed += pages;
        (!pages.is_zero()).then_some(pages.0)
    }

    fn deferred(&self) -> &Deferred {
        self.slab.deferred()
    }

    fn batch(&self) -> u64 {
        SlabAllocator::new(self).batch()
    }

    fn is_numa_aware(&self) -> bool {
        SlabAllocator::new(self).is_numa_aware()
    }

    fn slab_pages(&self, reclaimable: bool) -> Pages {
        Mm::slab_pages(self, NodeId::NONE, reclaimable)
    }
}

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    room: &'static str,
    text: &'static str,
    place: Option<Violation>,
}

impl Flaw {
    pub(super) const fn new(room: &'static str, text: &'static str) -> Self {
        Self {
            room,
            text,
            place: None,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.room)?;
        match &self.place {
            Some(violation) => violation.fmt(f),
            None => f.write_str(self.text),
        }
    }
}
