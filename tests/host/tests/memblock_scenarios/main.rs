// SPDX-License-Identifier: GPL-2.0

//! The scenarios that Linux tests its memblock with (tools/testing/memblock),
//! told as tables: what is there, what is asked for, what comes out.

mod alloc;
mod basic;
mod machine;
mod numa;
