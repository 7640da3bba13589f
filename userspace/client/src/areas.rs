// SPDX-License-Identifier: GPL-2.0

//! The areas of the page manager after Cosmos, where that has the pages.

use crate::device::Device;
use crate::error::Result;
use crate::request::text;
use serde::Serialize;
use shadowmm_abi as abi;

/// Memory for one use (`memarea_t`), as far as it lies in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Area {
    /// The node.
    pub nid: i32,
    /// The index of the zone.
    pub zone: u32,
    /// What it is for: `hardware`, `kernel` or `application`.
    pub kind: String,
    /// The first page.
    pub start_pfn: u64,
    /// The page behind the last.
    pub end_pfn: u64,
    /// Pages that it has had from memblock (`ma_maxpages`).
    pub max_pages: u64,
    /// Of them, free ones (`ma_freepages`).
    pub free_pages: u64,
    /// How often a block was halved (`dm_divnr`).
    pub divisions: u64,
    /// How often two blocks became one (`dm_mernr`).
    pub merges: u64,
    /// A list for each power of two (`bafhlst_t`), smallest blocks first.
    pub lists: Vec<AreaList>,
}

/// The blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AreaList {
    /// Pages in a block.
    pub block_pages: u64,
    /// Blocks, free or given out.
    pub objects: u64,
    /// Free blocks.
    pub free: u64,
    /// Blocks that were given out so far.
    pub allocs: u64,
    /// Blocks that were given back so far.
    pub frees: u64,
}

impl From<&abi::shadowmm_rec_area> for Area {
    fn from(record: &abi::shadowmm_rec_area) -> Self {
        let list = |order: usize| AreaList {
            block_pages: 1 << order,
            objects: record.objects[order],
            free: record.nr_free[order],
            allocs: record.allocs[order],
            frees: record.frees[order],
        };
        Self {
            nid: record.nid,
            zone: record.zone,
            kind: text(&record.kind),
            start_pfn: record.start_pfn,
            end_pfn: record.end_pfn,
            max_pages: record.max,
            free_pages: record.free,
            divisions: record.divisions,
            merges: record.merges,
            lists: (0..record.objects.len()).map(list).collect(),
        }
    }
}

impl Device {
    /// The areas; none where the buddy system has the pages.
    ///
    /// # Errors
    ///
    /// Refused before the last stage of the boot.
    pub fn areas(&self) -> Result<Vec<Area>> {
        let records = self.records::<abi::shadowmm_rec_area>()?;
        Ok(records.iter().map(Area::from).collect())
    }
}
