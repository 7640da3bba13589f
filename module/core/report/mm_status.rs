// SPDX-License-Identifier: GPL-2.0

//! The lines of `/proc/PID/status` that are about memory.

use crate::mm::AddressSpace;
use crate::phys::Pages;
use crate::phys::PAGE_SHIFT;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use core::fmt;
use core::fmt::Write;

fn kib(out: &mut dyn Write, name: &str, kib: u64) -> fmt::Result {
    writeln!(out, "{name}:\t{kib:>8} kB")
}

fn pages(out: &mut dyn Write, name: &str, pages: u64) -> fmt::Result {
    kib(out, name, Pages(pages).kib())
}

/// Writes whose it is, and then its lines (`task_mem`, `hugetlb_report_usage`).
pub fn write<P: Platform>(out: &mut dyn Write, space: &AddressSpace<'_, '_, P>) -> fmt::Result {
    let cells = space.cells();
    let comm = cells.comm();
    let comm = comm.split(|&byte| byte == 0).next().unwrap_or(&[]);
    out.write_str("Name:\t")?;
    // It may have whatever its process likes, but no line of its own (`proc_task_name`).
    for c in comm.utf8_chunks().flat_map(|part| part.valid().chars()) {
        match c {
            '\n' => out.write_str("\\n")?,
            '\\' => out.write_str("\\\\")?,
            c => out.write_char(c)?,
        }
    }
    writeln!(out, "\nPid:\t{}", cells.pid())?;
    let now = space.numbers();
    let [file, anon, swap, shmem] = now.rss;
    let rss = file.wrapping_add(anon).wrapping_add(shmem);
    let segments = space.segments();
    let exec = now.exec_vm << PAGE_SHIFT;
    let end = segments.end_code.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    let start = segments.start_code & !(PAGE_SIZE - 1);
    let text = end.saturating_sub(start).min(exec);
    pages(out, "VmPeak", now.hiwater_vm.max(now.total_vm))?;
    pages(out, "VmSize", now.total_vm)?;
    pages(out, "VmLck", now.locked_vm)?;
    pages(out, "VmPin", now.pinned_vm)?;
    pages(out, "VmHWM", now.hiwater_rss.max(rss))?;
    pages(out, "VmRSS", rss)?;
    pages(out, "RssAnon", anon)?;
    pages(out, "RssFile", file)?;
    pages(out, "RssShmem", shmem)?;
    pages(out, "VmData", now.data_vm)?;
    pages(out, "VmStk", now.stack_vm)?;
    kib(out, "VmExe", text >> 10)?;
    kib(out, "VmLib", exec.saturating_sub(text) >> 10)?;
    kib(out, "VmPTE", now.pgtables_bytes >> 10)?;
    pages(out, "VmSwap", swap)?;
    kib(out, "HugetlbPages", 0)
}
