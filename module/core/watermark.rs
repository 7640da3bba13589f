// SPDX-License-Identifier: GPL-2.0

//! Watermarks and reserves: how many pages of each zone are kept free.
//!
//! ```text
//! free pages of a zone
//!   ^
//!   |  promo  = high + gap   pages may be promoted from slower memory
//!   |  high   = low + gap    background reclaim stops
//!   |  low    = min + gap    background reclaim starts
//!   |  min                   only those who free memory get any
//!   0        all of them + lowmem_reserve[k] for a request that could also
//!            have been served by zones up to kind k
//! ```
//!
//! All of it comes from `min_free_kbytes`, which Linux computes twice while it
//! boots, and so do we:
//!
//! 1. `init_per_zone_wmark_min()`: the square root of the low memory. The
//!    watermarks are set from it, and the reserves.
//! 2. `set_recommended_min_free_kbytes()`, when khugepaged starts: with
//!    transparent huge pages on, which is Debian's default, and at least
//!    512 MiB of memory, it is raised so that page blocks of each migrate type
//!    stay free. The watermarks are set once more.
//!
//! [`Reserves`] keeps both numbers.

use crate::error::Error;
use crate::error::Result;
use crate::node::Nodes;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::PAGE_SHIFT;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::tunables::Tunable;
use crate::tunables::Tunables;
use crate::zone::Watermark;
use crate::zone::Zone;

/// The least that `min_free_kbytes` is computed to be, in KiB.
const MIN_FREE_KBYTES_LEAST: u64 = 128;
/// The most that `min_free_kbytes` is computed to be, in KiB.
const MIN_FREE_KBYTES_MOST: u64 = 262_144;
/// Pages that reclaim isolates at a time: the least WMARK_MIN of ZONE_MOVABLE
/// (`SWAP_CLUSTER_MAX`).
const SWAP_CLUSTER_MAX: u64 = 32;
/// The most WMARK_MIN of ZONE_MOVABLE.
const MOVABLE_MIN_MOST: u64 = 128;
/// Migrate types that have lists per CPU (`MIGRATE_PCPTYPES`).
const MIGRATE_PCPTYPES: u64 = 3;
/// Below this much memory transparent huge pages are off (512 MiB).
const THP_LEAST: Pages = Pages(512 << (20 - PAGE_SHIFT));

/// What was decided about the shadow as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserves {
    /// `min_free_kbytes` as the watermarks were made from it, in KiB.
    pub min_free_kbytes: u64,
    /// What `calculate_min_free_kbytes()` found, in KiB.
    pub calculated_kbytes: u64,
    /// What `set_recommended_min_free_kbytes()` wanted, in KiB; `None` when
    /// khugepaged does not run.
    pub recommended_kbytes: Option<u64>,
    /// Pages that are not for user space (`totalreserve_pages`).
    pub totalreserve: Pages,
}

/// Sets the watermarks and reserves of all zones as a boot does
/// (`init_per_zone_wmark_min`, then `hugepage_init`). The zones' managed pages
/// are final then; before, everything comes out as zero or as its least.
///
/// # Errors
///
/// Those of [`Tunables::check`]; nothing has been changed then.
pub fn init_reserves<P: Platform>(nodes: &Nodes<'_, P>, tunables: &Tunables) -> Result<Reserves> {
    tunables.check()?;
    // A boot starts without watermarks, and the memory above them is what
    // everything is computed from.
    for zone in nodes.zones() {
        zone.set_watermark(Watermark::High, Pages::ZERO);
    }
    let mut reserves = Reserves {
        min_free_kbytes: tunables.user_min_free_kbytes.unwrap_or(0).into(),
        ..Reserves::default()
    };
    calculate_min_free_kbytes(nodes, tunables, &mut reserves);
    setup_per_zone_wmarks(nodes, tunables, reserves.min_free_kbytes);
    setup_per_zone_lowmem_reserve(nodes, tunables);
    let managed: Pages = nodes.zones().map(|zone| zone.managed()).sum();
    if tunables.transparent_hugepages && managed >= THP_LEAST {
        set_recommended_min_free_kbytes(nodes, tunables, &mut reserves);
    }
    reserves.totalreserve = calculate_totalreserve_pages(nodes);
    Ok(reserves)
}

