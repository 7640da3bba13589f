// SPDX-License-Identifier: GPL-2.0

//! The same steps on the kernel's zones and on their copies, compared after
//! each.
//!
//! Every step runs with preemption off, so that both sides see the same CPU and
//! its pageset, and nothing comes between them on it.

use super::host_zone;
use super::host_zone::BulkRoom;
use super::host_zone::HostZone;
use super::host_zone::ZoneNumbers;
use super::text::Copies;
use super::text::Host;
use super::text::Side;
use super::twin::online_cpus;
use super::twin::View;
use crate::platform;
use crate::uapi;
use core::fmt;
use kernel::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::buddy::MigrateType;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::PagesetState;
use shadowmm_core::buddy::NR_PCP_LISTS;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;

/// How many slots there are for blocks.
pub(crate) const NR_SLOTS: usize = 1 << 18;
/// The step gave no block.
const NONE: u64 = uapi::SHADOWMM_DIFF_NONE as u64;
/// The step could not be played.
const SKIPPED: u64 = uapi::SHADOWMM_DIFF_SKIPPED as u64;
/// How many pages a bulk step can ask for.
const MAX_BULK: usize = 1024;

/// What requests may say: nothing that reclaims, sleeps, wakes somebody, or
/// wants the memory itself.
const GFP: u32 = gfp::__GFP_DMA.bits()
    | gfp::__GFP_HIGHMEM.bits()
    | gfp::__GFP_DMA32.bits()
    | gfp::__GFP_MOVABLE.bits()
    | gfp::__GFP_RECLAIMABLE.bits()
    | gfp::__GFP_HIGH.bits()
    | gfp::__GFP_IO.bits()
    | gfp::__GFP_FS.bits()
    | gfp::__GFP_NOWARN.bits()
    | gfp::__GFP_RETRY_MAYFAIL.bits()
    | gfp::__GFP_NORETRY.bits()
    | gfp::__GFP_MEMALLOC.bits()
    | gfp::__GFP_NOMEMALLOC.bits()
    | gfp::__GFP_HARDWALL.bits()
    | gfp::__GFP_THISNODE.bits();

/// A slot's block.
#[derive(Clone, Copy)]
struct Block {
    pfn: u32,
    order: u8,
}

impl Block {
    fn pfn(self) -> Pfn {
        Pfn(self.pfn.into())
    }

    fn order(self) -> PageOrder {
        PageOrder::new(self.order.into()).unwrap_or(PageOrder::ZERO)
    }
}

/// The blocks that were taken from the kernel. They go back when this is
/// dropped.
///
/// # Invariants
///
/// Each block is one that the kernel gave out at this order, or a part of one
/// that was split, and is in one slot alone.
pub(crate) struct Slots(KVVec<Option<Block>>);

impl Slots {
    pub(crate) fn new() -> Result<Self> {
        // INVARIANT: There is no block.
        Ok(Self(KVVec::from_elem(None, NR_SLOTS, GFP_KERNEL)?))
    }

    fn get(&self, slot: usize) -> Option<Block> {
        *self.0.get(slot)?
    }

    /// Whether there are these slots, and nothing in them.
    fn are_empty(&self, slot: usize, count: usize) -> bool {
        let end = slot.saturating_add(count);
        let slots = self.0.get(slot..end);
        count != 0 && slots.is_some_and(|slots| slots.iter().all(Option::is_none))
    }

    /// Puts a block that the kernel has just given out into an empty slot.
    fn put(&mut self, slot: usize, pfn: Pfn, order: PageOrder) {
        if let Some(slot) = self.0.get_mut(slot) {
            // INVARIANT: The callers give what the kernel gave them.
            *slot = Some(Block {
                pfn: pfn.0 as u32,
                order: order.get(),
            });
        }
    }

    /// Gives a slot's block back to the kernel.
    fn free(&mut self, slot: usize) {
        if let Some(block) = self.0.get_mut(slot).and_then(Option::take) {
            // SAFETY: By the invariant the block is ours, and it is in no slot
            // any more.
            unsafe { host_zone::free(block.pfn(), block.order()) };
        }
    }

    /// Gives these slots' single pages back at once.
    fn free_bulk(&mut self, slot: usize, pfns: &[u64]) {
        if let Some(slots) = self.0.get_mut(slot..slot + pfns.len()) {
            slots.fill(None);
        }
        // SAFETY: By the invariant the pages, which the caller has read from
        // these slots, are ours, and they are in no slot any more.
        unsafe { host_zone::free_bulk(pfns) };
    }

