// SPDX-License-Identifier: GPL-2.0

//! memblock/ against a naive model: for each of 256 pages its node and flags,
//! if it is memory, and the same if it is reserved.

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
}

impl Default for Model {
    fn default() -> Self {
        Self {
            memory: [None; PAGES],
            reserved: [None; PAGES],
            bottom_up: false,
            movable_node: false,
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

/// Does `op` to both, and compares what it returns.
pub fn step(op: &Op, early: &mut EarlyMemory<'_, '_>, model: &mut Model) {
    use MemblockKind::Memory;
    use MemblockKind::Reserved;
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
    match *op {
        Op::Add(p, n, nid, flags) => {
            let range = pages(p, n);
            let len = size(range.len());
            early
                .add_node(base(p), len, NodeId(nid), MemblockFlags(flags))
                .unwrap();
            change(Memory, range, &|mark| mark.or(Some((nid, flags))));
        }
        Op::Remove(p, n) => {
            early.remove(base(p), size(n)).unwrap();
            change(Memory, pages(p, n), &|_| None);
        }
        Op::Reserve(p, n, nid, flags) => {
            let range = pages(p, n);
            let len = size(range.len());
            early
                .reserve_node(base(p), len, NodeId(nid), MemblockFlags(flags))
                .unwrap();
            change(Reserved, range, &|mark| mark.or(Some((nid, flags))));
        }
        Op::Free(p, n) => {
            early.phys_free(base(p), size(n)).unwrap();
            change(Reserved, pages(p, n), &|_| None);
        }
        Op::Hotplug(p, n, set) => {
            if set {
                early.mark_hotplug(base(p), size(n)).unwrap();
            } else {
                early.clear_hotplug(base(p), size(n)).unwrap();
            }
            change(Memory, pages(p, n), &flag(set, MemblockFlags::HOTPLUG));
        }
        Op::Nomap(p, n, set) => {
            if set {
                early.mark_nomap(base(p), size(n)).unwrap();
            } else {
                early.clear_nomap(base(p), size(n)).unwrap();
            }
            change(Memory, pages(p, n), &flag(set, MemblockFlags::NOMAP));
        }
        Op::NoInit(p, n) => {
            early.reserved_mark_noinit(base(p), size(n)).unwrap();
            change(
                Reserved,
                pages(p, n),
                &flag(true, MemblockFlags::RSRV_NOINIT),
            );
        }
        Op::SetNode(p, n, memory, nid) => {
            let kind = if memory { Memory } else { Reserved };
            early.set_node(base(p), size(n), kind, NodeId(nid)).unwrap();
            change(kind, pages(p, n), &|mark| {
                mark.map(|(_, flags)| (nid, flags))
            });
        }
        Op::BottomUp(enable) => {
            early.set_bottom_up(enable);
            model.bottom_up = enable;
        }
        Op::MovableNode(enable) => {
            early.set_movable_node(enable);
            model.movable_node = enable;
        }
        Op::Alloc(n, align, min, max, nid, exact) => {
            // A limit of 0 would be none.
            let max = max.max(1);
            let (low, high) = (base(min), base(max));
            let got = early.alloc_range_nid(size(n), size(align), low, high, NodeId(nid), exact);
            let wanted = (nid >= 0).then_some(nid);
            let mut found = model.find(n, align, min, max, wanted).map(|at| (at, nid));
            if found.is_none() && !exact {
                found = model.find(n, align, min, max, None).map(|at| (at, -1));
            }
            let expected = found.map(|(at, _)| base(at));
            assert_eq!(got, expected.ok_or(Error::MemblockNoMemory), "{op:?}");
            if let Some((at, nid)) = found {
                model.reserved[at..at + n].fill(Some((nid, MemblockFlags::RSRV_KERN.0)));
            }
        }
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
    let mut given = [false; PAGES];
    let mut reserved = [false; PAGES];
    let mut last = 0;
    let mut total = 0;
    let free_before = {
        let mut model = model.clone();
        // The mark for hotpluggable memory is cleared first.
        for (_, flags) in model.memory.iter_mut().flatten() {
            *flags &= !MemblockFlags::HOTPLUG.0;
        }
        move |page: usize| page < PAGES && model.is_free(page, None)
    };
    let mut sink = (
        |pfns: PfnRange, _: NodeId| {
            for page in pfns.start.0..pfns.end.0 {
                reserved[page as usize] = true;
            }
        },
        |pfn: Pfn, order: PageOrder| {
            let start = pfn.0 as usize;
            assert!(start >= last && pfn.is_aligned(order));
            last = start + order.pages().0 as usize;
            total += order.pages().0;
            given[start..last].fill(true);
            // Twice the size would not be aligned or not be free.
            if let Some(up) = order.up().filter(|up| pfn.is_aligned(*up)) {
                let end = start + up.pages().0 as usize;
                assert!(!(start..end).all(&free_before) || crosses(model, start, end));
            }
        },
    );
    let retired = early.free_all(Pfn(PAGES as u64), &mut sink);
    assert_eq!(retired.free_pages(), Pages(total));
    for page in 0..PAGES {
        assert_eq!(given[page], free_before(page), "page {page}");
        let flags = model.reserved[page].map_or(0, |(_, flags)| flags);
        let nomap = model.memory[page].is_some_and(|(_, flags)| flags & 4 != 0);
        let named = model.reserved[page].is_some() && flags & 0x10 == 0;
        assert_eq!(reserved[page], named || nomap, "page {page}");
    }
}

/// Whether pages belong to more than one region of memory: blocks don't cross.
fn crosses(model: &Model, start: usize, end: usize) -> bool {
    let unhotplug = |mark: Mark| mark.map(|(nid, flags)| (nid, flags & !1));
    let first = unhotplug(model.memory[start]);
    (start..end).any(|page| unhotplug(model.memory[page]) != first)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_naive_model(ops in prop::collection::vec(op(), 1..80)) {
        let mut memory = vec![MemblockRegion::EMPTY; 2 * PAGES + 2];
        let mut reserved = vec![MemblockRegion::EMPTY; 2 * PAGES + 2];
        let mut early = EarlyMemory::new(&mut memory, &mut reserved, None);
        let mut model = Model::default();
        for op in &ops {
            step(op, &mut early, &mut model);
            compare(&early, &model);
        }
        hand_over(early, &model);
    }
}
