// SPDX-License-Identifier: GPL-2.0

//! Which CPU belongs to which node: what the SRAT says.
//!
//! Follows `arch/x86/mm/srat.c`.

use crate::error::Error;
use crate::error::Result;
use crate::phys::CpuId;
use crate::phys::NodeId;
use crate::phys::MAX_CPUS;

/// One CPU and its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPU.
    pub cpu: CpuId,
    /// Its node.
    pub nid: NodeId,
}

/// The nodes of the CPUs (`x86_cpu_to_node_map`), 1 KB.
pub struct CpuMap {
    /// A node for each CPU number; negative for none.
    nid: [i16; MAX_CPUS],
}

impl Clone for CpuMap {
    fn clone(&self) -> Self {
        Self { nid: self.nid }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.nid.copy_from_slice(&source.nid);
    }
}

impl Default for CpuMap {
    fn default() -> Self {
        Self::NEW
    }
}

impl CpuMap {
    /// No CPU has a node.
    pub const NEW: Self = Self {
        nid: [-1; MAX_CPUS],
    };

    /// Forgets all CPUs.
    pub fn clear(&mut self) {
        self.nid.fill(-1);
    }

    /// Gives a CPU a node, again if it had one (`numa_set_node()`).
    ///
    /// # Errors
    ///
    /// [`Error::MapBadNode`] for a node out of range,
    /// [`Error::MapTooManyEntries`] for a CPU number of [`MAX_CPUS`] or more.
    pub fn push(&mut self, cpu: u32, nid: i32) -> Result<()> {
        if NodeId(nid).is_none() {
            return Err(Error::MapBadNode);
        }
        let slot = self.nid.get_mut(cpu as usize);
        *slot.ok_or(Error::MapTooManyEntries)? = nid as i16;
        Ok(())
    }

    /// The node of a CPU (`early_cpu_to_node()`).
    pub fn node(&self, cpu: CpuId) -> NodeId {
        let nid = self.nid.get(cpu.0 as usize);
        nid.map_or(NodeId::NONE, |&nid| NodeId(i32::from(nid)))
    }

    /// The CPUs that have a node, in their order.
    pub fn iter(&self) -> impl Iterator<Item = CpuAffinity> + Clone + '_ {
        let all = (0..MAX_CPUS as u32).map(CpuId);
        let all = all.map(|cpu| CpuAffinity {
            cpu,
            nid: self.node(cpu),
        });
        all.filter(|c| !c.nid.is_none())
    }

    /// How many CPUs have a node.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Puts every CPU that has a node on node `nid`.
    pub(super) fn set_all(&mut self, nid: NodeId) {
        for slot in self.nid.iter_mut().filter(|n| **n >= 0) {
            *slot = nid.0 as i16;
        }
    }
}
