// SPDX-License-Identifier: GPL-2.0

//! Where a mapping goes.
//!
//! ```text
//! window_start        legacy base                 mmap_base          window_end
//! │ brk →             │ from below →              ← from above │ gap │ ← stack │
//! ```
//!
//! The window is to the shadow what all addresses up to `TASK_SIZE` are to Linux;
//! the bases lie in it at the same places (`arch/x86/mm/mmap.c`).

use super::flags::VmFlags;
use super::rlimit::CAP_SYS_RAWIO;
use super::rlimit::MM_LEGACY;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::VirtRange;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// `MAP_FIXED`, `MAP_32BIT`, `MAP_ABOVE4G`.
pub(super) const MAP_FIXED: u32 = 0x10;
pub(super) const MAP_32BIT: u32 = 0x40;
pub(super) const MAP_ABOVE4G: u32 = 0x80;
/// 2 MiB (`PMD_SIZE`).
const PMD_SIZE: u64 = 2 << 20;
/// The least and, of a window, the largest part that is left to the stack
/// (`mmap_base`).
const MIN_GAP: u64 = 128 << 20;
/// By how many pages a stack is shifted at most (`__STACK_RND_MASK`).
const STACK_RND_PAGES: u64 = 0x3f_ffff;
/// By how much a heap is shifted at most (`arch_randomize_brk`).
const BRK_RND: u64 = 0x0200_0000;

/// What is wanted of a place (`__get_unmapped_area`).
#[derive(Clone, Copy)]
pub(super) struct PlaceRequest {
    pub(super) addr: u64,
    /// Rounded up to pages, and not 0.
    pub(super) len: u64,
    /// `MAP_*`.
    pub(super) flags: u32,
    /// Whether it is private anonymous memory, which is placed so that huge pages fit.
    pub(super) is_anonymous: bool,
}

/// The bases of an address space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Mappings go below this, or above it in the legacy layout (`mmap_base`).
    pub base: u64,
    /// Above this when there is no room below (`mmap_legacy_base`).
    pub legacy_base: u64,
    /// Where the heap begins (`start_brk`).
    pub start_brk: u64,
    /// Where a first stack ends (`STACK_TOP`, shifted).
    pub stack_top: u64,
}

/// What a layout is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRequest {
    /// Where addresses may be.
    pub window: VirtRange,
    /// Everything is shifted by what follows from it; 0 shifts nothing.
    pub seed: u64,
    /// Mappings are placed from below.
    pub is_legacy: bool,
    /// `RLIMIT_STACK`, in bytes.
    pub stack: u64,
    /// What stays free before a stack, in bytes.
    pub guard_gap: u64,
    /// `mmap_rnd_bits`.
    pub rnd_bits: u32,
}

/// The next number of a sequence that begins with a seed (SplitMix64).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

const fn page_up(addr: u64) -> u64 {
    page_down(addr.saturating_add(PAGE_SIZE - 1))
}

impl Layout {
    /// Chooses the bases (`arch_pick_mmap_layout`, `arch_randomize_brk`). Shifts keep
    /// their part of a smaller window.
    pub fn pick(request: &LayoutRequest) -> Self {
        let (start, end) = (request.window.start.0, request.window.end.0);
        let size = request.window.len();
        let pages = request.window.pages();
        let mut state = request.seed;
        let mut shift = |limit: u64| match (request.seed, limit) {
            (0, _) | (_, 0) => 0,
            (_, limit) => next_random(&mut state) % limit,
        };
        // 28 bits of the 35 that pages have in all of a process's addresses.
        let rnd_pages = (1u64 << request.rnd_bits.min(63)).min(pages >> 7);
        let rnd = shift(rnd_pages) << PAGE_SHIFT;
        let stack_rnd_pages = STACK_RND_PAGES.min(pages >> 13);
        let stack_rnd = shift(stack_rnd_pages + 1) << PAGE_SHIFT;
        let brk_rnd = page_down(shift(BRK_RND.min(size >> 22)));

        let random_pad = match request.seed {
            0 => 0,
            _ => stack_rnd_pages << PAGE_SHIFT,
        };
        let pad = random_pad.saturating_add(request.guard_gap);
        let gap = request.stack.checked_add(pad).unwrap_or(request.stack);
        let gap = gap.max(MIN_GAP).min(size / 6 * 5);
        let legacy_base = start + page_up(size / 3) + rnd;
        let base = match request.is_legacy {
            true => legacy_base,
            false => page_up(end.saturating_sub(gap).saturating_sub(rnd)),
        };
        Self {
            base: base.max(start),
            legacy_base,
            start_brk: start + brk_rnd,
            stack_top: end - stack_rnd,
        }
    }
}

