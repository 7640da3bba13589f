// SPDX-License-Identifier: GPL-2.0

//! The library that `shadowmm run` preloads: calls about anonymous private memory go to a
//! window in place of the process.
//!
//! ```text
//! mapping.rs  mmap, mremap
//! outside.rs  what mremap moves out of the window
//! ranges.rs   munmap, mprotect, madvise, msync, mincore, mlock and its like
//! heap.rs     brk, sbrk
//! files.rs    close, dup2 and their like
//! process.rs  syscall, _Fork, _exit; the library's begin and end
//! original.rs what the C library has by these names
//! room.rs     where the window goes
//! window.rs   the process's window, and requests to it
//! fd.rs       its file descriptor
//! counters.rs what was redirected and what was not
//! kernel.rs   system calls, without the C library's functions, which are these
//! ```
//!
//! Nothing here allocates, and nothing is called that might: the caller may be an
//! allocator. What can't be redirected goes to the host, and is counted: files and shared
//! memory, what is to be executed, huge pages of the host's, and fixed places outside of
//! the window. Calls that the C library makes for itself (malloc, stacks of threads) don't
//! come by; what they have taken is counted when the process ends.

mod counters;
mod fd;
mod files;
mod heap;
mod kernel;
mod mapping;
mod original;
mod outside;
mod process;
mod ranges;
mod room;
mod window;
