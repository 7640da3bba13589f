// SPDX-License-Identifier: GPL-2.0

//! Blocks of a booted machine of two nodes and all kinds of zones, beside an owner for each
//! page. Some are given to somebody who lets them be moved, some to a cache that gives them
//! up when memory is short; Cosmos's areas are one of the machines.
//!
//! Whatever is asked for, with whatever flags: a block that is given out is aligned, lies in
//! one node, was nobody's, and is what its descriptors say; what a block is not is refused
//! as such; free pages and held ones are all pages; in the end each zone has the free blocks
//! that it had.

use crate::slab::world::run_on;
use crate::slab::world::Cpus;
use crate::slab::world::TestMm;
use crate::slab::world::World;
use crate::slab::world::NR_CPUS;
use arbitrary::Result;
use arbitrary::Unstructured;

use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Config;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::buddy::Kcompactd;
use shadowmm_core::buddy::Kswapd;
use shadowmm_core::buddy::Moved;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PfnRange;
use shadowmm_host_tests::owner::Cache;
use shadowmm_host_tests::owner::Owner;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// How many requests an input makes at most.
const STEPS: usize = 300;

#[derive(Debug)]
enum Step {
    RunOn(u32),
    Alloc(u32, u8, i32),
    Bulk(u32, u16, i32),
    Exact(u32, u64, i32),
    Contig(u32, u64, i32),
    Range(u64, u64, u32),
    Free(u16),
    FreeBulk(u16, u16),
    FreeWrong(u64, u8),
    Split(u16, u8),
    Merge(u16),
    Get(u16),
    Put(u16),
    Drain(Option<i32>),
    DrainCpu(u32),
    Refresh,
    Compact,
    /// A block, or some single pages from it on, are somebody's from now on who lets them be
    /// moved; and back.
    Adopt(u16, u16),
    Leave(u64),
    /// One of those stays where it is, for now or for good.
    Hold(u64, Moved),
    /// Some single pages are a cache's from now on; and the cache is emptied.
    Cache(u16, u16),
    DropCaches,
    /// What the nodes' threads do when they run.
    Kswapd(u8, bool),
    Kcompactd(u8),
    Validate,
}

/// What a kernel asks with, and at times any bits at all.
fn flags(u: &mut Unstructured<'_>) -> Result<u32> {
    let usual = [
        gfp::GFP_KERNEL,
        gfp::GFP_KERNEL,
        gfp::GFP_HIGHUSER_MOVABLE,
        gfp::GFP_ATOMIC,
        gfp::GFP_NOWAIT,
        gfp::GFP_DMA32,
    ];
    let more = [
        gfp::__GFP_ZERO,
        gfp::__GFP_THISNODE,
        gfp::__GFP_COMP,
        gfp::__GFP_NOWARN,
        gfp::__GFP_NORETRY,
        gfp::__GFP_RETRY_MAYFAIL,
        gfp::__GFP_RECLAIMABLE,
        gfp::__GFP_NOFAIL,
        gfp::__GFP_MEMALLOC,
        gfp::__GFP_NOMEMALLOC,
        gfp::__GFP_DMA,
    ];
    if u.ratio(1, 16)? {
        return u.arbitrary();
    }
    let mut all = *u.choose(&usual)?;
    for _ in 0..u.int_in_range(0..=2)? {
        all = all | *u.choose(&more)?;
    }
    Ok(all.bits())
}

