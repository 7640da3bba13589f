// SPDX-License-Identifier: GPL-2.0

//! A cache of the shadow's, the other one of a pair.
//!
//! Lock order: the kernel's lock of its CPUs (`cpus_read_lock`), then the shadow's state: so do
//! the workers (workers.c). Shrinking and destroying a cache of the kernel takes the first,
//! and whatever else its allocator may come to is its own affair: nothing is asked of the kernel
//! with the state held.

use crate::platform::Kernel;
use crate::shadow::Shadow;
use kernel::sync::Arc;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::SlabAllocator;

/// A cache of the shadow's, which is ours. No boot begins anew while it is there.
///
/// # Invariants
///
/// `id` is from [`Shadow::create_twin`], and the number of no other cache.
pub(super) struct ShadowCache {
    shadow: Arc<Shadow>,
    id: CacheId,
}

impl ShadowCache {
    /// Has the shadow make it.
    ///
    /// # Errors
    ///
    /// Those of [`Shadow::create_twin`].
    pub(super) fn new(shadow: &Arc<Shadow>, args: &CacheArgs<'_>) -> CoreResult<Self> {
        let id = shadow.create_twin(args)?;
        // INVARIANT: It is from there.
        Ok(Self {
            shadow: shadow.clone(),
            id,
        })
    }

    /// Uses it, with the shadow's state held.
    pub(super) fn with<R>(
        &self,
        job: impl FnOnce(&SlabAllocator<'_, '_, Kernel>, CacheId) -> CoreResult<R>,
    ) -> CoreResult<R> {
        self.shadow.with_mm(|mm| job(&mm.slab()?, self.id))
    }
}

impl Drop for ShadowCache {
    fn drop(&mut self) {
        self.shadow.destroy_twin(self.id);
    }
}
