// SPDX-License-Identifier: GPL-2.0

//! SPARSEMEM: from a page frame number to its descriptor.
//!
//! Physical memory is cut into sections of equal size. A section with RAM in
//! it is present and has a descriptor for each of its frames, holes included;
//! one without costs nothing.
//!
//! ```text
//!            pfn = [ root | section in root | frame in section ]
//!                     |           |                  |
//! roots   [ . . * . . . ]         |                  |
//!               |                 |                  |
//! sections      +-> [ - - * - - - - - ]              |
//!                         |                          |
//! descriptors             +-> [ PageDescriptor ... ] + on the section's node
//! page blocks             +-> [ Pageblock ... ]        a byte for 512 frames
//! ```
//!
//! As with `SPARSEMEM_EXTREME`, a root of [`SECTIONS_PER_ROOT`] sections
//! exists only where one of them is present. In front of this stands the near
//! table: the descriptors of the lowest sections, which in practice are all
//! there are, found with one load instead of two. A frame beyond it takes the
//! way through the roots. The page blocks of the near table's frames stand in one
//! flat table, those of the sections beyond it in another, section by section.

mod memmap;
mod order;

pub use memmap::memmap_init;
pub use memmap::unavailable_ranges;
pub use order::section_order;
pub use order::SectionOrder;

use crate::buddy::MemMap;
use crate::buddy::Pageblock;
use crate::early;
use crate::early::alloc_in_one_piece;
use crate::early::EarlyAlloc;
use crate::early::MemoryRanges;
use crate::early::SMP_CACHE_BYTES;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::FixedList;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PfnRange;
use crate::phys::PhysAddr;
use crate::phys::PAGEBLOCK_ORDER;

/// How many sections a whole root has (`SECTIONS_PER_ROOT`): a page of them.
pub const SECTIONS_PER_ROOT: usize = 128;
/// The near table has room for at least this many sections.
const NEAR_SECTIONS: usize = 256;

/// How many stretches are remembered: real machines have one or two a node.
const MAX_STRETCHES: usize = 32;

/// Descriptors of neighbouring frames that lie in one piece: those of all
/// sections of a node without a hole between them.
#[derive(Clone, Copy)]
pub struct Stretch<'m> {
    /// The frame of the first one.
    pub start: Pfn,
    /// The descriptors.
    pub map: &'m [PageDescriptor],
}

impl Stretch<'_> {
    /// No frame.
    pub const EMPTY: Self = Self {
        start: Pfn(0),
        map: &[],
    };

    /// How much of `range` is in it.
    fn shared_with(&self, range: PfnRange) -> Pages {
        let end = self.start + Pages(self.map.len() as u64);
        range.end.min(end) - range.start.max(self.start)
    }
}

/// The number of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionNr(pub u64);

/// One section (`struct mem_section`).
#[derive(Clone, Copy)]
pub struct Section<'m> {
    /// The descriptors; empty where the section is not present.
    map: &'m [PageDescriptor],
    /// Where they lie.
    at: PhysAddr,
    /// The node of the first memory in it; none where it is not present.
    nid: NodeId,
    /// Where its page blocks start in the table for far sections (`usage`).
    usage: u32,
}

const _: () = assert!(SECTIONS_PER_ROOT * core::mem::size_of::<Section<'_>>() <= 4096);
const _: () = assert!(SECTIONS_PER_ROOT.is_power_of_two());

impl<'m> Section<'m> {
    const ABSENT: Self = Self {
        map: &[],
        at: PhysAddr::ZERO,
        nid: NodeId::NONE,
        usage: 0,
    };

    /// Whether there is memory in it (`present_section`).
    pub fn is_present(&self) -> bool {
        !self.nid.is_none()
    }

    /// The node that it belongs to (`sparse_early_nid`).
    pub fn nid(&self) -> NodeId {
        self.nid
    }

    /// Where its descriptors lie.
    pub fn memmap(&self) -> PhysAddr {
        self.at
    }

    /// Its descriptors, one for each frame.
    pub fn map(&self) -> &'m [PageDescriptor] {
        self.map
    }
}