    /// Makes single pages of a slot's block, for it and the empty slots behind.
    fn split(&mut self, slot: usize, block: Block) {
        // SAFETY: By the invariant the block is ours and of this order.
        unsafe { host_zone::split(block.pfn(), block.order()) };
        for i in 0..block.order().pages().0 {
            // INVARIANT: The block's parts, instead of it.
            self.put(slot + i as usize, block.pfn() + Pages(i), PageOrder::ZERO);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for slot in 0..self.0.len() {
            self.free(slot);
        }
    }
}

/// What a step came to.
pub(crate) enum Outcome {
    /// Both did the same: this is the pfn, or how many pages.
    Same(u64),
    /// They did not.
    Differs(Difference),
}

/// What differs.
pub(crate) struct Difference {
    pub(crate) verdict: u32,
    pub(crate) host: u64,
    pub(crate) shadow: u64,
    pub(crate) what: What,
}

/// What differs, as a text.
pub(crate) struct What {
    name: &'static str,
    zone: Option<ZoneType>,
    place: Option<Place>,
}

/// Where in the zone.
enum Place {
    Cpu(CpuId),
    FreeList(PageOrder, MigrateType),
    PagesetList(CpuId, usize),
    Block(Pfn),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(zone) = self.zone {
            write!(f, ", zone {}", zone.name())?;
        }
        match &self.place {
            Some(Place::Cpu(cpu)) => write!(f, ", cpu {}", cpu.0),
            Some(Place::FreeList(order, mt)) => {
                write!(f, ", order {} {}", order.get(), mt.name())
            }
            Some(Place::PagesetList(cpu, index)) => write!(f, ", cpu {} list {index}", cpu.0),
            Some(Place::Block(pfn)) => write!(f, ", pfn {:#x}", pfn.0),
            None => Ok(()),
        }
    }
}

/// Everything that a step needs.
pub(crate) struct Player<'a, 'v> {
    pub(crate) nid: NodeId,
    pub(crate) zones: &'v [HostZone],
    pub(crate) view: &'v View<'a>,
    pub(crate) slots: &'v mut Slots,
    pub(crate) bulk: &'v mut Bulk,
    pub(crate) rooms: &'v mut [KVVec<u32>; 2],
    pub(crate) without_pagesets: bool,
    pub(crate) expiring: &'v mut bool,
    pub(crate) seen: &'v mut Seen,
}

/// What the kernel's zones were like when we had last done something there, from one
/// request to the next: where they are like that still, nobody else was there, and what
/// differs from the copies is a difference.
pub(crate) struct Seen {
    /// In the order of the zones.
    zones: KVec<ZoneNumbers>,
    /// Of each zone, those of all CPUs by number; a CPU that is not up has none.
    pagesets: KVec<PagesetState>,
    without_pagesets: bool,
    is_known: bool,
}

impl Seen {
    /// Room for these zones, and what they are like now. Pagesets that are kept empty differ in
    /// how much they have alone: the kernel lets the rest decay (`decay_pcp_high`).
    pub(crate) fn new(zones: &[HostZone], without_pagesets: bool) -> Result<Self> {
        let pagesets = zones.len() * platform::nr_cpus() as usize;
        let mut seen = Self {
            zones: KVec::from_elem(ZoneNumbers::default(), zones.len(), GFP_KERNEL)?,
            pagesets: KVec::from_elem(PagesetState::default(), pagesets, GFP_KERNEL)?,
            without_pagesets,
            is_known: false,
        };
        seen.note(zones);
        Ok(seen)
    }

    /// Remembers what they are like now, after we have changed them.
    #[inline(never)]
    fn note(&mut self, zones: &[HostZone]) {
        for (numbers, zone) in self.zones.iter_mut().zip(zones) {
            *numbers = zone.numbers();
        }
        let without = self.without_pagesets;
        let pagesets = zones.iter().flat_map(|zone| pagesets(zone, without));
        for (seen, now) in self.pagesets.iter_mut().zip(pagesets) {
            *seen = now;
        }
        self.is_known = true;
    }

    /// They will have changed, and not by a step: how is not known before the next.
    pub(crate) fn forget(&mut self) {
        self.is_known = false;
    }

