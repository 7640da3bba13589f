// SPDX-License-Identifier: GPL-2.0

//! Core, with an atomic access everywhere a place where others may run.

#![allow(clippy::all, reason = "core is looked at where it is")]

pub mod atomics;

include!(concat!(env!("OUT_DIR"), "/core/shadowmm_core.rs"));
