// SPDX-License-Identifier: GPL-2.0

//! Who owns blocks that may move, as open files do (`kernel/movable.rs`), with locks that
//! the checker knows.

use shadowmm_core::buddy::Migrate;
use shadowmm_core::buddy::MigrateMode;
use shadowmm_core::buddy::Moved;
use shadowmm_core::error::Result;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shuttle::sync::Condvar;
use shuttle::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A block, by its handle.
struct Known {
    handle: u64,
    pfn: Pfn,
    order: PageOrder,
    isolated: bool,
}

/// All blocks that may move.
pub struct Owner {
    blocks: Mutex<Vec<Known>>,
    settled: Condvar,
    /// How many blocks have moved.
    pub moved: AtomicU64,
}

impl Owner {
    pub fn new() -> Self {
        Self {
            blocks: Mutex::new(vec![]),
            settled: Condvar::new(),
            moved: AtomicU64::new(0),
        }
    }

    /// A block may move from now on.
    pub fn enter(&self, handle: u64, pfn: Pfn, order: PageOrder) {
        let isolated = false;
        self.blocks.lock().unwrap().push(Known {
            handle,
            pfn,
            order,
            isolated,
        });
    }

    /// It may not any more: where it is now.
    pub fn take(&self, handle: u64) -> Pfn {
        let mut blocks = self.blocks.lock().unwrap();
        loop {
            let at = blocks.iter().position(|known| known.handle == handle);
            let at = at.expect("it is known");
            if !blocks[at].isolated {
                return blocks.swap_remove(at).pfn;
            }
            blocks = self.settled.wait(blocks).unwrap();
        }
    }

    fn settle(&self, from: Pfn, to: Pfn) {
        let mut blocks = self.blocks.lock().unwrap();
        let known = blocks.iter_mut().find(|known| known.pfn == from);
        let known = known.filter(|known| known.isolated);
        let known = known.expect("freed while compaction has it");
        known.isolated = false;
        known.pfn = to;
        drop(blocks);
        self.settled.notify_all();
    }
}

impl Migrate for Owner {
    fn isolate(&self, pfn: Pfn, order: PageOrder, _: MigrateMode) -> bool {
        let mut blocks = self.blocks.lock().unwrap();
        let known = blocks.iter_mut().find(|known| known.pfn == pfn);
        match known {
            Some(known) if known.order == order && !known.isolated => {
                known.isolated = true;
                true
            }
            _ => false,
        }
    }

    fn migrate(&self, from: Pfn, to: Pfn, _: PageOrder, copy: &dyn Fn() -> Result<()>) -> Moved {
        if copy().is_err() {
            return Moved::No;
        }
        self.settle(from, to);
        self.moved.fetch_add(1, Relaxed);
        Moved::Yes
    }

    fn putback(&self, pfn: Pfn, _: PageOrder) {
        self.settle(pfn, pfn);
    }
}
