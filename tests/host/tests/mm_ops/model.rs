// SPDX-License-Identifier: GPL-2.0

//! Requests at random, beside an array that has a word for each page.
//!
//! Where nobody has touched anything, Linux's VMAs are the longest runs of pages that are
//! alike, whatever was done to them and in which order. With touches they are not, since
//! VMAs of different anonymous regions are not merged; then it must be so that tree, VMAs,
//! tables, counts and the host say the same, and that everything comes back.

use super::world::*;
use proptest::prelude::*;
use shadowmm_core::error::Result;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::VmFlags;
use std::collections::BTreeMap;

/// How many pages the requests are about.
pub const PAGES: u64 = 48;

/// What a page is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Nothing,
    /// An object's page.
    Shared(u32, u64),
    /// A page of the file.
    File(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    prot: u32,
    locked: bool,
    noreserve: bool,
    account: bool,
    dontfork: bool,
    nohuge: bool,
    behind: Behind,
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Map {
        at: u64,
        len: u64,
        prot: u32,
        shared: bool,
        noreserve: bool,
    },
    /// Private memory of the file, the pages from `index` on.
    MapFile {
        at: u64,
        len: u64,
        prot: u32,
        index: u64,
    },
    Unmap {
        at: u64,
        len: u64,
    },
    Protect {
        at: u64,
        len: u64,
        prot: u32,
    },
    Advise {
        at: u64,
        len: u64,
        advice: Advice,
    },
    Lock {
        at: u64,
        len: u64,
        on: bool,
    },
    Move {
        at: u64,
        len: u64,
        to: u64,
    },
    // What follows is not for the array.
    Touch {
        at: u64,
        len: u64,
    },
    Leave {
        at: u64,
        len: u64,
        to: u64,
    },
    Resize {
        at: u64,
        old: u64,
        new: u64,
        may_move: bool,
    },
    Brk {
        pages: u64,
    },
    Stack {
        at: u64,
        len: u64,
    },
    Fork,
}

fn ranges() -> impl Strategy<Value = (u64, u64)> {
    (0..PAGES, 1..12u64).prop_map(|(at, len)| (at, len.min(PAGES - at)))
}

fn plain() -> impl Strategy<Value = Op> {
    let advice = prop::sample::select(vec![
        Advice::DontFork,
        Advice::DoFork,
        Advice::NoHugePage,
        Advice::Normal,
    ]);
    prop_oneof![
        4 => (ranges(), 0..4u32, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|((at, len), prot, shared, noreserve)| Op::Map {
                at, len, prot, shared, noreserve
            }),
        2 => (ranges(), 0..4u32, prop_oneof![3 => Just(0), 1 => 0..4u64])
            .prop_map(|((at, len), prot, by)| Op::MapFile { at, len, prot, index: at + by }),
        2 => ranges().prop_map(|(at, len)| Op::Unmap { at, len }),
        4 => (ranges(), 0..4u32).prop_map(|((at, len), prot)| Op::Protect { at, len, prot }),
        2 => (ranges(), advice).prop_map(|((at, len), advice)| Op::Advise { at, len, advice }),
        2 => (ranges(), any::<bool>()).prop_map(|((at, len), on)| Op::Lock { at, len, on }),
        2 => (ranges(), 0..PAGES).prop_map(|((at, len), to)| Op::Move {
            at, len, to: to.min(PAGES - len)
        }),
    ]
}

fn wild() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => plain(),
        3 => ranges().prop_map(|(at, len)| Op::Touch { at, len }),
        1 => (ranges(), 0..PAGES).prop_map(|((at, len), to)| Op::Leave {
            at, len, to: to.min(PAGES - len)
        }),
        1 => (ranges(), 1..12u64, any::<bool>()).prop_map(|((at, old), new, may_move)| {
            Op::Resize { at, old, new, may_move }
        }),
        1 => ranges().prop_map(|(at, len)| Op::Advise { at, len, advice: Advice::DontNeed }),
        1 => (0..PAGES).prop_map(|pages| Op::Brk { pages }),
        1 => ranges().prop_map(|(at, len)| Op::Stack { at, len }),
        1 => Just(Op::Fork),
    ]
}

/// The array.
pub struct Model {
    pages: Vec<Option<Page>>,
    /// Of each object: how many pages were promised for it.
    objects: Vec<u64>,
}

impl Model {
    pub fn new() -> Self {
        Self {
            pages: vec![None; PAGES as usize],
            objects: Vec::new(),
        }
    }

