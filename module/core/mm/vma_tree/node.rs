// SPDX-License-Identifier: GPL-2.0

//! The nodes of a tree: how they are named, where they come from and go to.
//!
//! ```text
//! MmCells::tree      [0] the root's name, and which kind of tree it is
//!                    [1] the first of the spare nodes
//!                    [2] how many spare nodes; the depth
//!                    [3] how often the tree's shape has changed
//!
//!  63   62..8             7..2   1     0
//! ┌───┬─────────────────┬──────┬──────┬──────┐
//! │ 1 │ address         │ node │ kind │ leaf │   a name; its kind in the root's alone
//! └───┴─────────────────┴──────┴──────┴──────┘
//! ```
//!
//! A tree keeps a few nodes in store, so that a change which must not fail has what
//! it needs, and what one change frees the next one uses. A node that goes out of
//! use may be another's at once: who looks at it without the mmap lock finds out.

use crate::buddy::gfp::GFP_KERNEL;
use crate::error::Result;
use crate::mm::system::AddressSpaces;
use crate::mm::system::CacheOf;
use crate::mm::NODE_SIZE;
use crate::phys::cells;
use crate::phys::MAX_NODES;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use crate::slab::SlabAllocator;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// How many words a node has.
pub(super) const WORDS: usize = NODE_SIZE / 8;

cells! {
    /// A node, whatever is in it.
    pub(super) struct NodeCells {
        pub(super) words: [AtomicU64; WORDS],
    }
}

const _: () = assert!(MAX_NODES <= 64 && NODE_SIZE == 256);

impl NodeCells {
    /// A word; one that there isn't reads as all ones.
    #[inline(always)]
    pub(super) fn word(&self, index: usize) -> u64 {
        match self.words.get(index) {
            Some(word) => word.load(Relaxed),
            None => u64::MAX,
        }
    }

    /// Writes a word; one that there isn't is not written.
    #[inline(always)]
    pub(super) fn set_word(&self, index: usize, to: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(to, Relaxed);
        }
    }
}

/// A node's name: where it lies and what it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRef(pub(super) u64);

impl NodeRef {
    /// No node.
    pub(super) const NONE: Self = Self(0);
    const LEAF: u64 = 1;
    /// In a root's name: the tree is a red-black tree.
    pub(super) const RED_BLACK: u64 = 2;
    const NID_SHIFT: u32 = 2;
    /// Set in all names, so that they are above all addresses.
    const NAME: u64 = 1 << 63;
    const ADDR_SHIFT: u32 = 8;
    const ADDR: u64 = !Self::NAME >> Self::ADDR_SHIFT << Self::ADDR_SHIFT;

    /// The name of an object on a node.
    #[inline]
    fn new(addr: ObjAddr, nid: usize) -> Self {
        Self(Self::NAME | addr.get() | ((nid as u64) << Self::NID_SHIFT))
    }

    /// The root's name in a tree's first word.
    #[inline(always)]
    pub(super) fn of_root(word: u64) -> Self {
        Self(word & !Self::RED_BLACK)
    }

    /// The same node as a leaf.
    #[inline]
    pub(super) const fn leaf(self) -> Self {
        Self(self.0 | Self::LEAF)
    }

    #[inline(always)]
    pub(super) const fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    #[inline(always)]
    pub(super) const fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    const fn nid(self) -> usize {
        (self.0 >> Self::NID_SHIFT) as usize & 63
    }

    #[inline(always)]
    pub(super) const fn addr(self) -> u64 {
        self.0 & Self::ADDR
    }
}

/// The memory of one node's main window as tree nodes, and which address it begins at.
///
/// # Invariants
///
/// None: what is found in it is a node, or cells that anybody wrote.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'m> {
    all: &'m [NodeCells],
    first: u64,
}

impl<'m> Blocks<'m> {
    const NONE: Self = Self { all: &[], first: 0 };

    /// What is at a name, if it is in here.
    #[inline(always)]
    pub(super) fn get(&self, node: NodeRef) -> Option<&'m NodeCells> {
        let index = (node.0 >> NodeRef::ADDR_SHIFT).wrapping_sub(self.first);
        self.all.get(index as usize)
    }
}

/// The memory of one tree.
pub(super) struct Nodes<'a, 'm, P: Platform> {
    spaces: AddressSpaces<'a, 'm, P>,
    root: &'m [AtomicU64; 4],
    /// Where the root is, and most others.
    home: Blocks<'m>,
}

impl<P: Platform> Clone for Nodes<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Nodes<'_, '_, P> {}

const DEPTH_SHIFT: u32 = 32;
const SPARES: u64 = (1 << DEPTH_SHIFT) - 1;

impl<'a, 'm, P: Platform> Nodes<'a, 'm, P> {
    #[inline(always)]
    pub(super) fn new(spaces: AddressSpaces<'a, 'm, P>, root: &'m [AtomicU64; 4]) -> Self {
        let mut nodes = Self {
            spaces,
            root,
            home: Blocks::NONE,
        };
        nodes.home = nodes.blocks(NodeRef(nodes.root_word()));
        nodes
    }

