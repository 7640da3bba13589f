// SPDX-License-Identifier: GPL-2.0

//! How large the sections are.
//!
//! ```text
//! RAM          |   ##############|################|#####          |
//! descriptors  |.................|................|...............|
//!               ^ for a hole                            for holes ^
//! ```
//!
//! Linux has sections of 128 MiB, which is little against its memory. A small
//! region with sections of that size would spend most of its descriptors on
//! frames without RAM, so the size follows the memory.

use super::near_sections;
use super::Section;
use super::SECTIONS_PER_ROOT;
use crate::buddy::Pageblock;
use crate::early;
use crate::early::MemoryRanges;
use crate::page::PageDescriptor;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::Pages;
use crate::phys::MAX_PAGE_ORDER;
use crate::phys::PAGEBLOCK_ORDER;

/// Descriptors and tables together should stay below this share of the RAM,
/// in hundredths of a percent; node data and later tables get the rest of the
/// half percent.
const BUDGET: u64 = 45;

/// log2 of the pages in a section (`PFN_SECTION_SHIFT`).
///
/// # Invariants
///
/// Between [`SectionOrder::MIN`] and [`SectionOrder::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SectionOrder(u8);

impl SectionOrder {
    /// 4 MiB: a block of the largest order never leaves a section.
    pub const MIN: Self = Self(MAX_PAGE_ORDER);
    /// 128 MiB, as on x86-64 (`SECTION_SIZE_BITS` 27).
    pub const MAX: Self = Self(15);

    /// As a number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// How many pages a section has (`PAGES_PER_SECTION`).
    pub const fn pages(self) -> Pages {
        Pages(1 << self.0)
    }

    /// How many page blocks a section has.
    pub const fn pageblocks(self) -> usize {
        1 << (self.0 - PAGEBLOCK_ORDER)
    }

    /// How many sections hold some of `memory`, and the number behind the
    /// highest of them.
    pub fn count(self, memory: impl MemoryRanges) -> (u64, u64) {
        let mut count = 0;
        let mut behind = 0;
        for (_, range) in early::whole(memory) {
            let end = (range.end.0.saturating_sub(1) >> self.0).saturating_add(1);
            let start = (range.start.0 >> self.0).max(behind);
            count += end.saturating_sub(start);
            behind = behind.max(end);
        }
        (count, behind)
    }
}

/// The section size for this memory: the largest, up to 128 MiB, with which
/// descriptors and tables stay below 0.45 % of the RAM.
///
/// A descriptor takes 16 bytes for each 4096, 0.39 %, so the descriptors of
/// frames without RAM must not be more than an eighth of all. They lie in the
/// sections that a span of RAM fills only in part, two at most for each span:
/// the fewer and the better aligned the spans, the larger the sections. Memory
/// that is too scattered even for 4 MiB gets 4 MiB.
pub fn section_order(memory: impl MemoryRanges) -> SectionOrder {
    let ram: Pages = memory.clone().map(|(_, range)| range.pages()).sum();
    let budget = ram.bytes().0.saturating_mul(BUDGET);
    (SectionOrder::MIN.0..=SectionOrder::MAX.0)
        .rev()
        .map(SectionOrder)
        .find(|order| metadata(*order, memory.clone()).0.saturating_mul(10_000) <= budget)
        .unwrap_or(SectionOrder::MIN)
}

/// What descriptors and tables take with sections of `order`, at most.
fn metadata(order: SectionOrder, memory: impl MemoryRanges) -> Bytes {
    let (present, behind) = order.count(memory);
    let roots = (behind / SECTIONS_PER_ROOT as u64).saturating_add(1);
    let near = near_sections(present, behind);
    placed_size::<PageDescriptor>((present << order.0) as usize)
        + placed_size::<Pageblock>((near.max(present) as usize).saturating_mul(order.pageblocks()))
        + placed_size::<&[PageDescriptor]>(near as usize)
        + placed_size::<&[Section<'_>]>(roots as usize)
        + placed_size::<Section<'_>>(present.min(roots) as usize * SECTIONS_PER_ROOT)
}
