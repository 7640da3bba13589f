// SPDX-License-Identifier: GPL-2.0

//! What debugging does when a slab is made, when an object is given out, and
//! when one comes back.
//!
//! ```text
//!   setup_slab      all 0x5a            objects: red zones 0xbb, poison 0x6b…0xa5, no tracks
//!     alloc_object    checks as free    red zones 0xcc, poison anew, the size that was asked for
//!       free_object     checks as used    red zones 0xbb, poison, the track of the free
//! ```
//!
//! An object that fails the checks of an allocation takes its slab out of use:
//! everything in it counts as used, and it is frozen. One that fails those of a
//! free stays allocated. Either is lost, and nothing is made worse.

use super::finding::Finding;
use super::inspect::Cache;
use super::inspect::Slab;
use super::layout::TrackItem;
use super::pattern::POISON_END;
use super::pattern::POISON_FREE;
use super::pattern::POISON_INUSE;
use super::pattern::SLUB_RED_ACTIVE;
use super::pattern::SLUB_RED_INACTIVE;
use super::track::Track;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use crate::slab::CacheId;
use crate::slab::SlabFlags;

/// Flags for which the bytes of objects are set when a slab is made.
const SETUP: SlabFlags = match SlabFlags::from_bits(
    SlabFlags::DEBUG_METADATA.bits() | SlabFlags::OBJECT_POISON.bits(),
) {
    Ok(flags) => flags,
    Err(_) => SlabFlags::DEBUG_METADATA,
};

impl<P: Platform> Cache<'_, P> {
    /// Fills an object that is free or in use from now on (`init_object`).
    pub fn init_object(&self, slab: &Slab<'_>, object: u32, value: u8) {
        let (layout, bytes) = (&self.layout, slab.bytes);
        let mut poisoned = layout.object_size;
        let red = layout.has(SlabFlags::RED_ZONE);
        if red {
            bytes.fill(object.saturating_sub(layout.red_left_pad)..object, value);
            // What kmalloc gives beyond what it was asked for is red, too.
            let orig = layout.orig_size().filter(|_| value == SLUB_RED_ACTIVE);
            if let Some(at) = orig {
                poisoned = u64::from(poisoned).min(bytes.word(object + at)) as u32;
            }
        }
        let end = object + poisoned;
        if layout.has(SlabFlags::OBJECT_POISON) && poisoned != 0 {
            bytes.fill(object..end - 1, POISON_FREE);
            bytes.fill(end - 1..end, POISON_END);
        }
        if red {
            bytes.fill(end..object + layout.inuse, value);
        }
    }

    /// Fills a new slab (`setup_slab_debug`, `setup_object_debug`). The freelist
    /// is made afterwards, and constructors run then.
    pub fn setup_slab(&self, slab: &Slab<'_>) {
        if self.layout.has(SlabFlags::POISON) {
            slab.bytes.fill(0..slab.bytes.len(), POISON_INUSE);
        }
        if !self.layout.has(SETUP) {
            return;
        }
        for index in 0..slab.objects {
            let object = self.layout.object(index);
            self.init_object(slab, object, SLUB_RED_INACTIVE);
            if self.layout.has(SlabFlags::STORE_USER) {
                for item in [TrackItem::Alloc, TrackItem::Free] {
                    Track::default().store(slab.bytes, &self.layout, object, item);
                }
            }
        }
    }

    /// The object at that address was taken off the slab's freelist and is to be
    /// given out for `orig_size` bytes (`alloc_debug_processing`).
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`] when a check has failed: the slab's objects all
    /// count as used, and it is frozen. The caller takes it off its list and
    /// looks for another.
    pub fn alloc_object(&self, slab: &mut Slab<'_>, object: u64, orig_size: u32) -> Result<u32> {
        let checks = self.layout.has(SlabFlags::CONSISTENCY_CHECKS);
        let place = slab.place(&self.layout, object);
        let good = |place: Option<u32>| {
            if !self.check_slab(slab) {
                return None;
            }
            let Some(place) = place else {
                let what = "Freelist Pointer check fails";
                self.object_err(Some(Finding::InvalidPointer), slab, object, what);
                return None;
            };
            self.check_object(slab, place, SLUB_RED_INACTIVE)
                .then_some(place)
        };
        // Linux goes on with what can't be an object when it does not check.
        let Some(place) = (if checks { good(place) } else { place }) else {
            self.slab_fix(format_args!("Marking all objects used"));
            slab.inuse = slab.objects;
            slab.freelist = 0;
            slab.frozen = true;
            return Err(Error::SlabDamaged);
        };
        self.tell(slab, place, true);
        if let Some(at) = self.layout.orig_size() {
            slab.bytes.set_word(place + at, u64::from(orig_size));
        }
        self.init_object(slab, place, SLUB_RED_ACTIVE);
        Ok(place)
    }

    /// The object at that address is to come back to a slab, which says that its
    /// cache is `of` (`free_debug_processing`, for one object).
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`], [`Error::NotAnObject`], [`Error::ObjectFree`] or
    /// [`Error::WrongCache`] when a check has failed: the object stays as it is.
    /// The slab's freelist and counter may have been mended.
    pub fn free_object(
        &self,
        slab: &mut Slab<'_>,
        object: u64,
        (this, of): (CacheId, CacheId),
        track: &Track,
    ) -> Result<u32> {
        let place = self.free_checks(slab, object, (this, of));
        let place = place.inspect_err(|_| {
            self.slab_fix(format_args!("Object at 0x{object:016x} not freed"));
        })?;
        if self.layout.has(SlabFlags::STORE_USER) {
            track.store(slab.bytes, &self.layout, place, TrackItem::Free);
        }
        self.tell(slab, place, false);
        // With poison, the free pointer lies outside of what this fills.
        self.init_object(slab, place, SLUB_RED_INACTIVE);
        Ok(place)
    }

    /// `free_consistency_checks`, and what stands before it.
    fn free_checks(
        &self,
        slab: &mut Slab<'_>,
        object: u64,
        (this, of): (CacheId, CacheId),
    ) -> Result<u32> {
        let checks = self.layout.has(SlabFlags::CONSISTENCY_CHECKS);
        if checks && !self.check_slab(slab) {
            return Err(Error::SlabDamaged);
        }
        if slab.inuse < 1 {
            let inuse = slab.inuse;
            self.slab_err(
                Finding::ObjectCount,
                slab,
                format_args!("Slab has {inuse} allocated objects but 1 are to be freed\n"),
            );
            return Err(Error::ObjectFree);
        }
        let place = slab.place(&self.layout, object);
        if !checks {
            // Linux would write wherever that is.
            return place.ok_or(Error::NotAnObject);
        }
        let Some(place) = place else {
            self.slab_err(
                Finding::InvalidPointer,
                slab,
                format_args!("Invalid object pointer 0x{object:016x}"),
            );
            return Err(Error::NotAnObject);
        };
        if self.on_freelist(slab, object) {
            let what = "Object already free";
            self.object_err(Some(Finding::AlreadyFree), slab, object, what);
            return Err(Error::ObjectFree);
        }
        if !self.check_object(slab, place, SLUB_RED_ACTIVE) {
            return Err(Error::SlabDamaged);
        }
        if this != of {
            let what = "page slab pointer corrupt.";
            self.object_err(Some(Finding::WrongCache), slab, object, what);
            return Err(Error::WrongCache);
        }
        Ok(place)
    }
}
