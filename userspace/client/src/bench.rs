// SPDX-License-Identifier: GPL-2.0

//! The shadow's page allocator measured beside the host's.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use serde::Serialize;
use shadowmm_abi as abi;

/// What is done, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchShape {
    /// A block of this order is taken and given back at once.
    Pair(u32),
    /// The same through calls that are not inlined.
    CalledPair(u32),
    /// 1,024 pages are taken, one by one.
    Alloc,
    /// They go back in the order in which they came.
    FreeInOrder,
    /// The last goes back first.
    FreeReversed,
    /// They go back in an order drawn by lot.
    FreeRandom,
    /// 1,024 pages are taken in one call.
    AllocBulk,
    /// They go back in one call, where there is one.
    FreeBulk,
    /// 4,096 pages are taken, none of which a CPU had at hand.
    Refill,
    /// They go back.
    Return,
    /// 1,024 pages are taken by that CPU and go back on the caller's.
    Exchange(u32),
}

impl BenchShape {
    /// The shape's number, and the order or the CPU that it has.
    fn to_abi(self) -> (u32, u32, u32) {
        match self {
            Self::Pair(order) => (abi::SHADOWMM_BENCH_PAIR, order, 0),
            Self::CalledPair(order) => (abi::SHADOWMM_BENCH_CALLED_PAIR, order, 0),
            Self::Alloc => (abi::SHADOWMM_BENCH_ALLOC, 0, 0),
            Self::FreeInOrder => (abi::SHADOWMM_BENCH_FREE_IN_ORDER, 0, 0),
            Self::FreeReversed => (abi::SHADOWMM_BENCH_FREE_REVERSED, 0, 0),
            Self::FreeRandom => (abi::SHADOWMM_BENCH_FREE_RANDOM, 0, 0),
            Self::AllocBulk => (abi::SHADOWMM_BENCH_ALLOC_BULK, 0, 0),
            Self::FreeBulk => (abi::SHADOWMM_BENCH_FREE_BULK, 0, 0),
            Self::Refill => (abi::SHADOWMM_BENCH_REFILL, 0, 0),
            Self::Return => (abi::SHADOWMM_BENCH_RETURN, 0, 0),
            Self::Exchange(cpu) => (abi::SHADOWMM_BENCH_EXCHANGE, 0, cpu),
        }
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bench {
    /// What is done.
    pub shape: BenchShape,
    /// In how many blocks, of the shadow and the host in turn.
    pub blocks: u32,
    /// Whether every second page of a span is held meanwhile.
    pub fragmented: bool,
    /// Whose page allocator.
    pub sides: BenchSides,
}

/// Whose page allocator is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BenchSides {
    /// A block of the shadow and a block of the host in turn.
    #[default]
    Both,
    /// The shadow's alone.
    Shadow,
    /// The host's alone.
    Host,
}

impl BenchSides {
    pub(crate) fn to_abi(self) -> u32 {
        match self {
            Self::Both => 0,
            Self::Shadow => abi::SHADOWMM_BENCH_NO_HOST,
            Self::Host => abi::SHADOWMM_BENCH_NO_SHADOW,
        }
    }
}

/// What the host does besides, by its boot parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostOptions {
    /// Pages are zeroed when they are taken.
    pub init_on_alloc: bool,
    /// Pages are zeroed when they go back.
    pub init_on_free: bool,
    /// Free pages are filled with a pattern.
    pub page_poison: bool,
    /// Free pages are not mapped.
    pub debug_pagealloc: bool,
}

impl HostOptions {
    pub(crate) fn from_abi(options: u32) -> Self {
        let is_on = |option| options & option != 0;
        Self {
            init_on_alloc: is_on(abi::SHADOWMM_BENCH_INIT_ON_ALLOC),
            init_on_free: is_on(abi::SHADOWMM_BENCH_INIT_ON_FREE),
            page_poison: is_on(abi::SHADOWMM_BENCH_PAGE_POISON),
            debug_pagealloc: is_on(abi::SHADOWMM_BENCH_DEBUG_PAGEALLOC),
        }
    }
}

/// Where the module writes what each block of both sides took.
pub(crate) struct Blocks {
    pub(crate) shadow: Vec<u64>,
    pub(crate) host: Vec<u64>,
}

impl Blocks {
    /// Room for so many, or for as many as there can be.
    pub(crate) fn new(blocks: u32) -> Self {
        let room = blocks.min(abi::SHADOWMM_BENCH_MAX_BLOCKS) as usize;
        Self {
            shadow: vec![0; room],
            host: vec![0; room],
        }
    }

    /// Those of the sides that were measured, of which `done` were done with so
    /// many operations each.
    pub(crate) fn done(
        mut self,
        what: &'static str,
        sides: BenchSides,
        done: u32,
        operations: u32,
    ) -> Result<Self> {
        let all = done as usize;
        if all > self.shadow.len() || operations == 0 {
            return Err(Error::Unexpected {
                what,
                value: u64::from(done),
            });
        }
        let without = |other| if sides == other { 0 } else { all };
        self.shadow.truncate(without(BenchSides::Host));
        self.host.truncate(without(BenchSides::Shadow));
        Ok(self)
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Pairs, or pages, in a block.
    pub operations: u32,
    /// How often the time-stamp counter counts, in kHz.
    pub tsc_khz: u32,
    /// What the host does besides.
    pub host_options: HostOptions,
    /// Whether the shadow's CPUs keep pages of their own.
    pub pagesets: bool,
    /// What each block of the shadow took, by that counter.
    pub shadow: Vec<u64>,
    /// What each block of the host took.
    pub host: Vec<u64>,
}

impl Device {
    /// Measures on the CPU that the caller runs on. All that was taken has gone
    /// back afterwards. A signal ends it early, with fewer blocks.
    pub fn bench(&self, bench: &Bench) -> Result<Measured> {
        const WHAT: &str = "measure the page allocator";
        let mut blocks = Blocks::new(bench.blocks);
        let (shape, order, cpu) = bench.shape.to_abi();
        let mut flags = bench.sides.to_abi();
        if bench.fragmented {
            flags |= abi::SHADOWMM_BENCH_FRAGMENTED;
        }
        let mut request = abi::shadowmm_bench {
            head: abi::shadowmm_head {
                flags,
                ..Default::default()
            },
            shape,
            order,
            cpu,
            blocks: bench.blocks,
            shadow_ticks: blocks.shadow.as_mut_ptr() as u64,
            host_ticks: blocks.host.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        let blocks = blocks.done(WHAT, bench.sides, request.done, request.operations)?;
        Ok(Measured {
            operations: request.operations,
            tsc_khz: request.tsc_khz,
            host_options: HostOptions::from_abi(request.host),
            pagesets: request.pagesets != 0,
            shadow: blocks.shadow,
            host: blocks.host,
        })
    }
}