    fn range(&mut self, at: u64, len: u64) -> &mut [Option<Page>] {
        &mut self.pages[at as usize..(at + len) as usize]
    }

    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Map {
                at,
                len,
                prot,
                shared,
                noreserve,
            } => {
                let object = self.objects.len() as u32;
                if shared {
                    self.objects.push(if noreserve { 0 } else { len });
                }
                let account = prot & WRITE != 0 && !noreserve && !shared;
                for (n, place) in (0..).zip(self.range(at, len)) {
                    *place = Some(Page {
                        prot,
                        locked: false,
                        noreserve,
                        account,
                        dontfork: false,
                        nohuge: false,
                        behind: match shared {
                            true => Behind::Shared(object, n),
                            false => Behind::Nothing,
                        },
                    });
                }
            }
            Op::MapFile {
                at,
                len,
                prot,
                index,
            } => {
                for (n, place) in (0..).zip(self.range(at, len)) {
                    *place = Some(Page {
                        prot,
                        locked: false,
                        noreserve: false,
                        account: prot & WRITE != 0,
                        dontfork: false,
                        nohuge: false,
                        behind: Behind::File(index + n),
                    });
                }
            }
            Op::Unmap { at, len } => self.range(at, len).fill(None),
            Op::Protect { at, len, prot } => {
                for place in self.range(at, len) {
                    let Some(page) = place else { break };
                    let free = page.noreserve || matches!(page.behind, Behind::Shared(..));
                    // A promise for private pages of a file is kept for good.
                    let keeps = page.account && matches!(page.behind, Behind::File(_));
                    if page.prot != prot {
                        page.account = keeps || prot & WRITE != 0 && !free;
                    }
                    page.prot = prot;
                }
            }
            Op::Lock { at, len, on } => {
                for place in self.range(at, len) {
                    let Some(page) = place else { break };
                    page.locked = on;
                }
            }
            Op::Advise { at, len, advice } => {
                for page in self.range(at, len).iter_mut().flatten() {
                    match advice {
                        Advice::DontFork => page.dontfork = true,
                        Advice::DoFork => page.dontfork = false,
                        Advice::NoHugePage => page.nohuge = true,
                        _ => {}
                    }
                }
            }
            Op::Move { at, len, to } => {
                let overlaps = at + len > to && to + len > at;
                let from = self.range(at, len).to_vec();
                if overlaps || from[0].is_none() {
                    return;
                }
                for (n, page) in (0..).zip(from) {
                    if page.is_some() {
                        self.pages[(to + n) as usize] = page;
                        self.pages[(at + n) as usize] = None;
                    }
                }
            }
            _ => unreachable!("not for the array"),
        }
    }

    /// First page, number of pages, and flags of each run.
    pub fn runs(&self) -> Vec<(u64, u64, u64)> {
        let mut runs: Vec<(u64, u64, Page)> = Vec::new();
        for (at, page) in (0..).zip(&self.pages) {
            let Some(page) = *page else { continue };
            match runs.last_mut() {
                Some((start, len, first)) if *start + *len == at => {
                    let expected = match first.behind {
                        Behind::Shared(object, index) => Behind::Shared(object, index + *len),
                        Behind::File(index) => Behind::File(index + *len),
                        Behind::Nothing => Behind::Nothing,
                    };
                    let alike = Page {
                        behind: expected,
                        ..*first
                    } == page;
                    match alike {
                        true => *len += 1,
                        false => runs.push((at, 1, page)),
                    }
                }
                _ => runs.push((at, 1, page)),
            }
        }
        runs.iter()
            .map(|&(at, len, page)| (at, len, flags_of(page).0))
            .collect()
    }

    pub fn promised(&self) -> u64 {
        let private = self
            .pages
            .iter()
            .flatten()
            .filter(|page| page.account)
            .count();
        let mut alive = BTreeMap::new();
        for page in self.pages.iter().flatten() {
            if let Behind::Shared(object, _) = page.behind {
                alive.insert(object, self.objects[object as usize]);
            }
        }
        private as u64 + alive.values().sum::<u64>()
    }
}

fn flags_of(page: Page) -> VmFlags {
    let pairs = [
        (page.locked, VmFlags::LOCKED_MASK),
        (page.noreserve, VmFlags::NORESERVE),
        (page.account, VmFlags::ACCOUNT),
        (page.dontfork, VmFlags::DONTCOPY),
        (page.nohuge, VmFlags::NOHUGEPAGE),
        (
            matches!(page.behind, Behind::Shared(..)),
            VmFlags::SHARED.with(VmFlags::MAYSHARE),
        ),
    ];
    let first = VmFlags(u64::from(page.prot))
        .with(VmFlags::MAY)
        .with(VmFlags::SOFTDIRTY);
    let given = pairs.iter().filter(|(is, _)| *is);
    given.fold(first, |all, &(_, flag)| all.with(flag))
}

pub fn vmas(world: &World) -> Vec<(u64, u64, u64)> {
    let mut all = Vec::new();
    world.space.for_each_vma(|vma| {
        let page = (vma.range.start.0 - BASE) / PAGE;
        all.push((page, vma.range.pages(), vma.flags.0));
    });
    all
}

