// SPDX-License-Identifier: GPL-2.0

//! A fault that has found a VMA which is freed then, and whose memory goes: every place where the
//! fault can be overtaken so is tried, one after the other.
//!
//! ```text
//! the fault    so many steps                 one step at a time     the rest
//! the other                  all he can do   ...and goes on         is done
//! ```
//!
//! The other waits for nobody but a pinned section (`synchronize`), so that he goes on just when
//! the section ends that the fault has found the VMA in. What is left of the fault must not touch
//! what was the VMA's page: that is somebody else's by then.

use super::*;
use shadowmm_core::atomics::AtomicU64;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::slab::ObjectAllocator;
use shuttle::scheduler::Schedule;
use shuttle::scheduler::Scheduler;
use shuttle::scheduler::Task;
use shuttle::scheduler::TaskId;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// By the order in which they are begun: the first one is who sets all up.
const FAULT: usize = 1;
const OTHER: usize = 2;

/// See above: each execution has the fault take one step more before it is overtaken.
struct Overtakes {
    first: usize,
    steps: usize,
    /// The fault was done before it could be overtaken.
    is_over: bool,
}

impl Scheduler for Overtakes {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.is_over {
            return None;
        }
        self.first += 1;
        self.steps = 0;
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let is = |task: &&&Task, number: usize| usize::from(task.id()) == number;
        let fault = runnable.iter().find(|task| is(task, FAULT));
        let other = runnable.iter().find(|task| is(task, OTHER));
        let has_run = |number: usize| current.is_some_and(|task| usize::from(task) == number);
        let next = match (fault, other) {
            (Some(fault), Some(_)) if self.steps < self.first => {
                self.steps += 1;
                fault
            }
            (None, Some(other)) => {
                self.is_over |= self.steps < self.first;
                other
            }
            (Some(fault), Some(_)) if is_yielding && has_run(OTHER) => fault,
            (Some(_), Some(other)) => other,
            // Nobody is at it before all are there.
            _ => runnable.first()?,
        };
        Some(next.id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}

/// The pages that are slabs.
fn slabs(machine: &Machine<'_, '_>) -> Vec<Pfn> {
    let is_slab = |pfn: &Pfn| {
        let page = machine.mm.sparse.page(*pfn);
        page.is_some_and(|page| matches!(page.state(), PageState::Slab | PageState::SlabTail))
    };
    (0..2 * 2048).map(Pfn).filter(is_slab).collect()
}

/// What is in a page.
fn words<'m>(machine: &Machine<'_, 'm>, pfn: Pfn) -> &'m [AtomicU64; 512] {
    let at = PhysAddr(pfn.0 * PAGE);
    machine.mm.region.window(at).unwrap().cells(at).unwrap()
}

/// How many pages went, in all executions.
static WENT: AtomicUsize = AtomicUsize::new(0);

fn overtaken(machine: &Machine<'_, '_>) {
    const SOMEBODYS: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    let (space, host) = mapped(machine);
    let before = slabs(machine);
    let gone = thread::scope(|scope| {
        let (space, host, before) = (&space, &host, &before);
        scope.spawn(move || {
            run_on(0);
            // Refused when the VMA is found: there is no more to it.
            assert!(!touch(space, host, 0, Access::Execute));
        });
        let other = scope.spawn(move || {
            run_on(2);
            assert_eq!(space.munmap(host, at(0), PAGES * PAGE), Ok(()));
            machine.slab.shrink_all();
            let left = slabs(machine);
            let gone = before.iter().filter(|pfn| !left.contains(pfn));
            let gone: Vec<Pfn> = gone.copied().collect();
            for word in gone.iter().flat_map(|&pfn| words(machine, pfn)) {
                word.store(SOMEBODYS, Relaxed);
            }
            gone
        });
        other.join().unwrap()
    });
    WENT.fetch_add(gone.len(), Relaxed);
    for &pfn in &gone {
        let touched = |word: &AtomicU64| word.load(Relaxed) != SOMEBODYS;
        let place = words(machine, pfn).iter().position(touched);
        assert_eq!(
            place, None,
            "a fault has written to {pfn}, which was a slab's"
        );
    }
    space.put(&host);
    all_is_back(machine);
}

#[test]
fn a_fault_touches_no_vma_whose_memory_has_gone() {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let overtakes = Overtakes {
        first: 0,
        steps: 0,
        is_over: false,
    };
    let run = || with_machine(Flaw::None, 64, overtaken);
    let executions = Runner::new(overtakes, config).run(run);
    assert!(executions > 20, "{executions}");
    assert!(WENT.load(Relaxed) > executions / 2, "no slab goes");
}
