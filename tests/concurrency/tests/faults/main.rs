// SPDX-License-Identifier: GPL-2.0

//! Core's own faults under a concurrency checker, as `tests/trees` has the trees: faults
//! beside one another, beside pages that are taken away, and beside tables that go and
//! come again, interleaved access by access.
//!
//! In every schedule the host's table has what the shadow's have, or nothing: no page is
//! entered that is free or somebody else's, none is written to that others have, too, and
//! in the end every page, table, VMA and count is back.

extern crate shadowmm_core_checked as shadowmm_core;

#[path = "../slab/world.rs"]
#[allow(dead_code)] // It is the world of the slab layer's tests.
mod world;

mod stale;

use shadowmm_core::buddy::UserStat;
use shadowmm_core::error::Result;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::HostTable;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::page::PageState;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pfn;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use shuttle::Config;
use shuttle::Runner;
use std::collections::BTreeMap;
use std::sync::Mutex;
use world::*;

const SCHEDULES: usize = 60;
const PAGE: u64 = 4096;
const BASE: u64 = 1 << 40;
/// What is faulted in and taken away again.
const PAGES: u64 = 3;

type Space<'a, 'm> = AddressSpace<'a, 'm, Checked>;

/// The host's table of one address space. No other thread runs while it is looked at.
struct Host<'h, 'a, 'm> {
    machine: &'h Machine<'a, 'm>,
    /// By address: the frame, and whether it may be written to.
    entered: Mutex<BTreeMap<u64, (Pfn, bool)>>,
}

impl HostTable for Host<'_, '_, '_> {
    fn enter(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> Result<()> {
        let page = self.machine.mm.sparse.page(pfn).expect("a page");
        assert_eq!(
            page.state(),
            PageState::Allocated,
            "{pfn} is entered and free"
        );
        assert!(page.count() > 0, "{pfn} is entered, and nobody has it");
        assert!(!writable || page.count() == 1, "{pfn} is others', too");
        let mut entered = self.entered.lock().unwrap();
        let twice = |(&at, &(there, _)): (&u64, &(Pfn, bool))| at != addr.0 && there == pfn;
        assert!(
            !writable || !entered.iter().any(twice),
            "{pfn} is entered twice"
        );
        let place = entered.entry(addr.0).or_insert((pfn, writable));
        assert_eq!(place.0, pfn, "another page is entered at {addr}");
        place.1 |= writable;
        Ok(())
    }

    fn zap(&self, range: VirtRange) {
        let mut entered = self.entered.lock().unwrap();
        entered.retain(|&addr, _| !range.contains(VirtAddr(addr)));
    }
}

impl<'h, 'a, 'm> Host<'h, 'a, 'm> {
    fn new(machine: &'h Machine<'a, 'm>) -> Self {
        Self {
            machine,
            entered: Mutex::default(),
        }
    }

    /// What is entered is what the shadow's tables say.
    fn check(&self, space: &Space<'_, '_>) {
        for (&addr, &(pfn, writable)) in self.entered.lock().unwrap().iter() {
            let page = space.page_at(VirtAddr(addr));
            assert_eq!(page.pfn, Some(pfn), "another page at {addr:x}");
            assert!(!writable || page.leaf.is_writable());
        }
    }
}

fn at(page: u64) -> VirtAddr {
    VirtAddr(BASE + page * PAGE)
}

fn map(space: &Space<'_, '_>, host: &Host<'_, '_, '_>) {
    let request = MmapRequest {
        addr: at(0),
        len: PAGES * PAGE,
        prot: 3,
        // MAP_PRIVATE | MAP_FIXED
        flags: 0x12,
        file: None,
        pgoff: 0,
    };
    assert_eq!(space.mmap(host, &request), Ok(at(0)));
}

/// An address space that has the pages, of 4 KiB each, and nothing in them yet.
fn mapped<'h, 'a, 'm>(machine: &'h Machine<'a, 'm>) -> (Space<'h, 'm>, Host<'h, 'a, 'm>) {
    let spaces = machine.mm.spaces();
    spaces.set_thp(ThpMode::Never);
    let window = VirtRange::new(BASE, BASE + (1 << 30));
    let space = spaces.create(window, &MmConfig::default()).unwrap();
    let host = Host::new(machine);
    map(&space, &host);
    (space, host)
}

/// Touches a page until that has come to something; whether it is there.
fn touch(space: &Space<'_, '_>, host: &Host<'_, '_, '_>, page: u64, access: Access) -> bool {
    loop {
        match space.fault(host, at(page), access, false) {
            FaultResult::Mapped(_) => return true,
            FaultResult::Retry => thread::yield_now(),
            FaultResult::Segv(_) => return false,
            other => panic!("{other:?}"),
        }
    }
}

