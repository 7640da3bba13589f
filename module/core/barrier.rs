// SPDX-License-Identifier: GPL-2.0

//! Barriers that cost less than a fence, where the machine lets them.

use core::sync::atomic::Ordering::SeqCst;

/// Behind a change in one step, as `fetch_add` or `swap`: every CPU sees it before what is done
/// from here on (`smp_mb__after_atomic`). On x86 such a change is a barrier by itself, and the
/// compiler alone is to be held.
#[inline(always)]
pub fn after_atomic() {
    #[cfg(target_arch = "x86_64")]
    core::sync::atomic::compiler_fence(SeqCst);
    #[cfg(not(target_arch = "x86_64"))]
    core::sync::atomic::fence(SeqCst);
}
