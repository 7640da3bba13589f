// SPDX-License-Identifier: GPL-2.0

//! The model: what shadowmm tells about itself, as plain data.
//!
//! The names of the fields are the keys of `--json`, so they are stable. Those
//! that count pages, or bytes, or nanoseconds say so.

use crate::boot::MapSource;
use crate::boot::Stage;
use crate::error::Error;
use crate::error::Result;
use crate::request::text;
use crate::NR_ORDERS;
use crate::NR_ZONES;
use serde::Serialize;
use shadowmm_abi as abi;
use shadowmm_core::error::Error as Reason;

/// Where the region's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionSource {
    /// CMA areas.
    Cma,
    /// `alloc_contig_pages()`.
    Contig,
}

/// One look at everything important.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The stage that the boot has reached.
    pub stage: Stage,
    /// Whose map it is.
    pub map_source: MapSource,
    /// Where the memory comes from.
    pub region_source: RegionSource,
    /// Nodes of the shadow.
    pub nr_nodes: u32,
    /// Pages of the host's memory that were taken.
    pub backing_pages: u64,
    /// Pages of RAM that the shadow has on them.
    pub ram_pages: u64,
    /// Bytes of RAM of the map before it was scaled.
    pub original_ram_bytes: u64,
    /// Bytes of page descriptors, section tables, nodes, statistics.
    pub metadata_bytes: u64,
    /// Of these, page descriptors.
    pub descriptor_bytes: u64,
    /// Pages that the buddy system has had.
    pub managed_pages: u64,
    /// Pages that it has.
    pub free_pages: u64,
    /// Pages that open files own.
    pub held_pages: u64,
    /// Open files of the device, this one included.
    pub open_files: u32,
    /// log2 of the pages in a section.
    pub section_order: u32,
    /// Bytes that shadowmm keeps for each page.
    pub descriptor_size: u32,
    /// Bytes that the host keeps for each page.
    pub host_descriptor_size: u32,
    /// What each stage of the boot took, in nanoseconds.
    pub stage_ns: [u64; 5],
    /// Why there is no crash kernel although one was asked for.
    pub crash_refusal: Option<&'static str>,
}

impl Status {
    /// Bytes that descriptors as large as the host's would take for the same
    /// pages.
    pub fn linux_descriptor_bytes(&self) -> u64 {
        let descriptors = self.descriptor_bytes / u64::from(self.descriptor_size.max(1));
        descriptors.saturating_mul(u64::from(self.host_descriptor_size))
    }
}

pub(crate) fn status(record: &abi::shadowmm_rec_status) -> Result<Status> {
    Ok(Status {
        stage: Stage::from_abi(record.stage)?,
        map_source: MapSource::from_abi(record.map_source)?,
        region_source: match record.region_source {
            abi::SHADOWMM_SOURCE_CMA => RegionSource::Cma,
            abi::SHADOWMM_SOURCE_CONTIG => RegionSource::Contig,
            other => {
                return Err(Error::Unexpected {
                    what: "read the region's source",
                    value: u64::from(other),
                })
            }
        },
        nr_nodes: record.nr_nodes,
        backing_pages: record.backing_pages,
        ram_pages: record.ram_pages,
        original_ram_bytes: record.original_ram,
        metadata_bytes: record.metadata_bytes,
        descriptor_bytes: record.descriptor_bytes,
        managed_pages: record.managed_pages,
        free_pages: record.free_pages,
        held_pages: record.held_pages,
        open_files: record.open_files,
        section_order: record.section_order,
        descriptor_size: record.descriptor_size,
        host_descriptor_size: record.host_descriptor_size,
        stage_ns: record.ns,
        crash_refusal: Reason::from_code(record.crash_reason).map(Reason::sentence),
    })
}

/// A piece of the host's memory that a piece of the shadow's RAM lies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The shadow's first page.
    pub start_pfn: u64,
    /// How many.
    pub pages: u64,
    /// The host's first page, for those who may know.
    pub host_pfn: Option<u64>,
    /// The shadow's node.
    pub nid: i32,
    /// The host's node.
    pub host_nid: i32,
}

impl From<&abi::shadowmm_rec_segment> for Segment {
    fn from(record: &abi::shadowmm_rec_segment) -> Self {
        Self {
            start_pfn: record.start_pfn,
            pages: record.pages,
            host_pfn: (record.host_pfn != u64::MAX).then_some(record.host_pfn),
            nid: record.nid,
            host_nid: record.host_nid,
        }
    }
}

/// A line of `/proc/iomem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// How deep it lies inside others.
    pub depth: u32,
    /// What it is.
    pub name: String,
}

impl From<&abi::shadowmm_rec_resource> for Resource {
    fn from(record: &abi::shadowmm_rec_resource) -> Self {
        Self {
            start: record.start,
            end: record.end,
            depth: record.depth,
            name: text(&record.name),
        }
    }
}

/// memblock's two arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemblockArray {
    /// All memory that there is.
    Memory,
    /// What of it has a use already.
    Reserved,
}

/// `struct memblock_region`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemblockRegion {
    /// Which array it is in.
    pub array: MemblockArray,
    /// The first byte's address.
    pub base: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// `enum memblock_flags`.
    pub flags: u32,
    /// The node; `None` where none was set.
    pub nid: Option<i32>,
}

