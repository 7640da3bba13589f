// SPDX-License-Identifier: GPL-2.0

//! Moving allocated blocks elsewhere, with their owners' help (`mm/migrate.c`).
//!
//! ```text
//! scanner              owner (Migrate)              the block
//!   is it movable?                                  Allocated, movable, count 1
//!   isolate() ------> keeps it from being freed     Allocated, isolated
//!                                                   its links are core's
//!   a block to go to                                `to`: Allocated, count 1
//!   migrate() ------> stops all access
//!             <------ copy()                        contents are in `to`
//!                     takes `to` for its own
//!   free from                                       `from`: free
//!
//!   putback() <-- whatever was not moved            Allocated, movable
//! ```
//!
//! A block is moved only while it has one reference, its owner's: nobody else
//! can take one then, because who takes a reference must have one. Somebody who
//! needs the block to stay where it is takes a reference (`BuddySystem::get`).

use super::gfp;
use super::list::PageList;
use super::stats::VmEvent;
use super::system::BuddySystem;
use super::AllocRequest;
use super::MemMap;
use super::PageAllocator;
use super::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::page::PageDescriptor;
use crate::page::PageState;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysRange;
use crate::platform::Platform;

/// How often a block is tried again in one call
/// (`NR_MAX_MIGRATE_PAGES_RETRY`).
const MAX_RETRY: u32 = 10;

/// How much a move may cost (`enum migrate_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MigrateMode {
    /// Never wait.
    Async = 0,
    /// May wait, but not for long.
    SyncLight = 1,
    /// May wait.
    Sync = 2,
}

/// What came of asking an owner to move a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The owner has the new block now, and the old one is nobody's.
    Yes,
    /// Not now, perhaps at once (`-EAGAIN`).
    Busy,
    /// Not possible.
    No,
}

/// Who owns movable blocks (`struct movable_operations`).
///
/// Core calls it without a lock and not pinned. A lock that the owner takes in
/// here must not be one that it holds while it asks core for pages with direct
/// reclaim: that request may compact, and come back here.
pub trait Migrate: Sync {
    /// Whether the allocated block at `pfn` is one of this owner's that may be
    /// moved now. If so, then until [`Migrate::migrate`] says [`Moved::Yes`] or
    /// [`Migrate::putback`] is called, the owner neither frees it nor takes or
    /// drops references, and the links of its descriptor are core's; access to
    /// its memory goes on. Who wants to free it meanwhile waits.
    ///
    /// May sleep, but not in [`MigrateMode::Async`].
    fn isolate(&self, pfn: Pfn, order: PageOrder, mode: MigrateMode) -> bool;

    /// Moves an isolated block from `from` to `to`: stops all access to its
    /// memory, has it copied by `copy`, and makes `to` its own in `from`'s
    /// place. With [`Moved::Yes`] the old block is core's, and the new one an
    /// ordinary block of the owner; otherwise nothing has changed.
    fn migrate(&self, from: Pfn, to: Pfn, order: PageOrder, copy: &dyn Fn() -> Result<()>)
        -> Moved;

    /// An isolated block stays where it is after all.
    fn putback(&self, pfn: Pfn, order: PageOrder);
}

/// Where blocks are moved to.
pub(super) trait Target {
    /// An allocated block of `order` with one reference, if there is one.
    fn get(&mut self, order: PageOrder) -> Option<Pfn>;

    /// Takes a block back that was not needed.
    fn put_back(&mut self, pfn: Pfn, order: PageOrder);
}

