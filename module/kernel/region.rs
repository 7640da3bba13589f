// SPDX-License-Identifier: GPL-2.0

//! The host memory under the shadow, and its way back.
//!
//! ```text
//! source=cma     each node's own CMA area (numa_cma=, cma_pernuma=), through a
//!                faux device on that node; where no node has one, the default
//!                area (cma=), as in a confidential guest
//! source=contig  alloc_contig_pages() on each node; needs region_mb
//! ```
//!
//! Of the areas only what those of a node have in sum is exported, so the largest
//! chunks are found by asking: halving from the node's size down, or from what is wanted
//! where that is less, and taking each size as often as it can be had. Neighbouring
//! chunks become one run.
//!
//! Everything is owned by a [`Chunk`], whose drop gives it back the way it
//! came; a load that fails half-way returns what it had by dropping it.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::str::CString;
use shadowmm_core::phys::Backing;
use shadowmm_core::phys::BackingRun;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::MAX_BACKING_RUNS;
use shadowmm_core::phys::PAGE_SIZE;
use shadowmm_core::slices;

/// Where the region comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The host's CMA areas.
    Cma,
    /// Any memory of the node that can be made free.
    Contig,
}

impl Source {
    /// The source named by the `source=` parameter.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "cma" => Ok(Self::Cma),
            "contig" => Ok(Self::Contig),
            _ => {
                pr_err!("source= is neither cma nor contig\n");
                Err(EINVAL)
            }
        }
    }
}

/// The smallest chunk worth taking. It is above what the DMA API takes from the
/// host's buddy system when CMA has nothing left (4 MiB), so that what comes is
/// from CMA or not at all.
const MIN_CHUNK: u64 = 8 << 20 >> 12;

/// A MiB.
const MIB: u64 = 1 << 20 >> 12;

/// The largest chunk that is asked for in one piece without CMA; it must be
/// aligned to its size in the host, so large ones are hard to find.
const MAX_CONTIG_CHUNK: u64 = 64 << 20 >> 12;

/// How a chunk goes back.
enum Origin {
    /// From the area of the node that this device sits on.
    NodeArea { device: Device, handle: u64 },
    /// From the default area.
    DefaultArea,
    /// From the host's buddy system.
    Contig,
}

/// A faux device, to be on a node.
#[derive(Clone, Copy)]
struct Device(NonNull<kernel::bindings::faux_device>);

impl Device {
    fn raw(self) -> *mut kernel::bindings::device {
        // SAFETY: The device is registered, and this takes an address only.
        unsafe { &raw mut (*self.0.as_ptr()).dev }
    }
}

/// Contiguous host memory that is ours until this is dropped.
struct Chunk {
    page: NonNull<kernel::bindings::page>,
    pages: u64,
    origin: Origin,
}

impl Chunk {
    fn pfn(&self) -> u64 {
        // SAFETY: The page is a valid one of ours.
        unsafe { bindings::shadowmm_page_to_pfn(self.page.as_ptr()) as u64 }
    }

    fn nid(&self) -> i32 {
        // SAFETY: As above.
        unsafe { bindings::shadowmm_page_to_nid(self.page.as_ptr()) }
    }

    /// Whoever has it may touch it, as if nobody had ever had it.
    fn unwatch(&self) {
        // SAFETY: The pages are ours, and have an address.
        unsafe {
            let start = bindings::shadowmm_page_address(self.page.as_ptr());
            bindings::shadowmm_watch(start, self.pages as usize * PAGE_SIZE as usize, false);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.unwatch();
        let page = self.page.as_ptr();
        let pages = self.pages as usize;
        match self.origin {
            // SAFETY: The page, the size and the handle are those that the
            // allocation on this device returned, and the device is dropped
            // after its chunks.
            Origin::NodeArea { device, handle } => unsafe {
                bindings::shadowmm_dma_free(device.raw(), pages << 12, page, handle)
            },
            Origin::DefaultArea => {
                // SAFETY: A null device asks for the default area.
                let area = unsafe { bindings::dev_get_cma_area(core::ptr::null_mut()) };
                // SAFETY: These pages came from that area, and nobody has a
                // reference to them but us.
                if !unsafe { bindings::cma_release(area, page, pages) } {
                    pr_err!("the default CMA area does not know its pages\n");
                }
            }
            // SAFETY: These pages came from alloc_contig_pages().
            Origin::Contig => unsafe {
                kernel::bindings::free_contig_range(self.pfn() as usize, pages)
            },
        }
    }
}

/// All host memory of the shadow. Dropping it returns every page.
pub(crate) struct HostMemory {
    /// Sorted by node, then frame number.
    chunks: KVec<Chunk>,
    /// With the nodes that they are on.
    devices: KVec<(i32, Device)>,
    /// Where it came from.
    pub(crate) source: Source,
}

// SAFETY: Chunks and devices may be returned from any thread, and shared
// references only read numbers.
unsafe impl Send for HostMemory {}
// SAFETY: As above.
unsafe impl Sync for HostMemory {}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // Chunks first: they go back through the devices.
        self.chunks.clear();
        for (_, device) in &self.devices {
            // SAFETY: We created it, and nothing uses it any more.
            unsafe { kernel::bindings::faux_device_destroy(device.0.as_ptr()) };
        }
    }
}

