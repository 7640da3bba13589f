// SPDX-License-Identifier: GPL-2.0

//! How VMAs are found: in the tree of the caller's window, and in a maple tree of the
//! host's that has the same ranges, at the same addresses in the same order.
//!
//! Both sides do what a fault does first: the reader says that he is there, walks, and
//! says that he has gone (`lock_vma_under_rcu`).

use super::shapes::Lots;
use super::ticks;
use super::SEED;
use crate::abi;
use crate::bindings;
use crate::mm::Window;
use crate::uapi;
use crate::users::check_admin;
use core::hint::black_box;
use core::ptr::NonNull;
use kernel::bindings::maple_tree;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::platform::Platform;

/// Lookups in a block.
const LOOKUPS: usize = 64;
/// Addresses that are drawn by lot; blocks go through them one after the other.
const DRAWN: usize = 64 * LOOKUPS;

/// A maple tree of the host's.
///
/// # Invariants
///
/// `shadowmm_bench_tree` gave it, and nobody else knows it.
struct HostTree(NonNull<maple_tree>);

impl HostTree {
    fn new(ranges: &[VirtRange]) -> Result<Self> {
        // SAFETY: The caller may sleep.
        let tree = unsafe { bindings::shadowmm_bench_tree() };
        let tree = Self(NonNull::new(tree).ok_or(Error::NoHostMemory)?);
        for range in ranges {
            let (start, end) = (range.start.0 as usize, range.end.0 as usize);
            // SAFETY: By the type's invariant; the caller may sleep.
            let error = unsafe { bindings::shadowmm_bench_tree_add(tree.0.as_ptr(), start, end) };
            if error != 0 {
                return Err(Error::NoHostMemory);
            }
        }
        Ok(tree)
    }

    fn walk(&self, addrs: &[u64]) -> usize {
        // SAFETY: By the type's invariant; there are so many addresses.
        unsafe { bindings::shadowmm_bench_tree_walk(self.0.as_ptr(), addrs.as_ptr(), addrs.len()) }
    }
}

impl Drop for HostTree {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant.
        unsafe { bindings::shadowmm_bench_tree_free(self.0.as_ptr()) };
    }
}

/// Measures what `request` asks for, in the caller's window.
pub(crate) fn run(window: &Window, request: &mut uapi::shadowmm_bench_lookup) -> Result<()> {
    check_admin()?;
    if !(1..=uapi::SHADOWMM_BENCH_MAX_BLOCKS).contains(&request.blocks) {
        return Err(Error::BadBlocks);
    }
    let no_memory = |_| Error::NoHostMemory;
    let blocks = request.blocks as usize;
    let mut ours = KVVec::with_capacity(blocks, GFP_KERNEL).map_err(no_memory)?;
    let mut theirs = KVVec::with_capacity(blocks, GFP_KERNEL).map_err(no_memory)?;
    let vmas = window.with(|space| {
        let mut ranges = KVVec::new();
        space.try_for_each_vma(|vma| ranges.push(vma.range, GFP_KERNEL).map_err(no_memory))?;
        let tree = HostTree::new(&ranges)?;
        let addrs = draw(&ranges)?;
        let mut chunks = addrs.chunks_exact(LOOKUPS).cycle();
        for _ in 0..blocks {
            let Some(addrs) = chunks.next() else {
                break;
            };
            let platform = space.platform();
            let start = ticks();
            let mut found = 0;
            for &addr in addrs {
                let (_cpu, _pinned) = platform.pin_cpu();
                found += usize::from(space.tree().lookup(addr).is_some());
            }
            let middle = ticks();
            let there = tree.walk(addrs);
            let end = ticks();
            if black_box(found) != there {
                return Err(Error::Corrupt);
            }
            ours.push(middle.wrapping_sub(start), GFP_KERNEL)
                .map_err(no_memory)?;
            theirs
                .push(end.wrapping_sub(middle), GFP_KERNEL)
                .map_err(no_memory)?;
            if kernel::current!().signal_pending() {
                break;
            }
        }
        Ok(ranges.len())
    })?;
    abi::write_array(request.shadow_ticks, &ours)?;
    abi::write_array(request.host_ticks, &theirs)?;
    request.vmas = vmas as u32;
    request.done = ours.len() as u32;
    request.operations = LOOKUPS as u32;
    // SAFETY: The boot has set it.
    request.tsc_khz = unsafe { kernel::bindings::tsc_khz };
    Ok(())
}

/// Addresses in these ranges, drawn by lot.
fn draw(ranges: &[VirtRange]) -> Result<KVVec<u64>> {
    let no_memory = |_| Error::NoHostMemory;
    let mut lots = Lots::new(SEED);
    let mut addrs = KVVec::with_capacity(DRAWN, GFP_KERNEL).map_err(no_memory)?;
    for _ in 0..DRAWN {
        let range = ranges.get(lots.draw(ranges.len()));
        let range = range.ok_or(Error::NotMapped)?;
        let addr = range
            .start
            .0
            .wrapping_add(lots.draw(range.len() as usize) as u64);
        addrs.push(addr, GFP_KERNEL).map_err(no_memory)?;
    }
    Ok(addrs)
}
