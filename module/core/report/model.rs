// SPDX-License-Identifier: GPL-2.0

//! What the reports are made of: plain data.
//!
//! The models are copies without locks or references, small enough for a kernel
//! stack. Texts, the ABI's records and so the CLI's tables and JSON all come
//! from these.

use super::NumaStats;
use super::ZoneStat;
use super::ZoneStats;
use crate::buddy::MIGRATE_TYPES;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::Bytes;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::MAX_CPUS;
use crate::phys::MAX_NODES;
use crate::phys::NR_PAGE_ORDERS;
use crate::zone::Watermark;
use crate::zone::NR_WATERMARKS;
use core::fmt;

/// A zone (`struct zone`), as `/proc/zoneinfo` and `/proc/buddyinfo` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneModel {
    /// The node that it belongs to.
    pub nid: NodeId,
    /// Which kind of zone.
    pub kind: ZoneType,
    /// The first page frame of the span (`zone_start_pfn`).
    pub start_pfn: Pfn,
    /// Page frames of the span, holes included (`spanned_pages`).
    pub spanned: Pages,
    /// Pages that are RAM (`present_pages`).
    pub present: Pages,
    /// Pages that the buddy system was given (`zone_managed_pages`).
    pub managed: Pages,
    /// Pages of CMA areas (`zone_cma_pages`).
    pub cma: Pages,
    /// By [`Watermark`], without `boost` (`_watermark`).
    pub watermark: [Pages; NR_WATERMARKS],
    /// What every watermark is raised by at the moment (`watermark_boost`).
    pub boost: Pages,
    /// By the highest zone that a request may use (`lowmem_reserve`).
    pub lowmem_reserve: [Pages; NR_ZONE_TYPES],
    /// Free blocks by order (`free_area[order].nr_free`).
    pub nr_free: [u64; NR_PAGE_ORDERS],
    /// Pages kept for urgent requests (`nr_reserved_highatomic`).
    pub reserved_highatomic: Pages,
    /// Of these, free ones (`nr_free_highatomic`).
    pub free_highatomic: Pages,
    /// Whether reclaim has given up on the zone's node (`kswapd_test_hopeless`).
    pub node_unreclaimable: bool,
    /// The zone's counters; its free pages are one of them.
    pub stats: ZoneStats,
    /// Where its pages were wanted.
    pub numa: NumaStats,
}

impl ZoneModel {
    /// A zone without pages.
    pub const fn empty(nid: NodeId, kind: ZoneType) -> Self {
        Self {
            nid,
            kind,
            start_pfn: Pfn(0),
            spanned: Pages::ZERO,
            present: Pages::ZERO,
            managed: Pages::ZERO,
            cma: Pages::ZERO,
            watermark: [Pages::ZERO; NR_WATERMARKS],
            boost: Pages::ZERO,
            lowmem_reserve: [Pages::ZERO; NR_ZONE_TYPES],
            nr_free: [0; NR_PAGE_ORDERS],
            reserved_highatomic: Pages::ZERO,
            free_highatomic: Pages::ZERO,
            node_unreclaimable: false,
            stats: ZoneStats::ZERO,
            numa: NumaStats::ZERO,
        }
    }

    /// Whether it has RAM (`populated_zone`).
    pub fn is_populated(&self) -> bool {
        !self.present.is_zero()
    }

    /// Its free pages (`NR_FREE_PAGES`).
    pub fn free(&self) -> Pages {
        Pages(self.stats.get(ZoneStat::FreePages))
    }

    /// A watermark with the boost, as it holds at the moment (`wmark_pages`).
    pub fn wmark(&self, mark: Watermark) -> Pages {
        self.wmark_base(mark) + self.boost
    }

