// SPDX-License-Identifier: GPL-2.0

//! A machine's map made as large as the region.
//!
//! ```text
//! original   |RAM|  hole  |RAM               |hole|RAM                        |
//! shadow     |R| h |RAM      |h |RAM              |
//! ```
//!
//! One factor shrinks or stretches everything, so that the RAM fills the
//! region, and RAM, holes, nodes and types keep their proportions and their
//! order. Where that is not possible or not useful, these rules hold, the
//! earlier before the later:
//!
//! 1. Every range and every hole keeps at least one page.
//! 2. The RAM is the region but for 1/64, at most 4 MiB: room for the region
//!    to lay page blocks of the shadow on page blocks of the host.
//! 3. Each node's RAM has its share of that, to the page.
//! 4. In a region of 16 MiB and more the first MiB keeps its shape: page 0, the
//!    BIOS's data and the VGA hole are where they always are.
//! 5. The first 16 MiB, the DMA zone, get at least 2 MiB (in a region of less
//!    than 64 MiB 1/32 of it) or 1/128 of their node, the first MiB included,
//!    but no more than they were and no more than half of their node.
//! 6. A large range of RAM (16 MiB and more) ends on a page block and starts on
//!    one, if the hole before it is at least as large as a page block or has a
//!    DMA limit in it; so does RAM on both sides of a DMA limit. This moves the
//!    boundary by at most 1 MiB (a small hole at a limit may grow by 2 MiB);
//!    what one range of RAM loses there the next one gets.
//!
//! The limits 16 MiB and 4 GiB are boundaries of the original map and move
//! with it, by the same function: [`Scaled::to_scaled`].

use super::map::FirmwareMap;
use super::map::DMA32_LIMIT;
use super::map::DMA_LIMIT;
use super::pieces::Pieces;
use super::pieces::LEGACY_END;
use super::ratio::mul_div;
use super::ratio::mul_div_round;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_NODES;
use crate::phys::PAGE_SIZE;

/// Frame numbers of a booted shadow are below it.
const PFN_LIMIT: u64 = u32::MAX as u64;
/// From here on the first MiB keeps its shape (rule 4).
const LEGACY_REGION: u64 = (16 << 20) / PAGE_SIZE;
/// A node must have this much RAM for its part of the first MiB to stay.
const LEGACY_NODE: u64 = (8 << 20) / PAGE_SIZE;
/// How many pieces of the first MiB can keep their shape.
const LEGACY_PIECES: usize = 64;
/// A page block.
const BLOCK: u64 = PageOrder::PAGEBLOCK.pages().0;
/// What the DMA zone gets in a region of middling size (rule 5).
const DMA_LEAST: u64 = (2 << 20) / PAGE_SIZE;
/// Ranges of this many pages start and end on page blocks (rule 6).
const LARGE: u64 = 8 * BLOCK;

/// How a map was scaled. About 14 KB: it lives in its owner's storage, starts
/// as [`Scaled::NEW`], and does not travel by value.
#[derive(Clone)]
pub struct Scaled {
    /// The shadow's RAM, in bytes: the factor is `factor_num / factor_den`.
    pub factor_num: u64,
    /// The original machine's RAM, in bytes.
    pub factor_den: u64,
    /// Where the zone DMA ends in the shadow: the image of 16 MiB, or in a hole
    /// the page block below it.
    pub dma_limit: Pfn,
    /// Where the zone DMA32 ends in the shadow: of 4 GiB likewise.
    pub dma32_limit: Pfn,
    /// The shadow's RAM.
    pub ram: Pages,
    /// The original machine's RAM.
    pub original_ram: Bytes,
    pieces: Pieces,
}

impl Default for Scaled {
    fn default() -> Self {
        Self::NEW
    }
}

