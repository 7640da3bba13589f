// SPDX-License-Identifier: GPL-2.0

//! Bytes as text (`print_hex_dump`, with addresses, sixteen to a line).

use super::pattern::SlabBytes;
use core::fmt;
use core::ops::Range;

/// Bytes to a line.
const ROW: u32 = 16;

/// Writes a range of a slab that begins at the address `base`, each line behind
/// `text` (`print_section`). A short line's letters stand below the others'.
///
/// # Errors
///
/// Those of `out`.
pub(super) fn write_section(
    out: &mut dyn fmt::Write,
    text: &str,
    slab: SlabBytes<'_>,
    base: u64,
    range: Range<u32>,
) -> fmt::Result {
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + ROW);
        write!(out, "{text}{:016x}: ", base.wrapping_add(u64::from(at)))?;
        for byte in (at..end).map(|at| slab.byte(at)) {
            write!(out, "{byte:02x} ")?;
        }
        // Three to a byte, the last of which is a space already, and one more.
        let width = 3 * (ROW - (end - at)) as usize + 1;
        write!(out, "{:width$}", "")?;
        for byte in (at..end).map(|at| slab.byte(at)) {
            let printed = matches!(byte, b' '..=b'~');
            out.write_char(if printed { char::from(byte) } else { '.' })?;
        }
        out.write_char('\n')?;
        at = end;
    }
    Ok(())
}
