// SPDX-License-Identifier: GPL-2.0

//! One VMA becomes two.

use super::host::HostTable;
use super::page_table::Level;
use super::page_table::HUGE_SIZE;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Splits a VMA at `addr`, which is inside; `vma` keeps the upper part when
    /// `new_below`, else the lower one (`split_vma`).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMaps`], [`Error::NoMemory`]; nothing has changed then.
    pub(super) fn split(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        addr: u64,
        new_below: bool,
    ) -> Result<Vma<'m>> {
        if self.space.map_count() >= self.space.system.max_map_count() {
            return Err(Error::TooManyMaps);
        }
        self.split_unchecked(host, vma, addr, new_below)
    }

    /// The same where the count has been looked at, or may go above its limit for a
    /// moment (`__split_vma`).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; nothing has changed then.
    pub(super) fn split_unchecked(
        &self,
        host: &dyn HostTable,
        vma: Vma<'m>,
        addr: u64,
        new_below: bool,
    ) -> Result<Vma<'m>> {
        let space = &self.space;
        let mut reserve = space.tree().reserve(1)?;
        let new = space.system.dup_vma(vma)?;
        space.system.get_backing(new);
        let lower = addr.wrapping_sub(vma.start()) >> PAGE_SHIFT;
        space.start_write(vma);
        space.split_huge_at(host, VirtAddr(addr));
        if new_below {
            new.set_range(vma.start(), addr);
            vma.set_range(addr, vma.end());
            vma.add_pgoff(lower);
        } else {
            new.set_range(addr, vma.end());
            new.add_pgoff(lower);
            vma.set_range(vma.start(), addr);
        }
        self.link_vma(new, &mut reserve);
        Ok(new)
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// No 2 MiB are mapped across this address, which is going to be a VMA's border
    /// (`vma_adjust_trans_huge`).
    pub(super) fn split_huge_at(&self, host: &dyn HostTable, addr: VirtAddr) {
        if addr.0 % HUGE_SIZE == 0 {
            return;
        }
        if let Some(pmd) = self.tables().table_at(addr, Level::Pmd) {
            if pmd.get(Level::Pmd.index(addr)).is_huge() {
                self.split_huge(host, pmd, addr);
            }
        }
    }
}
