// SPDX-License-Identifier: GPL-2.0

//! Seeded random operations that look for trouble: near the borders of what
//! is there, with full arrays, at both ends of the address space.

use crate::op::Op;
use shadowmm_core::memblock::EarlyMemory;
use shadowmm_core::memblock::MemblockKind;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::phys::PhysRange;

/// Where memory lies that arrays and zeroed allocations can be in.
pub const WINDOW: PhysRange = PhysRange {
    start: PhysAddr(0x2_0000_0000),
    end: PhysAddr(0x2_0100_0000),
};

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

/// What an episode, from an empty memblock to the hand-off, is like.
pub struct Episode {
    /// Memory is added here.
    pub area: PhysRange,
    /// Most addresses and sizes are multiples of this.
    pub grain: u64,
    /// Sizes go up to this.
    pub largest: u64,
    /// There is memory behind the area, and arrays may grow.
    pub backed: bool,
    pub memory_max: u64,
    pub reserved_max: u64,
    pub nodes: u64,
}

impl Episode {
    pub fn new(random: &mut Random) -> Self {
        let backed = random.one_in(2);
        let area = |start, end| PhysRange {
            start: PhysAddr(start),
            end: PhysAddr(end),
        };
        let (area, grain, largest) = if backed {
            (
                WINDOW,
                random.pick(&[1, 64, 4096]),
                random.pick(&[0x4000, 0x100000]),
            )
        } else {
            random.pick(&[
                (area(0, 0x20000), 1, 0x2000),
                (area(0, 0x4000_0000), 0x1000, 0x400_0000),
                (area(0x1000, 0x20_0000_0000), 0x20_0000, 0x4_0000_0000),
                (area(u64::MAX - 0x400_0000, u64::MAX), 0x800, 0x40_0000),
            ])
        };
        let maximum = |random: &mut Random| match random.below(4) {
            0 => 128,
            1 => random.below(12) + 4,
            _ => random.below(60) + 4,
        };
        Self {
            area,
            grain,
            largest,
            backed,
            memory_max: maximum(random),
            reserved_max: maximum(random),
            nodes: random.below(4) + 1,
        }
    }

    /// The operation that makes Linux's side ready.
    pub fn reset(&self) -> Op {
        let (bottom_up, limit) = (0, u64::MAX);
        let resize = self.backed as u64;
        Op(
            "reset",
            vec![self.memory_max, self.reserved_max, bottom_up, limit, resize],
        )
    }