/// Scales `map` to `ram` pages, in place, and resolves it before. `scaled`
/// tells how; the caller finds the pages to pass with `backing.pages()`.
///
/// # Errors
///
/// Those of [`FirmwareMap::resolve`]; [`Error::RegionTooSmall`] when there are
/// fewer pages than pieces of RAM; [`Error::MapTooSparse`] when the last RAM
/// would lie beyond 32-bit frame numbers; [`Error::MapTooManyEntries`]. The
/// map is resolved but not scaled then, and `scaled` is of no use.
pub fn scale(map: &mut FirmwareMap, backing: Pages, scaled: &mut Scaled) -> Result<()> {
    map.resolve()?;
    scaled.pieces.collect(map)?;
    // Bytes, not pages: a piece smaller than a page counts too.
    let original: Bytes = map.e820.ram_bytes();
    let spare = (backing.0 / 64).min(2 * BLOCK);
    let target = (backing.0 - spare).min(PFN_LIMIT);
    scaled.original_ram = original;
    scaled.factor_num = target.saturating_mul(PAGE_SIZE);
    scaled.factor_den = original.0;
    scaled.share(target, original)?;
    scaled.lay_out(target, original)?;
    scaled.ram = scaled.pieces.ram_pages();
    for e in map.e820.entries_mut() {
        let start = scaled.to_scaled(e.addr);
        e.size = scaled.to_scaled(e.range().end) - start;
        e.addr = start;
    }
    for b in map.meminfo.blocks_mut() {
        b.start = scaled.to_scaled(b.start);
        b.end = scaled.to_scaled(b.end);
    }
    scaled.dma_limit = limit(map, scaled.to_scaled(DMA_LIMIT));
    scaled.dma32_limit = limit(map, scaled.to_scaled(DMA32_LIMIT));
    Ok(())
}

/// Where a zone ends whose limit became `image`: there, or at the page block
/// below it if no RAM lies between, so that two zones share no page block.
fn limit(map: &FirmwareMap, image: PhysAddr) -> Pfn {
    let at = image.pfn_up();
    let block = at.align_down(PageOrder::PAGEBLOCK);
    let between = PfnRange {
        start: block,
        end: at,
    };
    let has_ram = |r: PhysRange| !r.whole_pages().intersect(between).is_empty();
    if map.e820.ram().any(has_ram) {
        at
    } else {
        block
    }
}

/// The pieces of one node, by where they lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The first MiB, when it keeps its shape.
    Legacy,
    /// Up to the DMA limit.
    Dma,
    /// Above.
    Rest,
}

/// What the pieces of a part sum up to.
#[derive(Clone, Copy, Default)]
struct Sum {
    pieces: u64,
    bytes: u64,
}

impl Scaled {
    /// Nothing was scaled yet.
    pub const NEW: Self = Self {
        factor_num: 0,
        factor_den: 1,
        dma_limit: Pfn(0),
        dma32_limit: Pfn(0),
        ram: Pages::ZERO,
        original_ram: Bytes::ZERO,
        pieces: Pieces::NEW,
    };

    /// Forgets what was scaled.
    pub fn clear(&mut self) {
        self.factor_num = 0;
        self.factor_den = 1;
        self.dma_limit = Pfn(0);
        self.dma32_limit = Pfn(0);
        self.ram = Pages::ZERO;
        self.original_ram = Bytes::ZERO;
        self.pieces.clear();
    }

    /// Where an address of the original machine lies in the shadow. Monotone,
    /// exact at every boundary of the map, even between them; beyond the map's
    /// end by the factor. Saturates.
    pub fn to_scaled(&self, addr: PhysAddr) -> PhysAddr {
        let mut pages = 0u64;
        for i in 0..self.pieces.len() {
            let Some(piece) = self.pieces.get(i) else {
                break;
            };
            if addr < self.pieces.end(i) {
                let offset = addr - piece.start;
                let size = self.pieces.size(i);
                let scaled = Pages(u64::from(piece.pages)).bytes();
                return Pfn(pages).addr() + Bytes(mul_div(offset.0, scaled.0, size.0));
            }
            pages += u64::from(piece.pages);
        }
        let end = self.pieces.get(self.pieces.len());
        let beyond = addr - end.map_or(PhysAddr::ZERO, |p| p.start);
        Pfn(pages).addr() + self.to_scaled_size(beyond)
    }

    /// A size of the original machine by the factor, in bytes, saturated: how
    /// large a crash kernel becomes. The caller rounds it.
    pub fn to_scaled_size(&self, size: Bytes) -> Bytes {
        Bytes(mul_div(size.0, self.factor_num, self.factor_den))
    }