/// What follows for watermarks and reserves when a knob was turned
/// (`min_free_kbytes_sysctl_handler` and its like).
pub fn retune<P: Platform>(
    nodes: &Nodes<'_, P>,
    tunables: &Tunables,
    reserves: &mut Reserves,
    which: Tunable,
) {
    match which {
        Tunable::MinFreeKbytes => {
            reserves.min_free_kbytes = tunables.values(which).first().into();
            setup_per_zone_wmarks(nodes, tunables, reserves.min_free_kbytes);
        }
        Tunable::WatermarkScaleFactor => {
            setup_per_zone_wmarks(nodes, tunables, reserves.min_free_kbytes);
        }
        Tunable::LowmemReserveRatio => setup_per_zone_lowmem_reserve(nodes, tunables),
        Tunable::TransparentHugepages => set_recommended_min_free_kbytes(nodes, tunables, reserves),
        _ => return,
    }
    reserves.totalreserve = calculate_totalreserve_pages(nodes);
}

/// Works `min_free_kbytes` out from the low memory (`calculate_min_free_kbytes`).
fn calculate_min_free_kbytes<P: Platform>(
    nodes: &Nodes<'_, P>,
    tunables: &Tunables,
    reserves: &mut Reserves,
) {
    let calculated = min_free_kbytes(free_pages_up_to(nodes, ZoneType::Normal));
    reserves.calculated_kbytes = calculated.kbytes;
    // A larger root wins over what the user has set.
    let user = tunables.user_min_free_kbytes.map(u64::from);
    if user.is_none_or(|user| calculated.root > user) {
        reserves.min_free_kbytes = calculated.kbytes;
    }
}

/// Raises `min_free_kbytes` to what khugepaged wants, or, where it does not run,
/// works it out as the boot did, and sets the watermarks
/// (`set_recommended_min_free_kbytes`).
fn set_recommended_min_free_kbytes<P: Platform>(
    nodes: &Nodes<'_, P>,
    tunables: &Tunables,
    reserves: &mut Reserves,
) {
    if tunables.transparent_hugepages {
        let zones = nodes.populated_zones();
        let nr_zones = zones.filter(|zone| zone.kind <= ZoneType::Normal).count();
        let free = free_pages_up_to(nodes, ZoneType::Normal);
        let recommended = recommended_min_free_kbytes(nr_zones as u64, free);
        reserves.recommended_kbytes = Some(recommended);
        reserves.min_free_kbytes = reserves.min_free_kbytes.max(recommended);
    } else {
        reserves.recommended_kbytes = None;
        calculate_min_free_kbytes(nodes, tunables, reserves);
    }
    setup_per_zone_wmarks(nodes, tunables, reserves.min_free_kbytes);
}

/// `min_free_kbytes`, before and after it is brought into its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinFree {
    /// The bare square root, in KiB.
    pub root: u64,
    /// Between 128 and 262144, in KiB.
    pub kbytes: u64,
}

/// 4 times the square root of the low memory in KiB
/// (`calculate_min_free_kbytes`).
pub fn min_free_kbytes(lowmem: Pages) -> MinFree {
    let root = int_sqrt(lowmem.kib().saturating_mul(16));
    MinFree {
        root,
        kbytes: root.clamp(MIN_FREE_KBYTES_LEAST, MIN_FREE_KBYTES_MOST),
    }
}

/// What khugepaged wants to stay free, in KiB: in each of `nr_zones` zones
/// enough page blocks for the migrate types not to mix, but no more than a
/// twentieth of `free`, the low memory above the high watermarks
/// (`set_recommended_min_free_kbytes`).
pub fn recommended_min_free_kbytes(nr_zones: u64, free: Pages) -> u64 {
    let blocks = nr_zones.saturating_mul(2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES);
    let pages = blocks.saturating_mul(PageOrder::PAGEBLOCK.pages().0);
    Pages(pages.min(free.0 / 20)).kib()
}

/// The integer part of the square root (`int_sqrt`).
pub const fn int_sqrt(x: u64) -> u64 {
    x.isqrt()
}

