// SPDX-License-Identifier: GPL-2.0

//! The short ways against the long one: the same machine is booted twice, once
//! with a platform that finds each CPU's own, once with one that does not, whose
//! requests all go the long way therefore. Both get the same random sequence, and
//! after each step both must have given the same pages and the same refusals.
//!
//! ```text
//! each step         the pages and errors
//! now and then      all numbers of all pagesets, the blocks on their lists in
//!                   their order, free blocks, events, NUMA counts
//! more seldom       the texts, and all invariants (which empties magazines)
//! ```

use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::boot::Text;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::BuddySystem;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::buddy::NumaStat;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::PageRef;
use shadowmm_core::buddy::PagesetState;
use shadowmm_core::buddy::VmEvent;
use shadowmm_core::buddy::NR_PCP_LISTS;
use shadowmm_core::error::Error;
use shadowmm_core::node::Nodes;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use shadowmm_core::sparse::Sparse;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::HostLock;
use std::collections::VecDeque;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// How many CPUs there are; two of them on each of two nodes.
const NR_CPUS: usize = 4;

/// One thread that runs on whichever CPU the test says.
#[derive(Default)]
struct Cpus<const SHORT: bool> {
    cpu: AtomicU32,
    nodes: [AtomicI32; NR_CPUS],
}

