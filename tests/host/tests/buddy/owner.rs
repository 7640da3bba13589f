// SPDX-License-Identifier: GPL-2.0

//! An owner of movable blocks that knows what it has written into each, and a
//! shrinker that keeps pages.

use crate::typed::TypedWorld;
use crate::world::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Result;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;

/// What the owner knows of a block.
#[derive(Clone, Copy, Debug)]
struct Held {
    order: u32,
    /// What each of its pages starts with.
    tag: u64,
    isolated: bool,
    /// Somebody needs it where it is: moving fails, now or for ever.
    busy: Option<Moved>,
}

/// Blocks, by their first page.
pub struct Owner {
    region: &'static Region<'static>,
    blocks: Mutex<BTreeMap<u64, Held>>,
    next_tag: AtomicU64,
    pub moves: AtomicU64,
}

/// Where a page's memory is.
fn memory_of(region: &Region<'_>, pfn: u64) -> *mut u64 {
    let host = region.host_pfn(Pfn(pfn)).expect("RAM");
    (host << PAGE_SHIFT) as *mut u64
}

impl Owner {
    /// The owner of all movable blocks of a world with memory.
    pub fn of(world: &'static World) -> &'static Self {
        let owner: &'static Self = Box::leak(Box::new(Self {
            region: &world.memory,
            blocks: Mutex::default(),
            next_tag: AtomicU64::new(1),
            moves: AtomicU64::new(0),
        }));
        assert!(world.platform.owner.set(owner).is_ok());
        owner
    }

    /// Takes a block that was just allocated over, and writes into it.
    pub fn adopt(&self, world: &TypedWorld, pfn: u64, order: u32) {
        let tag = self.next_tag.fetch_add(1, Relaxed);
        for page in pfn..pfn + (1 << order) {
            // SAFETY: The block is the test's own, as the buddy says, and
            // nobody else knows of it yet.
            unsafe { memory_of(self.region, page).write_volatile((tag << 16) | (page - pfn)) };
        }
        let held = Held {
            order,
            tag,
            isolated: false,
            busy: None,
        };
        let mut blocks = self.blocks.lock().unwrap();
        assert!(blocks.insert(pfn, held).is_none(), "{pfn} given out twice");
        world.page(pfn).set_movable(true);
    }

    /// Lets one go that is not isolated, if there is one at or behind `from`.
    pub fn take(&self, from: u64) -> Option<(u64, u32)> {
        let mut blocks = self.blocks.lock().unwrap();
        let (&pfn, held) = blocks.range(from..).find(|(_, held)| !held.isolated)?;
        let order = held.order;
        self.check(pfn, held);
        blocks.remove(&pfn);
        Some((pfn, order))
    }

    /// From now on the block does not move.
    pub fn hold(&self, pfn: u64, how: Moved) {
        self.blocks.lock().unwrap().get_mut(&pfn).unwrap().busy = Some(how);
    }

    /// The first pages of all blocks.
    pub fn blocks(&self) -> Vec<u64> {
        self.blocks.lock().unwrap().keys().copied().collect()
    }

    /// Whether every block holds what was written into it, and is what the
    /// descriptors say.
    pub fn check_all(&self, world: &TypedWorld) {
        for (&pfn, held) in self.blocks.lock().unwrap().iter() {
            assert!(!held.isolated, "{pfn} was never put back");
            self.check(pfn, held);
            let page = world.page(pfn);
            assert!(page.is_allocated(order_of(held.order)));
            assert!(page.is_movable());
            assert_eq!(page.count(), 1);
        }
    }

    fn check(&self, pfn: u64, held: &Held) {
        for page in 0..1 << held.order {
            // SAFETY: The block is held, so its memory is nobody else's.
            let found = unsafe { memory_of(self.region, pfn + page).read_volatile() };
            assert_eq!(found, (held.tag << 16) | page, "page {page} of {pfn}");
        }
    }
}

impl Migrate for Owner {
    fn isolate(&self, pfn: Pfn, order: PageOrder, _mode: MigrateMode) -> bool {
        let mut blocks = self.blocks.lock().unwrap();
        match blocks.get_mut(&pfn.0) {
            Some(held) if !held.isolated && held.order == u32::from(order.get()) => {
                held.isolated = true;
                true
            }
            _ => false,
        }
    }

    fn migrate(
        &self,
        from: Pfn,
        to: Pfn,
        _order: PageOrder,
        copy: &dyn Fn() -> Result<()>,
    ) -> Moved {
        let mut blocks = self.blocks.lock().unwrap();
        let mut held = *blocks.get(&from.0).expect("isolated");
        assert!(held.isolated);
        if let Some(how) = held.busy {
            return how;
        }
        copy().unwrap();
        held.isolated = false;
        blocks.remove(&from.0);
        assert!(blocks.insert(to.0, held).is_none(), "{to} given out twice");
        self.moves.fetch_add(1, Relaxed);
        Moved::Yes
    }

    fn putback(&self, pfn: Pfn, _order: PageOrder) {
        let mut blocks = self.blocks.lock().unwrap();
        let held = blocks.get_mut(&pfn.0).expect("isolated");
        assert!(std::mem::take(&mut held.isolated));
    }
}

/// A cache of pages that are given up when they are wanted.
pub struct Cache {
    world: &'static TypedWorld,
    pages: Mutex<Vec<u64>>,
    deferred: Deferred,
    /// How often it was asked to scan, and for how many.
    pub asked: Mutex<Vec<u64>>,
}

impl Cache {
    /// One that is registered.
    pub fn of(world: &'static TypedWorld) -> &'static Self {
        let cache: &'static Self = Box::leak(Box::new(Self {
            world,
            pages: Mutex::default(),
            deferred: Deferred::new(),
            asked: Mutex::default(),
        }));
        let mut shrinkers = world.world.platform.shrinkers.lock().unwrap();
        shrinkers.push(cache);
        cache
    }

    pub fn add(&self, pfn: u64) {
        self.pages.lock().unwrap().push(pfn);
    }

    pub fn len(&self) -> u64 {
        self.pages.lock().unwrap().len() as u64
    }
}

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn count(&self, _control: &ShrinkControl) -> u64 {
        self.len()
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        self.asked.lock().unwrap().push(control.nr_to_scan);
        let mut freed = 0;
        for _ in 0..control.nr_to_scan {
            let Some(pfn) = self.pages.lock().unwrap().pop() else {
                break;
            };
            self.world.buddy().free(Pfn(pfn), PageOrder::ZERO).unwrap();
            control.reclaimed += Pages(1);
            freed += 1;
        }
        Some(freed)
    }

    fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    fn reclaimable(&self, _zone: ZoneId) -> Pages {
        Pages(self.len())
    }

    fn keeps_pages(&self) -> bool {
        true
    }
}