/// The pages above the high watermark of all zones up to `highest`
/// (`nr_free_zone_pages`; up to Normal, `nr_free_buffer_pages`).
pub fn free_pages_up_to<P: Platform>(nodes: &Nodes<'_, P>, highest: ZoneType) -> Pages {
    nodes
        .populated_zones()
        .filter(|zone| zone.kind <= highest)
        .map(|zone| zone.managed() - zone.watermark(Watermark::High))
        .sum()
}

/// The four watermarks of a zone, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// WMARK_MIN.
    pub min: Pages,
    /// WMARK_LOW.
    pub low: Pages,
    /// WMARK_HIGH.
    pub high: Pages,
    /// WMARK_PROMO.
    pub promo: Pages,
}

/// The watermarks of a zone of this kind with `managed` pages, on a machine
/// with `lowmem` managed pages outside ZONE_MOVABLE (one zone's turn in
/// `__setup_per_zone_wmarks`).
///
/// WMARK_MIN is the zone's share of `min_free_kbytes`; for ZONE_MOVABLE, which
/// those in need don't depend on, 1/1024 of the zone between 32 and 128 pages.
/// The gap is a quarter of the share or the scale factor's part of the zone,
/// whichever is larger.
pub fn zone_marks(
    kind: ZoneType,
    managed: Pages,
    lowmem: Pages,
    min_free_kbytes: u64,
    watermark_scale_factor: u32,
) -> Marks {
    let pages_min = min_free_kbytes >> (PAGE_SHIFT - 10);
    let share = pages_min.saturating_mul(managed.0);
    // Linux would divide by zero when all memory is movable.
    let share = share.checked_div(lowmem.0).unwrap_or(0);
    let min = match kind {
        ZoneType::Movable => (managed.0 / 1024).clamp(SWAP_CLUSTER_MAX, MOVABLE_MIN_MOST),
        _ => share,
    };
    // mult_frac(managed, factor, 10000)
    let factor = u64::from(watermark_scale_factor);
    let rest = (managed.0 % 10_000).saturating_mul(factor) / 10_000;
    let scaled = (managed.0 / 10_000)
        .saturating_mul(factor)
        .saturating_add(rest);
    let gap = Pages((share >> 2).max(scaled));
    let min = Pages(min);
    let low = min + gap;
    let high = low + gap;
    Marks {
        min,
        low,
        high,
        promo: high + gap,
    }
}

/// Sets the watermarks of all zones, also of those without pages, takes back what
/// they were boosted by, and sets the total reserve with them
/// (`__setup_per_zone_wmarks`).
pub fn setup_per_zone_wmarks<P: Platform>(
    nodes: &Nodes<'_, P>,
    tunables: &Tunables,
    min_free_kbytes: u64,
) {
    let lowmem = lowmem_pages(nodes);
    for zone in nodes.zones() {
        let factor = tunables.watermark_scale_factor;
        let marks = zone_marks(zone.kind, zone.managed(), lowmem, min_free_kbytes, factor);
        let _areas = zone.free.lock();
        zone.set_watermark(Watermark::Min, marks.min);
        zone.set_watermark(Watermark::Low, marks.low);
        zone.set_watermark(Watermark::High, marks.high);
        zone.set_watermark(Watermark::Promo, marks.promo);
        zone.end_boost();
    }
    calculate_totalreserve_pages(nodes);
}

fn lowmem_pages<P: Platform>(nodes: &Nodes<'_, P>) -> Pages {
    nodes
        .zones()
        .filter(|zone| zone.kind != ZoneType::Movable)
        .map(|zone| zone.managed())
        .sum()
}

/// What a zone of kind `index` keeps back, given the managed pages of all
/// zones of its node: for requests that could go up to kind k, a fraction of
/// the pages in the kinds above it up to k (`setup_per_zone_lowmem_reserve`).
pub fn lowmem_reserve(
    kind: ZoneType,
    managed: &[Pages; NR_ZONE_TYPES],
    ratios: &[u32],
) -> [Pages; NR_ZONE_TYPES] {
    let mut reserve = [Pages::ZERO; NR_ZONE_TYPES];
    let of = |kind: ZoneType| managed.get(kind.index()).copied().unwrap_or_default();
    let ratio = ratios.get(kind.index()).copied().unwrap_or(0);
    if of(kind).is_zero() {
        return reserve;
    }
    let mut above = Pages::ZERO;
    for highest in ZoneType::ALL.into_iter().filter(|&k| k > kind) {
        above += of(highest);
        if let Some(slot) = reserve.get_mut(highest.index()) {
            *slot = Pages(above.0.checked_div(ratio.into()).unwrap_or(0));
        }
    }
    reserve
}

