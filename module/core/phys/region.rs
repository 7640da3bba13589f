// SPDX-License-Identifier: GPL-2.0

//! The region: host memory laid under the shadow's physical address space.
//!
//! ```text
//! shadow   0        0x9f000   0x100000              0x6000000   0x8000000
//!          [ RAM    ][ hole   ][ RAM                 ][ hole     ][ RAM ...
//!            |                   |                                  |
//! segment  [ 0      ]          [ 1                   ]            [ 2   ...
//!            |                   |                                  |
//! run      [ node 0's CMA area, one contiguous run of host memory ][ node 1's
//! ```
//!
//! A [`BackingRun`] is a contiguous run of host memory, and a [`Segment`] a
//! stretch of shadow RAM that lies on one run. Where two neighbouring pages of
//! the shadow lie on the same segment, they are neighbours in the host too.
//!
//! The region also remembers which of its pages hold typed objects
//! ("placed"). Placing twice, or zeroing what is placed, is refused: that is
//! what makes the references it hands out exclusive, whatever memblock does.

use super::backing::Backing;
use super::backing::Cursor;
use super::cells::Window;
use super::placed::Placed;
use super::Bytes;
use super::FixedList;
use super::NodeId;
use super::PageOrder;
use super::Pages;
use super::Pfn;
use super::PfnRange;
use super::PhysAddr;
use super::PhysRange;
use crate::error::Error;
use crate::error::Result;
use core::marker::PhantomData;
use core::mem;
use core::ptr::NonNull;

/// How many segments the shadow's RAM can fall into.
pub const MAX_SEGMENTS: usize = 512;

/// A stretch of shadow RAM that lies contiguously in host memory.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The shadow's pages.
    pub range: PfnRange,
    /// The shadow's node.
    pub nid: NodeId,
    /// The host's node of the memory behind it.
    pub host_node: NodeId,
    /// The host's frame behind the first page.
    pub host_pfn: u64,
    base: NonNull<u8>,
}

/// The shadow's physical memory.
///
/// # Invariants
///
/// - The segments are sorted, do not overlap, and lie on disjoint parts of
///   backing runs that live for `'m`.
/// - A reference of lifetime
///   `'m` into the region exists only inside the `placed` ranges, and to each
///   byte at most one such reference was handed out and not released.
pub struct Region<'m> {
    segments: FixedList<Segment, MAX_SEGMENTS>,
    placed: Placed,
    _memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: The region is exclusive memory without thread affinity, and shared
// references to it only read the tables or write to what is not placed, which
// `zero` and `copy` document as their callers' to own.
unsafe impl Send for Region<'_> {}
// SAFETY: As above.
unsafe impl Sync for Region<'_> {}

impl<'m> Region<'m> {
    /// A region with no memory in it. A constant: the value is larger than a kernel's
    /// stack.
    // INVARIANT: Nothing is there, so nothing overlaps.
    pub const EMPTY: Self = Self {
        segments: FixedList::new(Segment {
            range: PfnRange {
                start: Pfn(0),
                end: Pfn(0),
            },
            nid: NodeId::NONE,
            host_node: NodeId::NONE,
            host_pfn: 0,
            base: NonNull::dangling(),
        }),
        placed: Placed::new(),
        _memory: PhantomData,
    };

    /// Lays the shadow's RAM on the backing: the nodes' ranges, in the given
    /// order, take the runs in theirs. `self` is empty before; what the ranges
    /// leave of the backing stays unused.
    ///
    /// A range of at least one page block starts on a host address that is
    /// congruent to it modulo the page block, if the run still allows it, so
    /// that a page block of the shadow is one of the host's. A node's first
    /// range starts on the next run, if the rest of this one is not needed.
    ///
    /// # Errors
    ///
    /// [`Error::RegionTooSmall`] when the backing does not suffice,
    /// [`Error::MapTooManyEntries`] when the RAM falls into too many segments,
    /// [`Error::MapNodeOverlap`] when two ranges overlap; the region is empty
    /// then. [`Error::StageOrder`] when it was not empty before, or when
    /// another one lies on the backing.
    pub fn lay(
        &mut self,
        backing: &Backing<'m>,
        ram: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
    ) -> Result<()> {
        if !self.placed.is_empty() || !self.segments.is_empty() || backing.is_laid() {
            return Err(Error::StageOrder);
        }
        let result = self.lay_all(backing, ram);
        match result {
            Ok(()) => backing.set_laid(),
            Err(_) => self.segments.clear(),
        }
        result
    }

