// SPDX-License-Identifier: GPL-2.0

//! The page descriptor: all that shadowmm keeps about one page frame.
//!
//! Linux's `struct page` has 64 bytes; this one has 16, because links are
//! 32-bit frame numbers and the rest is packed into two words:
//!
//! ```text
//! word 0  next      frame number of the next page of the list, or NIL
//! word 1  prev      frame number of the previous page of the list, or NIL
//! word 2  bits      31..26 node | 25..24 zone | 23..20 order | 19..16 state | 15..0 flags
//! word 3  count     references to the page (`page_ref_count`); 0 while it is free
//! ```
//!
//! The pages of a slab have other things in these words, as Linux's `struct slab`
//! has in those of `struct page`:
//!
//! ```text
//! word 0  next      first page: next slab of its list; others: the first page
//! word 1  prev      first page: previous slab of its list
//! word 2  bits      15..0 the cache's number, of all its pages; the rest as above
//! word 3  count     first page: 31..16 objects not in the freelist
//!                               15..0  the first of the freelist, or 0xffff
//! ```
//!
//! And so have those of a block of 2 MiB that address spaces map:
//!
//! ```text
//! word 0  next      entries that map this page alone (`_mapcount`)
//! word 1  prev      first page: entries that map all of the block (`_entire_mapcount`)
//! ```
//!
//! A page is always in exactly one of these states:
//!
//! ```text
//!   Hole        an address without RAM, inside a section that has some
//!   Reserved    RAM that memblock keeps
//!   Buddy       the first page of a block on a free list
//!   Allocated   the first page of a block that somebody owns
//!   Tail        inside a free or an allocated block, not its first page
//!   Pageset     the first page of a free block that a CPU keeps
//!   Slab        the first page of a slab
//!   SlabTail    inside a slab, not its first page
//!
//!   Reserved --hand-off--> Buddy | Tail
//!   Tail  --split: first page of the upper half--> Buddy
//!   Buddy --merge: first page of the upper half--> Tail
//!   Buddy --alloc--> Allocated --free--> Pageset --drain--> Buddy
//!   Buddy --refill--> Pageset --alloc--> Allocated
//!   Allocated, Tail --new slab--> Slab, SlabTail --discard--> Allocated, Tail
//! ```
//!
//! Only first pages change when a block is allocated or freed, so both cost
//! the same at every order. The block that a `Tail` lies in is found by looking
//! at the aligned page of each larger order in turn.
//!
//! All fields are atomics, read and written relaxed but for the count, what tells that
//! it holds, and the entries that map a block of 2 MiB: a report may look at any page at any time. Who may change them: the
//! links, order and state of a `Buddy` page and the state of the pages inside its block
//! belong to the zone's lock; those of an `Allocated` page belong to whoever owns the
//! block.

use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// The end of a list.
const NIL: u32 = u32::MAX;

const NODE_SHIFT: u32 = 26;
const ZONE_SHIFT: u32 = 24;
const ORDER_SHIFT: u32 = 20;
const STATE_SHIFT: u32 = 16;

/// A flag of an allocated block: its owner can move it (`PG_lru`).
const MOVABLE: u32 = 1 << 0;
/// A flag of an allocated block: compaction has it at the moment
/// (`PG_movable_ops_isolated`).
const ISOLATED: u32 = 1 << 2;
/// A flag of an allocated block: it belongs to an open file.
const HELD: u32 = 1 << 1;
/// A flag of an allocated block: kmalloc gave it out (`PageLargeKmalloc`).
const LARGE: u32 = 1 << 3;
/// A flag of an allocated block: it is a shared object's, which has a reference.
const SHMEM: u32 = 1 << 4;
/// A flag of a shared object's page: it was written to, whoever has it mapped now
/// (`PG_dirty`).
const DIRTY: u32 = 1 << 5;
/// A flag of an allocated block: somebody besides its owner may have a
/// reference. The count says how many there are.
const SHARED: u32 = 1 << 7;
/// What changes in the bits of a page between its owner and a pageset.
const OWNER_TO_PAGESET: u32 =
    (PageState::Allocated as u32 ^ PageState::Pageset as u32) << STATE_SHIFT;
/// The same between its owner and a free list.
const OWNER_TO_BUDDY: u32 = (PageState::Allocated as u32 ^ PageState::Buddy as u32) << STATE_SHIFT;
/// Where the first page of a free block keeps which list it is on.
const LIST_SHIFT: u32 = 8;
/// What all pages of a cache's slabs on one node have in common.
const SLAB_KEY: u32 = (0x3f << NODE_SHIFT) | (0xe << STATE_SHIFT) | FLAGS;
/// Where the number of objects in use stands in the count of a slab.
const SLAB_INUSE_SHIFT: u32 = 16;
/// Where the first of a slab's freelist stands, when there is none.
pub(crate) const NO_INDEX: u32 = u16::MAX as u32;
/// A bit above the number of objects in use, of which there are fewer: the slab was
/// given up.
const SLAB_FROZEN: u16 = 1 << 15;
/// The flags of a page that it loses when its state changes.
const FLAGS: u32 = 0xffff;

