// SPDX-License-Identifier: GPL-2.0

//! The text of memblock's arrays, as `memblock=debug` prints them.

use crate::memblock::Memblock;
use core::fmt;
use core::fmt::Write;

/// Writes both arrays (`memblock_dump_all`), without the log's time stamps.
pub fn write(out: &mut dyn Write, memblock: &Memblock<'_>) -> fmt::Result {
    memblock.dump_all(out)
}