    fn lay_all(
        &mut self,
        backing: &Backing<'m>,
        ram: impl Iterator<Item = (NodeId, PfnRange)> + Clone,
    ) -> Result<()> {
        // What of the backing is wanted for alignment must not starve a range
        // that comes later: only what no range needs may be left out.
        let needed: Pages = ram.clone().map(|(_, range)| range.pages()).sum();
        let mut cursor = Cursor::new(backing, backing.pages() - needed);
        let mut last = NodeId::NONE;
        for (nid, range) in ram {
            if nid != last && !last.is_none() {
                // A node that can start on a run of its own does.
                cursor.leave_run();
            }
            last = nid;
            if range.pages() >= PageOrder::PAGEBLOCK.pages() {
                cursor.align(range.start, PageOrder::PAGEBLOCK);
            }
            let mut rest = range;
            while !rest.is_empty() {
                let piece = cursor.take(rest.pages()).ok_or(Error::RegionTooSmall)?;
                let range = PfnRange {
                    start: rest.start,
                    end: rest.start + piece.pages,
                };
                self.insert_segment(Segment {
                    range,
                    nid,
                    host_node: piece.host_node,
                    host_pfn: piece.host_pfn,
                    base: piece.base,
                })?;
                rest.start = range.end;
            }
        }
        Ok(())
    }

    fn insert_segment(&mut self, segment: Segment) -> Result<()> {
        let at = self
            .segments()
            .partition_point(|s| s.range.start < segment.range.start);
        let overlaps =
            |s: Option<&Segment>| s.is_some_and(|s| !s.range.intersect(segment.range).is_empty());
        if overlaps(self.segments().get(at)) || overlaps(self.segments().get(at.wrapping_sub(1))) {
            return Err(Error::MapNodeOverlap);
        }
        // INVARIANT: Sorted, because `at` is the place; disjoint from its
        // neighbours, as just seen; and its host memory is disjoint from the
        // others', because the cursor never goes back.
        self.segments.insert(at, segment)
    }

    /// The segments, lowest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// How much RAM the shadow has.
    pub fn pages(&self) -> Pages {
        self.segments().iter().map(|s| s.range.pages()).sum()
    }

    /// The segment that `pfn` lies on, if it is RAM.
    pub fn segment(&self, pfn: Pfn) -> Option<&Segment> {
        let behind = self.segments().partition_point(|s| s.range.start <= pfn);
        let segment = self.segments().get(behind.checked_sub(1)?)?;
        segment.range.contains(pfn).then_some(segment)
    }

    /// The host's frame behind `pfn`.
    pub fn host_pfn(&self, pfn: Pfn) -> Option<u64> {
        let segment = self.segment(pfn)?;
        Some(segment.host_pfn + (pfn - segment.range.start).0)
    }

    /// Whether the pages of `range` are RAM and neighbours in the host too.
    pub fn is_contiguous(&self, range: PhysRange) -> bool {
        self.pointer(range).is_some()
    }

