// SPDX-License-Identifier: GPL-2.0

//! cosmos/: division and merging as Cosmos has them, every bad request refused
//! as by the buddy system, nothing lost; and one test of the seam for both.

mod areas;
mod boot;
// The same small machine as for the buddy system.
#[allow(dead_code)]
#[path = "../buddy/world.rs"]
mod machine;
mod model;
mod pieces;
mod poison;
mod refusals;
mod seam;
mod validate;
mod world;
