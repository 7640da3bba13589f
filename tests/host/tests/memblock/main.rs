// SPDX-License-Identifier: GPL-2.0

//! memblock/: marks, limits, mirrors, texts, errors and the hand-off, one by one.

mod alloc;
mod arrays;
mod handoff;
mod limits;
mod machine;
mod reading;
