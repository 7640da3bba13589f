// SPDX-License-Identifier: GPL-2.0

//! What one CPU needs for a single page, in one place.
//!
//! ```text
//! CpuLocal   of the running CPU
//!   out        for each kind of plain request (`AllocRequest`)
//!     set        the CPU's pageset of the zone that is tried first
//!     list       which of its lists
//!     map, start the zone's descriptors, and the frame of the first
//!   back       for the zones that most pages come from
//!     set        the CPU's pageset
//!     blocks     what is kept about page blocks, from frame 0 on
//!     map, start as above
//! ```
//!
//! It is made once, at boot, and never changes: what may change is the pageset's
//! gate. A zone whose descriptors do not lie in one piece has none here, and its
//! pages go the long way.

use super::migratetype::MigrateType;
use super::migratetype::Pageblock;
use super::pageset::Pageset;
use crate::page::PageDescriptor;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
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

/// A pageset that no page ever comes to.
static CLOSED: Pageset = Pageset::new();

/// The way of a page out.
#[repr(C, align(64))]
pub(super) struct Out<'m> {
    pub(super) set: &'m Pageset,
    map: &'m [PageDescriptor],
    start: u32,
    list: u8,
}

impl<'m> Out<'m> {
    /// The list of the pageset.
    #[inline]
    pub(super) fn list(&self) -> usize {
        usize::from(self.list)
    }

    /// The descriptor of a page of the zone.
    #[inline]
    pub(super) fn page(&self, pfn: u32) -> Option<&'m PageDescriptor> {
        self.map.get(pfn.wrapping_sub(self.start) as usize)
    }
}

/// The way of a page back.
#[repr(C, align(64))]
pub(super) struct Back<'m> {
    pub(super) set: &'m Pageset,
    blocks: &'m [Pageblock],
    map: &'m [PageDescriptor],
    start: u32,
}

impl<'m> Back<'m> {
    /// The descriptor of a page of the zone.
    #[inline]
    pub(super) fn page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        self.map.get(pfn.0.wrapping_sub(self.start.into()) as usize)
    }

    /// The list that a page goes to.
    #[inline]
    pub(super) fn list(&self, pfn: u32) -> Option<usize> {
        let block = self.blocks.get((pfn >> PAGEBLOCK_ORDER) as usize)?;
        Some(block.list())
    }
}

/// What one CPU has of the zones that it likes best.
#[repr(C)]
pub struct CpuLocal<'m> {
    out: [Out<'m>; PLAIN_KINDS],
    /// Of the first zones for `Normal` and `Movable`.
    back: [Back<'m>; 2],
}

impl<'m> CpuLocal<'m> {
    /// The ways to the zones that `route` tells for each highest kind. `blocks`
    /// is what is kept about page blocks.
    pub(super) fn new(
        blocks: &'m [Pageblock],
        route: impl Fn(ZoneType) -> Option<(&'m Pageset, Stretch<'m>)>,
    ) -> Self {
        let route = |highest| {
            let (set, stretch) = route(highest)?;
            let start = u32::try_from(stretch.start.0).ok()?;
            Some((set, stretch.map, start))
        };
        let route = |highest| route(highest).unwrap_or((&CLOSED, &[], 0));
        Self {
            out: core::array::from_fn(|kind| {
                let highest = ZoneType::ALL.get(kind >> LIST_BITS);
                let (set, map, start) = route(highest.copied().unwrap_or(ZoneType::Normal));
                let list = kind & ((1 << LIST_BITS) - 1);
                Out {
                    set,
                    map,
                    start,
                    list: list as u8,
                }
            }),
            back: [ZoneType::Normal, ZoneType::Movable].map(|highest| {
                let (set, map, start) = route(highest);
                Back {
                    set,
                    blocks,
                    map,
                    start,
                }
            }),
        }
    }

    /// The way of a plain request; `None` for those that are not plain.
    #[inline]
    pub(super) fn out(&self, kind: u8) -> Option<&Out<'m>> {
        self.out.get(usize::from(kind))
    }

    /// The ways back.
    #[inline]
    pub(super) fn back(&self) -> &[Back<'m>; 2] {
        &self.back
    }
}
