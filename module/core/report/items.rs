// SPDX-License-Identifier: GPL-2.0

//! The counters of `/proc/vmstat` and `/proc/zoneinfo`: what there is to count.
//!
//! ```text
//! /proc/vmstat, from its first line to its last
//!   ZoneStat     kept per zone; summed over the zones
//!   NumaStat     kept per zone; summed over the zones
//!   NodeStat     kept per node; summed over the nodes
//!   SystemStat   one of each
//!   Event        one of each (events.rs)
//! ```
//!
//! The lists and their order are those of Linux 7.3 as Debian configures it
//! (`vmstat_text` in `mm/vmstat.c`). Each item is written down once, with the
//! name that `/proc` prints, so that no name can stand beside another's number.

/// Declares an `enum` of counters, and the array that holds one of each.
macro_rules! items {
    ($(#[$doc:meta])* pub enum $item:ident in $(#[$array_doc:meta])* $array:ident {
        $($variant:ident = $name:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum $item { $(#[doc = concat!("`", $name, "`")] $variant,)* }

        impl $item {
            /// All of them, in the order in which `/proc` prints them.
            pub const ALL: &'static [$item] = &[$($item::$variant,)*];

            /// The name that `/proc` prints.
            pub const fn name(self) -> &'static str {
                match self { $($item::$variant => $name,)* }
            }

            /// The item of this name.
            pub fn from_name(name: &str) -> Option<$item> {
                match name { $($name => Some($item::$variant),)* _ => None }
            }
        }

        $(#[$array_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $array([u64; $item::ALL.len()]);

        impl $array {
            /// All zero.
            pub const ZERO: Self = Self([0; $item::ALL.len()]);

            /// The value of one counter.
            pub fn get(&self, item: $item) -> u64 {
                self.0.get(item as usize).copied().unwrap_or(0)
            }

            /// Sets one counter.
            pub fn set(&mut self, item: $item, value: u64) {
                if let Some(slot) = self.0.get_mut(item as usize) {
                    *slot = value;
                }
            }

            /// Adds to one counter; saturates.
            pub fn add(&mut self, item: $item, value: u64) {
                self.set(item, self.get(item).saturating_add(value));
            }
        }

        impl Default for $array {
            fn default() -> Self {
                Self::ZERO
            }
        }
    };
}
pub(super) use items;

/// Pages in a huge page of the second page-table level (`HPAGE_PMD_NR`).
pub const HPAGE_PMD_NR: u64 = 512;

items! {
    /// What is counted per zone (`enum zone_stat_item`), in pages.
    pub enum ZoneStat in
    /// One zone's counters, or their sums over zones.
    ZoneStats {
        FreePages = "nr_free_pages",
        FreePagesBlocks = "nr_free_pages_blocks",
        ZoneInactiveAnon = "nr_zone_inactive_anon",
        ZoneActiveAnon = "nr_zone_active_anon",
        ZoneInactiveFile = "nr_zone_inactive_file",
        ZoneActiveFile = "nr_zone_active_file",
        ZoneUnevictable = "nr_zone_unevictable",
        ZoneWritePending = "nr_zone_write_pending",
        Mlock = "nr_mlock",
        Zspages = "nr_zspages",
        FreeCma = "nr_free_cma",
        Unaccepted = "nr_unaccepted",
    }
}

items! {
    /// Where pages came from, seen from where they were wanted
    /// (`enum numa_stat_item`), in allocations.
    pub enum NumaStat in
    /// One zone's counters, or their sums over zones.
    NumaStats {
        Hit = "numa_hit",
        Miss = "numa_miss",
        Foreign = "numa_foreign",
        Interleave = "numa_interleave",
        Local = "numa_local",
        Other = "numa_other",
    }
}

items! {
    /// What is counted per node (`enum node_stat_item`): in pages, except
    /// [`NodeStat::KernelStack`], which is in KiB, and the counters of events.
    pub enum NodeStat in
    /// One node's counters, or their sums over nodes.
    NodeStats {
        InactiveAnon = "nr_inactive_anon",
        ActiveAnon = "nr_active_anon",
        InactiveFile = "nr_inactive_file",
        ActiveFile = "nr_active_file",
        Unevictable = "nr_unevictable",
        SlabReclaimable = "nr_slab_reclaimable",
        SlabUnreclaimable = "nr_slab_unreclaimable",
        IsolatedAnon = "nr_isolated_anon",
        IsolatedFile = "nr_isolated_file",
        WorkingsetNodes = "workingset_nodes",
        WorkingsetRefaultAnon = "workingset_refault_anon",
        WorkingsetRefaultFile = "workingset_refault_file",
        WorkingsetActivateAnon = "workingset_activate_anon",
        WorkingsetActivateFile = "workingset_activate_file",
        WorkingsetRestoreAnon = "workingset_restore_anon",
        WorkingsetRestoreFile = "workingset_restore_file",
        WorkingsetNodereclaim = "workingset_nodereclaim",
        AnonPages = "nr_anon_pages",
        Mapped = "nr_mapped",
        FilePages = "nr_file_pages",
        Dirty = "nr_dirty",
        Writeback = "nr_writeback",
        Shmem = "nr_shmem",
        ShmemHugepages = "nr_shmem_hugepages",
        ShmemPmdmapped = "nr_shmem_pmdmapped",
        FileHugepages = "nr_file_hugepages",
        FilePmdmapped = "nr_file_pmdmapped",
        AnonTransparentHugepages = "nr_anon_transparent_hugepages",
        VmscanWrite = "nr_vmscan_write",
        VmscanImmediateReclaim = "nr_vmscan_immediate_reclaim",
        Dirtied = "nr_dirtied",
        Written = "nr_written",
        ThrottledWritten = "nr_throttled_written",
        KernelMiscReclaimable = "nr_kernel_misc_reclaimable",
        FollPinAcquired = "nr_foll_pin_acquired",
        FollPinReleased = "nr_foll_pin_released",
        Vmalloc = "nr_vmalloc",
        KernelStack = "nr_kernel_stack",
        PageTablePages = "nr_page_table_pages",
        SecPageTablePages = "nr_sec_page_table_pages",
        IommuPages = "nr_iommu_pages",
        Swapcached = "nr_swapcached",
        PgpromoteSuccess = "pgpromote_success",
        PgpromoteCandidate = "pgpromote_candidate",
        PgpromoteCandidateNrl = "pgpromote_candidate_nrl",
        PgdemoteKswapd = "pgdemote_kswapd",
        PgdemoteDirect = "pgdemote_direct",
        PgdemoteKhugepaged = "pgdemote_khugepaged",
        PgdemoteProactive = "pgdemote_proactive",
        PgstealKswapd = "pgsteal_kswapd",
        PgstealDirect = "pgsteal_direct",
        PgstealKhugepaged = "pgsteal_khugepaged",
        PgstealProactive = "pgsteal_proactive",
        PgstealAnon = "pgsteal_anon",
        PgstealFile = "pgsteal_file",
        PgscanKswapd = "pgscan_kswapd",
        PgscanDirect = "pgscan_direct",
        PgscanKhugepaged = "pgscan_khugepaged",
        PgscanProactive = "pgscan_proactive",
        PgscanAnon = "pgscan_anon",
        PgscanFile = "pgscan_file",
        PgrotateAnon = "pgrotate_anon",
        PgrotateFile = "pgrotate_file",
        Pgrefill = "pgrefill",
        Hugetlb = "nr_hugetlb",
        BalloonPages = "nr_balloon_pages",
        KernelFilePages = "nr_kernel_file_pages",
        GpuActive = "nr_gpu_active",
        GpuReclaim = "nr_gpu_reclaim",
    }
}

impl NodeStat {
    /// Whether `/proc/vmstat` and `/proc/zoneinfo` print the counter in huge
    /// pages of 512 pages instead of pages (`vmstat_item_print_in_thp`).
    pub const fn prints_in_huge_pages(self) -> bool {
        matches!(
            self,
            Self::AnonTransparentHugepages
                | Self::FileHugepages
                | Self::ShmemHugepages
                | Self::ShmemPmdmapped
                | Self::FilePmdmapped
        )
    }

    /// A value of this counter as `/proc/vmstat` and `/proc/zoneinfo` print it.
    pub const fn printed(self, value: u64) -> u64 {
        if self.prints_in_huge_pages() {
            value / HPAGE_PMD_NR
        } else {
            value
        }
    }
}

items! {
    /// What there is one of (`enum vm_stat_item`), in pages.
    pub enum SystemStat in
    /// One of each.
    SystemStats {
        DirtyThreshold = "nr_dirty_threshold",
        DirtyBackgroundThreshold = "nr_dirty_background_threshold",
        MemmapPages = "nr_memmap_pages",
        MemmapBootPages = "nr_memmap_boot_pages",
    }
}
