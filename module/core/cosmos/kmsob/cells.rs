// SPDX-License-Identifier: GPL-2.0

//! What a container writes into its own pages: three headers, as cells.
//!
//! ```text
//! kmbext_t   begins every block: whose it is, how many objects it has
//! kmsob_t    follows it in the container's own block: lists, counts, pages
//! freobjh_t  begins every free object: the next one, and who it is itself
//! ```
//!
//! Links are shadow physical addresses, 0 for none. All of it belongs to the
//! pool's lock. What stands there is never trusted further than that: an owner of
//! an object may have written beyond its end, or after it gave the object back.

use super::layout::MSCLST_MAX;
use crate::phys::cells;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

cells! {
    /// A block of a container (`kmbext_t`); the container's own begins with one too,
    /// so that all blocks are looked at alike.
    pub(super) struct KmbextCells {
        /// The container (`mt_kmsb`).
        pub(super) kmsb: AtomicU64,
        /// The next extension (`mt_list`).
        pub(super) list: AtomicU64,
        /// Objects in this block (`mt_mobnr`).
        pub(super) mobnr: AtomicU32,
        /// Of them, those that somebody has.
        pub(super) used: AtomicU32,
        /// [`KMBEXT_STUS`].
        pub(super) stus: AtomicU64,
    }
}

cells! {
    /// The blocks of one size that a container has (`msclst_t`); linked through their
    /// descriptors, as Cosmos links `msadsc_t` by `md_list`.
    pub(super) struct MsclstCells {
        /// The frame number of the first block, plus one; 0 for none (`ml_list`).
        pub(super) list: AtomicU32,
        /// How many there are (`ml_msanr`).
        pub(super) msanr: AtomicU32,
    }
}

cells! {
    /// A container (`kmsob_t`).
    pub(super) struct KmsobCells {
        /// The next container of this size (`so_list`).
        pub(super) next: AtomicU64,
        /// The previous one.
        pub(super) prev: AtomicU64,
        /// The free object that goes out next (`so_frelst`).
        pub(super) frelst: AtomicU64,
        /// The extension that was added last (`so_mextlst`).
        pub(super) mextlst: AtomicU64,
        /// How many extensions there are (`so_mextnr`).
        pub(super) mextnr: AtomicU32,
        /// Objects in all blocks (`so_mobjnr`).
        pub(super) mobjnr: AtomicU32,
        /// Of them, free ones (`so_fobjnr`).
        pub(super) fobjnr: AtomicU32,
        /// What an object takes, in bytes (`so_objsz`).
        pub(super) objsz: AtomicU32,
        /// Pages of the container's own block (`mc_kmobinpnr`).
        pub(super) kmobinpnr: AtomicU32,
        /// Extensions' blocks in all lists (`mc_msanr`).
        pub(super) msanr: AtomicU32,
        /// [`KMSOB_STUS`] (`so_stus`).
        pub(super) stus: AtomicU64,
        /// The extensions' blocks: of 1, 2, 4, 8 and 16 pages (`so_mc`).
        pub(super) mc: [MsclstCells; MSCLST_MAX],
    }
}

cells! {
    /// A free object (`freobjh_t`).
    pub(super) struct FreobjhCells {
        /// The object that goes out after it (`oh_list`).
        pub(super) next: AtomicU64,
        /// [`FREOBJH_STUS`] (`oh_stus`).
        pub(super) stus: AtomicU64,
        /// Where it lies itself (`oh_stat`).
        pub(super) stat: AtomicU64,
    }
}

/// What a free object's header takes in Cosmos: the links of a list, a state and an
/// address. Here it takes less, but sizes go by this.
pub(super) const FREOBJH_SIZE: u64 = 32;

/// What a block's header says of itself.
pub(super) const KMBEXT_STUS: u64 = u64::from_le_bytes(*b"kmbext_t");
/// What a container's header says of itself.
pub(super) const KMSOB_STUS: u64 = u64::from_le_bytes(*b"kmsob_t\0");
/// What a free object's header says of itself.
pub(super) const FREOBJH_STUS: u64 = u64::from_le_bytes(*b"freobjh_");

impl KmbextCells {
    /// What it takes, in bytes.
    pub(super) const SIZE: u64 = core::mem::size_of::<Self>() as u64;
}

impl KmsobCells {
    /// What it takes, in bytes.
    pub(super) const SIZE: u64 = core::mem::size_of::<Self>() as u64;
}

const _: () = assert!(FreobjhCells::SIZE <= FREOBJH_SIZE);
const _: () = assert!(KmbextCells::SIZE % 8 == 0 && KmsobCells::SIZE % 8 == 0);

impl FreobjhCells {
    /// What it takes, in bytes.
    pub(super) const SIZE: u64 = core::mem::size_of::<Self>() as u64;

    /// Makes this the header of the free object at `address`, before `next`
    /// (`freobjh_t_init`).
    pub(super) fn init(&self, address: u64, next: u64) {
        self.next.store(next, Relaxed);
        self.stus.store(FREOBJH_STUS, Relaxed);
        self.stat.store(address, Relaxed);
    }

    /// Whether this is still the header of the free object at `address`.
    pub(super) fn is_intact(&self, address: u64) -> bool {
        self.stus.load(Relaxed) == FREOBJH_STUS && self.stat.load(Relaxed) == address
    }
}

/// One more; wraps, as all counts do.
pub(super) fn add(count: &AtomicU32, by: u32) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Fewer.
pub(super) fn sub(count: &AtomicU32, by: u32) {
    count.store(count.load(Relaxed).wrapping_sub(by), Relaxed);
}
