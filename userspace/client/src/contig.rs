// SPDX-License-Identifier: GPL-2.0

//! Pages in a row, more than the largest block has, or exactly these.

use crate::device::Device;
use crate::error::Result;
use crate::page::AllocRequest;
use shadowmm_abi as abi;
use std::mem::ManuallyDrop;

/// Pages in a row, each a page of its own. They are freed when dropped, or at
/// the latest when the device is closed.
#[must_use = "pages that are dropped are freed at once"]
#[derive(Debug)]
pub struct Contig<'d> {
    device: &'d Device,
    pfn: u64,
    pages: u64,
    nid: i32,
    zone: u32,
}

impl Contig<'_> {
    /// The first page's frame number.
    pub fn pfn(&self) -> u64 {
        self.pfn
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The node that they lie on.
    pub fn nid(&self) -> i32 {
        self.nid
    }

    /// The index of the zone that they lie in.
    pub fn zone(&self) -> u32 {
        self.zone
    }

    /// Gives the pages back, and tells if that was refused.
    ///
    /// # Errors
    ///
    /// Those of [`Device::free_contig`].
    pub fn free(self) -> Result<()> {
        let pages = ManuallyDrop::new(self);
        pages.device.free_contig(pages.pfn, pages.pages)
    }

    /// Leaves the pages to the device, which gives them back when it is closed.
    pub fn leave(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Contig<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told; what was refused returns with the device.
        let _ = self.device.free_contig(self.pfn, self.pages);
    }
}

impl Device {
    /// Allocates `pages` pages in a row, wherever they can be had; the request's
    /// order is not looked at.
    ///
    /// # Errors
    ///
    /// Refused where there is no such row, and by an allocator that moves
    /// nothing.
    pub fn alloc_contig(&self, request: &AllocRequest, pages: u64) -> Result<Contig<'_>> {
        self.contig(abi::shadowmm_contig {
            op: abi::SHADOWMM_CONTIG_ALLOC,
            gfp: request.gfp & !shadowmm_core::buddy::gfp::__GFP_COMP.bits(),
            nid: request.abi_nid(),
            pages,
            ..Default::default()
        })
    }

    /// Allocates the `pages` pages from `pfn` on: what is there and may be moved
    /// is moved. Of the flags only those are looked at that say how hard to try.
    ///
    /// # Errors
    ///
    /// Refused when something there has to stay, and by an allocator that moves
    /// nothing.
    pub fn alloc_range(&self, gfp: u32, pfn: u64, pages: u64) -> Result<Contig<'_>> {
        self.contig(abi::shadowmm_contig {
            op: abi::SHADOWMM_CONTIG_RANGE,
            gfp: gfp & !shadowmm_core::buddy::gfp::__GFP_COMP.bits(),
            pages,
            pfn,
            ..Default::default()
        })
    }

    fn contig(&self, mut contig: abi::shadowmm_contig) -> Result<Contig<'_>> {
        self.request("allocate the range", &mut contig)?;
        Ok(Contig {
            device: self,
            pfn: contig.pfn,
            pages: contig.pages,
            nid: contig.page_nid,
            zone: contig.page_zone,
        })
    }

    /// Frees `pages` pages from `pfn` on: all of them or none.
    ///
    /// # Errors
    ///
    /// Refused when one of them is no single page of this open file's.
    pub fn free_contig(&self, pfn: u64, pages: u64) -> Result<()> {
        let mut contig = abi::shadowmm_contig {
            op: abi::SHADOWMM_CONTIG_FREE,
            pages,
            pfn,
            ..Default::default()
        };
        self.request("free the range", &mut contig)
    }
}
