// SPDX-License-Identifier: GPL-2.0

//! What is told about an address space, as records of the ABI.

use super::files;
use crate::abi::Plain;
use crate::abi::Records;
use crate::platform::Kernel;
use crate::shadow::Shadow;
use crate::uapi;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VmFlags;
use shadowmm_core::mm::VmaInfo;

/// Where no page is.
const NO_PAGE: u64 = u64::MAX;

type Space<'a, 'm> = AddressSpace<'a, 'm, Kernel>;

/// An address space.
pub(super) fn space(space: &Space<'_, '_>) -> uapi::shadowmm_rec_space {
    let mut record = uapi::shadowmm_rec_space::zeroed();
    let numbers = space.numbers();
    let segments = space.segments();
    let window = space.window();
    record.id = space.cells().id();
    record.pid = space.cells().pid();
    record.comm = space.cells().comm();
    record.window_start = window.start.0;
    record.window_end = window.end.0;
    record.mmap_base = numbers.mmap_base;
    record.start_brk = segments.start_brk;
    record.brk = segments.brk;
    record.start_stack = segments.start_stack;
    record.total_vm = numbers.total_vm;
    record.locked_vm = numbers.locked_vm;
    record.data_vm = numbers.data_vm;
    record.stack_vm = numbers.stack_vm;
    record.hiwater_vm = numbers.hiwater_vm;
    record.hiwater_rss = numbers.hiwater_rss;
    record.rss = numbers.rss;
    record.pgtables_bytes = numbers.pgtables_bytes;
    record.min_flt = numbers.min_flt;
    record.maj_flt = numbers.maj_flt;
    record.faults_vma_lock = numbers.faults_vma_lock;
    record.faults_mmap_lock = numbers.faults_mmap_lock;
    record.map_count = numbers.map_count;
    record.oom_score_adj = numbers.oom_score_adj.into();
    record.tree = match space.tree().kind() {
        TreeKind::Maple => uapi::SHADOWMM_MM_TREE_MAPLE,
        TreeKind::RbList => uapi::SHADOWMM_MM_TREE_RBTREE,
    };
    record
}

/// A VMA.
pub(super) fn vma(vma: &VmaInfo) -> uapi::shadowmm_rec_vma {
    let mut record = uapi::shadowmm_rec_vma::zeroed();
    record.start = vma.range.start.0;
    record.end = vma.range.end.0;
    record.flags = vma.flags.0;
    record.pgoff = vma.pgoff;
    record.anon = vma.anon;
    record.file = match (vma.file, vma.flags.has(VmFlags::MAYSHARE)) {
        (0, _) => 0,
        (object, true) => object,
        // Its address is nobody's business.
        (file, false) => files::info(file).ino,
    };
    record
}

/// How an address is translated.
pub(super) fn walk(space: &Space<'_, '_>, request: &mut uapi::shadowmm_mm_walk) -> CoreResult<()> {
    // With the file that it maps, which nobody holds once the lock is given up.
    let looked = space.look(VirtAddr(request.addr), vma);
    request.mapped = looked.is_mapped.into();
    request.vma = looked.vma.unwrap_or(Plain::zeroed());
    request.levels = 0;
    request.entry = looked.translation.levels.map(|entry| entry.0);
    request.table = looked.translation.tables.map(|pfn| pfn.0);
    for (level, table) in (1..).zip(looked.translation.tables) {
        if table.0 != 0 {
            request.levels = level;
        }
    }
    request.pfn = looked.translation.pfn.map_or(NO_PAGE, |pfn| pfn.0);
    Ok(())
}

/// All address spaces.
pub(crate) fn report(shadow: &Shadow, out: &mut Records) -> CoreResult<()> {
    let mut id = 0;
    while let Some(window) = shadow.windows.next(id) {
        id = window.id;
        window.refresh();
        let mut record = window.with(|of| Ok(space(&of)))?;
        if !window.may_look() {
            // Where it is, and what in it, is its owner's business (do_task_stat()).
            record.window_start = 0;
            record.window_end = 0;
            record.mmap_base = 0;
            record.start_brk = 0;
            record.brk = 0;
            record.start_stack = 0;
        }
        out.push(&record)?;
    }
    Ok(())
}
