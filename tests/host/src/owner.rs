// SPDX-License-Identifier: GPL-2.0

//! An owner of movable blocks that knows what it has written into each, and a
//! shrinker that keeps pages.

use shadowmm_core::buddy::Deferred;
use shadowmm_core::buddy::MemMap;
use shadowmm_core::buddy::Migrate;
use shadowmm_core::buddy::MigrateMode;
use shadowmm_core::buddy::Moved;
use shadowmm_core::buddy::ShrinkControl;
use shadowmm_core::buddy::Shrinker;
use shadowmm_core::error::Result;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::Region;
use shadowmm_core::phys::PAGE_SHIFT;
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
    /// The owner of blocks of this memory, for a platform to know.
    pub fn new(region: &'static Region<'static>) -> &'static Self {
        Box::leak(Box::new(Self {
            region,
            blocks: Mutex::default(),
            next_tag: AtomicU64::new(1),
            moves: AtomicU64::new(0),
        }))
    }

    /// Takes a block that was just allocated over, and writes into it.
    pub fn adopt(&self, map: &impl MemMap, pfn: u64, order: u32) {
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
        map.page(Pfn(pfn)).unwrap().set_movable(true);
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

    /// The block that the page is in, and its order.
    pub fn around(&self, pfn: u64) -> Option<(u64, u32)> {
        let blocks = self.blocks.lock().unwrap();
        let (&head, held) = blocks.range(..=pfn).next_back()?;
        (pfn < head + (1 << held.order)).then_some((head, held.order))
    }

    /// The pages of all blocks.
    pub fn pages(&self) -> u64 {
        let blocks = self.blocks.lock().unwrap();
        blocks.values().map(|held| 1 << held.order).sum()
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
    pub fn check_all(&self, map: &impl MemMap) {
        for (&pfn, held) in self.blocks.lock().unwrap().iter() {
            assert!(!held.isolated, "{pfn} was never put back");
            self.check(pfn, held);
            let page = map.page(Pfn(pfn)).unwrap();
            assert!(page.is_allocated(PageOrder::new(held.order).unwrap()));
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
    free: Box<dyn Fn(Pfn) + Send + Sync>,
    pages: Mutex<Vec<u64>>,
    deferred: Deferred,
    /// How often it was asked to scan, and for how many.
    pub asked: Mutex<Vec<u64>>,
}

impl Cache {
    /// One that gives pages back so, for a platform to know.
    pub fn new(free: impl Fn(Pfn) + Send + Sync + 'static) -> &'static Self {
        Box::leak(Box::new(Self {
            free: Box::new(free),
            pages: Mutex::default(),
            deferred: Deferred::new(),
            asked: Mutex::default(),
        }))
    }

    pub fn add(&self, pfn: u64) {
        self.pages.lock().unwrap().push(pfn);
    }

    /// Gives all of them back.
    pub fn give_up(&self) {
        let pages = std::mem::take(&mut *self.pages.lock().unwrap());
        pages.into_iter().for_each(|pfn| (self.free)(Pfn(pfn)));
    }

    pub fn len(&self) -> u64 {
        self.pages.lock().unwrap().len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has(&self, pfn: u64) -> bool {
        self.pages.lock().unwrap().contains(&pfn)
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
            (self.free)(Pfn(pfn));
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
