// SPDX-License-Identifier: GPL-2.0

//! The areas (`memarea_t`), and which of them a request goes to.
//!
//! ```text
//! 0           32 MiB, scaled                                   end of the node
//! [ DMA ][ DMA32 :                ][ Normal                  ][ Movable        ]
//!  hardware      :     kernel       kernel                     application
//!
//! GFP_DMA, GFP_DMA32     hardware, then kernel, in zones that they may use
//! GFP_KERNEL             kernel
//! GFP_HIGHUSER_MOVABLE   application, then kernel
//! ```
//!
//! Cosmos asks for an area by its type; here the type comes from the zone bits
//! of a request. Nobody but devices gets memory of the hardware area, however
//! little there is elsewhere: Cosmos has that instead of a `lowmem_reserve`.
//! Within a type, areas are tried in the order of the zonelist, so the nearest
//! node comes first, and a node's application area before its kernel area
//! (`mm_divpages_procmarea`).

use super::lists::DivideMerge;
use crate::error::Error;
use crate::error::Result;
use crate::page::ZoneId;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::Region;
use crate::platform::Lock;
use crate::platform::Platform;

/// Where the hardware area ends on a machine that is not scaled
/// (`MA_HWAD_LSZ`).
pub const HARDWARE_END: PhysAddr = PhysAddr(32 << 20);

/// How many areas a zone has: below the border, and from it on.
const AREAS_PER_ZONE: usize = 2;

/// What an area's memory is for (`ma_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// For devices that reach low addresses only (`MA_TYPE_HWAD`).
    Hardware,
    /// For the kernel (`MA_TYPE_KRNL`).
    Kernel,
    /// For processes (`MA_TYPE_PROC`).
    Application,
}

impl AreaKind {
    /// All kinds, lowest addresses first.
    pub const ALL: [Self; 3] = [Self::Hardware, Self::Kernel, Self::Application];

    /// The name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Kernel => "kernel",
            Self::Application => "application",
        }
    }

    /// The kinds of areas that serve a request which may use zones up to
    /// `highest`: all areas of the first set are tried before those of the
    /// second.
    pub(super) const fn tries(highest: ZoneType) -> &'static [&'static [AreaKind]] {
        match highest {
            ZoneType::Dma | ZoneType::Dma32 => &[&[Self::Hardware], &[Self::Kernel]],
            ZoneType::Normal => &[&[Self::Kernel]],
            ZoneType::Movable => &[&[Self::Application, Self::Kernel]],
        }
    }
}

/// Where the hardware area of a machine ends: at `scaled`, which is where
/// [`HARDWARE_END`] lies in its map, but not behind the first quarter of a
/// small machine's memory, so that there is something left for the kernel.
/// Rounded up to the largest block, so that no block lies in two areas.
pub fn hardware_end(scaled: PhysAddr, end: Pfn) -> Pfn {
    let wanted = scaled.pfn_up().min(Pfn(end.0 / 4));
    wanted.align_up(PageOrder::MAX)
}

/// Memory of one zone for one use (`memarea_t`).
pub struct MemArea<P: Platform> {
    /// What it is for.
    pub kind: AreaKind,
    /// The zone that it is a part of.
    pub zone: ZoneId,
    /// From `ma_logicstart` to `ma_logicend`, holes included.
    pub span: PfnRange,
    /// The lists, under the area's lock (`ma_mdmdata`, `ma_lock`).
    pub(super) lists: P::Lock<DivideMerge>,
}

/// All areas of all zones.
pub struct MemAreas<'m, P: Platform> {
    /// Two for each zone, by the zone's index.
    areas: &'m [MemArea<P>],
    hardware_end: Pfn,
}

impl<'m, P: Platform> MemAreas<'m, P> {
    /// How much memory the areas of `nr_nodes` nodes take. Saturates.
    pub fn size(nr_nodes: usize) -> Bytes {
        placed_size::<MemArea<P>>(Self::count(nr_nodes))
    }