impl HostMemory {
    /// Takes memory on every node: as much as can be had, or `region_mb` MiB,
    /// spread evenly as far as the nodes have it.
    ///
    /// # Errors
    ///
    /// ENOMEM when there is none or not enough, with a line that says what to
    /// change.
    pub(crate) fn take(source: Source, region_mb: u32) -> Result<Self> {
        let mut memory = Self {
            chunks: KVec::new(),
            devices: KVec::new(),
            source,
        };
        let nodes = Nodes(-1).count().max(1) as u64;
        let wanted = match (region_mb, source) {
            (0, Source::Contig) => {
                pr_err!("source=contig needs region_mb=\n");
                return Err(EINVAL);
            }
            (0, Source::Cma) => u64::MAX,
            (mb, _) => u64::from(mb) << 8,
        };
        // Whole MiB, so that every remainder is a chunk that can be asked for.
        let share = wanted / nodes / MIB * MIB;
        if share < MIN_CHUNK {
            pr_err!("region_mb= is too small: at least 8 MiB on each node\n");
            return Err(ENOSPC);
        }
        // The first ones have what that leaves, a MiB each.
        let mut rest = wanted - share * nodes;
        for nid in Nodes(-1) {
            let more = rest.min(MIB);
            rest -= more;
            memory.take_on(nid, share + more)?;
        }
        if memory.chunks.is_empty() && source == Source::Cma {
            memory.take_chunks(-1, wanted, MIN_CHUNK, |_, pages| default_area(pages))?;
        }
        // What one node does not have, another may.
        for nid in Nodes(-1) {
            let missing = wanted.saturating_sub(memory.pages());
            if region_mb != 0 && missing != 0 {
                memory.take_on(nid, missing)?;
            }
        }
        slices::sort_by_key(&mut memory.chunks, |chunk| (chunk.nid(), chunk.pfn()));
        memory.keep_longest_runs();
        let got = memory.pages();
        if got == 0 {
            pr_err!("no memory for the region: boot with cma=64M numa_cma=0:256M,1:256M (one NODE:SIZE for each node), or load with source=contig region_mb=SIZE\n");
            return Err(ENOMEM);
        }
        if region_mb != 0 && got < wanted {
            pr_err!(
                "region_mb={} asks for more than can be had ({} MiB)\n",
                region_mb,
                got >> 8
            );
            return Err(ENOMEM);
        }
        Ok(memory)
    }

    /// Takes up to `limit` pages on `nid`.
    fn take_on(&mut self, nid: i32, limit: u64) -> Result {
        match self.source {
            Source::Contig => self.take_chunks(nid, limit, MIB, contig),
            Source::Cma => match self.device_on(nid)? {
                Some(device) => {
                    // Where the areas are ours already nothing is asked for: the host would
                    // clear as much of the default area for it, only to have it back.
                    let limit = limit.min(self.areas_left(nid));
                    self.take_chunks(nid, limit, MIN_CHUNK, |nid, pages| {
                        node_area(device, nid, pages)
                    })
                }
                None => Ok(()),
            },
        }
    }

