// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/cosmos`: the areas, and the lists of each.
//!
//! ```text
//! allocator cosmos
//! hardware_end 1024
//!
//! Node 0, zone      DMA, area hardware
//!   start_pfn 0
//!   end_pfn 128
//!   maxpages 96
//!   allocpages 0
//!   freepages 96
//!   divnr 0
//!   mernr 0
//!       pages   objects      free    allocs     frees
//!           1         0         0         0         0
//!         ...
//!        1024         0         0         0         0
//! ```
//!
//! `objects` are the blocks of a size, free or given out; `allocs` and `frees`
//! how many of that size were given out and back; `divnr` and `mernr` how often
//! a block was halved, and how often two became one. With another allocator the
//! first line names it, and there is no other.

use super::area::AreaKind;
use super::area::MemArea;
use super::area::MemAreas;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::PfnRange;
use crate::phys::NR_PAGE_ORDERS;
use crate::platform::Lock;
use crate::platform::Platform;
use core::fmt;

/// An area at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaReport {
    /// What it is for (`ma_type`).
    pub kind: AreaKind,
    /// The zone that it is a part of.
    pub zone: ZoneId,
    /// Where it lies, holes included.
    pub span: PfnRange,
    /// Pages that it has had from memblock (`ma_maxpages`).
    pub max: Pages,
    /// Of them, free ones (`ma_freepages`).
    pub free: Pages,
    /// How often a block was halved (`dm_divnr`).
    pub divisions: u64,
    /// How often two blocks became one (`dm_mernr`).
    pub merges: u64,
    /// Its lists, smallest blocks first.
    pub lists: [ListReport; NR_PAGE_ORDERS],
}

/// The blocks of one size at one moment (`bafhlst_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Free or given out (`af_mobjnr`).
    pub objects: u64,
    /// Free (`af_fobjnr`).
    pub free: u64,
    /// Given out so far (`af_alcindx`).
    pub allocs: u64,
    /// Given back so far (`af_freindx`).
    pub frees: u64,
}

impl AreaReport {
    /// Pages that somebody owns (`ma_allocpages`).
    pub fn allocated(&self) -> Pages {
        self.max - self.free
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (nid, zone, kind) = (self.zone.nid(), self.zone.kind().name(), self.kind.name());
        writeln!(out, "\nNode {nid}, zone {zone:>8}, area {kind}")?;
        let rows = [
            ("start_pfn", self.span.start.0),
            ("end_pfn", self.span.end.0),
            ("maxpages", self.max.0),
            ("allocpages", self.allocated().0),
            ("freepages", self.free.0),
            ("divnr", self.divisions),
            ("mernr", self.merges),
        ];
        for (name, value) in rows {
            writeln!(out, "  {name} {value}")?;
        }
        let head = ["pages", "objects", "free", "allocs", "frees"];
        write_row(out, head)?;
        for (order, list) in PageOrder::all().zip(self.lists) {
            let pages = order.pages().0;
            write_row(
                out,
                [pages, list.objects, list.free, list.allocs, list.frees],
            )?;
        }
        Ok(())
    }
}

fn write_row<T: fmt::Display>(out: &mut dyn fmt::Write, row: [T; 5]) -> fmt::Result {
    write!(out, " ")?;
    for column in row {
        write!(out, " {column:>9}")?;
    }
    writeln!(out)
}

impl<P: Platform> MemArea<P> {
    /// The area as it is now, in one consistent picture.
    pub fn report(&self) -> AreaReport {
        let lists = self.lists.lock();
        let mut report = AreaReport {
            kind: self.kind,
            zone: self.zone,
            span: self.span,
            max: lists.max,
            free: lists.free_pages(),
            divisions: lists.divisions,
            merges: lists.merges,
            lists: [ListReport::default(); NR_PAGE_ORDERS],
        };
        for (report, (_, list)) in report.lists.iter_mut().zip(lists.iter()) {
            *report = ListReport {
                objects: list.objects(),
                free: list.nr_free(),
                allocs: list.allocs(),
                frees: list.frees(),
            };
        }
        report
    }
}

impl<P: Platform> MemAreas<'_, P> {
    /// Writes the areas, each of one moment.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "hardware_end {}", self.hardware_end())?;
        for area in self.iter() {
            area.report().write(out)?;
        }
        Ok(())
    }
}
