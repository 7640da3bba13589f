// SPDX-License-Identifier: GPL-2.0

//! slab/: objects come and go and nothing is lost, whoever asks for what.

mod bulk;
mod caches;
mod kmalloc;
mod model;
mod objects;
mod pressure;
mod stress;
mod told;
mod world;
