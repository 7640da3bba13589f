// SPDX-License-Identifier: GPL-2.0

//! Requests to an address space with whatever numbers a process may give: addresses,
//! lengths and flags near all limits. Whatever comes of them, tree, VMAs, tables, counts and
//! the host say the same after each, and all pages come back.

use crate::vma::machine;
use crate::vma::tree;
use crate::vma::world::World;
use crate::vma::world::BASE;
use crate::vma::world::PAGE;
use crate::vma::world::SIZE;
use arbitrary::Result;
use arbitrary::Unstructured;
use shadowmm_core::mm::mincore_pages;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FileKind;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::MmapFile;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::CAPS;

/// How many requests an input makes at most.
const OPS: usize = 100;

const MAP_LOCKED: u32 = 0x2000;
const MAP_POPULATE: u32 = 0x8000;

/// An address or a length: near an end of something, or anything.
fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    let near = [
        0,
        PAGE,
        BASE,
        BASE + (1 << 21),
        BASE + (1 << 30),
        BASE + SIZE / 2,
        BASE + SIZE,
        1 << 47,
        1 << 63,
        u64::MAX,
    ];
    Ok(match u.int_in_range(0..=7u8)? {
        0 => u.arbitrary()?,
        1 | 2 => {
            let by = u.int_in_range(-4..=4i64)?.wrapping_mul(PAGE as i64);
            let odd = *u.choose(&[0, 0, 0, 1, -1])?;
            u.choose(&near)?.wrapping_add_signed(by + odd)
        }
        3 => 1u64 << u.int_in_range(0..=63u32)?,
        _ => BASE + u.int_in_range(0..=64u64)? * PAGE,
    })
}

fn length(u: &mut Unstructured<'_>) -> Result<u64> {
    match u.ratio(1, 6)? {
        true => number(u),
        false => Ok(u.int_in_range(0..=40u64)? * PAGE),
    }
}

/// All that is mapped by one request is touched only where that is not most of the memory.
const FEW: u64 = 256 * PAGE;

/// Any file: most may be read and have pages.
fn file(u: &mut Unstructured<'_>) -> Result<Option<MmapFile>> {
    let bits: u8 = u.arbitrary()?;
    if bits & 3 != 0 {
        return Ok(None);
    }
    Ok(Some(MmapFile {
        number: u.int_in_range(1..=3)?,
        is_readable: bits & 0x1c != 0,
        is_writable: bits & 0x20 != 0,
        is_append_only: bits & 0xc0 == 0,
        is_noexec: bits & 0xc0 == 0x40,
        kind: match u.int_in_range(0..=9u8)? {
            0 => FileKind::Zero,
            1 => FileKind::Huge,
            2 => FileKind::Other,
            _ => FileKind::Pages,
        },
    }))
}

/// What a process or its administrator may set, so that requests are refused: limits, leave to do
/// things, and knobs.
fn set(world: &World, u: &mut Unstructured<'_>) -> Result<()> {
    let limits = [Rlimit::As, Rlimit::Data, Rlimit::Stack, Rlimit::Memlock];
    let amount = |u: &mut Unstructured<'_>| match u.ratio(1, 3)? {
        true => number(u),
        false => Ok(u.int_in_range(0..=300u64)? * PAGE),
    };
    match u.int_in_range(0..=4u8)? {
        0 => world
            .space
            .set_rlimit(*u.choose(&limits)?, amount(u)?, amount(u)?),
        1 => world.space.follow_rlimit(*u.choose(&limits)?),
        2 => world.space.set_caps(u.arbitrary()?),
        3 => {
            let mode = u.int_in_range(0..=2)?;
            let spaces = world.mm.spaces();
            let _ = spaces.set_knob(MmKnob::OvercommitMemory, mode);
            let _ = match u.arbitrary()? {
                true => spaces.set_knob(MmKnob::OvercommitKbytes, amount(u)? >> 10),
                false => spaces.set_knob(MmKnob::OvercommitRatio, u.int_in_range(0..=150)?),
            };
        }
        _ => {
            let (knob, value) = match u.int_in_range(0..=4u8)? {
                0 => (MmKnob::MaxMapCount, u.int_in_range(0..=40)?),
                1 => (MmKnob::StackGuardGap, u.int_in_range(0..=300)?),
                2 => (MmKnob::FaultAroundBytes, PAGE << u.int_in_range(0..=4u32)?),
                3 => (MmKnob::TransparentHugepage, u.int_in_range(0..=2)?),
                _ => (MmKnob::MmapMinAddr, amount(u)?),
            };
            let _ = world.mm.spaces().set_knob(knob, value);
        }
    }
    Ok(())
}

/// The knobs as they were, for the next input.
fn reset(world: &World, before: &[(MmKnob, u64)]) {
    for &(knob, value) in before {
        world.mm.spaces().set_knob(knob, value).unwrap();
    }
}

