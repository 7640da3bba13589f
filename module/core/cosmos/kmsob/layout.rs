// SPDX-License-Identifier: GPL-2.0

//! Where things lie in a container's blocks, by the size of its objects.
//!
//! ```text
//! the container's own block           an extension
//! [ kmbext_t | kmsob_t | tags | objects ... ]   [ kmbext_t | tags | objects ... ]
//!
//! objects of    a block has
//!   32 ..  128    1 page
//!  160 ..  512    2 pages
//!  544 .. 2048    4 pages
//! ```
//!
//! A tag is two bytes per object: the cache that has it, or 0 while it is free.
//! Objects start at a multiple of 32, and their sizes are multiples of 32, so
//! each is aligned to 32 bytes, which is what a free object's header takes.

use super::cells::KmbextCells;
use super::cells::KmsobCells;
use super::cells::FREOBJH_SIZE;
use crate::phys::Bytes;
use crate::phys::PageOrder;

/// How many sizes there are (`KOBLST_MAX`).
pub const KOBLST_MAX: usize = 64;

/// How far the sizes lie apart, and the smallest of them: a free object's
/// header (`freobjh_t`) fits in.
pub const KOBLST_STEP: u64 = FREOBJH_SIZE;

/// The largest size; what is larger goes straight to pages (`kmsob_new`).
pub const KMSOB_MAX: Bytes = Bytes(KOBLST_STEP * KOBLST_MAX as u64);

/// How many kinds of block sizes a container keeps lists of (`MSCLST_MAX`):
/// 1, 2, 4, 8 and 16 pages.
pub const MSCLST_MAX: usize = 5;

/// One of the sizes: an index below [`KOBLST_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeIndex(u8);

impl SizeIndex {
    /// The smallest size that holds `size` bytes; `None` for nothing and for
    /// more than [`KMSOB_MAX`] (`onmsz_retn_koblst`).
    pub const fn for_size(size: Bytes) -> Option<Self> {
        if size.0 == 0 || size.0 > KMSOB_MAX.0 {
            return None;
        }
        Some(Self(((size.0 - 1) / KOBLST_STEP) as u8))
    }

    /// The size with this index.
    pub const fn new(index: usize) -> Option<Self> {
        if index < KOBLST_MAX {
            Some(Self(index as u8))
        } else {
            None
        }
    }

    /// All sizes, smallest first.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..KOBLST_MAX as u8).map(Self)
    }

    /// As an index below [`KOBLST_MAX`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The bytes of such an object (`ol_sz`).
    pub const fn size(self) -> Bytes {
        Bytes((self.0 as u64 + 1) * KOBLST_STEP)
    }

    /// The pages of a block for such objects (`_create_kmsob`,
    /// `kmsob_extn_pages`).
    pub fn order(self) -> PageOrder {
        let order = match self.size().0 {
            0..=128 => 0,
            129..=512 => 1,
            _ => 2,
        };
        PageOrder::new(order).unwrap_or(PageOrder::ZERO)
    }

    /// How a container's own block is laid out.
    pub fn own(self) -> Layout {
        Layout::new(self, KmbextCells::SIZE + KmsobCells::SIZE)
    }

    /// How an extension is laid out.
    pub fn extension(self) -> Layout {
        Layout::new(self, KmbextCells::SIZE)
    }
}

/// How a block is laid out. All offsets are from its start, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the tags begin.
    pub tags: u64,
    /// Where the first object begins.
    pub first: u64,
    /// What an object takes.
    pub size: u64,
    /// How many objects there are.
    pub objects: u32,
}

impl Layout {
    /// As many objects of the size as fit behind a header of `header` bytes
    /// (`_create_init_kmsob`).
    fn new(size: SizeIndex, header: u64) -> Self {
        let room = size.order().pages().bytes().0;
        let size = size.size().0;
        let first = |objects: u64| {
            let tags = objects.saturating_mul(TAG_SIZE);
            header.saturating_add(tags).next_multiple_of(KOBLST_STEP)
        };
        // Rounding the tags up may cost the last object.
        let mut objects = room.saturating_sub(header) / (size + TAG_SIZE);
        while objects > 0 && first(objects).saturating_add(objects.saturating_mul(size)) > room {
            objects -= 1;
        }
        Self {
            tags: header,
            first: first(objects),
            size,
            objects: objects as u32,
        }
    }

    /// Where the tag of the object `index` lies.
    pub fn tag(&self, index: u32) -> u64 {
        self.tags
            .wrapping_add(u64::from(index).wrapping_mul(TAG_SIZE))
    }

    /// Where the object `index` lies.
    pub fn object(&self, index: u32) -> u64 {
        self.first
            .wrapping_add(u64::from(index).wrapping_mul(self.size))
    }

    /// Which object begins at `offset`, if one does (`scan_fadrskmsob_isok`).
    pub fn index(&self, offset: u64) -> Option<u32> {
        let into = offset.checked_sub(self.first)?;
        let index = into.checked_div(self.size)?;
        let starts = index.checked_mul(self.size) == Some(into) && index < u64::from(self.objects);
        starts.then_some(index as u32)
    }
}

/// What a tag takes.
const TAG_SIZE: u64 = 2;
