// SPDX-License-Identifier: GPL-2.0

//! The arrays as text, in Linux's own formats.

use super::Memblock;
use super::MemblockType;
use core::fmt;

impl Memblock<'_> {
    /// What `memblock=debug` prints when the arrays are complete
    /// (`memblock_dump_all`), without the log's time stamps (behind `]` stands
    /// a tab):
    ///
    /// ```text
    /// MEMBLOCK configuration:
    ///  memory size = 0x000000003ff7cc00 reserved size = 0x0000000002c2f6d0
    ///  memory.cnt  = 0x2
    ///  memory[0x0]     [0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn dump_all(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "MEMBLOCK configuration:")?;
        writeln!(
            out,
            " memory size = {:#018x} reserved size = {:#018x}",
            self.memory.total_size.0, self.reserved.total_size.0
        )?;
        self.memory.dump(out)?;
        self.reserved.dump(out)
    }
}

impl MemblockType<'_> {
    /// One array of the dump (`memblock_dump`).
    fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let name = self.name();
        writeln!(out, " {name}.cnt  = {:#x}", self.cnt())?;
        for (index, region) in self.as_slice().iter().enumerate() {
            let last = region.end().0.wrapping_sub(1);
            write!(
                out,
                " {name}[{index:#x}]\t[{:#018x}-{last:#018x}], {:#018x} bytes",
                region.base.0, region.size.0
            )?;
            if !region.nid.is_none() {
                write!(out, " on node {}", region.nid)?;
            }
            writeln!(out, " flags: {:#x}", region.flags.0)?;
        }
        Ok(())
    }

    /// The array as `/sys/kernel/debug/memblock/` shows it
    /// (`memblock_debug_show`):
    ///
    /// ```text
    ///    0: 0x0000000000001000..0x000000000009efff    0 NONE
    ///    1: 0x0000000000100000..0x000000003ffdbfff    x HOTPLUG|NOMAP
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (index, region) in self.as_slice().iter().enumerate() {
            let last = region.end().0.wrapping_sub(1);
            write!(out, "{index:4}: {:#018x}..{last:#018x} ", region.base.0)?;
            match region.nid.index() {
                Some(nid) => write!(out, "{nid:4} ")?,
                None => write!(out, "{:>4} ", 'x')?,
            }
            writeln!(out, "{}", region.flags)?;
        }
        Ok(())
    }
}
