// SPDX-License-Identifier: GPL-2.0

//! The invariants of the pool, checked one size at a time with the lock held.
//!
//! ```text
//! list        containers link back, and are as many as are counted
//! container   blocks, objects and pages are as many as are counted; each extension's
//!             block is on the list for its number of pages
//! objects     every tag is that of somebody whose objects are of this size
//! free list   every free object once, and no other, each with its header intact
//! large       blocks are as many as are counted, each somebody's
//! caches      what a cache counts is what the tags say
//! ```

use super::caches::Room;
use super::layout::SizeIndex;
use super::links;
use super::locked::Block;
use super::locked::Container;
use super::locked::Locked;
use super::locked::Place;
use super::Kmsob;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::phys::Pfn;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::SlabFlaw;
use core::sync::atomic::Ordering::Relaxed;

/// What a walk has counted.
#[derive(Default)]
struct Sums {
    containers: u64,
    extensions: u64,
    objects: u64,
    used: u64,
    by_size: u64,
}

/// What an error of a walk comes from.
const NONSENSE: &str = "a header says nonsense";

type Checked<T = ()> = core::result::Result<T, SlabFlaw>;

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Checks everything.
    pub(super) fn check(&self) -> Checked {
        let mut containers = 0u64;
        for size in SizeIndex::all() {
            let check = SizeCheck {
                locked: &self.lock(),
                size,
            };
            containers = containers.wrapping_add(check.check()?);
        }
        // Others may make and end containers while no lock is held; who wants to
        // be sure of this sum lets nobody.
        let locked = self.lock();
        let counted = locked.head.msobnr;
        let lists = SizeIndex::all().filter_map(|size| self.pool.list(size));
        let now = lists.fold(0u64, |sum, list| sum.wrapping_add(list.emnr.load(Relaxed)));
        if counted != now {
            return fail(
                None,
                None,
                "the head counts other containers than its lists",
            );
        }
        check_large(&locked)?;
        drop(locked);
        self.check_caches()
    }

    /// Checks the counts of all named caches.
    fn check_caches(&self) -> Checked {
        let mut after = 0;
        loop {
            let locked = self.lock();
            let Some(owner) = locked.named_after(after).next() else {
                return Ok(());
            };
            after = owner.tag();
            let record = locked
                .record(owner)
                .map_err(|_| flaw(Some(owner), None, NONSENSE))?;
            let tally = locked.tally(owner, None);
            let tally = tally.map_err(|_| flaw(Some(owner), None, NONSENSE))?;
            if record.is_none_or(|record| record.in_use() != tally.objects) {
                return fail(
                    Some(owner),
                    None,
                    "a cache counts other objects than it has",
                );
            }
        }
    }
}

/// Checks the blocks that are one object each.
fn check_large<P: Platform, A: PageAllocator>(locked: &Locked<'_, P, A>) -> Checked {
    let (mut blocks, mut pages) = (0u64, 0u64);
    let wrong = locked.find_large(|pfn, order, owner| {
        blocks = blocks.wrapping_add(1);
        pages = pages.wrapping_add(order.pages().0);
        let room = locked.room(owner);
        let fits = owner == Owner::PAGES || room == Ok(Room::Pages(order));
        (!fits).then_some(pfn)
    });
    if let Some(pfn) = wrong {
        let at = Some(ObjAddr::new(pfn.addr().0));
        return fail(None, at, "a block of pages is nobody's");
    }
    match (blocks, pages) == (locked.head.large_blocks, locked.head.large_pages) {
        true => Ok(()),
        false => fail(
            None,
            None,
            "the head counts other blocks of pages than its list",
        ),
    }
}

/// One size under check.
struct SizeCheck<'c, 'l, P: Platform, A> {
    locked: &'c Locked<'l, P, A>,
    size: SizeIndex,
}

