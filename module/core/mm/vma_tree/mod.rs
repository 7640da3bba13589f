// SPDX-License-Identifier: GPL-2.0

//! Which range of addresses is which VMA.
//!
//! ```text
//! VmaTree         what an address space has: one of two, chosen when it begins
//!   maple.rs        B-tree of ranges and gaps         since Linux 6.1
//!     maple_node.rs    what is in a node
//!     maple_store.rs   changes in place
//!     maple_splice.rs  changes that need nodes
//!     maple_gap.rs     the search for room
//!     maple_validate.rs
//!   rblist.rs       red-black tree and list           up to Linux 6.0
//!     rblist_store.rs rblist_balance.rs rblist_gap.rs rblist_validate.rs
//!   node.rs       where nodes come from
//! ```
//!
//! # Who may do what
//!
//! - [`VmaTree::lookup`]: whoever is pinned, without any lock. What it says may be wrong
//!   while the tree changes; the VMA that it names says whether it is the right one.
//! - What reads besides: who has the mmap lock, for reading at least.
//! - What changes: who has it for writing.

mod maple;
mod maple_gap;
mod maple_node;
mod maple_splice;
mod maple_store;
mod maple_validate;
mod node;
mod rblist;
mod rblist_balance;
mod rblist_gap;
mod rblist_store;
mod rblist_validate;

use super::system::AddressSpace;
use super::system::AddressSpaces;
use crate::error::Result;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use maple::Cursor;
use maple::Maple;
use node::NodeRef;
use node::Nodes;
use rblist::RbList;

/// How a tree keeps its ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeKind {
    /// In a B-tree of ranges, as Linux does since 6.1.
    #[default]
    Maple,
    /// In a red-black tree and a list, as Linux did before.
    RbList,
}

/// A range and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first address.
    pub start: u64,
    /// Behind its last address.
    pub end: u64,
    /// What was stored for it; not 0.
    pub value: u64,
}

/// What both kinds of tree are. Values are not 0; a store of 0 makes a gap.
trait RangeTree {
    /// See [`VmaTree::lookup`].
    fn lookup(&self, addr: u64) -> Option<u64>;
    /// See [`VmaTree::find`].
    fn find(&self, addr: u64) -> Option<Entry>;
    /// See [`VmaTree::prev`].
    fn prev(&self, addr: u64) -> Option<Entry>;
    /// How many nodes in store so many stores take at most.
    fn nodes_for(&self, stores: usize) -> usize;
    /// See [`VmaTree::store`]; whether there were nodes enough. Nothing has changed
    /// otherwise.
    fn store(&self, start: u64, end: u64, value: u64) -> bool;
    /// See [`VmaTree::gap_below`].
    fn gap_below(&self, low: u64, high: u64, size: u64) -> Option<u64>;
    /// See [`VmaTree::gap_above`].
    fn gap_above(&self, low: u64, high: u64, size: u64) -> Option<u64>;
    /// No entry any more; the nodes are in store.
    fn clear(&self);
    /// See [`VmaTree::validate`].
    fn validate(&self) -> Result<()>;
}

/// Asks the tree of the kind that it is.
macro_rules! either {
    ($self:ident.$function:ident($($arg:expr),*)) => {
        match $self.kind() {
            TreeKind::Maple => Maple { nodes: $self.nodes }.$function($($arg),*),
            TreeKind::RbList => RbList { nodes: $self.nodes }.$function($($arg),*),
        }
    };
}

/// The ranges of one address space: a view, made anew wherever it is needed
/// ([`AddressSpace::tree`]).
///
/// A range goes from its start up to its end, which is not in it, and both are
/// multiples of the page size. A value is not 0.
pub struct VmaTree<'a, 'm, P: Platform> {
    nodes: Nodes<'a, 'm, P>,
}

impl<P: Platform> Clone for VmaTree<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for VmaTree<'_, '_, P> {}

/// What there is for stores that must not fail (`mas_preallocate`). What is too much
/// of it goes back when it is dropped.
#[must_use = "what was reserved goes back at once"]
pub struct Reserve<'a, 'm, P: Platform> {
    tree: VmaTree<'a, 'm, P>,
    is_spent: bool,
}

impl<P: Platform> Reserve<'_, '_, P> {
    /// Whether a store was not done, since this was made for fewer and there was no
    /// memory for more.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }
}

impl<P: Platform> Drop for Reserve<'_, '_, P> {
    fn drop(&mut self) {
        let keep = self.tree.nodes_for(1);
        if self.tree.nodes.spares() > keep {
            self.tree.nodes.trim(keep);
        }
    }
}

/// See [`VmaTree::iter`].
pub struct Entries<'a, 'm, P: Platform> {
    tree: VmaTree<'a, 'm, P>,
    at: u64,
    end: u64,
    cursor: Option<Cursor<'m>>,
}

