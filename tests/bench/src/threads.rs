// SPDX-License-Identifier: GPL-2.0

//! Several CPUs at once: what one takes while others are busy, and what it costs
//! to free another's pages.

use crate::object_shapes;
use crate::object_shapes::ObjectSide;
use crate::platform::Threads;
use crate::shadow::HostMm;
use crate::shadow::Shadow;
use crate::shapes;
use crate::shapes::Lots;
use crate::shapes::Shape;
use crate::shapes::Side;
use shadowmm_core::buddy::PageRef;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::sync::Mutex;
use std::time::Instant;

/// A CPU of the shadow: its number, and its node, which is that which the boot has
/// told: 0 for CPU 0, 1 for CPU 1, and so on in turn. CPU 0 is kept on the first
/// processor, all others on the second.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// The number.
    pub number: u32,
    /// The node.
    pub nid: i32,
}

impl Cpu {
    /// The calling thread is this CPU from now on.
    pub fn run_here(self) {
        keep_on(self.number.min(1) as usize);
        Threads::run_on(self.number, self.nid);
    }
}

/// Keeps the calling thread on a processor. Where that may not be, it runs
/// wherever it is put, and the figures are worth less.
fn keep_on(processor: usize) {
    // SAFETY: An empty set is a value of the type, and the call reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// Does `work` while each of `others` does what `make` gives it, again and again.
pub fn beside_each<R, F: FnMut()>(
    others: &[Cpu],
    make: impl Fn() -> F + Sync,
    work: impl FnOnce() -> R,
) -> R {
    let stop = AtomicBool::new(false);
    let ready = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for &cpu in others {
            let (stop, ready, make) = (&stop, &ready, &make);
            scope.spawn(move || {
                cpu.run_here();
                let mut once = make();
                once();
                ready.fetch_add(1, Relaxed);
                while !stop.load(Relaxed) {
                    once();
                }
            });
        }
        while ready.load(Relaxed) != others.len() as u32 {
            std::thread::yield_now();
        }
        let result = work();
        stop.store(true, Relaxed);
        result
    })
}

/// Runs `work` while each of `others` does `shape` again and again.
pub fn beside<R>(mm: &HostMm, others: &[Cpu], shape: Shape, work: impl FnOnce() -> R) -> R {
    let make = || {
        let side = Shadow::of(mm);
        let mut blocks = vec![Shadow::none(); shapes::ROOM];
        let mut lots = Lots::new(7);
        move || {
            let done = shape.run(&side, &mut blocks, &mut lots, &|| 0);
            done.expect("memory for all");
        }
    };
    beside_each(others, make, work)
}

/// Two CPUs that take [`shapes::BULK`] pages each and free each other's, this
/// often: what each round took, in nanoseconds, on the CPU that was slower.
pub fn exchange(mm: &HostMm, cpus: [Cpu; 2], rounds: u32) -> Vec<u64> {
    let both = exchange_by(cpus, rounds, || {
        let side = Shadow::of(mm);
        let request = side.request(0);
        let take = move || {
            let mut pages = vec![Shadow::none(); shapes::BULK];
            let taken = shapes::take(&side, &request, &mut pages);
            assert_eq!(taken, shapes::BULK, "memory for both");
            pages
        };
        let side = Shadow::of(mm);
        let give = move |pages: &mut Vec<PageRef<'_>>| {
            shapes::give_back(&side, &side.request(0), pages);
        };
        (take, give)
    });
    let both = both.into_iter();
    both.map(|(taking, giving)| taking + giving).collect()
}

/// The same with [`object_shapes::BULK`] objects: what the taking took, and the
/// giving back.
pub fn exchange_objects<S: ObjectSide<Object: Send>>(
    cpus: [Cpu; 2],
    rounds: u32,
    make: impl Fn() -> S + Sync,
) -> Vec<(u64, u64)> {
    exchange_by(cpus, rounds, || {
        let side = make();
        let take = move || {
            let mut objects = vec![S::none(); object_shapes::BULK];
            object_shapes::take_all(&side, &mut objects).expect("memory for both");
            objects
        };
        let side = make();
        let give = move |objects: &mut Vec<S::Object>| {
            object_shapes::give_back(&side, objects);
        };
        (take, give)
    })
}

/// Two CPUs that give back what the other has taken, this often: what each round
/// took of both, in nanoseconds, on the CPU that was slower.
fn exchange_by<T: Send, Take: FnMut() -> T, Give: FnMut(&mut T)>(
    cpus: [Cpu; 2],
    rounds: u32,
    make: impl Fn() -> (Take, Give) + Sync,
) -> Vec<(u64, u64)> {
    let desks: [Mutex<Option<T>>; 2] = [const { Mutex::new(None) }; 2];
    let arrived = AtomicU32::new(0);
    // Both wait here for the other, who may have lost its processor.
    let meet = |times: u32| {
        arrived.fetch_add(1, Release);
        while arrived.load(Acquire) < 2 * times {
            std::thread::yield_now();
        }
    };
    let one = |me: usize| {
        cpus[me].run_here();
        let (mut take, mut give) = make();
        let mut took = vec![];
        for round in 0..rounds {
            let start = Instant::now();
            let mine = take();
            let taking = start.elapsed().as_nanos() as u64;
            *desks[me].lock().unwrap() = Some(mine);
            meet(2 * round + 1);
            let theirs = desks[1 - me].lock().unwrap().take();
            let mut theirs = theirs.expect("what the other has taken");
            let start = Instant::now();
            give(&mut theirs);
            took.push((taking, start.elapsed().as_nanos() as u64));
            meet(2 * round + 2);
        }
        took
    };
    let (mine, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(1));
        (one(0), other.join().expect("the other CPU"))
    });
    let both = mine.into_iter().zip(other);
    both.map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))).collect()
}