    /// An address: somewhere, or near a border of what is there.
    fn addr(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> u64 {
        let kind = random.pick(&[MemblockKind::Memory, MemblockKind::Reserved]);
        let regions = early.table(kind).as_slice();
        if !regions.is_empty() && random.one_in(2) {
            let region = random.pick(regions);
            let border = random.pick(&[region.base.0, region.end().0]);
            let off = random.pick(&[0, 0, 0, 1, self.grain, 4096]);
            return if random.one_in(2) {
                border.saturating_sub(off)
            } else {
                border.saturating_add(off)
            };
        }
        let offset = random.below(self.area.size().0) / self.grain * self.grain;
        (self.area.start + Bytes(offset)).0
    }

    fn size(&self, random: &mut Random) -> u64 {
        match random.below(40) {
            0 => 0,
            1 => 1,
            2 => u64::MAX - random.below(2),
            3..=9 => random.below(self.largest) + 1,
            _ => {
                let scale = self.largest >> random.below(12);
                (random.below(scale / self.grain) + 1) * self.grain
            }
        }
    }

    fn nid(&self, random: &mut Random) -> u64 {
        match random.below(4) {
            0 => -1i64 as u64,
            1 if random.one_in(4) => 64,
            _ => random.below(self.nodes),
        }
    }

    fn range(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> (u64, u64) {
        (self.addr(random, early), self.size(random))
    }

    fn alloc(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> Op {
        let align = match random.below(12) {
            0 => 0,
            1 => random.below(100),
            2 => 1 << random.below(64),
            _ => 1 << random.below(14),
        };
        let mut size = self.size(random) >> random.below(6);
        let limit = |random: &mut Random, rest: u64| match random.below(3) {
            0 => self.addr(random, early),
            _ => rest,
        };
        let min = limit(random, 0);
        let upper = random.pick(&[0, 0, 0, 1, u64::MAX]);
        let max = limit(random, upper);
        let nid = self.nid(random);
        match random.below(if self.backed { 6 } else { 5 }) {
            0 => Op("alloc_exact", vec![size, align, min, max, nid]),
            1 => Op("alloc_try_raw", vec![size, align, min, max, nid]),
            2 => {
                size = size.min(1 << 40).next_power_of_two();
                Op("alloc_hugetlb", vec![size, nid, random.below(2)])
            }
            3 | 4 => Op(
                "alloc_range",
                vec![size, align, min, max, nid, random.below(2)],
            ),
            _ => Op("alloc_try", vec![size, align, min, max, nid]),
        }
    }

    fn mark(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> Op {
        let (base, size) = self.range(random, early);
        let name = random.pick(&[
            "mark_hotplug",
            "clear_hotplug",
            "mark_mirror",
            "mark_nomap",
            "clear_nomap",
            "mark_kho",
            "clear_kho",
            "mark_noinit",
            "mark_kern",
            "set_node",
        ]);
        let (kind, nid) = (random.below(2), self.nid(random));
        Op(name, vec![base, size, kind, nid])
    }

    fn question(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> Op {
        let (base, size) = self.range(random, early);
        let nid = self.nid(random);
        let flags = random.pick(&[0, 0, 1, 2, 4, 8, 0x40, 9, 0xff]);
        match random.below(19) {
            0 => Op("is_reserved", vec![base]),
            1 => Op("is_memory", vec![base]),
            2 => Op("is_map_memory", vec![base]),
            3 => Op("is_region_memory", vec![base, size]),
            4 => Op("is_region_reserved", vec![base, size]),
            5 => Op("overlaps", vec![base, size, random.below(2)]),
            6 => Op("search_pfn", vec![base >> 12]),
            7 => Op("kern_size", vec![base, nid]),
            8 => Op("hugetlb_size", vec![base, nid]),
            // Linux's difference wraps below zero.
            9 if early.phys_mem_size() >= early.reserved_size() => Op("estimate", vec![]),
            10 => Op("start", vec![]),
            11 => Op("end", vec![]),
            12 if !self.at_the_top() => Op("coverage", vec![size]),
            13 => Op("dump", vec![]),
            14 if !self.at_the_top() => Op("walk_pfns", vec![nid]),
            _ => Op("walk", vec![random.below(3), random.below(2), nid, flags]),
        }
    }

    /// A limit on memory; seldom, because little is left after it.
    fn limit(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> Op {
        let total = early.phys_mem_size().0;
        let most = match early.mem_regions().split_last() {
            // All but the last region.
            Some((last, _)) if random.one_in(2) => total.saturating_sub(last.size.0),
            _ => total - random.below(total / 4 + 1),
        };
        match random.below(4) {
            0 if !self.at_the_top() => Op("trim", vec![1 << random.below(13)]),
            1 => Op("enforce", vec![most]),
            2 => Op("remove_map", vec![most]),
            _ => {
                let base = self.addr(random, early).min(self.area.end.0);
                // So does its end of the range to keep.
                let rest = self.area.end.0.saturating_sub(base);
                let size = rest.saturating_sub(random.below(self.grain));
                Op("cap", vec![base, size])
            }
        }
    }

    /// Any operation that makes sense to both sides.
    pub fn op(&self, random: &mut Random, early: &EarlyMemory<'_, '_>) -> Op {
        loop {
            let op = match random.below(100) {
                0..=17 => {
                    let (base, size) = self.range(random, early);
                    let room = PhysRange::new(PhysAddr(base), Bytes(size)).intersect(self.area);
                    let flags = random.pick(&[0, 0, 0, 0, 1, 2, 4, 8, 0x40]);
                    let nid = self.nid(random);
                    Op("add", vec![room.start.0, room.size().0, nid, flags])
                }
                18..=37 => {
                    let (base, size) = self.range(random, early);
                    let flags = random.pick(&[0, 0, 0, 0x20, 0x10, 0x80]);
                    Op(
                        "reserve",
                        vec![base, size.min(self.largest), self.nid(random), flags],
                    )
                }
                38..=42 => {
                    let (base, size) = self.range(random, early);
                    Op("remove", vec![base, size.min(self.largest)])
                }
                43..=50 => {
                    let (base, size) = self.range(random, early);
                    Op("free", vec![base, size])
                }
                51..=60 => self.mark(random, early),
                61..=78 => self.alloc(random, early),
                79 if random.one_in(3) => self.limit(random, early),
                80 => Op("bottom_up", vec![random.below(2)]),
                81 => {
                    let addr = self.addr(random, early);
                    Op("limit", vec![random.pick(&[addr, u64::MAX, u64::MAX])])
                }
                82 if random.one_in(4) => {
                    let kho = random.one_in(4) as u64;
                    Op("flags", vec![random.below(2), random.below(2), kho])
                }
                _ => self.question(random, early),
            };
            if self.is_fair(&op, early) {
                return op;
            }
        }
    }

    /// Linux trusts its callers not to free the place of an array, frees it
    /// itself when it lies above a limit, and may lay both arrays on one place
    /// when they grow in the same moment.
    fn is_fair(&self, op: &Op, early: &EarlyMemory<'_, '_>) -> bool {
        let kinds = [MemblockKind::Memory, MemblockKind::Reserved];
        let places = || kinds.into_iter().filter_map(|kind| early.array_range(kind));
        let (base, size) = match op.1[..] {
            [base, size, ..] => (PhysAddr(base), Bytes(size)),
            _ => (PhysAddr::ZERO, Bytes::ZERO),
        };
        let range = PhysRange::new(base, size);
        let tables = [&early.memory, &early.reserved];
        let has_room = !self.backed || tables.iter().all(|t| t.cnt() + 2 <= t.max());
        match op.0 {
            "free" => places().all(|place| place.intersect(range).is_empty()),
            "cap" => has_room && places().all(|place| place.intersect(range) == place),
            "enforce" | "remove_map" => has_room && places().next().is_none(),
            "reserve" => true,
            _ => self.may_grow(early),
        }
    }

    /// Whether rounding up to pages may pass the end of the address space,
    /// where Linux's wraps to zero and ours does not.
    fn at_the_top(&self) -> bool {
        self.area.end == PhysAddr::MAX
    }

    /// Whether the hand-off is well-defined in Linux.
    pub fn may_hand_over(&self, early: &EarlyMemory<'_, '_>) -> bool {
        !self.at_the_top() && self.may_grow(early)
    }

    /// Whether not both arrays may have to grow at once.
    fn may_grow(&self, early: &EarlyMemory<'_, '_>) -> bool {
        let (memory, reserved) = (&early.memory, &early.reserved);
        early.array_range(MemblockKind::Memory).is_none()
            || memory.cnt() * 2 < memory.max()
            || reserved.cnt() + 4 <= reserved.max()
    }
}