/// A search for free addresses (`struct vm_unmapped_area_info`).
struct Search {
    length: u64,
    low: u64,
    high: u64,
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// The window.
    #[inline]
    pub fn window(&self) -> VirtRange {
        let start = self.cells.window_start.load(Relaxed);
        VirtRange::new(start, self.cells.window_end.load(Relaxed))
    }

    /// The lowest address that is ever given out.
    fn lowest(&self) -> u64 {
        let least = page_up(self.system.knob(MmKnob::MmapMinAddr));
        self.cells.window_start.load(Relaxed).max(least)
    }

    /// A hint that is below the lowest address becomes that (`round_hint_to_min`).
    pub(super) fn round_hint(&self, hint: u64) -> u64 {
        let hint = page_down(hint);
        let least = self.system.knob(MmKnob::MmapMinAddr);
        match hint != 0 && hint < least {
            true => page_up(least),
            false => hint,
        }
    }

    /// A place for a mapping: the one that is asked for, or a free one
    /// (`__get_unmapped_area`). With the mmap lock.
    ///
    /// # Errors
    ///
    /// [`Error::NoAddressRoom`], [`Error::OutsideWindow`], [`Error::NotPageAligned`],
    /// [`Error::LowAddress`].
    pub(super) fn unmapped_area(&self, request: &PlaceRequest) -> Result<VirtAddr> {
        let window = self.window();
        // What does not fit between the lowest address and the end does not fit.
        if request.len > window.len() {
            return Err(Error::OutsideWindow);
        }
        let wants_huge = request.is_anonymous && request.addr == 0 && request.len % PMD_SIZE == 0;
        let huge = match wants_huge && request.flags & MAP_FIXED == 0 {
            true => self.huge_area(request),
            false => None,
        };
        let addr = match huge {
            Some(addr) => addr,
            None => self.area(request)?,
        };
        if addr > window.end.0 - request.len || addr < window.start.0 {
            return Err(Error::OutsideWindow);
        }
        if !VirtAddr(addr).is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        let least = self.system.knob(MmKnob::MmapMinAddr);
        if addr < least && !self.is_capable(CAP_SYS_RAWIO) {
            return Err(Error::LowAddress);
        }
        Ok(VirtAddr(addr))
    }

    /// The same for huge pages of a size, in bytes (`hugetlb_get_unmapped_area`). Nothing is
    /// mapped at the place that is found, so it is one for small pages.
    ///
    /// # Errors
    ///
    /// Those; a place that is asked for begins a huge page.
    pub(super) fn unmapped_huge_area(&self, request: &PlaceRequest, size: u64) -> Result<VirtAddr> {
        let is_fixed = request.flags & MAP_FIXED != 0;
        // What is larger than all addresses is refused for that first.
        if is_fixed && request.len <= self.window().len() && request.addr & (size - 1) != 0 {
            return Err(Error::NotPageAligned);
        }
        self.unmapped_area(request)
    }

    /// A place that begins a huge page (`__thp_get_unmapped_area`).
    fn huge_area(&self, request: &PlaceRequest) -> Option<u64> {
        let padded = PlaceRequest {
            len: request.len.checked_add(PMD_SIZE)?,
            ..*request
        };
        let found = self.area(&padded).ok()?;
        match found.wrapping_neg() & (PMD_SIZE - 1) {
            0 if !self.is_legacy() => Some(found + PMD_SIZE),
            up => Some(found + up),
        }
    }

