// SPDX-License-Identifier: GPL-2.0

//! Numbers of physical memory, one type each.
//!
//! All arithmetic that could leave a type's range saturates at its end, as
//! `memblock_cap_size()` does in Linux: nothing wraps and nothing panics.
//! Where an overflow is an error, the caller asks with a `checked_` method.

use core::fmt;
use core::ops::Add;
use core::ops::Sub;

/// log2 of the page size, as on x86-64.
pub const PAGE_SHIFT: u32 = 12;
/// The page size in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// The largest order that the buddy system keeps (`MAX_PAGE_ORDER`).
pub const MAX_PAGE_ORDER: u8 = 10;
/// How many orders there are (`NR_PAGE_ORDERS`).
pub const NR_PAGE_ORDERS: usize = MAX_PAGE_ORDER as usize + 1;
/// log2 of the pages in a page block (`pageblock_order`): 2 MiB.
pub const PAGEBLOCK_ORDER: u8 = 9;
/// How many nodes the shadow can have; node numbers are below it.
pub const MAX_NODES: usize = 64;
/// How many CPUs a firmware map can describe; CPU numbers are below it.
pub const MAX_CPUS: usize = 512;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(u64::MAX);

            /// Whether this is zero.
            #[inline]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The sum, or `None` when it leaves the type's range.
            #[inline]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        /// Saturates at the largest value.
        impl Add for $name {
            type Output = Self;
            #[inline]
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        /// Saturates at zero.
        impl Sub for $name {
            type Output = Self;
            #[inline]
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl core::ops::AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl core::ops::SubAssign for $name {
            #[inline]
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl core::iter::Sum for $name {
            #[inline]
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, |a, b| a + b)
            }
        }
    };
}

quantity! {
    /// A count of bytes.
    Bytes
}
quantity! {
    /// A count of 4 KiB pages.
    Pages
}

impl Bytes {
    /// How many whole pages fit.
    #[inline]
    pub const fn pages_down(self) -> Pages {
        Pages(self.0 >> PAGE_SHIFT)
    }

    /// How many pages are needed to hold this much.
    #[inline]
    pub const fn pages_up(self) -> Pages {
        Pages((self.0 >> PAGE_SHIFT) + (self.0 & (PAGE_SIZE - 1) != 0) as u64)
    }

    /// In KiB, rounded down: the unit of `/proc/meminfo`.
    #[inline]
    pub const fn kib(self) -> u64 {
        self.0 >> 10
    }
}

impl Pages {
    /// In bytes; saturates.
    #[inline]
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(PAGE_SIZE))
    }

    /// In KiB: the unit of `/proc/meminfo`; saturates.
    #[inline]
    pub const fn kib(self) -> u64 {
        self.0.saturating_mul(PAGE_SIZE >> 10)
    }

    /// The order of the smallest block that has room for so many (`get_order`);
    /// `None` for no page, and for more than the largest block has.
    #[inline]
    pub const fn order_up(self) -> Option<PageOrder> {
        match self.0 {
            0 => None,
            pages => PageOrder::new(u64::BITS - (pages - 1).leading_zeros()),
        }
    }
}

/// An address of shadow physical memory, in bytes from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The lowest address.
    pub const ZERO: Self = Self(0);
    /// The highest address (`PHYS_ADDR_MAX`).
    pub const MAX: Self = Self(u64::MAX);

    /// The page that this address lies in (`PFN_DOWN`).
    #[inline]
    pub const fn pfn_down(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// The first page that starts at or after this address (`PFN_UP`).
    #[inline]
    pub const fn pfn_up(self) -> Pfn {
        Pfn((self.0 >> PAGE_SHIFT) + (self.0 & (PAGE_SIZE - 1) != 0) as u64)
    }

    /// Rounded down to a multiple of `align`, a power of two.
    /// Any other `align` leaves the address as it is.
    #[inline]
    pub const fn align_down(self, align: Bytes) -> Self {
        if align.0.is_power_of_two() {
            Self(self.0 & !(align.0 - 1))
        } else {
            self
        }
    }

    /// Rounded up to a multiple of `align`, a power of two; `None` past the end.
    /// Any other `align` leaves the address as it is.
    #[inline]
    pub const fn align_up(self, align: Bytes) -> Option<Self> {
        if !align.0.is_power_of_two() {
            return Some(self);
        }
        match self.0.checked_add(align.0 - 1) {
            Some(up) => Some(Self(up & !(align.0 - 1))),
            None => None,
        }
    }

    /// The address `size` further on, or `None` past the end.
    #[inline]
    pub const fn checked_add(self, size: Bytes) -> Option<Self> {
        match self.0.checked_add(size.0) {
            Some(end) => Some(Self(end)),
            None => None,
        }
    }
}

/// Saturates at the end of the address space.
impl Add<Bytes> for PhysAddr {
    type Output = Self;
    #[inline]
    fn add(self, size: Bytes) -> Self {
        Self(self.0.saturating_add(size.0))
    }
}

/// Saturates at zero.
impl Sub<Bytes> for PhysAddr {
    type Output = Self;
    #[inline]
    fn sub(self, size: Bytes) -> Self {
        Self(self.0.saturating_sub(size.0))
    }
}