/// Sets the reserves of all zones, and the total with them
/// (`setup_per_zone_lowmem_reserve`). Linux does this whenever managed pages
/// come or go.
pub fn setup_per_zone_lowmem_reserve<P: Platform>(nodes: &Nodes<'_, P>, tunables: &Tunables) {
    for node in nodes.online() {
        let mut managed = [Pages::ZERO; NR_ZONE_TYPES];
        for (slot, zone) in managed.iter_mut().zip(node.zones()) {
            *slot = zone.managed();
        }
        for zone in node.zones() {
            let reserve = lowmem_reserve(zone.kind, &managed, &tunables.lowmem_reserve_ratio);
            // Linux needs none: there nothing is kept that is made of these.
            let _areas = zone.free.lock();
            for (highest, pages) in ZoneType::ALL.into_iter().zip(reserve) {
                zone.set_lowmem_reserve(highest, pages);
            }
        }
    }
    calculate_totalreserve_pages(nodes);
}

/// Adds up what is not for user space: in each zone the high watermark and the
/// largest reserve, as far as the zone goes. Sets each node's sum and returns
/// that of all (`calculate_totalreserve_pages`).
pub fn calculate_totalreserve_pages<P: Platform>(nodes: &Nodes<'_, P>) -> Pages {
    let mut total = Pages::ZERO;
    for node in nodes.online() {
        let reserve = node.zones().iter().map(reserved_pages).sum();
        node.set_totalreserve(reserve);
        total += reserve;
    }
    total
}

/// What one zone contributes to the total.
pub fn reserved_pages<P: Platform>(zone: &Zone<P>) -> Pages {
    // The reserves never fall towards higher kinds, so the largest is that of
    // the highest kind that is not zero.
    let reserve = ZoneType::ALL
        .into_iter()
        .rev()
        .take_while(|&kind| kind > zone.kind)
        .map(|kind| zone.lowmem_reserve(kind))
        .find(|reserve| !reserve.is_zero())
        .unwrap_or_default();
    (reserve + zone.watermark(Watermark::High)).min(zone.managed())
}

/// Checks watermarks and reserves against the zones and `reserves`.
///
/// # Errors
///
/// [`Error::Corrupt`] and the invariant that does not hold.
pub fn validate<P: Platform>(
    nodes: &Nodes<'_, P>,
    tunables: &Tunables,
    reserves: &Reserves,
) -> Result<(), (Error, &'static str)> {
    let check = |holds, what| {
        if holds {
            Ok(())
        } else {
            Err((Error::Corrupt, what))
        }
    };
    let mut total = Pages::ZERO;
    for node in nodes.online() {
        let mut own = Pages::ZERO;
        for zone in node.zones() {
            let mark = |mark| zone.watermark(mark);
            check(
                mark(Watermark::Min) <= mark(Watermark::Low)
                    && mark(Watermark::Low) <= mark(Watermark::High)
                    && mark(Watermark::High) <= mark(Watermark::Promo),
                "the watermarks rise from min to promo",
            )?;
            let mut above = Pages::ZERO;
            for upper in node.zones() {
                let ratio = tunables.lowmem_reserve_ratio.get(zone.kind.index());
                let ratio = u64::from(ratio.copied().unwrap_or(0));
                if upper.kind > zone.kind {
                    above += upper.managed();
                }
                let expected = match above.0.checked_div(ratio) {
                    Some(pages) if upper.kind > zone.kind && !zone.managed().is_zero() => pages,
                    _ => 0,
                };
                check(
                    zone.lowmem_reserve(upper.kind).0 == expected,
                    "lowmem_reserve is a fraction of the managed pages above",
                )?;
            }
            own += reserved_pages(zone);
        }
        check(
            node.totalreserve() == own,
            "a node's total reserve is the sum of its zones'",
        )?;
        total += own;
    }
    check(
        reserves.totalreserve == total,
        "the total reserve is the sum of the nodes'",
    )
}
