// SPDX-License-Identifier: GPL-2.0

//! Copies of a node's zones that core's buddy system manages: page descriptors,
//! page blocks, zones and per-CPU slots for exactly the frames of the host's
//! zones, in the host's numbers, with no memory behind them.
//!
//! ```text
//! host   node 1   DMA32 |####|      Normal |##########|
//!                   |                  |
//! Twin   pages    [ .... ......................... ]  one for each frame
//!        blocks   [ .    .  .  .  .  .  .  .  .  . ]  one for each page block
//!        zones      DMA32              Normal
//!        slots      pagesets and counts of each CPU
//! ```
//!
//! A [`View`] lends all that to a `BuddySystem`, the very same code that runs
//! the shadow, the short way of single pages included. Only its surroundings are
//! not quite those of the shadow: every CPU counts as one of the node, so that a
//! request for the node at hand is one for this node, and each finds its pagesets
//! through the copies' own table.

use super::host_zone;
use super::host_zone::HostZone;
use super::host_zone::PageKind;
use super::host_zone::ZoneNumbers;
use crate::platform;
use crate::platform::CpuGuard;
use crate::platform::RawGuard;
use crate::platform::SpinLock;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use shadowmm_core::buddy::BuddySystem;
use shadowmm_core::buddy::CpuLocal;
use shadowmm_core::buddy::CpuStats;
use shadowmm_core::buddy::MemMap;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::buddy::Pageblock;
use shadowmm_core::buddy::Statistics;
use shadowmm_core::buddy::ZoneStats;
use shadowmm_core::buddy::ZoneTable;
use shadowmm_core::buddy::NR_PCP_LISTS;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::page::PageDescriptor;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::page::NR_ZONE_TYPES;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PfnRange;
use shadowmm_core::phys::Region;
use shadowmm_core::phys::PAGEBLOCK_ORDER;
use shadowmm_core::platform::Platform;
use shadowmm_core::sparse::Stretch;
use shadowmm_core::zone::Watermark;
use shadowmm_core::zone::Zone;
use shadowmm_core::zonelist::ZoneRef;
use shadowmm_core::zonelist::Zonelist;
use shadowmm_core::zonelist::ZonelistKind;

/// The memory behind the pages: none.
static NO_MEMORY: Region<'static> = Region::EMPTY;

/// The watermarks, in their order.
const MARKS: [Watermark; 4] = [
    Watermark::Min,
    Watermark::Low,
    Watermark::High,
    Watermark::Promo,
];

/// The surroundings of the copies.
pub(crate) struct Beside(AtomicI32);

/// The surroundings of all copies: there are some of one node at a time.
static BESIDE: Beside = Beside(AtomicI32::new(0));

impl Platform for Beside {
    type Lock<T: Send> = SpinLock<T>;
    type CpuGuard<'a> = CpuGuard;
    type RawGuard<'a> = RawGuard<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> RawGuard<'a> {
        platform::raw_lock(word)
    }

    fn nr_cpus(&self) -> u32 {
        platform::nr_cpus()
    }

    fn is_online(&self, cpu: CpuId) -> bool {
        platform::is_online(cpu)
    }

    fn pin_cpu(&self) -> (CpuId, CpuGuard) {
        platform::pin_cpu()
    }

    fn synchronize(&self) {
        platform::synchronize();
    }

    fn local_node(&self) -> NodeId {
        NodeId(self.0.load(Relaxed))
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

/// Copies of the zones of one of the host's nodes.
pub(crate) struct Twin {
    nid: NodeId,
    nr_online_nodes: usize,
    /// The copies, the highest kind first, as a zonelist has them.
    zones: KVec<Zone<Beside>>,
    span: PfnRange,
    pages: KVVec<PageDescriptor>,
    blocks: KVVec<Pageblock>,
    cpu_slots: KVVec<CpuStats>,
    zone_slots: KVVec<ZoneStats>,
}

/// Descriptors and page blocks by frame number.
pub(crate) struct Map<'a> {
    start: Pfn,
    pages: &'a [PageDescriptor],
    blocks: &'a [Pageblock],
}

impl MemMap for Map<'_> {
    #[inline]
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        self.pages.get(pfn.0.checked_sub(self.start.0)? as usize)
    }

    #[inline]
    fn pages(&self, pfn: Pfn, len: u32) -> Option<&[PageDescriptor]> {
        let first = pfn.0.checked_sub(self.start.0)? as usize;
        self.pages.get(first..)?.get(..len as usize)
    }

    #[inline]
    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        self.blocks.get((pfn.0 >> PAGEBLOCK_ORDER) as usize)
    }

    fn is_mobility_disabled(&self) -> bool {
        // The host turns it off where there are a few page blocks in all.
        false
    }
}

/// The node's zones.
pub(crate) struct Zones<'a> {
    nid: NodeId,
    nr_online_nodes: usize,
    zones: &'a [Zone<Beside>],
    refs: [ZoneRef<'a, Beside>; NR_ZONE_TYPES],
}

