// SPDX-License-Identifier: GPL-2.0

//! Core's numbers as the ABI's records, and the ABI's map as core's.
//!
//! One function for each kind of report; they translate field by field and
//! compute nothing.

mod slab;
mod usage;

use crate::abi;
use crate::abi::Plain;
use crate::abi::Records;
use crate::bindings;
use crate::mm;
use crate::region::Source;
use crate::shadow;
use crate::shadow::Boot;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use crate::uapi;
use crate::users::check_admin;
use crate::users::is_capable;
use core::mem;
use kernel::bindings::CAP_SYS_ADMIN;
use kernel::prelude::*;
use shadowmm_core::boot::CrashParameter;
use shadowmm_core::boot::MAX_PARAMETER;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::firmware::MapSource;
use shadowmm_core::memblock::MemblockRegion;
use shadowmm_core::page::PageDescriptor;
use shadowmm_core::page::PageState;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::MAX_CPUS;
use shadowmm_core::phys::MAX_NODES;
use shadowmm_core::report;
use shadowmm_core::report::Snapshot;
use shadowmm_core::report::Stop;

/// A host frame number for somebody who may not see it.
const HIDDEN: u64 = u64::MAX;

/// The map of a request, entry by entry, and what it says of the crash kernel.
pub(crate) fn read_map(
    request: &uapi::shadowmm_map,
) -> CoreResult<(KVBox<FirmwareMap>, Option<CrashParameter>)> {
    let mut map = shadow::new_map()?;
    map.source = MapSource::from_raw(request.source).ok_or(Error::BadKind)?;
    if map.source != MapSource::Builtin {
        read_entries(request, &mut map)?;
    }
    let crashkernel = if request.crashkernel == 0 {
        None
    } else {
        let mut buffer = [0u8; MAX_PARAMETER + 2];
        Some(CrashParameter::new(abi::read_text(
            request.crashkernel,
            &mut buffer,
        )?)?)
    };
    Ok((map, crashkernel))
}

fn read_entries(request: &uapi::shadowmm_map, map: &mut FirmwareMap) -> CoreResult<()> {
    // One CPU may be said twice, so the table alone would not stop a long list.
    if request.nr_cpus as usize > MAX_CPUS {
        return Err(Error::MapTooManyEntries);
    }
    abi::read_array(request.e820, request.nr_e820, |e: uapi::shadowmm_e820| {
        no_reserved(e.reserved)?;
        map.e820.push(e.addr, e.size, e.type_)
    })?;
    abi::read_array(
        request.memory,
        request.nr_memory,
        |m: uapi::shadowmm_affinity| {
            if m.flags & !uapi::SHADOWMM_AFFINITY_HOTPLUG != 0 {
                return Err(Error::BadFlags);
            }
            map.meminfo.push(m.addr, m.size, m.nid, m.flags != 0)
        },
    )?;
    abi::read_array(request.cpus, request.nr_cpus, |c: uapi::shadowmm_cpu| {
        map.cpus.push(c.cpu, c.nid)
    })?;
    read_distances(request, map)
}

fn read_distances(request: &uapi::shadowmm_map, map: &mut FirmwareMap) -> CoreResult<()> {
    let nodes = request.nr_nodes;
    if nodes as usize > MAX_NODES {
        return Err(Error::MapBadNode);
    }
    let mut rows = KVec::new();
    abi::read_array(request.distances, nodes * nodes, |distance: u8| {
        rows.push(distance, GFP_KERNEL)
            .map_err(|_| Error::NoHostMemory)
    })?;
    if nodes == 0 {
        return Ok(());
    }
    map.slit.set_rows(nodes, &rows)
}

fn no_reserved(field: u32) -> CoreResult<()> {
    if field == 0 {
        Ok(())
    } else {
        Err(Error::BadReserved)
    }
}

