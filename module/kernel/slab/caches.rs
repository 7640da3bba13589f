// SPDX-License-Identifier: GPL-2.0

//! Requests about caches: CREATE, CACHE; and their directories in `/proc`.

use super::cache_id;
use super::check_unused;
use super::MAX_TEXT;
use crate::abi;
use crate::device::OpenFile;
use crate::failure::Text;
use crate::procfs;
use crate::shadow::Shadow;
use crate::uapi;
use crate::users::check_admin;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::Pages;
use shadowmm_core::report::CacheFile;
use shadowmm_core::report::Unsaid;
use shadowmm_core::slab::debug::Location;
use shadowmm_core::slab::debug::TrackItem;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::CacheName;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::SlabFlags;

/// For how many places that allocate there is room at most.
const MAX_PLACES: usize = 4096;

/// What a constructor is to do.
fn constructor(kind: u32, arg: u32) -> CoreResult<Constructor> {
    match kind {
        uapi::SHADOWMM_CTOR_NONE => check_unused(&[arg.into()]).map(|()| Constructor::None),
        uapi::SHADOWMM_CTOR_FILL => {
            let byte = u8::try_from(arg).map_err(|_| Error::BadParameter)?;
            Ok(Constructor::Fill(byte))
        }
        uapi::SHADOWMM_CTOR_FAIL => Ok(Constructor::FailAfter(arg)),
        _ => Err(Error::BadKind),
    }
}

/// A text to be written to the caller, with a NUL. There is room from the
/// beginning: it is filled with locks held. What does not fit is cut.
struct Said {
    bytes: KVVec<u8>,
    room: usize,
}

impl Said {
    fn new(capacity: u32) -> CoreResult<Self> {
        let room = capacity.min(MAX_TEXT) as usize;
        let bytes = KVVec::with_capacity(room, GFP_KERNEL);
        let bytes = bytes.map_err(|_| Error::NoHostMemory)?;
        Ok(Self { bytes, room })
    }

    /// Writes it to `address`.
    fn write_to(mut self, address: u64) -> CoreResult<()> {
        if self.room == 0 {
            return Ok(());
        }
        self.push(0, self.room);
        abi::write_array(address, &self.bytes)
    }

    fn push(&mut self, byte: u8, room: usize) {
        if self.bytes.len() < room {
            // There is room.
            let _ = self.bytes.push_within_capacity(byte);
        }
    }
}

impl fmt::Write for Said {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.push(byte, self.room.saturating_sub(1));
        }
        Ok(())
    }
}

impl Shadow {
    /// Whether there can be caches.
    pub(crate) fn has_objects(&self) -> bool {
        self.with_mm(|mm| Ok(mm.objects_if_up().is_some())) == Ok(true)
    }

    /// Gives the caches their directories that the layer has made for itself, if it is up. Where there was no memory
    /// for all of them the next who asks does. The caller holds `naming`.
    fn name_caches(&self) {
        if self.slab.named.load(Relaxed) || self.with_mm(|mm| mm.make_caches()).is_err() {
            return;
        }
        let next = |last| self.with_mm(|mm| Ok(mm.objects_if_up().and_then(|up| up.next(last))));
        let mut last = None;
        while let Ok(Some(id)) = next(last) {
            self.name_cache(id);
            last = Some(id);
        }
        if last.is_some() {
            self.slab.named.store(true, Relaxed);
        }
    }

    /// Makes a cache's directory what the cache is. As above.
    pub(super) fn name_cache(&self, id: CacheId) {
        procfs::remove_cache(id);
        let name = self.with_mm(|mm| mm.objects()?.report(id).ok_or(Error::NoSuchCache));
        let Ok(name) = name.map(|cache| cache.name) else {
            return;
        };
        procfs::add_cache(id, &name);
        let alias = |nth| self.with_mm(|mm| Ok(mm.objects()?.alias(id, nth)));
        let mut nth = 0;
        while let Ok(Some(alias)) = alias(nth) {
            procfs::link_cache(id, &alias, &name);
            nth += 1;
        }
    }

    /// Checks a cache, and says what does not hold.
    fn validate_cache(&self, id: CacheId, said: &mut dyn fmt::Write) -> CoreResult<()> {
        self.with_mm(|mm| {
            let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
            objects.validate_cache(id, said)
        })
    }

    fn set_min_partial(&self, id: CacheId, slabs: u32) -> CoreResult<()> {
        self.with_mm(|mm| {
            let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
            objects.set_min_partial(id, slabs)
        })
    }