/// What a page frame is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageState {
    /// An address without RAM behind it (a hole inside a section).
    Hole = 0,
    /// RAM that memblock keeps for ever (`PageReserved`).
    Reserved = 1,
    /// The first page of a block on a free list (`PageBuddy`).
    Buddy = 2,
    /// The first page of an allocated block.
    Allocated = 3,
    /// Inside a free or an allocated block, not its first page.
    Tail = 4,
    /// The first page of a free block that a CPU keeps in its pageset, or that
    /// is on its way from its owner to a list.
    Pageset = 5,
    /// The first page of a slab (`PageSlab`).
    Slab = 6,
    /// Inside a slab, not its first page.
    SlabTail = 7,
}

// One bit tells a slab's first page from its others.
const _: () = assert!(PageState::Slab as u32 | 1 == PageState::SlabTail as u32);

impl PageState {
    #[inline]
    const fn from_bits(bits: u32) -> Self {
        match (bits >> STATE_SHIFT) & 0xf {
            1 => Self::Reserved,
            2 => Self::Buddy,
            3 => Self::Allocated,
            4 => Self::Tail,
            5 => Self::Pageset,
            6 => Self::Slab,
            7 => Self::SlabTail,
            _ => Self::Hole,
        }
    }
}

/// The kinds of zones, lowest first (`enum zone_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ZoneType {
    /// What old ISA devices can address.
    Dma = 0,
    /// What 32-bit devices can address.
    Dma32 = 1,
    /// The rest.
    Normal = 2,
    /// For pages that can be moved away.
    Movable = 3,
}

/// How many kinds of zones there are (`MAX_NR_ZONES`, without `ZONE_DEVICE`).
pub const NR_ZONE_TYPES: usize = 4;

impl ZoneType {
    /// All kinds, lowest first.
    pub const ALL: [ZoneType; NR_ZONE_TYPES] =
        [Self::Dma, Self::Dma32, Self::Normal, Self::Movable];

    /// The name that `/proc` uses (`zone_names`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }

    /// As an index below [`NR_ZONE_TYPES`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which zone of which node, in one byte: the upper eight bits of a descriptor's
/// third word, and an index into a flat table of zones (`page_zone_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ZoneId(u8);

impl ZoneId {
    /// Every index is below it.
    pub const COUNT: usize = 1 << u8::BITS;

    /// The zone of kind `zone` on node `nid`; a node outside `0..MAX_NODES`
    /// counts as node 0, as in [`PageDescriptor::init`].
    #[inline]
    pub const fn new(nid: NodeId, zone: ZoneType) -> Self {
        let node = match nid.index() {
            Some(node) => node as u8,
            None => 0,
        };
        Self((node << (NODE_SHIFT - ZONE_SHIFT)) | zone as u8)
    }

    /// The node.
    #[inline]
    pub const fn nid(self) -> NodeId {
        NodeId((self.0 >> (NODE_SHIFT - ZONE_SHIFT)) as i32)
    }

    /// The kind of the zone.
    #[inline]
    pub const fn kind(self) -> ZoneType {
        match self.0 & 3 {
            0 => ZoneType::Dma,
            1 => ZoneType::Dma32,
            2 => ZoneType::Normal,
            _ => ZoneType::Movable,
        }
    }

    /// One of the node that a slab page's key tells of.
    #[inline]
    pub(crate) const fn of_slab_key(key: u32) -> Self {
        Self((key >> ZONE_SHIFT) as u8)
    }

    /// The zone with this index.
    pub fn from_index(index: usize) -> Option<Self> {
        u8::try_from(index).ok().map(Self)
    }

    /// As an index: the node's number times [`NR_ZONE_TYPES`] plus the kind's.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All that is kept about one page frame.
#[repr(C)]
pub struct PageDescriptor {
    next: AtomicU32,
    prev: AtomicU32,
    bits: AtomicU32,
    count: AtomicU32,
}

const _: () = assert!(core::mem::size_of::<PageDescriptor>() == 16);
const _: () = assert!(crate::phys::MAX_NODES <= 1 << (32 - NODE_SHIFT));
const _: () = assert!(NR_ZONE_TYPES <= 1 << (NODE_SHIFT - ZONE_SHIFT));

impl PageDescriptor {
    /// A descriptor for an address without RAM.
    pub const fn hole() -> Self {
        Self {
            next: AtomicU32::new(NIL),
            prev: AtomicU32::new(NIL),
            bits: AtomicU32::new(0),
            count: AtomicU32::new(0),
        }
    }

