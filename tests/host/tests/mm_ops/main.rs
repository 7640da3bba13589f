// SPDX-License-Identifier: GPL-2.0

//! mm/: what system calls about VMAs do, and that nothing is lost whatever they are.

mod map;
mod place;
mod world;
