// SPDX-License-Identifier: GPL-2.0

//! What one CPU needs for the zones that it likes best, in one place.
//!
//! ```text
//! CpuLocal   of the running CPU
//!   out        for each kind of plain request (`AllocRequest`)
//!     slot       what the CPU has of the zone that is tried first
//!     flat       the zone's descriptors
//!     zone       which zone it is
//!   back       for the zones that most pages come from
//!     slot, flat, zone   as above
//!   slots      what the CPU has of any zone, for the pages of all others
//! ```
//!
//! It is made once, at boot, and never changes: what may change is the pageset's
//! gate. The descriptors are those of the zone that lie in one piece: nearly all,
//! but for a section that it shares with the zone before. Others are looked up.

use super::migratetype::MigrateType;
use super::migratetype::Pageblock;
use super::pageset::Pageset;
use super::stats::ZoneStats;
use super::MemMap;
use crate::page::PageDescriptor;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::NodeId;
use crate::phys::Pfn;
use crate::phys::PAGEBLOCK_ORDER;
use crate::sparse::Stretch;

/// How many kinds of plain requests there are: highest zone and list.
pub(super) const PLAIN_KINDS: usize = NR_ZONE_TYPES << LIST_BITS;
const LIST_BITS: usize = 2;

/// The kind of a plain request, below [`PLAIN_KINDS`].
pub(super) const fn plain_kind(highest: ZoneType, mt: MigrateType) -> u8 {
    ((highest.index() << LIST_BITS) | mt.index()) as u8
}

/// The pageset's list for a kind of plain requests.
#[inline(always)]
pub(super) const fn list_of(kind: u8) -> usize {
    kind as usize & ((1 << LIST_BITS) - 1)
}

/// What a CPU has of a zone that it has no way to: a pageset that no page ever
/// comes to.
static CLOSED: ZoneStats = ZoneStats::new();

/// The descriptors of a zone, as far as they lie in one piece.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Flat<'m> {
    map: &'m [PageDescriptor],
    start: u64,
    /// What is kept about page blocks, from frame 0 on.
    blocks: &'m [Pageblock],
}

impl<'m> Flat<'m> {
    /// No page.
    pub(super) const EMPTY: Self = Self {
        map: &[],
        start: 0,
        blocks: &[],
    };

    /// The descriptors of this stretch.
    pub(super) fn of(stretch: Stretch<'m>, blocks: &'m [Pageblock]) -> Self {
        Self {
            map: stretch.map,
            start: stretch.start.0,
            blocks,
        }
    }

    /// Whether there is no page.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The descriptor of a page of the zone.
    #[inline(always)]
    pub(super) fn page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        self.map.get(pfn.0.wrapping_sub(self.start) as usize)
    }

    /// The descriptors of so many pages from this one on, all of the zone.
    #[inline]
    pub(super) fn pages(&self, pfn: Pfn, len: u32) -> Option<&'m [PageDescriptor]> {
        let from = pfn.0.wrapping_sub(self.start) as usize;
        self.map.get(from..)?.get(..len as usize)
    }

    /// What is kept about the page block that a page lies in.
    #[inline(always)]
    pub(super) fn pageblock(&self, pfn: Pfn) -> Option<&'m Pageblock> {
        self.blocks.get((pfn.0 >> PAGEBLOCK_ORDER) as usize)
    }
}

/// All pages: those of a zone the short way, and the others by the map of all.
pub(super) struct FlatFirst<'a, M> {
    pub(super) flat: &'a Flat<'a>,
    pub(super) all: &'a M,
}

impl<M: MemMap> MemMap for FlatFirst<'_, M> {
    #[inline(always)]
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        match self.flat.page(pfn) {
            Some(page) => Some(page),
            None => other_page(self.all, pfn),
        }
    }

    #[inline]
    fn pages(&self, pfn: Pfn, len: u32) -> Option<&[PageDescriptor]> {
        let pages = self.flat.pages(pfn, len);
        pages.or_else(|| self.all.pages(pfn, len))
    }

    #[inline(always)]
    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        match self.flat.pageblock(pfn) {
            Some(block) => Some(block),
            None => self.all.pageblock(pfn),
        }
    }

    #[inline]
    fn is_mobility_disabled(&self) -> bool {
        self.all.is_mobility_disabled()
    }
}

