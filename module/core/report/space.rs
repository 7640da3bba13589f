// SPDX-License-Identifier: GPL-2.0

//! The files of an address space, in a directory of its own.

use super::maps;
use super::mm_status;
use super::smaps;
use crate::mm::AddressSpace;
use crate::platform::Platform;
use core::fmt;
use core::fmt::Write;

/// A file of `/proc/PID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceFile {
    /// `maps`.
    Maps,
    /// `smaps`.
    Smaps,
    /// `status`, the lines about memory.
    Status,
    /// `smaps_rollup`.
    SmapsRollup,
}

impl SpaceFile {
    /// All of them: their places are their numbers in the glue.
    pub const ALL: [Self; 4] = [Self::Maps, Self::Smaps, Self::Status, Self::SmapsRollup];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Smaps => "smaps",
            Self::Status => "status",
            Self::SmapsRollup => "smaps_rollup",
        }
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write<P: Platform>(
        self,
        space: &AddressSpace<'_, '_, P>,
        out: &mut dyn Write,
    ) -> fmt::Result {
        match self {
            Self::Maps => maps::write(out, space),
            Self::Smaps => smaps::write(out, space),
            Self::Status => mm_status::write(out, space),
            Self::SmapsRollup => smaps::write_rollup(out, space),
        }
    }
}
