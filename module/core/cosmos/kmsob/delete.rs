// SPDX-License-Identifier: GPL-2.0

//! An object comes back (`kmsob_delete`, `kmsob_delete_core`).
//!
//! ```text
//! lock   where does it lie, who has it?    nobody: ObjectFree, another: WrongCache
//!        to the head of its container's free list
//!        nobody has an object of the container any more?  its blocks are taken apart
//! free   they go back to the page allocator
//! ```

use super::locked::Locked;
use super::locked::Place;
use super::pages::Chain;
use super::Kmsob;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use crate::slab::ObjAddr;

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Takes an object back: of whoever has it, or of this one alone.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`], [`Error::NotAnObject`], [`Error::ObjectFree`],
    /// [`Error::WrongCache`], [`Error::SlabDamaged`].
    pub(super) fn delete(&self, object: ObjAddr, from: Option<Owner>) -> Result<()> {
        let chain = self.lock().delete_core(object, from)?;
        self.give_back(chain)?;
        Ok(())
    }
}

impl<P: Platform, A: PageAllocator> Locked<'_, P, A> {
    /// The part of it under the lock, and the blocks that are to go back
    /// (`kmsob_delete_core`).
    fn delete_core(&mut self, object: ObjAddr, from: Option<Owner>) -> Result<Chain> {
        // The records are nobody's but the pool's.
        let is_others = |owner| from.map_or(owner == Owner::RECORDS, |from| from != owner);
        match self.locate(object)? {
            Place::Object {
                container,
                block,
                index,
            } => {
                let owner = self.owner(&block, index)?.ok_or(Error::ObjectFree)?;
                if is_others(owner) {
                    return Err(Error::WrongCache);
                }
                self.push(&container, &block, index)?;
                self.count_owner(owner, false)?;
                self.destroy_if_empty(&container)
            }
            Place::Large { owner, .. } if is_others(owner) => Err(Error::WrongCache),
            Place::Large { pfn, order, owner } => {
                self.remove_large(pfn, order)?;
                self.count_owner(owner, false)?;
                let mut chain = Chain::EMPTY;
                chain.add(self.pool, pfn)?;
                Ok(chain)
            }
        }
    }
}
