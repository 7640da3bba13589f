// SPDX-License-Identifier: GPL-2.0

//! Virtual addresses and ranges of them.

use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use core::fmt;

/// The first address that no process has (`TASK_SIZE` with four levels).
pub const TASK_SIZE: u64 = (1 << 47) - PAGE_SIZE;

/// A virtual address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VirtAddr(pub u64);

impl VirtAddr {
    /// The start of its page.
    #[inline]
    pub const fn page_down(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }

    /// Whether a page starts here.
    #[inline]
    pub const fn is_page_aligned(self) -> bool {
        self.0 & (PAGE_SIZE - 1) == 0
    }

    /// The number of its page (`vpn`, `addr >> PAGE_SHIFT`).
    #[inline]
    pub const fn page(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Addresses from `start` up to `end`, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtRange {
    /// The first.
    pub start: VirtAddr,
    /// Behind the last.
    pub end: VirtAddr,
}

impl VirtRange {
    /// From `start` up to `end`; an end before the start counts as the start.
    #[inline]
    pub const fn new(start: u64, end: u64) -> Self {
        let end = if end < start { start } else { end };
        Self {
            start: VirtAddr(start),
            end: VirtAddr(end),
        }
    }

    /// `len` bytes from `start` on; `None` where that overflows.
    #[inline]
    pub fn of(start: VirtAddr, len: u64) -> Option<Self> {
        Some(Self::new(start.0, start.0.checked_add(len)?))
    }

    /// How many bytes.
    #[inline]
    pub const fn len(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// How many pages.
    #[inline]
    pub const fn pages(self) -> u64 {
        self.len() >> PAGE_SHIFT
    }

    /// Whether there is no address in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.end.0 <= self.start.0
    }

    /// Whether the address is in it.
    #[inline]
    pub const fn contains(self, addr: VirtAddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end.0
    }

    /// What is in both.
    #[inline]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.0.max(other.start.0);
        Self::new(start, self.end.0.min(other.end.0))
    }
}
