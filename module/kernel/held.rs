// SPDX-License-Identifier: GPL-2.0

//! What an open file holds: blocks, and how many references to each.

use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::rbtree::RBTreeNodeReservation;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;

/// How many references to one block a file may have: as many are given back
/// when it is closed.
const MAX_REFERENCES: u32 = 1 << 16;

/// A block that an open file holds.
#[derive(Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) order: PageOrder,
    /// The file's own references; at least one.
    pub(crate) references: u32,
}

impl Holding {
    /// A block that the file needs once.
    pub(crate) fn new(order: PageOrder) -> Self {
        Self {
            order,
            references: 1,
        }
    }

    /// One more. Whether that may be is seen before anything is done.
    pub(crate) fn check_one_more(&self) -> CoreResult<()> {
        if self.references < MAX_REFERENCES {
            Ok(())
        } else {
            Err(Error::TooManyReferences)
        }
    }
}

/// The blocks that an open file holds, by first page.
pub(crate) type Held = RBTree<Pfn, Holding>;

/// Room for entries of a [`Held`], made before anything is done that would
/// have to be undone for want of it.
pub(crate) struct Room(KVVec<RBTreeNodeReservation<Pfn, Holding>>);

impl Room {
    /// Room for `count` entries.
    pub(crate) fn new(count: usize) -> CoreResult<Self> {
        let mut room = KVVec::with_capacity(count, GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
        for _ in 0..count {
            let node = RBTreeNodeReservation::new(GFP_KERNEL);
            let node = node.map_err(|_| Error::NoHostMemory)?;
            room.push(node, GFP_KERNEL)
                .map_err(|_| Error::NoHostMemory)?;
        }
        Ok(Self(room))
    }

    /// Enters a block. There is room: whoever made it counted.
    pub(crate) fn enter(&mut self, held: &mut Held, pfn: Pfn, order: PageOrder) {
        if let Some(node) = self.0.pop() {
            held.insert(node.into_node(pfn, Holding::new(order)));
        }
    }
}
