// SPDX-License-Identifier: GPL-2.0

//! The threads of the shadow's nodes: core's steps, one after the other. They
//! run from the hand-off on until the boot starts anew or the shadow goes.

use crate::bindings;
use crate::shadow;
use crate::shadow::Mm;
use kernel::error::to_result;
use kernel::prelude::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::Kcompactd;
use shadowmm_core::buddy::Kswapd;
use shadowmm_core::buddy::Rest;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::MAX_NODES;

/// Background reclaim.
pub(crate) const KSWAPD: u32 = bindings::SHADOWMM_KSWAPD;
/// Background compaction.
pub(crate) const KCOMPACTD: u32 = bindings::SHADOWMM_KCOMPACTD;

/// Starts the threads of all nodes of a running shadow, if they don't run. Where
/// one can't be made, its node is left to those who need memory.
pub(crate) fn start(mm: &Mm<'_>) {
    if mm.allocator().kind() != AllocatorKind::Buddy {
        return;
    }
    for nid in mm.nodes.online().map(|node| node.node_id) {
        for kind in [KSWAPD, KCOMPACTD] {
            // SAFETY: The caller sees to it that this is not done twice at once.
            let started = to_result(unsafe { bindings::shadowmm_daemon_start(kind, nid.0) });
            if started.is_err() {
                pr_warn!("a thread of node {} could not be started\n", nid.0);
            }
        }
    }
}

/// Ends all threads. Nothing may be held that they could wait for.
pub(crate) fn stop() {
    for nid in 0..MAX_NODES as i32 {
        for kind in [KSWAPD, KCOMPACTD] {
            // SAFETY: As above.
            unsafe { bindings::shadowmm_daemon_stop(kind, nid) };
        }
    }
}

/// Whether a node's thread runs.
pub(crate) fn runs(kind: u32, nid: NodeId) -> bool {
    // SAFETY: The numbers are checked there.
    unsafe { bindings::shadowmm_daemon_runs(kind, nid.0) }
}

/// Wakes a node's thread.
pub(crate) fn wake(kind: u32, nid: NodeId) {
    // SAFETY: The numbers are checked there.
    unsafe { bindings::shadowmm_daemon_wake(kind, nid.0) };
}

/// The body of a thread.
#[no_mangle]
extern "C" fn shadowmm_daemon_run(kind: u32, nid: i32) {
    let nid = NodeId(nid);
    let mut kswapd = Kswapd::new(nid);
    let mut kcompactd = Kcompactd::new(nid);
    turn(kind, nid, |mm, woken| match kind {
        KSWAPD => kswapd.step(&mm.buddy(), woken),
        _ => kcompactd.step(&mm.buddy()),
    });
}

fn turn(kind: u32, nid: NodeId, mut step: impl FnMut(&Mm<'_>, bool) -> Rest) {
    let mut woken = false;
    // SAFETY: This is a thread that daemons.c made.
    while !unsafe { bindings::shadowmm_daemon_is_to_end() } {
        let done = shadow::current().map(|shadow| shadow.with_mm(|mm| Ok(step(mm, woken))));
        let rest = match done {
            Some(Ok(rest)) => rest,
            // Not yet: the module is being loaded.
            _ => Rest::Nap(100),
        };
        let ms = match rest {
            Rest::No => {
                woken = false;
                // SAFETY: Nothing is held.
                unsafe { bindings::shadowmm_cond_resched() };
                continue;
            }
            Rest::Nap(ms) => ms as isize,
            Rest::UntilWoken => -1,
        };
        // SAFETY: The thread is this one.
        woken = unsafe { bindings::shadowmm_daemon_rest(kind, nid.0, ms) };
    }
}
