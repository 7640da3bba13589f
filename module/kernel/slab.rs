// SPDX-License-Identifier: GPL-2.0

//! What of caches and objects is whose, and the requests about them.
//!
//! ```text
//! caches.rs   CREATE, CACHE
//! objects.rs  OBJECT, OBJECTS, KMALLOC
//! content.rs  BYTES
//! private.rs  caches that are nobody's but the module's
//! ```
//!
//! Lock order: `naming`, `forcing`, a file's objects, the shadow's state. The
//! caller's memory is never touched under any of them.

mod caches;
mod content;
mod objects;
mod private;

use crate::bindings;
use crate::procfs;
use crate::records;
use crate::rwsem::RwSemaphore;
use crate::shadow::Mm;
use crate::shadow::Shadow;
use crate::uapi;
use crate::users::check_admin;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
pub(crate) use private::PrivateCache;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Holdings;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::MAX_CACHES;

/// A larger table goes when it is empty; a smaller one is kept for the next.
const KEPT_WORDS: usize = 4096;

/// Objects that go back in one call when a file is closed.
const BATCH: usize = 64;

/// Bytes of text that are said about a cache at most.
const MAX_TEXT: u32 = 64 << 10;

/// Bytes that one request reads or writes at most: those of a block of order 10.
const MAX_BYTES: u64 = 4 << 20;

/// The objects of an open file.
type Table = Holdings<KVVec<u64>>;

/// An open file's objects, also known to the shadow.
#[pin_data]
pub(crate) struct FileObjects {
    #[pin]
    table: Mutex<Table>,
}

/// A set of caches, as bits.
struct CacheSet([AtomicU64; MAX_CACHES / 64]);

impl CacheSet {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; MAX_CACHES / 64])
    }

    fn set(&self, id: CacheId, has: bool) {
        let bit = 1 << (id.index() % 64);
        if let Some(bits) = self.0.get(id.index() / 64) {
            if has {
                bits.fetch_or(bit, Relaxed);
            } else {
                bits.fetch_and(!bit, Relaxed);
            }
        }
    }

    fn has(&self, id: CacheId) -> bool {
        let bits = self.0.get(id.index() / 64);
        bits.is_some_and(|bits| (bits.load(Relaxed) >> (id.index() % 64)) & 1 != 0)
    }

    fn clear(&self) {
        for bits in &self.0 {
            bits.store(0, Relaxed);
        }
    }
}

/// What the glue keeps of the layer of caches.
#[pin_data]
pub(crate) struct SlabFiles {
    /// The objects of every open file.
    #[pin]
    files: Mutex<KVVec<Arc<FileObjects>>>,
    /// Who uses objects holds it for reading. Who misuses one holds it for
    /// writing, and sees whose it is.
    #[pin]
    forcing: RwSemaphore<()>,
    /// Held while caches, and their directories with them, come and go.
    #[pin]
    naming: Mutex<()>,
    /// Whether the caches that the layer has made for itself have their directories.
    named: AtomicBool,
    /// Objects that belong to open files.
    held: AtomicU64,
    /// How many caches are compared with the kernel's, or measured.
    privates: AtomicU32,
    /// Those of them that requests know by their numbers.
    private: CacheSet,
    /// The caches that CREATE has made.
    created: CacheSet,
}

impl SlabFiles {
    /// No file, no object, no cache.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            files <- new_mutex!(KVVec::new()),
            forcing <- RwSemaphore::new(()),
            naming <- new_mutex!(()),
            named: AtomicBool::new(false),
            held: AtomicU64::new(0),
            privates: AtomicU32::new(0),
            private: CacheSet::new(),
            created: CacheSet::new(),
        })
    }

    /// Objects that belong to open files.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Whether open files have objects, or caches are compared or measured. What was taken from
    /// these goes back before the cache does, and is not counted by itself.
    pub(crate) fn is_in_use(&self) -> bool {
        self.held() != 0 || self.privates.load(Relaxed) != 0
    }

    /// Makes the table of a file that is being opened.
    pub(crate) fn file_opened(&self) -> Result<Arc<FileObjects>> {
        let table = pin_init!(FileObjects {
            table <- new_mutex!(Holdings::new(KVVec::new())),
        });
        let objects = Arc::pin_init(table, GFP_KERNEL)?;
        self.files.lock().push(objects.clone(), GFP_KERNEL)?;
        Ok(objects)
    }

    /// All caches are gone, and their directories go; unless somebody has made some anew.
    pub(crate) fn forget_caches(&self, has_some: impl FnOnce() -> bool) {
        let _naming = self.naming.lock();
        if has_some() {
            return;
        }
        self.named.store(false, Relaxed);
        self.created.clear();
        procfs::forget_caches();
    }

    /// Whether any open file has the object.
    fn is_held(&self, object: ObjAddr) -> bool {
        let files = self.files.lock();
        files
            .iter()
            .any(|file| file.table.lock().get(object).is_some())
    }
}