    /// Whether somebody else has been there since.
    #[inline(never)]
    fn is_disturbed(&self, zones: &[HostZone]) -> bool {
        let mut numbers = self.zones.iter().zip(zones);
        let without = self.without_pagesets;
        let now = zones.iter().flat_map(|zone| pagesets(zone, without));
        let mut pagesets = self.pagesets.iter().zip(now);
        self.is_known
            && (numbers.any(|(seen, zone)| *seen != zone.numbers())
                || pagesets.any(|(seen, now)| *seen != now))
    }
}

/// The pagesets of all CPUs; how much they have, if they are `without` more.
fn pagesets(zone: &HostZone, without: bool) -> impl Iterator<Item = PagesetState> + '_ {
    let cpus = (0..platform::nr_cpus()).map(CpuId);
    cpus.map(move |cpu| match (platform::is_online(cpu), without) {
        (true, false) => zone.pageset(cpu),
        (true, true) => PagesetState {
            count: zone.pageset(cpu).count,
            ..PagesetState::default()
        },
        (false, _) => PagesetState::default(),
    })
}

/// Room for bulk steps.
pub(crate) struct Bulk {
    host: BulkRoom,
    pfns: KVVec<u64>,
    shadow: KVVec<Pfn>,
}

impl Bulk {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            host: BulkRoom::new(MAX_BULK)?,
            pfns: KVVec::from_elem(0, MAX_BULK, GFP_KERNEL)?,
            shadow: KVVec::from_elem(Pfn(0), MAX_BULK, GFP_KERNEL)?,
        })
    }
}

/// The flags of a request to the kernel, which has other nodes.
fn host_gfp(request: &AllocRequest) -> u32 {
    (request.gfp() | gfp::__GFP_THISNODE).bits()
}

fn differs(verdict: u32, name: &'static str, host: u64, shadow: u64) -> Outcome {
    Outcome::Differs(Difference {
        verdict,
        host,
        shadow,
        what: What {
            name,
            zone: None,
            place: None,
        },
    })
}

impl Player<'_, '_> {
    /// Plays one step and compares all numbers after it.
    ///
    /// # Errors
    ///
    /// [`Error::BadKind`] for a step that there is not, [`Error::BadGfp`] and
    /// [`Error::OrderTooLarge`] for a request that is not played.
    #[inline(never)]
    pub(crate) fn step(&mut self, step: &uapi::shadowmm_diff_step) -> CoreResult<Outcome> {
        let (cpu, _pinned) = platform::pin_cpu();
        if let Some(disturbed) = self.disturbance() {
            return Ok(disturbed);
        }
        let slot = step.slot as usize;
        let outcome = match step.op {
            uapi::SHADOWMM_DIFF_ALLOC => self.alloc(slot, step.gfp, step.order)?,
            uapi::SHADOWMM_DIFF_FREE => self.free(slot),
            uapi::SHADOWMM_DIFF_BULK => self.alloc_bulk(slot, step.gfp, step.order)?,
            uapi::SHADOWMM_DIFF_FREE_BULK => self.free_bulk(slot, step.order),
            uapi::SHADOWMM_DIFF_SPLIT => self.split(slot),
            uapi::SHADOWMM_DIFF_LOOK => return Ok(self.look()),
            uapi::SHADOWMM_DIFF_UNBOOST => self.unboost(),
            uapi::SHADOWMM_DIFF_EXPIRE => self.expire(),
            uapi::SHADOWMM_DIFF_REFRESH => self.refresh(),
            _ => return Err(Error::BadKind),
        };
        if let Some(disturbed) = self.disturbance() {
            return Ok(disturbed);
        }
        if let Outcome::Same(_) = outcome {
            if let Some(difference) = self.compare_numbers(cpu) {
                return Ok(Outcome::Differs(difference));
            }
        }
        Ok(outcome)
    }

    fn request(&self, gfp: u32, order: PageOrder) -> CoreResult<AllocRequest> {
        let gfp = Gfp::from_bits(gfp)?;
        if gfp.bits() & !GFP != 0 {
            return Err(Error::BadGfp);
        }
        let gfp = gfp | gfp::__GFP_NOWARN;
        gfp.zone()?;
        gfp.migratetype()?;
        // The node at hand is this one, and there is no other. Its single pages
        // go the short way, unless a request says __GFP_THISNODE itself.
        Ok(AllocRequest::new(gfp, order))
    }