/// A page of another zone, at the border, or one whose descriptor does not lie with
/// those of its zone.
#[cold]
#[inline(never)]
pub(super) fn other_page(all: &impl MemMap, pfn: Pfn) -> Option<&PageDescriptor> {
    all.page(pfn)
}

/// The way of a page out.
#[repr(C, align(64))]
pub(super) struct Out<'m> {
    pub(super) slot: &'m ZoneStats,
    pub(super) flat: Flat<'m>,
    pub(super) zone: ZoneId,
}

impl Out<'_> {
    /// The pageset.
    #[inline(always)]
    pub(super) fn set(&self) -> &Pageset {
        self.slot.pageset()
    }
}

/// The way of a page back.
#[repr(C, align(64))]
pub(super) struct Back<'m> {
    pub(super) slot: &'m ZoneStats,
    pub(super) flat: Flat<'m>,
    pub(super) zone: ZoneId,
}

impl Back<'_> {
    /// The pageset.
    #[inline(always)]
    pub(super) fn set(&self) -> &Pageset {
        self.slot.pageset()
    }

    /// The list that a page goes to.
    #[inline(always)]
    pub(super) fn list(&self, pfn: Pfn) -> Option<usize> {
        Some(self.flat.pageblock(pfn)?.list())
    }
}

/// What one CPU has of the zones that it likes best.
#[repr(C)]
pub struct CpuLocal<'m> {
    out: [Out<'m>; PLAIN_KINDS],
    /// Of the first zones for `Normal` and `Movable`.
    back: [Back<'m>; 2],
    /// What the CPU has of each zone.
    slots: &'m [ZoneStats],
}

impl<'m> CpuLocal<'m> {
    /// The ways to the zones that `route` tells for each highest kind. `slots` are
    /// what the CPU has of each zone, by its number.
    #[inline(never)]
    pub(super) fn new(
        slots: &'m [ZoneStats],
        route: impl Fn(ZoneType) -> Option<(ZoneId, &'m ZoneStats, Flat<'m>)>,
    ) -> Self {
        let closed = (ZoneId::new(NodeId(0), ZoneType::Dma), &CLOSED, Flat::EMPTY);
        let route = |highest| route(highest).unwrap_or(closed);
        Self {
            out: core::array::from_fn(|kind| {
                let highest = ZoneType::ALL.get(kind >> LIST_BITS);
                let (zone, slot, flat) = route(highest.copied().unwrap_or(ZoneType::Normal));
                Out { slot, flat, zone }
            }),
            back: [ZoneType::Normal, ZoneType::Movable].map(|highest| {
                let (zone, slot, flat) = route(highest);
                Back { slot, flat, zone }
            }),
            slots,
        }
    }

    /// The way of a plain request; `None` for those that are not plain.
    #[inline(always)]
    pub(super) fn out(&self, kind: u8) -> Option<&Out<'m>> {
        self.out.get(usize::from(kind))
    }

    /// The zone that most pages are of: its node, the frame of the first of its
    /// descriptors, and these.
    pub(crate) fn near_map(&self) -> (NodeId, u64, &'m [PageDescriptor]) {
        let [normal, _] = &self.back;
        (normal.zone.nid(), normal.flat.start, normal.flat.map)
    }

    /// The ways back.
    #[inline(always)]
    pub(super) fn back(&self) -> &[Back<'m>; 2] {
        &self.back
    }

    /// The way back to any zone, whose descriptors are `flat`; `None` where these
    /// are not known.
    #[inline]
    pub(super) fn back_to(&self, zone: ZoneId, flat: &Flat<'m>) -> Option<Back<'m>> {
        let slot = self.slots.get(zone.index())?;
        let flat = *flat;
        (!flat.is_empty()).then_some(Back { slot, flat, zone })
    }
}