    /// A watermark without the boost.
    pub fn wmark_base(&self, mark: Watermark) -> Pages {
        self.watermark
            .get(mark as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// What the free blocks and the page blocks of a zone are for, as
/// `/proc/pagetypeinfo` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTypeModel {
    /// Free blocks by migrate type and order, none counted beyond
    /// [`PageTypeModel::MOST`].
    pub free: [[u64; NR_PAGE_ORDERS]; MIGRATE_TYPES],
    /// Page blocks by migrate type.
    pub blocks: [u64; MIGRATE_TYPES],
}

impl PageTypeModel {
    /// No list is walked further: the zone's lock is held meanwhile.
    pub const MOST: u64 = 100_000;

    /// Nothing is free, and there is no page block.
    pub const NONE: Self = Self {
        free: [[0; NR_PAGE_ORDERS]; MIGRATE_TYPES],
        blocks: [0; MIGRATE_TYPES],
    };
}

/// A set of CPU numbers below [`MAX_CPUS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet([u64; MAX_CPUS / 64]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: Self = Self([0; MAX_CPUS / 64]);

    /// Enters a CPU; one that no firmware map can have is left out.
    pub fn insert(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.0 as usize / 64) {
            *word |= 1 << (cpu.0 % 64);
        }
    }

    /// Whether a CPU is in it.
    pub fn contains(&self, cpu: CpuId) -> bool {
        match self.0.get(cpu.0 as usize / 64) {
            Some(word) => (word >> (cpu.0 % 64)) & 1 != 0,
            None => false,
        }
    }

    /// How many there are (`cpumask_weight`).
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The CPUs, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..MAX_CPUS as u32)
            .map(CpuId)
            .filter(|&cpu| self.contains(cpu))
    }
}

/// As `%*pbl` prints it: `0-1,4`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for first in self.iter() {
            if first.0 > 0 && self.contains(CpuId(first.0 - 1)) {
                continue;
            }
            write!(f, "{comma}{}", first.0)?;
            let behind = (first.0..).find(|&cpu| !self.contains(CpuId(cpu)));
            let last = behind.map_or(first.0, |behind| behind - 1);
            if last > first.0 {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// A node (`pglist_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeModel {
    /// Its number.
    pub nid: NodeId,
    /// The first page frame of its span (`node_start_pfn`).
    pub start_pfn: Pfn,
    /// Page frames of the span, holes included (`node_spanned_pages`).
    pub spanned: Pages,
    /// Pages that are RAM (`node_present_pages`).
    pub present: Pages,
    /// Pages that the buddy system was given, over its zones.
    pub managed: Pages,
    /// Pages that are free, over its zones.
    pub free: Pages,
    /// Its CPUs, as the firmware map has them.
    pub cpus: CpuSet,
    /// The distance to each node, by that node's number (`node_distance`).
    pub distance: [u8; MAX_NODES],
    /// How many nodes `fallback` names.
    pub nr_fallback: u32,
    /// The nodes in the order in which a request on this node tries them
    /// (`build_zonelists`); the node itself is among them.
    pub fallback: [u8; MAX_NODES],
}

impl NodeModel {
    /// A node without memory and CPUs, 10 from itself and 20 from the others.
    pub const fn empty(nid: NodeId) -> Self {
        let mut distance = [20; MAX_NODES];
        if let Some(own) = nid.index() {
            distance[own] = 10;
        }
        Self {
            nid,
            start_pfn: Pfn(0),
            spanned: Pages::ZERO,
            present: Pages::ZERO,
            managed: Pages::ZERO,
            free: Pages::ZERO,
            cpus: CpuSet::EMPTY,
            distance,
            nr_fallback: 0,
            fallback: [0; MAX_NODES],
        }
    }

    /// The distance to `other`; 0 where there is no such node.
    pub fn distance_to(&self, other: NodeId) -> u8 {
        match other.index() {
            Some(index) => self.distance.get(index).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// Appends a node to the order of fallback; a full one stays as it is.
    pub fn push_fallback(&mut self, nid: NodeId) {
        let slot = self.fallback.get_mut(self.nr_fallback as usize);
        if let (Some(slot), Some(index)) = (slot, nid.index()) {
            *slot = index as u8;
            self.nr_fallback += 1;
        }
    }

    /// The order of fallback.
    pub fn fallback(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.fallback
            .iter()
            .take(self.nr_fallback as usize)
            .map(|&index| NodeId(i32::from(index)))
    }
}

/// A zone's pages on one CPU (`struct per_cpu_pages`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesetModel {
    /// The CPU.
    pub cpu: CpuId,
    /// Pages on its lists.
    pub count: u32,
    /// Above so many pages, some go back to the zone.
    pub high: u32,
    /// How many pages move at once.
    pub batch: u32,
    /// The least that `high` adapts to.
    pub high_min: u32,
    /// The most that `high` adapts to.
    pub high_max: u32,
    /// How far a CPU's counters may run before they are added to the zone's
    /// (`stat_threshold`).
    pub stat_threshold: u32,
}

impl PagesetModel {
    /// One that keeps nothing, as Linux has before its pagesets are set up
    /// (`boot_pageset`).
    pub const fn boot(cpu: CpuId) -> Self {
        Self {
            cpu,
            count: 0,
            high: 0,
            batch: 1,
            high_min: 0,
            high_max: 0,
            stat_threshold: 0,
        }
    }
}

/// The pool of huge pages (`struct hstate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Huge pages in the pool.
    pub total: u64,
    /// Of these, free ones.
    pub free: u64,
    /// Promised and not yet taken.
    pub reserved: u64,
    /// Above the pool's configured size.
    pub surplus: u64,
    /// The size of one.
    pub size: Bytes,
}