    fn alloc(&mut self, slot: usize, gfp: u32, order: u32) -> CoreResult<Outcome> {
        let order = PageOrder::new(order).ok_or(Error::OrderTooLarge)?;
        let request = self.request(gfp, order)?;
        if !self.slots.are_empty(slot, 1) {
            return Ok(Outcome::Same(SKIPPED));
        }
        let host = host_zone::alloc(self.nid, host_gfp(&request), order);
        if let Some(pfn) = host {
            self.slots.put(slot, pfn, order);
        }
        self.seen.note(self.zones);
        let shadow = self.view.buddy().alloc(&request).ok();
        let number = |pfn: Option<Pfn>| pfn.map_or(NONE, |pfn| pfn.0);
        let (host, shadow) = (number(host), number(shadow));
        Ok(match host == shadow {
            true => Outcome::Same(host),
            false => differs(uapi::SHADOWMM_DIFF_BLOCKS, "the block", host, shadow),
        })
    }

    fn free(&mut self, slot: usize) -> Outcome {
        let Some(block) = self.slots.get(slot) else {
            return Outcome::Same(SKIPPED);
        };
        self.slots.free(slot);
        self.seen.note(self.zones);
        let pfn = block.pfn();
        match self.view.buddy().free(pfn, block.order()) {
            Ok(()) => Outcome::Same(pfn.0),
            Err(error) => differs(uapi::SHADOWMM_DIFF_BLOCKS, error.sentence(), pfn.0, NONE),
        }
    }

    fn alloc_bulk(&mut self, slot: usize, gfp: u32, count: u32) -> CoreResult<Outcome> {
        let request = self.request(gfp, PageOrder::ZERO)?;
        let count = count as usize;
        if count > MAX_BULK {
            return Err(Error::OrderTooLarge);
        }
        if !self.slots.are_empty(slot, count) {
            return Ok(Outcome::Same(SKIPPED));
        }
        let Bulk { host, shadow, .. } = &mut *self.bulk;
        let host = host.alloc(self.nid, host_gfp(&request), count);
        for (i, &pfn) in host.iter().enumerate() {
            self.slots.put(slot + i, Pfn(pfn), PageOrder::ZERO);
        }
        self.seen.note(self.zones);
        let shadow = shadow.get_mut(..count).unwrap_or_default();
        let came = self.view.buddy().alloc_bulk(&request, shadow).unwrap_or(0);
        let shadow = shadow.get(..came).unwrap_or_default();
        let mut pairs = host.iter().zip(shadow);
        let verdict = uapi::SHADOWMM_DIFF_BLOCKS;
        Ok(match pairs.find(|(&host, shadow)| host != shadow.0) {
            Some((&host, shadow)) => differs(verdict, "a page of a bulk", host, shadow.0),
            None if host.len() != came => {
                let host = host.len() as u64;
                differs(verdict, "the pages of a bulk", host, came as u64)
            }
            None => Outcome::Same(came as u64),
        })
    }

    fn free_bulk(&mut self, slot: usize, count: u32) -> Outcome {
        let mut found = 0usize;
        for (i, place) in self.bulk.pfns.iter_mut().take(count as usize).enumerate() {
            match self.slots.get(slot.saturating_add(i)) {
                Some(block) if block.order == 0 => *place = block.pfn.into(),
                _ => break,
            }
            found += 1;
        }
        if found == 0 {
            return Outcome::Same(SKIPPED);
        }
        let pfns = self.bulk.pfns.get(..found).unwrap_or_default();
        self.slots.free_bulk(slot, pfns);
        self.seen.note(self.zones);
        let shadow = self.bulk.shadow.get_mut(..found).unwrap_or_default();
        for (place, &pfn) in shadow.iter_mut().zip(pfns) {
            *place = Pfn(pfn);
        }
        let freed = self.view.buddy().free_bulk(shadow);
        match freed == found {
            true => Outcome::Same(found as u64),
            false => differs(
                uapi::SHADOWMM_DIFF_BLOCKS,
                "the pages that a bulk freed",
                found as u64,
                freed as u64,
            ),
        }
    }

    fn split(&mut self, slot: usize) -> Outcome {
        let skipped = Outcome::Same(SKIPPED);
        let Some(block) = self.slots.get(slot) else {
            return skipped;
        };
        let behind = block.order().pages().0 as usize - 1;
        if behind == 0 || !self.slots.are_empty(slot + 1, behind) {
            return skipped;
        }
        self.slots.split(slot, block);
        let single = PageOrder::ZERO;
        let buddy = self.view.buddy();
        match buddy.split(block.pfn(), block.order(), single) {
            Ok(()) => Outcome::Same(block.pfn.into()),
            Err(error) => differs(
                uapi::SHADOWMM_DIFF_BLOCKS,
                error.sentence(),
                block.pfn.into(),
                NONE,
            ),
        }
    }

