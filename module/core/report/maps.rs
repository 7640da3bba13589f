// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/maps`: the VMAs of an address space, one a line.

use crate::mm::AddressSpace;
use crate::mm::VirtAddr;
use crate::mm::VmFlags;
use crate::mm::VmaInfo;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use core::fmt;
use core::fmt::Write;

/// Where a name begins: behind two addresses and what else is known
/// (`seq_setwidth(m, 25 + sizeof(void *) * 6 - 1)`), and a space.
const NAME_COLUMN: usize = 25 + 8 * 6 - 1;

/// Counts what is written.
struct Counted<'o>(&'o mut dyn Write, usize);

impl Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.1 = self.1.saturating_add(text.len());
        self.0.write_str(text)
    }
}

/// What a line is about, as far as `show_vma_header_prefix` shows it.
pub(super) struct Header {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) flags: VmFlags,
    /// In bytes.
    pub(super) offset: u64,
    pub(super) dev: (u32, u32),
    pub(super) ino: u64,
}

/// What writes a VMA's name.
type WriteName<'n> = &'n dyn Fn(&mut dyn Write) -> fmt::Result;

/// Writes a line: what is known, and in its column a name, if there is one.
pub(super) fn write_line(
    out: &mut dyn Write,
    header: &Header,
    name: Option<WriteName<'_>>,
) -> fmt::Result {
    let mut out = Counted(out, 0);
    let bit = |flag, letter| match header.flags.has(flag) {
        true => letter,
        false => '-',
    };
    let kind = match header.flags.has(VmFlags::MAYSHARE) {
        true => 's',
        false => 'p',
    };
    write!(
        out,
        "{:08x}-{:08x} {}{}{}{kind} {:08x} {:02x}:{:02x} {} ",
        header.start,
        header.end,
        bit(VmFlags::READ, 'r'),
        bit(VmFlags::WRITE, 'w'),
        bit(VmFlags::EXEC, 'x'),
        header.offset,
        header.dev.0,
        header.dev.1,
        header.ino,
    )?;
    if let Some(name) = name {
        let pad = NAME_COLUMN.saturating_sub(out.1).saturating_add(1);
        write!(out, "{:pad$}", "")?;
        name(&mut out)?;
    }
    out.write_str("\n")
}

/// Writes a VMA's line (`show_map_vma`, `get_vma_name`).
pub(super) fn write_vma<P: Platform>(
    out: &mut dyn Write,
    space: &AddressSpace<'_, '_, P>,
    vma: &VmaInfo,
) -> fmt::Result {
    let header = |dev, ino| Header {
        start: vma.range.start.0,
        end: vma.range.end.0,
        flags: vma.flags,
        offset: match vma.file {
            0 => 0,
            _ => vma.pgoff << PAGE_SHIFT,
        },
        dev,
        ino,
    };
    if vma.file != 0 && vma.flags.has(VmFlags::MAYSHARE) {
        // As the file of the internal mount that Linux has for it.
        let name: &dyn Fn(&mut dyn Write) -> fmt::Result =
            &|out| out.write_str("/dev/zero (deleted)");
        return write_line(out, &header((0, 1), vma.file), Some(name));
    }
    if vma.file != 0 {
        let platform = space.platform();
        let file = platform.file_info(vma.file);
        let name: &dyn Fn(&mut dyn Write) -> fmt::Result =
            &|out| platform.write_file_path(out, vma.file);
        return write_line(out, &header(file.dev, file.ino), Some(name));
    }
    let segments = space.segments();
    let (start, end) = (vma.range.start.0, vma.range.end.0);
    let name = match () {
        () if start < segments.brk && end > segments.start_brk => Some("[heap]"),
        () if start <= segments.start_stack && end >= segments.start_stack => Some("[stack]"),
        () => None,
    };
    let header = header((0, 0), 0);
    match name {
        None => write_line(out, &header, None),
        Some(name) => write_line(out, &header, Some(&|out| out.write_str(name))),
    }
}

/// Writes the line of the first VMA that ends behind an address, and says where the next is to
/// be looked for; [`None`] behind the last.
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
        .with_vma_from(addr, |vma| {
            write_vma(out, space, vma).map(|()| vma.range.end)
        })
        .transpose()
}

/// Writes `/proc/PID/maps`.
pub fn write<P: Platform>(out: &mut dyn Write, space: &AddressSpace<'_, '_, P>) -> fmt::Result {
    space.try_for_each_vma(|vma| write_vma(out, space, vma))
}
