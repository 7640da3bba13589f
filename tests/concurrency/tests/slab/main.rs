// SPDX-License-Identifier: GPL-2.0

//! Core's own slab layer under a concurrency checker: `shuttle` decides at each
//! access of core to an atomic which thread goes on, at random, and can repeat
//! what it did.
//!
//! For that core is compiled once more (`checked/`), from its own text, with
//! atomics that tell the checker before each access. So magazines, the claim
//! that closes them, slabs, lists and descriptors, all of which are made of
//! atomics, are interleaved access by access; raw locks are core's words. What it
//! does not say: what a CPU may see of another's accesses in which order. For the
//! magazines `tests/magazine.rs` does.
//!
//! In every schedule: no object is given out twice, none is lost, all invariants
//! hold, and all pages are back in the end.

extern crate shadowmm_core_checked as shadowmm_core;

mod world;

use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabFlags;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::Mutex;
use shuttle::thread;
use shuttle::Config;
use shuttle::FailurePersistence;
use shuttle::Runner;
use std::sync::atomic::Ordering::SeqCst;
use world::*;

/// How many schedules each test has of each kind.
const SCHEDULES: usize = 150;

/// Lets threads of a machine run in many schedules: at random, and with few
/// switches at random places, which finds what needs a long wait somewhere.
fn check(flaw: Flaw, size: u32, work: fn(&Machine<'_, '_>)) {
    check_times(SCHEDULES, flaw, size, work);
}

fn check_times(schedules: usize, flaw: Flaw, size: u32, work: fn(&Machine<'_, '_>)) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    // The first schedule that fails is the last; as many as it takes, of each kind in turn, for either may be the one
    // that finds it soon.
    let turns = if flaw == Flaw::None { 1 } else { 50 };
    if flaw != Flaw::None {
        config.failure_persistence = FailurePersistence::None;
    }
    let once = move || with_machine(flaw, size, work);
    for _ in 0..turns {
        Runner::new(RandomScheduler::new(schedules), config.clone()).run(once);
        Runner::new(PctScheduler::new(4, schedules), config.clone()).run(once);
    }
}

/// Takes and frees on one CPU, a few at a time.
fn churn(machine: &Machine<'_, '_>, cpu: u32, rounds: usize) {
    run_on(cpu);
    for round in 0..rounds {
        let held: Vec<_> = (0..=round % 3).map(|_| machine.take()).collect();
        held.into_iter().for_each(|object| machine.free(object));
    }
}

fn a_cpu_and_shrink(machine: &Machine<'_, '_>) {
    thread::scope(|scope| {
        scope.spawn(|| churn(machine, 0, 4));
        scope.spawn(|| {
            run_on(1);
            machine.slab.shrink(machine.id).unwrap();
            machine.slab.shrink(machine.id).unwrap();
        });
    });
}

#[test]
fn a_cpu_has_its_magazine_while_the_cache_is_shrunk() {
    check(Flaw::None, 256, a_cpu_and_shrink);
}

/// What the checker is worth: without the wait it finds both at it at once.
#[test]
#[should_panic]
fn without_synchronize_a_schedule_fails() {
    check(Flaw::NoSynchronize, 256, a_cpu_and_shrink);
}

#[test]
fn a_cpu_goes_away_while_others_shrink() {
    check(Flaw::None, 256, |machine| {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::scope(|scope| {
                    scope.spawn(|| churn(machine, 0, 3));
                });
                run_on(2);
                machine.slab.drain_cpu(CpuId(0));
                churn(machine, 2, 2);
            });
            scope.spawn(|| {
                run_on(1);
                machine.slab.shrink_all();
            });
        });
    });
}

/// Slabs of several pages are made and go back, page by page, while all pages are walked.
#[test]
fn slabs_come_and_go_while_all_is_validated() {
    // Each walk is long.
    check_times(SCHEDULES / 5, Flaw::None, 4096, |machine| {
        thread::scope(|scope| {
            scope.spawn(|| {
                run_on(0);
                let object = machine.take();
                machine.free(object);
                machine.slab.shrink(machine.id).unwrap();
            });
            scope.spawn(|| {
                run_on(1);
                if let Err(flaw) = machine.mm.validate() {
                    panic!("{flaw}");
                }
            });
        });
    });
}

