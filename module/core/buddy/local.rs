// SPDX-License-Identifier: GPL-2.0

//! What one CPU needs for a single page, in one place.
//!
//! ```text
//! CpuLocal   of the running CPU
//!   routes   for each highest kind of zone that a request may use
//!     set      the CPU's pageset of the zone that is tried first
//!     start    the frame of ...
//!     map        ... the first of the zone's descriptors
//!     blocks     ... and of what is kept about its page blocks
//! ```
//!
//! It is made once, at boot, and never changes: what may change is the pageset's
//! gate. A zone whose descriptors do not lie in one piece has none here, and its
//! pages go the long way.

use super::migratetype::Pageblock;
use super::pageset::Pageset;
use crate::page::PageDescriptor;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::PageOrder;
use crate::phys::PAGEBLOCK_ORDER;
use crate::sparse::Stretch;

/// The way to a zone.
#[repr(C, align(64))]
pub(super) struct Route<'m> {
    pub(super) set: &'m Pageset,
    map: &'m [PageDescriptor],
    blocks: &'m [Pageblock],
    start: u32,
}

/// A pageset that no page ever comes to.
static CLOSED: Pageset = Pageset::new();

impl<'m> Route<'m> {
    /// The descriptor of a page of the zone.
    #[inline]
    pub(super) fn page(&self, pfn: u32) -> Option<&'m PageDescriptor> {
        self.map.get(pfn.wrapping_sub(self.start) as usize)
    }

    /// The type of the page block that a page of the zone lies in, as an index
    /// below 8.
    #[inline]
    pub(super) fn migratetype(&self, pfn: u32) -> Option<usize> {
        let block = pfn.wrapping_sub(self.start) >> PAGEBLOCK_ORDER;
        Some(self.blocks.get(block as usize)?.index())
    }
}

/// What one CPU has of the zones that it likes best.
#[repr(C)]
pub struct CpuLocal<'m> {
    routes: [Route<'m>; NR_ZONE_TYPES],
}

impl<'m> CpuLocal<'m> {
    /// The ways to the zones that `route` tells for each highest kind.
    pub(super) fn new(route: impl Fn(ZoneType) -> Option<(&'m Pageset, Stretch<'m>)>) -> Self {
        Self {
            routes: ZoneType::ALL.map(|highest| {
                let (set, stretch) = route(highest).unwrap_or((&CLOSED, Stretch::EMPTY));
                let start = u32::try_from(stretch.start.0);
                match start {
                    Ok(start) if stretch.start.is_aligned(PageOrder::PAGEBLOCK) => Route {
                        set,
                        map: stretch.map,
                        blocks: stretch.blocks,
                        start,
                    },
                    _ => Route {
                        set: &CLOSED,
                        map: &[],
                        blocks: &[],
                        start: 0,
                    },
                }
            }),
        }
    }

    /// The way for requests that may use zones up to `highest`.
    #[inline]
    pub(super) fn route(&self, highest: ZoneType) -> &Route<'m> {
        &self.routes[highest.index()]
    }
}
