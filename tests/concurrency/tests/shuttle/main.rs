// SPDX-License-Identifier: GPL-2.0

//! Core's own code under a concurrency checker: `shuttle` decides after each
//! step which thread goes on, at random, and can repeat what it did.
//!
//! The platform below core is the checker's: its locks, its threads, and pinned
//! sections that are counted. Other threads may run
//!
//! ```text
//! where a section begins and ends, before and after      pin_cpu, pin_local
//! where a lock is taken and released
//! in a claimer, before it waits and while it does         synchronize, relax
//! wherever core asks for a descriptor                     MemMap::page
//!     in a section each time, elsewhere now and then
//! ```
//!
//! What that covers: who has a pageset when, through all paths of the long way,
//! where lists are changed from descriptor to descriptor; and the short ways as
//! a whole against everything else. What it does not: between two accesses to
//! core's own atomics without a descriptor between them nobody else runs, so the
//! short ways are one step each; and memory is as if all CPUs saw it in one
//! order. For the latter see `tests/loom.rs`, and for threads that really run at
//! once, `tests/host/tests/buddy/stress.rs`.
//!
//! In every schedule: no page is given out twice, all are there in the end,
//! nothing is refused as freed twice, the counts add up, all invariants hold.

mod world;

use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::phys::*;
use shuttle::rand::thread_rng;
use shuttle::rand::Rng;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::Mutex;
use shuttle::thread;
use shuttle::Config;
use shuttle::FailurePersistence;
use shuttle::Runner;
use world::*;

/// How many schedules each test has of each kind.
const SCHEDULES: usize = 500;

/// Lets threads of a machine run in many schedules: at random, and with few
/// switches at random places, which finds what needs a long wait somewhere.
fn check(settings: Settings, work: fn(&Machine<'_>)) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // The first schedule that fails is the last; as many as it takes, of each kind in turn.
    let turns = if settings.flaw == Flaw::None { 1 } else { 50 };
    if settings.flaw != Flaw::None {
        config.failure_persistence = FailurePersistence::None;
    }
    let once = move || with_machine(settings, work);
    for _ in 0..turns {
        Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(once);
        Runner::new(PctScheduler::new(4, SCHEDULES), config.clone()).run(once);
    }
}

/// The same with the short ways and without, in a zone with room and in one
/// whose gates close and open.
fn check_all(work: fn(&Machine<'_>)) {
    for short in [true, false] {
        for near_high in [false, true] {
            let flaw = Flaw::None;
            check(
                Settings {
                    short,
                    near_high,
                    flaw,
                },
                work,
            );
        }
    }
}

/// Takes and frees at random on one CPU; what others left in `away` too.
fn churn(machine: &Machine<'_>, cpu: u32, steps: usize, away: &Mutex<Vec<Held>>) {
    run_on(cpu);
    let mut held = vec![];
    for _ in 0..steps {
        let mut dice = thread_rng();
        if dice.gen_bool(0.6) || held.is_empty() {
            let order = [0, 0, 0, 0, 0, 1, 3, 4][dice.gen_range(0..8)];
            let order = PageOrder::new(order).unwrap();
            let gfp = [GFP_KERNEL, GFP_HIGHUSER_MOVABLE][dice.gen_range(0..2)];
            let request = AllocRequest::new(gfp, order);
            match machine.buddy.alloc(&request) {
                Ok(pfn) => held.push(machine.keep(pfn, order)),
                // Somebody has just taken a large block off its list, and will
                // put the rest of it back.
                Err(error) => machine.refused(error),
            }
        } else {
            let at = dice.gen_range(0..held.len());
            let block = held.swap_remove(at);
            if dice.gen_bool(0.2) {
                away.lock().unwrap().push(block);
            } else {
                machine.free(block);
            }
        }
    }
    held.into_iter().for_each(|block| machine.free(block));
    loop {
        let block = away.lock().unwrap().pop();
        match block {
            Some(block) => machine.free(block),
            None => break,
        }
    }
}

#[test]
fn cpus_keep_pages_while_another_drains_and_validates() {
    check_all(|machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| churn(machine, 0, 10, &away));
            scope.spawn(|| churn(machine, 1, 10, &away));
            scope.spawn(|| {
                run_on(2);
                machine.buddy.drain_all_pages();
                machine.buddy.validate().unwrap();
                machine.buddy.drain_pages(CpuId(0));
            });
        });
    });
}

#[test]
fn claimers_take_turns() {
    check_all(|machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| churn(machine, 0, 12, &away));
            scope.spawn(|| {
                run_on(1);
                machine.buddy.drain_all_pages();
                machine.buddy.drain_zone(ZONE);
            });
            scope.spawn(|| {
                run_on(2);
                machine.buddy.drain_pages(CpuId(0));
                machine.buddy.setup_pagesets(|_| 2);
                machine.buddy.drain_pages_zone(CpuId(0), ZONE);
            });
        });
    });
}

/// A CPU that is gone is in no section: others take its pages, and it keeps
/// some again when it comes back.
#[test]
fn a_cpu_goes_away_and_comes_back() {
    check_all(|machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::scope(|scope| {
                    scope.spawn(|| churn(machine, 0, 8, &away));
                });
                run_on(1);
                machine.buddy.drain_pages(CpuId(0));
                let gone = machine.buddy.stats.pageset(CpuId(0), ZONE).unwrap();
                assert_eq!(gone.count(), 0);
                machine.buddy.setup_pagesets(|_| 1);
                churn(machine, 0, 6, &away);
            });
            scope.spawn(|| churn(machine, 2, 10, &away));
        });
    });
}

#[test]
fn pages_decay_on_their_cpu_while_another_drains() {
    check_all(|machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    churn(machine, 0, 4, &away);
                    machine.buddy.decay_pagesets();
                    machine.buddy.drain_zone_pages(ZONE);
                }
            });
            scope.spawn(|| {
                run_on(1);
                machine.buddy.drain_all_pages();
                machine.buddy.decay_pagesets();
                machine.buddy.drain_all_pages();
            });
        });
    });
}

/// A page block is taken as a whole, out of what CPUs keep of it too.
#[test]
fn a_range_is_taken_while_cpus_keep_pages() {
    check_all(|machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| churn(machine, 0, 12, &away));
            scope.spawn(|| {
                run_on(1);
                let range = PfnRange {
                    start: Pfn(PAGES / 2),
                    end: Pfn(PAGES / 2 + 64),
                };
                if machine.buddy.alloc_range(range, GFP_KERNEL).is_ok() {
                    let pages =
                        (range.start.0..range.end.0).map(|pfn| machine.keep_ranged(Pfn(pfn)));
                    let pages: Vec<_> = pages.collect();
                    pages.into_iter().for_each(|page| machine.free(page));
                }
            });
        });
    });
}

/// What the checker is worth: without the wait it finds both at it at once.
#[test]
#[should_panic]
fn without_synchronize_a_schedule_fails() {
    let settings = Settings {
        short: false,
        near_high: true,
        flaw: Flaw::NoSynchronize,
    };
    check(settings, |machine| {
        let away = Mutex::new(vec![]);
        thread::scope(|scope| {
            scope.spawn(|| churn(machine, 0, 12, &away));
            scope.spawn(|| {
                run_on(1);
                machine.buddy.drain_all_pages();
                machine.buddy.drain_all_pages();
            });
        });
    });
}
