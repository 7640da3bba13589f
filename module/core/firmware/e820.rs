// SPDX-License-Identifier: GPL-2.0

//! The e820 table: the firmware's list of physical ranges and what each is for.
//!
//! ```text
//! BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff]  System RAM
//! BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff]  device reserved
//! BIOS-e820: [gap 0x00000000000a0000-0x00000000000effff]
//! ```
//!
//! Follows `arch/x86/kernel/e820.c`. How overlaps are settled stands in
//! `sanitize.rs`. The fields are Linux's, because tools know them; their
//! numbers are checked where they come in, in [`E820Table::push`].

use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;
use crate::phys::MAX_NODES;
use core::fmt;

/// How many entries a table holds (`E820_MAX_ENTRIES`): 128 of the zero page
/// and three for each node.
pub const E820_MAX_ENTRIES: usize = 128 + 3 * MAX_NODES;

/// `MAX_ARCH_PFN` of x86-64: 46 bits of physical address.
const MAX_ARCH_PFN: Pfn = Pfn(1 << (46 - crate::phys::PAGE_SHIFT));

/// What a range is for (`enum e820_type`). Where ranges overlap, the higher
/// number wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct E820Type(pub u32);

impl E820Type {
    /// Usable memory.
    pub const RAM: Self = Self(1);
    /// Taken by the firmware or by devices.
    pub const RESERVED: Self = Self(2);
    /// ACPI tables; may be reused once they are read.
    pub const ACPI: Self = Self(3);
    /// ACPI non-volatile storage; to be kept over a sleep.
    pub const NVS: Self = Self(4);
    /// Memory with errors.
    pub const UNUSABLE: Self = Self(5);
    /// Persistent memory.
    pub const PMEM: Self = Self(7);
    /// Persistent memory as older platforms number it.
    pub const PRAM: Self = Self(12);
    /// Special-purpose memory (`EFI_MEMORY_SP`), kept for its driver.
    pub const SOFT_RESERVED: Self = Self(0xefff_ffff);

    /// Every type that Linux knows, in the order of the numbers.
    pub const ALL: [Self; 8] = [
        Self::RAM,
        Self::RESERVED,
        Self::ACPI,
        Self::NVS,
        Self::UNUSABLE,
        Self::PMEM,
        Self::PRAM,
        Self::SOFT_RESERVED,
    ];

    /// The type with this number.
    ///
    /// # Errors
    ///
    /// [`Error::MapUnknownType`] for a number that Linux has no name for.
    pub fn from_raw(raw: u32) -> Result<Self> {
        if Self::ALL.contains(&Self(raw)) {
            Ok(Self(raw))
        } else {
            Err(Error::MapUnknownType)
        }
    }

    /// The name of the range as a resource, in `/proc/iomem` and in
    /// `/sys/firmware/memmap` (`e820_type_to_string()`).
    pub const fn resource_name(self) -> &'static str {
        match self {
            Self::RAM => "System RAM",
            Self::ACPI => "ACPI Tables",
            Self::NVS => "ACPI Non-volatile Storage",
            Self::UNUSABLE => "Unusable memory",
            Self::PRAM => "Persistent Memory (legacy)",
            Self::PMEM => "Persistent Memory",
            Self::RESERVED => "Reserved",
            Self::SOFT_RESERVED => "Soft Reserved",
            _ => "Unknown E820 type",
        }
    }

    /// The type of a resource name, as `/sys/firmware/memmap/*/type` shows it.
    /// Older kernels write "reserved" in lower case; a type that Linux has no
    /// name for, which many a firmware has, is taken as reserved.
    pub fn from_resource_name(name: &str) -> Option<Self> {
        let name = name.trim();
        if name == "reserved" || name == "Unknown E820 type" {
            return Some(Self::RESERVED);
        }
        Self::ALL.into_iter().find(|t| t.resource_name() == name)
    }

    /// Whether two neighbours of this type may become one entry
    /// (`e820_type_mergeable()`). Those that may not can stand for a boundary
    /// between nodes or domains.
    pub const fn is_mergeable(self) -> bool {
        !matches!(self, Self::PRAM | Self::SOFT_RESERVED)
    }
}