    /// Enters the page in its node and zone, as `__init_single_page()` does.
    pub fn init(&self, nid: NodeId, zone: ZoneType, state: PageState) {
        let node = nid.index().unwrap_or(0) as u32;
        self.next.store(NIL, Relaxed);
        self.prev.store(NIL, Relaxed);
        self.bits.store(
            (node << NODE_SHIFT) | ((zone as u32) << ZONE_SHIFT) | ((state as u32) << STATE_SHIFT),
            Relaxed,
        );
        self.count.store(1, Relaxed);
    }

    /// The node that the page lies on (`page_to_nid`).
    #[inline]
    pub fn nid(&self) -> NodeId {
        NodeId((self.bits.load(Relaxed) >> NODE_SHIFT) as i32)
    }

    /// The zone that the page lies in (`page_zonenum`).
    #[inline]
    pub fn zone(&self) -> ZoneType {
        match (self.bits.load(Relaxed) >> ZONE_SHIFT) & 3 {
            0 => ZoneType::Dma,
            1 => ZoneType::Dma32,
            2 => ZoneType::Normal,
            _ => ZoneType::Movable,
        }
    }

    /// The zone and the node that the page lies in, in one load (`page_zone`).
    #[inline]
    pub fn zone_id(&self) -> ZoneId {
        ZoneId((self.bits.load(Relaxed) >> ZONE_SHIFT) as u8)
    }

    /// Whether a free block of `order` in `zone` starts here, in one load
    /// (`page_is_buddy`).
    #[inline]
    pub fn is_buddy(&self, zone: ZoneId, order: PageOrder) -> bool {
        let wanted = (u32::from(zone.0) << ZONE_SHIFT)
            | (u32::from(order.get()) << ORDER_SHIFT)
            | ((PageState::Buddy as u32) << STATE_SHIFT);
        self.bits.load(Relaxed) & !0xffff == wanted
    }

    /// Whether an allocated block of `order` starts here, in one load.
    #[inline]
    pub fn is_allocated(&self, order: PageOrder) -> bool {
        let wanted = (u32::from(order.get()) << ORDER_SHIFT)
            | ((PageState::Allocated as u32) << STATE_SHIFT);
        self.bits.load(Relaxed) & (0xff << STATE_SHIFT) == wanted
    }

    /// Takes an allocated block of `order` from its owner: it is `Pageset` then,
    /// and its flags are gone. Of several who try at once, one is told `true`.
    #[inline]
    pub(crate) fn take_from_owner(&self, order: PageOrder) -> bool {
        let bits = self.bits.load(Relaxed);
        let wanted = (u32::from(order.get()) << ORDER_SHIFT)
            | ((PageState::Allocated as u32) << STATE_SHIFT);
        if bits & (0xff << STATE_SHIFT) != wanted {
            return false;
        }
        let taken =
            bits & !((0xf << STATE_SHIFT) | FLAGS) | ((PageState::Pageset as u32) << STATE_SHIFT);
        self.bits
            .compare_exchange(bits, taken, Acquire, Relaxed)
            .is_ok()
    }

    /// What the page is.
    #[inline]
    pub fn state(&self) -> PageState {
        PageState::from_bits(self.bits.load(Relaxed))
    }

    /// The order of the block that starts here; 0 where no block starts.
    #[inline]
    pub fn order(&self) -> PageOrder {
        PageOrder::new((self.bits.load(Relaxed) >> ORDER_SHIFT) & 0xf).unwrap_or(PageOrder::ZERO)
    }

    /// State and order in one store, so that a report never sees one without
    /// the other. The flags are gone then.
    #[inline]
    pub fn set_state(&self, state: PageState, order: PageOrder) {
        let bits = self.bits.load(Relaxed) & !((0xff << STATE_SHIFT) | FLAGS);
        let order = u32::from(order.get()) << ORDER_SHIFT;
        // Who sees it sees the count that the page had before it; see `is_counted`.
        self.bits
            .store(bits | order | ((state as u32) << STATE_SHIFT), Release);
    }

