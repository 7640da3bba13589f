// SPDX-License-Identifier: GPL-2.0

//! Seeded random operations that look for trouble: near the borders of what
//! is there, with a full table, at both ends of the address space.

use crate::op::Op;
use crate::op::World;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Linux's types, most of all RAM, and numbers that it has no name for.
const TYPES: [u32; 16] = [
    1,
    1,
    1,
    1,
    1,
    2,
    2,
    3,
    4,
    5,
    6,
    7,
    12,
    20,
    0xefff_ffff,
    0xefff_ffff,
];

/// What an episode, from an empty table to its end, is like.
pub struct Episode {
    /// Everything lies between these.
    low: u64,
    high: u64,
    /// Addresses and sizes are multiples of this.
    grain: u64,
    /// Sizes go up to this.
    largest: u64,
    /// Entries may run past the end of the address space, which the other
    /// operations are not asked about: a map with such a one is refused.
    wraps: bool,
    /// Of the nodes, not of the table.
    pub numa: bool,
    /// Some of the nodes' memory can be taken out.
    hotplug: bool,
    /// The nodes' ranges follow one another, as those of a firmware do, and
    /// leave little out.
    tidy: bool,
    nodes: u64,
}

impl Episode {
    pub fn new(random: &mut Random) -> Self {
        let numa = random.one_in(2);
        let page = 0x1000;
        let shapes = [
            (0, 0x40, 1, 0x10),
            (0, 0x10_0000, 1, 0x8000),
            (0, 0x1_4000_0000, page, 0x1000_0000),
            (0, 0x100_0000_0000, 0x20_0000, 0x20_0000_0000),
            (0, 1 << 50, page, 1 << 46),
            (u64::MAX - 0xffff_ffff, u64::MAX, 0x800, 0x4000_0000),
        ];
        let of_pages = [
            (0, 0x40_0000, page, 0x8_0000),
            (0, 0x1_4000_0000, page, 0x1000_0000),
            (0, 0x4_0000_0000, 0x800_0000, 0x8000_0000),
            (0, 0x100_0000_0000, 0x20_0000, 0x20_0000_0000),
        ];
        let shape = if numa {
            random.pick(&of_pages)
        } else {
            random.pick(&shapes)
        };
        let (low, high, grain, largest) = shape;
        Self {
            low,
            high,
            grain,
            largest,
            wraps: !numa && random.one_in(16),
            numa,
            hotplug: random.one_in(2),
            tidy: random.one_in(2),
            nodes: random.pick(&[1, 2, 3, 4, 8, 64]),
        }
    }

    /// An address: somewhere, or near a border of what is there.
    fn addr(&self, random: &mut Random, world: &World) -> u64 {
        let entries = world.map.e820.entries();
        let blocks = world.map.meminfo.blocks();
        let near = match random.below(4) {
            0 | 1 if !entries.is_empty() => {
                let e = random.pick(entries);
                Some(random.pick(&[e.addr.0, e.range().end.0]))
            }
            2 if !blocks.is_empty() => {
                let b = random.pick(blocks);
                Some(random.pick(&[b.start.0, b.end.0]))
            }
            _ => None,
        };
        let far = self.low + random.below(self.high - self.low) / self.grain * self.grain;
        let off = random.pick(&[0, 0, 0, self.grain]);
        let at = match near {
            Some(border) if random.one_in(2) => border.saturating_sub(off),
            Some(border) => border.saturating_add(off),
            None => far,
        };
        at.clamp(self.low, self.high)
    }

    fn size(&self, random: &mut Random) -> u64 {
        match random.below(16) {
            0 if !self.numa => 0,
            1 => self.grain,
            _ => random.below(self.largest / self.grain + 1) * self.grain,
        }
    }

    /// An address and a size that do not run past the end.
    fn piece(&self, random: &mut Random, world: &World) -> (u64, u64) {
        let addr = self.addr(random, world);
        let size = if random.one_in(3) {
            // Up to another border.
            self.addr(random, world).saturating_sub(addr)
        } else {
            self.size(random)
        };
        if self.wraps {
            return (addr, size);
        }
        let size = size.min(u64::MAX - addr);
        (addr, size / self.grain * self.grain)
    }

    fn kind(&self, random: &mut Random) -> u64 {
        random.pick(&TYPES).into()
    }

