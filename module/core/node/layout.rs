// SPDX-License-Identifier: GPL-2.0

//! What lies where in a node's data, and how a zonelist is put there.
//!
//! ```text
//! [ zones x 4 | fallback refs | nofallback refs | distances | Node ]
//! ```
//!
//! The sizes depend only on how many nodes there are, so that the room can be
//! reserved long before the zones are known, as Linux does.

use super::Node;
use super::NodeStates;
use crate::early::EarlyAlloc;
use crate::early::SMP_CACHE_BYTES;
use crate::error::Result;
use crate::page::NR_ZONE_TYPES;
use crate::phys::placed_size;
use crate::phys::Bytes;
use crate::phys::PhysRange;
use crate::platform::Platform;
use crate::zone::Zone;
use crate::zonelist::ZoneRef;

/// Makes a zonelist of the populated zones of these nodes: the nodes in order,
/// each one's highest zone first (`build_zonerefs_node`).
pub(super) fn place_refs<'m, P: Platform, I: Iterator<Item = &'m [Zone<P>]>>(
    early: &mut impl EarlyAlloc<'m>,
    range: PhysRange,
    nodes: impl Fn() -> I,
) -> Result<&'m [ZoneRef<'m, P>]> {
    let zones = || nodes().flat_map(|zones| zones.iter().rev().filter(|zone| zone.is_populated()));
    let Some(first) = zones().next() else {
        return Ok(&[]);
    };
    let mut rest = zones();
    let refs = early.region()?.place_slice(range, zones().count(), |_| {
        ZoneRef::new(rest.next().unwrap_or(first))
    })?;
    Ok(refs)
}

/// How a node's data is laid out: each part starts on a cache line.
pub(super) struct Layout<P: Platform> {
    memory_nodes: usize,
    nr_node_ids: usize,
    _platform: core::marker::PhantomData<P>,
}

impl<P: Platform> Layout<P> {
    pub(super) fn new(states: &NodeStates) -> Self {
        Self {
            memory_nodes: states.memory.len(),
            nr_node_ids: states.possible.nr_ids(),
            _platform: core::marker::PhantomData,
        }
    }

    /// The sizes of the parts, in their order.
    fn sizes(&self) -> [Bytes; 5] {
        [
            placed_size::<Zone<P>>(NR_ZONE_TYPES),
            placed_size::<ZoneRef<'_, P>>(self.memory_nodes * NR_ZONE_TYPES),
            placed_size::<ZoneRef<'_, P>>(NR_ZONE_TYPES),
            placed_size::<u8>(self.nr_node_ids),
            placed_size::<Node<'_, P>>(1),
        ]
    }

    pub(super) fn total(&self) -> Bytes {
        self.sizes().into_iter().map(whole_lines).sum()
    }

    fn part(&self, data: PhysRange, index: usize) -> PhysRange {
        let sizes = self.sizes();
        let before = sizes.iter().take(index).copied().map(whole_lines).sum();
        let size = sizes.get(index).copied().unwrap_or_default();
        PhysRange::new(data.start + before, whole_lines(size))
    }

    pub(super) fn zones(&self, data: PhysRange) -> PhysRange {
        self.part(data, 0)
    }

    pub(super) fn fallback(&self, data: PhysRange) -> PhysRange {
        self.part(data, 1)
    }

    pub(super) fn nofallback(&self, data: PhysRange) -> PhysRange {
        self.part(data, 2)
    }

    pub(super) fn distances(&self, data: PhysRange) -> PhysRange {
        self.part(data, 3)
    }

    pub(super) fn node(&self, data: PhysRange) -> PhysRange {
        self.part(data, 4)
    }
}

/// `size` rounded up to whole cache lines.
fn whole_lines(size: Bytes) -> Bytes {
    let line = SMP_CACHE_BYTES.0;
    Bytes(size.0.div_ceil(line).saturating_mul(line))
}
