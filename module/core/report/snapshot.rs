// SPDX-License-Identifier: GPL-2.0

//! What a running shadow answers to all reports.

use super::Accounting;
use super::Event;
use super::FallbackModel;
use super::MemoryTotals;
use super::NodeModel;
use super::NodeStat;
use super::PageTypeModel;
use super::PagesetModel;
use super::ResourceModel;
use super::SystemStat;
use super::ZoneModel;
use crate::page::ZoneType;
use crate::phys::CpuId;
use crate::phys::NodeId;
use core::fmt;

/// A visitor wants to see no more: its output has failed or is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// How a walk goes on: `Ok` to the next one, `Err` out of the walk.
pub type Walk = core::result::Result<(), Stop>;

impl From<fmt::Error> for Stop {
    fn from(_: fmt::Error) -> Self {
        Self
    }
}

impl From<Stop> for fmt::Error {
    fn from(_: Stop) -> Self {
        Self
    }
}

/// The running shadow, as reports see it.
///
/// A walk ends with the first error that its visitor returns, and returns it.
/// The numbers of different calls need not be of the same moment, as in
/// `/proc`.
pub trait Snapshot {
    /// Shows the zones, node by node as [`Snapshot::for_each_node`], and in
    /// each node all kinds from DMA to Movable, populated or not.
    fn for_each_zone(&self, visit: &mut dyn FnMut(&ZoneModel) -> Walk) -> Walk;

    /// Shows the online nodes in the order of their numbers.
    fn for_each_node(&self, visit: &mut dyn FnMut(&NodeModel) -> Walk) -> Walk;

    /// Shows the resources as `/proc/iomem` lists them: each one after the
    /// one it lies in. [`super::iomem::for_each_resource`] makes the list.
    fn for_each_resource(&self, visit: &mut dyn FnMut(&ResourceModel) -> Walk) -> Walk;

    /// A zone's free blocks and page blocks by migrate type; `None` when there
    /// is no such zone or no types are kept.
    fn page_types(&self, _nid: NodeId, _kind: ZoneType) -> Option<PageTypeModel> {
        None
    }

    /// How often requests took from other types' page blocks in a zone; `None`
    /// where that is not counted.
    fn fallbacks(&self, _nid: NodeId, _kind: ZoneType) -> Option<FallbackModel> {
        None
    }

    /// Where the memory went.
    fn accounting(&self) -> Accounting;

    /// How many CPU numbers there are; see [`Snapshot::pageset`].
    fn nr_cpus(&self) -> u32;

    /// A zone's pages on a CPU; `None` for a CPU that is not online.
    fn pageset(&self, _nid: NodeId, _kind: ZoneType, cpu: CpuId) -> Option<PagesetModel> {
        Some(PagesetModel::boot(cpu))
    }

    /// What there is of memory besides that of zones and nodes.
    fn totals(&self) -> MemoryTotals {
        MemoryTotals::NONE
    }

    /// A counter of a node (`node_page_state_pages`); for [`NodeId::NONE`], what
    /// is counted for no node in particular.
    fn node_stat(&self, _nid: NodeId, _item: NodeStat) -> u64 {
        0
    }

    /// A counter that there is one of.
    fn system_stat(&self, _item: SystemStat) -> u64 {
        0
    }

    /// How often something has happened (`all_vm_events`).
    fn event(&self, _item: Event) -> u64 {
        0
    }
}
