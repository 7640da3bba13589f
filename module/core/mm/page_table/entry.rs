// SPDX-License-Identifier: GPL-2.0

//! An entry of a table, with the bits that an x86-64 CPU would read.
//!
//! ```text
//! 63   62..53  52    51 .. 12    11   10   9     8     7    6 5 4 3 2  1  0
//! NX | 0     | PART| the frame |GUARD|FILE|ZERO| NONE | PS | D A 0 0 US RW P
//! ```
//!
//! `GUARD`, `FILE`, `ZERO` and `PART` are bits that the CPU leaves to software. `NONE` is what
//! x86-64 Linux has there: a page that is mapped, but that nobody may touch
//! (`_PAGE_PROTNONE`); `P` is not set with it. A guard has neither, and no frame.

use super::super::flags::VmFlags;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PAGE_SHIFT;

/// An entry of a table of any level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl Entry {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A guard: no page is there, and none will be (`PTE_MARKER_GUARD`). As the zero page
    /// it is nothing that anybody counts.
    pub const GUARD: Self = Self(Self::GUARDED | Self::ZERO);
    /// `_PAGE_PRESENT`: the CPU follows it.
    pub const PRESENT: u64 = 1 << 0;
    /// `_PAGE_RW`.
    pub const WRITE: u64 = 1 << 1;
    /// `_PAGE_USER`.
    pub const USER: u64 = 1 << 2;
    /// `_PAGE_ACCESSED`.
    pub const ACCESSED: u64 = 1 << 5;
    /// `_PAGE_DIRTY`.
    pub const DIRTY: u64 = 1 << 6;
    /// `_PAGE_PSE`: 2 MiB, in a table of the second level.
    pub const HUGE: u64 = 1 << 7;
    /// `_PAGE_PROTNONE`.
    pub const PROT_NONE: u64 = 1 << 8;
    /// `_PAGE_SPECIAL`: no page that anybody counts, which here is the zero page alone.
    pub const ZERO: u64 = 1 << 9;
    /// The page has the content of a file, and nobody has written to it.
    pub const FILE: u64 = 1 << 10;
    /// What a guard has alone.
    pub const GUARDED: u64 = 1 << 11;
    /// The page is part of a larger block.
    pub const PART: u64 = 1 << 52;
    /// `_PAGE_NX`.
    pub const NX: u64 = 1 << 63;

    /// The bits of an entry that leads to another table (`_PAGE_TABLE`).
    const TABLE: u64 = Self::PRESENT | Self::WRITE | Self::USER | Self::ACCESSED | Self::DIRTY;
    const FRAME: u64 = 0x000f_ffff_ffff_f000;
    /// What a change of protection changes.
    const PROTECTION: u64 = Self::PRESENT | Self::WRITE | Self::USER | Self::PROT_NONE | Self::NX;

    /// The entry that leads to a table.
    #[inline]
    pub const fn table(pfn: Pfn) -> Self {
        Self((pfn.0 << PAGE_SHIFT) | Self::TABLE)
    }

    /// An entry for a page, without write permission (`mk_pte`).
    #[inline]
    pub const fn page(pfn: Pfn, flags: VmFlags) -> Self {
        Self(((pfn.0 << PAGE_SHIFT) & Self::FRAME) | Self::ACCESSED | Self::protection(flags))
    }

    /// What pages of such a VMA allow before anybody has written to them
    /// (`protection_map` of private mappings).
    #[inline]
    const fn protection(flags: VmFlags) -> u64 {
        if !flags.any(VmFlags::ACCESS) {
            return Self::PROT_NONE;
        }
        let nx = match flags.any(VmFlags::EXEC) {
            true => 0,
            false => Self::NX,
        };
        Self::PRESENT | Self::USER | nx
    }

    /// With these bits.
    #[inline]
    pub const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    /// Without these bits.
    #[inline]
    pub const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }

    /// Whether one of these bits is set.
    #[inline]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// With the protection of such a VMA, write permission aside (`pte_modify`).
    #[inline]
    pub const fn modify(self, flags: VmFlags) -> Self {
        Self((self.0 & !Self::PROTECTION) | Self::protection(flags))
    }

    /// Whether there is nothing (`pte_none`).
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether there is a page or a table, whatever it allows (`pte_present`).
    #[inline]
    pub const fn is_present(self) -> bool {
        self.has(Self::PRESENT | Self::PROT_NONE)
    }

    /// Whether this is a guard (`is_guard_pte_marker`).
    #[inline]
    pub const fn is_guard(self) -> bool {
        self.has(Self::GUARDED)
    }

    /// Whether this is an entry of 2 MiB.
    #[inline]
    pub const fn is_huge(self) -> bool {
        self.is_present() && self.has(Self::HUGE)
    }

    /// Whether it leads to another table, where it is in one of the upper levels.
    #[inline]
    pub const fn is_table(self) -> bool {
        self.0 & (Self::PRESENT | Self::HUGE) == Self::PRESENT
    }

    /// Whether the page may be written to (`pte_write`).
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.has(Self::WRITE)
    }

    /// Whether this is the zero page, or a guard: no page that has references.
    #[inline]
    pub const fn is_zero_page(self) -> bool {
        self.has(Self::ZERO)
    }

    /// Where it leads.
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn((self.0 & Self::FRAME) >> PAGE_SHIFT)
    }

    /// The same with the frame so many pages further on.
    #[inline]
    pub const fn ahead(self, pages: Pages) -> Self {
        Self(self.0.wrapping_add(pages.0 << PAGE_SHIFT))
    }
}