    /// Makes this the first page of a free block on list `list` of its order, in
    /// one store (`set_buddy_order`).
    #[inline]
    pub(crate) fn set_buddy(&self, order: PageOrder, list: u8) {
        let bits = self.bits.load(Relaxed) & !((0xff << STATE_SHIFT) | FLAGS);
        let order = u32::from(order.get()) << ORDER_SHIFT;
        let list = u32::from(list) << LIST_SHIFT;
        self.bits.store(
            bits | order | ((PageState::Buddy as u32) << STATE_SHIFT) | list,
            Relaxed,
        );
    }

    /// The same for a page that is known to be of `zone`: what the word was does
    /// not matter.
    #[inline]
    pub(crate) fn set_buddy_in(&self, zone: ZoneId, order: PageOrder, list: u8) {
        let zone = u32::from(zone.0) << ZONE_SHIFT;
        let order = u32::from(order.get()) << ORDER_SHIFT;
        let state = (PageState::Buddy as u32) << STATE_SHIFT;
        let list = u32::from(list) << LIST_SHIFT;
        self.bits.store(zone | order | state | list, Relaxed);
    }

    /// Makes a page that is known to be of `zone` the first of an allocated block
    /// without a flag. What its count was set to before is seen by whoever sees that.
    #[inline]
    pub(crate) fn set_allocated_in(&self, zone: ZoneId, order: PageOrder) {
        let order = u32::from(order.get()) << ORDER_SHIFT;
        self.bits.store(Self::plain_bits(zone) | order, Release);
    }

    /// Makes a page that is known to be of `zone` one that a CPU keeps, with the
    /// count that its next owner will find.
    #[inline]
    pub(crate) fn set_kept_in(&self, zone: ZoneId) {
        let bits = Self::plain_bits(zone) ^ OWNER_TO_PAGESET;
        self.bits.store(bits, Relaxed);
        self.count.store(1, Relaxed);
    }

    /// Makes a page that is known to be of `zone` the inside of a block.
    #[inline]
    pub(crate) fn set_tail_in(&self, zone: ZoneId) {
        let zone = u32::from(zone.0) << ZONE_SHIFT;
        self.bits
            .store(zone | ((PageState::Tail as u32) << STATE_SHIFT), Relaxed);
    }

    /// On which list of its order a free block is.
    #[inline]
    pub(crate) fn buddy_list(&self) -> u8 {
        (self.bits.load(Relaxed) >> LIST_SHIFT) as u8
    }

    /// Both in one load.
    #[inline]
    pub fn state_and_order(&self) -> (PageState, PageOrder) {
        let bits = self.bits.load(Relaxed);
        let order = PageOrder::new((bits >> ORDER_SHIFT) & 0xf).unwrap_or(PageOrder::ZERO);
        (PageState::from_bits(bits), order)
    }

    /// A slab's cache stands where other pages have flags.
    #[inline]
    fn has_flag(&self, flag: u32) -> bool {
        let bits = self.bits.load(Relaxed);
        bits & flag != 0 && (bits >> STATE_SHIFT) & 0xe != PageState::Slab as u32
    }

    /// Whether the owner of the allocated block that starts here could move it
    /// elsewhere (`PageLRU` or `page_has_movable_ops`).
    #[inline]
    pub fn is_movable(&self) -> bool {
        self.has_flag(MOVABLE)
    }

    /// For the owner of an allocated block: says whether it could be moved. A
    /// free ends it.
    #[inline]
    pub fn set_movable(&self, movable: bool) {
        // Beside `SHARED`, which others set.
        match movable {
            true => self.bits.fetch_or(MOVABLE, Relaxed),
            false => self.bits.fetch_and(!MOVABLE, Relaxed),
        };
    }

    /// Whether the allocated block that starts here is one that kmalloc gave out.
    pub(crate) fn is_large(&self) -> bool {
        self.state() == PageState::Allocated && self.has_flag(LARGE)
    }

    /// For the owner of an allocated block, before anybody else knows of it:
    /// kmalloc gives it out.
    pub(crate) fn set_large(&self) {
        self.bits.fetch_or(LARGE, Relaxed);
    }

    /// Whether the allocated block that starts here belongs to an open file.
    pub fn is_held(&self) -> bool {
        self.has_flag(HELD)
    }

    /// For the owner of an allocated block, before anybody else knows of it:
    /// says that it belongs to an open file. A free, a split or a merge ends
    /// it.
    pub fn set_held(&self) {
        self.bits.fetch_or(HELD, Relaxed);
    }

    /// Both for those who have no lock on it, in one load: whether the allocated block
    /// belongs to an open file, and whether it could be moved. A block that is about to
    /// take another's place is both, and neither again if that stays where it is.
    pub fn is_held_and_movable(&self) -> (bool, bool) {
        let bits = self.bits.load(Relaxed);
        let is_block = PageState::from_bits(bits) == PageState::Allocated;
        (
            is_block && bits & HELD != 0,
            is_block && bits & MOVABLE != 0,
        )
    }

