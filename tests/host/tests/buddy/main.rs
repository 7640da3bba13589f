// SPDX-License-Identifier: GPL-2.0

//! buddy/: the same decisions as Linux, every bad request refused, nothing
//! lost under threads.

mod alloc;
mod bulk;
mod compaction;
mod contig;
mod expire;
mod failure;
mod free;
mod load;
mod model;
mod numbers;
mod poison;
mod policy;
mod reclaim;
mod slowpath;
mod stress;
mod trace;
mod typed;
mod typed_model;
mod validate;
mod world;