/// What an allocation asks for.
pub(crate) fn wanted(flags: u32, order: u32, nid: i32) -> CoreResult<AllocRequest> {
    let flags = match flags {
        0 => gfp::GFP_KERNEL.bits(),
        flags => flags,
    };
    let wanted = AllocRequest::from_raw(flags, order, nid)?;
    if wanted.gfp().has(gfp::__GFP_MEMALLOC) {
        // The reserves are no one user's.
        check_admin()?;
    }
    Ok(wanted)
}

/// What is done by hand, and how many pages it gave back.
pub(crate) fn reclaim(shadow: &Shadow, request: &uapi::shadowmm_reclaim) -> CoreResult<Pages> {
    let nid = match NodeId(request.nid) {
        NodeId::NONE => None,
        nid if nid.is_none() => return Err(Error::NodeOffline),
        nid => Some(nid),
    };
    shadow.with_mm(|mm| match request.op {
        uapi::SHADOWMM_RECLAIM_DRAIN => mm.drain(nid),
        uapi::SHADOWMM_RECLAIM_COMPACT => mm.compact(nid),
        uapi::SHADOWMM_RECLAIM_SHRINK if nid.is_none() => Ok(mm.buddy().drop_slab()),
        _ => Err(Error::BadKind),
    })
}

/// A state as the ABI numbers them. A page that a CPU keeps is a free one.
fn page_state(state: PageState) -> u32 {
    match state {
        PageState::Hole => uapi::SHADOWMM_PAGE_HOLE,
        PageState::Reserved => uapi::SHADOWMM_PAGE_RESERVED,
        PageState::Buddy | PageState::Pageset => uapi::SHADOWMM_PAGE_BUDDY,
        PageState::Allocated => uapi::SHADOWMM_PAGE_ALLOCATED,
        PageState::Tail | PageState::SlabTail => uapi::SHADOWMM_PAGE_TAIL,
        PageState::Slab => uapi::SHADOWMM_PAGE_SLAB,
    }
}

/// What is known about a page, except whose it is.
pub(crate) fn page(mm: &Mm<'_>, request: &mut uapi::shadowmm_page) -> CoreResult<()> {
    let pfn = Pfn(request.pfn);
    let page = mm.sparse.page(pfn).ok_or(Error::ForeignPfn)?;
    let block = mm.allocator().block_of(pfn).ok_or(Error::ForeignPfn)?;
    request.head_pfn = block.head.0;
    request.host_pfn = host_pfn(mm.region.host_pfn(pfn));
    request.section = mm.sparse.section_of(pfn).0;
    request.state = page_state(page.state());
    request.head_state = page_state(block.state);
    request.order = block.order.get().into();
    request.zone = page.zone() as u32;
    request.nid = page.nid().0;
    request.count = mm.sparse.page(block.head).map_or(0, PageDescriptor::count);
    Ok(())
}

fn host_pfn(pfn: Option<u64>) -> u64 {
    let shown = pfn.filter(|_| is_capable(CAP_SYS_ADMIN));
    shown.unwrap_or(HIDDEN)
}

