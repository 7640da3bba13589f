// SPDX-License-Identifier: GPL-2.0

//! The events of `/proc/vmstat` (`enum vm_event_item`), in the order of Linux
//! 7.3 as Debian configures it. Most of them cannot happen in a shadow; they
//! are all here because a reader of `/proc/vmstat` expects each line.

use super::items::items;
use crate::page::ZoneType;

items! {
    /// What has happened since the boot, in times; [`Event::Pgpgin`] and
    /// [`Event::Pgpgout`] in KiB, `pgalloc` and `pgfree` in pages.
    pub enum Event in
    /// One of each.
    Events {
        Pgpgin = "pgpgin",
        Pgpgout = "pgpgout",
        Pswpin = "pswpin",
        Pswpout = "pswpout",
        PgallocDma = "pgalloc_dma",
        PgallocDma32 = "pgalloc_dma32",
        PgallocNormal = "pgalloc_normal",
        PgallocMovable = "pgalloc_movable",
        PgallocDevice = "pgalloc_device",
        AllocstallDma = "allocstall_dma",
        AllocstallDma32 = "allocstall_dma32",
        AllocstallNormal = "allocstall_normal",
        AllocstallMovable = "allocstall_movable",
        AllocstallDevice = "allocstall_device",
        PgskipDma = "pgskip_dma",
        PgskipDma32 = "pgskip_dma32",
        PgskipNormal = "pgskip_normal",
        PgskipMovable = "pgskip_movable",
        PgskipDevice = "pgskip_device",
        Pgfree = "pgfree",
        Pgactivate = "pgactivate",
        Pgdeactivate = "pgdeactivate",
        Pglazyfree = "pglazyfree",
        Pgfault = "pgfault",
        Pgmajfault = "pgmajfault",
        Pglazyfreed = "pglazyfreed",
        Pgreuse = "pgreuse",
        PgscanDirectThrottle = "pgscan_direct_throttle",
        ZoneReclaimSuccess = "zone_reclaim_success",
        ZoneReclaimFailed = "zone_reclaim_failed",
        Pginodesteal = "pginodesteal",
        SlabsScanned = "slabs_scanned",
        KswapdInodesteal = "kswapd_inodesteal",
        KswapdLowWmarkHitQuickly = "kswapd_low_wmark_hit_quickly",
        KswapdHighWmarkHitQuickly = "kswapd_high_wmark_hit_quickly",
        Pageoutrun = "pageoutrun",
        Pgrotated = "pgrotated",
        DropPagecache = "drop_pagecache",
        DropSlab = "drop_slab",
        OomKill = "oom_kill",
        NumaPteUpdates = "numa_pte_updates",
        NumaHugePteUpdates = "numa_huge_pte_updates",
        NumaHintFaults = "numa_hint_faults",
        NumaHintFaultsLocal = "numa_hint_faults_local",
        NumaPagesMigrated = "numa_pages_migrated",
        PgmigrateSuccess = "pgmigrate_success",
        PgmigrateFail = "pgmigrate_fail",
        ThpMigrationSuccess = "thp_migration_success",
        ThpMigrationFail = "thp_migration_fail",
        ThpMigrationSplit = "thp_migration_split",
        CompactMigrateScanned = "compact_migrate_scanned",
        CompactFreeScanned = "compact_free_scanned",
        CompactIsolated = "compact_isolated",
        CompactStall = "compact_stall",
        CompactFail = "compact_fail",
        CompactSuccess = "compact_success",
        CompactDaemonWake = "compact_daemon_wake",
        CompactDaemonMigrateScanned = "compact_daemon_migrate_scanned",
        CompactDaemonFreeScanned = "compact_daemon_free_scanned",
        HtlbBuddyAllocSuccess = "htlb_buddy_alloc_success",
        HtlbBuddyAllocFail = "htlb_buddy_alloc_fail",
        CmaAllocSuccess = "cma_alloc_success",
        CmaAllocFail = "cma_alloc_fail",
        UnevictablePgsCulled = "unevictable_pgs_culled",
        UnevictablePgsScanned = "unevictable_pgs_scanned",
        UnevictablePgsRescued = "unevictable_pgs_rescued",
        UnevictablePgsMlocked = "unevictable_pgs_mlocked",
        UnevictablePgsMunlocked = "unevictable_pgs_munlocked",
        UnevictablePgsCleared = "unevictable_pgs_cleared",
        UnevictablePgsStranded = "unevictable_pgs_stranded",
        ThpFaultAlloc = "thp_fault_alloc",
        ThpFaultFallback = "thp_fault_fallback",
        ThpFaultFallbackCharge = "thp_fault_fallback_charge",
        ThpCollapseAlloc = "thp_collapse_alloc",
        ThpCollapseAllocFailed = "thp_collapse_alloc_failed",
        ThpFileAlloc = "thp_file_alloc",
        ThpFileFallback = "thp_file_fallback",
        ThpFileFallbackCharge = "thp_file_fallback_charge",
        ThpFileMapped = "thp_file_mapped",
        ThpSplitPage = "thp_split_page",
        ThpSplitPageFailed = "thp_split_page_failed",
        ThpDeferredSplitPage = "thp_deferred_split_page",
        ThpUnderusedSplitPage = "thp_underused_split_page",
        ThpSplitPmd = "thp_split_pmd",
        ThpScanExceedNonePte = "thp_scan_exceed_none_pte",
        ThpScanExceedSwapPte = "thp_scan_exceed_swap_pte",
        ThpScanExceedSharePte = "thp_scan_exceed_share_pte",
        ThpSplitPud = "thp_split_pud",
        ThpZeroPageAlloc = "thp_zero_page_alloc",
        ThpZeroPageAllocFailed = "thp_zero_page_alloc_failed",
        ThpSwpout = "thp_swpout",
        ThpSwpoutFallback = "thp_swpout_fallback",
        BalloonInflate = "balloon_inflate",
        BalloonDeflate = "balloon_deflate",
        BalloonMigrate = "balloon_migrate",
        SwapRa = "swap_ra",
        SwapRaHit = "swap_ra_hit",
        SwpinZero = "swpin_zero",
        SwpoutZero = "swpout_zero",
        KsmSwpinCopy = "ksm_swpin_copy",
        CowKsm = "cow_ksm",
        Zswpin = "zswpin",
        Zswpout = "zswpout",
        Zswpwb = "zswpwb",
        DirectMapLevel2Splits = "direct_map_level2_splits",
        DirectMapLevel3Splits = "direct_map_level3_splits",
        DirectMapLevel2Collapses = "direct_map_level2_collapses",
        DirectMapLevel3Collapses = "direct_map_level3_collapses",
        Nrswpin = "nrswpin",
        Nrswpout = "nrswpout",
    }
}

impl Event {
    /// The event of pages being given out by zones of this kind.
    pub const fn pgalloc(kind: ZoneType) -> Self {
        match kind {
            ZoneType::Dma => Self::PgallocDma,
            ZoneType::Dma32 => Self::PgallocDma32,
            ZoneType::Normal => Self::PgallocNormal,
            ZoneType::Movable => Self::PgallocMovable,
        }
    }

    /// The event of a request for this kind of zone having to reclaim memory itself.
    pub const fn allocstall(kind: ZoneType) -> Self {
        match kind {
            ZoneType::Dma => Self::AllocstallDma,
            ZoneType::Dma32 => Self::AllocstallDma32,
            ZoneType::Normal => Self::AllocstallNormal,
            ZoneType::Movable => Self::AllocstallMovable,
        }
    }
}