impl ZoneTable<Beside> for Zones<'_> {
    #[inline]
    fn zone(&self, id: ZoneId) -> Option<&Zone<Beside>> {
        let mut zones = self.zones.iter();
        zones.find(|zone| ZoneId::new(zone.nid, zone.kind) == id)
    }

    #[inline]
    fn zonelist(&self, nid: NodeId, _kind: ZonelistKind) -> Option<Zonelist<'_, Beside>> {
        let refs = self.refs.get(..self.zones.len())?;
        (nid == self.nid).then_some(Zonelist::new(refs))
    }

    fn nr_online_nodes(&self) -> usize {
        self.nr_online_nodes
    }
}

/// What a buddy system of the copies is made of.
pub(crate) struct View<'a> {
    map: Map<'a>,
    zones: Zones<'a>,
    stats: Statistics<'a>,
}

/// The buddy system of the copies.
pub(crate) type Buddy<'a, 'v> = BuddySystem<'v, Beside, Map<'a>, Zones<'a>>;

impl<'a> View<'a> {
    /// The buddy system.
    pub(crate) fn buddy(&self) -> Buddy<'a, '_> {
        BuddySystem {
            platform: &BESIDE,
            map: &self.map,
            zones: &self.zones,
            memory: &NO_MEMORY,
            stats: &self.stats,
            shrinker: None,
        }
    }

    /// The counts of a zone.
    pub(crate) fn numbers(&self, kind: ZoneType) -> ZoneNumbers {
        let id = ZoneId::new(self.zones.nid, kind);
        let Some(zone) = self.zones.zone(id) else {
            return ZoneNumbers::default();
        };
        let counts = &zone.free_counts;
        ZoneNumbers {
            free: counts.free_pages().0,
            free_cma: counts.free_cma().0,
            free_highatomic: counts.free_highatomic().0,
            free_blocks: counts.free_pages_blocks().0,
            state: self.buddy().zone_state(id).unwrap_or_default(),
            nr_free: counts.blocks(),
        }
    }

    /// The type of a page block and whether it is isolated.
    pub(crate) fn pageblock(&self, pfn: Pfn) -> Option<(MigrateType, bool)> {
        let block = self.map.pageblock(pfn)?;
        Some((block.base_migratetype(), block.is_isolated()))
    }
}

/// All CPUs that are up.
pub(crate) fn online_cpus() -> impl Iterator<Item = CpuId> {
    let cpus = (0..platform::nr_cpus()).map(CpuId);
    cpus.filter(|&cpu| platform::is_online(cpu))
}

fn no_memory<E>(_: E) -> Error {
    Error::NoHostMemory
}

impl Twin {
    /// Copies of these zones, which are all of the node, in the state that they
    /// are in. `room` holds a whole list.
    ///
    /// # Errors
    ///
    /// [`Error::DiffNoZones`] for no zone, [`Error::NoHostMemory`], and what the
    /// buddy system says to a state that can't be.
    pub(crate) fn new(nid: NodeId, host: &[HostZone], room: &mut [u32]) -> CoreResult<Self> {
        BESIDE.0.store(nid.0, Relaxed);
        let mut twin = Self::empty(nid, host)?;
        twin.init_pages(host);
        let view = twin.view(&[])?;
        for zone in host {
            load(nid, &view, zone, room)?;
        }
        Ok(twin)
    }

    /// The copies with nothing in them.
    fn empty(nid: NodeId, host: &[HostZone]) -> CoreResult<Self> {
        let mut zones = KVec::new();
        let mut span = PfnRange::default();
        for zone in host {
            let shape = zone.shape();
            let start = Pfn(shape.start_pfn);
            let own = PfnRange {
                start,
                end: start + Pages(shape.spanned),
            };
            span = match zones.is_empty() {
                true => own,
                false => PfnRange {
                    start: span.start.min(own.start),
                    end: span.end.max(own.end),
                },
            };
            copy_zone(&mut zones, nid, zone, own)?;
        }
        // Whole largest blocks, so that no page block is cut.
        span.start = span.start.align_down(PageOrder::MAX);
        let frames = span.pages().0 as usize;
        let nr_cpus = platform::nr_cpus() as usize;
        let nr_zones = nr_nodes(nid) * NR_ZONE_TYPES;
        Ok(Self {
            nid,
            nr_online_nodes: host_zone::nr_online_nodes(),
            zones,
            span,
            pages: filled(frames, PageDescriptor::hole)?,
            blocks: filled((span.end.0 as usize >> PAGEBLOCK_ORDER) + 1, Pageblock::new)?,
            cpu_slots: filled(nr_cpus, CpuStats::new)?,
            zone_slots: filled(nr_cpus * nr_zones, ZoneStats::new)?,
        })
    }