impl<'l, P: Platform, A: PageAllocator> SizeCheck<'_, 'l, P, A> {
    /// Checks all containers of the size, and says how many there are.
    fn check(&self) -> Checked<u64> {
        let mut sums = Sums::default();
        let mut before = 0;
        let mut cached = false;
        let list = self.told(self.locked.list(self.size), None)?;
        let cahe = list.cahe.load(Relaxed);
        let walked = self.locked.find_container(self.size, |container| {
            let flaw = self.check_container(&container, before, &mut sums).err();
            before = container.start;
            cached |= container.start == cahe;
            sums.containers = sums.containers.wrapping_add(1);
            Ok(flaw)
        });
        if let Some(flaw) = self.told(walked, None)? {
            return Err(flaw);
        }
        if cahe != 0 && !cached {
            return self.fail(Some(cahe), "the container that was used last is not there");
        }
        let counted = (
            list.emnr.load(Relaxed),
            list.extensions.load(Relaxed),
            list.objects.load(Relaxed),
            list.used.load(Relaxed),
            list.by_size.load(Relaxed),
        );
        let found = (
            sums.containers,
            sums.extensions,
            sums.objects,
            sums.used,
            sums.by_size,
        );
        if counted != found {
            return self.fail(None, "a size counts other things than its containers have");
        }
        let given = list
            .allocs
            .load(Relaxed)
            .wrapping_sub(list.frees.load(Relaxed));
        if given != sums.used {
            return self.fail(None, "a size has given out more or less than is out");
        }
        Ok(sums.containers)
    }

    fn check_container(&self, container: &Container<'l>, before: u64, sums: &mut Sums) -> Checked {
        let at = Some(container.start);
        let cells = container.cells;
        if cells.prev.load(Relaxed) != before {
            return self.fail(at, "a container does not link back");
        }
        let (mut objects, mut free) = (0u32, 0u32);
        let mut flaw = None;
        let walked = self.locked.for_each_block(container, |block| {
            match self.check_block(container, &block, sums) {
                Ok(its) => free = free.wrapping_add(its),
                Err(found) => flaw = flaw.or(Some(found)),
            }
            objects = objects.wrapping_add(block.layout.objects);
            Ok(())
        });
        self.told(walked, at)?;
        if let Some(flaw) = flaw {
            return Err(flaw);
        }
        if (objects, free) != (cells.mobjnr.load(Relaxed), cells.fobjnr.load(Relaxed)) {
            return self.fail(at, "a container counts other objects than it has");
        }
        if free == objects {
            return self.fail(at, "a container is there though nobody uses it");
        }
        if u64::from(cells.kmobinpnr.load(Relaxed)) != self.size.order().pages().0 {
            return self.fail(at, "a container's own block has another size");
        }
        let extensions = cells.mextnr.load(Relaxed);
        sums.extensions = sums.extensions.wrapping_add(u64::from(extensions));
        sums.objects = sums.objects.wrapping_add(u64::from(objects));
        self.check_pages(container, extensions)?;
        self.check_free_list(container, free)
    }

    /// Checks the tags of a block, and says how many objects are free.
    fn check_block(
        &self,
        container: &Container<'l>,
        block: &Block<'l>,
        sums: &mut Sums,
    ) -> Checked<u32> {
        let mut used = 0u32;
        for index in 0..block.layout.objects {
            let at = Some(block.object(index).get());
            let Some(owner) = self.told(self.locked.owner(block, index), at)? else {
                continue;
            };
            used = used.wrapping_add(1);
            if self.locked.room(owner) != Ok(Room::Object(container.size)) {
                return self.fail(at, "an object is somebody's who has none of this size");
            }
            if owner.of_size().is_some() {
                sums.by_size = sums.by_size.wrapping_add(1);
            }
        }
        sums.used = sums.used.wrapping_add(u64::from(used));
        if block.cells.used.load(Relaxed) != used {
            return self.fail(
                Some(block.start),
                "a block counts other objects than are used",
            );
        }
        Ok(block.layout.objects.wrapping_sub(used))
    }

    /// Checks the lists of the extensions' blocks.
    fn check_pages(&self, container: &Container<'l>, extensions: u32) -> Checked {
        let at = Some(container.start);
        let pages = &self.locked.pool.pages;
        let mut all = 0u32;
        for (order, list) in container.cells.mc.iter().enumerate() {
            let count = list.msanr.load(Relaxed);
            let mut next = links::first(list.list.load(Relaxed));
            let mut before = None;
            for _ in 0..count {
                let block = next.filter(|&pfn| self.is_extension(container, pfn, order));
                let page = block.and_then(|pfn| pages.descriptor(pfn));
                let Some(page) = page.filter(|page| page.prev() == before) else {
                    return self.fail(at, "a list of blocks leads to none of the container's");
                };
                before = block;
                next = page.next();
            }
            if next.is_some() {
                return self.fail(at, "a list has more blocks than it counts");
            }
            all = all.wrapping_add(count);
        }
        match (all, all) == (extensions, container.cells.msanr.load(Relaxed)) {
            true => Ok(()),
            false => self.fail(at, "there are other blocks than extensions"),
        }
    }

    /// Whether a block of this order begins here that is one of the container's.
    fn is_extension(&self, container: &Container<'l>, pfn: Pfn, order: usize) -> bool {
        let block = self.locked.block(container, pfn.addr().0);
        block.is_ok() && container.size.order().index() == order && pfn.addr().0 != container.start
    }

    /// Walks the list of free objects.
    fn check_free_list(&self, container: &Container<'l>, free: u32) -> Checked {
        let mut next = container.cells.frelst.load(Relaxed);
        for _ in 0..free {
            let at = Some(next);
            let place = self.told(self.locked.locate(ObjAddr::new(next)), at)?;
            let Place::Object {
                container: its,
                block,
                index,
            } = place
            else {
                return self.fail(at, "a list of free objects leads elsewhere");
            };
            let owner = self.told(self.locked.owner(&block, index), at)?;
            if its.start != container.start || owner.is_some() {
                return self.fail(at, "a list of free objects has one that is not free");
            }
            let header = self.told(self.locked.free_header(&block, index), at)?;
            if !header.is_intact(next) {
                return self.fail(at, "a free object was written to");
            }
            next = header.next.load(Relaxed);
        }
        // A list that comes back to an object does not end.
        match next {
            0 => Ok(()),
            next => self.fail(Some(next), "a list has more free objects than there are"),
        }
    }

    /// What a walk gave, or the flaw that ended it.
    fn told<T>(&self, result: Result<T, Error>, at: Option<u64>) -> Checked<T> {
        result.map_err(|_| flaw(Some(Owner::size(self.size)), at.map(ObjAddr::new), NONSENSE))
    }

    fn fail<T>(&self, at: Option<u64>, what: &'static str) -> Checked<T> {
        fail(Some(Owner::size(self.size)), at.map(ObjAddr::new), what)
    }
}

fn fail<T>(owner: Option<Owner>, at: Option<ObjAddr>, what: &'static str) -> Checked<T> {
    Err(flaw(owner, at, what))
}

fn flaw(owner: Option<Owner>, at: Option<ObjAddr>, what: &'static str) -> SlabFlaw {
    SlabFlaw {
        what,
        cache: owner.and_then(Owner::id),
        at,
    }
}