    /// Gives every piece of RAM its pages: first each node its share, then the
    /// node's pieces theirs (rules 1 to 5).
    fn share(&mut self, target: u64, original: Bytes) -> Result<()> {
        let mut later = self.pieces.ram(None).count() as u64;
        if target < later || original.is_zero() {
            return Err(Error::RegionTooSmall);
        }
        let keep = self.keeps_legacy(target, original);
        let mut seen = 0u64;
        let mut given = 0u64;
        for nid in (0..MAX_NODES as i32).map(NodeId) {
            let all = self.sum(nid, None, keep);
            if all.pieces == 0 {
                continue;
            }
            seen = seen.saturating_add(all.bytes);
            later -= all.pieces;
            let upto = mul_div_round(target, seen, original.0);
            let upto = upto.min(target - later).max(given + all.pieces);
            self.share_node(nid, upto - given, keep, target);
            given = upto;
        }
        Ok(())
    }

    /// Whether the first MiB keeps its shape (rule 4): not if it is cut up
    /// absurdly, or most of what a node has.
    fn keeps_legacy(&self, target: u64, original: Bytes) -> bool {
        let legacy = |i: &usize| self.pieces.end(*i) <= LEGACY_END;
        let count = (0..self.pieces.len()).filter(legacy).count();
        if target < LEGACY_REGION || count > LEGACY_PIECES {
            return false;
        }
        let nodes = self.pieces.ram(None).filter(legacy);
        nodes.filter_map(|i| self.pieces.ram_node(i)).all(|nid| {
            let all = self.sum(nid, None, true);
            let rest = self.sum(nid, Some(Part::Rest), true).bytes;
            let pages = mul_div(target, all.bytes, original.0);
            rest != 0 && pages >= LEGACY_NODE
        })
    }

    fn part(&self, i: usize, keep: bool) -> Part {
        let end = self.pieces.end(i);
        if keep && end <= LEGACY_END {
            Part::Legacy
        } else if end <= DMA_LIMIT {
            Part::Dma
        } else {
            Part::Rest
        }
    }

    fn sum(&self, nid: NodeId, part: Option<Part>, keep: bool) -> Sum {
        let all = self.pieces.ram(Some(nid));
        let of_part = all.filter(|&i| part.is_none_or(|p| self.part(i, keep) == p));
        of_part.fold(Sum::default(), |sum, i| Sum {
            pieces: sum.pieces + 1,
            bytes: sum.bytes.saturating_add(self.pieces.size(i).0),
        })
    }

    /// Gives the pieces of a node `pages` in all, which is at least one each.
    fn share_node(&mut self, nid: NodeId, pages: u64, keep: bool, target: u64) {
        let dma = self.sum(nid, Some(Part::Dma), keep);
        let rest = self.sum(nid, Some(Part::Rest), keep);
        let mut legacy = 0;
        for i in 0..self.pieces.len() {
            let own = self.pieces.ram_node(i) == Some(nid);
            if own && self.part(i, keep) == Part::Legacy {
                let start = self.pieces.get(i).map_or(PhysAddr::ZERO, |p| p.start);
                let whole = self.pieces.end(i).pfn_down() - start.pfn_up();
                let whole = whole.0.max(1);
                self.pieces.set_pages(i, whole);
                legacy += whole;
            }
        }
        let pages = pages - legacy.min(pages);
        let fair = mul_div(pages, dma.bytes, dma.bytes.saturating_add(rest.bytes));
        let least = (target / 32).min(DMA_LEAST).max((pages + legacy) / 128);
        let least = least.saturating_sub(legacy);
        let least = least.min(dma.bytes / PAGE_SIZE).min(pages / 2);
        let low = fair.max(least).max(dma.pieces);
        let low = if rest.pieces == 0 {
            pages
        } else {
            low.min(pages.saturating_sub(rest.pieces))
        };
        let low = if dma.pieces == 0 { 0 } else { low };
        self.share_part(nid, Part::Dma, keep, low, dma);
        self.share_part(nid, Part::Rest, keep, pages - low.min(pages), rest);
    }

    /// Gives the pieces of a part `pages` in all, each by its size; what is
    /// rounded off one goes to the next.
    fn share_part(&mut self, nid: NodeId, part: Part, keep: bool, pages: u64, sum: Sum) {
        let mut seen = 0u64;
        let mut given = 0u64;
        let mut later = sum.pieces;
        for i in 0..self.pieces.len() {
            if self.pieces.ram_node(i) != Some(nid) || self.part(i, keep) != part {
                continue;
            }
            seen = seen.saturating_add(self.pieces.size(i).0);
            later -= 1;
            let upto = mul_div_round(pages, seen, sum.bytes);
            let upto = upto.min(pages.saturating_sub(later)).max(given + 1);
            self.pieces.set_pages(i, upto - given);
            given = upto;
        }
    }