    /// Where the root is.
    #[inline(always)]
    pub(super) fn home(&self) -> Blocks<'m> {
        self.home
    }

    /// The main window that a name says it is in.
    #[inline(always)]
    pub(super) fn blocks(&self, node: NodeRef) -> Blocks<'m> {
        match SlabAllocator::new(self.spaces.mm).window_at(node.nid()) {
            Some(window) => Blocks {
                all: window.all(),
                first: (window.range().start.0 | NodeRef::NAME) >> NodeRef::ADDR_SHIFT,
            },
            None => Blocks::NONE,
        }
    }

    /// What is at a name; `None` where there can't be a node.
    #[inline(always)]
    pub(super) fn get(&self, node: NodeRef) -> Option<&'m NodeCells> {
        match self.home.get(node) {
            Some(cells) => Some(cells),
            None => self.get_elsewhere(node),
        }
    }

    #[inline(never)]
    fn get_elsewhere(&self, node: NodeRef) -> Option<&'m NodeCells> {
        // Whoever has gone astray may have read anything.
        if node.0 & NodeRef::NAME == 0 {
            return None;
        }
        match self.blocks(node).get(node) {
            Some(cells) => Some(cells),
            None => SlabAllocator::new(self.spaces.mm).cells(node.addr()),
        }
    }

    /// The root's name with the kind.
    #[inline(always)]
    pub(super) fn root_word(&self) -> u64 {
        self.root[0].load(Acquire)
    }

    #[inline(always)]
    pub(super) fn root(&self) -> NodeRef {
        NodeRef::of_root(self.root_word())
    }

    /// Has another root. The tree's kind stays.
    pub(super) fn set_root(&self, to: NodeRef) {
        let kind = self.root[0].load(Relaxed) & NodeRef::RED_BLACK;
        self.root[0].store(to.0 | kind, Release);
    }

    /// A tree of this kind without any node.
    pub(super) fn set_empty(&self, kind: u64) {
        self.root[0].store(kind & NodeRef::RED_BLACK, Release);
        for word in self.root.iter().skip(1) {
            word.store(0, Relaxed);
        }
    }

    /// How often the tree's shape has changed.
    #[inline(always)]
    pub(super) fn sequence(&self) -> u64 {
        self.root[3].load(Acquire)
    }

    /// The word that counts that.
    #[inline(always)]
    pub(super) fn sequence_word(&self) -> &'m AtomicU64 {
        &self.root[3]
    }

    /// How many levels the tree has.
    #[inline(always)]
    pub(super) fn depth(&self) -> usize {
        (self.root[2].load(Relaxed) >> DEPTH_SHIFT) as usize
    }

    pub(super) fn set_depth(&self, depth: usize) {
        let spares = self.root[2].load(Relaxed) & SPARES;
        self.root[2].store(spares | ((depth as u64) << DEPTH_SHIFT), Relaxed);
    }

    /// How many nodes are in store.
    #[inline(always)]
    pub(super) fn spares(&self) -> usize {
        (self.root[2].load(Relaxed) & SPARES) as usize
    }

    /// Takes a node from the store, as whoever had it last has left it.
    pub(super) fn take(&self) -> Option<(NodeRef, &'m NodeCells)> {
        let first = NodeRef(self.root[1].load(Relaxed));
        if first.is_none() {
            return None;
        }
        let node = self.get(first)?;
        self.root[1].store(node.word(0), Relaxed);
        let counts = self.root[2].load(Relaxed);
        self.root[2].store(counts.wrapping_sub(1), Relaxed);
        Some((first, node))
    }

    /// Puts a node into the store.
    pub(super) fn put(&self, node: NodeRef) {
        let node = NodeRef(node.0 & !NodeRef::LEAF);
        if let Some(cells) = self.get(node) {
            cells.set_word(0, self.root[1].load(Relaxed));
            self.root[1].store(node.0, Relaxed);
            let counts = self.root[2].load(Relaxed);
            self.root[2].store(counts.wrapping_add(1), Relaxed);
        }
    }

    /// Has so many nodes in store at least.
    ///
    /// # Errors
    ///
    /// Those of the cache; what was taken meanwhile stays in store.
    #[cold]
    #[inline(never)]
    pub(super) fn fill(&self, count: usize) -> Result<()> {
        let cache = self.spaces.cache(CacheOf::Node)?;
        let slab = SlabAllocator::new(self.spaces.mm);
        while self.spares() < count {
            let object = cache.alloc(&ObjRequest::new(GFP_KERNEL))?;
            self.put(NodeRef::new(object, slab.window_number(object.get())));
        }
        Ok(())
    }

    /// Gives nodes back until so many are in store.
    #[cold]
    #[inline(never)]
    pub(super) fn trim(&self, count: usize) {
        let Ok(cache) = self.spaces.cache(CacheOf::Node) else {
            return;
        };
        while self.spares() > count {
            let Some((node, _)) = self.take() else {
                break;
            };
            // It is the tree's own.
            let _ = cache.free(ObjAddr::new(node.addr()));
        }
    }

    /// Whether the store is what its count says.
    pub(super) fn validate(&self) -> bool {
        let mut node = NodeRef(self.root[1].load(Relaxed));
        for _ in 0..self.spares() {
            match self.get(node) {
                Some(cells) if !node.is_none() => node = NodeRef(cells.word(0)),
                _ => return false,
            }
        }
        node.is_none()
    }
}
