// SPDX-License-Identifier: GPL-2.0

//! Blocks that open files know by a handle: compaction may move them, and those
//! that are a cache may be given up when memory is short.
//!
//! ```text
//! blocks   (file, handle) -> where it is, what may be done with it
//! places   first page     -> (file, handle)          compaction asks by page
//! caches   (node, handle) -> file                    the oldest is given up first
//! ```
//!
//! All three are behind one spinlock, under which nothing else is taken: core
//! asks in the middle of a request for pages, when open files' own locks may be
//! held. While compaction has a block (`isolated`), whoever wants to free it
//! waits until it is put back or has moved.
//!
//! Nobody can get at the memory of these blocks yet, so there is no access to
//! stop while one is copied.

use crate::shadow;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use kernel::new_condvar;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::rbtree::RBTreeNodeReservation;
use kernel::sync::CondVar;
use kernel::sync::SpinLock;
use shadowmm_core::buddy::Deferred;
use shadowmm_core::buddy::Migrate;
use shadowmm_core::buddy::MigrateMode;
use shadowmm_core::buddy::Moved;
use shadowmm_core::buddy::ShrinkControl;
use shadowmm_core::buddy::Shrinker;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::NR_ZONE_TYPES;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::MAX_NODES;

/// Who owns a block: an open file's number, and the handle by which it knows it.
type Key = (u64, u64);

/// A block with a handle.
#[derive(Clone, Copy)]
struct Known {
    pfn: Pfn,
    order: PageOrder,
    zone: ZoneId,
    /// May be moved.
    movable: bool,
    /// May be given up.
    cache: bool,
    /// Compaction has it at the moment.
    isolated: bool,
}

/// What is behind the lock.
struct Table {
    blocks: RBTree<Key, Known>,
    places: RBTree<Pfn, Key>,
    caches: RBTree<(NodeId, u64), u64>,
    last: u64,
}

/// All blocks with handles.
#[pin_data]
pub(crate) struct Handles {
    #[pin]
    table: SpinLock<Table>,
    /// A block was put back, or has moved.
    #[pin]
    settled: CondVar,
    /// Pages that may be given up, by zone.
    caches: [AtomicU64; MAX_NODES * NR_ZONE_TYPES],
    deferred: Deferred,
}

/// Room for one block, made before anything is done that would have to be
/// undone for want of it.
pub(crate) struct Room {
    block: RBTreeNodeReservation<Key, Known>,
    place: RBTreeNodeReservation<Pfn, Key>,
    cache: RBTreeNodeReservation<(NodeId, u64), u64>,
}

impl Room {
    /// Room for one block.
    pub(crate) fn new() -> CoreResult<Self> {
        let make = || -> Result<Self> {
            Ok(Self {
                block: RBTreeNodeReservation::new(GFP_KERNEL)?,
                place: RBTreeNodeReservation::new(GFP_KERNEL)?,
                cache: RBTreeNodeReservation::new(GFP_KERNEL)?,
            })
        };
        make().map_err(|_| Error::NoHostMemory)
    }
}

/// What may be done with a block.
#[derive(Clone, Copy)]
pub(crate) struct Uses {
    pub(crate) movable: bool,
    pub(crate) cache: bool,
}