/// Gives back what a file has that is closed.
pub(crate) fn file_closed(shadow: &Shadow, objects: &Arc<FileObjects>) {
    let caller = caller();
    let slab = &shadow.slab;
    let _calm = slab.forcing.read();
    let mut table = objects.table.lock();
    let len = table.len() as u64;
    if len > 0 {
        let freed = shadow.with_mm(|mm| {
            let objects = mm.objects()?;
            let mut batch = [ObjAddr::NULL; BATCH];
            table.take_all(&mut batch, |cache, batch| {
                for &object in batch {
                    // Damaged ones stay in their slab, as in Linux; debugging has said so.
                    let _ = match cache {
                        Some(id) => objects.free(id, object, caller),
                        None => objects.kfree(object, caller),
                    };
                }
            });
            slab.held.fetch_sub(len, Relaxed);
            Ok(())
        });
        if let Err(error) = freed {
            pr_err!("held objects could not be freed: {}\n", error.sentence());
        }
    }
    drop(table);
    let mut files = slab.files.lock();
    if let Some(at) = files.iter().position(|file| Arc::ptr_eq(file, objects)) {
        let _is_gone = files.remove(at);
    }
}

/// Room for more objects, before anything is done that would have to be undone
/// for want of it.
fn make_room(table: &mut Table, more: usize) -> CoreResult<()> {
    if let Some(words) = table.wants(more) {
        let words = KVVec::from_elem(0, words, GFP_KERNEL);
        drop(table.move_to(words.map_err(|_| Error::NoHostMemory)?));
    }
    Ok(())
}

/// After objects were taken out.
fn leave_room(table: &mut Table) {
    if table.is_empty() && table.capacity() > KEPT_WORDS {
        drop(table.move_to(KVVec::new()));
    }
}

/// A cache's number of a request; 0 is none.
fn cache_id(number: u32) -> CoreResult<CacheId> {
    let number = u16::try_from(number).ok();
    number.and_then(CacheId::new).ok_or(Error::NoSuchCache)
}

/// The place that it is called from, for owner tracking and events: in the
/// function that serves a request (`_RET_IP_`).
#[inline(always)]
fn caller() -> u64 {
    // SAFETY: It can be called from anywhere.
    unsafe { bindings::shadowmm_caller() as u64 }
}

/// How an object is asked for.
///
/// What was in an object before is its last owner's. Its new one can read it, so it is
/// cleared for whoever may not see what is anybody's.
fn object_request(head: &uapi::shadowmm_head, gfp: u32, nid: i32) -> CoreResult<ObjRequest> {
    let wanted = records::wanted(gfp, 0, nid)?;
    let mut flags = wanted.gfp();
    if head.flags & uapi::SHADOWMM_OBJECT_ZERO != 0 || check_admin().is_err() {
        flags = flags | gfp::__GFP_ZERO;
    }
    Ok(ObjRequest::new(flags).on(wanted.nid()))
}

/// Of the flags that a request's operations have, this one has these alone.
fn check_flags(head: &uapi::shadowmm_head, flags: u32) -> CoreResult<()> {
    if head.flags & !flags == 0 {
        Ok(())
    } else {
        Err(Error::BadFlags)
    }
}

/// Fields that an operation does not need.
fn check_unused(fields: &[u64]) -> CoreResult<()> {
    if fields.iter().all(|&field| field == 0) {
        Ok(())
    } else {
        Err(Error::BadReserved)
    }
}

/// The node that an object lies on.
fn node_of(mm: &Mm<'_>, object: ObjAddr) -> i32 {
    let page = mm.sparse.page(object.pfn());
    page.map_or(-1, |page| page.nid().0)
}