    /// How many pages on `nid` are in CMA areas and not taken.
    fn areas_left(&self, nid: i32) -> u64 {
        // SAFETY: Reads counters of a node that exists.
        let all = unsafe { bindings::shadowmm_node_cma_pages(nid) as u64 };
        let on_node = self.chunks.iter().filter(|chunk| chunk.nid() == nid);
        all.saturating_sub(on_node.map(|chunk| chunk.pages).sum())
    }

    /// Gives back what exceeds the runs that core can take, the shortest first.
    fn keep_longest_runs(&mut self) {
        while self.runs().count() > MAX_BACKING_RUNS {
            let shortest = self.runs().min_by_key(|run| run.pages);
            let Some(Run { first, last, .. }) = shortest else {
                return;
            };
            for index in (first..=last).rev() {
                let _given_back = self.chunks.remove(index);
            }
        }
    }

    /// The stretches of chunks that are neighbours.
    fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut next = 0;
        core::iter::from_fn(move || {
            let first = self.chunks.get(next)?;
            let mut run = Run {
                first: next,
                last: next,
                pages: first.pages,
            };
            while let Some(chunk) = self.chunks.get(run.last + 1) {
                if chunk.pfn() != first.pfn() + run.pages || chunk.nid() != first.nid() {
                    break;
                }
                run.last += 1;
                run.pages += chunk.pages;
            }
            next = run.last + 1;
            Some(run)
        })
    }

    /// How much lies on each of the host's nodes, for those that have some, in
    /// their order. Returns how many there are.
    pub(crate) fn shares(&self, shares: &mut [Pages]) -> usize {
        let mut last = -1;
        let mut nodes = 0;
        for chunk in &self.chunks {
            if chunk.nid() != last {
                last = chunk.nid();
                nodes += 1;
            }
            if let Some(share) = shares.get_mut(nodes - 1) {
                *share += Pages(chunk.pages);
            }
        }
        nodes
    }

    /// How much it is, in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.pages).sum()
    }

    /// The memory as core takes it: one run for each stretch of neighbours.
    ///
    /// # Safety
    ///
    /// `self` outlives everything that is made of the backing, and there is
    /// one backing at a time.
    pub(crate) unsafe fn backing(&self, backing: &mut Backing<'static>) -> Result {
        self.chunks.iter().for_each(Chunk::unwatch);
        for run in self.runs() {
            let first = self.chunks.get(run.first).ok_or(ENOMEM)?;
            // SAFETY: The page is ours, hence in the direct map.
            let base = unsafe { bindings::shadowmm_page_address(first.page.as_ptr()) };
            let base = NonNull::new(base.cast::<u8>()).ok_or(ENOMEM)?;
            let nid = NodeId(first.nid());
            // SAFETY: The direct map has `pages` pages there, which are ours
            // alone, and the caller keeps `self` as long as needed.
            let run = unsafe { BackingRun::new(base, Pages(run.pages), nid, first.pfn()) };
            backing.push(run).map_err(|_| ENOSPC)?;
        }
        Ok(())
    }

    /// The device through which the CMA area of `nid` is reached; made when it
    /// is asked for the first time. `None` where that way leads nowhere.
    fn device_on(&mut self, nid: i32) -> Result<Option<Device>> {
        if let Some((_, device)) = self.devices.iter().find(|(on, _)| *on == nid) {
            return Ok(Some(*device));
        }
        // In a confidential guest the DMA API gives memory that is shared with
        // the hypervisor, and its address instead of its pages.
        // SAFETY: Asks about the machine.
        if unsafe { bindings::shadowmm_guest_mem_encrypted() } {
            return Ok(None);
        }
        let name = CString::try_from_fmt(fmt!("shadowmm-node{nid}"))?;
        // SAFETY: The name is a C string and is copied; no ops are allowed.
        let device = unsafe {
            kernel::bindings::faux_device_create(
                name.as_char_ptr(),
                core::ptr::null_mut(),
                core::ptr::null(),
            )
        };
        let device = Device(NonNull::new(device).ok_or(ENOMEM)?);
        if let Err(error) = self.devices.push((nid, device), GFP_KERNEL) {
            // SAFETY: We have just created it.
            unsafe { kernel::bindings::faux_device_destroy(device.0.as_ptr()) };
            return Err(error.into());
        }
        // SAFETY: The device is registered and ours.
        unsafe { bindings::shadowmm_set_dev_node(device.raw(), nid) };
        // SAFETY: As above. Faux devices have a DMA mask pointer from the bus.
        let error = unsafe { kernel::bindings::dma_set_coherent_mask(device.raw(), u64::MAX) };
        kernel::error::to_result(error)?;
        Ok(Some(device))
    }

    /// Takes chunks of at least `least` pages by `take`, the largest first,
    /// until there are `limit` pages or no more.
    fn take_chunks(
        &mut self,
        nid: i32,
        limit: u64,
        least: u64,
        take: impl Fn(i32, u64) -> Option<Chunk>,
    ) -> Result {
        let mut size = present_pages(nid).min(limit).next_power_of_two();
        let mut left = limit;
        while size >= least && left >= least {
            let mut pages = size.min(left);
            if left - pages < least {
                // What would be left could not be asked for.
                pages = left;
            }
            match take(nid, pages) {
                Some(chunk) => {
                    left -= pages;
                    self.chunks.push(chunk, GFP_KERNEL)?;
                }
                // Where less is left than this size, as much as that was asked for.
                None => size = (size / 2).min(pages.next_power_of_two() / 2),
            }
        }
        Ok(())
    }
}