    /// What background reclaim does when it is through.
    fn unboost(&mut self) -> Outcome {
        let buddy = self.view.buddy();
        self.zones.iter().for_each(HostZone::end_boost);
        self.seen.note(self.zones);
        for zone in self.zones {
            let id = ZoneId::new(self.nid, zone.kind);
            if let Some(mut state) = buddy.zone_state(id) {
                state.boost = Pages::ZERO;
                buddy.load_zone(id, &state);
            }
        }
        Outcome::Same(0)
    }

    fn expire(&mut self) -> Outcome {
        for cpu in online_cpus() {
            for zone in self.zones {
                zone.set_pageset_expire(cpu, 1);
            }
        }
        *self.expiring = true;
        Outcome::Same(0)
    }

    /// What a refresh of the statistics does to the pagesets of this CPU
    /// (`refresh_cpu_vm_stats`).
    fn refresh(&mut self) -> Outcome {
        let buddy = self.view.buddy();
        buddy.decay_pagesets();
        for zone in self.zones {
            if *self.expiring {
                buddy.drain_zone_pages(ZoneId::new(self.nid, zone.kind));
            }
            for cpu in online_cpus() {
                zone.set_pageset_expire(cpu, 0);
            }
        }
        *self.expiring = false;
        self.seen.note(self.zones);
        Outcome::Same(0)
    }

    /// Whether somebody else has been in the kernel's zones since.
    fn disturbance(&self) -> Option<Outcome> {
        self.seen.is_disturbed(self.zones).then(|| {
            let verdict = uapi::SHADOWMM_DIFF_DISTURBED;
            differs(verdict, "somebody else was in the zone", 0, 0)
        })
    }

    /// Whether all numbers of all zones and of this CPU's pagesets are equal.
    #[inline(never)]
    fn compare_numbers(&self, cpu: CpuId) -> Option<Difference> {
        self.zones.iter().find_map(|zone| {
            let kind = Some(zone.kind);
            let (host, shadow) = (zone.numbers(), self.view.numbers(zone.kind));
            let differs = |(name, host, shadow), place| Difference {
                verdict: uapi::SHADOWMM_DIFF_NUMBERS,
                host,
                shadow,
                what: What {
                    name,
                    zone: kind,
                    place,
                },
            };
            if host != shadow {
                return Some(differs(zone_difference(&host, &shadow), None));
            }
            if self.without_pagesets {
                return None;
            }
            let host = zone.pageset(cpu);
            let shadow = self.copies().pageset(zone.kind, cpu);
            let place = Some(Place::Cpu(cpu));
            (host != shadow).then(|| differs(pageset_difference(&host, &shadow), place))
        })
    }

    /// Compares all numbers before the first step, also those of the CPUs that the steps before
    /// did not run on. Only where the kernel's are not what they were after these, somebody else
    /// was there.
    pub(crate) fn begin(&self) -> Outcome {
        let disturbed = self.disturbance();
        disturbed.unwrap_or_else(|| {
            let difference = online_cpus().find_map(|cpu| self.compare_numbers(cpu));
            difference.map_or(Outcome::Same(0), Outcome::Differs)
        })
    }

    fn copies(&self) -> Copies<'_, '_> {
        Copies {
            nid: self.nid,
            view: self.view,
        }
    }

