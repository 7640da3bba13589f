// SPDX-License-Identifier: GPL-2.0

//! Objects of pairs of caches, in numbered slots: the same steps on both sides, one
//! after the other on the same CPU.

use super::host_cache::HostObject;
use super::no_memory;
use super::slab::Pair;
use crate::abi;
use crate::slab::PrivateCache;
use crate::uapi;
use kernel::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::PAGE_SIZE;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slices;

/// How many slots there are.
const NR_SLOTS: usize = 1 << 16;
/// How many steps one request may play.
const MAX_STEPS: u32 = 1 << 16;
/// How many objects are taken or given at once.
const MAX_BULK: usize = 256;

/// How often the shadow is asked for what it has memory for: in between some may have come
/// back, from another CPU or when a grace period ended.
const ATTEMPTS: u32 = 3;

/// The shadow's requests, like the kernel's.
const REQUEST: ObjRequest = ObjRequest::new(gfp::GFP_KERNEL);

/// A slot's object, on both sides.
#[derive(Clone, Copy)]
struct Twins {
    pair: u32,
    host: HostObject,
    shadow: ObjAddr,
}

/// Objects that could not be had.
#[derive(Clone, Copy, Default)]
pub(super) struct Failed {
    /// Those that the kernel had none of.
    host: u32,
    /// Those that the shadow alone had no memory for.
    pub(super) short: u32,
    /// Those that the shadow alone did not give all the same.
    pub(super) refused: u32,
}

impl Failed {
    /// So many that the kernel had none of.
    fn host(count: u32) -> Self {
        Self {
            host: count,
            ..Self::default()
        }
    }

    /// So many that the shadow had none of, and the kernel has taken its own back.
    fn shadow(count: u32, why: Why) -> Self {
        let mut failed = Self::default();
        match why {
            Why::Short => failed.short = count,
            Why::Refused => failed.refused = count,
        }
        failed
    }

    /// All of them.
    pub(super) fn all(self) -> u32 {
        let shadow = self.short.saturating_add(self.refused);
        self.host.saturating_add(shadow)
    }

    fn add(&mut self, more: Self) {
        self.host = self.host.saturating_add(more.host);
        self.short = self.short.saturating_add(more.short);
        self.refused = self.refused.saturating_add(more.refused);
    }
}

/// Why the shadow had none when the kernel had some.
#[derive(Clone, Copy)]
enum Why {
    /// Its memory, which is less than the kernel's, was at an end.
    Short,
    /// There is no reason that counts.
    Refused,
}

/// The slots, and room for what is taken or given at once.
pub(super) struct Slots {
    slots: KVVec<Option<Twins>>,
    room: Room,
}

/// Room for [`MAX_BULK`] objects of both sides: too large for the stack.
struct Room {
    taken: KVVec<Option<HostObject>>,
    given: KVVec<HostObject>,
    shadow: KVVec<ObjAddr>,
}

impl Room {
    /// None yet.
    const NEW: Self = Self {
        taken: KVVec::new(),
        given: KVVec::new(),
        shadow: KVVec::new(),
    };
}

impl Slots {
    /// None yet: they come with the first step.
    pub(super) const NEW: Self = Self {
        slots: KVVec::new(),
        room: Room::NEW,
    };

    /// Makes the slots, unless they are there.
    fn make(&mut self) -> CoreResult<()> {
        if self.slots.is_empty() {
            let taken = KVVec::from_elem(None, MAX_BULK, GFP_KERNEL);
            let given = KVVec::from_elem(HostObject::DANGLING, MAX_BULK, GFP_KERNEL);
            let shadow = KVVec::from_elem(ObjAddr::NULL, MAX_BULK, GFP_KERNEL);
            self.room = Room {
                taken: taken.map_err(no_memory)?,
                given: given.map_err(no_memory)?,
                shadow: shadow.map_err(no_memory)?,
            };
            // At last: they say whether all is there.
            self.slots = KVVec::from_elem(None, NR_SLOTS, GFP_KERNEL).map_err(no_memory)?;
        }
        Ok(())
    }

    /// Plays a request's steps; what could not be had.
    pub(super) fn play(
        &mut self,
        pairs: &[Pair],
        request: &uapi::shadowmm_diff_objects,
    ) -> CoreResult<Failed> {
        if request.nr > MAX_STEPS {
            return Err(Error::BadSize);
        }
        self.make()?;
        let mut steps = KVVec::new();
        abi::read_array(
            request.steps,
            request.nr,
            |step: uapi::shadowmm_diff_objects_step| {
                steps.push(step, GFP_KERNEL).map_err(no_memory)
            },
        )?;
        let mut failed = Failed::default();
        for step in &steps {
            failed.add(self.step(pairs, step)?);
        }
        Ok(failed)
    }

