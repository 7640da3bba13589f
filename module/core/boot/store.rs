// SPDX-License-Identifier: GPL-2.0

//! What is too large for the stack and not in the region.

use super::Config;
use crate::firmware::FirmwareMap;
use crate::firmware::Scaled;
use crate::memblock::MemblockRegion;
use crate::memblock::INIT_MEMBLOCK_REGIONS;
use crate::node::Nodes;
use crate::phys::Region;
use crate::platform::Platform;
use crate::slab::SlabTable;
use crate::sparse::Sparse;

/// The boot's tables, in its owner's storage. One store serves one boot; for
/// another one it is made anew, after everything of the last is gone.
pub struct Store<'m, P: Platform> {
    pub(super) original: FirmwareMap,
    pub(super) map: FirmwareMap,
    pub(super) scaled: Scaled,
    pub(super) config: Config,
    pub(super) region: Region<'m>,
    pub(super) memory: [MemblockRegion; INIT_MEMBLOCK_REGIONS],
    pub(super) reserved: [MemblockRegion; INIT_MEMBLOCK_REGIONS],
    pub(super) sparse: Sparse<'m>,
    pub(super) nodes: Nodes<'m, P>,
    pub(super) slab: SlabTable<'m>,
}

impl<P: Platform> Default for Store<'_, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Platform> Store<'_, P> {
    /// An empty store. It is large: make it where it stays.
    pub const fn new() -> Self {
        Self {
            original: FirmwareMap::NEW,
            map: FirmwareMap::NEW,
            scaled: Scaled::NEW,
            config: Config::DEFAULT,
            region: Region::EMPTY,
            memory: [MemblockRegion::EMPTY; INIT_MEMBLOCK_REGIONS],
            reserved: [MemblockRegion::EMPTY; INIT_MEMBLOCK_REGIONS],
            sparse: Sparse::new(),
            nodes: Nodes::new(),
            slab: SlabTable::new(),
        }
    }
}