impl TryFrom<&abi::shadowmm_rec_memblock> for MemblockRegion {
    type Error = Error;

    fn try_from(record: &abi::shadowmm_rec_memblock) -> Result<Self> {
        Ok(Self {
            array: match record.array {
                abi::SHADOWMM_MEMBLOCK_MEMORY => MemblockArray::Memory,
                abi::SHADOWMM_MEMBLOCK_RESERVED => MemblockArray::Reserved,
                other => {
                    return Err(Error::Unexpected {
                        what: "read memblock",
                        value: u64::from(other),
                    })
                }
            },
            base: record.base,
            size_bytes: record.size,
            flags: record.flags,
            // Linux has two ways to say that there is none: -1 and MAX_NUMNODES.
            nid: (0..abi::SHADOWMM_MAX_NODES as i32)
                .contains(&record.nid)
                .then_some(record.nid),
        })
    }
}

/// `struct pglist_data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its number.
    pub nid: i32,
    /// The host's node that its first page lies on.
    pub host_nid: i32,
    /// CPUs.
    pub nr_cpus: u32,
    /// `node_start_pfn`.
    pub start_pfn: u64,
    /// `node_spanned_pages`.
    pub spanned_pages: u64,
    /// `node_present_pages`.
    pub present_pages: u64,
    /// The distance to each node, by node number.
    pub distances: Vec<u8>,
    /// The nodes that its zonelist goes through, in order.
    pub fallback: Vec<i32>,
}

impl Node {
    /// `nodes` is the highest node's number plus one.
    pub(crate) fn from_record(record: &abi::shadowmm_rec_node, nodes: usize) -> Self {
        Self {
            nid: record.nid,
            host_nid: record.host_nid,
            nr_cpus: record.nr_cpus,
            start_pfn: record.start_pfn,
            spanned_pages: record.spanned,
            present_pages: record.present,
            distances: record.distance.iter().take(nodes).copied().collect(),
            fallback: record
                .fallback
                .iter()
                .take(record.nr_fallback as usize)
                .map(|&nid| i32::from(nid))
                .collect(),
        }
    }
}

/// `struct zone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// The node.
    pub nid: i32,
    /// Which kind, as a number.
    pub zone: u32,
    /// Which kind, as `/proc` names it.
    pub name: String,
    /// `zone_start_pfn`.
    pub start_pfn: u64,
    /// `spanned_pages`.
    pub spanned_pages: u64,
    /// `present_pages`.
    pub present_pages: u64,
    /// `managed_pages`.
    pub managed_pages: u64,
    /// `NR_FREE_PAGES`.
    pub free_pages: u64,
    /// The watermark, in pages, that only those who free memory may go below.
    pub watermark_min: u64,
    /// The watermark, in pages, below which reclaim wakes up.
    pub watermark_low: u64,
    /// The watermark, in pages, above which reclaim sleeps.
    pub watermark_high: u64,
    /// The watermark, in pages, above which pages are promoted.
    pub watermark_promo: u64,
    /// `lowmem_reserve`, in pages, by the highest zone of the request.
    pub protection: [u64; NR_ZONES],
    /// Free blocks by order.
    pub nr_free: [u64; NR_ORDERS],
}

impl From<&abi::shadowmm_rec_zone> for Zone {
    fn from(record: &abi::shadowmm_rec_zone) -> Self {
        let [min, low, high, promo] = record.watermark;
        Self {
            nid: record.nid,
            zone: record.zone,
            name: text(&record.name),
            start_pfn: record.start_pfn,
            spanned_pages: record.spanned,
            present_pages: record.present,
            managed_pages: record.managed,
            free_pages: record.free,
            watermark_min: min,
            watermark_low: low,
            watermark_high: high,
            watermark_promo: promo,
            protection: record.lowmem_reserve,
            nr_free: record.nr_free,
        }
    }
}

/// A line of where the memory went. The lines of depth 0 are sums: each is
/// what is left of the one before after the lines of depth 1 between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// A name for programs.
    pub key: String,
    /// A name for people.
    pub text: String,
    /// 0 for a sum, 1 for what is taken from it.
    pub depth: u32,
    /// Bytes.
    pub bytes: u64,
}

impl From<&abi::shadowmm_rec_account> for Account {
    fn from(record: &abi::shadowmm_rec_account) -> Self {
        Self {
            key: text(&record.key),
            text: text(&record.text),
            depth: record.depth,
            bytes: record.bytes,
        }
    }
}

/// Something that is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// What.
    pub name: String,
    /// How often, or how much.
    pub value: u64,
}

impl From<&abi::shadowmm_rec_counter> for Counter {
    fn from(record: &abi::shadowmm_rec_counter) -> Self {
        Self {
            name: text(&record.name),
            value: record.value,
        }
    }
}

/// A section of page descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its number.
    pub number: u64,
    /// Its first page.
    pub start_pfn: u64,
    /// The page that its first descriptor lies in.
    pub memmap_pfn: u64,
    /// The node.
    pub nid: i32,
}

impl From<&abi::shadowmm_rec_section> for Section {
    fn from(record: &abi::shadowmm_rec_section) -> Self {
        Self {
            number: record.number,
            start_pfn: record.start_pfn,
            memmap_pfn: record.memmap_pfn,
            nid: record.nid,
        }
    }
}