impl<const SHORT: bool> Platform for Cpus<SHORT> {
    type Lock<T: Send> = HostLock<T>;
    type CpuGuard<'a> = ();
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, std::hint::spin_loop)
    }

    fn nr_cpus(&self) -> u32 {
        NR_CPUS as u32
    }

    fn pin_cpu(&self) -> (CpuId, ()) {
        (CpuId(self.cpu.load(Relaxed)), ())
    }

    fn pin_local<'s, T: Sync>(&self, all: &'s [T]) -> Option<(&'s T, ())> {
        let (cpu, pinned) = self.pin_cpu();
        match SHORT {
            true => Some((all.get(cpu.0 as usize)?, pinned)),
            false => None,
        }
    }

    // One thread, and it is in no pinned section when it asks.
    fn synchronize(&self) {}

    fn set_cpu_node(&self, cpu: CpuId, nid: NodeId) {
        if let Some(node) = self.nodes.get(cpu.0 as usize) {
            node.store(nid.0, Relaxed);
        }
    }

    fn local_node(&self) -> NodeId {
        NodeId(self.nodes[self.cpu.load(Relaxed) as usize].load(Relaxed))
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

type Buddy<const SHORT: bool> =
    BuddySystem<'static, Cpus<SHORT>, Sparse<'static>, Nodes<'static, Cpus<SHORT>>>;

/// What is taken and not given back.
#[derive(Clone, Copy)]
struct Held {
    pfn: Pfn,
    order: PageOrder,
    page: Option<PageRef<'static>>,
}

/// A machine, and what was taken of it.
struct Machine<const SHORT: bool> {
    boot: &'static Boot<'static, Cpus<SHORT>>,
    buddy: &'static Buddy<SHORT>,
    held: Vec<Held>,
}

/// How a block is taken.
#[derive(Clone, Copy, Debug)]
enum How {
    /// By its number.
    Number,
    /// By its descriptor.
    Page,
    /// As an owned value.
    Block,
}

/// What is done to both.
#[derive(Clone, Copy, Debug)]
enum Step {
    RunOn(u32),
    Alloc(How, Gfp, u32, i32),
    Bulk(Gfp, usize),
    /// The same by their descriptors.
    PageBulk(Gfp, usize),
    Exact(Gfp, u64),
    /// The one that is held at this place, by its descriptor if that is known.
    Free(usize),
    /// So many from this place on, in the order in which they are held or the
    /// other way round.
    FreeBulk(usize, usize, bool),
    /// The same by their descriptors, as far as these are known.
    FreePageBulk(usize, usize, bool),
    /// What is held is freed, and freed again.
    FreeTwice(usize),
    /// What is held, at another order.
    WrongOrder(usize),
    /// One more needs it; it takes a free more.
    Share(usize),
    Split(usize),
    DrainCpu(u32),
    DrainAll,
    DrainZone(u32, ZoneType),
    DrainOwn(u32, ZoneType),
    Decay,
    Isolate(u64, bool),
    /// The pagesets' limits are set anew.
    Update,
}

type Outcome = Result<Vec<u64>, Error>;

fn zone(nid: u32, kind: ZoneType) -> ZoneId {
    ZoneId::new(NodeId(nid as i32), kind)
}

impl<const SHORT: bool> Machine<SHORT> {
    fn boot(mib: &[usize]) -> Self {
        let store = Box::leak(Box::new(Store::new()));
        let config = Config {
            pagesets: true,
            ..Config::default()
        };
        let backing = backing(mib);
        let map = builtin(&backing);
        let mut boot = Boot::detect(store, &map, &backing, &config, Cpus::default()).unwrap();
        boot.run().unwrap();
        let boot: &'static Boot<'static, Cpus<SHORT>> = Box::leak(Box::new(boot));
        Self {
            boot,
            buddy: Box::leak(Box::new(boot.mm().unwrap().buddy())),
            held: vec![],
        }
    }

    fn mm(&self) -> &'static Mm<'static, Cpus<SHORT>> {
        self.boot.mm().unwrap()
    }

    /// Takes `taken` into what is held.
    fn keep(&mut self, pfn: Pfn, order: PageOrder, page: Option<PageRef<'static>>) -> Vec<u64> {
        self.held.push(Held { pfn, order, page });
        vec![pfn.0]
    }

    fn free(&self, held: Held) -> Result<(), Error> {
        match held.page {
            Some(page) => self.buddy.free_page(page, held.order),
            None => self.buddy.free(held.pfn, held.order),
        }
    }

    fn step(&mut self, step: Step) -> Outcome {
        let buddy = self.buddy;
        match step {
            Step::RunOn(cpu) => {
                self.mm().platform.cpu.store(cpu, Relaxed);
                Ok(vec![])
            }
            Step::Alloc(how, gfp, order, nid) => {
                let order = PageOrder::new(order).unwrap();
                let request = AllocRequest::new(gfp, order).on(NodeId(nid));
                match how {
                    How::Number => {
                        let pfn = buddy.alloc(&request)?;
                        Ok(self.keep(pfn, order, None))
                    }
                    How::Page => {
                        let page = buddy.alloc_page(&request)?;
                        Ok(self.keep(page.pfn(), order, Some(page)))
                    }
                    How::Block => {
                        let (pfn, order) = buddy.alloc_block(&request)?.into_raw();
                        Ok(self.keep(pfn, order, None))
                    }
                }
            }
            Step::Bulk(gfp, count) => {
                let mut pages = vec![Pfn(0); count];
                let request = AllocRequest::new(gfp, PageOrder::ZERO);
                let taken = buddy.alloc_bulk(&request, &mut pages)?;
                pages.truncate(taken);
                for &pfn in &pages {
                    self.keep(pfn, PageOrder::ZERO, None);
                }
                Ok(pages.iter().map(|pfn| pfn.0).collect())
            }
            Step::PageBulk(gfp, count) => {
                let mut pages = vec![PageRef::none(); count];
                let request = AllocRequest::new(gfp, PageOrder::ZERO);
                let taken = buddy.alloc_page_bulk(&request, &mut pages)?;
                pages.truncate(taken);
                for &page in &pages {
                    self.keep(page.pfn(), PageOrder::ZERO, Some(page));
                }
                Ok(pages.iter().map(|page| page.pfn().0).collect())
            }
            Step::FreePageBulk(from, count, reverse) => {
                let end = (from + count).min(self.held.len());
                let known = |held: &Held| held.order == PageOrder::ZERO && held.page.is_some();
                let (single, other): (Vec<_>, Vec<_>) = self.held.drain(from..end).partition(known);
                let mut pages: Vec<_> = single.iter().filter_map(|held| held.page).collect();
                if reverse {
                    pages.reverse();
                }
                let freed = buddy.free_page_bulk(&pages) as u64;
                other.into_iter().try_for_each(|held| self.free(held))?;
                Ok(vec![freed])
            }
            Step::Exact(gfp, pages) => {
                let request = AllocRequest::new(gfp, PageOrder::ZERO);
                let pfn = buddy.alloc_exact(&request, Pages(pages))?;
                for page in 0..pages {
                    self.keep(pfn + Pages(page), PageOrder::ZERO, None);
                }
                Ok(vec![pfn.0])
            }
            Step::Free(at) => {
                let held = self.held.swap_remove(at);
                self.free(held)?;
                Ok(vec![held.pfn.0])
            }
            Step::FreeBulk(from, count, reverse) => {
                let end = (from + count).min(self.held.len());
                let (single, other): (Vec<_>, Vec<_>) = self
                    .held
                    .drain(from..end)
                    .partition(|held| held.order == PageOrder::ZERO);
                let mut pages: Vec<_> = single.iter().map(|held| held.pfn).collect();
                if reverse {
                    pages.reverse();
                }
                let freed = buddy.free_bulk(&pages) as u64;
                other.into_iter().try_for_each(|held| self.free(held))?;
                Ok(vec![freed])
            }
            Step::FreeTwice(at) => {
                let held = self.held.swap_remove(at);
                self.free(held)?;
                // Somebody may need it still, and then the second is right.
                self.free(held)?;
                Ok(vec![])
            }
            Step::WrongOrder(at) => {
                let held = self.held[at];
                let wrong = PageOrder::new(u32::from(held.order.get()) ^ 1).unwrap_or_default();
                buddy.free(held.pfn, wrong)?;
                Ok(vec![])
            }
            Step::Share(at) => {
                let held = self.held[at];
                buddy.get(held.pfn)?;
                self.held.push(held);
                Ok(vec![])
            }
            Step::Split(at) => {
                let held = self.held[at];
                buddy.split(held.pfn, held.order, PageOrder::ZERO)?;
                self.held.swap_remove(at);
                for page in 0..held.order.pages().0 {
                    self.keep(held.pfn + Pages(page), PageOrder::ZERO, None);
                }
                Ok(vec![])
            }
            Step::DrainCpu(cpu) => Ok(vec![buddy.drain_pages(CpuId(cpu)).0]),
            Step::DrainAll => Ok(vec![buddy.drain_all_pages().0]),
            Step::DrainZone(nid, kind) => Ok(vec![buddy.drain_zone(zone(nid, kind)).0]),
            Step::DrainOwn(nid, kind) => Ok(vec![buddy.drain_zone_pages(zone(nid, kind)).0]),
            Step::Decay => Ok(vec![u64::from(buddy.decay_pagesets())]),
            Step::Isolate(pfn, isolate) => {
                Ok(vec![u64::from(buddy.isolate_pageblock(Pfn(pfn), isolate))])
            }
            Step::Update => {
                self.boot.update_pagesets(None)?;
                Ok(vec![])
            }
        }
    }

    /// The zones that there are.
    fn zones(&self) -> Vec<ZoneId> {
        let zones = self.mm().nodes.zones();
        zones.map(|zone| ZoneId::new(zone.nid, zone.kind)).collect()
    }

    /// What each CPU keeps of each zone.
    fn pagesets(&self) -> Vec<(CpuId, ZoneId, PagesetState, Vec<Vec<u64>>)> {
        let mut all = vec![];
        for id in self.zones() {
            for cpu in (0..NR_CPUS as u32).map(CpuId) {
                let state = self.mm().stats.pageset(cpu, id).unwrap().state();
                let lists = (0..NR_PCP_LISTS).map(|index| {
                    let mut list = vec![];
                    let each = |pfn: Pfn| list.push(pfn.0);
                    self.buddy.for_each_in_pageset(cpu, id, index, each);
                    list
                });
                all.push((cpu, id, state, lists.collect()));
            }
        }
        all
    }

    /// What is counted.
    fn counts(&self) -> Vec<u64> {
        let stats = &self.mm().stats;
        let events = VmEvent::NAMES.iter().copied();
        let events = events.filter_map(VmEvent::from_name);
        let allocs = ZoneType::ALL.map(VmEvent::PgAlloc);
        let stalls = ZoneType::ALL.map(VmEvent::AllocStall);
        let events = events.chain(allocs).chain(stalls);
        let mut all: Vec<_> = events.map(|event| stats.vm_event(event)).collect();
        for error in [Error::NoMemory, Error::DoubleFree, Error::WrongOrder] {
            all.push(stats.refusals(error));
        }
        for id in self.zones() {
            all.extend(NumaStat::ALL.map(|stat| stats.numa(id, stat)));
            let report = self.buddy.free_report(id).unwrap();
            all.extend(report.blocks);
        }
        all
    }

    fn text(&self, text: Text) -> String {
        let mut out = String::new();
        self.boot.write(text, &mut out).unwrap();
        out
    }
}

/// A small generator, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % end as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const GFPS: [Gfp; 8] = [
    gfp::GFP_KERNEL,
    gfp::GFP_KERNEL,
    gfp::GFP_HIGHUSER_MOVABLE,
    gfp::GFP_HIGHUSER_MOVABLE,
    gfp::GFP_USER,
    gfp::GFP_ATOMIC,
    gfp::GFP_NOWAIT,
    gfp::GFP_DMA32,
];

