// SPDX-License-Identifier: GPL-2.0

//! The objects of one container: out of its free list and back
//! (`kmsob_new_opkmsob`, `kmsob_del_opkmsob`).
//!
//! ```text
//! so_frelst -> object -> object -> ... -> 0      what came back last goes out first
//! ```
//!
//! The headers of free objects lie where their last owners wrote. An owner who goes
//! on writing breaks the list; that is seen when the object's turn comes. The
//! tags, which lie elsewhere, say what is free, and the list is made anew.

use super::cells;
use super::locked::Block;
use super::locked::Container;
use super::locked::Locked;
use super::locked::Place;
use super::manager;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::Ordering::Relaxed;

impl<'l, P: Platform, A: PageAllocator> Locked<'l, P, A> {
    /// Takes the first free object of a container, if it has one
    /// (`kmsob_new_opkmsob`).
    pub(super) fn pop(
        &mut self,
        container: &Container<'l>,
        owner: Owner,
    ) -> Result<Option<ObjAddr>> {
        if container.cells.fobjnr.load(Relaxed) == 0 {
            return Ok(None);
        }
        let (block, index) = match self.first_free(container) {
            Some(found) => found,
            None => {
                manager::add(&self.list(container.size)?.overwritten, 1);
                self.relink(container)?;
                self.first_free(container).ok_or(Error::SlabDamaged)?
            }
        };
        let next = self.free_header(&block, index)?.next.load(Relaxed);
        container.cells.frelst.store(next, Relaxed);
        self.tag(&block, index)?.store(owner.tag(), Relaxed);
        cells::add(&block.cells.used, 1);
        cells::sub(&container.cells.fobjnr, 1);
        self.count_taken(container, owner, 1)?;
        self.given_out(&block, index);
        Ok(Some(block.object(index)))
    }

    /// Gives the object `index` of a block back to its container
    /// (`kmsob_del_opkmsob`). The caller has seen that somebody has it.
    pub(super) fn push(
        &mut self,
        container: &Container<'l>,
        block: &Block<'l>,
        index: u32,
    ) -> Result<()> {
        let tag = self.tag(block, index)?;
        let owner = Owner::from_tag(tag.load(Relaxed)).ok_or(Error::ObjectFree)?;
        tag.store(0, Relaxed);
        self.link(container, block, index)?;
        cells::sub(&block.cells.used, 1);
        cells::add(&container.cells.fobjnr, 1);
        self.count_given(container, owner, 1)
    }

    /// Puts a free object at the head of the list.
    pub(super) fn link(
        &self,
        container: &Container<'l>,
        block: &Block<'l>,
        index: u32,
    ) -> Result<()> {
        let object = block.object(index).get();
        let next = container.cells.frelst.load(Relaxed);
        self.free_header(block, index)?.init(object, next);
        container.cells.frelst.store(object, Relaxed);
        self.given_back(block, index);
        Ok(())
    }

    /// The object that goes out next, if the list leads to one.
    fn first_free(&self, container: &Container<'l>) -> Option<(Block<'l>, u32)> {
        let object = ObjAddr::new(container.cells.frelst.load(Relaxed));
        let Ok(Place::Object {
            container: its,
            block,
            index,
        }) = self.locate(object)
        else {
            return None;
        };
        let header = self.free_header(&block, index).ok()?;
        let is_free = self.owner(&block, index) == Ok(None) && header.is_intact(object.get());
        (its.start == container.start && is_free).then_some((block, index))
    }

    /// Makes the list anew, from the tags.
    pub(super) fn relink(&mut self, container: &Container<'l>) -> Result<()> {
        container.cells.frelst.store(0, Relaxed);
        let mut free = 0u32;
        self.for_each_block(container, |block| {
            for index in 0..block.layout.objects {
                if self.owner(&block, index)?.is_none() {
                    self.link(container, &block, index)?;
                    free = free.wrapping_add(1);
                }
            }
            Ok(())
        })?;
        container.cells.fobjnr.store(free, Relaxed);
        Ok(())
    }

    /// Counts objects that `owner` has now, and had not.
    fn count_taken(&mut self, container: &Container<'l>, owner: Owner, count: u64) -> Result<()> {
        let list = self.list(container.size)?;
        manager::add(&list.used, count);
        manager::add(&list.allocs, count);
        if owner.of_size().is_some() {
            manager::add(&list.by_size, count);
        }
        Ok(())
    }

    /// Counts objects that `owner` had, and has no more.
    fn count_given(&mut self, container: &Container<'l>, owner: Owner, count: u64) -> Result<()> {
        let list = self.list(container.size)?;
        manager::sub(&list.used, count);
        manager::add(&list.frees, count);
        if owner.of_size().is_some() {
            manager::sub(&list.by_size, count);
        }
        Ok(())
    }
}
