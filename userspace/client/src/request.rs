// SPDX-License-Identifier: GPL-2.0

//! What crosses the ABI: every request is one struct and one number.

use shadowmm_abi as abi;
use std::ffi::c_char;

/// A struct that a request passes to the module.
///
/// # Safety
///
/// `NUMBER` is the request whose argument the header says is this struct; the
/// struct is plain data that starts with a `shadowmm_head`, so that whatever
/// the module writes into it is a value of it.
pub(crate) unsafe trait Request: Default {
    /// The number of the ioctl.
    const NUMBER: u32;

    /// The common beginning.
    fn head(&mut self) -> &mut abi::shadowmm_head;
}

macro_rules! requests {
    ($($name:ident = $number:ident;)*) => {
        $(
            // SAFETY: The header names this struct beside this number; bindgen
            // made it `repr(C)`, of integers and arrays of them.
            unsafe impl Request for abi::$name {
                const NUMBER: u32 = abi::$number as u32;

                fn head(&mut self) -> &mut abi::shadowmm_head {
                    &mut self.head
                }
            }
        )*
    };
}

requests! {
    shadowmm_version = REQUEST_VERSION;
    shadowmm_stage = REQUEST_STAGE;
    shadowmm_map = REQUEST_MAP;
    shadowmm_alloc = REQUEST_ALLOC;
    shadowmm_free = REQUEST_FREE;
    shadowmm_page = REQUEST_PAGE;
    shadowmm_report = REQUEST_REPORT;
    shadowmm_validate = REQUEST_VALIDATE;
    shadowmm_reclaim = REQUEST_RECLAIM;
    shadowmm_bulk = REQUEST_BULK;
    shadowmm_exact = REQUEST_EXACT;
    shadowmm_block = REQUEST_BLOCK;
    shadowmm_policy = REQUEST_POLICY;
    shadowmm_contig = REQUEST_CONTIG;
    shadowmm_create = REQUEST_CREATE;
    shadowmm_cache = REQUEST_CACHE;
    shadowmm_object = REQUEST_OBJECT;
    shadowmm_objects = REQUEST_OBJECTS;
    shadowmm_kmalloc = REQUEST_KMALLOC;
    shadowmm_bytes = REQUEST_BYTES;
    shadowmm_mm_config = REQUEST_MM_CONFIG;
    shadowmm_mm_info = REQUEST_MM_INFO;
    shadowmm_mm_mmap = REQUEST_MM_MMAP;
    shadowmm_mm_mremap = REQUEST_MM_MREMAP;
    shadowmm_mm_brk = REQUEST_MM_BRK;
    shadowmm_mm_mlock = REQUEST_MM_MLOCK;
    shadowmm_mm_mincore = REQUEST_MM_MINCORE;
    shadowmm_mm_limits = REQUEST_MM_LIMITS;
    shadowmm_mm_walk = REQUEST_MM_WALK;
    shadowmm_mm_vmas = REQUEST_MM_VMAS;
    shadowmm_bench = REQUEST_BENCH;
    shadowmm_bench_slab = REQUEST_BENCH_SLAB;
    shadowmm_bench_lookup = REQUEST_BENCH_LOOKUP;
    shadowmm_diff_open = REQUEST_DIFF_OPEN;
    shadowmm_diff_play = REQUEST_DIFF_PLAY;
    shadowmm_diff_state = REQUEST_DIFF_STATE;
    shadowmm_diff_caches = REQUEST_DIFF_CACHES;
    shadowmm_diff_objects = REQUEST_DIFF_OBJECTS;
    shadowmm_diff_look = REQUEST_DIFF_CACHE;
}

