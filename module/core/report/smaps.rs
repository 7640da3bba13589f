// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/smaps` and `smaps_rollup`: what VMAs have in memory, one by one and all
//! together.

use super::maps;
use super::maps::Header;
use crate::mm::AddressSpace;
use crate::mm::Usage;
use crate::mm::VirtAddr;
use crate::mm::VmFlags;
use crate::mm::VmaInfo;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::fmt;
use core::fmt::Write;

/// What each flag is called (`show_smap_vma_flags`); the keys of protection, which have a
/// line of their own, are called nothing.
const MNEMONICS: [(u32, &str); 42] = [
    (0, "rd"),
    (1, "wr"),
    (2, "ex"),
    (3, "sh"),
    (4, "mr"),
    (5, "mw"),
    (6, "me"),
    (7, "ms"),
    (8, "gd"),
    (9, "um"),
    (10, "pf"),
    (11, "gu"),
    (12, "uw"),
    (13, "lo"),
    (14, "io"),
    (15, "sr"),
    (16, "rr"),
    (17, "dc"),
    (18, "de"),
    (19, "lf"),
    (20, "ac"),
    (21, "nr"),
    (22, "ht"),
    (23, "sf"),
    (24, "ar"),
    (25, "wf"),
    (26, "dd"),
    (27, "sd"),
    (28, "mm"),
    (29, "hg"),
    (30, "nh"),
    (31, "mg"),
    (32, ""),
    (33, ""),
    (34, ""),
    (35, ""),
    (36, "??"),
    (37, "ss"),
    (38, "??"),
    (39, "??"),
    (40, "dp"),
    (42, "sl"),
];

/// A line: bytes as KiB, in eight columns or more.
fn line(out: &mut dyn Write, name: &str, bytes: u64) -> fmt::Result {
    writeln!(out, "{name:<16}{:>8} kB", bytes >> 10)
}

/// `__show_smap`.
fn write_usage(out: &mut dyn Write, usage: &Usage, rollup: bool) -> fmt::Result {
    let share = Usage::share;
    line(out, "Rss:", usage.resident)?;
    line(out, "Pss:", share(usage.pss))?;
    line(out, "Pss_Dirty:", share(usage.pss_dirty))?;
    if rollup {
        line(out, "Pss_Anon:", share(usage.pss_anon))?;
        line(out, "Pss_File:", share(usage.pss_file))?;
        line(out, "Pss_Shmem:", share(usage.pss_shmem))?;
    }
    line(out, "Shared_Clean:", usage.shared_clean)?;
    line(out, "Shared_Dirty:", usage.shared_dirty)?;
    line(out, "Private_Clean:", usage.private_clean)?;
    line(out, "Private_Dirty:", usage.private_dirty)?;
    line(out, "Referenced:", usage.referenced)?;
    line(out, "Anonymous:", usage.anonymous)?;
    line(out, "KSM:", 0)?;
    line(out, "LazyFree:", usage.lazyfree)?;
    line(out, "AnonHugePages:", usage.anonymous_thp)?;
    line(out, "ShmemPmdMapped:", 0)?;
    line(out, "FilePmdMapped:", 0)?;
    line(out, "Shared_Hugetlb:", 0)?;
    // One column less, as its name is one longer.
    writeln!(out, "Private_Hugetlb: {:>7} kB", 0)?;
    line(out, "Swap:", 0)?;
    line(out, "SwapPss:", 0)?;
    line(out, "Locked:", share(usage.pss_locked))
}

fn write_flags(out: &mut dyn Write, flags: VmFlags) -> fmt::Result {
    out.write_str("VmFlags: ")?;
    let set = MNEMONICS
        .iter()
        .filter(|&&(bit, _)| (flags.0 >> bit) & 1 != 0);
    for (_, name) in set.filter(|(_, name)| !name.is_empty()) {
        write!(out, "{name} ")?;
    }
    out.write_str("\n")
}

/// Writes what a VMA has (`show_smap`).
fn write_vma<P: Platform>(
    out: &mut dyn Write,
    space: &AddressSpace<'_, '_, P>,
    vma: &VmaInfo,
    usage: &Usage,
) -> fmt::Result {
    maps::write_vma(out, space, vma)?;
    line(out, "Size:", vma.range.len())?;
    line(out, "KernelPageSize:", PAGE_SIZE)?;
    line(out, "MMUPageSize:", PAGE_SIZE)?;
    write_usage(out, usage, false)?;
    let eligible = u32::from(space.is_huge_eligible(vma));
    writeln!(out, "THPeligible:    {eligible:>8}")?;
    if space.platform().has_pkeys() {
        // Of what may be executed alone it is the first that is given out.
        let access = VmFlags(vma.flags.0 & VmFlags::ACCESS.0);
        let key = u32::from(access == VmFlags::EXEC);
        writeln!(out, "ProtectionKey:  {key:>8}")?;
    }
    write_flags(out, vma.flags)
}

/// Writes what the first VMA has that ends behind an address, and says where the next is to be
/// looked for; [`None`] behind the last.
///
/// # Errors
///
/// Those of `out`.
pub fn write_next<P: Platform>(
    out: &mut dyn Write,
    space: &AddressSpace<'_, '_, P>,
    addr: VirtAddr,
) -> Result<Option<VirtAddr>, fmt::Error> {
    space
        .with_usage_from(addr, |vma, usage| {
            write_vma(out, space, vma, usage).map(|()| vma.range.end)
        })
        .transpose()
}

/// Writes `/proc/PID/smaps`.
pub fn write<P: Platform>(out: &mut dyn Write, space: &AddressSpace<'_, '_, P>) -> fmt::Result {
    space.try_for_each_usage(|vma, usage| write_vma(out, space, vma, usage))
}

/// Writes `/proc/PID/smaps_rollup` (`show_smaps_rollup`).
pub fn write_rollup<P: Platform>(
    out: &mut dyn Write,
    space: &AddressSpace<'_, '_, P>,
) -> fmt::Result {
    let mut sum = Usage::default();
    let mut range = None;
    space.try_for_each_usage(|vma, usage| {
        sum.add_all(usage);
        let start = range.map_or(vma.range.start.0, |(start, _)| start);
        range = Some((start, vma.range.end.0));
        fmt::Result::Ok(())
    })?;
    let (start, end) = range.unwrap_or((0, 0));
    let header = Header {
        start,
        end,
        flags: VmFlags::NONE,
        offset: 0,
        dev: (0, 0),
        ino: 0,
    };
    maps::write_line(out, &header, Some(&|out| out.write_str("[rollup]")))?;
    write_usage(out, &sum, true)
}
