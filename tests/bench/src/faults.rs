// SPDX-License-Identifier: GPL-2.0

//! Faults of an address space whose host's table costs nothing.

use crate::platform::Threads;
use crate::shadow::HostMm;
use shadowmm_core::error::Result;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::HostTable;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::phys::Pfn;

/// Pages of each shape.
pub const PAGES: u64 = 1024;
const PAGE: u64 = 4096;
const BASE: u64 = 1 << 40;
/// `PROT_READ | PROT_WRITE`; `MAP_PRIVATE`; `MAP_FIXED`.
const RW: u32 = 3;
const PRIVATE: u32 = 2;
const FIXED: u32 = 0x10;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum FaultShape {
    /// The first write to each page.
    Write,
    /// The same where a write makes so many pages.
    Around(u64),
    /// The first read of each page.
    Read,
    /// The first write to each page after a fork that the child has outlived.
    Copy,
    /// The same when the child is gone.
    Reuse,
    /// A fork, a page.
    Fork,
    /// All are unmapped, a page.
    Unmap,
}

impl FaultShape {
    /// How many operations that are.
    pub const fn operations(self) -> usize {
        PAGES as usize
    }
}

/// A table that takes everything.
struct Nowhere;

impl HostTable for Nowhere {
    #[inline]
    fn enter(&self, _: VirtAddr, _: Pfn, _: bool) -> Result<()> {
        Ok(())
    }

    fn zap(&self, _: VirtRange) {}
}

type Space<'m> = AddressSpace<'m, 'static, Threads>;

fn touch(space: &Space<'_>, access: Access, step: u64) {
    for page in (0..PAGES).step_by(step as usize) {
        let done = space.fault(&Nowhere, VirtAddr(BASE + page * PAGE), access, false);
        assert!(matches!(done, FaultResult::Mapped(_)));
    }
}

/// Runs a shape in a new address space; the clock is read before and after.
pub fn run(mm: &'static HostMm, shape: FaultShape, clock: &dyn Fn() -> u64) {
    let spaces = mm.spaces();
    spaces.set_thp(ThpMode::Never);
    let window = VirtRange::new(BASE, BASE + (1 << 36));
    let space = spaces.create(window, &MmConfig::default()).expect("memory");
    let request = MmapRequest {
        addr: VirtAddr(BASE),
        len: PAGES * PAGE,
        prot: RW,
        flags: PRIVATE | FIXED,
        file: None,
        pgoff: 0,
    };
    space.mmap(&Nowhere, &request).expect("memory");
    let mut child = None;
    let fork = || space.fork(&Nowhere, 2, [0; 16]).expect("memory");
    match shape {
        FaultShape::Copy => {
            touch(&space, Access::Write, 1);
            child = Some(fork());
        }
        FaultShape::Reuse => {
            touch(&space, Access::Write, 1);
            fork().put(&Nowhere);
        }
        FaultShape::Fork | FaultShape::Unmap => touch(&space, Access::Write, 1),
        FaultShape::Around(pages) => spaces
            .set_knob(MmKnob::FaultAroundBytes, pages * PAGE)
            .expect("a power of two"),
        FaultShape::Write | FaultShape::Read => {}
    }
    clock();
    match shape {
        FaultShape::Around(pages) => touch(&space, Access::Write, pages),
        FaultShape::Read => touch(&space, Access::Read, 1),
        FaultShape::Fork => child = Some(fork()),
        FaultShape::Unmap => {
            let len = PAGES * PAGE;
            space.munmap(&Nowhere, VirtAddr(BASE), len).expect("memory");
        }
        _ => touch(&space, Access::Write, 1),
    }
    clock();
    spaces
        .set_knob(MmKnob::FaultAroundBytes, PAGE)
        .expect("one page");
    if let Some(child) = child {
        child.put(&Nowhere);
    }
    space.put(&Nowhere);
}