macro_rules! ranges {
    ($($(#[$doc:meta])* $name:ident = $number:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Default)]
            #[repr(transparent)]
            pub(crate) struct $name(pub(crate) abi::shadowmm_mm_range);

            // SAFETY: The header names the struct within beside this number; the rest as
            // above.
            unsafe impl Request for $name {
                const NUMBER: u32 = abi::$number as u32;

                fn head(&mut self) -> &mut abi::shadowmm_head {
                    &mut self.0.head
                }
            }
        )*
    };
}

ranges! {
    /// munmap(2).
    Munmap = REQUEST_MM_MUNMAP;
    /// mprotect(2).
    Mprotect = REQUEST_MM_MPROTECT;
    /// madvise(2).
    Madvise = REQUEST_MM_MADVISE;
    /// msync(2).
    Msync = REQUEST_MM_MSYNC;
}

/// A record of a report.
///
/// # Safety
///
/// `KIND` is the report whose records the header says are this struct; the
/// struct is plain data: any bytes are a value of it.
pub(crate) unsafe trait Record: Copy + Default {
    /// The kind of report.
    const KIND: u32;
    /// What is being asked, as in "could not …".
    const WHAT: &'static str;
}

macro_rules! records {
    ($($name:ident = $kind:ident, $what:literal;)*) => {
        $(
            // SAFETY: The header names this struct beside this kind; bindgen
            // made it `repr(C)`, of integers and arrays of them.
            unsafe impl Record for abi::$name {
                const KIND: u32 = abi::$kind;
                const WHAT: &'static str = $what;
            }
        )*
    };
}

records! {
    shadowmm_rec_status = SHADOWMM_REPORT_STATUS, "read the status";
    shadowmm_rec_segment = SHADOWMM_REPORT_SEGMENTS, "read the region's segments";
    shadowmm_rec_e820 = SHADOWMM_REPORT_E820, "read the firmware map";
    shadowmm_rec_resource = SHADOWMM_REPORT_RESOURCES, "read the resources";
    shadowmm_rec_memblock = SHADOWMM_REPORT_MEMBLOCK, "read memblock";
    shadowmm_rec_node = SHADOWMM_REPORT_NODES, "read the nodes";
    shadowmm_rec_zone = SHADOWMM_REPORT_ZONES, "read the zones";
    shadowmm_rec_account = SHADOWMM_REPORT_ACCOUNTING, "read the accounting";
    shadowmm_rec_section = SHADOWMM_REPORT_SECTIONS, "read the sections";
    shadowmm_rec_pageset = SHADOWMM_REPORT_PAGESETS, "read the pagesets";
    shadowmm_rec_pagetype = SHADOWMM_REPORT_PAGETYPES, "read the page types";
    shadowmm_rec_fragmentation = SHADOWMM_REPORT_FRAGMENTATION, "read the fragmentation";
    shadowmm_rec_numastat = SHADOWMM_REPORT_NUMASTAT, "read the nodes' counters";
    shadowmm_rec_fallback = SHADOWMM_REPORT_FALLBACKS, "read the fallbacks";
    shadowmm_rec_area = SHADOWMM_REPORT_AREAS, "read the areas";
    shadowmm_rec_slab = SHADOWMM_REPORT_SLAB, "look at the slab layer";
    shadowmm_rec_cache = SHADOWMM_REPORT_CACHES, "read the caches";
    shadowmm_rec_cache_node = SHADOWMM_REPORT_CACHE_NODES, "read the caches' slabs";
    shadowmm_rec_space = SHADOWMM_REPORT_SPACES, "read the address spaces";
}

/// The text of a C array: up to its first NUL, or all of it.
pub(crate) fn text(array: &[c_char]) -> String {
    let bytes: Vec<u8> = array
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c as u8)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_numbered_by_the_header_and_start_with_the_head() {
        // _IO(0xb5, n), on every architecture that Debian's cloud kernel has.
        assert_eq!(abi::shadowmm_version::NUMBER, 0xb500);
        assert_eq!(abi::shadowmm_validate::NUMBER, 0xb507);
        assert_eq!(std::mem::offset_of!(abi::shadowmm_alloc, head), 0);
        assert_eq!(std::mem::offset_of!(abi::shadowmm_report, head), 0);
    }

    #[test]
    fn a_text_ends_at_its_first_nul_or_with_the_array() {
        let array = [
            b'D' as c_char,
            b'M' as c_char,
            b'A' as c_char,
            0,
            b'x' as c_char,
        ];
        assert_eq!(text(&array), "DMA");
        assert_eq!(text(&array[..2]), "DM");
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[-1]), "\u{fffd}");
    }
}
