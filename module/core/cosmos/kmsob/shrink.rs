// SPDX-License-Identifier: GPL-2.0

//! Extensions that nobody uses go back, which Cosmos leaves with their container
//! until that goes as a whole.
//!
//! ```text
//! container -> ext (some used) -> ext (none used) -> ext (some used)
//!                                  |
//!                                  +--> the page allocator
//! ```
//!
//! The free list has all containers' free objects in any order, so it is made anew
//! without those that go.

use super::cells;
use super::layout::SizeIndex;
use super::links;
use super::locked::Block;
use super::locked::Container;
use super::locked::Locked;
use super::manager;
use super::pages::Chain;
use super::Kmsob;
use crate::buddy::PageAllocator;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Gives back the extensions of this size that nobody uses, and says how many
    /// pages those were.
    pub(super) fn shrink_size(&self, size: SizeIndex) -> Result<Pages> {
        let mut pages = Pages::ZERO;
        loop {
            let chain = self.lock().shrink_first(size)?;
            if chain.blocks() == 0 {
                return Ok(pages);
            }
            pages += self.give_back(chain)?;
        }
    }
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Pages on a node of extensions that nobody uses: what memory that is short
    /// can have back.
    pub fn unused(&self, nid: NodeId) -> Pages {
        self.pages_of_all(nid, |container, block| {
            block.start != container.start && block.cells.used.load(Relaxed) == 0
        })
    }

    /// Pages on a node of those blocks of containers of any size that `counts` names.
    pub(super) fn pages_of_all(
        &self,
        nid: NodeId,
        counts: impl Fn(&Container<'_>, &Block<'_>) -> bool,
    ) -> Pages {
        let sizes = SizeIndex::all().map(|size| {
            self.pages_of_blocks(size, |locked, container, block| {
                locked.is_on(block.pfn(), Some(nid)) && counts(container, block)
            })
        });
        sizes.sum()
    }
}

impl<'l, P: Platform, A: PageAllocator> Locked<'l, P, A> {
    /// Shrinks the first container that can be.
    fn shrink_first(&mut self, size: SizeIndex) -> Result<Chain> {
        let found = self.find_container(size, |container| {
            let mut empty = false;
            self.for_each_block(&container, |block| {
                let unused = block.cells.used.load(Relaxed) == 0;
                empty |= unused && block.start != container.start;
                Ok(())
            })?;
            Ok(empty.then_some(container))
        })?;
        match found {
            Some(container) => self.shrink(&container),
            None => Ok(Chain::EMPTY),
        }
    }

    /// Takes the extensions from a container of which nobody has an object: their
    /// blocks are to go back. Cosmos has no such call.
    fn shrink(&mut self, container: &Container<'l>) -> Result<Chain> {
        let list = self.list(container.size)?;
        let (mc, mut chain) = (self.mc(container)?, Chain::EMPTY);
        let is_own = |block: &Block<'l>| block.start == container.start;
        let (mut kept, mut last) = (0u64, None::<Block<'l>>);
        let mut gone = 0u32;
        self.for_each_block(container, |block| {
            if !is_own(&block) && block.cells.used.load(Relaxed) == 0 {
                let head = mc.list.load(Relaxed);
                let head = links::remove(&self.pool.pages, head, block.pfn())?;
                mc.list.store(head, Relaxed);
                gone = gone.wrapping_add(block.layout.objects);
                return chain.add(self.pool, block.pfn());
            }
            // It follows the one before it that is kept.
            match &last {
                Some(last) if !is_own(last) => last.cells.list.store(block.start, Relaxed),
                Some(_) => container.cells.mextlst.store(block.start, Relaxed),
                None => {}
            }
            kept = kept.wrapping_add(1);
            last = Some(block);
            Ok(())
        })?;
        match &last {
            Some(last) if !is_own(last) => last.cells.list.store(0, Relaxed),
            _ => container.cells.mextlst.store(0, Relaxed),
        }
        let blocks = chain.blocks() as u32;
        cells::sub(&mc.msanr, blocks);
        cells::sub(&container.cells.msanr, blocks);
        cells::sub(&container.cells.mextnr, blocks);
        cells::sub(&container.cells.mobjnr, gone);
        manager::sub(&list.extensions, u64::from(blocks));
        manager::sub(&list.objects, u64::from(gone));
        if blocks != 0 {
            self.relink(container)?;
        }
        Ok(chain)
    }
}
