// SPDX-License-Identifier: GPL-2.0

//! mm/: what faults make of memory, and that nothing of it is lost, whoever maps, forks,
//! protects, moves and unmaps at the same time.

mod basics;
mod cow;
mod file;
mod guard;
mod huge;
mod moves;
mod pressure;
mod shared;
mod stack;
mod stress;
mod world;