/// Writes the records of a report.
pub(crate) fn report(
    shadow: &Shadow,
    request: &uapi::shadowmm_report,
    out: &mut Records,
) -> CoreResult<()> {
    use uapi::*;
    let size = request.record_size;
    match request.kind {
        SHADOWMM_REPORT_STATUS => {
            sized::<shadowmm_rec_status>(size)?;
            shadow.with_boot(|boot| out.push(&status(shadow, boot)))
        }
        SHADOWMM_REPORT_SEGMENTS => {
            sized::<shadowmm_rec_segment>(size)?;
            shadow.with_boot(|boot| segments(boot, out))
        }
        SHADOWMM_REPORT_E820 => {
            sized::<shadowmm_rec_e820>(size)?;
            shadow.with_boot(|boot| e820(boot, out))
        }
        SHADOWMM_REPORT_RESOURCES => {
            sized::<shadowmm_rec_resource>(size)?;
            shadow.with_boot(|boot| resources(boot, out))
        }
        SHADOWMM_REPORT_MEMBLOCK => {
            sized::<shadowmm_rec_memblock>(size)?;
            shadow.with_boot(|boot| memblock(boot, out))
        }
        SHADOWMM_REPORT_NODES => {
            sized::<shadowmm_rec_node>(size)?;
            shadow.with_boot(|boot| nodes(boot, out))
        }
        SHADOWMM_REPORT_ZONES => {
            sized::<shadowmm_rec_zone>(size)?;
            shadow.with_boot(|boot| zones(boot, out))
        }
        SHADOWMM_REPORT_ACCOUNTING => {
            sized::<shadowmm_rec_account>(size)?;
            shadow.with_boot(|boot| accounting(boot, out))
        }
        SHADOWMM_REPORT_VMSTAT => {
            sized::<shadowmm_rec_counter>(size)?;
            shadow.with_boot(|boot| vmstat(boot, out))
        }
        SHADOWMM_REPORT_REFUSALS => {
            sized::<shadowmm_rec_counter>(size)?;
            let mut all = shadow.refusals.iter();
            all.try_for_each(|(error, count)| out.push(&counter(error.name(), count)))
        }
        SHADOWMM_REPORT_SECTIONS => {
            sized::<shadowmm_rec_section>(size)?;
            shadow.with_boot(|boot| sections(boot, out))
        }
        SHADOWMM_REPORT_PAGESETS => {
            sized::<shadowmm_rec_pageset>(size)?;
            shadow.with_boot(|boot| usage::pagesets(boot, out))
        }
        SHADOWMM_REPORT_PAGETYPES => {
            sized::<shadowmm_rec_pagetype>(size)?;
            shadow.with_boot(|boot| usage::page_types(boot, out))
        }
        SHADOWMM_REPORT_FRAGMENTATION => {
            sized::<shadowmm_rec_fragmentation>(size)?;
            shadow.with_boot(|boot| usage::fragmentation(boot, out))
        }
        SHADOWMM_REPORT_NUMASTAT => {
            sized::<shadowmm_rec_numastat>(size)?;
            shadow.with_boot(|boot| usage::numastat(boot, out))
        }
        SHADOWMM_REPORT_FALLBACKS => {
            sized::<shadowmm_rec_fallback>(size)?;
            shadow.with_boot(|boot| usage::fallbacks(boot, out))
        }
        SHADOWMM_REPORT_AREAS => {
            sized::<shadowmm_rec_area>(size)?;
            shadow.with_mm(|mm| areas(mm, out))
        }
        SHADOWMM_REPORT_SPACES => {
            sized::<shadowmm_rec_space>(size)?;
            mm::report(shadow, out)
        }
        SHADOWMM_REPORT_SLAB => {
            sized::<shadowmm_rec_slab>(size)?;
            slab::layer(shadow, out)
        }
        SHADOWMM_REPORT_CACHES => {
            sized::<shadowmm_rec_cache>(size)?;
            slab::all(shadow, out)
        }
        SHADOWMM_REPORT_CACHE_NODES => {
            sized::<shadowmm_rec_cache_node>(size)?;
            slab::nodes(shadow, out)
        }
        _ => Err(Error::BadKind),
    }
}

/// The caller and the module must mean the same record.
fn sized<T>(size: u32) -> CoreResult<()> {
    if size as usize == mem::size_of::<T>() {
        Ok(())
    } else {
        Err(Error::BadSize)
    }
}

/// Runs a walk of core's whose visitor writes records; keeps the reason when
/// one can't be written.
fn walk<M>(
    out: &mut Records,
    record: impl Fn(&M, &mut Records) -> CoreResult<()>,
    run: impl FnOnce(&mut dyn FnMut(&M) -> report::Walk) -> report::Walk,
) -> CoreResult<()> {
    let mut result = Ok(());
    let walked = run(&mut |model| {
        result = record(model, out);
        result.map_err(|_| Stop)
    });
    result.and(walked.map_err(|_| Error::Corrupt))
}

