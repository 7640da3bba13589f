// SPDX-License-Identifier: GPL-2.0

//! The machine's address space cut into pieces, each of which scales as one.
//!
//! ```text
//! address  0     640K   1M     16M          3G        4G           5G
//!          |RAM 0|      |RAM 0 |RAM 0       |         |RAM 0 |RAM 1|
//! piece    [ 0   ][ 1  ][ 2   ][ 3         ][ 4      ][ 5   ][ 6  ] end
//! ```
//!
//! Cuts are where an entry of the e820 table or a node's range starts or ends,
//! at the limits of the DMA zones, and at 1 MiB.

use super::map::FirmwareMap;
use super::map::DMA32_LIMIT;
use super::map::DMA_LIMIT;
use super::srat::NR_NODE_MEMBLKS;
use super::E820_MAX_ENTRIES;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PhysAddr;
use crate::slices;

/// The end of what the PC's BIOS lays out by tradition (`ISA_END_ADDRESS`).
pub(super) const LEGACY_END: PhysAddr = PhysAddr(1 << 20);

/// How many pieces there can be: both ends of every entry and range, address
/// 0, the three limits, and the end.
pub(super) const MAX_PIECES: usize = 2 * (E820_MAX_ENTRIES + NR_NODE_MEMBLKS) + 5;

/// One piece: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it starts on the original machine. It ends where the next starts.
    pub start: PhysAddr,
    /// How many pages it has in the shadow.
    pub pages: u32,
    /// The node, if it is RAM.
    pub nid: i32,
}

/// The pieces in order of their addresses, and one more where the last ends.
#[derive(Clone)]
pub(super) struct Pieces {
    nr: usize,
    piece: [Piece; MAX_PIECES],
}

impl Pieces {
    pub(super) const NEW: Self = Self {
        nr: 0,
        piece: [Piece {
            start: PhysAddr::ZERO,
            pages: 0,
            nid: -1,
        }; MAX_PIECES],
    };

    pub(super) fn clear(&mut self) {
        self.nr = 0;
    }

    /// How many pieces there are, without the end.
    pub(super) fn len(&self) -> usize {
        self.nr.saturating_sub(1)
    }

    fn used(&self) -> &[Piece] {
        self.piece.get(..self.nr).unwrap_or(&[])
    }

    pub(super) fn get(&self, i: usize) -> Option<Piece> {
        self.used().get(i).copied()
    }

    pub(super) fn set_pages(&mut self, i: usize, pages: u64) {
        if let Some(p) = self.piece.get_mut(i) {
            p.pages = u32::try_from(pages).unwrap_or(u32::MAX);
        }
    }

    /// Where piece `i` ends on the original machine.
    pub(super) fn end(&self, i: usize) -> PhysAddr {
        self.get(i + 1).map_or(PhysAddr::MAX, |p| p.start)
    }

    /// How long piece `i` is on the original machine.
    pub(super) fn size(&self, i: usize) -> Bytes {
        self.get(i).map_or(Bytes::ZERO, |p| self.end(i) - p.start)
    }

    /// The node of piece `i`, if it is RAM.
    pub(super) fn ram_node(&self, i: usize) -> Option<NodeId> {
        let nid = NodeId(self.get(i)?.nid);
        (i < self.len() && !nid.is_none()).then_some(nid)
    }

    /// The numbers of the pieces that are RAM, of one node or of all.
    pub(super) fn ram(&self, nid: Option<NodeId>) -> impl Iterator<Item = usize> + Clone + '_ {
        (0..self.len()).filter(move |&i| {
            let of = self.ram_node(i);
            of.is_some() && (nid.is_none() || of == nid)
        })
    }

    /// The next piece of RAM behind piece `i`.
    pub(super) fn next_ram(&self, i: usize) -> Option<usize> {
        (i + 1..self.len()).find(|&k| self.ram_node(k).is_some())
    }

    /// Cuts the address space of a resolved map.
    pub(super) fn collect(&mut self, map: &FirmwareMap) -> Result<()> {
        self.nr = 0;
        let top = map.e820.entries().iter().map(|e| e.range().end).max();
        let top = top.ok_or(Error::MapEmpty)?;
        self.cut(PhysAddr::ZERO)?;
        for e in map.e820.entries() {
            self.cut(e.addr)?;
            self.cut(e.range().end)?;
        }
        let limits = [LEGACY_END, DMA_LIMIT, DMA32_LIMIT];
        let nodes = map.meminfo.blocks().iter();
        let nodes = nodes.flat_map(|b| [b.start, b.end]);
        for at in limits.into_iter().chain(nodes) {
            if at < top {
                self.cut(at)?;
            }
        }
        // Both the pieces and the entries are sorted.
        let mut entries = map.e820.entries().iter().peekable();
        let used = self.piece.get_mut(..self.nr).unwrap_or(&mut []);
        for p in used.iter_mut() {
            while entries.next_if(|e| e.range().end <= p.start).is_some() {}
            let entry = entries.peek().filter(|e| e.range().contains(p.start));
            let is_ram = entry.is_some_and(|e| e.kind == super::E820Type::RAM);
            p.nid = if is_ram {
                map.meminfo.node_of(p.start).0
            } else {
                -1
            };
        }
        Ok(())
    }

    fn cut(&mut self, at: PhysAddr) -> Result<()> {
        let i = self.used().partition_point(|p| p.start < at);
        if self.get(i).is_some_and(|p| p.start == at) {
            return Ok(());
        }
        if self.nr >= MAX_PIECES {
            return Err(Error::MapTooManyEntries);
        }
        let piece = Piece {
            start: at,
            pages: 0,
            nid: -1,
        };
        self.nr += 1;
        let used = self.piece.get_mut(..self.nr).unwrap_or_default();
        slices::insert(used, i, piece);
        Ok(())
    }

    /// The pages of all pieces of RAM.
    pub(super) fn ram_pages(&self) -> Pages {
        let pages = self.ram(None).filter_map(|i| self.get(i));
        Pages(pages.map(|p| u64::from(p.pages)).sum())
    }
}