impl Handles {
    /// No blocks.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_spinlock!(Table {
                blocks: RBTree::new(),
                places: RBTree::new(),
                caches: RBTree::new(),
                last: 0,
            }),
            settled <- new_condvar!(),
            caches: [const { AtomicU64::new(0) }; MAX_NODES * NR_ZONE_TYPES],
            deferred: Deferred::new(),
        })
    }

    /// Enters a block that was just allocated for `file`, and says its handle.
    pub(crate) fn enter(
        &self,
        room: Room,
        file: u64,
        pfn: Pfn,
        order: PageOrder,
        zone: ZoneId,
        uses: Uses,
    ) -> u64 {
        let known = Known {
            pfn,
            order,
            zone,
            movable: uses.movable,
            cache: uses.cache,
            isolated: false,
        };
        let mut table = self.table.lock();
        table.last += 1;
        let handle = table.last;
        table
            .blocks
            .insert(room.block.into_node((file, handle), known));
        table
            .places
            .insert(room.place.into_node(pfn, (file, handle)));
        if uses.cache {
            table
                .caches
                .insert(room.cache.into_node((zone.nid(), handle), file));
            self.count_cache(&known, true);
        }
        handle
    }

    /// Where a file's block is now, and its order.
    pub(crate) fn find(&self, file: u64, handle: u64) -> CoreResult<(Pfn, PageOrder)> {
        let table = self.table.lock();
        let known = table
            .blocks
            .get(&(file, handle))
            .ok_or(Error::NoSuchHandle)?;
        Ok((known.pfn, known.order))
    }

    /// Takes a file's block out, for its owner to free: waits until nobody is
    /// moving it.
    pub(crate) fn take(&self, file: u64, handle: u64, order: PageOrder) -> CoreResult<(Pfn, Uses)> {
        let key = (file, handle);
        let mut table = self.table.lock();
        loop {
            let known = table.blocks.get(&key).ok_or(Error::NoSuchHandle)?;
            if known.order != order {
                return Err(Error::WrongOrder);
            }
            if !known.isolated {
                break;
            }
            self.settled.wait(&mut table);
        }
        self.remove(&mut table, key)
            .map(|known| {
                let uses = Uses {
                    movable: known.movable,
                    cache: known.cache,
                };
                (known.pfn, uses)
            })
            .ok_or(Error::NoSuchHandle)
    }

    /// Takes any of a file's blocks out, for it is closed; `None` when it has
    /// none left.
    pub(crate) fn take_any(&self, file: u64) -> Option<(Pfn, PageOrder)> {
        let mut table = self.table.lock();
        loop {
            let cursor = table.blocks.cursor_lower_bound(&(file, 0))?;
            let (&key, known) = cursor.current();
            if key.0 != file {
                return None;
            }
            if !known.isolated {
                let known = self.remove(&mut table, key)?;
                return Some((known.pfn, known.order));
            }
            self.settled.wait(&mut table);
        }
    }

    /// Whether a file's block starts at this page.
    pub(crate) fn owns(&self, file: u64, pfn: Pfn) -> bool {
        let table = self.table.lock();
        table.places.get(&pfn).is_some_and(|key| key.0 == file)
    }

    fn remove(&self, table: &mut Table, key: Key) -> Option<Known> {
        let known = table.blocks.remove(&key)?;
        table.places.remove(&known.pfn);
        if known.cache {
            table.caches.remove(&(known.zone.nid(), key.1));
            self.count_cache(&known, false);
        }
        Some(known)
    }

    fn count_cache(&self, known: &Known, comes: bool) {
        if let Some(count) = self.caches.get(known.zone.index()) {
            let pages = known.order.pages().0;
            match comes {
                true => count.fetch_add(pages, Relaxed),
                false => count.fetch_sub(pages, Relaxed),
            };
        }
    }

    /// Takes the oldest block of a node out that may be given up now.
    fn take_oldest(&self, nid: NodeId) -> Option<(Pfn, PageOrder)> {
        let mut table = self.table.lock();
        let mut from = 0;
        loop {
            let cursor = table.caches.cursor_lower_bound(&(nid, from))?;
            let (&(on, handle), &file) = cursor.current();
            if on != nid {
                return None;
            }
            let known = table.blocks.get(&(file, handle));
            if known.is_some_and(|known| !known.isolated) {
                let known = self.remove(&mut table, (file, handle))?;
                return Some((known.pfn, known.order));
            }
            from = handle + 1;
        }
    }

    /// Ends what [`Migrate::isolate`] began.
    fn settle(&self, from: Pfn, change: impl FnOnce(&mut Table, Key)) {
        let mut table = self.table.lock();
        if let Some(&key) = table.places.get(&from) {
            if let Some(known) = table.blocks.get_mut(&key) {
                known.isolated = false;
            }
            change(&mut table, key);
        }
        drop(table);
        self.settled.notify_all();
    }
}