fn status(shadow: &Shadow, boot: &Boot<'_>) -> uapi::shadowmm_rec_status {
    let mut record = uapi::shadowmm_rec_status::zeroed();
    record.stage = boot.stage() as u32;
    record.map_source = boot.machine.map.source as u32;
    record.region_source = match shadow.host.source {
        Source::Cma => uapi::SHADOWMM_SOURCE_CMA,
        Source::Contig => uapi::SHADOWMM_SOURCE_CONTIG,
    };
    record.backing_pages = boot.machine.backing.0;
    record.ram_pages = boot.machine.scaled.ram.0;
    record.original_ram = boot.machine.scaled.original_ram.0;
    record.descriptor_size = mem::size_of::<PageDescriptor>() as u32;
    // SAFETY: A constant.
    record.host_descriptor_size = unsafe { bindings::shadowmm_struct_page_size };
    if let Ok(sparse) = boot.sparse() {
        record.section_order = sparse.order().get().into();
        record.descriptor_bytes = sparse.map_bytes().0;
        record.metadata_bytes = (sparse.map_bytes() + sparse.table_bytes()).0;
    }
    if let Ok(nodes) = boot.nodes() {
        record.nr_nodes = nodes.online().count() as u32;
    }
    if let Ok(mm) = boot.mm() {
        record.metadata_bytes = mm.metadata().0;
        record.managed_pages = mm.managed().0;
        record.free_pages = mm.free().0;
    }
    record.held_pages = shadow.held_pages();
    record.open_files = shadow.open_files();
    record.ns = boot.ns();
    record.crash_reason = boot.crash().refused.map_or(0, Error::code);
    record
}

fn segments(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    let region = boot.region().ok_or(Error::BootFailed)?;
    for segment in region.segments() {
        let mut record = uapi::shadowmm_rec_segment::zeroed();
        record.start_pfn = segment.range.start.0;
        record.pages = segment.range.pages().0;
        record.host_pfn = host_pfn(Some(segment.host_pfn));
        record.nid = segment.nid.0;
        record.host_nid = segment.host_node.0;
        out.push(&record)?;
    }
    Ok(())
}

fn e820(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    for entry in boot.machine.map.e820.entries() {
        let mut record = uapi::shadowmm_rec_e820::zeroed();
        record.addr = entry.addr.0;
        record.size = entry.size.0;
        record.type_ = entry.kind.0;
        out.push(&record)?;
    }
    Ok(())
}

fn resources(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    let record = |resource: &report::ResourceModel, out: &mut Records| {
        let mut record = uapi::shadowmm_rec_resource::zeroed();
        record.start = resource.start.0;
        record.end = resource.end.0;
        record.depth = resource.depth;
        abi::fill_text(&mut record.name, resource.name);
        out.push(&record)
    };
    walk(out, record, |visit| boot.for_each_resource(visit))
}

fn memblock(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    let memblock = boot.memblock()?;
    let mut push = |array: u32, region: &MemblockRegion| {
        let mut record = uapi::shadowmm_rec_memblock::zeroed();
        record.base = region.base.0;
        record.size = region.size.0;
        record.flags = region.flags.0;
        record.nid = region.nid.0;
        record.array = array;
        out.push(&record)
    };
    for region in memblock.memory.as_slice() {
        push(uapi::SHADOWMM_MEMBLOCK_MEMORY, region)?;
    }
    for region in memblock.reserved.as_slice() {
        push(uapi::SHADOWMM_MEMBLOCK_RESERVED, region)?;
    }
    Ok(())
}

