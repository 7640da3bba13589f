// SPDX-License-Identifier: GPL-2.0

//! The differential test: a node's zones of the running kernel, copies of them
//! that core's buddy system manages, and the same steps on both.
//!
//! ```text
//! host_zone.rs     the kernel's zones, through host_zone.c
//! twin.rs          the copies
//! play.rs          steps on both, and what differs
//! text.rs          a side's state as a text
//!
//! host_cache.rs    caches of the kernel's slab allocator, through host_slab.c
//! slab.rs          what it makes of requests; pairs of a cache there and one here
//! objects.rs       the same objects from both
//! ```
//!
//! What is taken from the kernel belongs to the open file and goes back with
//! it. Beside pages, three things of the kernel are changed while there are
//! copies, and put back: its counters of these zones are exact, its pagesets of
//! them do not expire, and keep nothing if that is asked for.

mod host_cache;
mod host_zone;
mod objects;
mod play;
mod slab;
mod text;
mod twin;

use crate::abi;
use crate::failure::Text;
use crate::uapi;
use crate::users::check_admin;
use core::fmt::Write;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Release;
use host_zone::HostZone;
use kernel::prelude::*;
use play::Bulk;
use play::Outcome;
use play::Player;
use play::Seen;
use play::Slots;
use play::NR_SLOTS;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::PagesetState;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shadowmm_core::slices;
pub(crate) use slab::SlabDiff;
use text::Copies;
use text::Host;
use twin::online_cpus;
use twin::Twin;

/// Makes what all open files share.
///
/// # Safety
///
/// Called once, by the module's init, before anything else of this.
pub(crate) unsafe fn init() {
    // SAFETY: The caller's promise.
    unsafe { host_cache::NAMES.init() };
}

/// How many steps one request may play.
const MAX_STEPS: u32 = 1 << 16;

/// Whether somebody has copies.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to have copies, which one file has at a time.
struct Turn(());

impl Turn {
    fn take() -> CoreResult<Self> {
        let taken = TAKEN.compare_exchange(false, true, Acquire, Acquire);
        taken.map(|_| Self(())).map_err(|_| Error::DiffBusy)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Release);
    }
}

fn no_memory<E>(_: E) -> Error {
    Error::NoHostMemory
}

/// The kernel's zones of a node, held still: what was changed of them is as it
/// was when this is dropped.
struct Quiet {
    zones: KVec<HostZone>,
    thresholds: KVec<i32>,
    limits: KVec<(HostZone, CpuId, PagesetState)>,
}

