// SPDX-License-Identifier: GPL-2.0

//! Requests about objects: OBJECT, OBJECTS, KMALLOC.
//!
//! Each is checked whole, then gets the memory for its own bookkeeping, and only
//! then changes something.

use super::cache_id;
use super::caller;
use super::check_flags;
use super::check_unused;
use super::leave_room;
use super::make_room;
use super::node_of;
use super::object_request;
use super::Table;
use crate::abi;
use crate::device::OpenFile;
use crate::shadow::Mm;
use crate::uapi;
use crate::users;
use crate::users::check_admin;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use kernel::types::ScopeGuard;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PAGE_SIZE;
use shadowmm_core::quota::Kind;
use shadowmm_core::slab::size_roundup;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Holding;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabFlags;

/// Objects that a user may have so many of as there are pages for.
const MAX_SMALL: Bytes = Bytes(2 * PAGE_SIZE);

/// Refuses larger ones to who is held to limits.
fn check_size(size: Bytes) -> CoreResult<()> {
    match size > MAX_SMALL {
        true => users::check_exempt(),
        false => Ok(()),
    }
}

impl OpenFile {
    /// Gives back what was just taken. Without their addresses the objects are of no use to
    /// anybody; what is NULL is none.
    pub(crate) fn undo_objects(&self, taken: &[ObjAddr]) {
        for &object in taken {
            let _ = self.give_object(object, |objects| objects.kfree(object, caller()));
        }
    }

    /// OBJECT. What it has taken is told, or NULL, for [`OpenFile::undo_objects`].
    pub(crate) fn object(&self, request: &mut uapi::shadowmm_object) -> CoreResult<ObjAddr> {
        let caller = caller();
        match request.op {
            uapi::SHADOWMM_OBJECT_ALLOC => {
                check_flags(&request.head, uapi::SHADOWMM_OBJECT_ZERO)?;
                check_unused(&[request.object])?;
                let wanted = object_request(&request.head, request.gfp, request.nid)?;
                let wanted = wanted.by(caller).of_size(request.asked);
                let id = cache_id(request.cache)?;
                let (object, nid) =
                    self.take_object(Some(id), |objects| objects.alloc(id, &wanted))?;
                request.object = object.get();
                request.object_nid = nid;
                Ok(object)
            }
            uapi::SHADOWMM_OBJECT_FREE => {
                check_flags(&request.head, uapi::SHADOWMM_OBJECT_FORCE)?;
                check_unused(&[request.gfp.into(), request.nid as u64, request.asked.into()])?;
                let id = cache_id(request.cache)?;
                let object = ObjAddr::new(request.object);
                if request.head.flags & uapi::SHADOWMM_OBJECT_FORCE != 0 {
                    self.force_free(id, object, caller)?;
                } else {
                    self.give_object(object, |objects| objects.free(id, object, caller))?;
                }
                Ok(ObjAddr::NULL)
            }
            _ => Err(Error::BadKind),
        }
    }

    /// Refuses to take objects of a cache of which nobody may: it could not go. And those that are
    /// larger than what everybody may have. The caller holds `forcing`.
    fn check_takes(&self, id: CacheId) -> CoreResult<()> {
        if self.shadow.slab.private.has(id) {
            return Err(Error::CacheNeeded);
        }
        let size = self.shadow.with_mm(|mm| {
            let size = mm.objects()?.object_size(id);
            size.ok_or(Error::NoSuchCache)
        })?;
        check_size(size)
    }

