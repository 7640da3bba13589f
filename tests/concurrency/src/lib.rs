// SPDX-License-Identifier: GPL-2.0

//! Core under concurrency checkers. All of it is in `tests`:
//!
//! ```text
//! tests/shuttle   core's own code, as the checker schedules it
//! tests/common    the CPUs of both machines under shuttle
//! tests/loom.rs   the protocol of claims, with all of a memory model's freedom
//!
//! checked         core once more, of its own text, each atomic access a place to switch
//! tests/slab      its slab layer, as the checker schedules it
//! tests/trees     its VMA trees, as the checker schedules them
//! tests/faults    its faults, beside one another and beside what takes pages and tables away
//! tests/compaction its compaction, beside owners, others and who validates
//! tests/magazine.rs  the slab layer's magazines, with all of a memory model's freedom
//! tests/mm_lock.rs   the locks of address spaces and VMAs, likewise
//! tests/seqcount.rs  what readers of trees without a lock look at, likewise
//! tests/daemons.rs   what the threads of nodes are asked and how they are woken, likewise
//! tests/users.rs     who uses address spaces and shared objects, likewise
//! tests/told.rs      what users are told of pages and VMAs, likewise
//! tests/moves.rs     blocks that move, and their owners, likewise
//! tests/words.rs     words of which one tells that another holds, likewise
//! tests/listeners.rs short ways that are closed while somebody listens, likewise
//! tests/anon.rs      anonymous regions beside VMAs that become one, likewise
//! ```