/// The text of the kernel's log (`e820_print_type()`), without the space
/// before it.
impl fmt::Display for E820Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RAM => f.write_str("System RAM"),
            Self::RESERVED => f.write_str("device reserved"),
            Self::SOFT_RESERVED => f.write_str("soft reserved"),
            Self::ACPI => f.write_str("ACPI data"),
            Self::NVS => f.write_str("ACPI NVS"),
            Self::UNUSABLE => f.write_str("unusable"),
            Self::PMEM | Self::PRAM => write!(f, "persistent RAM (type {})", self.0),
            Self(other) => write!(f, "type {other}"),
        }
    }
}

/// One range (`struct e820_entry`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct E820Entry {
    /// The first byte.
    pub addr: PhysAddr,
    /// How many bytes.
    pub size: Bytes,
    /// What for.
    pub kind: E820Type,
}

impl E820Entry {
    /// The bytes; the end saturates.
    pub fn range(&self) -> PhysRange {
        PhysRange::new(self.addr, self.size)
    }

    /// What memblock is told about it (`e820__memblock_setup()`).
    pub fn memblock_use(&self) -> MemblockUse {
        match self.kind {
            E820Type::RAM => MemblockUse::Add,
            E820Type::SOFT_RESERVED => MemblockUse::Reserve,
            _ => MemblockUse::Ignore,
        }
    }
}

/// What an entry means for memblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemblockUse {
    /// `memblock_add()`. The caller throws away partial pages at the end, as
    /// Linux does with `memblock_trim_memory(PAGE_SIZE)`.
    Add,
    /// `memblock_reserve()`.
    Reserve,
    /// Nothing: memblock never hears of it.
    Ignore,
}

/// The table (`struct e820_table`), about 15 KB: it lives in its owner's
/// storage and does not travel by value.
pub struct E820Table {
    /// How many entries are in use.
    pub(super) nr_entries: usize,
    pub(super) entries: [E820Entry; E820_MAX_ENTRIES],
    /// Where `update` builds its result; Linux's `new_entries`, a static.
    pub(super) new_entries: [E820Entry; E820_MAX_ENTRIES],
}

impl Clone for E820Table {
    fn clone(&self) -> Self {
        Self {
            nr_entries: self.nr_entries,
            entries: self.entries,
            new_entries: self.new_entries,
        }
    }

    /// In place: nothing of it passes over the stack.
    fn clone_from(&mut self, source: &Self) {
        self.nr_entries = source.nr_entries;
        self.entries.copy_from_slice(&source.entries);
        self.new_entries.copy_from_slice(&source.new_entries);
    }
}

impl Default for E820Table {
    fn default() -> Self {
        Self::NEW
    }
}

impl E820Table {
    const EMPTY_ENTRY: E820Entry = E820Entry {
        addr: PhysAddr::ZERO,
        size: Bytes::ZERO,
        kind: E820Type(0),
    };

    /// A table with no entry.
    pub const NEW: Self = Self {
        nr_entries: 0,
        entries: [Self::EMPTY_ENTRY; E820_MAX_ENTRIES],
        new_entries: [Self::EMPTY_ENTRY; E820_MAX_ENTRIES],
    };

    /// The entries in use, in their order in the table.
    pub fn entries(&self) -> &[E820Entry] {
        self.entries.get(..self.nr_entries).unwrap_or(&[])
    }

    pub(super) fn entries_mut(&mut self) -> &mut [E820Entry] {
        self.entries.get_mut(..self.nr_entries).unwrap_or(&mut [])
    }

    /// How many entries are in use.
    pub fn len(&self) -> usize {
        self.nr_entries
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.nr_entries == 0
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.nr_entries = 0;
    }

    /// Appends an entry of plain numbers, as they come from outside.
    ///
    /// # Errors
    ///
    /// [`Error::MapUnknownType`], [`Error::MapEntryEmpty`] for a size of zero,
    /// [`Error::MapEntryOverflow`] where the end does not fit 64 bits,
    /// [`Error::MapTooManyEntries`]. The table is unchanged then.
    pub fn push(&mut self, addr: u64, size: u64, kind: u32) -> Result<()> {
        let kind = E820Type::from_raw(kind)?;
        if size == 0 {
            return Err(Error::MapEntryEmpty);
        }
        if addr.checked_add(size).is_none() {
            return Err(Error::MapEntryOverflow);
        }
        self.range_add(PhysAddr(addr), Bytes(size), kind)
    }

