// SPDX-License-Identifier: GPL-2.0

//! Those who sleep on a word under loom, as the kernel has them (`wait_var_event`,
//! `wake_up_var`): who sleeps looks again only when he is woken. A sleeper that nobody
//! wakes is loom's deadlock.

use loom::sync::atomic::AtomicU32;
use loom::sync::Condvar;
use loom::sync::Mutex;

pub trait Platform {
    fn wait_while(&self, word: &AtomicU32, wait: &mut dyn FnMut() -> bool);
    fn wake(&self, word: &AtomicU32);
}

/// Who sleeps is woken by `wake` alone.
pub struct Sleepers(Mutex<()>, Condvar);

impl Sleepers {
    pub fn new() -> Self {
        Self(Mutex::new(()), Condvar::new())
    }
}

impl Platform for Sleepers {
    fn wait_while(&self, _: &AtomicU32, wait: &mut dyn FnMut() -> bool) {
        // The list of sleepers is guarded, and so is looking at it; see `wait_var_event`.
        let mut sleeping = self.0.lock().unwrap();
        while wait() {
            sleeping = self.1.wait(sleeping).unwrap();
        }
    }

    fn wake(&self, _: &AtomicU32) {
        let _sleeping = self.0.lock().unwrap();
        self.1.notify_all();
    }
}
