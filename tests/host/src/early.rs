// SPDX-License-Identifier: GPL-2.0

//! A memblock that only counts up: memory of any size is described, and what
//! is allocated lies in a small scratch region far above it.

use crate::HostPlatform;
use shadowmm_core::early::EarlyAlloc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::node::Nodes;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::phys::*;
use shadowmm_core::sparse::memmap_init;
use shadowmm_core::sparse::SectionOrder;
use shadowmm_core::sparse::Sparse;
use shadowmm_core::zone::ZoneConfig;

/// Where the scratch region starts: above all memory that tests describe.
const SCRATCH: Pfn = Pfn(0xf000_0000);

/// A range of memory: node, first page, page behind the last.
pub type Memory = (NodeId, PfnRange);

/// `(node, start, end)`, in pages, as a range of memory.
pub fn memory(nid: i32, start: u64, end: u64) -> Memory {
    let (start, end) = (Pfn(start), Pfn(end));
    (NodeId(nid), PfnRange { start, end })
}

/// Room for what the early stages allocate.
pub fn scratch(pages: usize) -> Vec<PageBytes> {
    vec![PageBytes([0; PAGE_SIZE as usize]); pages]
}

/// Pages of scratch that are enough for the descriptors of `memory` at
/// `order`, the tables and the nodes.
pub fn scratch_for(memory: &[Memory], order: SectionOrder) -> usize {
    let (present, _) = order.count(memory.iter().copied());
    let descriptors = (present as usize * 16) << order.get();
    2 * descriptors / 4096 + 1024
}

/// See the head of this file.
pub struct CountingAlloc<'m> {
    memory: Vec<Memory>,
    region: Box<Region<'m>>,
    next: PhysAddr,
    /// What was allocated, for which node.
    pub allocated: Vec<(PhysRange, NodeId)>,
}

impl<'m> CountingAlloc<'m> {
    /// A memblock with this memory, whose allocations go to `scratch`.
    pub fn new(memory: &[Memory], scratch: &'m mut [PageBytes]) -> Self {
        let pages = Pages(scratch.len() as u64);
        let mut backing = Backing::new();
        let run = BackingRun::from_pages(scratch, NodeId(0));
        backing.push(run).expect("one run");
        let mut region = Box::new(Region::EMPTY);
        let range = PfnRange {
            start: SCRATCH,
            end: SCRATCH + pages,
        };
        region
            .lay(&backing, [(NodeId(0), range)].into_iter())
            .expect("the scratch region");
        Self {
            memory: memory.to_vec(),
            region,
            next: SCRATCH.addr(),
            allocated: Vec::new(),
        }
    }
}

impl<'m> EarlyAlloc<'m> for CountingAlloc<'m> {
    fn memory(&self, index: usize) -> Option<Memory> {
        self.memory.get(index).copied()
    }

    fn alloc(
        &mut self,
        size: Bytes,
        align: Bytes,
        _min: PhysAddr,
        nid: NodeId,
    ) -> Result<PhysRange> {
        let start = self.next.align_up(align).ok_or(Error::MemblockNoMemory)?;
        let range = PhysRange::new(start, size);
        if !self.region.is_contiguous(range) {
            return Err(Error::MemblockNoMemory);
        }
        self.next = range.end;
        self.allocated.push((range, nid));
        Ok(range)
    }

    fn free(&mut self, _range: PhysRange) -> Result<()> {
        Ok(())
    }

    fn region(&mut self) -> Result<&mut Region<'m>> {
        Ok(&mut self.region)
    }
}

/// A shadow at the end of its zones stage.
pub struct Shadow<'m> {
    /// Its memory.
    pub memory: Vec<Memory>,
    /// Its sections.
    pub sparse: Sparse<'m>,
    /// Its nodes.
    pub nodes: Box<Nodes<'m, HostPlatform>>,
}

impl<'m> Shadow<'m> {
    /// The ranges of memory, as core wants them.
    pub fn ranges(&self) -> std::iter::Copied<std::slice::Iter<'_, Memory>> {
        self.memory.iter().copied()
    }

    /// Boots `memory` up to the zones stage. `cpus` are the nodes with CPUs.
    pub fn boot(
        memory: &[Memory],
        scratch: &'m mut [PageBytes],
        order: SectionOrder,
        config: &ZoneConfig,
        cpus: NodeMask,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<Self> {
        let mut early = CountingAlloc::new(memory, scratch);
        let mut nodes = Box::new(Nodes::new());
        nodes.register(&mut early, NodeMask::NONE, cpus)?;
        let mut sparse = Sparse::new();
        sparse.init(&mut early, order, PhysAddr::ZERO)?;
        nodes.init_zones(&mut early, config, distance)?;
        memmap_init(&sparse, &nodes, memory.iter().copied());
        Ok(Self {
            memory: memory.to_vec(),
            sparse,
            nodes,
        })
    }
}
