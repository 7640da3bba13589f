// SPDX-License-Identifier: GPL-2.0

//! The checks of objects, freelists and slabs (`check_object`, `on_freelist`,
//! `check_slab` and what they call in `mm/slub.c`).
//!
//! Each check that fails says so, and then mends what it can: bytes are filled
//! again, a freelist is cut where it leads astray, counters are set to what was
//! counted. A shadow's slab does not store how many objects it has, so that two
//! of Linux's checks have nothing to look at: `objects %u > max %u` and `Wrong
//! number of objects`.

use super::finding::Finding;
use super::inspect::Cache;
use super::inspect::Slab;
use super::pattern::POISON_END;
use super::pattern::POISON_FREE;
use super::pattern::POISON_INUSE;
use super::pattern::SLUB_RED_ACTIVE;
use crate::platform::Platform;
use crate::slab::SlabFlags;
use core::ops::Range;

impl<P: Platform> Cache<'_, P> {
    /// Bytes that all have to be `value`; they are afterwards, and the answer is
    /// whether they were (`check_bytes_and_report`).
    fn check_bytes(
        &self,
        slab: &Slab<'_>,
        object: u32,
        (finding, name): (Finding, &str),
        (range, value): (Range<u32>, u8),
        whole: bool,
    ) -> bool {
        let Some(at) = slab.bytes.other_than(range, value) else {
            return true;
        };
        self.bytes_err(finding, slab, object, (name, at.clone(), value), whole);
        self.restore_bytes(slab, name, at, value);
        false
    }

    /// Everything around and in an object that `value` says is free or in use:
    /// [`SLUB_RED_INACTIVE`](super::SLUB_RED_INACTIVE) or [`SLUB_RED_ACTIVE`]
    /// (`check_object`). The whole object is shown with the first thing that is
    /// found.
    pub fn check_object(&self, slab: &Slab<'_>, object: u32, value: u8) -> bool {
        let layout = &self.layout;
        let end = object + layout.object_size;
        let inuse = object + layout.inuse;
        let is_active = value == SLUB_RED_ACTIVE;
        let mut good = true;
        let mut check = |what, range: Range<u32>, value| {
            good &= self.check_bytes(slab, object, what, (range, value), good);
        };
        if layout.has(SlabFlags::RED_ZONE) {
            let left = object.saturating_sub(layout.red_left_pad)..object;
            check((Finding::LeftRedzone, "Left Redzone"), left, value);
            check((Finding::RightRedzone, "Right Redzone"), end..inuse, value);
            let orig = layout.orig_size().filter(|_| is_active);
            if let Some(size) = orig.map(|at| slab.bytes.word(object + at)) {
                let asked = u64::from(layout.object_size).min(size) as u32;
                let what = (Finding::KmallocRedzone, "kmalloc Redzone");
                check(what, object + asked..end, value);
            }
        } else if layout.has(SlabFlags::POISON) && end < inuse {
            let what = (Finding::AlignmentPadding, "Alignment padding");
            check(what, end..inuse, POISON_INUSE);
        }
        if layout.has(SlabFlags::POISON) {
            if !is_active && layout.has(SlabFlags::OBJECT_POISON) && object < end {
                let what = (Finding::Poison, "Poison");
                check(what, object..end - 1, POISON_FREE);
                let what = (Finding::EndPoison, "End Poison");
                check(what, end - 1..end, POISON_END);
            }
            let padding = layout.padding();
            let padding = object + padding.start..object + padding.end;
            // This one shows the object whatever was found before (`check_pad_bytes`).
            let what = (Finding::ObjectPadding, "Object padding");
            good &= self.check_bytes(slab, object, what, (padding, POISON_INUSE), true);
        }
        // While somebody has the object, a free pointer inside is not there; and one outside may never have been, unless
        // the cache is debugged: a new slab's first objects are in no freelist (`alloc_from_new_slab`).
        let is_kept = layout.freeptr_outside_object() && layout.has(SlabFlags::DEBUG);
        if is_kept || !is_active {
            good &= self.check_free_pointer(slab, object);
        }
        good
    }

    fn check_free_pointer(&self, slab: &Slab<'_>, object: u32) -> bool {
        if slab.is_valid(&self.layout, self.free_pointer(slab, object)) {
            return true;
        }
        let (what, addr) = ("Freepointer corrupt", slab.addr(object));
        self.object_err(Some(Finding::FreePointer), slab, addr, what);
        // The free objects behind this one are lost, and the count of objects
        // may be found wrong because of that.
        self.set_free_pointer(slab, object, 0);
        false
    }

    /// What lies behind the last object (`slab_pad_check`). Mends it.
    pub fn check_padding(&self, slab: &Slab<'_>) {
        let length = slab.bytes.len();
        let rest = length.checked_rem(self.layout.size).unwrap_or(0);
        if !self.layout.has(SlabFlags::POISON) || rest == 0 {
            return;
        }
        let padding = length - rest..length;
        let Some(at) = slab.bytes.other_than(padding.clone(), POISON_INUSE) else {
            return;
        };
        self.pad_err(slab, padding, &at);
        self.restore_bytes(slab, "slab padding", at, POISON_INUSE);
    }

    /// Whether what the slab says of itself can be (`check_slab`).
    pub fn check_slab(&self, slab: &Slab<'_>) -> bool {
        let (inuse, objects) = (slab.inuse, slab.objects);
        if inuse > objects {
            self.slab_err(
                Finding::SlabState,
                slab,
                format_args!("inuse {inuse} > max {objects}"),
            );
            return false;
        }
        if slab.frozen {
            let what = "Slab disabled since SLUB metadata consistency check failed";
            self.slab_err(Finding::SlabState, slab, format_args!("{what}"));
            return false;
        }
        self.check_padding(slab);
        true
    }

    /// The freelist is no more: all objects count as used, and those that were
    /// free are lost.
    fn clear_freelist(&self, slab: &mut Slab<'_>) {
        slab.freelist = 0;
        slab.inuse = slab.objects;
        self.slab_fix(format_args!("Freelist cleared"));
    }

    /// Whether the object at the address `search` is free; with 0, whether the
    /// freelist is one. Whatever is wrong with it is mended (`on_freelist`).
    pub fn on_freelist(&self, slab: &mut Slab<'_>, search: u64) -> bool {
        let mut counted = 0;
        let mut before = None;
        let mut next = slab.freelist;
        while next != 0 && counted <= slab.objects {
            if next == search {
                return true;
            }
            let Some(object) = slab.place(&self.layout, next) else {
                let Some(before) = before else {
                    self.slab_err(
                        Finding::FreeChain,
                        slab,
                        format_args!("Freepointer corrupt"),
                    );
                    self.clear_freelist(slab);
                    return false;
                };
                let (what, addr) = ("Freechain corrupt", slab.addr(before));
                self.object_err(Some(Finding::FreeChain), slab, addr, what);
                self.set_free_pointer(slab, before, 0);
                break;
            };
            before = Some(object);
            next = self.free_pointer(slab, object);
            counted += 1;
        }
        if counted > slab.objects {
            self.slab_err(
                Finding::FreelistCycle,
                slab,
                format_args!("Freelist cycle detected"),
            );
            self.clear_freelist(slab);
            return false;
        }
        let used = slab.objects - counted;
        if slab.inuse != used {
            let counter = slab.inuse;
            self.slab_err(
                Finding::ObjectCount,
                slab,
                format_args!("Wrong object count. Counter is {counter} but counted were {used}"),
            );
            slab.inuse = used;
            self.slab_fix(format_args!("Object count adjusted"));
        }
        search == 0
    }

    /// Every object of a slab, and what holds them together (`validate_slab`).
    /// Whether all was good.
    pub fn validate_slab(&self, slab: &mut Slab<'_>) -> bool {
        let before = self.findings.total();
        if self.check_slab(slab) && self.on_freelist(slab, 0) {
            self.each_object(slab, |object, is_free| {
                let value = super::red_zone(is_free);
                self.check_object(slab, object, value)
            });
        }
        self.findings.total() == before
    }

    /// A slab all of whose objects are free goes back to the page allocator
    /// (`free_slab`).
    pub fn check_discarded(&self, slab: &Slab<'_>) {
        if !self.layout.has(SlabFlags::CONSISTENCY_CHECKS) {
            return;
        }
        self.check_padding(slab);
        for index in 0..slab.objects {
            let object = self.layout.object(index);
            self.check_object(slab, object, super::SLUB_RED_INACTIVE);
        }
    }
}
