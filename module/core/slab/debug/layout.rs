// SPDX-License-Identifier: GPL-2.0

//! Where the parts of an object lie in its slab.
//!
//! ```text
//!   |<------------------------------- size ------------------------------->|
//!   | red_left_pad | object_size | to inuse | free | alloc | free  | orig | padding |
//!   | 0xbb / 0xcc  | 0x6b … 0xa5 | bb / cc  | ptr  | track | track | size | 0x5a …  |
//!                  ^ the object             ^ if it is outside
//! ```
//!
//! The same with fewer parts when fewer flags are set. Behind the last object
//! the rest of the slab is 0x5a (the comment above `check_pad_bytes()`, in
//! `mm/slub.c`). Places inside an object count from where the object begins.

use crate::slab::Geometry;
use crate::slab::SlabFlags;
use crate::slab::TRACK_SIZE;
use core::ops::Range;

/// What a pointer takes.
const POINTER: u32 = 8;

/// Which of the two tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackItem {
    /// Who has allocated the object (`TRACK_ALLOC`).
    Alloc,
    /// Who has freed it (`TRACK_FREE`).
    Free,
}

/// The parts of an object. Sizes and places are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The size of the object that its user sees.
    pub object_size: u32,
    /// From one object to the next.
    pub size: u32,
    /// Where what belongs to the user and its red zone ends.
    pub inuse: u32,
    /// Where the free pointer is.
    pub offset: u32,
    /// The red zone before the object.
    pub red_left_pad: u32,
    /// The flags of the cache.
    pub flags: SlabFlags,
}

impl Layout {
    /// The parts of the objects of a cache.
    pub const fn new(geometry: &Geometry) -> Self {
        Self {
            object_size: geometry.object_size,
            size: geometry.size,
            inuse: geometry.inuse,
            offset: geometry.offset,
            red_left_pad: geometry.red_left_pad,
            flags: geometry.flags,
        }
    }

    /// Whether a flag is set.
    pub const fn has(&self, flag: SlabFlags) -> bool {
        self.flags.has(flag)
    }

    /// Whether the free pointer lies behind the object, so that it is good while
    /// somebody has the object (`freeptr_outside_object`).
    pub const fn freeptr_outside_object(&self) -> bool {
        self.offset >= self.inuse
    }

    /// Where the object, its red zone and a free pointer outside end
    /// (`get_info_end`).
    pub const fn info_end(&self) -> u32 {
        if self.freeptr_outside_object() {
            self.inuse + POINTER
        } else {
            self.inuse
        }
    }

    /// Where a track is (`get_track`).
    pub const fn track(&self, item: TrackItem) -> u32 {
        match item {
            TrackItem::Alloc => self.info_end(),
            TrackItem::Free => self.info_end() + TRACK_SIZE,
        }
    }

    /// Where the size is that kmalloc was asked for, if objects keep it.
    pub const fn orig_size(&self) -> Option<u32> {
        if self.flags.keeps_request_size() {
            Some(self.info_end() + 2 * TRACK_SIZE)
        } else {
            None
        }
    }

    /// The padding behind all that; empty when there is none.
    pub const fn padding(&self) -> Range<u32> {
        let mut at = self.info_end();
        if self.has(SlabFlags::STORE_USER) {
            at += 2 * TRACK_SIZE;
        }
        if self.orig_size().is_some() {
            at += POINTER;
        }
        at..self.size_from_object()
    }

    /// From the object to where the next one's left red zone begins
    /// (`size_from_object`).
    pub const fn size_from_object(&self) -> u32 {
        if self.has(SlabFlags::RED_ZONE) {
            self.size.saturating_sub(self.red_left_pad)
        } else {
            self.size
        }
    }

    /// Where the first object of a slab begins (`fixup_red_left`).
    pub const fn first(&self) -> u32 {
        if self.has(SlabFlags::RED_ZONE) {
            self.red_left_pad
        } else {
            0
        }
    }

    /// Where the object of that number begins, from the slab's start.
    pub const fn object(&self, index: u32) -> u32 {
        self.first() + index * self.size
    }

    /// The number of the object that begins at `at`, of `objects`
    /// (`check_valid_pointer`). `None` when none does.
    pub const fn index(&self, at: u32, objects: u32) -> Option<u32> {
        let Some(from) = at.checked_sub(self.first()) else {
            return None;
        };
        match from.checked_rem(self.size) {
            Some(0) if from / self.size < objects => Some(from / self.size),
            _ => None,
        }
    }
}