impl<P: Platform> Iterator for Entries<'_, '_, P> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.at >= self.end {
            return None;
        }
        let nodes = self.tree.nodes;
        let entry = match self.tree.kind() {
            TreeKind::Maple => Maple { nodes }.find_from(self.at, &mut self.cursor),
            TreeKind::RbList => RbList { nodes }.find(self.at),
        };
        let entry = entry.filter(|entry| entry.start < self.end);
        // Nothing comes behind the last one.
        self.at = entry.map_or(self.end, |entry| entry.end);
        entry
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Its VMAs.
    #[inline(always)]
    pub fn tree(&self) -> VmaTree<'a, 'm, P> {
        VmaTree::at(self.system, &self.cells.tree)
    }
}

impl<'a, 'm, P: Platform> VmaTree<'a, 'm, P> {
    /// The tree whose beginning is in these cells: one of [`VmaTree::begin`], or
    /// zeroes.
    #[inline(always)]
    pub fn at(spaces: AddressSpaces<'a, 'm, P>, root: &'m [AtomicU64; 4]) -> Self {
        Self {
            nodes: Nodes::new(spaces, root),
        }
    }

    /// Begins as an empty tree of this kind, whatever is in the cells.
    pub fn begin(&self, kind: TreeKind) {
        self.nodes.set_empty(match kind {
            TreeKind::Maple => 0,
            TreeKind::RbList => NodeRef::RED_BLACK,
        });
    }

    /// Of which kind it is.
    #[inline(always)]
    pub fn kind(&self) -> TreeKind {
        match self.nodes.root_word() & NodeRef::RED_BLACK {
            0 => TreeKind::Maple,
            _ => TreeKind::RbList,
        }
    }

    /// What is stored for an address, for a caller who is pinned and has no lock
    /// (`mas_walk`). A few steps, whatever the tree is going through; what they lead to
    /// may be wrong then.
    #[inline(always)]
    pub fn lookup(&self, addr: u64) -> Option<u64> {
        match self.kind() {
            TreeKind::Maple => Maple { nodes: self.nodes }.lookup(addr),
            // Not beside the other, which has the registers for itself.
            TreeKind::RbList => self.lookup_red_black(addr),
        }
    }

    #[cold]
    #[inline(never)]
    fn lookup_red_black(&self, addr: u64) -> Option<u64> {
        RbList { nodes: self.nodes }.lookup(addr)
    }

    /// The first entry that ends above an address (`find_vma`).
    pub fn find(&self, addr: u64) -> Option<Entry> {
        either!(self.find(addr))
    }

    /// The last entry that begins below an address.
    pub fn prev(&self, addr: u64) -> Option<Entry> {
        either!(self.prev(addr))
    }

    /// The first entry that begins at an address or above.
    pub fn next(&self, addr: u64) -> Option<Entry> {
        let entry = self.find(addr)?;
        match entry.start < addr {
            true => self.find(entry.end),
            false => Some(entry),
        }
    }

    /// The entry with the lowest addresses.
    pub fn first(&self) -> Option<Entry> {
        self.find(0)
    }

    /// The entry with the highest.
    pub fn last(&self) -> Option<Entry> {
        self.prev(u64::MAX)
    }

    /// The entries that have addresses from `start` up to `end`, lowest first
    /// (`for_each_vma_range`). What is stored meanwhile behind the last one is seen.
    pub fn iter(&self, start: u64, end: u64) -> Entries<'a, 'm, P> {
        Entries {
            tree: *self,
            at: start,
            end,
            cursor: None,
        }
    }

    /// How many entries there are. Counts them.
    pub fn len(&self) -> usize {
        self.iter(0, u64::MAX).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    #[inline]
    fn nodes_for(&self, stores: usize) -> usize {
        either!(self.nodes_for(stores))
    }

    /// Has what so many stores may need (`mas_preallocate`).
    ///
    /// # Errors
    ///
    /// Those of the cache of nodes.
    #[inline]
    pub fn reserve(&self, stores: usize) -> Result<Reserve<'a, 'm, P>> {
        let reserve = Reserve {
            tree: *self,
            is_spent: false,
        };
        let count = self.nodes_for(stores);
        if self.nodes.spares() < count {
            self.nodes.fill(count)?;
        }
        Ok(reserve)
    }

    /// Has `value` from `start` up to `end`, or nothing, instead of whatever was there
    /// (`mas_store_prealloc`). A range that is empty changes nothing.
    #[inline]
    pub fn store(
        &self,
        start: u64,
        end: u64,
        value: Option<u64>,
        reserve: &mut Reserve<'a, 'm, P>,
    ) {
        let done = either!(self.store(start, end, value.unwrap_or(0)));
        reserve.is_spent |= !done;
    }

    /// The highest start of `size` free bytes that lie from `low` up to `high`
    /// (`mas_empty_area_rev`).
    pub fn gap_below(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        either!(self.gap_below(low, high, size))
    }

    /// The lowest start of `size` free bytes that lie from `low` up to `high`
    /// (`mas_empty_area`).
    pub fn gap_above(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        either!(self.gap_above(low, high, size))
    }

    /// Has no entry any more, and nothing in store (`__mt_destroy`).
    pub fn destroy(&self) {
        either!(self.clear());
        self.nodes.trim(0);
    }

    /// Checks everything that holds of a tree.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::error::Error::Corrupt).
    pub fn validate(&self) -> Result<()> {
        either!(self.validate())
    }
}
