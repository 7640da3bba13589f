// SPDX-License-Identifier: GPL-2.0

//! The pool with its lock held: which container and which block an object lies in.
//!
//! ```text
//! an address -> its page's descriptor -> the block's first page, and of what size
//!            -> kmbext_t at its start -> the container
//!            -> the tag: free, or which cache has it
//! ```
//!
//! Cosmos is told an object's size when it is freed, and compares the address
//! with every block of every container of that size
//! (`onkoblst_retn_delkmsob`, `scan_delkmsob_isok`). Here the descriptor leads there,
//! and an object without a size (`kfree`) can be freed.

use super::cells::FreobjhCells;
use super::cells::KmbextCells;
use super::cells::KmsobCells;
use super::cells::KMBEXT_STUS;
use super::cells::KMSOB_STUS;
use super::layout::Layout;
use super::layout::SizeIndex;
use super::manager::Kmsobmgrhed;
use super::manager::Koblst;
use super::Kmsob;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Cells;
use crate::phys::PageOrder;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::Relaxed;

/// The pool, while its lock is held: what may touch lists, counts and headers.
pub(super) struct Locked<'l, P: Platform, A> {
    pub(super) pool: &'l Kmsob<'l, P, A>,
    pub(super) head: <P::Lock<Kmsobmgrhed> as Lock<Kmsobmgrhed>>::Guard<'l>,
}

/// A container (`kmsob_t`), found and checked.
#[derive(Clone, Copy)]
pub(super) struct Container<'l> {
    /// Where its own block lies.
    pub(super) start: u64,
    pub(super) size: SizeIndex,
    pub(super) cells: &'l KmsobCells,
}

/// One of its blocks (`kmbext_t`).
#[derive(Clone, Copy)]
pub(super) struct Block<'l> {
    pub(super) start: u64,
    pub(super) layout: Layout,
    pub(super) cells: &'l KmbextCells,
}

impl Block<'_> {
    /// Where the object `index` lies.
    pub(super) fn object(&self, index: u32) -> ObjAddr {
        ObjAddr::new(self.start.wrapping_add(self.layout.object(index)))
    }

    /// Its first page.
    pub(super) fn pfn(&self) -> Pfn {
        PhysAddr(self.start).pfn_down()
    }
}

/// What an address is.
pub(super) enum Place<'l> {
    /// An object of a container, free or not.
    Object {
        container: Container<'l>,
        block: Block<'l>,
        index: u32,
    },
    /// A block that is one object.
    Large {
        pfn: Pfn,
        order: PageOrder,
        owner: Owner,
    },
}

impl<P: Platform, A> Kmsob<'_, P, A> {
    /// Takes the lock (`ks_lock`). No page is asked for and none goes back while
    /// it is held: whoever waits for memory may sleep.
    pub(super) fn lock(&self) -> Locked<'_, P, A> {
        Locked {
            pool: self,
            head: self.pool.lock.lock(),
        }
    }
}

