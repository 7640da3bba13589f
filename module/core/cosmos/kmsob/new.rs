// SPDX-License-Identifier: GPL-2.0

//! An object is given out (`kmsob_new`, `kmsob_new_core`).
//!
//! ```text
//! lock   a container of the size has a free object?          --yes--> that
//! free   a block from the page allocator, which may sleep
//! lock   somebody has given an object back meanwhile?        --yes--> that, the block back
//!        the block becomes a container, or an extension      -------> its last object
//! ```
//!
//! Cosmos asks for pages with its lock held.

use super::caches::Room;
use super::layout::SizeIndex;
use super::locked::Locked;
use super::Kmsob;
use super::Owner;
use crate::buddy::gfp;
use crate::buddy::Gfp;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::page::ZoneType;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::PhysRange;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;

/// What a request must not ask for: containers are everybody's, so their pages
/// are of no zone and of no node in particular.
fn check_request(request: &ObjRequest) -> Result<()> {
    let zone = request.gfp.zone()?;
    let particular = !request.nid.is_none() || request.gfp.has(gfp::__GFP_THISNODE);
    match zone == ZoneType::Normal && !particular {
        true => Ok(()),
        false => Err(Error::NotSupported),
    }
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Takes an object for somebody, of the size that he is known for
    /// (`kmsob_new`).
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`], [`Error::NoSuchCache`], [`Error::SlabDamaged`], and
    /// those of [`PageAllocator::alloc`].
    pub(super) fn new_object(&self, owner: Owner, request: &ObjRequest) -> Result<ObjAddr> {
        check_request(request)?;
        let room = self.lock().room(owner)?;
        let made = match room {
            Room::Object(size) => self
                .new_core(size, owner, request.gfp)
                .and_then(|object| self.zeroed(object, owner, size.size(), request.gfp)),
            Room::Pages(order) => self.new_pages(order, owner, request),
        };
        if made.is_err() {
            self.lock().count_failed(owner);
        }
        made
    }

    /// Takes pages for somebody who wants more than the largest size.
    ///
    /// # Errors
    ///
    /// Those of [`Kmsob::new_object`].
    pub(super) fn new_pages(
        &self,
        order: PageOrder,
        owner: Owner,
        request: &ObjRequest,
    ) -> Result<ObjAddr> {
        check_request(request)?;
        let pfn = self.take_block(order, request.gfp)?;
        let made = self.lock().add_large(pfn, order, owner);
        if let Err(error) = made {
            self.give_block(pfn, order)?;
            return Err(error);
        }
        let object = ObjAddr::new(pfn.addr().0);
        self.zeroed(object, owner, order.pages().bytes(), request.gfp)
    }

    /// Takes an object of a size (`kmsob_new_core`).
    fn new_core(&self, size: SizeIndex, owner: Owner, gfp: Gfp) -> Result<ObjAddr> {
        let ready = self.lock().take(size, owner)?;
        if let Some(object) = ready {
            return Ok(object);
        }
        let pfn = self.take_block(size.order(), gfp)?;
        let mut locked = self.lock();
        match locked.take(size, owner) {
            Ok(None) => match locked.grow(size, pfn) {
                Ok(()) => locked.take(size, owner)?.ok_or(Error::SlabDamaged),
                Err(error) => {
                    // It is still the caller's, unless it was a container's already.
                    let is_ours = self.block_at(pfn).is_none();
                    drop(locked);
                    if is_ours {
                        self.give_block(pfn, size.order())?;
                    }
                    Err(error)
                }
            },
            done => {
                drop(locked);
                self.give_block(pfn, size.order())?;
                done?.ok_or(Error::SlabDamaged)
            }
        }
    }

    /// The object, filled with zeroes if that is asked for. It goes back if that
    /// can't be done.
    fn zeroed(&self, object: ObjAddr, owner: Owner, size: Bytes, gfp: Gfp) -> Result<ObjAddr> {
        if gfp.has(gfp::__GFP_ZERO) {
            let range = PhysRange::new(object.addr(), size);
            if let Err(error) = self.memory.zero(range) {
                self.delete(object, Some(owner))?;
                return Err(error);
            }
        }
        Ok(object)
    }
}

impl<P: Platform, A: PageAllocator> Locked<'_, P, A> {
    /// Takes a free object of this size, if there is one (`kmsob_new_onkmsob`).
    fn take(&mut self, size: SizeIndex, owner: Owner) -> Result<Option<ObjAddr>> {
        // The cache may have gone while a block was asked for.
        if self.room(owner)? != Room::Object(size) {
            return Err(Error::NoSuchCache);
        }
        let Some(container) = self.container_for_new(size)? else {
            return Ok(None);
        };
        let object = self.pop(&container, owner)?;
        if object.is_some() {
            self.count_owner(owner, true)?;
            self.update_cache(&container)?;
        }
        Ok(object)
    }
}