    /// Whether the allocated block that starts here is about to be moved: its
    /// owner has been asked, and it is neither freed nor shared until that is
    /// over (`PageMovableOpsIsolated`).
    pub fn is_isolated(&self) -> bool {
        self.has_flag(ISOLATED)
    }

    /// Notes that an allocated block of `order` that can be moved is about to be.
    /// Of several who try at once, one is told `true`.
    pub(crate) fn set_isolated(&self, order: PageOrder) -> bool {
        let bits = self.bits.load(Relaxed);
        let wanted = (u32::from(order.get()) << ORDER_SHIFT)
            | ((PageState::Allocated as u32) << STATE_SHIFT);
        let differs = bits & (0xff << STATE_SHIFT) != wanted;
        if differs || bits & (MOVABLE | ISOLATED) != MOVABLE {
            return false;
        }
        self.bits
            .compare_exchange(bits, bits | ISOLATED, Acquire, Relaxed)
            .is_ok()
    }

    /// It stays where it is after all.
    pub(crate) fn clear_isolated(&self) {
        self.bits.fetch_and(!ISOLATED, Relaxed);
    }

    /// Makes this block, before anybody knows of it, what `from` is to its owner
    /// (`folio_migrate_flags`).
    pub(crate) fn take_flags_of(&self, from: &Self) {
        let flags = from.bits.load(Relaxed) & (MOVABLE | HELD);
        self.bits.fetch_or(flags, Relaxed);
    }

    /// The references to the page (`page_ref_count`).
    #[inline]
    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The same for whoever relies on what those have done who had a reference before.
    #[inline]
    pub(crate) fn count_acquire(&self) -> u32 {
        self.count.load(Acquire)
    }

    /// Whether there is one reference: whoever has it is the only one who could make
    /// another. What the others have done is seen from here on.
    #[inline]
    pub fn is_sole(&self) -> bool {
        self.count_acquire() == 1
    }

    /// Sets the references (`set_page_count`).
    #[inline]
    pub fn set_count(&self, count: u32) {
        self.count.store(count, Relaxed);
    }

    /// One reference more (`try_get_page`). The caller has one, or keeps the
    /// others from freeing theirs.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReferences`] when the count could overflow.
    pub(crate) fn try_get(&self) -> Result<()> {
        self.try_get_count().map(|_| ())
    }

    /// The same, and how many there are then.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn try_get_count(&self) -> Result<u32> {
        if self.count.load(Relaxed) > u32::MAX / 2 {
            return Err(Error::TooManyReferences);
        }
        self.bits.fetch_or(SHARED, Relaxed);
        let before = self.count.fetch_add(1, Release);
        Ok(before.wrapping_add(1))
    }

    /// One reference less, for whoever knows that it is not the last; how many there are
    /// then.
    pub(crate) fn put_not_last(&self) -> u32 {
        self.count.fetch_sub(1, AcqRel).wrapping_sub(1)
    }

    /// The allocated block is a shared object's from now on, until it is freed.
    pub(crate) fn set_shmem(&self) {
        self.bits.fetch_or(SHMEM, Relaxed);
    }

    /// Whether it is one.
    #[inline]
    pub(crate) fn is_shmem(&self) -> bool {
        self.bits.load(Relaxed) & SHMEM != 0
    }

    /// A page of a shared object was written to. The caller has a reference
    /// (`folio_mark_dirty`).
    #[inline]
    pub(crate) fn mark_dirty(&self) {
        if self.bits.load(Relaxed) & DIRTY == 0 {
            self.bits.fetch_or(DIRTY, Relaxed);
        }
    }

    /// Whether it was (`folio_test_dirty`).
    #[inline]
    pub(crate) fn is_dirty(&self) -> bool {
        self.bits.load(Relaxed) & (SHMEM | DIRTY) == SHMEM | DIRTY
    }

    /// So many references more, for whoever has one: fewer than could overflow a count
    /// that [`PageDescriptor::try_get`] has let grow.
    pub(crate) fn get_more(&self, references: u32) {
        self.bits.fetch_or(SHARED, Relaxed);
        self.count.fetch_add(references, Release);
    }

    /// Whether the block that starts here, if it is allocated, has one reference, or says
    /// that others may have some: who takes one says so first. The page may be freed, given
    /// out and shared meanwhile.
    pub(crate) fn is_counted(&self) -> bool {
        let has_more = || {
            let count = self.count.load(Acquire);
            let bits = self.bits.load(Acquire);
            let plain = PageState::from_bits(bits) == PageState::Allocated && bits & SHARED == 0;
            plain && count > 1 && self.count.load(Relaxed) == count
        };
        !(has_more() && has_more())
    }