fn nodes(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.nodes()?;
    let record = |node: &report::NodeModel, out: &mut Records| {
        let mut record = uapi::shadowmm_rec_node::zeroed();
        record.nid = node.nid.0;
        let segment = boot
            .region()
            .and_then(|region| region.segment(node.start_pfn));
        record.host_nid = segment.map_or(-1, |segment| segment.host_node.0);
        record.nr_cpus = node.cpus.len();
        record.nr_fallback = node.nr_fallback;
        record.start_pfn = node.start_pfn.0;
        record.spanned = node.spanned.0;
        record.present = node.present.0;
        record.distance = node.distance;
        record.fallback = node.fallback.map(|nid| nid as i8);
        out.push(&record)
    };
    walk(out, record, |visit| boot.for_each_node(visit))
}

fn zones(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.nodes()?;
    let record = |zone: &report::ZoneModel, out: &mut Records| {
        let mut record = uapi::shadowmm_rec_zone::zeroed();
        record.nid = zone.nid.0;
        record.zone = zone.kind as u32;
        abi::fill_text(&mut record.name, zone.kind.name());
        record.start_pfn = zone.start_pfn.0;
        record.spanned = zone.spanned.0;
        record.present = zone.present.0;
        record.managed = zone.managed.0;
        record.free = zone.free().0;
        record.watermark = zone.watermark.map(|pages| pages.0);
        record.lowmem_reserve = zone.lowmem_reserve.map(|pages| pages.0);
        record.nr_free = zone.nr_free;
        out.push(&record)
    };
    walk(out, record, |visit| boot.for_each_zone(visit))
}

fn accounting(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.mm()?;
    let record = |account: &report::AccountModel, out: &mut Records| {
        let mut record = uapi::shadowmm_rec_account::zeroed();
        let Bytes(bytes) = account.bytes;
        record.bytes = bytes;
        record.depth = account.depth;
        abi::fill_text(&mut record.key, account.key);
        abi::fill_text(&mut record.text, account.text);
        out.push(&record)
    };
    walk(out, record, |visit| {
        boot.accounting().for_each_account(visit)
    })
}

fn vmstat(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    boot.mm()?;
    let record = |model: &report::CounterModel, out: &mut Records| {
        out.push(&counter(model.name, model.value))
    };
    walk(out, record, |visit| {
        report::vmstat::for_each_counter(boot, visit)
    })
}

fn counter(name: &str, value: u64) -> uapi::shadowmm_rec_counter {
    let mut record = uapi::shadowmm_rec_counter::zeroed();
    abi::fill_text(&mut record.name, name);
    record.value = value;
    record
}

fn sections(boot: &Boot<'_>, out: &mut Records) -> CoreResult<()> {
    let sparse = boot.sparse()?;
    for (number, section) in sparse.sections() {
        let mut record = uapi::shadowmm_rec_section::zeroed();
        record.number = number.0;
        record.start_pfn = sparse.frames(number).start.0;
        record.memmap_pfn = section.memmap().pfn_down().0;
        record.nid = section.nid().0;
        out.push(&record)?;
    }
    Ok(())
}

fn areas(mm: &Mm<'_>, out: &mut Records) -> CoreResult<()> {
    for area in mm.areas.iter().flat_map(|areas| areas.iter()) {
        let area = area.report();
        let mut record = uapi::shadowmm_rec_area::zeroed();
        record.nid = area.zone.nid().0;
        record.zone = area.zone.kind() as u32;
        abi::fill_text(&mut record.kind, area.kind.name());
        record.start_pfn = area.span.start.0;
        record.end_pfn = area.span.end.0;
        record.max = area.max.0;
        record.free = area.free.0;
        record.divisions = area.divisions;
        record.merges = area.merges;
        record.objects = area.lists.map(|list| list.objects);
        record.nr_free = area.lists.map(|list| list.free);
        record.allocs = area.lists.map(|list| list.allocs);
        record.frees = area.lists.map(|list| list.frees);
        out.push(&record)?;
    }
    Ok(())
}
