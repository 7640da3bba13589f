// SPDX-License-Identifier: GPL-2.0

//! The free blocks of a zone, by order.

/// The free blocks of one zone.
pub struct FreeAreas {}

impl FreeAreas {
    /// No free block.
    pub const fn new() -> Self {
        Self {}
    }
}

impl Default for FreeAreas {
    fn default() -> Self {
        Self::new()
    }
}
