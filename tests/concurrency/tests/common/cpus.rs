// SPDX-License-Identifier: GPL-2.0

//! CPUs that are the checker's threads: which one a thread is, the sections that
//! they are pinned in, and locks that the checker knows. For both machines; where
//! others may run is for each to say.

use shadowmm_core::platform::Lock;
use shuttle::sync::Mutex;
use shuttle::sync::MutexGuard;
use shuttle::thread;
use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

pub const NR_CPUS: u32 = 4;
/// The CPU that sets the machine up and looks at it in the end.
pub const LAST_CPU: u32 = NR_CPUS - 1;

shuttle::thread_local! {
    static CPU: Cell<u32> = const { Cell::new(LAST_CPU) };
}

/// The thread is this CPU from here on.
pub fn run_on(cpu: u32) {
    CPU.with(|running| running.set(cpu));
}

/// Which CPU the thread is.
pub fn running() -> u32 {
    CPU.with(Cell::get)
}

/// In how many pinned sections each CPU is.
#[derive(Default)]
pub struct Sections(pub [AtomicU32; NR_CPUS as usize]);

impl Sections {
    /// A section of a CPU begins.
    pub fn enter(&self, cpu: u32) {
        self.0[cpu as usize].fetch_add(1, Relaxed);
    }

    /// It ends.
    pub fn leave(&self, cpu: u32) {
        self.0[cpu as usize].fetch_sub(1, Relaxed);
    }

    /// Waits until each CPU has been in none. A section that begins while it waits
    /// may still be there when it is done, as in the kernel.
    pub fn wait(&self) {
        for depth in &self.0 {
            while depth.load(Relaxed) != 0 {
                thread::yield_now();
            }
        }
    }
}

/// A lock that the checker knows.
pub struct CheckedLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for CheckedLock<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
