// SPDX-License-Identifier: GPL-2.0

//! Address spaces: a window of this process, and what is done in it.
//!
//! ```text
//! window.rs   a window: mapped, configured, unmapped when it is dropped
//! calls.rs    mmap, munmap, brk and the like, in it, named and typed as nix has them
//! raw.rs      the same with plain numbers
//! look.rs     address spaces, VMAs and translations, as plain data
//! badness.rs  whom the OOM killer would choose
//! ```
//!
//! Calls deal in addresses, and are safe: nothing of this process's own lies in a
//! window. To read and write there is for whoever knows what he has mapped, by
//! pointers, as with any memory of mmap(2).

mod badness;
mod calls;
mod look;
mod raw;
mod window;

pub use calls::Limit;
pub use calls::LockAll;
pub use look::Space;
pub use look::Tree;
pub use look::Vma;
pub use look::VmaFlags;
pub use look::Walk;
pub use look::WalkLevel;
pub use raw::RawCalls;
pub use raw::RawLock;
pub use raw::RawMmap;
pub use window::Window;
pub use window::WindowConfig;