    const fn count(nr_nodes: usize) -> usize {
        nr_nodes.saturating_mul(NR_ZONE_TYPES * AREAS_PER_ZONE)
    }

    /// Places the areas at the start of `range`, which is [`MemAreas::size`]
    /// long at least. `span` tells where a zone lies, empty where there is
    /// none; node numbers are below `nr_nodes`. The hardware area ends at
    /// `hardware_end`, a multiple of the largest block.
    ///
    /// # Errors
    ///
    /// [`Error::WrongOrder`] when `hardware_end` is no such multiple; those of
    /// [`Region::place_slice`].
    pub fn place(
        region: &mut Region<'m>,
        range: PhysRange,
        nr_nodes: usize,
        hardware_end: Pfn,
        span: impl Fn(ZoneId) -> PfnRange,
    ) -> Result<Self> {
        if !hardware_end.is_aligned(PageOrder::MAX) {
            return Err(Error::WrongOrder);
        }
        let areas = region.place_slice(range, Self::count(nr_nodes), |index| {
            let zone = zone_at(index / AREAS_PER_ZONE);
            let (kind, within) = part(zone, index % AREAS_PER_ZONE == 0, hardware_end);
            MemArea {
                kind,
                zone,
                span: span(zone).intersect(within),
                lists: P::Lock::new(DivideMerge::new()),
            }
        })?;
        Ok(Self {
            areas,
            hardware_end,
        })
    }

    /// The areas that have memory, by zone.
    pub fn iter(&self) -> impl Iterator<Item = &'m MemArea<P>> {
        self.areas.iter().filter(|area| !area.span.is_empty())
    }

    /// The areas of one zone that have memory.
    pub fn of_zone(&self, zone: ZoneId) -> impl Iterator<Item = &'m MemArea<P>> {
        let first = zone.index().saturating_mul(AREAS_PER_ZONE);
        let areas = self.areas.iter().skip(first).take(AREAS_PER_ZONE);
        areas.filter(|area| !area.span.is_empty())
    }

    /// The area that a page of `zone` lies in (`onfrmsa_retn_marea`).
    #[inline]
    pub fn area_of(&self, zone: ZoneId, pfn: Pfn) -> Option<&'m MemArea<P>> {
        let movable = zone.kind() == ZoneType::Movable;
        let part = usize::from(movable || pfn >= self.hardware_end);
        let index = zone
            .index()
            .checked_mul(AREAS_PER_ZONE)?
            .checked_add(part)?;
        let area = self.areas.get(index)?;
        area.span.contains(pfn).then_some(area)
    }

    /// Where the hardware area ends.
    pub fn hardware_end(&self) -> Pfn {
        self.hardware_end
    }

    /// What the areas take of the region.
    pub fn bytes(&self) -> Bytes {
        placed_size::<MemArea<P>>(self.areas.len())
    }
}

/// The zone with this index; see [`ZoneId::index`].
fn zone_at(index: usize) -> ZoneId {
    let kind = ZoneType::ALL.get(index % NR_ZONE_TYPES).copied();
    let nid = NodeId((index / NR_ZONE_TYPES) as i32);
    ZoneId::new(nid, kind.unwrap_or(ZoneType::Movable))
}

/// What the lower or the upper part of a zone is for, and where it lies. The
/// movable zone is not cut: its lower part is empty.
fn part(zone: ZoneId, lower: bool, hardware_end: Pfn) -> (AreaKind, PfnRange) {
    let movable = zone.kind() == ZoneType::Movable;
    let border = if movable { Pfn(0) } else { hardware_end };
    let below = PfnRange {
        start: Pfn(0),
        end: border,
    };
    let above = PfnRange {
        start: border,
        end: Pfn(u64::MAX),
    };
    match (lower, movable) {
        (true, _) => (AreaKind::Hardware, below),
        (false, true) => (AreaKind::Application, above),
        (false, false) => (AreaKind::Kernel, above),
    }
}