    /// Appends an entry as it is (`e820__range_add()`).
    ///
    /// # Errors
    ///
    /// [`Error::MapTooManyEntries`] when the table is full; Linux ignores the
    /// entry with a message.
    pub fn range_add(&mut self, addr: PhysAddr, size: Bytes, kind: E820Type) -> Result<()> {
        let slot = self.entries.get_mut(self.nr_entries);
        *slot.ok_or(Error::MapTooManyEntries)? = E820Entry { addr, size, kind };
        self.nr_entries += 1;
        Ok(())
    }

    /// Whether any part of `range` is mapped with `kind`, or mapped at all
    /// (`e820__mapped_any()`).
    pub fn mapped_any(&self, range: PhysRange, kind: Option<E820Type>) -> bool {
        self.entries().iter().any(|e| {
            let r = e.range();
            kind.is_none_or(|k| e.kind == k) && r.start < range.end && range.start < r.end
        })
    }

    /// Whether all of `range` is mapped with `kind`, or mapped at all
    /// (`e820__mapped_all()`). The table is sorted and has no overlaps.
    pub fn mapped_all(&self, range: PhysRange, kind: Option<E820Type>) -> bool {
        self.covering(range, kind).is_some()
    }

    /// The type of the entry in which `range`, mapped throughout, ends
    /// (`e820__get_entry_type()`).
    pub fn entry_type(&self, range: PhysRange) -> Option<E820Type> {
        Some(self.covering(range, None)?.kind)
    }

    fn covering(&self, range: PhysRange, kind: Option<E820Type>) -> Option<&E820Entry> {
        let mut start = range.start;
        self.entries().iter().find(|e| {
            let r = e.range();
            if kind.is_some_and(|k| e.kind != k) || r.start >= range.end || r.end <= start {
                return false;
            }
            if r.start <= start {
                start = r.end;
            }
            start >= range.end
        })
    }

    /// The page behind the last one of RAM, or of ACPI tables, which become
    /// RAM (`e820__end_of_ram_pfn()`).
    pub fn end_of_ram_pfn(&self) -> Pfn {
        self.end_ram_pfn(MAX_ARCH_PFN)
    }

    /// The same below 4 GiB (`e820__end_of_low_ram_pfn()`).
    pub fn end_of_low_ram_pfn(&self) -> Pfn {
        self.end_ram_pfn(super::map::DMA32_LIMIT.pfn_down())
    }

    fn end_ram_pfn(&self, limit: Pfn) -> Pfn {
        let ends = self.entries().iter().filter_map(|e| {
            let counts = matches!(e.kind, E820Type::RAM | E820Type::ACPI);
            let below = e.addr.pfn_down() < limit;
            (counts && below).then(|| e.range().end.pfn_down().min(limit))
        });
        ends.max().unwrap_or(Pfn(0)).min(MAX_ARCH_PFN)
    }

    /// The RAM entries, in the table's order.
    pub fn ram(&self) -> impl Iterator<Item = PhysRange> + Clone + '_ {
        let ram = self.entries().iter().filter(|e| e.kind == E820Type::RAM);
        ram.map(E820Entry::range).filter(|r| !r.is_empty())
    }

    /// The bytes of RAM. The table has no overlaps.
    pub fn ram_bytes(&self) -> Bytes {
        self.ram().map(PhysRange::size).sum()
    }

    /// The whole pages of RAM: what memblock has after its trim.
    pub fn ram_pages(&self) -> Pages {
        self.ram().map(|r| r.whole_pages().pages()).sum()
    }

    /// The table as the kernel prints it at boot (`e820__print_table()`), one
    /// line an entry or gap. `who` is "BIOS-e820" for the firmware's table,
    /// "modified" after changes.
    pub fn print(&self, who: &str, f: &mut dyn fmt::Write) -> fmt::Result {
        let mut prev = PhysAddr::ZERO;
        for e in self.entries() {
            let PhysRange { start, end } = e.range();
            if start < prev {
                f.write_str("[Firmware Bug]: out of order E820 entry!\n")?;
            }
            if start > prev {
                let last = start.0 - 1;
                writeln!(f, "{who}: [gap {:#018x}-{last:#018x}]", prev.0)?;
            }
            let last = end.0.wrapping_sub(1);
            let kind = e.kind;
            // Two spaces: one of the line, one of the type's text.
            writeln!(f, "{who}: [mem {:#018x}-{last:#018x}]  {kind}", start.0)?;
            prev = end;
        }
        Ok(())
    }
}
