// SPDX-License-Identifier: GPL-2.0

//! Caches of the shadow's that the module has for itself: to be compared with one of the
//! kernel's, or to be measured. All that is taken from them goes back before they do, so no
//! open file may take anything.
//!
//! Lock order: the kernel's lock of its CPUs (`cpus_read_lock`), then the shadow's state: so do
//! the workers (workers.c). Shrinking and destroying a cache of the kernel takes the first,
//! and whatever else its allocator may come to is its own affair: nothing is asked of the kernel
//! with the state held.

use crate::platform::Kernel;
use crate::shadow::Shadow;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use kernel::sync::Arc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::ObjectAllocatorKind;
use shadowmm_core::slab::SlabAllocator;
use shadowmm_core::slab::SlabFlags;

/// A cache of the shadow's, which is ours. It is merged with no other, no open file takes
/// anything from it, and no boot begins anew while it is there.
///
/// # Invariants
///
/// `id` is the number of a cache that [`PrivateCache::new`] has made, and of no other.
pub(crate) struct PrivateCache {
    shadow: Arc<Shadow>,
    id: CacheId,
    /// Whether requests know it by its number: objects are not kmsob's, whose caches have
    /// numbers of their own.
    is_known: bool,
}

impl PrivateCache {
    /// Has the shadow make it.
    ///
    /// # Errors
    ///
    /// Those of the layer; [`Error::BadFlags`] where others might share it.
    pub(crate) fn new(shadow: &Arc<Shadow>, args: &CacheArgs<'_>) -> CoreResult<Self> {
        if !args.flags.has(SlabFlags::NO_MERGE) {
            return Err(Error::BadFlags);
        }
        let files = &shadow.slab;
        // Its number may be that of one that is about to go.
        let _naming = files.naming.lock();
        // Who takes objects by a number that he has guessed comes before it, or sees whose it is.
        let _alone = files.forcing.write();
        shadow.with_mm(|mm| {
            let id = mm.slab()?.create(args)?;
            // Who begins anew waits for this one.
            files.privates.fetch_add(1, Relaxed);
            let is_known = mm.objects_kind() == ObjectAllocatorKind::Slab;
            if is_known {
                files.private.set(id, true);
            }
            // INVARIANT: It was just made.
            Ok(Self {
                shadow: shadow.clone(),
                id,
                is_known,
            })
        })
    }

    /// Its number.
    pub(crate) fn id(&self) -> CacheId {
        self.id
    }

    /// Uses it, with the shadow's state held.
    pub(crate) fn with<R>(
        &self,
        job: impl FnOnce(&SlabAllocator<'_, '_, Kernel>, CacheId) -> CoreResult<R>,
    ) -> CoreResult<R> {
        self.shadow.with_mm(|mm| job(&mm.slab()?, self.id))
    }
}

impl Drop for PrivateCache {
    /// Destroys it, whose objects have been given back. Where one is damaged the cache stays, as
    /// if CREATE had made it.
    fn drop(&mut self) {
        let files = &self.shadow.slab;
        let _naming = files.naming.lock();
        let destroyed = {
            // As for those that CREATE has made.
            let _alone = files.forcing.write();
            let destroyed = self.with(|slab, id| slab.destroy(id, &mut Log));
            if self.is_known {
                files.private.set(self.id, false);
            }
            if self.is_known && destroyed.is_err() {
                files.created.set(self.id, true);
            }
            destroyed
        };
        if let Err(error) = destroyed {
            pr_err!(
                "a cache that was compared or measured stays: {}\n",
                error.sentence()
            );
        }
        if self.is_known && files.named.load(Relaxed) {
            // It was there, perhaps, when the layer's own were given their directories.
            self.shadow.name_cache(self.id);
        }
        files.privates.fetch_sub(1, Relaxed);
    }
}

/// The kernel's log, for what a cache says that should have been empty.
struct Log;

impl fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        pr_err!("{text}");
        Ok(())
    }
}