/// Those that can fail for want of memory alone say so.
pub fn play(world: &World, op: Op) -> Result<()> {
    match op {
        Op::Map {
            at,
            len,
            prot,
            shared,
            noreserve,
        } => {
            let kind = if shared { SHARED } else { PRIVATE };
            let flags = kind | FIXED | if noreserve { NORESERVE } else { 0 };
            world.request(at, len, prot, flags)?;
        }
        Op::MapFile {
            at: page,
            len,
            prot,
            index,
        } => {
            world.mmap_file(&MmapRequest {
                addr: at(page),
                len: len * PAGE,
                prot,
                flags: PRIVATE | FIXED,
                file: Some(FILE),
                pgoff: index,
            })?;
        }
        Op::Unmap { at, len } => world.unmap(at, len)?,
        Op::Protect { at, len, prot } => {
            let _ = world.protect(at, len, prot);
        }
        Op::Advise { at, len, advice } => {
            let _ = world.advise(at, len, advice);
        }
        Op::Lock { at: page, len, on } => {
            let (addr, len) = (at(page), len * PAGE);
            let _ = match on {
                true => world.space.mlock(&world.host, addr, len, 1),
                false => world.space.munlock(&world.host, addr, len),
            };
        }
        Op::Move { at, len, to } => {
            let _ = world.remap((at, len), (to, len), 3);
        }
        Op::Touch { at: page, len } => {
            let range = VirtRange::new(at(page).0, at(page + len).0);
            let _lock = world.space.read();
            let _ = world.space.populate(&world.host, range, true);
        }
        Op::Leave { at, len, to } => {
            let _ = world.remap((at, len), (to, len), 7);
        }
        Op::Resize {
            at,
            old,
            new,
            may_move,
        } => {
            let _ = world.remap((at, old), (0, new), may_move.into());
        }
        Op::Brk { pages } => {
            world.space.brk(&world.host, at(pages));
        }
        Op::Stack { at, len } => {
            let _ = world.request(at, len, READ | WRITE, PRIVATE | FIXED | GROWSDOWN);
        }
        Op::Fork => fork(world)?,
    }
    world.check();
    Ok(())
}

/// A child lives for a moment.
fn fork(world: &World) -> Result<()> {
    let child = world.space.fork(&world.host, 1, [0; 16])?;
    child.validate().unwrap();
    let host = Host::default();
    let range = VirtRange::new(at(PAGES / 2).0, at(PAGES).0);
    {
        let _lock = child.read();
        let _ = child.populate(&host, range, true);
    }
    host.check(&child);
    let _ = child.munmap(&host, at(PAGES / 4), PAGES / 2 * PAGE);
    child.validate().unwrap();
    host.check(&child);
    child.put(&host);
    Ok(())
}

fn kinds() -> impl Strategy<Value = TreeKind> {
    prop::sample::select(vec![TreeKind::Maple, TreeKind::RbList])
}

pub fn on(tree: TreeKind) -> MmConfig {
    MmConfig {
        tree,
        ..MmConfig::default()
    }
}

/// On one machine for all cases: what a case leaves would be seen by the next.
fn run<S: Strategy>(
    machine: &'static TestMm,
    cases: u32,
    strategy: S,
    test: impl Fn(&'static TestMm, S::Value),
) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&strategy, |value| {
        test(machine, value);
        Ok(())
    });
    done.unwrap();
}

#[test]
fn untouched_vmas_are_the_runs_of_pages_that_are_alike() {
    let cases = (kinds(), prop::collection::vec(plain(), 1..60));
    run(boot(), 400, cases, |machine, (tree, ops)| {
        let world = World::on(machine, &on(tree));
        let mut model = Model::new();
        for op in ops {
            play(&world, op).unwrap();
            model.apply(op);
            assert_eq!(vmas(&world), model.runs(), "after {op:?}");
            assert_eq!(
                world.mm.spaces().committed().0,
                model.promised(),
                "after {op:?}"
            );
        }
        world.finish();
    });
}

#[test]
fn whatever_is_asked_for_nothing_is_lost() {
    let cases = (kinds(), prop::collection::vec(wild(), 1..80));
    run(boot(), 400, cases, |machine, (tree, ops)| {
        let world = World::on(machine, &on(tree));
        for op in ops {
            play(&world, op).unwrap();
        }
        world.finish();
    });
}

#[test]
fn without_memory_requests_are_refused_and_nothing_is_lost() {
    let cases = (kinds(), prop::collection::vec(wild(), 1..80));
    run(boot_with(24), 60, cases, |machine, (tree, ops)| {
        let world = World::on(machine, &on(tree));
        // All pages are somebody's.
        let hog = (1 << 20, 32 << 8);
        let flags = PRIVATE | FIXED | NORESERVE;
        world.request(hog.0, hog.1, READ | WRITE, flags).unwrap();
        let range = VirtRange::new(at(hog.0).0, at(hog.0 + hog.1).0);
        {
            let _lock = world.space.read();
            let done = world.space.populate(&world.host, range, true);
            assert!(done.is_err(), "there is memory left");
        }
        for op in ops {
            let _ = play(&world, op);
            world.check();
        }
        world.finish();
    });
}