    fn step(
        &mut self,
        pairs: &[Pair],
        step: &uapi::shadowmm_diff_objects_step,
    ) -> CoreResult<Failed> {
        let first = step.slot as usize;
        let end = first.checked_add(step.count as usize);
        let slots = end.and_then(|end| self.slots.get_mut(first..end));
        let slots = slots.ok_or(Error::BadSize)?;
        let room = &mut self.room;
        let pair = || pairs.get(step.cache as usize).ok_or(Error::NoSuchCache);
        match step.op {
            uapi::SHADOWMM_DIFF_TAKE => take(pair()?, step.cache, slots),
            uapi::SHADOWMM_DIFF_TAKE_BULK => take_bulk(pair()?, step.cache, slots, room),
            uapi::SHADOWMM_DIFF_GIVE => {
                for slot in slots {
                    if let Some(twins) = slot.take() {
                        give(pairs, twins)?;
                    }
                }
                Ok(Failed::default())
            }
            uapi::SHADOWMM_DIFF_GIVE_BULK => give_bulk(pair()?, step.cache, slots, room),
            uapi::SHADOWMM_DIFF_SHRINK => {
                let pair = pair()?;
                let shadow = pair.shadow()?;
                pair.host.shrink();
                shadow.with(|slab, id| slab.shrink(id))?;
                Ok(Failed::default())
            }
            _ => Err(Error::BadKind),
        }
    }

    /// Gives the objects of all pairs from this one on back.
    pub(super) fn give_from(&mut self, pairs: &[Pair], first: usize) {
        for slot in &mut self.slots {
            let ours = slot.take_if(|twins| twins.pair as usize >= first);
            let Some(twins) = ours else { continue };
            // The kernel's is given back in any case. There is nothing to be done about what the
            // shadow finds damaged: it stays in its slab.
            let _ = give(pairs, twins);
        }
    }

    /// What there is of a pair.
    pub(super) fn look(
        &self,
        pair: &Pair,
        request: &mut uapi::shadowmm_diff_look,
    ) -> CoreResult<()> {
        let shadow = pair.shadow()?;
        let report = shadow.with(|slab, id| slab.report(id).ok_or(Error::NoSuchCache))?;
        let mut slabs = [KVVec::new(), KVVec::new()];
        // A slab lies at a multiple of its own size.
        let size = report.geometry.order.pages().bytes().0.max(PAGE_SIZE);
        request.live = 0;
        for twins in self.slots.iter().flatten() {
            if twins.pair != request.cache {
                continue;
            }
            request.live += 1;
            let [host, shadow] = &mut slabs;
            host.push(twins.host.slab(), GFP_KERNEL)
                .map_err(no_memory)?;
            let object = twins.shadow.get();
            shadow.push(object, GFP_KERNEL).map_err(no_memory)?;
        }
        let [host, shadow] = &mut slabs;
        request.host_used = distinct(host);
        slices::sort_by_key(shadow, |&object| object);
        request.apart = apart(shadow, report.geometry.size.into());
        shadow.iter_mut().for_each(|object| *object /= size);
        request.shadow_used = distinct(shadow);
        request.fallbacks = report.counts.order_fallback.min(u32::MAX.into()) as u32;
        request.slabs = report.nodes.slabs;
        request.partial = report.nodes.partial;
        request.empty = report.nodes.empty;
        request.total = report.nodes.total_objects;
        request.objects = report.nodes.objects;
        request.cached = report.cached;
        request.active = report.active_objects;
        request.pages = report.pages.0;
        Ok(())
    }
}

/// How many different numbers there are.
fn distinct(numbers: &mut [u64]) -> u64 {
    slices::sort_by_key(numbers, |&number| number);
    let mut count = 0;
    let mut last = None;
    for number in numbers.iter() {
        if last != Some(number) {
            count += 1;
        }
        last = Some(number);
    }
    count
}

/// Of objects of this size, in the order of their addresses, how many do not begin in the one
/// before.
fn apart(objects: &[u64], size: u64) -> u64 {
    let pairs = objects.iter().zip(objects.iter().skip(1));
    let apart = pairs
        .filter(|(&one, &next)| next.wrapping_sub(one) >= size)
        .count();
    apart as u64 + u64::from(!objects.is_empty())
}

/// An object of the shadow's.
fn ask(cache: &PrivateCache) -> Result<ObjAddr, Why> {
    let asked = cache.with(|slab, id| {
        for _ in 0..ATTEMPTS {
            match slab.alloc(id, &REQUEST) {
                Err(Error::NoMemory) if slab.is_short(id, REQUEST.gfp)? => {
                    return Ok(Err(Why::Short));
                }
                Err(Error::NoMemory) => {}
                Err(_) => break,
                Ok(object) => return Ok(Ok(object)),
            }
        }
        Ok(Err(Why::Refused))
    });
    asked.unwrap_or(Err(Why::Refused))
}

