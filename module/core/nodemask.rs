// SPDX-License-Identifier: GPL-2.0

//! Sets of nodes (`nodemask_t`): one bit a node, lowest number first.

use crate::phys::NodeId;
use crate::phys::MAX_NODES;
use core::fmt;

/// A set of nodes. Numbers outside `0..MAX_NODES` are never in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct NodeMask(u64);

const _: () = assert!(MAX_NODES == u64::BITS as usize);

impl NodeMask {
    /// No node (`NODE_MASK_NONE`).
    pub const NONE: Self = Self(0);
    /// Every node (`NODE_MASK_ALL`).
    pub const ALL: Self = Self(u64::MAX);

    /// The nodes whose bits are set.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each node.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Adds `nid` (`node_set`); no node in particular is ignored.
    pub fn insert(&mut self, nid: NodeId) {
        self.0 |= bit(nid);
    }

    /// Whether `nid` is in it (`node_isset`).
    #[inline]
    pub const fn contains(self, nid: NodeId) -> bool {
        self.0 & bit(nid) != 0
    }

    /// What is in either (`nodes_or`).
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of it is in `other` (`nodes_subset`).
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// How many nodes (`nodes_weight`).
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no node is in it (`nodes_empty`).
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest node (`first_node`).
    pub fn first(self) -> Option<NodeId> {
        self.iter().next()
    }

    /// One more than the highest node; 0 for no node (`nr_node_ids`).
    pub const fn nr_ids(self) -> usize {
        (u64::BITS - self.0.leading_zeros()) as usize
    }

    /// The nodes, lowest first (`for_each_node_mask`).
    pub fn iter(self) -> impl Iterator<Item = NodeId> + Clone {
        (0..MAX_NODES as i32)
            .map(NodeId)
            .filter(move |&nid| self.contains(nid))
    }
}

impl FromIterator<NodeId> for NodeMask {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut mask = Self::NONE;
        nodes.into_iter().for_each(|nid| mask.insert(nid));
        mask
    }
}

/// As `%*pbl` prints it: `0-1,4`.
impl fmt::Display for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for first in self.iter() {
            if first.0 > 0 && self.contains(NodeId(first.0 - 1)) {
                continue;
            }
            write!(f, "{comma}{first}")?;
            let run = (self.0 >> (first.0 as u32 & 63)).trailing_ones() as i32;
            if run > 1 {
                write!(f, "-{}", first.0.saturating_add(run - 1))?;
            }
            comma = ",";
        }
        Ok(())
    }
}

const fn bit(nid: NodeId) -> u64 {
    match nid.index() {
        Some(index) => 1 << index,
        None => 0,
    }
}
