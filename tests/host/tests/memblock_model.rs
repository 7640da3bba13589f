// SPDX-License-Identifier: GPL-2.0

//! memblock/ against a naive model: for each of 256 pages its node and flags,
//! if it is memory, and the same if it is reserved. Arrays that are full refuse, or
//! are doubled inside the memory; where they lie then is not for the model to say, but
//! that it was free and is reserved.

#[allow(dead_code, reason = "of the tests of memblock/")]
#[path = "memblock/machine.rs"]
mod machine;

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;

pub const PAGES: usize = 256;

/// What is known of one page in one array: node and flags.
type Mark = Option<(i32, u32)>;

#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    memory: [Mark; PAGES],
    reserved: [Mark; PAGES],
    bottom_up: bool,
    movable_node: bool,
    /// Where memblock has put its arrays.
    places: [Option<PhysRange>; 2],
}

impl Default for Model {
    fn default() -> Self {
        Self {
            memory: [None; PAGES],
            reserved: [None; PAGES],
            bottom_up: false,
            movable_node: false,
            places: [None; 2],
        }
    }
}

impl Model {
    fn table(&mut self, kind: MemblockKind) -> &mut [Mark; PAGES] {
        match kind {
            MemblockKind::Memory => &mut self.memory,
            MemblockKind::Reserved => &mut self.reserved,
        }
    }

    /// Whether an allocation may take this page.
    fn is_free(&self, page: usize, nid: Option<i32>) -> bool {
        let Some((on, flags)) = self.memory[page] else {
            return false;
        };
        self.reserved[page].is_none()
            && nid.is_none_or(|nid| nid == on)
            && flags & (MemblockFlags::NOMAP | MemblockFlags::DRIVER_MANAGED).0 == 0
            && !(self.movable_node && flags & MemblockFlags::HOTPLUG.0 != 0)
    }

    /// Where `pages` fit: on a multiple of `align`, inside `[min, max)`, not on
    /// page 0, and without crossing from one region of memory to the next.
    fn find(
        &self,
        pages: usize,
        align: usize,
        min: usize,
        max: usize,
        nid: Option<i32>,
    ) -> Option<usize> {
        let fits = |&start: &usize| {
            let range = start..start + pages;
            range
                .clone()
                .all(|page| self.is_free(page, nid) && self.memory[page] == self.memory[start])
        };
        let last = max.min(PAGES).checked_sub(pages)?;
        let mut starts: Vec<_> = (min.max(1)..=last).filter(|at| at % align == 0).collect();
        if !self.bottom_up {
            starts.reverse();
        }
        starts.into_iter().find(fits)
    }

    /// The pages that its arrays lie on.
    fn array_pages(&self) -> impl Iterator<Item = usize> + use<> {
        let places = self.places.into_iter().flatten();
        places.flat_map(|place| place.start.pfn_down().0 as usize..place.end.pfn_down().0 as usize)
    }

    /// Arrays may have moved: each from a place that is free now, be it for the other, to one
    /// that was. With no room to cut a reservation, the place that was left is lost.
    fn follow(&mut self, early: &EarlyMemory<'_, '_>, op: &Op, full: bool) {
        let found = spread(early.reserved_regions());
        let asked = matches!(op, Op::Reserve(..) | Op::Alloc(..));
        let of = |place: Option<PhysRange>| {
            let place = place.unwrap_or_default();
            place.start.pfn_down().0 as usize..place.end.pfn_down().0 as usize
        };
        let now =
            [MemblockKind::Memory, MemblockKind::Reserved].map(|kind| early.array_range(kind));
        let moved = [0, 1].map(|at| now[at] != self.places[at]);
        for at in (0..2).filter(|&at| moved[at]) {
            for page in of(self.places[at]) {
                let is = found[page];
                let lost = full && is.is_some() && (!asked || is == self.reserved[page]);
                if !lost || of(now[0]).contains(&page) || of(now[1]).contains(&page) {
                    self.reserved[page] = None;
                }
            }
        }
        for at in (0..2).filter(|&at| moved[at]) {
            for page in of(now[at]) {
                assert!(
                    self.is_free(page, None),
                    "an array was put onto page {page}"
                );
            }
        }
        self.places = now;
        self.keep_arrays();
        // So is one where an array was for a moment, on the way to a larger one.
        let kern = Some((-1, MemblockFlags::RSRV_KERN.0));
        if full && moved.contains(&true) {
            for page in (0..PAGES).filter(|&page| found[page] == kern) {
                if self.is_free(page, None) {
                    self.reserved[page] = kern;
                }
            }
        }
    }

