// SPDX-License-Identifier: GPL-2.0

//! What the pages of address spaces are for.

/// Pages by what they are for, each of which counts once however many have it: those of
/// `enum node_stat_item` and `enum zone_stat_item` that address spaces change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum UserStat {
    /// Private memory (`NR_ANON_MAPPED`).
    Anon = 0,
    /// Of that, in blocks of 2 MiB (`NR_ANON_THPS`).
    AnonHuge = 1,
    /// Content of files that nobody has written to.
    File = 2,
    /// Of shared objects (`NR_SHMEM`).
    Shmem = 3,
    /// Of files and shared objects, mapped by somebody (`NR_FILE_MAPPED`).
    Mapped = 4,
    /// Page tables (`NR_PAGETABLE`).
    Table = 5,
    /// Mapped where memory is locked (`NR_MLOCK`).
    Locked = 6,
}

/// How many there are.
pub(super) const NR_USER_STATS: usize = 7;
