// SPDX-License-Identifier: GPL-2.0

//! One table: 512 entries in a page, and its lock.
//!
//! The two words of its page's descriptor that link pages in lists are the owner's
//! while the page is allocated:
//!
//! ```text
//! next   the table's lock; of a table that is laid by, the next one
//! prev   of a table of the second level: the tables that are laid by in it, one for
//!        each of its huge entries, so that these can be split without memory
//! ```

use super::entry::Entry;
use crate::page::PageDescriptor;
use crate::page::PageLink;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// Entries in a table (`PTRS_PER_PTE`).
pub const ENTRIES: usize = 512;

/// The entries of a table, as they lie in its page.
pub(in super::super) type Entries = [AtomicU64; ENTRIES];

/// A table.
#[derive(Clone, Copy)]
pub(in super::super) struct Table<'m> {
    pub(in super::super) pfn: Pfn,
    pub(in super::super) entries: &'m Entries,
    pub(in super::super) page: &'m PageDescriptor,
}

/// Nobody has it.
const FREE: u32 = 0;
/// Somebody has it.
const HELD: u32 = 1;
/// Somebody has it, and somebody waits for it.
const WANTED: u32 = 2;

/// A table's lock, until it is dropped: its entries and those of the host's are the
/// holder's.
pub(in super::super) struct TableLock<'l, P: Platform>(&'l P, &'l AtomicU32);

impl<P: Platform> Drop for TableLock<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if self.1.swap(FREE, Release) == WANTED {
            self.0.wake(self.1);
        }
    }
}

impl<'m> Table<'m> {
    /// Before anybody else knows of it: nobody has its lock, and nothing is laid by.
    pub(super) fn init(&self) {
        self.page.owner_word().store(FREE, Relaxed);
        self.page.set_prev(None);
    }

    /// Waits until nobody has the table's lock, and takes it. Sleeps.
    #[inline]
    pub(in super::super) fn lock<'l, P: Platform>(&self, platform: &'l P) -> TableLock<'l, P>
    where
        'm: 'l,
    {
        let word = self.page.owner_word();
        if word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            wait(platform, word);
        }
        TableLock(platform, word)
    }

    /// The place of an entry.
    #[inline]
    pub(in super::super) fn slot(&self, index: usize) -> &'m AtomicU64 {
        // The mask changes no index; it spares the check.
        &self.entries[index & (ENTRIES - 1)]
    }

    /// An entry.
    #[inline]
    pub(in super::super) fn get(&self, index: usize) -> Entry {
        Entry(self.slot(index).load(Acquire))
    }

    /// Changes an entry; the caller has the lock.
    #[inline]
    pub(in super::super) fn set(&self, index: usize, entry: Entry) {
        self.slot(index).store(entry.0, Release);
    }

    /// Lays a table by (`pgtable_trans_huge_deposit`); the caller has this one's lock.
    pub(in super::super) fn lay_by(&self, other: Table<'m>) {
        other.page.set_next_link(self.page.prev_link());
        self.page.set_prev_link(PageLink::from(other.pfn));
    }

    /// The frame of one that was laid by (`pgtable_trans_huge_withdraw`); the caller has
    /// the lock. It is taken off by [`Table::forget`].
    pub(in super::super) fn laid_by(&self) -> Option<Pfn> {
        self.page.prev()
    }

    /// Takes off the one that [`Table::laid_by`] has told of.
    pub(in super::super) fn forget(&self, other: Table<'m>) {
        self.page.set_prev_link(other.page.next_link());
        other.init();
    }
}

#[cold]
#[inline(never)]
fn wait<P: Platform>(platform: &P, word: &AtomicU32) {
    while word.swap(WANTED, Acquire) != FREE {
        platform.wait_while(word, &mut || word.load(Relaxed) == WANTED);
    }
}