    /// Takes an object for the file: what it is, and where. NULL is nobody's.
    fn take_object(
        &self,
        cache: Option<CacheId>,
        take: impl FnOnce(&dyn ObjectAllocator) -> CoreResult<ObjAddr>,
    ) -> CoreResult<(ObjAddr, i32)> {
        let slab = &self.shadow.slab;
        let _used = ScopeGuard::new(|| self.shadow.objects_used());
        let _calm = slab.forcing.read();
        cache.map_or(Ok(()), |id| self.check_takes(id))?;
        let mut table = self.objects.table.lock();
        let charge = self.account.charge(Kind::Objects, 1)?;
        make_room(&mut table, 1)?;
        self.shadow.with_mm(|mm| {
            let object = take(&*mm.objects()?)?;
            if object.is_null() {
                return Ok((object, -1));
            }
            slab.held.fetch_add(1, Relaxed);
            table.insert(Holding { object, cache });
            charge.keep(1);
            Ok((object, node_of(mm, object)))
        })
    }

    /// Gives one of the file's objects back.
    fn give_object(
        &self,
        object: ObjAddr,
        give: impl FnOnce(&dyn ObjectAllocator) -> CoreResult<()>,
    ) -> CoreResult<()> {
        let slab = &self.shadow.slab;
        let _calm = slab.forcing.read();
        let mut table = self.objects.table.lock();
        table.get(object).ok_or(Error::ObjectNotHeld)?;
        self.shadow.with_mm(|mm| {
            give(&*mm.objects()?)?;
            slab.held.fetch_sub(1, Relaxed);
            Ok(())
        })?;
        table.remove(object);
        self.account.release(Kind::Objects, 1);
        leave_room(&mut table);
        Ok(())
    }