impl Quiet {
    /// The node's zones, the highest kind first.
    fn new(nid: NodeId, without_pagesets: bool) -> CoreResult<Self> {
        let mut quiet = Self {
            zones: KVec::new(),
            thresholds: KVec::new(),
            limits: KVec::new(),
        };
        for kind in ZoneType::ALL.into_iter().rev() {
            let Some(zone) = HostZone::find(nid, kind) else {
                continue;
            };
            quiet.zones.push(zone, GFP_KERNEL).map_err(no_memory)?;
            quiet.thresholds.reserve(1, GFP_KERNEL).map_err(no_memory)?;
            let old = zone.set_stat_threshold(0);
            quiet.thresholds.push(old, GFP_KERNEL).map_err(no_memory)?;
            for cpu in online_cpus() {
                zone.set_pageset_expire(cpu, 0);
                if without_pagesets {
                    let old = (zone, cpu, zone.pageset(cpu));
                    quiet.limits.push(old, GFP_KERNEL).map_err(no_memory)?;
                    let none = PagesetState {
                        batch: 1,
                        ..PagesetState::default()
                    };
                    zone.set_pageset_limits(cpu, &none);
                }
            }
        }
        match quiet.zones.is_empty() {
            true => Err(Error::DiffNoZones),
            false => Ok(quiet),
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        for (zone, cpu, limits) in &self.limits {
            zone.set_pageset_limits(*cpu, limits);
        }
        for (zone, threshold) in self.zones.iter().zip(&self.thresholds) {
            zone.set_stat_threshold(*threshold);
        }
    }
}

/// Copies of a node's zones, and what was taken from the node. The fields are
/// dropped in this order: the blocks go back first.
pub(crate) struct Diff {
    slots: Slots,
    quiet: Quiet,
    seen: Seen,
    twin: Twin,
    nid: NodeId,
    bulk: Bulk,
    rooms: [KVVec<u32>; 2],
    without_pagesets: bool,
    expiring: bool,
    over: bool,
    _turn: Turn,
}

impl Diff {
    /// Copies of the zones of `nid`.
    fn new(request: &uapi::shadowmm_diff_open) -> CoreResult<Self> {
        let turn = Turn::take()?;
        let nid = NodeId(request.nid);
        if nid.is_none() {
            return Err(Error::DiffNoZones);
        }
        let without_pagesets = request.head.flags & uapi::SHADOWMM_DIFF_NO_PAGESETS != 0;
        let quiet = Quiet::new(nid, without_pagesets)?;
        if request.head.flags & uapi::SHADOWMM_DIFF_EMPTY != 0 || without_pagesets {
            // Without pagesets also because what they keep is out of reach then.
            empty_and_give_back(nid, request.seed)?;
        }
        let frames: u64 = quiet.zones.iter().map(|zone| zone.shape().spanned).sum();
        let room = || KVVec::from_elem(0u32, frames as usize, GFP_KERNEL).map_err(no_memory);
        let mut rooms = [room()?, room()?];
        // Before they are copied: who comes in between has disturbed.
        let seen = Seen::new(&quiet.zones, without_pagesets).map_err(no_memory)?;
        let twin = Twin::new(nid, &quiet.zones, &mut rooms[0])?;
        Ok(Self {
            slots: Slots::new().map_err(no_memory)?,
            quiet,
            seen,
            twin,
            nid,
            bulk: Bulk::new().map_err(no_memory)?,
            rooms,
            without_pagesets,
            expiring: false,
            over: false,
            _turn: turn,
        })
    }

    fn play(&mut self, request: &mut uapi::shadowmm_diff_play) -> CoreResult<()> {
        if self.over {
            return Err(Error::DiffNotOpen);
        }
        if request.nr_steps > MAX_STEPS {
            return Err(Error::BadSize);
        }
        let mut steps = KVVec::new();
        abi::read_array(
            request.steps,
            request.nr_steps,
            |step: uapi::shadowmm_diff_step| steps.push(step, GFP_KERNEL).map_err(no_memory),
        )?;
        let mut results = KVVec::with_capacity(steps.len(), GFP_KERNEL).map_err(no_memory)?;
        if request.results != 0 {
            // Where they can't be told, nothing may have been done.
            let none = core::iter::repeat_n(0, steps.len());
            abi::write_numbers(request.results, steps.len(), none)?;
        }
        let locals = self.twin.locals()?;
        let view = self.twin.view(&locals)?;
        let mut player = Player {
            nid: self.nid,
            zones: &self.quiet.zones,
            view: &view,
            slots: &mut self.slots,
            bulk: &mut self.bulk,
            rooms: &mut self.rooms,
            without_pagesets: self.without_pagesets,
            expiring: &mut self.expiring,
            seen: &mut self.seen,
        };
        // What a refresh of the statistics did is not known before its step.
        let refreshed = steps
            .first()
            .is_some_and(|step| step.op == uapi::SHADOWMM_DIFF_REFRESH);
        let mut difference = None;
        if refreshed {
            player.seen.forget();
        } else if let Outcome::Differs(found) = player.begin() {
            difference = Some(found);
        }
        for step in &steps {
            if difference.is_some() {
                break;
            }
            match player.step(step)? {
                Outcome::Same(result) => results.push(result, GFP_KERNEL).map_err(no_memory)?,
                Outcome::Differs(found) => difference = Some(found),
            }
        }
        request.done = results.len() as u32;
        request.verdict = uapi::SHADOWMM_DIFF_EQUAL;
        if let Some(difference) = difference {
            self.over = true;
            request.verdict = difference.verdict;
            request.host = difference.host;
            request.shadow = difference.shadow;
            // What does not fit is left out.
            let _ = write!(
                abi::TextField::new(&mut request.what),
                "{}",
                difference.what
            );
        }
        match request.results {
            0 => Ok(()),
            address => abi::write_array(address, &results),
        }
    }