    /// After a cache, an object or a window was asked for, whatever came of it: the first one brings the layer up. The
    /// caller holds no lock.
    pub(crate) fn objects_used(&self) {
        if !self.slab.named.load(Relaxed) {
            let _naming = self.slab.naming.lock();
            self.name_caches();
        }
    }

    /// The same for a window. Whose mmap lock is held, he can't wait for directories, which a worker makes.
    pub(crate) fn window_used(&self) {
        if !self.slab.named.load(Relaxed) {
            procfs::name_caches_soon();
        }
    }
}

impl OpenFile {
    /// CREATE.
    pub(crate) fn create(&self, request: &mut uapi::shadowmm_create) -> CoreResult<()> {
        check_admin()?;
        let mut buffer = [0; uapi::SHADOWMM_CACHE_NAME as usize];
        let name = abi::text_of(&request.name, &mut buffer)?;
        let name = name.ok_or(Error::BadCacheName)?;
        let freeptr = request.head.flags & uapi::SHADOWMM_CREATE_FREEPTR != 0;
        if !freeptr {
            check_unused(&[request.freeptr_offset.into()])?;
        }
        let args = CacheArgs {
            align: request.align,
            flags: SlabFlags::from_bits(request.flags)?,
            ctor: constructor(request.ctor, request.ctor_arg)?,
            useroffset: request.useroffset,
            usersize: request.usersize,
            freeptr_offset: freeptr.then_some(request.freeptr_offset),
            sheaf_capacity: request.sheaf_capacity,
            ..CacheArgs::new(name, request.object_size)
        };
        let shadow = &self.shadow;
        let _naming = shadow.slab.naming.lock();
        let made = shadow.with_mm(|mm| {
            let objects = mm.objects()?;
            // Their names are taken.
            mm.make_caches()?;
            let id = objects.create(&args)?;
            Ok((id, objects.report(id).map_or(1, |cache| cache.refcount)))
        });
        shadow.name_caches();
        let (id, refcount) = made?;
        if refcount <= 1 {
            // Otherwise it was there before, whosever it is.
            shadow.slab.created.set(id, true);
        }
        shadow.name_cache(id);
        request.cache = id.get().into();
        request.aliases = u32::try_from(refcount.saturating_sub(1)).unwrap_or(0);
        Ok(())
    }

    /// Destroys what CREATE has just made, or takes the name off a cache that was there.
    pub(crate) fn undo_create(&self, request: &uapi::shadowmm_create) {
        // Where there is an object of it already, somebody has found it by its name.
        let _ = self.destroy(&uapi::shadowmm_cache {
            cache: request.cache,
            ..Default::default()
        });
    }

    /// CACHE.
    pub(crate) fn cache(&self, request: &mut uapi::shadowmm_cache) -> CoreResult<()> {
        let mut buffer = [0; uapi::SHADOWMM_CACHE_NAME as usize];
        let name = abi::text_of(&request.name, &mut buffer)?;
        let find = request.op == uapi::SHADOWMM_CACHE_FIND;
        if !find && name != Some("") {
            return Err(Error::BadReserved);
        }
        let says = matches!(
            request.op,
            uapi::SHADOWMM_CACHE_DESTROY | uapi::SHADOWMM_CACHE_VALIDATE
        );
        if !says {
            check_unused(&[request.capacity.into(), request.text])?;
        }
        if request.op != uapi::SHADOWMM_CACHE_MIN_PARTIAL {
            check_unused(&[request.value])?;
        }
        if !find {
            check_admin()?;
        }
        let shadow = &self.shadow;
        match request.op {
            uapi::SHADOWMM_CACHE_FIND => {
                check_unused(&[request.cache.into()])?;
                let name = name.ok_or(Error::BadCacheName)?;
                CacheName::new(name)?;
                let id = shadow.with_mm(|mm| match mm.objects_if_up() {
                    Some(objects) => objects.find(name).ok_or(Error::NoSuchCache),
                    None => Err(Error::NoSuchCache),
                })?;
                request.cache = id.get().into();
                Ok(())
            }
            uapi::SHADOWMM_CACHE_DESTROY => self.destroy(request),
            uapi::SHADOWMM_CACHE_SHRINK => {
                let pages = shadow.with_mm(|mm| match (request.cache, mm.objects_if_up()) {
                    (0, None) => Ok(Pages::ZERO),
                    (0, Some(objects)) => Ok(objects.shrink_all()),
                    (_, None) => Err(Error::NoSuchCache),
                    (number, Some(objects)) => objects.shrink(cache_id(number)?),
                })?;
                request.value = pages.0;
                Ok(())
            }
            uapi::SHADOWMM_CACHE_VALIDATE => {
                let id = cache_id(request.cache)?;
                let mut said = Said::new(request.capacity)?;
                shadow.validate_cache(id, &mut said)?;
                said.write_to(request.text)
            }
            uapi::SHADOWMM_CACHE_MIN_PARTIAL => {
                let id = cache_id(request.cache)?;
                let slabs = u32::try_from(request.value).map_err(|_| Error::BadParameter)?;
                shadow.set_min_partial(id, slabs)
            }
            _ => Err(Error::BadKind),
        }
    }