/// What `/proc/meminfo` says besides the counters of zones and nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTotals {
    /// Pages that cache block devices (`nr_blockdev_pages`).
    pub buffers: Pages,
    /// Swap space (`si_swapinfo`).
    pub swap_total: Pages,
    /// Of it, free.
    pub swap_free: Pages,
    /// What zswap's compressed pages take.
    pub zswap: Pages,
    /// The pages that zswap holds.
    pub zswapped: Pages,
    /// How much may be promised (`vm_commit_limit`).
    pub commit_limit: Pages,
    /// How much is promised (`vm_memory_committed`).
    pub committed: Pages,
    /// Address space for `vmalloc` (`VMALLOC_TOTAL`).
    pub vmalloc_total: Bytes,
    /// What per-CPU variables take (`pcpu_nr_pages`).
    pub percpu: Pages,
    /// Pages that are broken (`num_poisoned_pages`).
    pub poisoned: Pages,
    /// Pages of all CMA areas (`totalcma_pages`).
    pub cma: Pages,
    /// The default pool of huge pages.
    pub huge: HugePages,
    /// What all pools of huge pages take.
    pub hugetlb: Bytes,
    /// How much the direct map maps by pages of 4 KiB (`direct_pages_count`).
    pub direct_map_4k: Bytes,
    /// By pages of 2 MiB.
    pub direct_map_2m: Bytes,
    /// By pages of 1 GiB; there is no such line where the CPUs have none, or the
    /// kernel does not use them (`arch_report_meminfo`).
    pub direct_map_1g: Option<Bytes>,
}

impl MemoryTotals {
    /// A memory manager that has none of it. The size of a huge page is still
    /// x86-64's.
    pub const NONE: Self = Self {
        buffers: Pages::ZERO,
        swap_total: Pages::ZERO,
        swap_free: Pages::ZERO,
        zswap: Pages::ZERO,
        zswapped: Pages::ZERO,
        commit_limit: Pages::ZERO,
        committed: Pages::ZERO,
        vmalloc_total: Bytes::ZERO,
        percpu: Pages::ZERO,
        poisoned: Pages::ZERO,
        cma: Pages::ZERO,
        huge: HugePages {
            total: 0,
            free: 0,
            reserved: 0,
            surplus: 0,
            size: Bytes(2 << 20),
        },
        hugetlb: Bytes::ZERO,
        direct_map_4k: Bytes::ZERO,
        direct_map_2m: Bytes::ZERO,
        direct_map_1g: None,
    };
}

/// A stretch of the physical address space (`struct resource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceModel {
    /// Its first byte.
    pub start: PhysAddr,
    /// Its last byte.
    pub end: PhysAddr,
    /// In how many others it lies.
    pub depth: u32,
    /// What it is.
    pub name: &'static str,
}

/// A line of the accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountModel {
    /// How much.
    pub bytes: Bytes,
    /// 0 for what there is, 1 for what goes away from the 0 before it.
    pub depth: u32,
    /// For programs; never changes.
    pub key: &'static str,
    /// For people.
    pub text: &'static str,
}

/// A line of `/proc/vmstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterModel {
    /// The name.
    pub name: &'static str,
    /// As printed.
    pub value: u64,
}