/// What is done for a while.
#[derive(Clone, Copy, Debug)]
struct Phase {
    /// In so many of 16 steps something is taken.
    takes: usize,
    /// What is taken, mostly.
    gfp: Gfp,
    order: u32,
    /// Where what is freed is taken from.
    from: Whence,
    /// In so many of 256 steps it is something of anything.
    odd: usize,
}

#[derive(Clone, Copy, Debug)]
enum Whence {
    First,
    Last,
    Anywhere,
}

impl Phase {
    fn new(dice: &mut Dice) -> Self {
        Self {
            takes: dice.of(&[0, 1, 6, 8, 8, 10, 15, 16]),
            gfp: dice.of(&GFPS),
            order: match dice.below(8) {
                0..=3 => 0,
                4 | 5 => dice.below(4) as u32,
                6 => 9,
                _ => dice.below(11) as u32,
            },
            from: dice.of(&[Whence::First, Whence::Last, Whence::Last, Whence::Anywhere]),
            odd: dice.of(&[0, 2, 16, 128]),
        }
    }

    fn step(&self, dice: &mut Dice, held: usize, end: u64) -> Step {
        if dice.below(256) < self.odd {
            return Self::odd(dice, held, end);
        }
        if dice.below(16) < self.takes || held == 0 {
            let how = dice.of(&[How::Number, How::Page, How::Block]);
            return Step::Alloc(how, self.gfp, self.order, NodeId::NONE.0);
        }
        Step::Free(match self.from {
            Whence::First => 0,
            Whence::Last => held - 1,
            Whence::Anywhere => dice.below(held),
        })
    }

