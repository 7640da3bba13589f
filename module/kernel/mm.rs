// SPDX-License-Identifier: GPL-2.0

//! Address spaces of processes: how they come from the host's mm to core's, and back.
//!
//! ```text
//! window.rs    from mmap of the device, or a fork, to the end of the VMA
//! host.rs      the process's mm, its lock, and its page table
//! fault.rs     faults, and others who look into a window
//! requests.rs  what are system calls to others
//! files.rs     files that a window has private copies of
//! records.rs   what is told about an address space
//! oom.rs       memory is out, and somebody is killed
//! proc.rs      /proc/shadowmm/mm/ID
//! ```
//!
//! In C: window.c (what the host's mm calls, and what of it is inline), window_file.c,
//! procfs_mm.c.

mod fault;
pub(crate) mod files;
mod host;
mod oom;
mod proc;
mod records;
mod requests;
mod window;

pub(crate) use oom::oom_kill;
pub(crate) use oom::process_of;
pub(crate) use oom::tell_charged;
pub(crate) use oom::zap_window;
pub(crate) use records::report;
pub(crate) use window::map;
pub(crate) use window::FileWindows;
pub(crate) use window::Window;
pub(crate) use window::Windows;
