// SPDX-License-Identifier: GPL-2.0

//! mm/: what system calls about VMAs do, and that nothing is lost whatever they are.

mod advice;
mod counts;
mod fork;
mod heap;
mod limits;
mod lock;
mod map;
mod model;
mod place;
mod protect;
mod remap;
mod reports;
mod world;