    fn is_legacy(&self) -> bool {
        self.cells.policy.load(Relaxed) & MM_LEGACY != 0
    }

    /// `mm_get_unmapped_area`.
    fn area(&self, request: &PlaceRequest) -> Result<u64> {
        if request.len > self.window().len() {
            return Err(Error::OutsideWindow);
        }
        if request.flags & MAP_FIXED != 0 {
            return Ok(request.addr);
        }
        if self.is_legacy() || request.flags & MAP_32BIT != 0 {
            return self.area_from_below(request);
        }
        let hint = page_down(request.addr);
        if hint != 0 && self.is_hint_free(hint, request.len) {
            return Ok(hint);
        }
        let floor = match request.flags & MAP_ABOVE4G {
            0 => PAGE_SIZE,
            _ => 1 << 32,
        };
        let found = self.highest_area(&Search {
            length: request.len,
            low: floor,
            high: self.cells.mmap_base.load(Relaxed),
        });
        match found {
            Some(addr) => Ok(addr),
            None => self.area_from_below(request),
        }
    }

    /// Whether a hint can be followed (`mmap_address_hint_valid`, and that nothing is
    /// there).
    fn is_hint_free(&self, hint: u64, len: u64) -> bool {
        let window = self.window();
        if hint < window.start.0 || window.end.0 - len < hint {
            return false;
        }
        let gap = self.system.stack_guard_gap();
        self.find_vma(hint)
            .is_none_or(|vma| hint + len <= vma.start_gap(gap))
    }

    /// `arch_get_unmapped_area`.
    fn area_from_below(&self, request: &PlaceRequest) -> Result<u64> {
        let window = self.window();
        let (begin, end) = match request.flags & MAP_32BIT {
            0 => (self.cells.mmap_legacy_base.load(Relaxed), window.end.0),
            _ => (0x4000_0000, 0x8000_0000.min(window.end.0)),
        };
        if request.len > end {
            return Err(Error::NoAddressRoom);
        }
        let hint = page_up(request.addr);
        if hint != 0 && end - request.len >= hint && hint >= window.start.0 {
            let gap = self.system.stack_guard_gap();
            let next = self.find_vma(hint);
            if next.is_none_or(|vma| hint + request.len <= vma.start_gap(gap)) {
                return Ok(hint);
            }
        }
        self.lowest_area(&Search {
            length: request.len,
            low: begin,
            high: end,
        })
        .ok_or(Error::NoAddressRoom)
    }

    /// The lowest free range (`unmapped_area`).
    fn lowest_area(&self, search: &Search) -> Option<u64> {
        let guard = self.system.stack_guard_gap();
        let mut low = search.low.max(self.lowest());
        loop {
            let found = self.tree().gap_above(low, search.high, search.length)?;
            let next = self.find_vma(found.checked_add(search.length)?);
            match next.filter(|vma| vma.flags().has(VmFlags::GROWSDOWN)) {
                Some(vma) if vma.start_gap(guard) < found + search.length - 1 => {
                    low = vma.end();
                }
                _ => return Some(found),
            }
        }
    }

    /// The highest free range (`unmapped_area_topdown`).
    fn highest_area(&self, search: &Search) -> Option<u64> {
        let guard = self.system.stack_guard_gap();
        let low = search.low.max(self.lowest());
        let mut high = search.high;
        loop {
            if high <= low {
                return None;
            }
            let found = self.tree().gap_below(low, high, search.length)?;
            let end = found.checked_add(search.length)?;
            let next = self.find_vma(end);
            match next.filter(|vma| vma.flags().has(VmFlags::GROWSDOWN)) {
                Some(vma) if vma.start_gap(guard) < end => high = vma.start_gap(guard),
                _ => return Some(found),
            }
        }
    }
}
