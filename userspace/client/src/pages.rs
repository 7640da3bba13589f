// SPDX-License-Identifier: GPL-2.0

//! Many pages at once, sizes that are no power of two, and what is done with
//! blocks that one has.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use crate::page::AllocRequest;
use crate::page::Block;
use crate::Reason;
use crate::PAGE_SIZE;
use shadowmm_abi as abi;
use std::mem::ManuallyDrop;

/// Pages that one request of the ABI can name.
pub const MAX_BULK: usize = abi::SHADOWMM_MAX_BULK as usize;

/// Single pages that were allocated together. They are freed together when
/// dropped, or at the latest when the device is closed.
#[must_use = "pages that are dropped are freed at once"]
#[derive(Debug)]
pub struct Bulk<'d> {
    device: &'d Device,
    pfns: Vec<u64>,
    stopped: Option<Reason>,
}

impl Bulk<'_> {
    /// The pages, in the order in which they came.
    pub fn pfns(&self) -> &[u64] {
        &self.pfns
    }

    /// Why there are fewer than were asked for.
    pub fn stopped(&self) -> Option<Reason> {
        self.stopped
    }

    /// Gives the pages back, and tells how many were if not all.
    ///
    /// # Errors
    ///
    /// That of the first page that could not be freed.
    pub fn free(mut self) -> Result<()> {
        let pfns = std::mem::take(&mut self.pfns);
        self.device.free_bulk(&pfns).map(|_| ())
    }

    /// Leaves the pages to the device, which gives them back when it is closed.
    pub fn leave(mut self) {
        self.pfns.clear();
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told; what was refused returns with the device.
        let _ = self.device.free_bulk(&self.pfns);
    }
}

/// Pages in a row, as many as the bytes need. They are freed when dropped, or
/// at the latest when the device is closed.
#[must_use = "pages that are dropped are freed at once"]
#[derive(Debug)]
pub struct Exact<'d> {
    device: &'d Device,
    pfn: u64,
    bytes: u64,
    nid: i32,
    zone: u32,
}

impl Exact<'_> {
    /// The first page's frame number.
    pub fn pfn(&self) -> u64 {
        self.pfn
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        self.bytes.div_ceil(PAGE_SIZE)
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
    /// Those of [`Device::free_exact`].
    pub fn free(self) -> Result<()> {
        let pages = ManuallyDrop::new(self);
        pages.device.free_exact(pages.pfn, pages.bytes)
    }

    /// Leaves the pages to the device, which gives them back when it is closed.
    pub fn leave(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Exact<'_> {
    fn drop(&mut self) {
        // As for a block.
        let _ = self.device.free_exact(self.pfn, self.bytes);
    }
}

impl<'d> Block<'d> {
    /// Makes blocks of order `to` of it.
    ///
    /// # Errors
    ///
    /// Refused when `to` is not below its order, or others hold it too. The
    /// block is then free.
    pub fn split(self, to: u32) -> Result<Vec<Block<'d>>> {
        let count = self.device.split(self.pfn, self.order, to)?;
        let whole = ManuallyDrop::new(self);
        let piece = |i: u32| Block {
            device: whole.device,
            pfn: whole.pfn + (u64::from(i) << to),
            order: to,
            nid: whole.nid,
            zone: whole.zone,
        };
        Ok((0..count).map(piece).collect())
    }

    /// One reference more to it: it is free when both have been dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Device::get`].
    pub fn share(&self) -> Result<Block<'d>> {
        self.device.get(self.pfn)
    }
}