    /// Enters every frame in its zone, reserved, and the page blocks' types.
    fn init_pages(&mut self, host: &[HostZone]) {
        for (i, page) in self.pages.iter().enumerate() {
            let pfn = self.span.start + Pages(i as u64);
            for zone in host {
                match zone.page_kind(pfn) {
                    PageKind::Foreign => continue,
                    PageKind::Fixed => page.init(self.nid, zone.kind, PageState::Reserved),
                    PageKind::Movable => {
                        // Somebody's, who can move it: that counts when a page
                        // block is claimed.
                        page.init(self.nid, zone.kind, PageState::Allocated);
                        page.set_movable(true);
                    }
                }
                break;
            }
        }
        for (i, block) in self.blocks.iter().enumerate() {
            let pfn = Pfn((i as u64) << PAGEBLOCK_ORDER);
            if pfn < self.span.start {
                continue;
            }
            if let Some((mt, isolated)) = host_zone::pageblock(pfn) {
                block.set_migratetype(mt);
                block.set_isolated(isolated);
            }
        }
    }

    /// What each CPU has of the zones, for the short way of single pages.
    pub(crate) fn locals(&self) -> CoreResult<KVVec<CpuLocal<'_>>> {
        let stats = self.stats();
        let mut cpu = 0;
        filled(self.cpu_slots.len(), || {
            cpu += 1;
            stats.local(CpuId(cpu - 1), &self.blocks, |highest| {
                let mut zones = self.zones.iter();
                let zone = zones.find(|zone| zone.kind <= highest)?;
                let stretch = Stretch {
                    start: self.span.start,
                    map: &self.pages,
                };
                Some((ZoneId::new(zone.nid, zone.kind), true, stretch))
            })
        })
    }

    fn stats(&self) -> Statistics<'_> {
        Statistics::on(&self.cpu_slots, &self.zone_slots, nr_nodes(self.nid))
    }

    /// Lends the copies to a buddy system; `locals` are its own, or none.
    pub(crate) fn view<'a>(&'a self, locals: &'a [CpuLocal<'a>]) -> CoreResult<View<'a>> {
        let first = self.zones.first().ok_or(Error::DiffNoZones)?;
        let mut refs = [ZoneRef::new(first); NR_ZONE_TYPES];
        for (slot, zone) in refs.iter_mut().zip(&self.zones) {
            *slot = ZoneRef::new(zone);
        }
        Ok(View {
            map: Map {
                start: self.span.start,
                pages: &self.pages,
                blocks: &self.blocks,
            },
            zones: Zones {
                nid: self.nid,
                nr_online_nodes: self.nr_online_nodes,
                zones: &self.zones,
                refs,
            },
            stats: self.stats().with_locals(locals),
        })
    }
}

/// Node numbers of the copies are below it.
fn nr_nodes(nid: NodeId) -> usize {
    nid.index().map_or(1, |index| index + 1)
}

/// One zone more, with nothing in it.
#[inline(never)]
fn copy_zone(
    zones: &mut KVec<Zone<Beside>>,
    nid: NodeId,
    host: &HostZone,
    span: PfnRange,
) -> CoreResult<()> {
    let shape = host.shape();
    let empty = Zone::new(host.kind, nid, span, Pages(shape.present));
    zones.push(empty, GFP_KERNEL).map_err(no_memory)?;
    let copy = zones.last().ok_or(Error::Corrupt)?;
    copy.add_managed(Pages(shape.managed));
    copy.add_cma(Pages(shape.cma));
    for (mark, pages) in MARKS.into_iter().zip(shape.watermark) {
        copy.set_watermark(mark, Pages(pages));
    }
    for (kind, pages) in ZoneType::ALL.into_iter().zip(shape.lowmem_reserve) {
        copy.set_lowmem_reserve(kind, Pages(pages));
    }
    Ok(())
}

/// Takes over what is on the lists of a zone, and its numbers.
fn load(nid: NodeId, view: &View<'_>, host: &HostZone, room: &mut [u32]) -> CoreResult<()> {
    let buddy = view.buddy();
    let id = ZoneId::new(nid, host.kind);
    for order in PageOrder::all() {
        for mt in MigrateType::ALL {
            for &pfn in host.free_list(order, mt, room).0 {
                buddy.load_free(Pfn(pfn.into()), order, mt)?;
            }
        }
    }
    for cpu in online_cpus() {
        for index in 0..NR_PCP_LISTS {
            for &pfn in host.pageset_list(cpu, index, room).0 {
                buddy.load_pageset_block(cpu, index, Pfn(pfn.into()))?;
            }
        }
        buddy.load_pageset(cpu, id, &host.pageset(cpu));
    }
    buddy.load_zone(id, &host.numbers().state);
    Ok(())
}

/// So many of what `make` makes, which may be large: a frame of its own for each kind.
#[inline(never)]
fn filled<T>(count: usize, mut make: impl FnMut() -> T) -> CoreResult<KVVec<T>> {
    let mut vec = KVVec::with_capacity(count, GFP_KERNEL).map_err(no_memory)?;
    for _ in 0..count {
        vec.push(make(), GFP_KERNEL).map_err(no_memory)?;
    }
    Ok(vec)
}