    fn keep_arrays(&mut self) {
        for page in self.array_pages() {
            self.reserved[page].get_or_insert((-1, MemblockFlags::RSRV_KERN.0));
        }
    }

    /// The page behind so many pages of memory, counted from below.
    fn page_at(&self, count: usize) -> Option<usize> {
        let mut pages = (0..PAGES).filter(|&page| self.memory[page].is_some());
        Some(pages.nth(count.checked_sub(1)?)? + 1)
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Add(usize, usize, i32, u32),
    Remove(usize, usize),
    Reserve(usize, usize, i32, u32),
    Free(usize, usize),
    Hotplug(usize, usize, bool),
    Nomap(usize, usize, bool),
    NoInit(usize, usize),
    SetNode(usize, usize, bool, i32),
    BottomUp(bool),
    MovableNode(bool),
    /// Pages, alignment, limits, node, exactly.
    Alloc(usize, usize, usize, usize, i32, bool),
    /// Only the lowest pages stay; and what is not to be mapped.
    Limit(usize, bool),
    /// Only the pages in a range stay, and what is not to be mapped.
    Cap(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let at = || (0..PAGES, 0..48usize);
    let node = || -1..4i32;
    let memory_flags = prop_oneof![4 => Just(0u32), 1 => Just(1), 1 => Just(4), 1 => Just(8)];
    let reserved_flags = prop_oneof![Just(0u32), Just(0x10), Just(0x20)];
    prop_oneof![
        4 => (at(), 0..4i32, memory_flags).prop_map(|((p, n), nid, f)| Op::Add(p, n, nid, f)),
        1 => at().prop_map(|(p, n)| Op::Remove(p, n)),
        2 => (at(), node(), reserved_flags).prop_map(|((p, n), nid, f)| Op::Reserve(p, n / 4, nid, f)),
        2 => at().prop_map(|(p, n)| Op::Free(p, n)),
        1 => (at(), any::<bool>()).prop_map(|((p, n), set)| Op::Hotplug(p, n, set)),
        1 => (at(), any::<bool>()).prop_map(|((p, n), set)| Op::Nomap(p, n, set)),
        1 => at().prop_map(|(p, n)| Op::NoInit(p, n)),
        1 => (at(), any::<bool>(), 0..4i32).prop_map(|((p, n), memory, nid)| Op::SetNode(p, n, memory, nid)),
        1 => any::<bool>().prop_map(Op::BottomUp),
        1 => any::<bool>().prop_map(Op::MovableNode),
        6 => (1..12usize, 0..4u32, at(), node(), any::<bool>())
            .prop_map(|(n, order, (min, len), nid, exact)| Op::Alloc(n, 1 << order, min, min + 2 * len, nid, exact)),
        1 => (0..PAGES, any::<bool>()).prop_map(|(n, nomap)| Op::Limit(n, nomap)),
        1 => (0..PAGES, 0..PAGES).prop_map(|(p, n)| Op::Cap(p, n)),
    ]
}

fn base(page: usize) -> PhysAddr {
    Pfn(page as u64).addr()
}

fn size(pages: usize) -> Bytes {
    Pages(pages as u64).bytes()
}

fn pages(at: usize, len: usize) -> std::ops::Range<usize> {
    at..(at + len).min(PAGES)
}

/// The array page by page; regions are of whole pages here.
fn spread(regions: &[MemblockRegion]) -> [Mark; PAGES] {
    let mut marks = [None; PAGES];
    for region in regions {
        let mark = Some((region.nid.0, region.flags.0));
        for page in region.base.pfn_down().0..region.end().pfn_down().0 {
            marks[page as usize] = mark;
        }
    }
    marks
}

/// Has `early` do it: where an allocation is, if it is one.
fn ask(op: &Op, early: &mut EarlyMemory<'_, '_>) -> Result<Option<PhysAddr>, Error> {
    use MemblockKind::Memory;
    use MemblockKind::Reserved;
    match *op {
        Op::Add(p, n, nid, flags) => {
            let len = size(pages(p, n).len());
            early.add_node(base(p), len, NodeId(nid), MemblockFlags(flags))
        }
        Op::Remove(p, n) => early.remove(base(p), size(n)),
        Op::Reserve(p, n, nid, flags) => {
            let len = size(pages(p, n).len());
            early.reserve_node(base(p), len, NodeId(nid), MemblockFlags(flags))
        }
        Op::Free(p, n) => early.phys_free(base(p), size(n)),
        Op::Hotplug(p, n, true) => early.mark_hotplug(base(p), size(n)),
        Op::Hotplug(p, n, false) => early.clear_hotplug(base(p), size(n)),
        Op::Nomap(p, n, true) => early.mark_nomap(base(p), size(n)),
        Op::Nomap(p, n, false) => early.clear_nomap(base(p), size(n)),
        Op::NoInit(p, n) => early.reserved_mark_noinit(base(p), size(n)),
        Op::SetNode(p, n, memory, nid) => {
            let kind = if memory { Memory } else { Reserved };
            early.set_node(base(p), size(n), kind, NodeId(nid))
        }
        Op::BottomUp(enable) => {
            early.set_bottom_up(enable);
            Ok(())
        }
        Op::MovableNode(enable) => {
            early.set_movable_node(enable);
            Ok(())
        }
        Op::Alloc(n, align, min, max, nid, exact) => {
            // A limit of 0 would be none.
            let (low, high) = (base(min), base(max.max(1)));
            let (len, align) = (size(n), size(align));
            let got = early.alloc_range_nid(len, align, low, high, NodeId(nid), exact);
            return got.map(Some);
        }
        Op::Limit(n, false) => early.enforce_memory_limit(size(n)),
        Op::Limit(n, true) => early.mem_limit_remove_map(size(n)),
        Op::Cap(p, n) => early.cap_memory_range(base(p), size(n)),
    }
    .map(|()| None)
}

/// Whether an array has no room for what one request may need; it was doubled if that could be.
fn is_full(early: &EarlyMemory<'_, '_>) -> bool {
    let tables = [&early.memory, &early.reserved];
    tables.iter().any(|table| 2 * table.cnt() + 2 > table.max())
}

/// Does `op` to both, and compares what it returns. Whether both are in step still: a
/// limit may be enforced half only, for want of room in an array.
#[must_use]
pub fn step(op: &Op, early: &mut EarlyMemory<'_, '_>, model: &mut Model) -> bool {
    use MemblockKind::Memory;
    use MemblockKind::Reserved;
    if let Op::Free(p, n) = *op {
        // Nobody ends the reservation of what lies there.
        if model.array_pages().any(|page| pages(p, n).contains(&page)) {
            return true;
        }
    }
    let expected = match *op {
        Op::Alloc(n, align, min, max, nid, exact) => {
            let wanted = (nid >= 0).then_some(nid);
            let max = max.max(1);
            let mut found = model.find(n, align, min, max, wanted).map(|at| (at, nid));
            if found.is_none() && !exact {
                found = model.find(n, align, min, max, None).map(|at| (at, -1));
            }
            found
        }
        _ => None,
    };
    let full = is_full(early);
    let limits = matches!(op, Op::Limit(..) | Op::Cap(..));
    let got = ask(op, early);
    match (op, got) {
        // What is reserved above it may have stayed, silently.
        _ if limits && full => return false,
        (Op::Alloc(..), Err(Error::MemblockNoMemory)) if expected.is_none() => return true,
        (Op::Cap(_, 1..), Err(Error::MapEmpty)) => {
            assert!(model.memory.iter().all(Option::is_none));
            return true;
        }
        (_, Err(error)) => {
            assert!(full, "{op:?}: {error:?}");
            let errors = [Error::MemblockArrayFull, Error::MemblockNoMemory];
            assert!(errors.contains(&error), "{op:?}: {error:?}");
            // Nothing has changed, but an array may have been doubled.
            model.follow(early, op, full);
            return true;
        }
        (_, Ok(at)) => assert_eq!(at, expected.map(|(at, _)| base(at)), "{op:?}"),
    }
    model.follow(early, op, full);
    let mut change = |kind, range: std::ops::Range<usize>, with: &dyn Fn(Mark) -> Mark| {
        for page in range {
            let mark = &mut model.table(kind)[page];
            *mark = with(*mark);
        }
    };
    let flag = |set: bool, flag: MemblockFlags| {
        move |mark: Mark| {
            let new = |flags| if set { flags | flag.0 } else { flags & !flag.0 };
            mark.map(|(nid, flags)| (nid, new(flags)))
        }
    };
    let mapped = |mark: Mark| mark.filter(|(_, flags)| flags & MemblockFlags::NOMAP.0 != 0);
    match *op {
        Op::Add(p, n, nid, flags) => {
            change(Memory, pages(p, n), &|mark| mark.or(Some((nid, flags))));
        }
        Op::Remove(p, n) => change(Memory, pages(p, n), &|_| None),
        Op::Reserve(p, n, nid, flags) => {
            change(Reserved, pages(p, n), &|mark| mark.or(Some((nid, flags))));
        }
        Op::Free(p, n) => change(Reserved, pages(p, n), &|_| None),
        Op::Hotplug(p, n, set) => {
            change(Memory, pages(p, n), &flag(set, MemblockFlags::HOTPLUG));
        }
        Op::Nomap(p, n, set) => change(Memory, pages(p, n), &flag(set, MemblockFlags::NOMAP)),
        Op::NoInit(p, n) => {
            let noinit = flag(true, MemblockFlags::RSRV_NOINIT);
            change(Reserved, pages(p, n), &noinit);
        }
        Op::SetNode(p, n, memory, nid) => {
            let kind = if memory { Memory } else { Reserved };
            let node = |mark: Mark| mark.map(|(_, flags)| (nid, flags));
            change(kind, pages(p, n), &node);
        }
        Op::BottomUp(enable) => model.bottom_up = enable,
        Op::MovableNode(enable) => model.movable_node = enable,
        Op::Alloc(n, ..) => {
            if let Some((at, nid)) = expected {
                model.reserved[at..at + n].fill(Some((nid, MemblockFlags::RSRV_KERN.0)));
            }
        }
        Op::Limit(n, keeps) => {
            if let Some(end) = model.page_at(n) {
                let memory = |mark| if keeps { mapped(mark) } else { None };
                for page in end..PAGES {
                    model.memory[page] = memory(model.memory[page]);
                }
                model.reserved[end..].fill(None);
            }
        }
        Op::Cap(p, n) => {
            if n > 0 {
                for page in (0..PAGES).filter(|page| !pages(p, n).contains(page)) {
                    model.memory[page] = mapped(model.memory[page]);
                    model.reserved[page] = None;
                }
            }
        }
    }
    model.keep_arrays();
    true
}

/// How large the arrays are at first, and whether they may grow: into memory that lies in
/// pieces in the host.
#[derive(Clone, Copy, Debug)]
pub struct Arrays {
    pub max: usize,
    pub grow: bool,
}

impl Arrays {
    /// Room for whatever 256 pages can be.
    pub const LARGE: Self = Self {
        max: 2 * PAGES + 2,
        grow: false,
    };
}

/// Does all of it, with both alike after each, and hands over in the end.
pub fn play(arrays: Arrays, mut next: impl FnMut() -> Option<Op>) {
    let play = |mut early: EarlyMemory<'_, '_>| {
        if arrays.grow {
            early.allow_resize();
        }
        let mut model = Model::default();
        while let Some(op) = next() {
            if !step(&op, &mut early, &mut model) {
                return early.validate().unwrap();
            }
            compare(&early, &model);
        }
        hand_over(early, &model);
    };
    match arrays.grow {
        true => machine::backed(arrays.max, &[100, 1, 90, 65], 0, play),
        false => machine::numbers(arrays.max, play),
    }
}

/// Sums, searches and iterators must say what the pages say.
pub fn compare(early: &EarlyMemory<'_, '_>, model: &Model) {
    early.validate().unwrap();
    assert_eq!(spread(early.mem_regions()), model.memory);
    assert_eq!(spread(early.reserved_regions()), model.reserved);
    let count = |table: &[Mark]| table.iter().flatten().count();
    assert_eq!(early.phys_mem_size(), size(count(&model.memory)));
    assert_eq!(early.reserved_size(), size(count(&model.reserved)));
    for page in 0..PAGES {
        let (at, memory) = (base(page), model.memory[page]);
        assert_eq!(early.is_memory(at), memory.is_some());
        assert_eq!(early.is_reserved(at), model.reserved[page].is_some());
        let nid = early.search_pfn_nid(Pfn(page as u64)).map(|(_, nid)| nid.0);
        assert_eq!(nid, memory.map(|(nid, _)| nid));
    }
    let filter = early.filter(NodeId::NONE, MemblockFlags::NONE);
    let mut free = vec![false; PAGES];
    let ranges: Vec<_> = early.free_ranges(filter).collect();
    for page in ranges
        .iter()
        .flat_map(|(r, _)| r.start.pfn_down().0..r.end.pfn_down().0)
    {
        assert!(!free[page as usize], "page {page} twice");
        free[page as usize] = true;
    }
    let expected: Vec<_> = (0..PAGES).map(|page| model.is_free(page, None)).collect();
    assert_eq!(free, expected);
    let mut downwards: Vec<_> = early.free_ranges(filter).downwards().collect();
    downwards.reverse();
    assert_eq!(downwards, ranges);
}

/// The hand-off gives every free page once, in blocks that are aligned, as
/// large as they can be, and in order; and names every reserved page.
pub fn hand_over(early: EarlyMemory<'_, '_>, model: &Model) {
    let full = is_full(&early);
    let room = |memblock: &Memblock<'_>| (memblock.memory.max(), memblock.reserved.max());
    let before = room(&early);
    let (mut blocks, mut named) = (vec![], [false; PAGES]);
    let mut sink = (
        |pfns: PfnRange, _: NodeId| named[pfns.start.0 as usize..pfns.end.0 as usize].fill(true),
        |pfn: Pfn, order: PageOrder| blocks.push((pfn, order)),
    );
    let retired = early.free_all(Pfn(PAGES as u64), &mut sink);
    let after = Model {
        memory: spread(retired.mem_regions()),
        reserved: spread(retired.reserved_regions()),
        ..model.clone()
    };
    // The mark for hotpluggable memory is cleared first, if there is room for that.
    let plain = |mark: Mark| mark.map(|(nid, flags)| (nid, flags & !MemblockFlags::HOTPLUG.0));
    let cleared = after.memory == model.memory.map(plain);
    assert!(cleared || full && after.memory == model.memory);
    // What is reserved gets nodes, for which it may be cut, and an array doubled.
    let grew = room(&retired) != before;
    let arrays: Vec<_> = model.array_pages().collect();
    let marked = Model {
        memory: after.memory,
        ..model.clone()
    };
    for page in 0..PAGES {
        let flags = |mark: Mark| mark.map(|(_, flags)| flags);
        let same = flags(after.reserved[page]) == flags(model.reserved[page]);
        let moved = arrays.contains(&page) || marked.is_free(page, None);
        assert!(same || grew && moved, "page {page}");
    }

    let mut given = [false; PAGES];
    let (mut last, mut total) = (0, 0);
    for (pfn, order) in blocks {
        let start = pfn.0 as usize;
        assert!(start >= last && pfn.is_aligned(order));
        last = start + order.pages().0 as usize;
        total += order.pages().0;
        given[start..last].fill(true);
        // Twice the size would not be aligned or not be free.
        if let Some(up) = order.up().filter(|up| pfn.is_aligned(*up)) {
            let end = start + up.pages().0 as usize;
            let is_free = |page| page < PAGES && after.is_free(page, None);
            assert!(!(start..end).all(is_free) || crosses(&after, start, end));
        }
    }
    assert_eq!(retired.free_pages(), Pages(total));
    for page in 0..PAGES {
        assert_eq!(given[page], after.is_free(page, None), "page {page}");
        let flags = after.reserved[page].map_or(0, |(_, flags)| flags);
        let nomap = after.memory[page].is_some_and(|(_, flags)| flags & 4 != 0);
        let reserved = after.reserved[page].is_some() && flags & 0x10 == 0;
        assert_eq!(named[page], reserved || nomap, "page {page}");
    }
}

/// Whether pages belong to more than one region of memory: blocks don't cross.
fn crosses(model: &Model, start: usize, end: usize) -> bool {
    (start..end).any(|page| model.memory[page] != model.memory[start])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_naive_model(
        arrays in prop_oneof![
            2 => Just(Arrays::LARGE),
            1 => (0..40usize).prop_map(|max| Arrays { max, grow: false }),
            2 => (1..16usize).prop_map(|max| Arrays { max, grow: true }),
        ],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut ops = ops.into_iter();
        play(arrays, || ops.next());
    }
}
