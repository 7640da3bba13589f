// SPDX-License-Identifier: GPL-2.0

//! `mincore` and `msync`: what is there, and that it is as it should be.

use super::flags::VmFlags;
use super::system::AddressSpace;
use super::types::VirtAddr;
use super::types::TASK_SIZE;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::slab::ObjAddr;

const MS_ASYNC: u32 = 1;
const MS_INVALIDATE: u32 = 2;
const MS_SYNC: u32 = 4;

/// Of how many pages `mincore` of a range tells; whether there can be such a range is seen
/// of all of it, before anything is told of its start.
///
/// # Errors
///
/// [`Error::NotPageAligned`], [`Error::RangeOverflow`] for what no process can have
/// (`access_ok`): addresses outside of the window are holes, like any others.
pub fn mincore_pages(addr: VirtAddr, len: u64) -> Result<u64> {
    if !addr.is_page_aligned() {
        return Err(Error::NotPageAligned);
    }
    match addr.0.checked_add(len) {
        Some(end) if end <= TASK_SIZE => Ok(len.div_ceil(PAGE_SIZE)),
        _ => Err(Error::RangeOverflow),
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Tells of each page from `addr` on whether it is in memory, by 1 or 0, up to the
    /// first hole or as far as there are places, and of how many (`do_mincore`). The range
    /// was found to be one, by [`mincore_pages`].
    ///
    /// # Errors
    ///
    /// [`Error::NotMapped`] for a hole where the range begins.
    pub fn mincore(&self, addr: VirtAddr, vec: &mut [u8]) -> Result<u64> {
        let _mm = self.read();
        let mut at = addr;
        let mut told = 0u64;
        // The VMA, and whether the process is told that all of it is there.
        let mut holding: Option<(Vma<'m>, bool)> = None;
        for place in vec {
            holding = match holding.filter(|(vma, _)| vma.end() > at.0) {
                Some(held) => Some(held),
                None => self.vma_lookup(at.0).map(|vma| (vma, self.is_hidden(vma))),
            };
            match holding {
                Some((vma, hidden)) => *place = (hidden || self.is_resident(vma, at)).into(),
                None if told == 0 => return Err(Error::NotMapped),
                None => break,
            }
            told = told.wrapping_add(1);
            at = VirtAddr(at.0.wrapping_add(PAGE_SIZE));
        }
        Ok(told)
    }

    /// Whether which of its pages are in memory is not for the process to know
    /// (`can_do_mincore`).
    fn is_hidden(&self, vma: Vma<'m>) -> bool {
        match (vma.file(), vma.flags().has(VmFlags::MAYSHARE)) {
            (0, _) | (_, true) => false,
            (file, false) => !self.system.platform().may_know_file(file),
        }
    }

    /// Whether a page is there, in the tables or behind the VMA
    /// (`mincore_pte_range`, `__mincore_unmapped_range`).
    fn is_resident(&self, vma: Vma<'m>, at: VirtAddr) -> bool {
        if self.page_at(at).leaf.is_present() {
            return true;
        }
        let (spaces, index) = (&self.system, vma.pgoff_at(at.0));
        match (vma.file(), vma.flags().has(VmFlags::MAYSHARE)) {
            (0, _) => false,
            (object, true) => spaces.shared_page(ObjAddr::new(object), index).is_some(),
            (file, false) => spaces.platform().is_file_resident(file, index),
        }
    }

    /// Looks whether a range could be written back; nothing of the shadow's is written
    /// anywhere (`msync`).
    ///
    /// # Errors
    ///
    /// [`Error::BadMapFlags`], [`Error::NotPageAligned`], [`Error::RangeOverflow`],
    /// [`Error::NotMapped`], [`Error::LockedThere`].
    pub fn msync(&self, addr: VirtAddr, len: u64, flags: u32) -> Result<()> {
        if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0 {
            return Err(Error::BadMapFlags);
        }
        if !addr.is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        if flags & MS_ASYNC != 0 && flags & MS_SYNC != 0 {
            return Err(Error::BadMapFlags);
        }
        let len = super::munmap::page_align(len);
        let end = addr.0.checked_add(len).ok_or(Error::RangeOverflow)?;
        if end == addr.0 {
            return Ok(());
        }
        let _mm = self.read();
        let mut at = addr.0;
        let mut hole = false;
        while at < end {
            let vma = self.find_vma(at).ok_or(Error::NotMapped)?;
            if at < vma.start() {
                if flags == MS_ASYNC || vma.start() >= end {
                    return Err(Error::NotMapped);
                }
                hole = true;
            }
            if flags & MS_INVALIDATE != 0 && vma.flags().has(VmFlags::LOCKED) {
                return Err(Error::LockedThere);
            }
            at = vma.end();
        }
        match hole {
            true => Err(Error::NotMapped),
            false => Ok(()),
        }
    }
}