    /// The bits of an allocated block of one page in `zone` that has no flag,
    /// and so one reference: what the hot paths deal in.
    pub(crate) const fn plain_bits(zone: ZoneId) -> u32 {
        ((zone.0 as u32) << ZONE_SHIFT) | ((PageState::Allocated as u32) << STATE_SHIFT)
    }

    /// The same for a block of `order`, made of those of one page.
    #[inline(always)]
    pub(crate) const fn with_order(plain: u32, order: PageOrder) -> u32 {
        plain | ((order.get() as u32) << ORDER_SHIFT)
    }

    /// The bits of a free block where those of an allocated one without a flag
    /// are `allocated`; which list it is on is left out.
    #[inline(always)]
    pub(crate) const fn free_bits(allocated: u32) -> u32 {
        allocated ^ OWNER_TO_BUDDY
    }

    /// The bits of a block twice as large, in the same state.
    #[inline(always)]
    pub(crate) const fn next_order(bits: u32) -> u32 {
        bits.wrapping_add(1 << ORDER_SHIFT)
    }

    /// Whether the third word is `bits`, which have no flag, but for its flags.
    #[inline(always)]
    pub(crate) fn is_like(&self, bits: u32) -> bool {
        self.bits.load(Relaxed) & !FLAGS == bits
    }

    /// Whether order and state are those of `bits`.
    #[inline(always)]
    pub(crate) fn is_nearly(&self, bits: u32) -> bool {
        (self.bits.load(Relaxed) ^ bits) & (0xff << STATE_SHIFT) == 0
    }

    /// Makes the third word `bits`. What the count was set to before is seen by whoever
    /// sees that.
    #[inline(always)]
    pub(crate) fn set_bits(&self, bits: u32) {
        self.bits.store(bits, Release);
    }

    /// The same for the first page of a free block on list `list`.
    #[inline(always)]
    pub(crate) fn set_free_bits(&self, bits: u32, list: u8) {
        self.set_bits(bits | (u32::from(list) << LIST_SHIFT));
    }

    /// The third word as it is.
    #[inline]
    pub(crate) fn bits(&self) -> u32 {
        self.bits.load(Relaxed)
    }

    /// From a pageset to its owner, for one page without a flag whose count is 1
    /// already; or the reverse. That count is seen by whoever sees it. Always `true`.
    #[inline]
    pub(crate) fn toggle_owner(&self) -> bool {
        self.bits
            .store(self.bits.load(Relaxed) ^ OWNER_TO_PAGESET, Release);
        true
    }

    /// Takes an allocated block of `order` in `zone` that has no flag, and so one
    /// reference, from its owner: it is `Pageset` then. Of several who try at
    /// once, one is told `true`; `false` for any other page, too.
    #[inline]
    pub(crate) fn take_whole(&self, zone: ZoneId, order: PageOrder) -> bool {
        let bits = Self::plain_bits(zone) | (u32::from(order.get()) << ORDER_SHIFT);
        self.bits.load(Relaxed) == bits && self.take_plain(bits)
    }

    /// From its owner to a pageset, if the third word is `bits` still: of several
    /// who try at once, one is told `true`.
    #[inline]
    pub(crate) fn take_plain(&self, bits: u32) -> bool {
        self.bits
            .compare_exchange(bits, bits ^ OWNER_TO_PAGESET, Acquire, Relaxed)
            .is_ok()
    }

    /// One reference less, for a page that may have several; whether that was
    /// the last (`put_page_testzero`). The only one costs no locked
    /// instruction.
    #[inline]
    pub(crate) fn put_testzero(&self) -> bool {
        self.count.load(Acquire) <= 1 || self.count.fetch_sub(1, AcqRel) == 1
    }

    /// What [`PageDescriptor::slab_key`] is for no page, and what differs from that of
    /// each slab's in more than the node.
    pub(crate) const NO_SLAB_KEY: u32 = !SLAB_KEY;

    /// What [`PageDescriptor::slab_key`] is for all pages of a cache's slabs on a
    /// node.
    #[inline]
    pub(crate) const fn slab_key_of(nid: NodeId, cache: u16) -> u32 {
        ((ZoneId::new(nid, ZoneType::Dma).0 as u32) << ZONE_SHIFT)
            | ((PageState::Slab as u32) << STATE_SHIFT)
            | cache as u32
    }

    /// Tells in one comparison whether the page is one of a certain cache's slabs
    /// on a certain node.
    #[inline]
    pub(crate) fn slab_key(&self) -> u32 {
        self.bits.load(Relaxed) & SLAB_KEY
    }

