// SPDX-License-Identifier: GPL-2.0

//! How fragmented free memory is, from the counts of free blocks alone.
//!
//! The input is a line of `/proc/buddyinfo`, the host's or the shadow's, so
//! both are measured with the same rule (`mm/vmstat.c`). Indices are times
//! 1000, as Linux computes them before printing.

use crate::phys::PageOrder;
use crate::phys::NR_PAGE_ORDERS;

/// What the counts say about requests of one order (`struct contig_page_info`).
struct ContigPageInfo {
    free_pages: u64,
    free_blocks_total: u64,
    free_blocks_suitable: u64,
}

/// `fill_contig_page_info()`. Absurd counts wrap, as they do in Linux.
fn contig_page_info(blocks: &[u64; NR_PAGE_ORDERS], suitable: PageOrder) -> ContigPageInfo {
    let mut info = ContigPageInfo {
        free_pages: 0,
        free_blocks_total: 0,
        free_blocks_suitable: 0,
    };
    for (order, &count) in PageOrder::all().zip(blocks) {
        info.free_blocks_total = info.free_blocks_total.wrapping_add(count);
        info.free_pages = info.free_pages.wrapping_add(count << order.get());
        if order >= suitable {
            info.free_blocks_suitable = info
                .free_blocks_suitable
                .wrapping_add(count << (order.get() - suitable.get()));
        }
    }
    info
}

/// How much of the free memory can't serve a request of `order`, in thousandths;
/// 1000 when nothing is free (`unusable_free_index`).
pub fn unusable_free_index(order: PageOrder, blocks: &[u64; NR_PAGE_ORDERS]) -> u32 {
    unusable(order, blocks, 1000, 1000)
}

/// The same in percent, but 0 when nothing is free (`extfrag_for_order`).
pub fn extfrag_for_order(order: PageOrder, blocks: &[u64; NR_PAGE_ORDERS]) -> u32 {
    unusable(order, blocks, 100, 0)
}

fn unusable(order: PageOrder, blocks: &[u64; NR_PAGE_ORDERS], scale: u64, if_full: u32) -> u32 {
    let info = contig_page_info(blocks, order);
    if info.free_pages == 0 {
        return if_full;
    }
    let unusable = info
        .free_pages
        .wrapping_sub(info.free_blocks_suitable << order.get());
    (unusable.wrapping_mul(scale) / info.free_pages) as u32
}

/// Why a request of `order` would fail, in thousandths: towards 0 for lack of
/// memory, towards 1000 for fragmentation; -1000 when it would not fail
/// (`__fragmentation_index`). With few blocks it can be negative too.
pub fn fragmentation_index(order: PageOrder, blocks: &[u64; NR_PAGE_ORDERS]) -> i32 {
    let info = contig_page_info(blocks, order);
    if info.free_blocks_total == 0 {
        return 0;
    }
    if info.free_blocks_suitable != 0 {
        return -1000;
    }
    let wanted = info.free_pages.wrapping_mul(1000) >> order.get();
    let lack = wanted.wrapping_add(1000) / info.free_blocks_total;
    1000u64.wrapping_sub(lack) as i32
}
