// SPDX-License-Identifier: GPL-2.0

//! mm/vma_tree/: both kinds of tree are a map of ranges, whatever is done to them.

mod deep;
mod model;
mod properties;
mod readers;
mod shortage;
mod world;