/// A block becomes single pages, and these go back as one block, again and again while all
/// pages are walked.
#[test]
fn pages_go_back_in_blocks_while_all_is_validated() {
    check_times(SCHEDULES / 5, Flaw::None, 256, |machine| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                run_on(0);
                let (buddy, order) = (machine.mm.buddy(), PageOrder::new(5).unwrap());
                while !done.load(SeqCst) {
                    let block = buddy.alloc(&AllocRequest::new(gfp::GFP_KERNEL, order));
                    let block = block.unwrap();
                    buddy.split(block, order, PageOrder::ZERO).unwrap();
                    let pages: Vec<_> = (0..32).map(|i| block + Pages(i)).collect();
                    assert_eq!(buddy.free_bulk(&pages), 32);
                    thread::yield_now();
                }
            });
            scope.spawn(|| {
                run_on(1);
                if let Err(flaw) = machine.mm.validate() {
                    panic!("{flaw}");
                }
                done.store(true, SeqCst);
            });
        });
    });
}

/// Of large objects a CPU keeps four, so that the fifth goes to the node's store;
/// another CPU of the node takes from there, and a third takes the store away.
fn a_store_and_shrink(machine: &Machine<'_, '_>) {
    thread::scope(|scope| {
        for cpu in [0, 2] {
            scope.spawn(move || {
                run_on(cpu);
                for _ in 0..2 {
                    let held: Vec<_> = (0..6).map(|_| machine.take()).collect();
                    held.into_iter().for_each(|object| machine.free(object));
                }
            });
        }
        scope.spawn(|| {
            run_on(1);
            machine.slab.shrink(machine.id).unwrap();
            machine.slab.shrink(machine.id).unwrap();
        });
    });
}

#[test]
fn a_node_has_its_store_while_the_cache_is_shrunk() {
    check(Flaw::None, 4096, a_store_and_shrink);
}

/// What the checker is worth: without the wait something is put into a store that is
/// no more.
#[test]
#[should_panic]
fn without_synchronize_a_store_is_lost() {
    check(Flaw::NoSynchronize, 4096, a_store_and_shrink);
}

/// Objects of one node are freed on another, whose CPU gathers them, while the
/// first takes more.
#[test]
fn remote_frees_go_back_while_their_node_refills() {
    check(Flaw::None, 256, |machine| {
        let away = Mutex::new(Vec::<ObjAddr>::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                run_on(0);
                for _ in 0..4 {
                    let object = machine.take();
                    away.lock().unwrap().push(object);
                }
                churn(machine, 0, 2);
            });
            scope.spawn(|| {
                run_on(1);
                for _ in 0..3 {
                    while let Some(object) = pop(&away) {
                        machine.free(object);
                    }
                    thread::yield_now();
                }
                machine.slab.drain_cpu(CpuId(1));
            });
        });
        run_on(2);
        while let Some(object) = pop(&away) {
            machine.free(object);
        }
    });
}

/// Two CPUs of a node give back so many of another node's that both find it without a store. What
/// the store of `kmalloc-1k` is made of comes from `kmalloc-1k`, and who was slower gives his back.
#[test]
fn two_cpus_make_the_store_of_a_node() {
    check_times(SCHEDULES / 3, Flaw::None, 256, |machine| {
        let take = || {
            let request = ObjRequest::new(gfp::GFP_KERNEL);
            machine.own(machine.slab.kmalloc(Bytes(1024), &request).unwrap())
        };
        let free = |object| {
            machine.disown(object);
            machine.slab.kfree(object, 0).unwrap();
        };
        run_on(1);
        let objects: Vec<_> = (0..66).map(|_| take()).collect();
        thread::scope(|scope| {
            let (some, others) = objects.split_at(33);
            for (cpu, objects) in [(0, some), (2, others)] {
                scope.spawn(move || {
                    run_on(cpu);
                    objects.iter().copied().for_each(free);
                });
            }
        });
        run_on(1);
        let objects: Vec<_> = (0..200).map(|_| take()).collect();
        objects.into_iter().for_each(free);
    });
}