fn step(u: &mut Unstructured<'_>, end: u64) -> Result<Step> {
    let node = |u: &mut Unstructured<'_>| -> Result<i32> {
        match u.ratio(1, 20)? {
            true => u.arbitrary(),
            false => u.int_in_range(-1..=1),
        }
    };
    let order = |u: &mut Unstructured<'_>| -> Result<u8> {
        match u.arbitrary()? {
            true => Ok(0),
            false => u.int_in_range(0..=11),
        }
    };
    Ok(match u.int_in_range(0..=39u8)? {
        0 | 1 => Step::RunOn(u.int_in_range(0..=NR_CPUS as u32 - 1)?),
        2..=9 => Step::Alloc(flags(u)?, order(u)?, node(u)?),
        10 | 11 => Step::Bulk(flags(u)?, u.int_in_range(0..=700)?, node(u)?),
        12 => Step::Exact(flags(u)?, u.int_in_range(0..=1100)?, node(u)?),
        13 => Step::Contig(flags(u)?, u.int_in_range(0..=3000)?, node(u)?),
        14 => {
            let start = u.int_in_range(0..=end)?;
            Step::Range(start, u.int_in_range(0..=1500)?, flags(u)?)
        }
        15..=19 => Step::Free(u.arbitrary()?),
        20 => Step::FreeBulk(u.arbitrary()?, u.int_in_range(0..=700)?),
        21 => match u.ratio(1, 4)? {
            true => Step::FreeWrong(u.arbitrary()?, order(u)?),
            false => Step::FreeWrong(u.int_in_range(0..=end)?, order(u)?),
        },
        22 | 23 => Step::Split(u.arbitrary()?, u.int_in_range(0..=10)?),
        24 => Step::Merge(u.arbitrary()?),
        25 => Step::Get(u.arbitrary()?),
        26 => Step::Put(u.arbitrary()?),
        27 => Step::Drain(match u.arbitrary()? {
            true => None,
            false => Some(node(u)?),
        }),
        28 => Step::DrainCpu(u.int_in_range(0..=NR_CPUS as u32 - 1)?),
        29 => Step::Refresh,
        30 => Step::Compact,
        32..=34 => Step::Adopt(u.arbitrary()?, u.int_in_range(1..=600)?),
        35 => match u.arbitrary()? {
            true => Step::Leave(u.int_in_range(0..=end)?),
            false => Step::Hold(
                u.int_in_range(0..=end)?,
                *u.choose(&[Moved::Busy, Moved::No])?,
            ),
        },
        36 => Step::Cache(u.arbitrary()?, u.int_in_range(1..=600)?),
        37 => Step::DropCaches,
        38 => Step::Kswapd(u.int_in_range(0..=1)?, u.arbitrary()?),
        39 => Step::Kcompactd(u.int_in_range(0..=1)?),
        _ => Step::Validate,
    })
}

/// What is held: order and references of each block, by its first page.
struct Model {
    held: BTreeMap<u64, (u8, u32)>,
    /// How many pages those are.
    pages: u64,
    /// Whose blocks move, and whose go when memory is short.
    owner: &'static Owner,
    cache: &'static Cache,
    kswapd: [Kswapd; 2],
    kcompactd: [Kcompactd; 2],
}

impl Model {
    fn new(owner: &'static Owner, cache: &'static Cache) -> Self {
        Self {
            held: BTreeMap::new(),
            pages: 0,
            owner,
            cache,
            kswapd: [0, 1].map(|nid| Kswapd::new(NodeId(nid))),
            kcompactd: [0, 1].map(|nid| Kcompactd::new(NodeId(nid))),
        }
    }

    /// Whether the page is the owner's or the cache's.
    fn is_lent(&self, pfn: u64) -> bool {
        self.owner.around(pfn).is_some() || self.cache.has(pfn)
    }

    /// The single pages from one of the blocks on that nobody else refers to, or the block.
    fn some(&self, at: u16, count: u16) -> Vec<(u64, u8)> {
        let at = usize::from(at) % (self.held.len() + 1);
        let mut rest = self.held.iter().skip(at);
        let of = |(&pfn, &(order, count)): (&u64, &(u8, u32))| (count == 1).then_some((pfn, order));
        let Some(first) = rest.next().and_then(of) else {
            return vec![];
        };
        let singles = rest.filter_map(of).filter(|(_, order)| *order == 0);
        let more = if first.1 == 0 { count - 1 } else { 0 };
        [first]
            .into_iter()
            .chain(singles.take(more.into()))
            .collect()
    }

    fn pick(&self, at: u16) -> Option<(Pfn, PageOrder, u32)> {
        let at = usize::from(at).checked_rem(self.held.len())?;
        let (&pfn, &(order, count)) = self.held.iter().nth(at)?;
        Some((Pfn(pfn), PageOrder::new(order.into())?, count))
    }

    /// The held block that the page is in.
    fn around(&self, pfn: u64) -> Option<(u64, u8)> {
        let (&head, &(order, _)) = self.held.range(..=pfn).next_back()?;
        (pfn < head + (1 << order)).then_some((head, order))
    }

    #[track_caller]
    fn take(&mut self, mm: &TestMm, pfn: Pfn, order: PageOrder) {
        let (first, pages) = (pfn.0, order.pages().0);
        assert!(pfn.is_aligned(order), "{pfn} is no block of {order:?}");
        assert!(self.around(first).is_none(), "{pfn} is held already");
        let next = self.held.range(first..).next();
        assert!(next.is_none_or(|(&next, _)| next >= first + pages));
        let lent = (first..first + pages).find(|&pfn| self.is_lent(pfn));
        assert_eq!(lent, None, "{pfn} of {order:?} was given out");
        let info = mm.allocator().block_of(pfn).unwrap();
        assert_eq!(
            (info.head, info.order, info.state),
            (pfn, order, PageState::Allocated)
        );
        self.held.insert(first, (order.get(), 1));
        self.pages += pages;
    }