/// The distance between two addresses; zero when `other` lies above.
impl Sub for PhysAddr {
    type Output = Bytes;
    #[inline]
    fn sub(self, other: Self) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

/// A page frame number of shadow physical memory.
///
/// A booted shadow has fewer than 2^32 - 1 frames, so that the links between
/// page descriptors are 32 bits; before that, any number can be asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(pub u64);

impl Pfn {
    /// The address of the frame's first byte; saturates.
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0.saturating_mul(PAGE_SIZE))
    }

    /// Whether a block of `order` may start here.
    #[inline]
    pub const fn is_aligned(self, order: PageOrder) -> bool {
        self.0 & (order.pages().0 - 1) == 0
    }

    /// The first page of the block of `order` that this page lies in.
    #[inline]
    pub const fn align_down(self, order: PageOrder) -> Self {
        Self(self.0 & !(order.pages().0 - 1))
    }

    /// The first block of `order` that starts at or after this page; saturates.
    #[inline]
    pub const fn align_up(self, order: PageOrder) -> Self {
        Self(self.0.saturating_add(order.pages().0 - 1) & !(order.pages().0 - 1))
    }

    /// The other half of the next larger block (`__find_buddy_pfn`).
    #[inline]
    pub const fn buddy(self, order: PageOrder) -> Self {
        Self(self.0 ^ order.pages().0)
    }
}

/// Saturates at the largest frame number.
impl Add<Pages> for Pfn {
    type Output = Self;
    #[inline]
    fn add(self, pages: Pages) -> Self {
        Self(self.0.saturating_add(pages.0))
    }
}

/// The distance between two frames; zero when `other` lies above.
impl Sub for Pfn {
    type Output = Pages;
    #[inline]
    fn sub(self, other: Self) -> Pages {
        Pages(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// log2 of the pages in a block.
///
/// # Invariants
///
/// At most [`MAX_PAGE_ORDER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PageOrder(u8);

impl PageOrder {
    /// A single page.
    pub const ZERO: Self = Self(0);
    /// The largest order.
    pub const MAX: Self = Self(MAX_PAGE_ORDER);
    /// The order of a page block.
    pub const PAGEBLOCK: Self = Self(PAGEBLOCK_ORDER);

    /// `order` as a type, or `None` above [`MAX_PAGE_ORDER`].
    #[inline]
    pub const fn new(order: u32) -> Option<Self> {
        if order <= MAX_PAGE_ORDER as u32 {
            Some(Self(order as u8))
        } else {
            None
        }
    }

    /// All orders, smallest first.
    #[inline]
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..=MAX_PAGE_ORDER).map(Self)
    }

    /// As a number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// As an index below [`NR_PAGE_ORDERS`].
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// How many pages a block of this order has.
    #[inline]
    pub const fn pages(self) -> Pages {
        // The mask changes no order; it tells the compiler that the shift
        // can't overflow, so that no check is left in the hot paths.
        Pages(1 << (self.0 & 0xf))
    }

    /// The next larger order, if there is one.
    #[inline]
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 as u32 + 1)
    }

    /// The next smaller order, if there is one.
    #[inline]
    pub const fn down(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(order) => Some(Self(order)),
            None => None,
        }
    }
}

/// A node's number, or none (`NUMA_NO_NODE`). The layout is C's `int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NodeId(pub i32);

impl NodeId {
    /// No node in particular (`NUMA_NO_NODE`).
    pub const NONE: Self = Self(-1);
    /// `MAX_NUMNODES` as a node number. `memblock_set_node()` and older maps
    /// use it for "unset"; Linux treats it like [`NodeId::NONE`].
    pub const UNSET: Self = Self(MAX_NODES as i32);

    /// The node with this number, or `None` outside `0..MAX_NODES`.
    #[inline]
    pub const fn new(id: u32) -> Option<Self> {
        if id < MAX_NODES as u32 {
            Some(Self(id as i32))
        } else {
            None
        }
    }

    /// As an index below [`MAX_NODES`]; `None` for no node.
    #[inline]
    pub const fn index(self) -> Option<usize> {
        if self.0 >= 0 && (self.0 as usize) < MAX_NODES {
            Some(self.0 as usize)
        } else {
            None
        }
    }

    /// Whether this names no node.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.index().is_none()
    }
}

impl Default for NodeId {
    #[inline]
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A CPU's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuId(pub u32);

/// The bytes from `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PhysRange {
    /// The first byte.
    pub start: PhysAddr,
    /// The byte behind the last one.
    pub end: PhysAddr,
}

impl PhysRange {
    /// From `start`, `size` bytes long; the end saturates.
    #[inline]
    pub fn new(start: PhysAddr, size: Bytes) -> Self {
        Self {
            start,
            end: start + size,
        }
    }

    /// The length; zero where the end is not above the start.
    #[inline]
    pub fn size(self) -> Bytes {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `addr` lies in it.
    #[inline]
    pub fn contains(self, addr: PhysAddr) -> bool {
        self.start <= addr && addr < self.end
    }

    /// What lies in both; empty where they do not meet.
    #[inline]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self {
            start,
            end: self.end.min(other.end).max(start),
        }
    }

    /// The pages that lie in it whole.
    #[inline]
    pub fn whole_pages(self) -> PfnRange {
        PfnRange {
            start: self.start.pfn_up(),
            end: self.end.pfn_down().max(self.start.pfn_up()),
        }
    }
}

/// The pages from `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PfnRange {
    /// The first page.
    pub start: Pfn,
    /// The page behind the last one.
    pub end: Pfn,
}

impl PfnRange {
    /// How many pages; zero where the end is not above the start.
    #[inline]
    pub fn pages(self) -> Pages {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `pfn` lies in it.
    #[inline]
    pub fn contains(self, pfn: Pfn) -> bool {
        self.start <= pfn && pfn < self.end
    }

    /// What lies in both; empty where they do not meet.
    #[inline]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self {
            start,
            end: self.end.min(other.end).max(start),
        }
    }

    /// The bytes of these pages.
    #[inline]
    pub fn bytes(self) -> PhysRange {
        PhysRange {
            start: self.start.addr(),
            end: self.end.addr(),
        }
    }
}
