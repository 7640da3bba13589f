// SPDX-License-Identifier: GPL-2.0

//! How far the nodes are apart: the SLIT's table.
//!
//! A distance is a ratio: 10 is local, 20 takes twice as long. What nobody
//! set is 10 to oneself and 20 to anybody else.

use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::MAX_NODES;

/// A node's distance to itself (`LOCAL_DISTANCE`).
pub const LOCAL_DISTANCE: u8 = 10;
/// The distance between two nodes of which nothing is known
/// (`REMOTE_DISTANCE`).
pub const REMOTE_DISTANCE: u8 = 20;

/// The distances from each node to each (`numa_distance`), 4 KB.
pub struct Slit {
    /// Row by row, `MAX_NODES` wide; 0 where nothing was set.
    distance: [u8; MAX_NODES * MAX_NODES],
}

impl Clone for Slit {
    fn clone(&self) -> Self {
        Self {
            distance: self.distance,
        }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.distance.copy_from_slice(&source.distance);
    }
}

impl Default for Slit {
    fn default() -> Self {
        Self::NEW
    }
}

impl Slit {
    /// All distances are the defaults.
    pub const NEW: Self = Self {
        distance: [0; MAX_NODES * MAX_NODES],
    };

    /// Forgets all distances (`numa_reset_distance()`).
    pub fn clear(&mut self) {
        self.distance.fill(0);
    }

    fn slot(from: NodeId, to: NodeId) -> Option<usize> {
        Some(from.index()? * MAX_NODES + to.index()?)
    }

    /// Sets one distance (`numa_set_distance()`).
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`] for a node out of range, and
    /// [`Error::MapBadDistance`] for one to itself that is not 10, below 10,
    /// or above 255. Two nodes may be 10 apart: the fake nodes of `numa=fake`
    /// are.
    pub fn set(&mut self, from: i32, to: i32, distance: u32) -> Result<()> {
        let slot = Self::slot(NodeId(from), NodeId(to)).ok_or(Error::MapBadNode)?;
        let distance = u8::try_from(distance).map_err(|_| Error::MapBadDistance)?;
        if distance < LOCAL_DISTANCE || (from == to && distance != LOCAL_DISTANCE) {
            return Err(Error::MapBadDistance);
        }
        if let Some(d) = self.distance.get_mut(slot) {
            *d = distance;
        }
        Ok(())
    }

    /// Sets the distances between the first `nr_nodes` nodes, row by row.
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`] for more nodes than there can be or a table of
    /// another size; [`Error::MapBadDistance`] as in [`Slit::set`]. Nothing
    /// has changed then.
    pub fn set_rows(&mut self, nr_nodes: u32, rows: &[u8]) -> Result<()> {
        let n = nr_nodes as usize;
        if n > MAX_NODES || rows.len() != n.saturating_mul(n) {
            return Err(Error::MapBadNode);
        }
        let bad = |(i, &d): (usize, &u8)| d < LOCAL_DISTANCE || (i % (n + 1) == 0 && d != 10);
        if rows.iter().enumerate().any(bad) {
            return Err(Error::MapBadDistance);
        }
        for (from, row) in rows.chunks(n.max(1)).enumerate() {
            for (to, &d) in row.iter().enumerate() {
                self.set(from as i32, to as i32, u32::from(d))?;
            }
        }
        Ok(())
    }

    /// How far `to` is from `from` (`node_distance()`).
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        let set = Self::slot(from, to).and_then(|slot| self.distance.get(slot));
        match set {
            Some(&d) if d != 0 => d,
            _ if from == to => LOCAL_DISTANCE,
            _ => REMOTE_DISTANCE,
        }
    }

    /// Whether any distance was set.
    pub fn is_set(&self) -> bool {
        self.distance.iter().any(|&d| d != 0)
    }
}

/// Whether a SLIT of `nr_nodes` localities makes sense (`slit_valid()`): 10 on
/// the diagonal and more elsewhere. Linux ignores one that does not, because
/// many a firmware writes 10 everywhere.
pub fn slit_valid(nr_nodes: usize, rows: &[u8]) -> bool {
    rows.len() == nr_nodes.saturating_mul(nr_nodes)
        && rows.iter().enumerate().all(|(i, &d)| {
            let local = i % nr_nodes.saturating_add(1) == 0;
            if local {
                d == LOCAL_DISTANCE
            } else {
                d > LOCAL_DISTANCE
            }
        })
}