/// Those that are turned here. Either of two that stand for one another sets the other to 0,
/// so that the one that counts is the last.
const KNOBS: [MmKnob; 8] = [
    MmKnob::OvercommitMemory,
    MmKnob::OvercommitKbytes,
    MmKnob::OvercommitRatio,
    MmKnob::MaxMapCount,
    MmKnob::StackGuardGap,
    MmKnob::FaultAroundBytes,
    MmKnob::TransparentHugepage,
    MmKnob::MmapMinAddr,
];

fn step(world: &World, u: &mut Unstructured<'_>) -> Result<()> {
    let (space, host) = (&world.space, &world.host);
    let what = u.int_in_range(0..=21u8)?;
    let (addr, len) = (VirtAddr(number(u)?), length(u)?);
    let few = len <= FEW;
    match what {
        0..=3 => {
            let mut flags = match u.ratio(1, 8)? {
                true => u.arbitrary()?,
                false => {
                    let kind = *u.choose(&[1u32, 2, 2, 2, 3])?;
                    let fixed = *u.choose(&[0, 0x10, 0x10, 0x10_0000])?;
                    kind | fixed | *u.choose(&[0, 0x100, 0x4000, 0x8000, 0x2000, 0x2_0000])?
                }
            };
            if !few {
                flags &= !(MAP_LOCKED | MAP_POPULATE);
            }
            let request = MmapRequest {
                addr,
                len,
                prot: match u.ratio(1, 8)? {
                    true => u.arbitrary()?,
                    false => u.int_in_range(0..=7)?,
                },
                flags,
                file: file(u)?,
                pgoff: match u.ratio(1, 8)? {
                    true => u.arbitrary()?,
                    false => 0,
                },
            };
            let _ = world.mmap_file(&request);
        }
        4 => {
            let _ = space.munmap(host, addr, len);
        }
        5 | 6 => {
            let prot = match u.ratio(1, 8)? {
                true => u.arbitrary()?,
                false => u.int_in_range(0..=7)?,
            };
            let _ = space.mprotect(host, addr, len, prot);
        }
        7..=9 => {
            let request = MremapRequest {
                addr,
                old_len: length(u)?,
                new_len: len,
                flags: match u.ratio(1, 8)? {
                    true => u.arbitrary()?,
                    false => u.int_in_range(0..=7)?,
                },
                new_addr: VirtAddr(number(u)?),
            };
            let _ = space.mremap(host, &request);
        }
        10 | 11 => {
            let advice = *u.choose(Advice::ALL)?;
            let _ = space.madvise(host, addr, len, advice);
        }
        12 => {
            space.brk(host, addr);
        }
        13 if few => {
            let _ = match u.arbitrary()? {
                true => space.mlock(host, addr, len, u.int_in_range(0..=2)?),
                false => space.munlock(host, addr, len),
            };
        }
        14 if few => {
            // A process touches what is in its window alone.
            let (start, end) = (addr.0.max(BASE), addr.0.saturating_add(len));
            let range = VirtRange::new(start & !(PAGE - 1), end.min(BASE + SIZE) & !(PAGE - 1));
            if range.start < range.end {
                let _lock = space.read();
                let _ = space.populate(host, range, u.arbitrary()?);
            }
        }
        16 if few => {
            if let Ok(pages) = mincore_pages(addr, len) {
                let mut there = vec![2; pages as usize];
                let told = space.mincore(addr, &mut there).unwrap_or(0) as usize;
                assert!(there[..told].iter().all(|&is| is < 2));
                assert!(there[told..].iter().all(|&is| is == 2));
                for (page, is) in (0..).zip(&there[..told]) {
                    let page = space.page_at(VirtAddr(addr.0 + page * PAGE));
                    // Nobody has said that pages of files are in memory.
                    assert!(*is == 1 || page.pfn.is_none());
                }
            }
        }
        17 => {
            let _ = space.msync(addr, len, u.int_in_range(0..=7)?);
        }
        18 => {
            let _ = match u.ratio(1, 8)? {
                true => space.mlockall(host, u.arbitrary()?),
                false => space.mlockall(host, u.int_in_range(0..=7)?),
            };
        }
        19 => space.munlockall(host),
        20 | 21 => set(world, u)?,
        _ => {
            if let Ok(child) = space.fork(host, 1, [0; 16]) {
                child.validate().unwrap();
                child.put(&crate::vma::world::Host::default());
            }
        }
    }
    world.check();
    Ok(())
}

fn config(u: &mut Unstructured<'_>) -> Result<MmConfig> {
    Ok(MmConfig {
        seed: u.arbitrary()?,
        is_legacy: u.arbitrary()?,
        has_stack: u.arbitrary()?,
        caps: u.arbitrary::<u64>()? & CAPS,
        ..MmConfig::default()
    })
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let config = MmConfig {
        tree: tree(&mut u),
        ..config(&mut u).unwrap_or_default()
    };
    let world = World::on(machine(), &config);
    let knob = |knob| (knob, world.mm.spaces().knob(knob));
    let before = KNOBS.map(knob);
    for _ in 0..OPS {
        if u.is_empty() || step(&world, &mut u).is_err() {
            break;
        }
    }
    reset(&world, &before);
    world.finish();
}
