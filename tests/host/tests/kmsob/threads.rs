// SPDX-License-Identifier: GPL-2.0

//! Several CPUs at once: nothing is given out twice, nothing is lost.

use crate::machine::*;
use crate::world::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::mpsc;

/// A sequence that looks random.
struct Steps(u64);

impl Steps {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % below
    }
}

#[test]
fn four_cpus_share_all_containers() {
    for kind in AllocatorKind::ALL {
        let machine = Machine::new(kind, 2048);
        let caches = [machine.cache("a", 64), machine.cache("b", 700)];
        std::thread::scope(|scope| {
            for cpu in 0..4u32 {
                let (machine, caches) = (&machine, &caches);
                scope.spawn(move || {
                    Threads::run_on(cpu);
                    let mut steps = Steps(u64::from(cpu) + 1);
                    let mut held: Vec<(ObjAddr, u64, u8)> = vec![];
                    for step in 0..20_000u32 {
                        if steps.next(2) == 0 || held.is_empty() {
                            let (object, size) = match steps.next(4) {
                                0 => (machine.alloc(caches[0]), 64),
                                1 => (machine.alloc(caches[1]), 700),
                                _ => {
                                    let size = [40, 64, 700, 3000][steps.next(4) as usize];
                                    (machine.kmalloc(size), size)
                                }
                            };
                            match object {
                                Ok(object) => {
                                    let mark = (cpu * 60 + step % 60) as u8;
                                    machine.fill(object, size, mark);
                                    held.push((object, size, mark));
                                }
                                Err(error) => assert_eq!(error, Error::NoMemory),
                            }
                        } else {
                            let at = steps.next(held.len() as u64) as usize;
                            let (object, size, mark) = held.swap_remove(at);
                            assert!(machine.is_filled(object, size, mark));
                            machine.kfree(object).unwrap();
                        }
                        if step % 2000 == 0 {
                            machine.pool().shrink_all();
                        }
                        // Blocks that a count stands at may go meanwhile.
                        if step % 100 == 0 {
                            machine.pool().unused(NodeId(0));
                            machine.pool().pages_on(NodeId(0));
                        }
                    }
                    for (object, size, mark) in held {
                        assert!(machine.is_filled(object, size, mark));
                        machine.kfree(object).unwrap();
                    }
                });
            }
        });
        machine.check();
        let taken = machine.pages - machine.free();
        assert_eq!(machine.pool().pages_on(NodeId(0)), Pages(taken));
        for id in caches {
            machine.pool().destroy(id, &mut String::new()).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn a_cpu_frees_what_another_took() {
    let machine = Machine::new(AllocatorKind::Cosmos, 1024);
    let (give, take) = mpsc::sync_channel::<ObjAddr>(64);
    std::thread::scope(|scope| {
        let machine = &machine;
        scope.spawn(move || {
            Threads::run_on(1);
            for object in take {
                machine.kfree(object).unwrap();
            }
        });
        Threads::run_on(0);
        for i in 0..50_000u64 {
            give.send(machine.kmalloc(1 + i % 2048).unwrap()).unwrap();
        }
        drop(give);
    });
    machine.check_empty();
}

#[test]
fn of_many_who_free_one_object_one_is_told_that_he_did() {
    let machine = Machine::new(AllocatorKind::Buddy, 1024);
    for _ in 0..500 {
        let object = machine.kmalloc(64).unwrap();
        let freed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u32)
                .map(|cpu| {
                    let machine = &machine;
                    scope.spawn(move || {
                        Threads::run_on(cpu);
                        machine.kfree(object).is_ok()
                    })
                })
                .collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.filter(|&freed| freed).count()
        });
        assert_eq!(freed, 1);
    }
    let free = machine
        .allocator()
        .free_report(shadowmm_core::page::ZoneId::new(
            NodeId(0),
            shadowmm_core::page::ZoneType::Normal,
        ));
    assert_eq!(free.unwrap().free, Pages(machine.pages));
    machine.check_empty();
}