impl<'l, P: Platform, A: PageAllocator> Locked<'l, P, A> {
    /// The list of a size.
    pub(super) fn list(&self, size: SizeIndex) -> Result<&'l Koblst> {
        self.pool.pool.list(size).ok_or(Error::SlabDamaged)
    }

    /// The cells at this address.
    pub(super) fn cells<T: Cells>(&self, address: u64) -> Result<&'l T> {
        let address = PhysAddr(address);
        let window = self.pool.memory.window(address);
        let cells = window.and_then(|window| window.cells(address));
        cells.ok_or(Error::SlabDamaged)
    }

    /// The container of this size whose own block is here.
    pub(super) fn container(&self, start: u64, size: SizeIndex) -> Result<Container<'l>> {
        self.check_block(start, size)?;
        let own: &KmbextCells = self.cells(start)?;
        let cells: &KmsobCells = self.cells(start.wrapping_add(KmbextCells::SIZE))?;
        let says = (
            own.stus.load(Relaxed),
            own.kmsb.load(Relaxed),
            cells.stus.load(Relaxed),
            u64::from(cells.objsz.load(Relaxed)),
        );
        match says == (KMBEXT_STUS, start, KMSOB_STUS, size.size().0) {
            true => Ok(Container { start, size, cells }),
            false => Err(Error::SlabDamaged),
        }
    }

    /// The block of this container that begins here.
    pub(super) fn block(&self, container: &Container<'l>, start: u64) -> Result<Block<'l>> {
        self.check_block(start, container.size)?;
        let layout = match start == container.start {
            true => container.size.own(),
            false => container.size.extension(),
        };
        let cells: &KmbextCells = self.cells(start)?;
        let says = (
            cells.stus.load(Relaxed),
            cells.kmsb.load(Relaxed),
            cells.mobnr.load(Relaxed),
        );
        match says == (KMBEXT_STUS, container.start, layout.objects) {
            true => Ok(Block {
                start,
                layout,
                cells,
            }),
            false => Err(Error::SlabDamaged),
        }
    }

    /// Whether a block of this size of objects begins here, by the descriptor.
    fn check_block(&self, start: u64, size: SizeIndex) -> Result<()> {
        let pfn = PhysAddr(start).pfn_down();
        let found = self.pool.block_at(pfn).ok_or(Error::SlabDamaged)?;
        let here = found.head == pfn && pfn.addr() == PhysAddr(start);
        match here && found.owner == Owner::size(size) && found.order == size.order() {
            true => Ok(()),
            false => Err(Error::SlabDamaged),
        }
    }

    /// Calls `each` with every block of a container, its own first. What `each`
    /// does to a block, and to the links of it, does not matter to the next.
    pub(super) fn for_each_block(
        &self,
        container: &Container<'l>,
        mut each: impl FnMut(Block<'l>) -> Result<()>,
    ) -> Result<()> {
        let extensions = container.cells.mextnr.load(Relaxed);
        let mut next = container.cells.mextlst.load(Relaxed);
        each(self.block(container, container.start)?)?;
        for _ in 0..extensions {
            let block = self.block(container, next)?;
            next = block.cells.list.load(Relaxed);
            each(block)?;
        }
        match next {
            0 => Ok(()),
            _ => Err(Error::SlabDamaged),
        }
    }

    /// Calls `each` with the containers of a size, from the head of the list, until
    /// it gives something.
    pub(super) fn find_container<R>(
        &self,
        size: SizeIndex,
        mut each: impl FnMut(Container<'l>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let list = self.list(size)?;
        let mut next = list.emplst.load(Relaxed);
        // A broken list may run in a circle; the count ends it.
        for _ in 0..list.emnr.load(Relaxed) {
            let container = self.container(next, size)?;
            next = container.cells.next.load(Relaxed);
            if let Some(found) = each(container)? {
                return Ok(Some(found));
            }
        }
        match next {
            0 => Ok(None),
            _ => Err(Error::SlabDamaged),
        }
    }

    /// What lies at an address (`onkoblst_retn_delkmsob`, `scan_fadrskmsob_isok`).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] where there is no RAM, [`Error::NotAnObject`] where no
    /// object begins, [`Error::SlabDamaged`] where a header says nonsense.
    pub(super) fn locate(&self, object: ObjAddr) -> Result<Place<'l>> {
        self.pool
            .pages
            .descriptor(object.pfn())
            .ok_or(Error::ForeignPfn)?;
        let found = self.pool.block_at(object.pfn());
        let found = found.ok_or(Error::NotAnObject)?;
        let start = found.head.addr().0;
        let Some(size) = found.owner.of_size() else {
            return match object.get() == start {
                true => Ok(Place::Large {
                    pfn: found.head,
                    order: found.order,
                    owner: found.owner,
                }),
                false => Err(Error::NotAnObject),
            };
        };
        let header: &KmbextCells = self.cells(start)?;
        let container = self.container(header.kmsb.load(Relaxed), size)?;
        let block = self.block(&container, start)?;
        let offset = object.get().wrapping_sub(start);
        let index = block.layout.index(offset).ok_or(Error::NotAnObject)?;
        Ok(Place::Object {
            container,
            block,
            index,
        })
    }

    /// Who has the object `index` of a block; `None` while it is free.
    pub(super) fn owner(&self, block: &Block<'l>, index: u32) -> Result<Option<Owner>> {
        Ok(Owner::from_tag(self.tag(block, index)?.load(Relaxed)))
    }

    /// Where that is noted.
    pub(super) fn tag(&self, block: &Block<'l>, index: u32) -> Result<&'l AtomicU16> {
        self.cells(block.start.wrapping_add(block.layout.tag(index)))
    }

    /// The header of the object `index` of a block, if it is free.
    pub(super) fn free_header(&self, block: &Block<'l>, index: u32) -> Result<&'l FreobjhCells> {
        self.cells(block.object(index).get())
    }
}
