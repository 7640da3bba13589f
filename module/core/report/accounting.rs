// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/accounting`: where the memory went, from what the DIMMs have
//! to what `free` calls total.
//!
//! ```text
//!   installed        what dmidecode would say
//!     - what the firmware keeps, and what lies under its holes
//!   usable           System RAM of the e820 table
//!     - the crash kernel
//!     - page descriptors, section tables, nodes and zones, statistics
//!     - what else memblock keeps
//!   managed          what the buddy system was given: MemTotal
//! ```
//!
//! Each sum is what is left of the one before it, exactly: in bytes, and in the
//! printed KiB too, where each line is the difference of two rounded remainders.

use super::AccountModel;
use super::Snapshot;
use super::Walk;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use core::fmt;
use core::fmt::Write;

/// What memory went to. Everything is inside the DIMMs: reserved addresses that
/// belong to devices have no memory and do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// RAM that the firmware reserves (e820 "Reserved").
    pub firmware_reserved: Bytes,
    /// RAM with the ACPI tables.
    pub firmware_acpi: Bytes,
    /// RAM that ACPI keeps over sleep ("ACPI Non-volatile Storage").
    pub firmware_nvs: Bytes,
    /// RAM of any other type that is not usable.
    pub firmware_other: Bytes,
    /// RAM that no entry of the map mentions, like that under the legacy hole.
    pub firmware_holes: Bytes,
    /// RAM that the firmware leaves to the kernel ("System RAM").
    pub usable: Bytes,
    /// What is reserved for the crash kernel.
    pub crash_kernel: Bytes,
    /// Page descriptors.
    pub page_descriptors: Bytes,
    /// The tables of sections.
    pub section_tables: Bytes,
    /// Nodes, zones and zonelists.
    pub nodes: Bytes,
    /// Statistics of each CPU.
    pub statistics: Bytes,
    /// What the buddy system was given (`totalram_pages`).
    pub managed: Bytes,
}

impl Accounting {
    /// What the firmware keeps.
    fn firmware(&self) -> [(Bytes, &'static str, &'static str); 5] {
        [
            (
                self.firmware_reserved,
                "firmware_reserved",
                "reserved by the firmware",
            ),
            (self.firmware_acpi, "firmware_acpi", "ACPI tables"),
            (
                self.firmware_nvs,
                "firmware_nvs",
                "ACPI non-volatile storage",
            ),
            (
                self.firmware_other,
                "firmware_other",
                "other types of the firmware",
            ),
            (
                self.firmware_holes,
                "firmware_holes",
                "under holes of the firmware map",
            ),
        ]
    }

    /// What memblock keeps, as far as it has a name.
    fn kept(&self) -> [(Bytes, &'static str, &'static str); 5] {
        [
            (self.crash_kernel, "crash_kernel", "crash kernel"),
            (
                self.page_descriptors,
                "page_descriptors",
                "page descriptors",
            ),
            (self.section_tables, "section_tables", "section tables"),
            (self.nodes, "nodes", "nodes, zones and zonelists"),
            (self.statistics, "statistics", "statistics of each CPU"),
        ]
    }

    /// The memory of the DIMMs; saturates.
    pub fn installed(&self) -> Bytes {
        self.usable + self.firmware().iter().map(|&(bytes, ..)| bytes).sum()
    }

    /// What memblock keeps besides what has a name: reservations below 1 MiB,
    /// its own arrays, parts of pages at the ends of ranges. Zero where the
    /// rest exceeds what there is; [`Accounting::check`] finds that.
    pub fn other_reserved(&self) -> Bytes {
        let named: Bytes = self.kept().iter().map(|&(bytes, ..)| bytes).sum();
        self.usable - self.managed - named
    }

    /// Whether everything adds up: no sum leaves its range, and no more is
    /// accounted for than there is. `Corrupt` where it does not.
    pub fn check(&self) -> Result<()> {
        let mut sum = self.managed;
        let kept = self.kept();
        for (bytes, ..) in kept {
            sum = sum.checked_add(bytes).ok_or(Error::Corrupt)?;
        }
        if sum > self.usable {
            return Err(Error::Corrupt);
        }
        let mut sum = self.usable;
        for (bytes, ..) in self.firmware() {
            sum = sum.checked_add(bytes).ok_or(Error::Corrupt)?;
        }
        Ok(())
    }

    /// Shows the lines, from the whole to what is left of it.
    pub fn for_each_account(&self, visit: &mut dyn FnMut(&AccountModel) -> Walk) -> Walk {
        let mut show = |(bytes, key, text), depth| {
            visit(&AccountModel {
                bytes,
                depth,
                key,
                text,
            })
        };
        show((self.installed(), "installed", "installed"), 0)?;
        for line in self.firmware() {
            show(line, 1)?;
        }
        show((self.usable, "usable", "usable: System RAM"), 0)?;
        for line in self.kept() {
            show(line, 1)?;
        }
        show(
            (
                self.other_reserved(),
                "other_reserved",
                "other reservations",
            ),
            1,
        )?;
        show((self.managed, "managed", "managed: MemTotal"), 0)
    }
}

/// Writes the report: the parts of each sum are subtracted from it, and the
/// percentages are of the whole, rounded down.
pub fn write(out: &mut dyn Write, snapshot: &dyn Snapshot) -> fmt::Result {
    let accounting = snapshot.accounting();
    let whole = accounting.installed().kib();
    let mut left = Bytes::ZERO;
    writeln!(
        out,
        "{:<40}{:>14}{:>10}",
        "where the memory went", "KiB", "%"
    )?;
    accounting.for_each_account(&mut |account| {
        let (sign, kib) = if account.depth == 0 {
            left = account.bytes;
            ("", left.kib())
        } else {
            let before = left.kib();
            left -= account.bytes;
            ("  - ", before.saturating_sub(left.kib()))
        };
        let width = 40usize.saturating_sub(sign.len());
        write!(out, "{sign}{:<width$}{kib:>14}", account.text)?;
        let hundredths = kib.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
        Ok(writeln!(
            out,
            "{:>7}.{:02}",
            hundredths / 100,
            hundredths % 100
        )?)
    })?;
    Ok(())
}
