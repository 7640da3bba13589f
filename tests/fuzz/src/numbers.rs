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
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;

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

fn step(world: &World, u: &mut Unstructured<'_>) -> Result<()> {
    let (space, host) = (&world.space, &world.host);
    let what = u.int_in_range(0..=15u8)?;
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
                file: None,
                pgoff: match u.ratio(1, 8)? {
                    true => u.arbitrary()?,
                    false => 0,
                },
            };
            let _ = space.mmap(host, &request);
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

/// See the head of this file.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let config = MmConfig {
        tree: tree(&mut u),
        ..MmConfig::default()
    };
    let world = World::on(machine(), &config);
    for _ in 0..OPS {
        if u.is_empty() || step(&world, &mut u).is_err() {
            break;
        }
    }
    world.finish();
}