/// All sections of the shadow, and through them all page descriptors.
pub struct Sparse<'m> {
    order: SectionOrder,
    /// What of a frame number is the frame in the section.
    index_mask: u64,
    near: &'m [&'m [PageDescriptor]],
    near_blocks: &'m [Pageblock],
    far_blocks: &'m [Pageblock],
    stretches: FixedList<Stretch<'m>, MAX_STRETCHES>,
    roots: &'m mut [&'m mut [Section<'m>]],
    present: u64,
    behind: u64,
    table_bytes: Bytes,
    map_bytes: Bytes,
    mobility_disabled: bool,
}

impl Default for Sparse<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'m> Sparse<'m> {
    /// No section yet.
    pub const fn new() -> Self {
        Self {
            order: SectionOrder::MIN,
            index_mask: 0,
            near: &[],
            near_blocks: &[],
            far_blocks: &[],
            stretches: FixedList::new(Stretch::EMPTY),
            roots: &mut [],
            present: 0,
            behind: 0,
            table_bytes: Bytes::ZERO,
            map_bytes: Bytes::ZERO,
            mobility_disabled: false,
        }
    }

    /// Makes the sections of all memory and their descriptors, as holes for
    /// now (`sparse_init`). The descriptors lie at or above `min` where there
    /// is room, to spare the memory that ISA devices need (`MAX_DMA_ADDRESS`).
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] when there are sections already, those of
    /// [`early::check_memory`], and memblock's when it has no room.
    pub fn init(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        order: SectionOrder,
        min: PhysAddr,
    ) -> Result<()> {
        if !self.roots.is_empty() {
            return Err(Error::StageOrder);
        }
        early::check_memory(early::memory_ranges(early))?;
        self.order = order;
        self.index_mask = order.pages().0.saturating_sub(1);
        self.behind = order.count(early::memory_ranges(early)).1;
        self.memblocks_present(early)?;
        self.usage_init(early)?;
        let mut nr = 0;
        while nr < self.behind {
            nr = self.populate(early, nr, min)?;
        }
        self.make_near(early)
    }

    /// Marks the sections of all memory as present (`memblocks_present`).
    fn memblocks_present(&mut self, early: &mut impl EarlyAlloc<'m>) -> Result<()> {
        let roots = self.behind.div_ceil(SECTIONS_PER_ROOT as u64) as usize;
        self.roots = self.table(early, roots, NodeId::NONE, |_| {
            let none: &'m mut [Section<'m>] = &mut [];
            none
        })?;
        let mut index = 0;
        while let Some((nid, range)) = early.memory(index) {
            index += 1;
            if range.is_empty() {
                continue;
            }
            let last = range.end.0.saturating_sub(1) >> self.order.get();
            for nr in range.start.0 >> self.order.get()..=last {
                self.memory_present(early, SectionNr(nr), nid)?;
            }
        }
        Ok(())
    }

    /// Marks one section as present. It belongs to the node that comes first
    /// (`memory_present`).
    fn memory_present(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        nr: SectionNr,
        nid: NodeId,
    ) -> Result<()> {
        let (root, index) = root_of(nr);
        if self.roots.get(root).is_some_and(|r| r.is_empty()) {
            // The last root need not be whole.
            let first = (root as u64).saturating_mul(SECTIONS_PER_ROOT as u64);
            let len = self
                .behind
                .saturating_sub(first)
                .min(SECTIONS_PER_ROOT as u64);
            let sections = self.table(early, len as usize, nid, |_| Section::ABSENT)?;
            *self.roots.get_mut(root).ok_or(Error::Corrupt)? = sections;
        }
        let section = self.roots.get_mut(root).and_then(|r| r.get_mut(index));
        let section = section.ok_or(Error::Corrupt)?;
        if !section.is_present() {
            section.nid = nid;
            self.present += 1;
        }
        Ok(())
    }

    /// Makes room for what is kept about page blocks, which are Unmovable for
    /// now (`sparse_usage_init`).
    fn usage_init(&mut self, early: &mut impl EarlyAlloc<'m>) -> Result<()> {
        let each = self.order.pageblocks();
        let near = near_sections(self.present, self.behind);
        let size = (near as usize).saturating_mul(each);
        self.near_blocks = self.table(early, size, NodeId::NONE, |_| Pageblock::new())?;
        let mut far = 0usize;
        for nr in near..self.behind {
            if let Some(section) = self.section_mut(SectionNr(nr)) {
                section.usage = u32::try_from(far).map_err(|_| Error::Corrupt)?;
                far = far.saturating_add(each);
            }
        }
        if far != 0 {
            self.far_blocks = self.table(early, far, NodeId::NONE, |_| Pageblock::new())?;
        }
        Ok(())
    }

    /// Gives the present sections of one node from `first` up to a hole their
    /// descriptors, in one piece and on that node if there is room, and returns
    /// the number behind them (`sparse_init_nid`, whose buffer is for all
    /// sections of a node, and `__populate_section_memmap`).
    fn populate(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        first: u64,
        min: PhysAddr,
    ) -> Result<u64> {
        let Some(nid) = self.section(SectionNr(first)).map(|section| section.nid) else {
            return Ok(first.saturating_add(1));
        };
        let on_node = |nr: &u64| self.section(SectionNr(*nr)).is_some_and(|s| s.nid == nid);
        let sections = (first..self.behind).take_while(on_node).count();
        let each = self.order.pages().0 as usize;
        let align = placed_size::<PageDescriptor>(each);
        // Where there is no room for all in one piece, there may be for one.
        for sections in [sections, 1] {
            let len = each.saturating_mul(sections);
            let size = placed_size::<PageDescriptor>(len);
            let range = match alloc_in_one_piece(early, size, align, min, nid) {
                Err(_) if sections > 1 => continue,
                found => found?,
            };
            let region = early.region()?;
            let map = &*region.place_slice(range, len, |_| PageDescriptor::hole())?;
            self.map_bytes += size;
            self.enter(first, map, range.start);
            return Ok(first.saturating_add(sections as u64));
        }
        Err(Error::NoMemory)
    }

    /// Enters the descriptors `map`, which lie at `at`, in the sections from
    /// `first` on, and as a stretch.
    fn enter(&mut self, first: u64, map: &'m [PageDescriptor], at: PhysAddr) {
        let each = self.order.pages().0 as usize;
        let size = placed_size::<PageDescriptor>(each);
        let mut at = at;
        for (nr, part) in (first..).zip(map.chunks(each)) {
            if let Some(section) = self.section_mut(SectionNr(nr)) {
                section.map = part;
                section.at = at;
            }
            at = at + size;
        }
        let start = self.frames(SectionNr(first)).start;
        // One more than there is room for is only not remembered.
        let last = self.stretches.len();
        let _ = self.stretches.insert(last, Stretch { start, map });
    }

    /// What is kept about the page blocks of the near table's frames, from frame 0
    /// on.
    pub fn near_blocks(&self) -> &'m [Pageblock] {
        self.near_blocks
    }

    /// The stretch that has most of the descriptors of `range`: not all of them
    /// where the range begins in a section that belongs to the node before.
    pub fn stretch(&self, range: PfnRange) -> Option<Stretch<'m>> {
        self.stretches
            .iter()
            .filter(|stretch| !stretch.shared_with(range).is_zero())
            .max_by_key(|stretch| stretch.shared_with(range))
            .copied()
    }

    /// Enters the lowest sections in the near table.
    fn make_near(&mut self, early: &mut impl EarlyAlloc<'m>) -> Result<()> {
        let len = near_sections(self.present, self.behind);
        let near = self.table(early, len as usize, NodeId::NONE, |_| {
            let none: &'m [PageDescriptor] = &[];
            none
        })?;
        for (nr, map) in near.iter_mut().enumerate() {
            *map = self.section(SectionNr(nr as u64)).map_or(&[], |s| s.map);
        }
        self.near = near;
        Ok(())
    }

    /// A table of `len` entries on `nid` (`sparse_index_alloc`).
    fn table<T>(
        &mut self,
        early: &mut impl EarlyAlloc<'m>,
        len: usize,
        nid: NodeId,
        init: impl FnMut(usize) -> T,
    ) -> Result<&'m mut [T]> {
        let size = placed_size::<T>(len);
        let range = alloc_in_one_piece(early, size, SMP_CACHE_BYTES, PhysAddr::ZERO, nid)?;
        self.table_bytes += size;
        early.region()?.place_slice(range, len, init)
    }

    /// The descriptor of `pfn` (`pfn_to_page`); `None` where the section is not
    /// present. O(1).
    #[inline]
    pub fn page(&self, pfn: Pfn) -> Option<&'m PageDescriptor> {
        // The mask is for the compiler alone: it drops the check of the shift.
        let nr = pfn.0 >> (self.order.get() & 63);
        let index = (pfn.0 & self.index_mask) as usize;
        match self.near.get(nr as usize) {
            Some(map) => map.get(index),
            None => self.section(SectionNr(nr))?.map.get(index),
        }
    }

    /// What is kept about the page block that `pfn` lies in; `None` where it is
    /// beyond all sections or its section is not present. O(1).
    #[inline]
    pub fn pageblock(&self, pfn: Pfn) -> Option<&'m Pageblock> {
        match self.near_blocks.get((pfn.0 >> PAGEBLOCK_ORDER) as usize) {
            Some(block) => Some(block),
            None => {
                let usage = self.section(self.section_of(pfn))?.usage as usize;
                let index = ((pfn.0 & self.index_mask) >> PAGEBLOCK_ORDER) as usize;
                self.far_blocks.get(usage.checked_add(index)?)
            }
        }
    }

    /// Whether requests are not told apart by mobility
    /// (`page_group_by_mobility_disabled`).
    pub fn is_mobility_disabled(&self) -> bool {
        self.mobility_disabled
    }

    /// Sets that, when it is known how many pages there are
    /// (`build_all_zonelists`).
    pub fn set_mobility_disabled(&mut self, disabled: bool) {
        self.mobility_disabled = disabled;
    }

    /// Where the descriptor of `pfn` stands.
    pub fn descriptor_addr(&self, pfn: Pfn) -> Option<PhysAddr> {
        let section = self.section(self.section_of(pfn))?;
        let size = size_of::<PageDescriptor>() as u64;
        let index = pfn.0 & self.index_mask;
        section
            .is_present()
            .then(|| section.memmap() + Bytes(index * size))
    }

    /// Whether `pfn` has a descriptor, be it RAM or a hole (`pfn_valid`).
    #[inline]
    pub fn pfn_valid(&self, pfn: Pfn) -> bool {
        self.page(pfn).is_some()
    }

    /// A section, if it is present (`__nr_to_section`).
    pub fn section(&self, nr: SectionNr) -> Option<&Section<'m>> {
        let (root, index) = root_of(nr);
        let section = self.roots.get(root)?.get(index)?;
        section.is_present().then_some(section)
    }

    fn section_mut(&mut self, nr: SectionNr) -> Option<&mut Section<'m>> {
        let (root, index) = root_of(nr);
        let section = self.roots.get_mut(root)?.get_mut(index)?;
        section.is_present().then_some(section)
    }

    /// The present sections, lowest first (`for_each_present_section_nr`).
    pub fn sections(&self) -> impl Iterator<Item = (SectionNr, &Section<'m>)> {
        self.roots.iter().enumerate().flat_map(|(root, sections)| {
            let first = (root as u64).saturating_mul(SECTIONS_PER_ROOT as u64);
            sections
                .iter()
                .enumerate()
                .filter(|(_, section)| section.is_present())
                .map(move |(index, section)| (SectionNr(first + index as u64), section))
        })
    }

    /// The section that `pfn` would lie in (`pfn_to_section_nr`).
    #[inline]
    pub fn section_of(&self, pfn: Pfn) -> SectionNr {
        SectionNr(pfn.0 >> self.order.get())
    }

    /// The frames of a section (`section_nr_to_pfn`).
    pub fn frames(&self, nr: SectionNr) -> PfnRange {
        let pages = self.order.pages();
        let start = Pfn(nr.0.saturating_mul(pages.0));
        PfnRange {
            start,
            end: start + pages,
        }
    }

    /// The section size.
    pub fn order(&self) -> SectionOrder {
        self.order
    }

    /// How many sections are present.
    pub fn present_sections(&self) -> u64 {
        self.present
    }

    /// The highest present section (`__highest_present_section_nr`).
    pub fn highest_present_section(&self) -> Option<SectionNr> {
        self.behind.checked_sub(1).map(SectionNr)
    }

    /// What roots, sections, page blocks and the near table take.
    pub fn table_bytes(&self) -> Bytes {
        self.table_bytes
    }

    /// What the page descriptors take.
    pub fn map_bytes(&self) -> Bytes {
        self.map_bytes
    }

    /// Checks the tables against `memory` and against each other.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] and the invariant that does not hold.
    pub fn validate(&self, memory: impl MemoryRanges) -> Result<(), (Error, &'static str)> {
        let check = |holds, what| {
            if holds {
                Ok(())
            } else {
                Err((Error::Corrupt, what))
            }
        };
        let (present, behind) = self.order.count(memory.clone());
        check(
            self.present == present && self.behind == behind,
            "the present sections are those with memory",
        )?;
        check(
            self.sections().count() as u64 == present,
            "every present section is in its root",
        )?;
        for (nr, section) in self.sections() {
            let frames = self.frames(nr);
            check(
                section.map.len() as u64 == self.order.pages().0,
                "a present section has a descriptor for each frame",
            )?;
            let last = Pfn(frames.end.0.saturating_sub(1));
            check(
                self.pageblock(frames.start).is_some() && self.pageblock(last).is_some(),
                "a present section has its page blocks",
            )?;
            let mut inside = early::whole(memory.clone())
                .filter(|(_, range)| !range.intersect(frames).is_empty());
            check(
                inside.next().is_some_and(|(nid, _)| nid == section.nid),
                "a section belongs to the node of its first memory",
            )?;
            let first = section.map.first().map(core::ptr::from_ref);
            check(
                self.page(frames.start).map(core::ptr::from_ref) == first,
                "the near table leads where the roots lead",
            )?;
        }
        Ok(())
    }
}

/// How many sections the near table has room for, when `present` of those below
/// `behind` are present: four times as many as are present, in case there are
/// large holes, and at least a page full.
fn near_sections(present: u64, behind: u64) -> u64 {
    (NEAR_SECTIONS as u64)
        .max(present.saturating_mul(4))
        .min(behind)
}

impl MemMap for Sparse<'_> {
    #[inline]
    fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
        Sparse::page(self, pfn)
    }

    /// Those of one section.
    #[inline]
    fn pages(&self, pfn: Pfn, len: u32) -> Option<&[PageDescriptor]> {
        let index = (pfn.0 & self.index_mask) as usize;
        let map = self.section(self.section_of(pfn))?.map;
        map.get(index..)?.get(..len as usize)
    }

    #[inline]
    fn pageblock(&self, pfn: Pfn) -> Option<&Pageblock> {
        Sparse::pageblock(self, pfn)
    }

    #[inline]
    fn is_mobility_disabled(&self) -> bool {
        self.mobility_disabled
    }
}

fn root_of(nr: SectionNr) -> (usize, usize) {
    let per_root = SECTIONS_PER_ROOT as u64;
    ((nr.0 / per_root) as usize, (nr.0 % per_root) as usize)
}
