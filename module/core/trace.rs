// SPDX-License-Identifier: GPL-2.0

//! What happens, told to whoever listens: the events behind the tracepoints.
//!
//! ```text
//! core                                 surroundings
//!   is_traced(TracePoint::PageAlloc)?  -> a patched jump in the kernel
//!     yes: trace(&TraceEvent::..)      -> shadowmm:mm_page_alloc
//! ```
//!
//! Where nobody listens an event costs what `Platform::is_traced` costs, and
//! the event itself is not made.

use crate::buddy::Gfp;
use crate::buddy::MigrateType;
use crate::phys::PageOrder;
use crate::phys::Pfn;

/// The tracepoints: one for each kind of [`TraceEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TracePoint {
    /// `mm_page_alloc`.
    PageAlloc,
    /// `mm_page_free`.
    PageFree,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A request was served, or with no page it failed (`mm_page_alloc`).
    PageAlloc {
        /// The block's first page.
        pfn: Option<Pfn>,
        /// log2 of the pages.
        order: PageOrder,
        /// The request's flags.
        gfp: Gfp,
        /// From which page blocks it was to be served.
        migratetype: MigrateType,
    },
    /// A block was given back (`mm_page_free`).
    PageFree {
        /// The block's first page.
        pfn: Pfn,
        /// log2 of the pages.
        order: PageOrder,
    },
}