    /// Compares all lists, in their order, and all page blocks.
    fn look(&mut self) -> Outcome {
        let (host, shadow) = (
            Host(self.zones),
            Copies {
                nid: self.nid,
                view: self.view,
            },
        );
        let rooms = &mut *self.rooms;
        let mut blocks = 0u64;
        for zone in self.zones {
            let kind = zone.kind;
            for order in PageOrder::all() {
                for mt in MigrateType::ALL {
                    let place = Place::FreeList(order, mt);
                    let [a, b] = &mut *rooms;
                    let a = host.free_list(kind, order, mt, a);
                    let b = shadow.free_list(kind, order, mt, b);
                    if let Some(difference) = list_difference(a, b) {
                        return list_differs("a free list", difference, kind, place);
                    }
                    blocks += a.1 as u64;
                }
            }
            for cpu in online_cpus().filter(|_| !self.without_pagesets) {
                for index in 0..NR_PCP_LISTS {
                    let place = Place::PagesetList(cpu, index);
                    let [a, b] = &mut *rooms;
                    let a = host.pageset_list(kind, cpu, index, a);
                    let b = shadow.pageset_list(kind, cpu, index, b);
                    if let Some(difference) = list_difference(a, b) {
                        return list_differs("a pageset's list", difference, kind, place);
                    }
                    blocks += a.1 as u64;
                }
            }
            let shape = zone.shape();
            let end = Pfn(shape.start_pfn) + Pages(shape.spanned);
            let mut pfn = Pfn(shape.start_pfn);
            while pfn < end {
                let (a, b) = (host.pageblock(pfn), shadow.pageblock(pfn));
                if let (Some(a), Some(b)) = (a, b) {
                    if a != b {
                        let number = |(mt, isolated): (MigrateType, bool)| match isolated {
                            true => MigrateType::Isolate as u64,
                            false => mt as u64,
                        };
                        return Outcome::Differs(Difference {
                            verdict: uapi::SHADOWMM_DIFF_TYPES,
                            host: number(a),
                            shadow: number(b),
                            what: What {
                                name: "a page block's type",
                                zone: Some(kind),
                                place: Some(Place::Block(pfn)),
                            },
                        });
                    }
                }
                pfn = pfn + PageOrder::PAGEBLOCK.pages();
            }
        }
        Outcome::Same(blocks)
    }
}

fn list_differs(
    name: &'static str,
    (host, shadow): (u64, u64),
    kind: ZoneType,
    place: Place,
) -> Outcome {
    Outcome::Differs(Difference {
        verdict: uapi::SHADOWMM_DIFF_LISTS,
        host,
        shadow,
        what: What {
            name,
            zone: Some(kind),
            place: Some(place),
        },
    })
}

/// The first blocks that differ, or how many there are.
fn list_difference(host: (&[u32], usize), shadow: (&[u32], usize)) -> Option<(u64, u64)> {
    let mut pairs = host.0.iter().zip(shadow.0);
    if let Some((&a, &b)) = pairs.find(|(a, b)| a != b) {
        return Some((a.into(), b.into()));
    }
    (host.1 != shadow.1).then_some((host.1 as u64, shadow.1 as u64))
}

type Named = (&'static str, u64, u64);

fn first_difference(pairs: &[Named]) -> Named {
    let found = pairs.iter().find(|(_, a, b)| a != b);
    found.copied().unwrap_or(("nothing", 0, 0))
}

fn zone_difference(host: &ZoneNumbers, shadow: &ZoneNumbers) -> Named {
    let (a, b) = (&host.state, &shadow.state);
    let found = first_difference(&[
        ("free pages", host.free, shadow.free),
        ("free CMA pages", host.free_cma, shadow.free_cma),
        (
            "free pages kept for urgent requests",
            host.free_highatomic,
            shadow.free_highatomic,
        ),
        (
            "free pages in whole page blocks",
            host.free_blocks,
            shadow.free_blocks,
        ),
        ("the boost", a.boost.0, b.boost.0),
        (
            "pages kept for urgent requests",
            a.reserved_highatomic.0,
            b.reserved_highatomic.0,
        ),
        (
            "whether it is below the high watermark",
            a.below_high.into(),
            b.below_high.into(),
        ),
        (
            "whether a boost awaits reclaim",
            a.boosted.into(),
            b.boosted.into(),
        ),
    ]);
    if found.0 != "nothing" {
        return found;
    }
    let mut orders = host.nr_free.iter().zip(&shadow.nr_free);
    match orders.find(|(a, b)| a != b) {
        Some((&a, &b)) => ("free blocks of an order", a, b),
        None => found,
    }
}

fn pageset_difference(host: &PagesetState, shadow: &PagesetState) -> Named {
    let pair = |name, a: i32, b: i32| (name, a as u64, b as u64);
    first_difference(&[
        pair("a pageset's count", host.count, shadow.count),
        pair("a pageset's high", host.high, shadow.high),
        pair("a pageset's high_min", host.high_min, shadow.high_min),
        pair("a pageset's high_max", host.high_max, shadow.high_max),
        pair("a pageset's batch", host.batch, shadow.batch),
        pair("a pageset's free_count", host.free_count, shadow.free_count),
        pair(
            "a pageset's alloc_factor",
            host.alloc_factor,
            shadow.alloc_factor,
        ),
        (
            "whether a pageset's last free was of a higher order",
            host.prev_free_high_order.into(),
            shadow.prev_free_high_order.into(),
        ),
        (
            "whether a pageset keeps a batch",
            host.free_high_batch.into(),
            shadow.free_high_batch.into(),
        ),
    ])
}