    /// Gives holes and what is not RAM their pages, and moves boundaries to
    /// page blocks (rules 1, 4 and 6).
    fn lay_out(&mut self, target: u64, original: Bytes) -> Result<()> {
        let keep = self.keeps_legacy(target, original);
        let mut at = 0u64;
        // What the next piece of RAM gets from the one before, or gives to it.
        let mut owed = 0i64;
        let mut i = 0;
        while i < self.pieces.len() {
            if self.pieces.ram_node(i).is_some() {
                let ideal = self.pages(i).saturating_add_signed(owed).max(1);
                let end = self.ram_end(i, at, ideal);
                owed = (at + ideal) as i64 - end as i64;
                self.pieces.set_pages(i, end - at);
                at = end;
                if at > PFN_LIMIT {
                    return Err(Error::MapTooSparse);
                }
                i += 1;
            } else {
                (i, at) = self.lay_holes(i, at, keep)?;
            }
        }
        Ok(())
    }

    fn pages(&self, i: usize) -> u64 {
        self.pieces.get(i).map_or(0, |p| u64::from(p.pages))
    }

    /// Where RAM piece `i`, from `at` and `ideal` pages long, ends: on a page
    /// block, if it is large or ends at a limit, and if more RAM follows to
    /// even it out.
    fn ram_end(&self, i: usize, at: u64, ideal: u64) -> u64 {
        let end = at + ideal;
        let boundary = self.pieces.end(i);
        let limit = boundary == DMA_LIMIT || boundary == DMA32_LIMIT;
        let Some(next) = self.pieces.next_ram(i) else {
            return end;
        };
        // A small next piece can take pages, but has none to give.
        let rounded = if self.pages(next) >= 2 * BLOCK {
            round_to_block(end)
        } else if limit {
            end / BLOCK * BLOCK
        } else {
            end
        };
        if (ideal >= LARGE || limit) && rounded > at {
            rounded
        } else {
            end
        }
    }

    /// Lays the pieces from `first` up to the next RAM; returns that piece and
    /// where it starts.
    fn lay_holes(&mut self, first: usize, start: u64, keep: bool) -> Result<(usize, u64)> {
        let next = self.pieces.next_ram(first);
        let behind = next.unwrap_or(self.pieces.len());
        let mut at = start;
        let mut largest = (0, first);
        let mut crosses = false;
        for i in first..behind {
            let end = self.pieces.end(i);
            crosses |= end == DMA_LIMIT || end == DMA32_LIMIT;
            let pages = if keep && self.part(i, keep) == Part::Legacy {
                let before_ram = self.pieces.ram_node(i + 1).is_some();
                let end = if before_ram {
                    end.pfn_up()
                } else {
                    end.pfn_down()
                };
                end.0.saturating_sub(at)
            } else {
                let size = self.pieces.size(i).0;
                let pages = mul_div_round(size, self.factor_num / PAGE_SIZE, self.factor_den);
                let pages = pages.max(1);
                if pages > largest.0 {
                    largest = (pages, i);
                }
                pages
            };
            // No RAM follows: what does not fit is cut short.
            let room = PFN_LIMIT.saturating_sub(at + (behind - i) as u64);
            if next.is_some() && pages > room {
                return Err(Error::MapTooSparse);
            }
            let pages = pages.min(room).max(1);
            self.pieces.set_pages(i, pages);
            at += pages;
        }
        let follows = next.map_or(0, |next| self.pages(next));
        let large = follows >= LARGE && largest.0 >= BLOCK;
        if large || (crosses && follows >= 2 * BLOCK) {
            // Only a hole at a limit can be too small to give way.
            let mut to = round_to_block(at);
            if to + largest.0 <= at {
                to += BLOCK;
            }
            self.pieces.set_pages(largest.1, largest.0 + to - at);
            at = to;
        }
        Ok((behind, at))
    }
}

fn round_to_block(pages: u64) -> u64 {
    (pages + BLOCK / 2) / BLOCK * BLOCK
}