    fn odd(dice: &mut Dice, held: usize, end: u64) -> Step {
        let gfp = dice.of(&GFPS) | dice.of(&[Gfp::NONE, Gfp::NONE, gfp::__GFP_RECLAIMABLE]);
        let gfp = match gfp.migratetype() {
            Ok(_) => gfp,
            Err(_) => gfp::GFP_KERNEL,
        };
        let (nid, kind) = (dice.below(2) as u32, dice.of(&ZoneType::ALL));
        let place = dice.below(held.max(1));
        match dice.below(if held == 0 { 12 } else { 20 }) {
            0 => Step::RunOn(dice.below(NR_CPUS) as u32),
            1 | 2 => {
                let how = dice.of(&[How::Number, How::Page, How::Block]);
                let order = dice.below(4).max(dice.below(11)) as u32;
                Step::Alloc(how, gfp, order, dice.of(&[NodeId::NONE.0, 0, 1]))
            }
            3 => Step::Alloc(How::Page, gfp, 0, NodeId::NONE.0),
            4 => match dice.below(2) {
                0 => Step::Bulk(gfp, dice.below(130)),
                _ => Step::PageBulk(gfp, dice.below(130)),
            },
            5 => Step::Exact(gfp, dice.below(40) as u64),
            6 => Step::Decay,
            7 => match dice.below(3) {
                0 => Step::DrainAll,
                1 => Step::DrainCpu(dice.below(NR_CPUS) as u32),
                _ => Step::DrainZone(nid, kind),
            },
            8 => Step::DrainOwn(nid, kind),
            9 => Step::Isolate(dice.below(end as usize) as u64, true),
            // Most of them end soon.
            10 => Step::Isolate(dice.below(end as usize) as u64, false),
            11 => match dice.below(8) {
                0 => Step::Update,
                _ => Step::Decay,
            },
            12 => Step::FreeBulk(place, dice.below(100), dice.below(2) == 0),
            13 => Step::FreePageBulk(place, dice.below(100), dice.below(2) == 0),
            14 => Step::FreeTwice(place),
            15 => Step::WrongOrder(place),
            16 => Step::Share(place),
            17 => Step::Split(place),
            _ => Step::Free(place),
        }
    }
}

