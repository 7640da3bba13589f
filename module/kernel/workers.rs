// SPDX-License-Identifier: GPL-2.0

//! What runs by itself, core's side of it: workers.c calls these.
//!
//! None of them is in a hurry: they wait for a stage of the boot to end, and do
//! nothing while there is no running shadow.

use crate::bindings;
use crate::shadow;
use crate::shadow::Mm;
use kernel::error::to_result;
use kernel::prelude::*;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::CpuId;

/// CPUs are watched, and work is done now and then, until it is dropped.
pub(crate) struct Workers(());

impl Workers {
    /// Starts them.
    pub(crate) fn start() -> Result<Self> {
        // SAFETY: Called once, when the shadow is there.
        to_result(unsafe { bindings::shadowmm_workers_start() })?;
        Ok(Self(()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // SAFETY: They were started. Nothing that they might wait for is held.
        unsafe { bindings::shadowmm_workers_stop() };
    }
}

/// Does `job` with the running shadow, if there is one.
fn with_mm<R: Default>(job: impl FnOnce(&Mm<'_>) -> CoreResult<R>) -> R {
    let done = shadow::current().map(|shadow| shadow.with_mm(job));
    // Before the last stage there is nothing to do.
    done.and_then(|done| done.ok()).unwrap_or_default()
}

/// Lets the running CPU's pagesets shrink and expire, and slabs go that have waited;
/// whether there is more to do in a second.
#[no_mangle]
extern "C" fn shadowmm_worker_refresh() -> bool {
    with_mm(|mm| Ok(mm.refresh()))
}

/// Whether [`shadowmm_worker_refresh`] would find something on that CPU.
#[no_mangle]
extern "C" fn shadowmm_worker_wants_refresh(cpu: u32) -> bool {
    with_mm(|mm| Ok(mm.wants_refresh(CpuId(cpu))))
}

/// A CPU is about to come up: its node's pages are shared out anew
/// (`page_alloc_cpu_online`).
#[no_mangle]
extern "C" fn shadowmm_worker_cpu_online(cpu: u32) {
    share_out(Some(CpuId(cpu)));
}

/// A CPU is gone: what it kept goes back, and its share to the others of its
/// node (`slub_cpu_dead`, `page_alloc_cpu_dead`). Its counts stay where they are: they are
/// summed over all CPUs that could be.
#[no_mangle]
extern "C" fn shadowmm_worker_cpu_dead(cpu: u32) {
    with_mm(|mm| {
        mm.drain_dead(CpuId(cpu));
        Ok(())
    });
    share_out(None);
}

fn share_out(coming: Option<CpuId>) {
    if let Some(shadow) = shadow::current() {
        // Before the last stage nothing is shared out.
        let _ = shadow.with_boot(|boot| boot.update_pagesets(coming));
    }
}
