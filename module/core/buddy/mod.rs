// SPDX-License-Identifier: GPL-2.0

//! The buddy system.

mod free_area;

pub use free_area::FreeAreas;