/// As many objects of the shadow's as there are places, or none.
fn ask_bulk(cache: &PrivateCache, objects: &mut [ObjAddr]) -> Result<(), Why> {
    for _ in 0..ATTEMPTS {
        match cache.with(|slab, id| slab.alloc_bulk(id, &REQUEST, objects)) {
            Ok(()) => return Ok(()),
            Err(Error::NoMemory) => {}
            Err(_) => break,
        }
        // What it had until then it has taken back: one by one it is seen whether there is
        // memory for all.
        let mut why = None;
        let mut had = 0;
        for place in objects.iter_mut() {
            match ask(cache) {
                Ok(object) => *place = object,
                Err(found) => {
                    why = Some(found);
                    break;
                }
            }
            had += 1;
        }
        let back = objects.get(..had).unwrap_or_default();
        let freed = cache.with(|slab, id| slab.free_bulk(Some(id), back, 0));
        match (freed, why) {
            (Ok(freed), None) if freed == had => {}
            (Ok(freed), Some(why)) if freed == had => return Err(why),
            _ => break,
        }
    }
    Err(Why::Refused)
}

/// An object for each empty slot; what could not be had.
fn take(pair: &Pair, number: u32, slots: &mut [Option<Twins>]) -> CoreResult<Failed> {
    let shadow = pair.shadow()?;
    let mut failed = Failed::default();
    for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
        let Some(host) = pair.host.alloc() else {
            failed.add(Failed::host(1));
            continue;
        };
        match ask(shadow) {
            Ok(shadow) => {
                *slot = Some(Twins {
                    pair: number,
                    host,
                    shadow,
                });
            }
            Err(why) => {
                // SAFETY: The cache has just given it, and nobody has seen it.
                unsafe { pair.host.free(host) };
                failed.add(Failed::shadow(1, why));
            }
        }
    }
    Ok(failed)
}

/// The same at once.
fn take_bulk(
    pair: &Pair,
    number: u32,
    slots: &mut [Option<Twins>],
    room: &mut Room,
) -> CoreResult<Failed> {
    let cache = pair.shadow()?;
    let count = slots.iter().filter(|slot| slot.is_none()).count();
    let host = room.taken.get_mut(..count).ok_or(Error::BadSize)?;
    let shadow = room.shadow.get_mut(..count).ok_or(Error::BadSize)?;
    if count == 0 {
        return Ok(Failed::default());
    }
    if !pair.host.alloc_bulk(host) {
        return Ok(Failed::host(count as u32));
    }
    if let Err(why) = ask_bulk(cache, shadow) {
        for object in host.iter().flatten() {
            // SAFETY: The cache has just given it, and nobody has seen it.
            unsafe { pair.host.free(*object) };
        }
        return Ok(Failed::shadow(count as u32, why));
    }
    let empty = slots.iter_mut().filter(|slot| slot.is_none());
    for (slot, (host, shadow)) in empty.zip(host.iter().zip(shadow.iter())) {
        *slot = host.map(|host| Twins {
            pair: number,
            host,
            shadow: *shadow,
        });
    }
    Ok(Failed::default())
}

/// Gives an object back on both sides.
fn give(pairs: &[Pair], twins: Twins) -> CoreResult<()> {
    let pair = pairs.get(twins.pair as usize).ok_or(Error::NoSuchCache)?;
    // SAFETY: It came from this cache, and the slot was its only holder.
    unsafe { pair.host.free(twins.host) };
    pair.shadow()?
        .with(|slab, id| slab.free(id, twins.shadow, 0))
}

/// The same for all of one pair, at once.
fn give_bulk(
    pair: &Pair,
    number: u32,
    slots: &mut [Option<Twins>],
    room: &mut Room,
) -> CoreResult<Failed> {
    let cache = pair.shadow()?;
    let (host, shadow) = (&mut room.given, &mut room.shadow);
    let mut count = 0;
    for slot in slots.iter_mut() {
        let Some(twins) = slot.filter(|twins| twins.pair == number) else {
            continue;
        };
        let (Some(to), Some(other)) = (host.get_mut(count), shadow.get_mut(count)) else {
            break;
        };
        (*to, *other) = (twins.host, twins.shadow);
        *slot = None;
        count += 1;
    }
    let host = host.get_mut(..count).unwrap_or_default();
    let shadow = shadow.get(..count).unwrap_or_default();
    if count == 0 {
        return Ok(Failed::default());
    }
    // SAFETY: They came from this cache, and the slots were their only holders.
    unsafe { pair.host.free_bulk(host) };
    match cache.with(|slab, id| slab.free_bulk(Some(id), shadow, 0))? {
        freed if freed == count => Ok(Failed::default()),
        _ => Err(Error::ObjectFree),
    }
}
