// SPDX-License-Identifier: GPL-2.0

//! The shadow's slab layer measured beside the host's.

use crate::bench::BenchSides;
use crate::bench::Blocks;
use crate::bench::HostOptions;
use crate::device::Device;
use crate::error::Result;
use shadowmm_abi as abi;

/// What is done, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabBenchShape {
    /// An object of a cache is taken and given back at once.
    Pair,
    /// The same by size.
    KmallocPair,
    /// The same by size, through calls that are not inlined.
    CalledPair,
    /// 1,000 objects are taken, one by one.
    Alloc,
    /// They go back in the order in which they came.
    FreeInOrder,
    /// They go back in an order drawn by lot.
    FreeShuffled,
    /// 1,000 objects are taken, and go back in order.
    InOrder,
    /// 1,000 objects are taken, and go back in an order drawn by lot.
    Shuffled,
    /// 1,000 objects are taken in one call.
    AllocBulk,
    /// They go back in one call.
    FreeBulk,
    /// 1,000 objects that this CPU has taken go back on the caller's.
    Remote(u32),
    /// The same, with the taking.
    Exchange(u32),
    /// Of 256 objects one goes and one comes, of sizes as a kernel's are.
    Mixed,
    /// How many pages 10,000 objects take.
    Pages,
    /// How many are left when 1,000 of them stay, drawn by lot.
    PagesLeft,
}

impl SlabBenchShape {
    /// The shape's number, and the CPU that it has.
    fn to_abi(self) -> (u32, u32) {
        match self {
            Self::Pair => (abi::SHADOWMM_BENCH_SLAB_PAIR, 0),
            Self::KmallocPair => (abi::SHADOWMM_BENCH_SLAB_KMALLOC_PAIR, 0),
            Self::CalledPair => (abi::SHADOWMM_BENCH_SLAB_CALLED_PAIR, 0),
            Self::Alloc => (abi::SHADOWMM_BENCH_SLAB_ALLOC, 0),
            Self::FreeInOrder => (abi::SHADOWMM_BENCH_SLAB_FREE_IN_ORDER, 0),
            Self::FreeShuffled => (abi::SHADOWMM_BENCH_SLAB_FREE_SHUFFLED, 0),
            Self::InOrder => (abi::SHADOWMM_BENCH_SLAB_IN_ORDER, 0),
            Self::Shuffled => (abi::SHADOWMM_BENCH_SLAB_SHUFFLED, 0),
            Self::AllocBulk => (abi::SHADOWMM_BENCH_SLAB_ALLOC_BULK, 0),
            Self::FreeBulk => (abi::SHADOWMM_BENCH_SLAB_FREE_BULK, 0),
            Self::Remote(cpu) => (abi::SHADOWMM_BENCH_SLAB_REMOTE, cpu),
            Self::Exchange(cpu) => (abi::SHADOWMM_BENCH_SLAB_EXCHANGE, cpu),
            Self::Mixed => (abi::SHADOWMM_BENCH_SLAB_MIXED, 0),
            Self::Pages => (abi::SHADOWMM_BENCH_SLAB_PAGES, 0),
            Self::PagesLeft => (abi::SHADOWMM_BENCH_SLAB_PAGES_LEFT, 0),
        }
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabBench {
    /// What is done.
    pub shape: SlabBenchShape,
    /// The size of the objects, in bytes.
    pub size: u32,
    /// In how many blocks, of the shadow and the host in turn.
    pub blocks: u32,
    /// Whose slab layer.
    pub sides: BenchSides,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabMeasured {
    /// Pairs, or objects, in a block.
    pub operations: u32,
    /// How often the time-stamp counter counts, in kHz.
    pub tsc_khz: u32,
    /// What the host does besides.
    pub host_options: HostOptions,
    /// How many of these objects a CPU of the shadow may keep.
    pub magazine: u32,
    /// What each block of the shadow took, by that counter, or its pages.
    pub shadow: Vec<u64>,
    /// What each block of the host took.
    pub host: Vec<u64>,
}

impl Device {
    /// Measures on the CPU that the caller runs on. All that was taken has gone
    /// back afterwards. A signal ends it early, with fewer blocks.
    pub fn bench_slab(&self, bench: &SlabBench) -> Result<SlabMeasured> {
        const WHAT: &str = "measure the slab layer";
        let mut blocks = Blocks::new(bench.blocks);
        let (shape, cpu) = bench.shape.to_abi();
        let mut request = abi::shadowmm_bench_slab {
            head: abi::shadowmm_head {
                flags: bench.sides.to_abi(),
                ..Default::default()
            },
            shape,
            size: bench.size,
            cpu,
            blocks: bench.blocks,
            shadow_ticks: blocks.shadow.as_mut_ptr() as u64,
            host_ticks: blocks.host.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        let blocks = blocks.done(WHAT, bench.sides, request.done, request.operations)?;
        Ok(SlabMeasured {
            operations: request.operations,
            tsc_khz: request.tsc_khz,
            host_options: HostOptions::from_abi(request.host),
            magazine: request.magazine,
            shadow: blocks.shadow,
            host: blocks.host,
        })
    }
}