    /// An operation on the table.
    pub fn op(&self, random: &mut Random, world: &World) -> Op {
        let (addr, size) = self.piece(random, world);
        let kind = self.kind(random);
        if self.wraps {
            return match random.below(4) {
                0 => Op("update", vec![]),
                _ => Op("add", vec![addr, size, kind]),
            };
        }
        // More than there is room for is asked of an update or a removal too.
        let much = if random.one_in(32) { u64::MAX } else { size };
        let filter = if random.one_in(2) { 0 } else { kind };
        let end = addr.saturating_add(size);
        match random.below(40) {
            0..=17 => Op("add", vec![addr, size, kind]),
            18..=20 => Op("update", vec![]),
            21..=24 => {
                let mut new = self.kind(random);
                while new == kind {
                    new = self.kind(random);
                }
                Op("range_update", vec![addr, much, kind, new])
            }
            25..=27 => Op("range_remove", vec![addr, much, filter]),
            28..=29 => Op("mapped_any", vec![addr, end, filter]),
            30..=31 => Op("mapped_all", vec![addr, end, filter]),
            32..=33 => Op("entry_type", vec![addr, end]),
            34 => Op("end_of_ram", vec![]),
            35 => Op("end_of_low_ram", vec![]),
            36 => Op("memblock_setup", vec![]),
            37 => Op("names", vec![]),
            _ => Op("print", vec![]),
        }
    }

    /// RAM, mostly: what the nodes are laid on.
    pub fn table(&self, random: &mut Random, world: &World) -> Op {
        let (addr, size) = self.piece(random, world);
        let kind = if random.one_in(4) {
            self.kind(random)
        } else {
            1
        };
        Op("add", vec![addr, size, kind])
    }

    /// Whether the nodes' ranges are to go on.
    pub fn goes_on(&self, world: &World) -> bool {
        let ram_end = world.map.e820.ram().map(|r| r.end.0).max();
        self.tidy && reached(world) < ram_end.unwrap_or(0) && world.map.meminfo.blocks().len() < 120
    }

    /// The next range, when they follow one another.
    fn next_node(&self, random: &mut Random, world: &World) -> Op {
        let grains = [0, 0, 0, 0, 0, 1, 1, 16, 256];
        let start = reached(world) + random.pick(&grains) * self.grain;
        let size = self.size(random).max(self.grain);
        let nid = random.below(self.nodes);
        let hotplug = u64::from(self.hotplug && random.one_in(2));
        Op("node_add", vec![nid, start, start + size, hotplug])
    }

    /// A range of a node, or a look at the ranges.
    pub fn node(&self, random: &mut Random, world: &World) -> Op {
        if self.tidy {
            return self.next_node(random, world);
        }
        let (addr, size) = self.piece(random, world);
        let nid = match random.below(64) {
            0 => u64::MAX,
            1 => 64,
            _ => random.below(self.nodes),
        };
        let end = addr + size;
        if random.one_in(8) {
            return Op("node_of", vec![addr]);
        }
        // Two nodes do not often claim the same.
        let mut blocks = world.map.meminfo.blocks().iter();
        let claimed = blocks.find(|b| b.start.0 < end && addr < b.end.0);
        let nid = match claimed {
            Some(b) if !random.one_in(256) => b.nid.0 as u64,
            _ => nid,
        };
        let (addr, end) = if random.one_in(256) {
            (end, addr)
        } else {
            (addr, end)
        };
        let hotplug = u64::from(self.hotplug && random.one_in(2));
        Op("node_add", vec![nid, addr, end, hotplug])
    }

    /// A distance between two nodes that have ranges.
    pub fn distance(&self, random: &mut Random, world: &World) -> Op {
        let nodes = world.nodes();
        let (from, to) = (random.below(nodes), random.below(nodes));
        let distance = match random.below(8) {
            0 => 10,
            1 => 256 + random.below(1000),
            _ if from == to && !random.one_in(8) => 10,
            _ => 10 + random.below(246),
        };
        Op("set_distance", vec![from, to, distance])
    }

    /// How the nodes end: Linux's own steps alone where nothing can be taken
    /// out, or all that follows from the map.
    pub fn end(&self, random: &mut Random) -> Op {
        if !self.hotplug && random.one_in(2) {
            Op("cleanup", vec![])
        } else {
            Op("resolve", vec![])
        }
    }
}

/// Where the nodes' ranges end.
fn reached(world: &World) -> u64 {
    let ends = world.map.meminfo.blocks().iter().map(|b| b.end.0);
    ends.max().unwrap_or(0)
}
