// SPDX-License-Identifier: GPL-2.0

//! Blocks of pages that free themselves, and what is known about a page.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use serde::Serialize;
use shadowmm_abi as abi;
use std::mem::ManuallyDrop;

/// What is asked of the buddy system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocRequest {
    /// Linux's `__GFP_*` bits of the running kernel; 0 means `GFP_KERNEL`.
    pub gfp: u32,
    /// The order of the block: it has `1 << order` pages.
    pub order: u32,
    /// The preferred node; `None` for what the device's [`Policy`] says.
    ///
    /// [`Policy`]: crate::Policy
    pub nid: Option<u32>,
}

impl AllocRequest {
    /// The node as the ABI has it. A number too large to be a node is refused as
    /// such by the module.
    pub(crate) fn abi_nid(&self) -> i32 {
        self.nid
            .map_or(-1, |nid| i32::try_from(nid).unwrap_or(i32::MAX))
    }
}

/// A block of pages. It is freed when dropped, or at the latest when the
/// device is closed.
#[must_use = "a block that is dropped is freed at once"]
#[derive(Debug)]
pub struct Block<'d> {
    pub(crate) device: &'d Device,
    pub(crate) pfn: u64,
    pub(crate) order: u32,
    pub(crate) nid: i32,
    pub(crate) zone: u32,
}

impl Block<'_> {
    /// The first page's frame number.
    pub fn pfn(&self) -> u64 {
        self.pfn
    }

    /// The order.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// The node that it lies on.
    pub fn nid(&self) -> i32 {
        self.nid
    }

    /// The index of the zone that it lies in.
    pub fn zone(&self) -> u32 {
        self.zone
    }

    /// Gives the block back, and tells if that was refused.
    pub fn free(self) -> Result<()> {
        let block = ManuallyDrop::new(self);
        block.device.free(block.pfn, block.order)
    }

    /// Leaves the block to the device, which gives it back when it is closed.
    pub fn leave(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told; what was refused returns with the device.
        let _ = self.device.free(self.pfn, self.order);
    }
}

/// What a page frame is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// An address without RAM behind it.
    Hole,
    /// RAM that memblock keeps.
    Reserved,
    /// The first page of a free block.
    Buddy,
    /// The first page of an allocated block.
    Allocated,
    /// Inside a block, not its first page.
    Tail,
    /// The first page of a slab.
    Slab,
}

impl PageState {
    fn from_abi(state: u32) -> Result<Self> {
        match state {
            abi::SHADOWMM_PAGE_HOLE => Ok(Self::Hole),
            abi::SHADOWMM_PAGE_RESERVED => Ok(Self::Reserved),
            abi::SHADOWMM_PAGE_BUDDY => Ok(Self::Buddy),
            abi::SHADOWMM_PAGE_ALLOCATED => Ok(Self::Allocated),
            abi::SHADOWMM_PAGE_TAIL => Ok(Self::Tail),
            abi::SHADOWMM_PAGE_SLAB => Ok(Self::Slab),
            other => Err(Error::Unexpected {
                what: "look at the page",
                value: u64::from(other),
            }),
        }
    }

    /// The name, as `--json` and the tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Reserved => "reserved",
            Self::Buddy => "buddy",
            Self::Allocated => "allocated",
            Self::Tail => "tail",
            Self::Slab => "slab",
        }
    }
}

/// Whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageOwner {
    /// Nobody's.
    None,
    /// This open file's.
    #[serde(rename = "self")]
    This,
    /// Another open file's.
    Other,
    /// The module's own.
    Kernel,
}

/// What is known about a page frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Its number.
    pub pfn: u64,
    /// What it is.
    pub state: PageState,
    /// The first page of its block; itself where it is in none.
    pub head_pfn: u64,
    /// What that page is.
    pub head_state: PageState,
    /// The order of the block.
    pub order: u32,
    /// The node.
    pub nid: i32,
    /// The index of the zone.
    pub zone: u32,
    /// The section.
    pub section: u64,
    /// References to the block.
    pub count: u32,
    /// Whose it is.
    pub owner: PageOwner,
    /// The host's frame behind it, for those who may know.
    pub host_pfn: Option<u64>,
}

impl Device {
    /// Allocates a block.
    pub fn alloc(&self, request: &AllocRequest) -> Result<Block<'_>> {
        let mut alloc = abi::shadowmm_alloc {
            gfp: request.gfp,
            order: request.order,
            nid: request.abi_nid(),
            ..Default::default()
        };
        self.request("allocate", &mut alloc)?;
        Ok(Block {
            device: self,
            pfn: alloc.pfn,
            order: request.order,
            nid: alloc.page_nid,
            zone: alloc.page_zone,
        })
    }

    /// Frees a block by its number and order, as somebody would who has no
    /// [`Block`] of it: the module checks that it is this open file's.
    pub fn free(&self, pfn: u64, order: u32) -> Result<()> {
        let mut free = abi::shadowmm_free {
            pfn,
            order,
            ..Default::default()
        };
        self.request("free the block", &mut free)
    }

    /// What is known about a page frame.
    pub fn page(&self, pfn: u64) -> Result<Page> {
        let mut page = abi::shadowmm_page {
            pfn,
            ..Default::default()
        };
        self.request("look at the page", &mut page)?;
        Ok(Page {
            pfn,
            state: PageState::from_abi(page.state)?,
            head_pfn: page.head_pfn,
            head_state: PageState::from_abi(page.head_state)?,
            order: page.order,
            nid: page.nid,
            zone: page.zone,
            section: page.section,
            count: page.count,
            owner: match page.owner {
                abi::SHADOWMM_OWNER_SELF => PageOwner::This,
                abi::SHADOWMM_OWNER_OTHER => PageOwner::Other,
                abi::SHADOWMM_OWNER_KERNEL => PageOwner::Kernel,
                _ => PageOwner::None,
            },
            host_pfn: (page.host_pfn != u64::MAX).then_some(page.host_pfn),
        })
    }
}
