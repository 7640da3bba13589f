// SPDX-License-Identifier: GPL-2.0

//! Containers come, grow and go (`_create_kmsob`, `kmsob_extn_pages`,
//! `_destroy_kmsob`).
//!
//! ```text
//!            a block                 a block                   all free
//!  nothing ----------> container ----------> container + ext ... ---------> nothing
//!                                 when full
//! ```
//!
//! A container grows without end, so there is one of each size, as a rule; two CPUs
//! that find none at the same moment may make two. It goes as a whole, with its
//! last object: one object that stays keeps all its extensions. Cosmos leaves it at
//! that; here `shrink` gives back the extensions that nobody uses.

use super::cells;
use super::cells::KmbextCells;
use super::cells::KmsobCells;
use super::cells::MsclstCells;
use super::cells::KMBEXT_STUS;
use super::cells::KMSOB_STUS;
use super::layout::SizeIndex;
use super::links;
use super::locked::Container;
use super::locked::Locked;
use super::manager;
use super::pages::Chain;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pfn;
use crate::platform::Platform;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

impl<'l, P: Platform, A: PageAllocator> Locked<'l, P, A> {
    /// The container that a new object of this size comes from: the one that was
    /// used last, or the first on the list, with a free object if there is such
    /// (`onkoblst_retn_newkmsob`).
    pub(super) fn container_for_new(&self, size: SizeIndex) -> Result<Option<Container<'l>>> {
        let has_free = |container: &Container<'l>| container.cells.fobjnr.load(Relaxed) != 0;
        let cached = match self.list(size)?.cahe.load(Relaxed) {
            0 => None,
            start => Some(self.container(start, size)?),
        };
        if cached.as_ref().is_some_and(has_free) {
            return Ok(cached);
        }
        let other = self.find_container(size, |each| Ok(has_free(&each).then_some(each)))?;
        if other.is_some() || cached.is_some() {
            return Ok(other.or(cached));
        }
        self.find_container(size, |each| Ok(Some(each)))
    }

    /// Notes the container that was used last (`kmsob_updata_cache`).
    pub(super) fn update_cache(&mut self, container: &Container<'l>) -> Result<()> {
        self.head.msobche = container.start;
        self.list(container.size)?
            .cahe
            .store(container.start, Relaxed);
        Ok(())
    }

    /// Makes an extension of the block, or a container if there is none of this
    /// size. The block is the pool's own, and nobody's else.
    pub(super) fn grow(&mut self, size: SizeIndex, pfn: Pfn) -> Result<()> {
        match self.container_for_new(size)? {
            Some(container) => self.extend(&container, pfn),
            None => self.create(size, pfn),
        }
    }

    /// Makes a container of the block (`_create_init_kmsob`, `kmsob_add_koblst`).
    fn create(&mut self, size: SizeIndex, pfn: Pfn) -> Result<()> {
        let list = self.list(size)?;
        let start = pfn.addr().0;
        let cells: &KmsobCells = self.cells(start.wrapping_add(KmbextCells::SIZE))?;
        let next = list.emplst.load(Relaxed);
        let behind = match next {
            0 => None,
            next => Some(self.container(next, size)?),
        };
        for link in [&cells.prev, &cells.frelst, &cells.mextlst] {
            link.store(0, Relaxed);
        }
        for count in [&cells.mextnr, &cells.mobjnr, &cells.fobjnr, &cells.msanr] {
            count.store(0, Relaxed);
        }
        for blocks in &cells.mc {
            blocks.list.store(0, Relaxed);
            blocks.msanr.store(0, Relaxed);
        }
        cells.next.store(next, Relaxed);
        cells.objsz.store(size.size().0 as u32, Relaxed);
        cells
            .kmobinpnr
            .store(size.order().pages().0 as u32, Relaxed);
        cells.stus.store(KMSOB_STUS, Relaxed);
        let container = Container { start, size, cells };
        self.fill(&container, start, size.own().objects)?;

        if let Some(behind) = behind {
            behind.cells.prev.store(start, Relaxed);
        }
        list.emplst.store(start, Relaxed);
        manager::add(&list.emnr, 1);
        manager::add(&list.created, 1);
        self.head.msobnr = self.head.msobnr.wrapping_add(1);
        self.update_cache(&container)
    }

    /// Makes the block an extension of the container (`kmsob_extn_pages`).
    fn extend(&mut self, container: &Container<'l>, pfn: Pfn) -> Result<()> {
        let list = self.list(container.size)?;
        let (blocks, start) = (self.mc(container)?, pfn.addr().0);
        let next = container.cells.mextlst.load(Relaxed);
        let objects = container.size.extension().objects;
        let block = self.fill(container, start, objects)?;
        block.list.store(next, Relaxed);
        let pages = &self.pool.pages;
        let head = links::push(pages, blocks.list.load(Relaxed), pfn)?;
        blocks.list.store(head, Relaxed);
        cells::add(&blocks.msanr, 1);
        cells::add(&container.cells.msanr, 1);
        container.cells.mextlst.store(start, Relaxed);
        cells::add(&container.cells.mextnr, 1);
        manager::add(&list.extensions, 1);
        manager::add(&list.extended, 1);
        Ok(())
    }

    /// The list of the extensions' blocks, which are all of one size.
    pub(super) fn mc(&self, container: &Container<'l>) -> Result<&'l MsclstCells> {
        let lists = &container.cells.mc;
        let blocks = lists.get(container.size.order().index());
        blocks.ok_or(Error::SlabDamaged)
    }

    /// Writes the header of a block and makes its objects the container's, all
    /// free. The last one goes out first.
    fn fill(
        &mut self,
        container: &Container<'l>,
        start: u64,
        objects: u32,
    ) -> Result<&'l KmbextCells> {
        let block: &KmbextCells = self.cells(start)?;
        block.kmsb.store(container.start, Relaxed);
        block.list.store(0, Relaxed);
        block.mobnr.store(objects, Relaxed);
        block.used.store(0, Relaxed);
        block.stus.store(KMBEXT_STUS, Relaxed);
        let pfn = crate::phys::PhysAddr(start).pfn_down();
        self.pool.mark(pfn, Owner::size(container.size))?;
        let whole = self.block(container, start)?;
        for index in 0..objects {
            self.tag(&whole, index)?.store(0, Relaxed);
            self.link(container, &whole, index)?;
        }
        cells::add(&container.cells.mobjnr, objects);
        cells::add(&container.cells.fobjnr, objects);
        manager::add(&self.list(container.size)?.objects, u64::from(objects));
        Ok(block)
    }

    /// Takes the container apart if nobody has an object of it: its blocks are to
    /// go back (`_destroy_kmsob`, `scan_freekmsob_isok`).
    pub(super) fn destroy_if_empty(&mut self, container: &Container<'l>) -> Result<Chain> {
        let cells = container.cells;
        let is_empty = cells.fobjnr.load(Relaxed) == cells.mobjnr.load(Relaxed);
        // One that can't be walked to its end stays as it is.
        if is_empty && self.for_each_block(container, |_| Ok(())).is_ok() {
            return self.destroy(container);
        }
        self.update_cache(container)?;
        Ok(Chain::EMPTY)
    }

    /// Takes a container apart (`_destroy_kmsob_core`).
    fn destroy(&mut self, container: &Container<'l>) -> Result<Chain> {
        let list = self.list(container.size)?;
        let (next, prev) = (&container.cells.next, &container.cells.prev);
        let (next, prev) = (next.load(Relaxed), prev.load(Relaxed));
        // Nothing is changed before all neighbours have been found.
        let before = match prev {
            0 => &list.emplst,
            prev => &self.container(prev, container.size)?.cells.next,
        };
        if next != 0 {
            let behind = self.container(next, container.size)?;
            behind.cells.prev.store(prev, Relaxed);
        }
        before.store(next, Relaxed);
        self.forget(container)?;

        let mut chain = Chain::EMPTY;
        let extensions = u64::from(container.cells.mextnr.load(Relaxed));
        let objects = u64::from(container.cells.mobjnr.load(Relaxed));
        self.for_each_block(container, |block| chain.add(self.pool, block.pfn()))?;
        manager::sub(&list.emnr, 1);
        manager::sub(&list.extensions, extensions);
        manager::sub(&list.objects, objects);
        manager::add(&list.destroyed, 1);
        self.head.msobnr = self.head.msobnr.wrapping_sub(1);
        Ok(chain)
    }

    /// It was not the container that was used last (`KUC_DSYFLG`).
    fn forget(&mut self, container: &Container<'l>) -> Result<()> {
        if self.head.msobche == container.start {
            self.head.msobche = 0;
        }
        let cahe: &AtomicU64 = &self.list(container.size)?.cahe;
        if cahe.load(Relaxed) == container.start {
            cahe.store(0, Relaxed);
        }
        Ok(())
    }
}