    fn drop(&mut self, pfn: Pfn) {
        let (order, _) = self.held.remove(&pfn.0).unwrap();
        self.pages -= 1 << order;
    }

    /// What is free and what is held is what there was; CPUs keep nothing now.
    fn compare(&self, mm: &TestMm, all: u64) {
        mm.validate().unwrap();
        mm.drain(None).unwrap();
        mm.validate().unwrap();
        let lent = self.owner.pages() + self.cache.len();
        assert_eq!(free_pages(mm) + self.pages + lent, all);
        self.owner.check_all(mm.sparse);
        for (&pfn, &(order, count)) in &self.held {
            let info = mm.allocator().block_of(Pfn(pfn)).unwrap();
            assert_eq!((info.head.0, info.state), (pfn, PageState::Allocated));
            assert_eq!(info.order.get(), order);
            let page = mm.allocator().descriptor(Pfn(pfn)).unwrap().count();
            assert_eq!(page, count, "references of {pfn}");
        }
    }

    fn step(&mut self, mm: &TestMm, step: &Step, all: u64) {
        let allocator = mm.allocator();
        match *step {
            Step::RunOn(cpu) => run_on(cpu),
            Step::Alloc(gfp, order, nid) => {
                let Ok(request) = AllocRequest::from_raw(gfp, order.into(), nid) else {
                    return;
                };
                if let Ok(pfn) = allocator.alloc(&request) {
                    self.take(mm, pfn, request.order());
                    self.check_zeroed(mm, gfp, pfn, request.order().pages());
                }
            }
            Step::Bulk(gfp, count, nid) => {
                let Ok(request) = AllocRequest::from_raw(gfp, 0, nid) else {
                    return;
                };
                let mut pages = vec![Pfn(u64::MAX); count.into()];
                let done = allocator.alloc_bulk(&request, &mut pages).unwrap_or(0);
                assert!(done <= pages.len());
                for &pfn in &pages[..done] {
                    self.take(mm, pfn, PageOrder::ZERO);
                }
            }
            Step::Exact(gfp, pages, nid) => {
                let Ok(request) = AllocRequest::from_raw(gfp, 0, nid) else {
                    return;
                };
                if let Ok(pfn) = allocator.alloc_exact(&request, Pages(pages)) {
                    self.take_row(mm, pfn, pages);
                }
            }
            Step::Contig(gfp, pages, nid) => {
                let Ok(request) = AllocRequest::from_raw(gfp, 0, nid) else {
                    return;
                };
                if let Ok(pfn) = allocator.alloc_contig(&request, Pages(pages)) {
                    self.take_contig(mm, pfn, pages, gfp);
                }
            }
            Step::Range(start, pages, gfp) => {
                let Ok(flags) = Gfp::from_bits(gfp) else {
                    return;
                };
                let range = PfnRange {
                    start: Pfn(start),
                    end: Pfn(start + pages),
                };
                let free = (start..start + pages).all(|pfn| self.around(pfn).is_none());
                if allocator.alloc_range(range, flags).is_ok() {
                    assert!(free, "a range was given out of which a page is held");
                    self.take_contig(mm, range.start, pages, gfp);
                }
            }
            Step::Free(at) => {
                let Some((pfn, order, count)) = self.pick(at) else {
                    return;
                };
                let other = PageOrder::new(u32::from(order.get()) ^ 1);
                if let Some(other) = other {
                    assert!(allocator.check_free(pfn, other).is_err());
                    assert!(allocator.free(pfn, other).is_err());
                }
                allocator.check_free(pfn, order).unwrap();
                allocator.free(pfn, order).unwrap();
                self.less(pfn, count);
                if count == 1 {
                    assert!(allocator.free(pfn, order).is_err(), "{pfn} is freed twice");
                }
            }
            Step::FreeBulk(at, count) => {
                let singles = self.held.iter().filter(|(_, held)| **held == (0, 1));
                let singles = singles.map(|(&pfn, _)| Pfn(pfn));
                let at = usize::from(at) % (self.held.len() + 1);
                let pages: Vec<_> = singles.skip(at).take(count.into()).collect();
                assert_eq!(allocator.free_bulk(&pages), pages.len());
                pages.into_iter().for_each(|pfn| self.drop(pfn));
            }
            Step::FreeWrong(pfn, order) => {
                let Some(order) = PageOrder::new(order.into()) else {
                    return;
                };
                // What is somebody's who lets it move is as good as any.
                let mine = self.held.get(&pfn) == Some(&(order.get(), 1)) || self.is_lent(pfn);
                if !mine && self.around(pfn).is_none_or(|(head, _)| head != pfn) {
                    let refused = allocator.free(Pfn(pfn), order);
                    assert!(refused.is_err(), "{pfn} was freed, which nobody holds");
                }
            }
            Step::Split(at, to) => {
                let (Some((pfn, order, count)), Some(to)) =
                    (self.pick(at), PageOrder::new(to.into()))
                else {
                    return;
                };
                let done = allocator.split(pfn, order, to);
                if to < order && count == 1 {
                    assert_eq!(done, Ok(()));
                    self.drop(pfn);
                    for n in 0..1u64 << (order.get() - to.get()) {
                        self.take(mm, pfn + Pages(n << to.get()), to);
                    }
                } else {
                    assert!(done.is_err());
                }
            }
            Step::Merge(at) => self.merge(mm, at),
            Step::Get(at) => {
                if let Some((pfn, _, _)) = self.pick(at) {
                    match allocator.get(pfn) {
                        Ok(()) => self.held.get_mut(&pfn.0).unwrap().1 += 1,
                        Err(error) => assert_eq!(error, Error::TooManyReferences),
                    }
                }
            }
            Step::Put(at) => {
                if let Some((pfn, _, count)) = self.pick(at) {
                    assert_eq!(allocator.put(pfn), Ok(count == 1));
                    self.less(pfn, count);
                }
            }
            Step::Drain(nid) => {
                let _ = mm.drain(nid.map(NodeId));
            }
            Step::DrainCpu(cpu) => mm.drain_dead(CpuId(cpu)),
            Step::Refresh => {
                mm.refresh();
            }
            Step::Compact => {
                mm.compact(None).unwrap();
            }
            Step::Adopt(at, count) => {
                for (pfn, order) in self.some(at, count) {
                    self.drop(Pfn(pfn));
                    self.owner.adopt(mm.sparse, pfn, order.into());
                }
            }
            Step::Leave(from) => {
                if let Some((pfn, order)) = self.owner.take(from) {
                    mm.sparse.page(Pfn(pfn)).unwrap().set_movable(false);
                    self.take(mm, Pfn(pfn), PageOrder::new(order).unwrap());
                }
            }
            Step::Hold(pfn, how) => {
                if let Some((head, _)) = self.owner.around(pfn) {
                    self.owner.hold(head, how);
                }
            }
            Step::Cache(at, count) => {
                for (pfn, order) in self.some(at, count) {
                    if order == 0 {
                        self.drop(Pfn(pfn));
                        self.cache.add(pfn);
                    }
                }
            }
            Step::DropCaches => {
                mm.buddy().drop_slab();
            }
            Step::Kswapd(nid, woken) => {
                self.kswapd[usize::from(nid)].step(&mm.buddy(), woken);
            }
            Step::Kcompactd(nid) => {
                self.kcompactd[usize::from(nid)].step(&mm.buddy());
            }
            Step::Validate => self.compare(mm, all),
        }
    }