/// What came of moving a list of blocks (`migrate_pages`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Migrated {
    /// Pages that have moved.
    pub(super) succeeded: u64,
    /// Pages of blocks that have not.
    pub(super) failed: u64,
    /// The last one had nowhere to go.
    pub(super) no_memory: bool,
}

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Takes the block at `pfn` off its owner and puts it before those of
    /// `list`, if it can be moved (`isolate_movable_ops_page`, and what
    /// `isolate_migratepages_block` does with pages of an LRU list).
    pub(super) fn isolate_movable(
        &self,
        pfn: Pfn,
        page: &PageDescriptor,
        order: PageOrder,
        mode: MigrateMode,
        list: &mut PageList,
    ) -> bool {
        let Some(owners) = self.platform.owners() else {
            return false;
        };
        // A racy look, so that the owner is not asked in vain.
        let movable = page.is_movable() && !page.is_isolated() && page.is_sole();
        if !movable || !owners.isolate(pfn, order, mode) {
            return false;
        }
        // The owner is the only one who could free it, and does not. Whoever
        // had a reference beside it may still drop it.
        if !page.is_sole() || !page.set_isolated(order) {
            owners.putback(pfn, order);
            return false;
        }
        list.push_head(self.map, pfn, page);
        true
    }

    /// Gives all blocks of `list` back to their owners
    /// (`putback_movable_pages`).
    pub(super) fn putback_movable(&self, list: &mut PageList) {
        while let Some((pfn, page)) = self.pop(list) {
            let order = page.order();
            page.clear_isolated();
            if let Some(owners) = self.platform.owners() {
                owners.putback(pfn, order);
            }
        }
    }

    fn pop(&self, list: &mut PageList) -> Option<(Pfn, &PageDescriptor)> {
        let pfn = list.first()?;
        let page = self.map.page(pfn)?;
        list.remove(self.map, page);
        Some((pfn, page))
    }

    /// Moves the isolated blocks of `list` to where `target` says, first to
    /// last; what can't be moved is on `list` again in the end
    /// (`migrate_pages`).
    pub(super) fn migrate_pages(&self, list: &mut PageList, target: &mut impl Target) -> Migrated {
        let mut result = Migrated::default();
        let mut stay = PageList::NEW;
        'passes: for pass in 0..MAX_RETRY {
            let mut again = PageList::NEW;
            while let Some((pfn, page)) = self.pop(list) {
                let order = page.order();
                self.platform.cond_resched();
                let Some(to) = target.get(order) else {
                    // Without memory there is no point in going on.
                    list.push_head(self.map, pfn, page);
                    result.no_memory = true;
                    result.failed = (order.pages() + pages_of(&again, self.map)).0;
                    while let Some((pfn, page)) = self.pop(&mut again) {
                        list.push_head(self.map, pfn, page);
                    }
                    break 'passes;
                };
                match self.move_block(pfn, page, to, order) {
                    Moved::Yes => {
                        result.succeeded += order.pages().0;
                        continue;
                    }
                    Moved::Busy if pass + 1 < MAX_RETRY => {
                        again.push_tail(self.map, pfn, page);
                    }
                    _ => stay.push_tail(self.map, pfn, page),
                }
                target.put_back(to, order);
            }
            if again.is_empty() {
                break;
            }
            core::mem::swap(list, &mut again);
        }
        result.failed += pages_of(&stay, self.map).0;
        while let Some((pfn, page)) = self.pop(&mut stay) {
            list.push_tail(self.map, pfn, page);
        }
        self.count_event(VmEvent::PgmigrateSuccess, result.succeeded);
        self.count_event(VmEvent::PgmigrateFail, result.failed);
        result
    }

    /// Moves one isolated block (`move_to_new_folio`), and frees it where it was
    /// (`migrate_folio_done`).
    fn move_block(&self, from: Pfn, page: &PageDescriptor, to: Pfn, order: PageOrder) -> Moved {
        let (Some(owners), Some(target)) = (self.platform.owners(), self.map.page(to)) else {
            return Moved::No;
        };
        if !page.is_sole() {
            return Moved::Busy;
        }
        let bytes = order.pages().bytes();
        let range = PhysRange::new(from.addr(), bytes);
        target.take_flags_of(page);
        let moved = owners.migrate(from, to, order, &|| self.memory.copy(range, to.addr()));
        if moved == Moved::Yes {
            if page.take_from_owner(order) {
                page.set_count(0);
                self.poison(from, order);
                self.tell_free(from, order);
                self.free_taken(from, page, order, None);
            }
        } else {
            target.set_state(PageState::Allocated, order);
        }
        moved
    }

    /// Moves the movable block at `pfn` to where a request finds room for it,
    /// and says where that is (`migrate_pages` of one page).
    ///
    /// # Errors
    ///
    /// Those of [`PageAllocator::free`] where no allocated block starts;
    /// [`Error::NotMovable`] when it can't be moved now; those of
    /// [`PageAllocator::alloc`].
    pub fn migrate_block(&self, pfn: Pfn, request: &AllocRequest) -> Result<Pfn> {
        let page = self.map.page(pfn).ok_or(Error::ForeignPfn)?;
        let order = self.allocated_order(pfn)?;
        let mut list = PageList::NEW;
        if !self.isolate_movable(pfn, page, order, MigrateMode::Sync, &mut list) {
            return Err(self.refuse(Error::NotMovable));
        }
        let mut target = Anywhere {
            buddy: self,
            request,
            last: Err(Error::NotMovable),
        };
        let migrated = self.migrate_pages(&mut list, &mut target);
        let to = target.last;
        if migrated.succeeded != 0 {
            return to;
        }
        self.putback_movable(&mut list);
        Err(match to {
            Err(error) => error,
            Ok(_) => self.refuse(Error::NotMovable),
        })
    }

    /// Counts an event from wherever the caller runs.
    pub(super) fn count_event(&self, event: VmEvent, by: u64) {
        if by != 0 {
            let (cpu, _pinned) = self.platform.pin_cpu();
            self.stats.count(cpu, event, by);
        }
    }

    /// Makes a free block that is on no list one that somebody owns
    /// (`post_alloc_hook` and `set_page_refcounted`).
    pub(super) fn make_allocated(&self, pfn: Pfn, order: PageOrder) {
        if let Some(page) = self.map.page(pfn) {
            self.unpoison(pfn, order);
            page.set_state(PageState::Allocated, order);
            page.set_count(1);
        }
    }
}

/// Blocks are moved to wherever a request is served
/// (`alloc_migration_target`).
pub(super) struct Anywhere<'a, 'b, P, M, Z> {
    pub(super) buddy: &'a BuddySystem<'b, P, M, Z>,
    pub(super) request: &'a AllocRequest,
    /// What the last request came to.
    pub(super) last: Result<Pfn>,
}

impl<P, M, Z> Target for Anywhere<'_, '_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    fn get(&mut self, order: PageOrder) -> Option<Pfn> {
        let gfp = self.request.gfp;
        let gfp = match order {
            PageOrder::ZERO => gfp,
            // As huge pages are asked for elsewhere, too.
            _ => gfp.without(gfp::__GFP_RECLAIM) | gfp::GFP_TRANSHUGE,
        };
        self.last = self.buddy.alloc(&self.request.anew(gfp, order));
        self.last.ok()
    }

    fn put_back(&mut self, pfn: Pfn, order: PageOrder) {
        // It is the caller's own; a refusal is counted.
        let _ = self.buddy.free(pfn, order);
    }
}

/// The pages of a list's blocks.
fn pages_of(list: &PageList, map: &impl MemMap) -> Pages {
    list.iter(map).map(|(_, page)| page.order().pages()).sum()
}