    fn destroy(&self, request: &uapi::shadowmm_cache) -> CoreResult<()> {
        let id = cache_id(request.cache)?;
        let shadow = &self.shadow;
        let mut said = Said::new(request.capacity)?;
        if request.capacity > 0 {
            // Where nothing can be said, nothing may have been done.
            abi::write_array(request.text, &[0u8])?;
        }
        let destroyed = {
            let _naming = shadow.slab.naming.lock();
            let destroyed = shadow.destroy_cache(id, &mut said);
            if destroyed.is_ok() {
                shadow.name_cache(id);
            }
            destroyed
        };
        destroyed.or_else(|error| said.write_to(request.text).and(Err(error)))
    }
}

impl Shadow {
    /// Destroys a cache that CREATE has made, or takes an alias off one.
    fn destroy_cache(&self, id: CacheId, said: &mut Said) -> CoreResult<()> {
        // Who gives objects back finds no cache while it is seen whether there are any, and
        // nobody would know of those that he could not give.
        let _alone = self.slab.forcing.write();
        self.with_mm(|mm| {
            let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
            let cache = objects.report(id).ok_or(Error::NoSuchCache)?;
            if cache.refcount > 1 {
                return objects.destroy(id, said);
            }
            if !self.slab.created.has(id) {
                // Address spaces need theirs, and so does who compares or measures.
                return Err(Error::CacheNeeded);
            }
            // Before it is gone: somebody may get its number, and be no request.
            self.slab.created.set(id, false);
            let destroyed = objects.destroy(id, said);
            if destroyed.is_err() {
                self.slab.created.set(id, true);
            }
            destroyed
        })
    }

    /// Writes a file of a cache.
    pub(crate) fn write_cache_text(
        &self,
        cache: u32,
        file: u32,
        out: &mut dyn fmt::Write,
    ) -> CoreResult<()> {
        let id = cache_id(cache)?;
        let Some(file) = CacheFile::ALL.get(file as usize) else {
            let behind = file.wrapping_sub(CacheFile::ALL.len() as u32);
            return self.write_debug_text(id, behind, out);
        };
        self.with_mm(|mm| {
            let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
            let cache = objects.report(id).ok_or(Error::NoSuchCache)?;
            let written = file.write(out, &cache, &*objects);
            written.map_err(|_| Error::Corrupt)
        })
    }

    /// Writes one of the files behind core's, which debugging has something to tell
    /// in: findings, alloc_traces, free_traces.
    fn write_debug_text(&self, id: CacheId, file: u32, out: &mut dyn fmt::Write) -> CoreResult<()> {
        let item = match file {
            0 => {
                return self.with_mm(|mm| {
                    let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
                    objects.write_findings(id, out)
                })
            }
            1 => TrackItem::Alloc,
            2 => TrackItem::Free,
            _ => return Err(Error::BadKind),
        };
        let mut places = 64;
        loop {
            let table = KVVec::from_elem(Location::NONE, places, GFP_KERNEL);
            let mut table = table.map_err(|_| Error::NoHostMemory)?;
            let mut text = Text::new();
            let left_out = self.with_mm(|mm| {
                let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
                objects.write_traces(id, item, &mut table, &mut text)
            })?;
            if left_out == 0 || places >= MAX_PLACES {
                return out.write_str(text.as_str()).map_err(|_| Error::Corrupt);
            }
            places *= 4;
        }
    }

    /// Does what a number says that was written to a file of a cache, as Linux
    /// does.
    pub(crate) fn cache_written(&self, cache: u32, file: u32, value: u64) -> CoreResult<()> {
        let id = cache_id(cache)?;
        match (CacheFile::ALL.get(file as usize), value) {
            (Some(CacheFile::MinPartial), slabs) => {
                let slabs = u32::try_from(slabs).map_err(|_| Error::BadParameter)?;
                self.set_min_partial(id, slabs)
            }
            (Some(CacheFile::Shrink), 1) => self.with_mm(|mm| {
                let objects = mm.objects_if_up().ok_or(Error::NoSuchCache)?;
                objects.shrink(id).map(|_| ())
            }),
            (Some(CacheFile::Validate), 1) => self.validate_cache(id, &mut Unsaid),
            _ => Err(Error::BadParameter),
        }
    }
}