    fn less(&mut self, pfn: Pfn, count: u32) {
        match count {
            1 => self.drop(pfn),
            _ => self.held.get_mut(&pfn.0).unwrap().1 -= 1,
        }
    }

    fn take_row(&mut self, mm: &TestMm, pfn: Pfn, pages: u64) {
        for n in 0..pages {
            self.take(mm, pfn + Pages(n), PageOrder::ZERO);
        }
    }

    /// Of `__GFP_COMP`: a block, if it is one.
    fn take_contig(&mut self, mm: &TestMm, pfn: Pfn, pages: u64, gfp: u32) {
        let comp = gfp & gfp::__GFP_COMP.bits() != 0;
        match PageOrder::new(pages.trailing_zeros()).filter(|order| order.pages().0 == pages) {
            Some(order) if comp => self.take(mm, pfn, order),
            _ => self.take_row(mm, pfn, pages),
        }
        self.check_zeroed(mm, gfp, pfn, Pages(pages));
    }

    fn check_zeroed(&self, mm: &TestMm, gfp: u32, pfn: Pfn, pages: Pages) {
        if gfp & gfp::__GFP_ZERO.bits() != 0 {
            let range = PfnRange {
                start: pfn,
                end: pfn + pages,
            };
            assert_eq!(mm.region.is_zero(range.bytes()), Ok(true));
        }
    }