    /// Places `len` objects at the start of `range`, made by `init` from their
    /// index, and lends them out for as long as the region's memory lives.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] when `range` is not contiguous RAM, is too small
    /// or not aligned for the objects; [`Error::PageReserved`] when something
    /// is placed there already; [`Error::MapTooManyEntries`] when the region
    /// can't remember another stretch.
    pub fn place_slice<T>(
        &mut self,
        range: PhysRange,
        len: usize,
        mut init: impl FnMut(usize) -> T,
    ) -> Result<&'m mut [T]> {
        let first = self.claim_room(range, len)?;
        for i in 0..len {
            // SAFETY: `claim_room` checked that `len` objects fit into the
            // range, and that no reference leads there.
            unsafe { first.add(i).write(init(i)) };
        }
        // SAFETY: `len` objects were just written; the memory lives for 'm
        // and nobody else has a reference to it.
        Ok(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), len) })
    }

    /// Places one object at the start of `range`. See [`Region::place_slice`].
    ///
    /// # Errors
    ///
    /// Those of [`Region::place_slice`].
    pub fn place<T>(&mut self, range: PhysRange, value: T) -> Result<&'m mut T> {
        let pointer: NonNull<T> = self.claim_room(range, 1)?;
        // SAFETY: `claim_room` checked that the object fits into the range and
        // that no reference leads there; the memory lives for 'm.
        unsafe {
            pointer.write(value);
            Ok(&mut *pointer.as_ptr())
        }
    }

    /// Claims `range` for `len` objects of type `T` and returns where the first
    /// one goes: aligned, inside one segment, with no reference leading there.
    fn claim_room<T>(&mut self, range: PhysRange, len: usize) -> Result<NonNull<T>> {
        let first: NonNull<T> = self.pointer(range).ok_or(Error::ForeignPfn)?.cast();
        if placed_size::<T>(len) > range.size() || !first.is_aligned() {
            return Err(Error::ForeignPfn);
        }
        self.placed.claim(range)?;
        Ok(first)
    }

    /// Ends the loan of a placed slice: `range`, which it was placed at, may
    /// be used again.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] when `slice` does not start at `range`, or is less
    /// than all of it but for the rest of its last page.
    pub fn release<T>(&mut self, range: PhysRange, slice: &'m mut [T]) -> Result<()> {
        let start: NonNull<T> = self.pointer(range).ok_or(Error::ForeignPfn)?.cast();
        let size = placed_size::<T>(slice.len());
        let whole = size <= range.size() && size.pages_up() == range.size().pages_up();
        if !whole || start != NonNull::from(slice).cast() {
            return Err(Error::ForeignPfn);
        }
        self.placed.unclaim(range)
    }

    /// Fills `range` with zeroes. The caller owns that memory, by memblock's
    /// word or the buddy's.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] when part of `range` is not RAM,
    /// [`Error::PageReserved`] when something is placed in it; nothing has
    /// been written then.
    pub fn zero(&self, range: PhysRange) -> Result<()> {
        if self.is_placed(range) {
            return Err(Error::PageReserved);
        }
        self.check_ram(range)?;
        let mut at = range.start;
        while at < range.end {
            let part = self.part(at, range.end).ok_or(Error::ForeignPfn)?;
            let pointer = self.pointer(part).ok_or(Error::ForeignPfn)?;
            // SAFETY: `part` lies inside one segment, whose memory nobody
            // outside the region touches, and no reference leads into it,
            // because nothing is placed there.
            unsafe { pointer.write_bytes(0, part.size().0 as usize) };
            at = part.end;
        }
        Ok(())
    }

    /// Whether all of `range` reads as zero.
    ///
    /// # Errors
    ///
    /// Those of [`Region::zero`].
    pub fn is_zero(&self, range: PhysRange) -> Result<bool> {
        if self.is_placed(range) {
            return Err(Error::PageReserved);
        }
        self.check_ram(range)?;
        let mut at = range.start;
        while at < range.end {
            let part = self.part(at, range.end).ok_or(Error::ForeignPfn)?;
            let pointer = self.pointer(part).ok_or(Error::ForeignPfn)?;
            for i in 0..part.size().0 as usize {
                // SAFETY: As in `zero`. Volatile, because a process that has
                // the page mapped may be writing to it.
                if unsafe { pointer.add(i).read_volatile() } != 0 {
                    return Ok(false);
                }
            }
            at = part.end;
        }
        Ok(true)
    }

    /// Copies `from` to the memory at `to`. The caller owns both, by the
    /// buddy's word; processes may have `from` mapped and write to it, and
    /// whoever lets them sees to it that none does meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Region::zero`], for both; [`Error::WrongOrder`] when they
    /// overlap. Nothing has been written then.
    pub fn copy(&self, from: PhysRange, to: PhysAddr) -> Result<()> {
        let target = PhysRange::new(to, from.size());
        if !from.intersect(target).is_empty() {
            return Err(Error::WrongOrder);
        }
        for range in [from, target] {
            if self.is_placed(range) {
                return Err(Error::PageReserved);
            }
            self.check_ram(range)?;
        }
        let mut done = Bytes::ZERO;
        while done < from.size() {
            let source = self
                .part(from.start + done, from.end)
                .ok_or(Error::ForeignPfn)?;
            let dest = self
                .part(target.start + done, target.end)
                .ok_or(Error::ForeignPfn)?;
            let size = source.size().min(dest.size());
            let source = self.pointer(PhysRange::new(source.start, size));
            let dest = self.pointer(PhysRange::new(dest.start, size));
            let (Some(source), Some(dest)) = (source, dest) else {
                return Err(Error::ForeignPfn);
            };
            // SAFETY: Both lie inside one segment each, for `size` bytes; the
            // ranges do not overlap, so neither does the memory behind them.
            // Nobody outside the region touches it but through mappings, and
            // no reference leads into it, because nothing is placed there.
            unsafe { source.copy_to_nonoverlapping(dest, size.0 as usize) };
            done += size;
        }
        Ok(())
    }

    /// Whether something is placed in `range`.
    pub fn is_placed(&self, range: PhysRange) -> bool {
        self.placed.overlaps(range)
    }

    /// The stretches of the region that hold placed objects, lowest first.
    pub fn placed(&self) -> &[PhysRange] {
        &self.placed
    }

    /// The window around `addr`: as far as the segment goes and nothing is
    /// placed. `None` where there is no RAM or something is placed there. For as
    /// long as it is lent out nothing more is placed.
    pub fn window(&'m self, addr: PhysAddr) -> Option<Window<'m>> {
        let segment = self.segment(addr.pfn_down())?;
        let mut range = segment.range.bytes();
        for placed in self.placed() {
            if placed.contains(addr) {
                return None;
            }
            if placed.end <= addr {
                range.start = range.start.max(placed.end);
            } else {
                range.end = range.end.min(placed.start);
            }
        }
        let base = self.pointer(range)?;
        // SAFETY: The range lies inside one segment, whose memory lives for 'm.
        // Nothing is placed in it, and nothing will be: that needs the region
        // exclusively, and it is borrowed for 'm. Besides, `zero` and `copy` write
        // to what is their callers', and a user of cells does not zero or copy
        // what he refers to.
        Some(unsafe { Window::new(base, range) })
    }

    /// All windows, lowest first.
    pub fn windows(&'m self) -> impl Iterator<Item = Window<'m>> + 'm {
        self.segments().iter().flat_map(move |segment| {
            let bytes = segment.range.bytes();
            let mut at = bytes.start;
            core::iter::from_fn(move || {
                while at < bytes.end {
                    let here = at;
                    if let Some(window) = self.window(here) {
                        at = window.range().end;
                        return Some(window);
                    }
                    let placed = self.placed().iter().find(|placed| placed.contains(here));
                    at = placed.map_or(bytes.end, |placed| placed.end);
                }
                None
            })
        })
    }

    fn check_ram(&self, range: PhysRange) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            at = self.part(at, range.end).ok_or(Error::ForeignPfn)?.end;
        }
        Ok(())
    }

    /// From `at` to `end`, or to the end of the segment that `at` lies on.
    pub(super) fn part(&self, at: PhysAddr, end: PhysAddr) -> Option<PhysRange> {
        let segment = self.segment(at.pfn_down())?;
        Some(PhysRange {
            start: at,
            end: end.min(segment.range.bytes().end),
        })
    }

    /// The memory behind `range`, if it is not empty and lies on one segment.
    pub(super) fn pointer(&self, range: PhysRange) -> Option<NonNull<u8>> {
        let segment = self.segment(range.start.pfn_down())?;
        let bytes = segment.range.bytes();
        if range.is_empty() || range.end > bytes.end {
            return None;
        }
        let offset = range.start - bytes.start;
        // SAFETY: `range.start` lies inside the segment, hence the offset
        // inside the memory behind it.
        Some(unsafe { segment.base.add(offset.0 as usize) })
    }
}

/// What `len` objects of type `T` take; saturates.
pub fn placed_size<T>(len: usize) -> Bytes {
    Bytes((mem::size_of::<T>() as u64).saturating_mul(len as u64))
}