    /// Does with an object what its owner alone may, or nobody: it is to be found
    /// out by the debugging of its cache.
    pub(super) fn force(
        &self,
        id: CacheId,
        object: ObjAddr,
        misuse: impl FnOnce(&Mm<'_>, &mut Table) -> CoreResult<()>,
    ) -> CoreResult<()> {
        check_admin()?;
        let slab = &self.shadow.slab;
        let _alone = slab.forcing.write();
        let ours = self.objects.table.lock().get(object).is_some();
        if !ours && slab.is_held(object) {
            return Err(Error::ObjectNotHeld);
        }
        let mut table = self.objects.table.lock();
        self.shadow.with_mm(|mm| {
            let cache = mm.objects_if_up().and_then(|objects| objects.report(id));
            let cache = cache.ok_or(Error::NoSuchCache)?;
            if !cache.geometry.flags.has(SlabFlags::DEBUG) || !slab.created.has(id) {
                return Err(Error::NeedsDebugging);
            }
            misuse(mm, &mut table)
        })
    }

    fn force_free(&self, id: CacheId, object: ObjAddr, caller: u64) -> CoreResult<()> {
        self.force(id, object, |mm, table| {
            mm.objects()?.free(id, object, caller)?;
            if table.remove(object).is_some() {
                self.shadow.slab.held.fetch_sub(1, Relaxed);
                self.account.release(Kind::Objects, 1);
            }
            Ok(())
        })
    }

    /// OBJECTS. What it has taken is told for [`OpenFile::undo_objects`].
    pub(crate) fn objects(
        &self,
        request: &mut uapi::shadowmm_objects,
    ) -> CoreResult<KVVec<ObjAddr>> {
        let caller = caller();
        if !(1..=uapi::SHADOWMM_MAX_OBJECTS).contains(&request.count) {
            return Err(Error::BadObjectCount);
        }
        let count = request.count as usize;
        match request.op {
            uapi::SHADOWMM_OBJECT_ALLOC => {
                let wanted = object_request(&request.head, request.gfp, request.nid)?.by(caller);
                let id = cache_id(request.cache)?;
                let taken = self.take_objects(id, &wanted, count, request.objects)?;
                request.done = request.count;
                request.stopped = 0;
                Ok(taken)
            }
            uapi::SHADOWMM_OBJECT_FREE => {
                check_flags(&request.head, 0)?;
                check_unused(&[request.gfp.into(), request.nid as u64])?;
                let id = match request.cache {
                    0 => None,
                    number => Some(cache_id(number)?),
                };
                let mut objects =
                    KVVec::with_capacity(count, GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
                abi::read_array(request.objects, request.count, |object: u64| {
                    let pushed = objects.push(ObjAddr::new(object), GFP_KERNEL);
                    pushed.map_err(|_| Error::NoHostMemory)
                })?;
                let (done, stopped) = self.give_objects(id, &objects, caller)?;
                if let (0, Some(error)) = (done, stopped) {
                    return Err(error);
                }
                request.done = done as u32;
                request.stopped = stopped.map_or(0, Error::code);
                Ok(KVVec::new())
            }
            _ => Err(Error::BadKind),
        }
    }

    fn take_objects(
        &self,
        id: CacheId,
        wanted: &ObjRequest,
        count: usize,
        address: u64,
    ) -> CoreResult<KVVec<ObjAddr>> {
        let objects = KVVec::from_elem(ObjAddr::NULL, count, GFP_KERNEL);
        let mut objects = objects.map_err(|_| Error::NoHostMemory)?;
        // Where the answer can't be written, nothing may have been done.
        abi::write_numbers(address, count, objects.iter().map(|object| object.get()))?;
        {
            let slab = &self.shadow.slab;
            let _used = ScopeGuard::new(|| self.shadow.objects_used());
            let _calm = slab.forcing.read();
            self.check_takes(id)?;
            let mut table = self.objects.table.lock();
            let charge = self.account.charge(Kind::Objects, count as u64)?;
            make_room(&mut table, count)?;
            self.shadow.with_mm(|mm| {
                mm.objects()?.alloc_bulk(id, wanted, &mut objects)?;
                slab.held.fetch_add(count as u64, Relaxed);
                charge.keep(count as u64);
                Ok(())
            })?;
            for &object in &objects {
                table.insert(Holding {
                    object,
                    cache: Some(id),
                });
            }
        }
        let numbers = objects.iter().map(|object| object.get());
        // The memory was there a moment ago.
        abi::write_numbers(address, count, numbers).inspect_err(|_| self.undo_objects(&objects))?;
        Ok(objects)
    }

    /// Gives objects back, up to the first that can't be: how many, and why no
    /// more.
    fn give_objects(
        &self,
        id: Option<CacheId>,
        objects: &[ObjAddr],
        caller: u64,
    ) -> CoreResult<(usize, Option<Error>)> {
        let slab = &self.shadow.slab;
        let _calm = slab.forcing.read();
        let mut table = self.objects.table.lock();
        self.shadow
            .with_mm(|mm| {
                let allocator = mm.objects()?;
                let mut done = 0;
                let mut stopped = None;
                for &object in objects {
                    match table.get(object) {
                        None => stopped = Some(Error::ObjectNotHeld),
                        Some(holding) if id.is_some() && holding.cache != id => {
                            stopped = Some(Error::WrongCache);
                        }
                        Some(_) => {
                            table.remove(object);
                            done += 1;
                            continue;
                        }
                    }
                    break;
                }
                slab.held.fetch_sub(done as u64, Relaxed);
                self.account.release(Kind::Objects, done as u64);
                let given = objects.get(..done).unwrap_or(objects);
                let freed = match given {
                    [] => 0,
                    given => allocator.free_bulk(id, given, caller)?,
                };
                if freed < done {
                    // They stay in their slab, as in Linux; debugging has said why.
                    return Ok((freed, Some(Error::SlabDamaged)));
                }
                Ok((done, stopped))
            })
            .inspect(|_| leave_room(&mut table))
    }
}

impl OpenFile {
    /// KMALLOC. A new object is told for [`OpenFile::undo_objects`]; one that has moved is in
    /// its new place, whether its owner learns of that or not.
    pub(crate) fn kmalloc(&self, request: &mut uapi::shadowmm_kmalloc) -> CoreResult<ObjAddr> {
        let caller = caller();
        let (gfp, nid) = (request.gfp, request.nid);
        let size = Bytes(request.size);
        let object = ObjAddr::new(request.object);
        let takes = matches!(
            request.op,
            uapi::SHADOWMM_KMALLOC_ALLOC | uapi::SHADOWMM_KMALLOC_REALLOC
        );
        if !takes {
            check_flags(&request.head, 0)?;
            check_unused(&[gfp.into(), nid as u64])?;
        }
        if takes {
            check_size(size)?;
        }
        match request.op {
            uapi::SHADOWMM_KMALLOC_ALLOC => {
                check_unused(&[object.get()])?;
                let wanted = object_request(&request.head, gfp, nid)?.by(caller);
                let taken = self.take_object(None, |objects| objects.kmalloc(size, &wanted))?;
                self.sized(request, taken)?;
                Ok(taken.0)
            }
            uapi::SHADOWMM_KMALLOC_REALLOC => {
                let wanted = object_request(&request.head, gfp, nid)?.by(caller);
                if object.is_null() {
                    let taken =
                        self.take_object(None, |objects| objects.krealloc(None, size, &wanted))?;
                    self.sized(request, taken)?;
                    return Ok(taken.0);
                }
                let resized = self.resize_object(object, size, &wanted)?;
                self.sized(request, resized)?;
                Ok(ObjAddr::NULL)
            }
            uapi::SHADOWMM_KMALLOC_FREE => {
                check_unused(&[size.0])?;
                self.give_object(object, |objects| objects.kfree(object, caller))?;
                Ok(ObjAddr::NULL)
            }
            uapi::SHADOWMM_KMALLOC_SIZE => {
                check_unused(&[size.0])?;
                let usable = self.with_held(object, |objects| objects.ksize(object))?;
                request.usable = usable.0;
                Ok(ObjAddr::NULL)
            }
            uapi::SHADOWMM_KMALLOC_ROUNDUP => {
                check_unused(&[object.get()])?;
                request.usable = size_roundup(size).0;
                Ok(ObjAddr::NULL)
            }
            _ => Err(Error::BadKind),
        }
    }

    /// Answers with an object that has a size. Its owner is not held to less for that: he
    /// has not asked.
    fn sized(
        &self,
        request: &mut uapi::shadowmm_kmalloc,
        (object, nid): (ObjAddr, i32),
    ) -> CoreResult<()> {
        request.object = object.get();
        request.object_nid = nid;
        request.usable = match object.is_null() {
            true => 0,
            false => self.with_held(object, |objects| objects.usable(object))?.0,
        };
        Ok(())
    }

    /// Looks at one of the file's objects.
    fn with_held(
        &self,
        object: ObjAddr,
        look: impl FnOnce(&dyn ObjectAllocator) -> CoreResult<Bytes>,
    ) -> CoreResult<Bytes> {
        let table = self.objects.table.lock();
        table.get(object).ok_or(Error::ObjectNotHeld)?;
        self.shadow.with_mm(|mm| look(&*mm.objects()?))
    }

    /// Gives one of the file's objects another size: it may be another one then.
    fn resize_object(
        &self,
        object: ObjAddr,
        size: Bytes,
        wanted: &ObjRequest,
    ) -> CoreResult<(ObjAddr, i32)> {
        let slab = &self.shadow.slab;
        let _calm = slab.forcing.read();
        let mut table = self.objects.table.lock();
        table.get(object).ok_or(Error::ObjectNotHeld)?;
        let (resized, nid) = self.shadow.with_mm(|mm| {
            let resized = mm.objects()?.krealloc(Some(object), size, wanted)?;
            if resized.is_null() {
                slab.held.fetch_sub(1, Relaxed);
                self.account.release(Kind::Objects, 1);
                return Ok((resized, -1));
            }
            Ok((resized, node_of(mm, resized)))
        })?;
        if resized != object {
            table.remove(object);
            if !resized.is_null() {
                // The one that went has left its place.
                table.insert(Holding {
                    object: resized,
                    cache: None,
                });
            }
        }
        leave_room(&mut table);
        Ok((resized, nid))
    }
}