impl Device {
    /// Allocates `count` single pages, or as many of them as there are; the
    /// request's order is not looked at. More than [`MAX_BULK`] take several
    /// requests of the ABI.
    ///
    /// # Errors
    ///
    /// Refused when there is not one page.
    pub fn alloc_bulk(&self, request: &AllocRequest, count: usize) -> Result<Bulk<'_>> {
        let mut bulk = Bulk {
            device: self,
            pfns: Vec::new(),
            stopped: None,
        };
        loop {
            let have = bulk.pfns.len();
            let wanted = (count - have).min(MAX_BULK);
            bulk.pfns.resize(have + wanted, 0);
            let room = &mut bulk.pfns[have..];
            let answer = self.bulk(
                "allocate the pages",
                abi::shadowmm_bulk {
                    op: abi::SHADOWMM_PAGES_ALLOC,
                    gfp: request.gfp,
                    nid: request.abi_nid(),
                    ..Default::default()
                },
                room,
            );
            let done = match &answer {
                Ok((done, _)) => (*done).min(wanted),
                Err(_) => 0,
            };
            bulk.pfns.truncate(have + done);
            match answer {
                Ok((_, None)) if bulk.pfns.len() < count && done != 0 => {}
                Ok((_, stopped)) => {
                    bulk.stopped = stopped;
                    return Ok(bulk);
                }
                Err(Error::Refused { reason, .. }) if have != 0 => {
                    bulk.stopped = Some(reason);
                    return Ok(bulk);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Frees single pages of this open file, up to the first that can't be:
    /// how many were, which is all of them unless there is an error.
    ///
    /// # Errors
    ///
    /// That of the first page that can't be freed; those before it are free.
    pub fn free_bulk(&self, pfns: &[u64]) -> Result<usize> {
        const WHAT: &str = "free the pages";
        let mut freed = 0;
        for pfns in pfns.chunks(MAX_BULK) {
            // The module only reads it, but the request has one kind of pointer.
            let mut pfns = pfns.to_vec();
            let request = abi::shadowmm_bulk {
                op: abi::SHADOWMM_PAGES_FREE,
                ..Default::default()
            };
            let (done, stopped) = self.bulk(WHAT, request, &mut pfns)?;
            freed += done;
            if let Some(reason) = stopped {
                return Err(Error::Refused {
                    what: WHAT,
                    reason,
                    errno: nix::errno::Errno::from_raw(reason.errno() as i32),
                });
            }
        }
        Ok(freed)
    }

    fn bulk(
        &self,
        what: &'static str,
        mut request: abi::shadowmm_bulk,
        pfns: &mut [u64],
    ) -> Result<(usize, Option<Reason>)> {
        // Longer than a request may be is longer than a u32 holds, or refused.
        request.count = u32::try_from(pfns.len()).unwrap_or(u32::MAX);
        request.pfns = pfns.as_mut_ptr() as u64;
        self.request(what, &mut request)?;
        Ok((request.done as usize, Reason::from_code(request.stopped)))
    }

    /// Allocates the pages that so many bytes need, in a row; the request's
    /// order is not looked at.
    ///
    /// # Errors
    ///
    /// Refused for no bytes and for more than the largest block has (4 MiB), and
    /// as [`Device::alloc`].
    pub fn alloc_exact(&self, request: &AllocRequest, bytes: u64) -> Result<Exact<'_>> {
        let mut exact = abi::shadowmm_exact {
            op: abi::SHADOWMM_PAGES_ALLOC,
            gfp: request.gfp,
            nid: request.abi_nid(),
            bytes,
            ..Default::default()
        };
        self.request("allocate", &mut exact)?;
        Ok(Exact {
            device: self,
            pfn: exact.pfn,
            bytes,
            nid: exact.page_nid,
            zone: exact.page_zone,
        })
    }

    /// Frees the pages of so many bytes from `pfn` on: all of them or none.
    ///
    /// # Errors
    ///
    /// Refused when one of them is no single page of this open file's.
    pub fn free_exact(&self, pfn: u64, bytes: u64) -> Result<()> {
        let mut exact = abi::shadowmm_exact {
            op: abi::SHADOWMM_PAGES_FREE,
            pfn,
            bytes,
            ..Default::default()
        };
        self.request("free the pages", &mut exact)
    }

    /// Makes blocks of order `to` of this open file's block; how many.
    ///
    /// # Errors
    ///
    /// Refused when it is not this open file's, `to` is not below its order, or
    /// others hold it too.
    pub fn split(&self, pfn: u64, order: u32, to: u32) -> Result<u32> {
        let op = abi::SHADOWMM_BLOCK_SPLIT;
        let answer = self.block("split the block", op, pfn, order, to)?;
        Ok(answer.count)
    }

    /// Makes one block of this open file's blocks that fill it; how many they
    /// were.
    ///
    /// # Errors
    ///
    /// Refused when one is not this open file's or others hold it too, or when
    /// they don't fill a block of `order` at `pfn`.
    pub fn merge(&self, pfn: u64, order: u32) -> Result<u32> {
        let op = abi::SHADOWMM_BLOCK_MERGE;
        let answer = self.block("merge the blocks", op, pfn, order, 0)?;
        Ok(answer.count)
    }

    /// One reference more to a block, this open file's or another's: it is free
    /// when the last holder has given it up.
    ///
    /// # Errors
    ///
    /// Refused when no block starts there, or it is the module's own.
    pub fn get(&self, pfn: u64) -> Result<Block<'_>> {
        let op = abi::SHADOWMM_BLOCK_GET;
        let answer = self.block("share the block", op, pfn, 0, 0)?;
        // Made first: whatever comes of the question, it gives the reference up.
        let mut block = Block {
            device: self,
            pfn,
            order: answer.order,
            nid: -1,
            zone: 0,
        };
        let page = self.page(pfn)?;
        block.nid = page.nid;
        block.zone = page.zone;
        Ok(block)
    }

    /// Gives up one of this open file's references to a block; how many there
    /// still are, and 0 when it is free.
    ///
    /// # Errors
    ///
    /// Refused when this open file has none.
    pub fn put(&self, pfn: u64) -> Result<u32> {
        let op = abi::SHADOWMM_BLOCK_PUT;
        let answer = self.block("give the block up", op, pfn, 0, 0)?;
        Ok(answer.count)
    }

    fn block(
        &self,
        what: &'static str,
        op: u32,
        pfn: u64,
        order: u32,
        to: u32,
    ) -> Result<abi::shadowmm_block> {
        let mut block = abi::shadowmm_block {
            op,
            order,
            to,
            pfn,
            ..Default::default()
        };
        self.request(what, &mut block)?;
        Ok(block)
    }
}
