// SPDX-License-Identifier: GPL-2.0

//! cosmos/kmsob/: containers of objects by size, over either page allocator; every
//! bad request refused, nothing lost.

mod boot;
mod caches;
mod containers;
#[allow(dead_code)]
#[path = "../cosmos/world.rs"]
mod cosmos_world;
mod damage;
mod layout;
// The same small machine as for the page allocators.
#[allow(dead_code)]
#[path = "../buddy/world.rs"]
mod machine;
mod model;
mod naive;
mod refusals;
mod report;
mod threads;
mod world;