/// Plays `steps` steps on a machine of this size, both ways.
fn play(mib: &[usize], seed: u64, steps: usize) {
    let mut short = Machine::<true>::boot(mib);
    let mut long = Machine::<false>::boot(mib);
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let end = short.mm().nodes.zones().map(|zone| zone.span.end.0).max();
    let end = end.unwrap();
    let mut last = VecDeque::new();
    let mut isolated = vec![];
    let (mut phase, mut left) = (Phase::new(&mut dice), 100);
    for at in 0..steps {
        if left == 0 {
            phase = Phase::new(&mut dice);
            left = dice.of(&[10, 100, 400, 400, 2_500]);
        }
        left -= 1;
        let mut step = phase.step(&mut dice, short.held.len(), end);
        if let Step::Isolate(pfn, isolate) = &mut step {
            // Few at a time: nothing would be left.
            match (*isolate, isolated.len()) {
                (true, 0..=2) => isolated.push(*pfn),
                (_, 1..) => (*pfn, *isolate) = (isolated.remove(0), false),
                _ => {}
            }
        }
        last.push_back(step);
        if last.len() > 12 {
            last.pop_front();
        }
        let told = || format!("{mib:?}, seed {seed}, step {at}, {phase:?}: ... {last:?}");
        let (ours, theirs) = (short.step(step), long.step(step));
        assert_eq!(ours, theirs, "{}", told());
        if at % 61 == 0 {
            for (ours, theirs) in short.pagesets().iter().zip(&long.pagesets()) {
                assert_eq!(ours, theirs, "{}", told());
            }
            assert_eq!(short.counts(), long.counts(), "{}", told());
        }
        if at % 4001 == 0 || at + 1 == steps {
            for text in [Text::Buddyinfo, Text::Pagetypeinfo, Text::Fallbacks] {
                assert_eq!(short.text(text), long.text(text), "{}", told());
            }
            for said in [short.boot.validate(), long.boot.validate()] {
                if let Err(flaw) = said.unwrap() {
                    panic!("{flaw}; {}", told());
                }
            }
        }
    }
}

#[test]
fn small_zones_take_the_same_decisions_either_way() {
    // A batch of one, and watermarks that are soon reached.
    for seed in 1..=3 {
        play(&[24, 24], seed, 40_000);
    }
}

#[test]
fn zones_of_some_size_take_the_same_decisions_either_way() {
    for seed in 1..=3 {
        play(&[160, 96], seed, 40_000);
    }
}

#[test]
fn large_zones_take_the_same_decisions_either_way() {
    // A batch as large as a batch may be.
    play(&[1024], 1, 40_000);
    play(&[640, 640], 2, 40_000);
}