    fn state(&mut self, request: &mut uapi::shadowmm_diff_state) -> CoreResult<()> {
        let locals = self.twin.locals()?;
        let view = self.twin.view(&locals)?;
        let zones = &self.quiet.zones;
        let room = &mut self.rooms[0];
        let mut text = Text::new();
        let written = match request.side {
            uapi::SHADOWMM_DIFF_HOST => text::write(&Host(zones), zones, room, &mut text),
            uapi::SHADOWMM_DIFF_SHADOW => {
                let (nid, view) = (self.nid, &view);
                text::write(&Copies { nid, view }, zones, room, &mut text)
            }
            _ => return Err(Error::BadKind),
        };
        written.map_err(no_memory)?;
        let text = text.as_str().as_bytes();
        request.size = text.len() as u64;
        let fits = text.len().min(request.capacity as usize);
        abi::write_array(request.buf, text.get(..fits).unwrap_or_default())
    }

    /// Pages that the zones have, and how many of them are free.
    fn pages(&self) -> (u64, u64) {
        let zones = self.quiet.zones.iter();
        zones.fold((0, 0), |(managed, free), zone| {
            (managed + zone.shape().managed, free + zone.numbers().free)
        })
    }
}

/// Takes all free pages of the node, the largest blocks first, and gives them
/// back: without a seed the lowest first, else in an order by it.
fn empty_and_give_back(nid: NodeId, seed: u64) -> CoreResult<()> {
    let base = gfp::__GFP_THISNODE | gfp::__GFP_MEMALLOC | gfp::__GFP_NOWARN;
    // Movable ones come last: the page blocks are theirs then.
    let kinds = [
        gfp::__GFP_HIGHMEM | gfp::__GFP_MOVABLE,
        gfp::__GFP_RECLAIMABLE,
        gfp::Gfp::NONE,
    ];
    let mut taken = Taken(KVVec::new());
    for order in PageOrder::all().rev() {
        for kind in kinds {
            loop {
                taken.0.reserve(1, GFP_KERNEL).map_err(no_memory)?;
                let Some(pfn) = host_zone::alloc(nid, (base | kind).bits(), order) else {
                    break;
                };
                taken.0.push((pfn, order), GFP_KERNEL).map_err(no_memory)?;
            }
        }
    }
    slices::sort_by_key(&mut taken.0, |&block| block);
    if seed != 0 {
        let mut random = seed;
        for i in (1..taken.0.len()).rev() {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            slices::swap(&mut taken.0, i, (random % (i as u64 + 1)) as usize);
        }
    }
    Ok(())
}

/// Blocks that were taken, and go back in their order when this is dropped.
struct Taken(KVVec<(Pfn, PageOrder)>);

impl Drop for Taken {
    fn drop(&mut self) {
        for &(pfn, order) in &self.0 {
            // SAFETY: The kernel gave it out at this order, and it is here once.
            unsafe { host_zone::free(pfn, order) };
        }
    }
}

/// What an open file has of the test.
#[derive(Default)]
pub(crate) struct OpenDiff(Option<KBox<Diff>>);

impl OpenDiff {
    /// DIFF_OPEN.
    pub(crate) fn open(&mut self, request: &mut uapi::shadowmm_diff_open) -> CoreResult<()> {
        check_admin()?;
        // The old ones go first, with what they hold of the kernel.
        self.0 = None;
        let diff = Diff::new(request)?;
        (request.managed, request.free) = diff.pages();
        request.nr_zones = diff.quiet.zones.len() as u32;
        request.nr_slots = NR_SLOTS as u64;
        self.0 = Some(KBox::new(diff, GFP_KERNEL).map_err(no_memory)?);
        Ok(())
    }

    /// The copies are gone, and what was taken from the node is back.
    pub(crate) fn close(&mut self) {
        self.0 = None;
    }

    /// DIFF_PLAY.
    pub(crate) fn play(&mut self, request: &mut uapi::shadowmm_diff_play) -> CoreResult<()> {
        check_admin()?;
        self.0.as_mut().ok_or(Error::DiffNotOpen)?.play(request)
    }

    /// DIFF_STATE.
    pub(crate) fn state(&mut self, request: &mut uapi::shadowmm_diff_state) -> CoreResult<()> {
        check_admin()?;
        self.0.as_mut().ok_or(Error::DiffNotOpen)?.state(request)
    }
}
