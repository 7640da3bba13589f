// SPDX-License-Identifier: GPL-2.0

//! The file of `shadowmm run --stats`, which the command makes and reads, and the preloaded
//! library has mapped and counts in: slots of a name, with NULs behind it, and a number.

/// Slots of the file.
pub const SLOTS: usize = 128;
/// Bytes of a name, at least one of them a NUL.
pub const NAME: usize = 24;
/// Bytes of a slot: its name, and a number as the machine has it.
pub const SLOT: usize = NAME + size_of::<u64>();
/// Bytes of the file.
pub const SIZE: usize = SLOTS * SLOT;

// The number may be counted in at once by many, and the file is mapped.
const _: () = assert!(NAME % align_of::<u64>() == 0 && SLOT % align_of::<u64>() == 0);
const _: () = assert!(SIZE % 4096 == 0);