    /// A block and what lies beside it, if that is held, too.
    fn merge(&mut self, mm: &TestMm, at: u16) {
        let Some((pfn, order, _)) = self.pick(at) else {
            return;
        };
        let Some(up) = order.up() else { return };
        let head = Pfn(pfn.0 & !(up.pages().0 - 1));
        let mut pieces = vec![];
        let mut next = head.0;
        while next < head.0 + up.pages().0 {
            match self.held.get(&next) {
                Some(&(order, 1)) => {
                    pieces.push(Pfn(next));
                    next += 1 << order;
                }
                _ => break,
            }
        }
        let whole = next == head.0 + up.pages().0;
        if (head.0..head.0 + up.pages().0).any(|pfn| self.is_lent(pfn)) {
            return;
        }
        match mm.allocator().merge(head, up) {
            Ok(()) => {
                assert!(whole, "a block was made of what is not held");
                pieces.into_iter().for_each(|pfn| self.drop(pfn));
                self.take(mm, head, up);
            }
            // Two buddies may lie in two zones.
            Err(error) => assert!(!whole || error == Error::BadPieces, "{error:?}"),
        }
    }
}

fn zones(mm: &TestMm) -> Vec<ZoneId> {
    let zones = mm.nodes.populated_zones();
    zones.map(|zone| ZoneId::new(zone.nid, zone.kind)).collect()
}

/// Of all zones; CPUs keep nothing now.
fn free_pages(mm: &TestMm) -> u64 {
    let report = |id| mm.allocator().free_report(id).unwrap();
    zones(mm).into_iter().map(|id| report(id).free.0).sum()
}

/// The machines: CPUs keep no pages, or some; free pages are filled, too; the pages are
/// Cosmos's, whom compaction, reclaim and CPUs that keep pages are strange to.
const MACHINES: usize = 4;

struct Machine {
    world: World,
    owner: &'static Owner,
    cache: &'static Cache,
}

impl Machine {
    fn new(which: usize) -> Self {
        let cpus = Cpus::default();
        cpus.poisons.store(which == 2, Relaxed);
        let mut config = Config::default();
        config.pagesets = which != 0;
        if which == 3 {
            config.allocator = AllocatorKind::Cosmos;
        }
        let world = World::with(&[16, 12], &config, cpus);
        let mm = world.mm;
        let owner = Owner::new(mm.region);
        assert!(mm.platform.owner.set(owner).is_ok());
        let cache = Cache::new(|pfn| mm.allocator().free(pfn, PageOrder::ZERO).unwrap());
        mm.platform.shrinkers.lock().unwrap().push(cache);
        Self {
            world,
            owner,
            cache,
        }
    }
}

thread_local! {
    /// Between two inputs: one that ends well leaves its machine as it was.
    static WORLDS: RefCell<[Option<Machine>; MACHINES]> = const { RefCell::new([const { None }; MACHINES]) };
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let which = u.choose_index(MACHINES).unwrap_or(0);
    let kept = WORLDS.with_borrow_mut(|worlds| worlds[which].take());
    let machine = kept.unwrap_or_else(|| Machine::new(which));
    run_on(0);
    let mm = machine.world.mm;
    let has_kswapd = u.arbitrary().unwrap_or(false);
    mm.platform.has_kswapd.store(has_kswapd, Relaxed);
    mm.drain(None).unwrap();
    let all = free_pages(mm);
    let end = mm.nodes.populated_zones().map(|zone| zone.span.end.0).max();
    let mut model = Model::new(machine.owner, machine.cache);
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let Ok(step) = step(&mut u, end.unwrap() + 16) else {
            break;
        };
        model.step(mm, &step, all);
    }
    model.compare(mm, all);
    for (pfn, (order, count)) in std::mem::take(&mut model.held) {
        for _ in 0..count {
            let order = PageOrder::new(order.into()).unwrap();
            mm.allocator().free(Pfn(pfn), order).unwrap();
        }
    }
    while let Some((pfn, order)) = machine.owner.take(0) {
        let order = PageOrder::new(order).unwrap();
        mm.allocator().free(Pfn(pfn), order).unwrap();
    }
    machine.cache.give_up();
    run_on(0);
    machine.world.check_all_back();
    WORLDS.with_borrow_mut(|worlds| worlds[which] = Some(machine));
}