impl Migrate for Handles {
    fn isolate(&self, pfn: Pfn, order: PageOrder, _mode: MigrateMode) -> bool {
        let mut table = self.table.lock();
        let Some(&key) = table.places.get(&pfn) else {
            return false;
        };
        match table.blocks.get_mut(&key) {
            Some(known) if known.movable && known.order == order && !known.isolated => {
                known.isolated = true;
                true
            }
            _ => false,
        }
    }

    fn migrate(
        &self,
        from: Pfn,
        to: Pfn,
        order: PageOrder,
        copy: &dyn Fn() -> CoreResult<()>,
    ) -> Moved {
        // The block is isolated, so it stays what it is without the lock.
        let zone = with_mm(|_, mm| mm.sparse.page(to).map(|page| page.zone_id()));
        let Some(zone) = zone.flatten() else {
            return Moved::No;
        };
        if copy().is_err() {
            return Moved::No;
        }
        let mut moved = Moved::No;
        self.settle(from, |table, key| {
            let Some(known) = table.blocks.get_mut(&key) else {
                return;
            };
            let before = *known;
            known.pfn = to;
            known.zone = zone;
            let now = *known;
            if let Some(place) = table.places.remove_node(&from) {
                table
                    .places
                    .insert(place.into_reservation().into_node(to, key));
            }
            if now.cache {
                let (was, is) = (before.zone.nid(), zone.nid());
                self.count_cache(&before, false);
                self.count_cache(&now, true);
                if let Some(cache) = table.caches.remove_node(&(was, key.1)) {
                    let cache = cache.into_reservation().into_node((is, key.1), key.0);
                    table.caches.insert(cache);
                }
            }
            if now.order == order {
                moved = Moved::Yes;
            }
        });
        moved
    }

    fn putback(&self, pfn: Pfn, _order: PageOrder) {
        self.settle(pfn, |_, _| {});
    }
}

impl Shrinker for Handles {
    fn name(&self) -> &'static str {
        "shadowmm-files"
    }

    fn count(&self, control: &ShrinkControl) -> u64 {
        let first = control
            .nid
            .index()
            .map_or(usize::MAX, |nid| nid * NR_ZONE_TYPES);
        let zones = self.caches.iter().skip(first).take(NR_ZONE_TYPES);
        zones.map(|count| count.load(Relaxed)).sum()
    }

    fn scan(&self, control: &mut ShrinkControl) -> Option<u64> {
        with_mm(|shadow, mm| {
            let mut freed = 0;
            while freed < control.nr_to_scan {
                let Some((pfn, order)) = self.take_oldest(control.nid) else {
                    break;
                };
                shadow.free_in(mm, pfn, order);
                freed += order.pages().0;
            }
            control.nr_scanned = freed.max(control.nr_to_scan);
            control.reclaimed += Pages(freed);
            freed
        })
    }

    fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    fn is_numa_aware(&self) -> bool {
        true
    }

    fn reclaimable(&self, zone: ZoneId) -> Pages {
        let count = self.caches.get(zone.index());
        Pages(count.map_or(0, |count| count.load(Relaxed)))
    }

    fn keeps_pages(&self) -> bool {
        true
    }
}

/// Does `job` with the running shadow, for core, which runs.
fn with_mm<R>(job: impl FnOnce(&Shadow, &Mm<'_>) -> R) -> Option<R> {
    let shadow = shadow::current()?;
    // SAFETY: Core is asking, and whoever called core holds the semaphore.
    unsafe { shadow.with_mm_held(|mm| job(&shadow, mm)) }.ok()
}