    /// Whether of these keys, one of which is that of a slab's page, the other is that of
    /// a page of the same cache's slabs on another node.
    #[inline(always)]
    pub(crate) const fn slab_keys_differ_by_node(one: u32, other: u32) -> bool {
        one != other && (one ^ other) & !(0x3f << NODE_SHIFT) == 0
    }

    /// What [`PageDescriptor::slab_head_key`] is for the first page of a cache's slab
    /// of this order on a node.
    #[inline]
    pub(crate) const fn slab_head_key_of(nid: NodeId, cache: u16, order: PageOrder) -> u32 {
        Self::slab_key_of(nid, cache) | ((order.get() as u32) << ORDER_SHIFT)
    }

    /// The same, if it is the first page of a slab, and with the slab's order.
    #[inline(always)]
    pub(crate) fn slab_head_key(&self) -> u32 {
        let kept = SLAB_KEY | (1 << STATE_SHIFT) | (0xf << ORDER_SHIFT);
        self.bits.load(Relaxed) & kept
    }

    /// The number of the cache whose slab the page is part of; `None` for any other
    /// page.
    #[inline]
    pub(crate) fn slab_cache(&self) -> Option<u16> {
        let bits = self.bits.load(Relaxed);
        let state = (bits >> STATE_SHIFT) & 0xe;
        (state == PageState::Slab as u32).then_some(bits as u16)
    }

    /// The first page of the slab that this page, which is `pfn`, is part of.
    #[inline]
    pub(crate) fn slab_head(&self, pfn: Pfn) -> Option<Pfn> {
        match self.state() {
            PageState::Slab => Some(pfn),
            PageState::SlabTail => self.next(),
            _ => None,
        }
    }

    /// Makes the first page of an allocated block that of a slab.
    #[inline]
    pub(crate) fn set_slab(&self, order: PageOrder, cache: u16) {
        self.set_slab_state(PageState::Slab, order, cache);
    }

    /// Makes another page of the block one of the slab that begins at `head`.
    pub(crate) fn set_slab_tail(&self, head: Pfn, cache: u16) {
        self.set_next(Some(head));
        self.set_slab_state(PageState::SlabTail, PageOrder::ZERO, cache);
    }

    /// State, order and cache in one store.
    #[inline]
    fn set_slab_state(&self, state: PageState, order: PageOrder, cache: u16) {
        let place = self.bits.load(Relaxed) & !((0xff << STATE_SHIFT) | FLAGS);
        let order = u32::from(order.get()) << ORDER_SHIFT;
        let state = (state as u32) << STATE_SHIFT;
        self.bits
            .store(place | order | state | u32::from(cache), Relaxed);
    }

    /// The first of the slab's freelist, if it has any, and how many objects are
    /// not in it.
    #[inline]
    pub(crate) fn slab_counts(&self) -> (Option<u16>, u16) {
        let count = self.count.load(Relaxed);
        let first = match count as u16 {
            u16::MAX => None,
            first => Some(first),
        };
        (first, (count >> SLAB_INUSE_SHIFT) as u16 & !SLAB_FROZEN)
    }

    /// Sets both. Who takes them for references sees that the page is a slab's; see
    /// `is_counted`.
    #[inline]
    pub(crate) fn set_slab_counts(&self, first: Option<u16>, inuse: u16) {
        let first = u32::from(first.unwrap_or(u16::MAX));
        self.count
            .store((u32::from(inuse) << SLAB_INUSE_SHIFT) | first, Release);
    }

    /// The first of the slab's freelist, or [`NO_INDEX`], and how many objects are not
    /// in it; more than there can be when the slab was given up.
    #[inline(always)]
    pub(crate) fn slab_raw_counts(&self) -> (u32, u32) {
        let count = self.count.load(Relaxed);
        (count & NO_INDEX, count >> SLAB_INUSE_SHIFT)
    }

    /// Sets both.
    #[inline(always)]
    pub(crate) fn set_slab_raw_counts(&self, first: u32, inuse: u32) {
        self.count
            .store((inuse << SLAB_INUSE_SHIFT) | (first & NO_INDEX), Relaxed);
    }

    /// Both as one number.
    #[inline(always)]
    pub(crate) fn slab_word(&self) -> SlabWord {
        SlabWord(self.count.load(Relaxed))
    }

    /// Sets both.
    #[inline(always)]
    pub(crate) fn set_slab_word(&self, word: SlabWord) {
        self.count.store(word.0, Relaxed);
    }

    /// Whether the slab was given up after a finding (`slab->frozen`).
    pub(crate) fn is_slab_frozen(&self) -> bool {
        (self.count.load(Relaxed) >> SLAB_INUSE_SHIFT) as u16 & SLAB_FROZEN != 0
    }

