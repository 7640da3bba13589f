// SPDX-License-Identifier: GPL-2.0

//! Several CPUs at once: what one takes while others are busy, and what it costs
//! to free another's pages.

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

/// A CPU of the shadow: its number, which is also that of the processor it is
/// kept on, and its node.
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
        keep_on(self.number as usize);
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

/// Runs `work` while each of `others` does `shape` again and again.
pub fn beside<R>(mm: &HostMm, others: &[Cpu], shape: Shape, work: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    let ready = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for &cpu in others {
            let (stop, ready) = (&stop, &ready);
            scope.spawn(move || {
                cpu.run_here();
                let side = Shadow::of(mm);
                let mut blocks = vec![Shadow::none(); shapes::ROOM];
                let mut lots = Lots::new(7);
                let mut once = || shape.run(&side, &mut blocks, &mut lots, &|| 0);
                once().expect("memory for all");
                ready.fetch_add(1, Relaxed);
                while !stop.load(Relaxed) {
                    once().expect("memory for all");
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

/// Two CPUs that take [`shapes::BULK`] pages each and free each other's, this
/// often: what each round took, in nanoseconds, on the CPU that was slower.
pub fn exchange(mm: &HostMm, cpus: [Cpu; 2], rounds: u32) -> Vec<u64> {
    let desks: [Mutex<Vec<PageRef<'_>>>; 2] = Default::default();
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
        let side = Shadow::of(mm);
        let request = side.request(0);
        let mut took = vec![];
        for round in 0..rounds {
            let mut pages = vec![Shadow::none(); shapes::BULK];
            let start = Instant::now();
            let taken = shapes::take(&side, &request, &mut pages);
            let taking = start.elapsed();
            assert_eq!(taken, shapes::BULK, "memory for both");
            *desks[me].lock().unwrap() = pages;
            meet(2 * round + 1);
            let theirs = std::mem::take(&mut *desks[1 - me].lock().unwrap());
            let start = Instant::now();
            shapes::give_back(&side, &request, &theirs);
            took.push((taking + start.elapsed()).as_nanos() as u64);
            meet(2 * round + 2);
        }
        took
    };
    let (mine, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(1));
        (one(0), other.join().expect("the other CPU"))
    });
    mine.into_iter().zip(other).map(|(a, b)| a.max(b)).collect()
}