fn pop(away: &Mutex<Vec<ObjAddr>>) -> Option<ObjAddr> {
    away.lock().unwrap().pop()
}

/// Who destroys a cache is refused while an object lives, wherever its free is
/// on its way, and the cache is gone when it is not refused.
#[test]
fn a_cache_is_destroyed_beside_the_last_remote_free() {
    check(Flaw::None, 256, |machine| {
        run_on(0);
        let object = machine.take();
        thread::scope(|scope| {
            scope.spawn(|| {
                run_on(1);
                machine.free(object);
            });
            scope.spawn(|| {
                run_on(2);
                let mut alive = String::new();
                match machine.slab.destroy(machine.id, &mut alive) {
                    Ok(()) => assert!(alive.is_empty()),
                    // By the time of the report it may have come.
                    Err(error) => assert_eq!(error, Error::CacheBusy),
                }
            });
        });
    });
}

/// A cache ends, and another lies where it lay, while somebody reads a report: that is of
/// the one or of the other.
fn a_report_beside_destroy(machine: &Machine<'_, '_>) {
    thread::scope(|scope| {
        scope.spawn(|| {
            run_on(0);
            for _ in 0..3 {
                let Some(report) = machine.slab.report(machine.id) else {
                    continue;
                };
                let size = match report.name.as_str() {
                    "checked" => 256,
                    "another" => 1024,
                    name => panic!("what is {name}?"),
                };
                assert_eq!(report.geometry.object_size, size, "of {}", report.name);
            }
        });
        scope.spawn(|| {
            run_on(1);
            let mut alive = String::new();
            machine.slab.destroy(machine.id, &mut alive).unwrap();
            let mut args = CacheArgs::new("another", 1024);
            args.flags = SlabFlags::NO_MERGE;
            assert_eq!(machine.slab.create(&args), Ok(machine.id));
        });
    });
}

#[test]
fn a_report_is_of_one_cache_while_it_is_destroyed() {
    check(Flaw::None, 256, a_report_beside_destroy);
}

/// What the checker is worth: without the wait a report is of both.
#[test]
#[should_panic]
fn without_synchronize_a_report_is_of_two_caches() {
    check(Flaw::NoSynchronize, 256, a_report_beside_destroy);
}

/// Two CPUs free to one slab past their magazines while it becomes empty and
/// goes.
fn one_slab_becomes_empty(machine: &Machine<'_, '_>) {
    run_on(0);
    let objects: Vec<_> = (0..4).map(|_| machine.take()).collect();
    let (some, others) = objects.split_at(2);
    thread::scope(|scope| {
        for (cpu, objects) in [(0, some), (2, others)] {
            scope.spawn(move || {
                run_on(cpu);
                objects.iter().for_each(|&object| machine.free(object));
                machine.slab.drain_cpu(CpuId(cpu));
            });
        }
        scope.spawn(|| {
            run_on(1);
            machine.slab.shrink(machine.id).unwrap();
        });
    });
}

#[test]
fn two_cpus_free_to_one_slab_while_it_becomes_empty() {
    check(Flaw::None, 1024, one_slab_becomes_empty);
}

/// What the checker is worth: with locks that keep nobody out it finds it.
#[test]
#[should_panic]
fn without_the_nodes_lock_a_schedule_fails() {
    check(Flaw::NoLock, 1024, |machine| {
        thread::scope(|scope| {
            for cpu in [0, 2] {
                scope.spawn(move || churn(machine, cpu, 4));
            }
            scope.spawn(|| {
                run_on(1);
                machine.slab.shrink(machine.id).unwrap();
            });
        });
    });
}