/// What one thread does to the address space while two others fault in it.
type Change = fn(&Space<'_, '_>, &Host<'_, '_, '_>);

fn give_up(space: &Space<'_, '_>, host: &Host<'_, '_, '_>) {
    for page in [0, 2] {
        let done = space.madvise(host, at(page), PAGE, Advice::DontNeed);
        assert_eq!(done, Ok(()));
    }
}

/// The only VMA goes, and with it all tables.
fn map_anew(space: &Space<'_, '_>, host: &Host<'_, '_, '_>) {
    assert_eq!(space.munmap(host, at(0), PAGES * PAGE), Ok(()));
    map(space, host);
}

fn protect(space: &Space<'_, '_>, host: &Host<'_, '_, '_>) {
    for prot in [1, 3] {
        let done = space.mprotect(host, at(0), PAGES * PAGE, prot);
        assert_eq!(done, Ok(()));
    }
}

fn faults_beside(machine: &Machine<'_, '_>, change: Change, may_miss: bool) {
    let (space, host) = mapped(machine);
    thread::scope(|scope| {
        for (cpu, order) in [(0, [0, 1, 2]), (1, [2, 1, 0])] {
            let (space, host) = (&space, &host);
            scope.spawn(move || {
                run_on(cpu);
                for page in order {
                    let access = match page == 1 {
                        true => Access::Read,
                        false => Access::Write,
                    };
                    assert!(touch(space, host, page, access) || may_miss);
                }
            });
        }
        let (space, host) = (&space, &host);
        scope.spawn(move || {
            run_on(2);
            change(space, host);
        });
    });
    host.check(&space);
    space.validate().unwrap();
    for page in 0..PAGES {
        assert!(touch(&space, &host, page, Access::Write));
    }
    host.check(&space);
    space.put(&host);
    assert!(host.entered.lock().unwrap().is_empty());
    all_is_back(machine);
}

/// Two processes have the same pages and write to them at once: each has his own then.
fn copies_beside(machine: &Machine<'_, '_>) {
    let spaces = machine.mm.spaces();
    spaces.set_thp(ThpMode::Never);
    let window = VirtRange::new(BASE, BASE + (1 << 30));
    let parent = spaces.create(window, &MmConfig::default()).unwrap();
    let hosts = [Host::new(machine), Host::new(machine)];
    map(&parent, &hosts[0]);
    for page in 0..PAGES {
        assert!(touch(&parent, &hosts[0], page, Access::Write));
    }
    let child = parent.fork(&hosts[0], 2, [0; 16]).unwrap();
    let both = [parent, child];
    thread::scope(|scope| {
        for (cpu, (space, host)) in (0..).zip(both.iter().zip(&hosts)) {
            scope.spawn(move || {
                run_on(cpu);
                for page in 0..PAGES {
                    assert!(touch(space, host, page, Access::Write));
                }
                if cpu == 1 {
                    give_up(space, host);
                }
            });
        }
    });
    for (space, host) in both.iter().zip(&hosts) {
        host.check(space);
        space.validate().unwrap();
        space.put(host);
    }
    all_is_back(machine);
}

fn all_is_back(machine: &Machine<'_, '_>) {
    machine.mm.spaces().shut_down().unwrap();
    let all = [UserStat::Anon, UserStat::Table, UserStat::Mapped];
    for (node, stat) in (0..2).flat_map(|node| all.map(|stat| (node, stat))) {
        let zones = ZoneType::ALL.map(|zone| ZoneId::new(NodeId(node), zone));
        let pages = zones.map(|zone| machine.mm.stats.user(zone, stat).0);
        assert_eq!(pages, [0; 4], "{stat:?} of node {node}");
    }
}

fn check(work: fn(&Machine<'_, '_>)) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let run = move || with_machine(Flaw::None, 64, work);
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(run);
    Runner::new(PctScheduler::new(4, SCHEDULES), config).run(run);
}

#[test]
fn pages_are_taken_away_beside_faults() {
    check(|machine| faults_beside(machine, give_up, false));
}

#[test]
fn tables_go_and_come_beside_faults() {
    check(|machine| faults_beside(machine, map_anew, true));
}

#[test]
fn protection_changes_beside_faults() {
    check(|machine| faults_beside(machine, protect, true));
}

#[test]
fn two_processes_write_to_the_same_pages() {
    check(copies_beside);
}
