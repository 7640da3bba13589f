// SPDX-License-Identifier: GPL-2.0

//! All CPUs at once: each takes, gives, and frees what others have taken, while
//! caches are shrunk, CPUs drained, and caches come and go.

use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;
use std::thread;

/// A cheap sequence that is the same in every run.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Writes who has it into an object, and sees that nobody else has.
fn mark(world: &World, object: ObjAddr, was: u64, is: u64) {
    let window = world.mm.region.window(object.addr()).unwrap();
    let word: &std::sync::atomic::AtomicU64 = window.cells(object.addr()).unwrap();
    let found = word.swap(is, Relaxed);
    assert!(
        was == 0 || found == was,
        "{object} is {found:x}, not {was:x}"
    );
}

#[test]
fn nothing_is_lost() {
    let world = World::two_nodes();
    let slab = world.slab();
    let ids: Vec<_> = [16, 72, 512, 3000]
        .iter()
        .map(|&size| world.create(&format!("stress-{size}"), size))
        .collect();
    // So that it is never to be had for nothing.
    let keeps = slab.alloc(ids[0], &KERNEL).unwrap();
    let shared: Mutex<Vec<(CacheId, ObjAddr)>> = Mutex::new(vec![]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut workers = vec![];
        for cpu in 0..3u32 {
            let (world, ids, shared) = (&world, &ids, &shared);
            workers.push(scope.spawn(move || {
                run_on(cpu);
                let mut random = Sequence(0x1234_5678 + u64::from(cpu));
                let mut held: Vec<(CacheId, ObjAddr)> = vec![];
                for _ in 0..60_000 {
                    let id = ids[random.below(ids.len() as u64) as usize];
                    let cache = slab.cache(id).unwrap();
                    match random.below(10) {
                        0..=4 if held.len() < 400 => {
                            let nid = match random.below(8) {
                                0 => NodeId(0),
                                1 => NodeId(1),
                                _ => NodeId::NONE,
                            };
                            let object = cache.alloc(&KERNEL.on(nid)).unwrap();
                            mark(world, object, 0, object.get() ^ 0x5a5a);
                            held.push((id, object));
                        }
                        5 => {
                            // Somebody else frees it.
                            if let Some(one) = held.pop() {
                                shared.lock().unwrap().push(one);
                            }
                        }
                        6 => {
                            let one = shared.lock().unwrap().pop();
                            if let Some((id, object)) = one {
                                mark(world, object, object.get() ^ 0x5a5a, 1);
                                slab.cache(id).unwrap().free(object).unwrap();
                            }
                        }
                        _ if !held.is_empty() => {
                            let at = random.below(held.len() as u64) as usize;
                            let (id, object) = held.swap_remove(at);
                            mark(world, object, object.get() ^ 0x5a5a, 1);
                            slab.cache(id).unwrap().free(object).unwrap();
                        }
                        _ => {}
                    }
                }
                shared.lock().unwrap().extend(held);
            }));
        }
        let (world, ids, done) = (&world, &ids, &done);
        let other = scope.spawn(move || {
            run_on(3);
            let mut random = Sequence(99);
            let mut rounds = 0;
            while !done.load(Relaxed) || rounds < 20 {
                rounds += 1;
                match random.below(4) {
                    0 => {
                        slab.shrink(ids[random.below(4) as usize]).unwrap();
                    }
                    1 => slab.drain_cpu(CpuId(random.below(4) as u32)),
                    2 => {
                        let id = world.create("short", 64);
                        let object = slab.alloc(id, &KERNEL).unwrap();
                        slab.free(id, object, 0).unwrap();
                        world.destroy(id);
                    }
                    _ => {
                        let refused = slab.destroy(ids[0], &mut String::new());
                        assert_eq!(refused, Err(Error::CacheBusy));
                    }
                }
                thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Relaxed);
        other.join().unwrap();
    });
    world.validate();
    let mut left = shared.into_inner().unwrap();
    left.push((ids[0], keeps));
    let active: u64 = ids.iter().map(|&id| world.report(id).active_objects).sum();
    assert_eq!(active, left.len() as u64);
    for (id, object) in left {
        slab.free(id, object, 0).unwrap();
    }
    for id in ids {
        world.destroy(id);
    }
    world.finish();
}

#[test]
fn caches_come_and_go_on_all_cpus() {
    let world = World::two_nodes();
    thread::scope(|scope| {
        for cpu in 0..3u32 {
            let world = &world;
            scope.spawn(move || {
                run_on(cpu);
                let slab = world.slab();
                for round in 0..1500 {
                    let mut args = CacheArgs::new("", 96);
                    let name = format!("cpu{cpu}-{round}");
                    args.name = &name;
                    args.flags = SlabFlags::NO_MERGE;
                    let id = slab.create(&args).unwrap();
                    let report = slab.report(id).unwrap();
                    assert_eq!(report.name.as_str(), name, "the number is another cache's");
                    let object = slab.alloc(id, &KERNEL).unwrap();
                    slab.free(id, object, 0).unwrap();
                    slab.destroy(id, &mut String::new()).unwrap();
                }
            });
        }
    });
    world.validate();
    world.finish();
}