/// A stretch of chunks that are neighbours: from index `first` to `last`.
struct Run {
    first: usize,
    last: usize,
    pages: u64,
}

/// From the CMA area of `nid`, through a device there.
fn node_area(device: Device, nid: i32, pages: u64) -> Option<Chunk> {
    if pages < MIN_CHUNK {
        return None;
    }
    let mut handle = 0;
    let size = (pages * PAGE_SIZE) as usize;
    // SAFETY: The device is registered and has a coherent mask.
    let page = unsafe { bindings::shadowmm_dma_alloc(device.raw(), size, &raw mut handle) };
    let page = NonNull::new(page)?;
    // The DMA API falls back to the default area, which is left to the host's
    // drivers. A release says whether a page came from there, and is what such
    // a page needs.
    // SAFETY: A null device asks for the default area.
    let default = unsafe { bindings::dev_get_cma_area(core::ptr::null_mut()) };
    // SAFETY: If the pages are of that area, they are ours to give back; if
    // not, nothing happens.
    if unsafe { bindings::cma_release(default, page.as_ptr(), pages as usize) } {
        return None;
    }
    let chunk = Chunk {
        page,
        pages,
        origin: Origin::NodeArea { device, handle },
    };
    (chunk.nid() == nid).then_some(chunk)
}

/// From the default CMA area.
fn default_area(pages: u64) -> Option<Chunk> {
    // SAFETY: A null device asks for the default area.
    let area = unsafe { bindings::dev_get_cma_area(core::ptr::null_mut()) };
    if area.is_null() {
        return None;
    }
    // SAFETY: The area is valid; page blocks are aligned to 2 MiB.
    let page = unsafe { bindings::cma_alloc(area, pages as usize, 9, true) };
    Some(Chunk {
        page: NonNull::new(page)?,
        pages,
        origin: Origin::DefaultArea,
    })
}

/// From any memory of `nid`.
fn contig(nid: i32, pages: u64) -> Option<Chunk> {
    if pages > MAX_CONTIG_CHUNK {
        return None;
    }
    // SAFETY: The node exists.
    let page = unsafe { bindings::shadowmm_alloc_contig(pages as usize, nid) };
    Some(Chunk {
        page: NonNull::new(page)?,
        pages,
        origin: Origin::Contig,
    })
}

/// The node's memory in pages; of all nodes for -1.
fn present_pages(nid: i32) -> u64 {
    // SAFETY: Reads counters of nodes that exist.
    let of = |nid| unsafe { bindings::shadowmm_node_present_pages(nid) as u64 };
    if nid >= 0 {
        of(nid)
    } else {
        Nodes(-1).map(of).sum()
    }
}

/// The host's nodes with memory, after the given one.
struct Nodes(i32);

impl Iterator for Nodes {
    type Item = i32;
    fn next(&mut self) -> Option<i32> {
        // SAFETY: Any number may be asked about.
        self.0 = unsafe { bindings::shadowmm_next_node_with_memory(self.0) };
        (self.0 >= 0).then_some(self.0)
    }
}