    /// It is from now on, as long as nobody sets its counts.
    pub(crate) fn freeze_slab(&self) {
        let frozen = u32::from(SLAB_FROZEN) << SLAB_INUSE_SHIFT;
        self.count.fetch_or(frozen, Relaxed);
    }

    /// A word that is the owner's while the block that starts here is allocated: that
    /// of the link to the next page (`ptdesc->ptl`). The owner of a free block's is its
    /// list.
    #[inline]
    pub(crate) fn owner_word(&self) -> &AtomicU32 {
        &self.next
    }

    /// How many entries map this page, which is part of a block that address spaces map,
    /// and it alone (`_mapcount`). They are the block's owners' as above, also those of the
    /// pages inside.
    #[inline]
    pub(crate) fn mapcount(&self) -> &AtomicU32 {
        &self.next
    }

    /// How many map all of the block of which this is the first page (`_entire_mapcount`).
    #[inline]
    pub(crate) fn entire_mapcount(&self) -> &AtomicU32 {
        &self.prev
    }

    /// The next page of the list that this page is on.
    #[inline]
    pub fn next(&self) -> Option<Pfn> {
        self.next_link().pfn()
    }

    /// The previous page of the list that this page is on.
    #[inline]
    pub fn prev(&self) -> Option<Pfn> {
        self.prev_link().pfn()
    }

    /// Sets the link to the next page.
    #[inline]
    pub fn set_next(&self, pfn: Option<Pfn>) {
        self.set_next_link(pfn.into());
    }

    /// Sets the link to the previous page.
    #[inline]
    pub fn set_prev(&self, pfn: Option<Pfn>) {
        self.set_prev_link(pfn.into());
    }

    /// The link to the next page, as it is kept.
    #[inline]
    pub fn next_link(&self) -> PageLink {
        PageLink(self.next.load(Relaxed))
    }

    /// The link to the previous page, as it is kept.
    #[inline]
    pub fn prev_link(&self) -> PageLink {
        PageLink(self.prev.load(Relaxed))
    }

    /// Sets the link to the next page.
    #[inline]
    pub fn set_next_link(&self, link: PageLink) {
        self.next.store(link.0, Relaxed);
    }

    /// Sets the link to the previous page.
    #[inline]
    pub fn set_prev_link(&self, link: PageLink) {
        self.prev.store(link.0, Relaxed);
    }
}

/// What a slab's first page says of it: which object is the first of its freelist, and
/// how many are not in it.
#[derive(Clone, Copy)]
pub(crate) struct SlabWord(u32);

impl SlabWord {
    /// One object that is not in the freelist.
    const USED: u32 = 1 << SLAB_INUSE_SHIFT;

    /// Whether a slab of `but_two` objects and two more is neither full before one comes
    /// back, nor empty then, nor given up. One that is not full has some in its freelist:
    /// those behind a broken pointer count as in use.
    #[inline(always)]
    pub(crate) const fn stays_partial(self, but_two: u32) -> bool {
        self.0.wrapping_sub(2 * Self::USED) < but_two << SLAB_INUSE_SHIFT
    }

    /// The first of the freelist, or [`NO_INDEX`].
    #[inline(always)]
    pub(crate) const fn first(self) -> u32 {
        self.0 & NO_INDEX
    }

    /// What it is when this object, which is in use, is put first.
    #[inline(always)]
    pub(crate) const fn given(self, index: u32) -> Self {
        Self((self.0.wrapping_sub(Self::USED) & !NO_INDEX) | index)
    }
}

/// A link to a page or to none, in 32 bits: a shadow has fewer than 2^32 - 1
/// frames ([`Pfn`]), so no number is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct PageLink(u32);

impl PageLink {
    /// The end of a list.
    pub const NONE: Self = Self(NIL);

    /// The link of this number.
    #[inline]
    pub(crate) const fn of(raw: u32) -> Self {
        Self(raw)
    }

    /// Its number.
    #[inline]
    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    /// The page, if it leads to one.
    #[inline]
    pub const fn pfn(self) -> Option<Pfn> {
        match self.0 {
            NIL => None,
            pfn => Some(Pfn(pfn as u64)),
        }
    }
}

impl From<Pfn> for PageLink {
    #[inline]
    fn from(pfn: Pfn) -> Self {
        Self(pfn.0 as u32)
    }
}

impl From<Option<Pfn>> for PageLink {
    #[inline]
    fn from(pfn: Option<Pfn>) -> Self {
        pfn.map_or(Self::NONE, Self::from)
    }
}
