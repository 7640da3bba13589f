// SPDX-License-Identifier: GPL-2.0

//! `mprotect`: one VMA after the other, and what was done before an error stays.

use super::flags::VmFlags;
use super::host::HostTable;
use super::mmap::prot_flags;
use super::munmap::page_align;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;

/// `PROT_READ`, `PROT_WRITE`, `PROT_EXEC` and `PROT_SEM`, which does nothing.
const PROT_KNOWN: u32 = 0xf;
const PROT_GROWSDOWN: u32 = 0x0100_0000;
const PROT_GROWSUP: u32 = 0x0200_0000;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Allows a range this and nothing else (`do_mprotect_pkey`). Where a part of it
    /// is not mapped, what is before that has been changed.
    ///
    /// # Errors
    ///
    /// [`Error::BadProtection`], [`Error::NotPageAligned`], [`Error::RangeOverflow`],
    /// [`Error::NotMapped`], [`Error::AccessDenied`], [`Error::TooManyMaps`],
    /// [`Error::AddressSpaceLimit`], [`Error::Overcommit`], [`Error::NoMemory`].
    pub fn mprotect(
        &self,
        host: &dyn HostTable,
        addr: VirtAddr,
        len: u64,
        prot: u32,
    ) -> Result<()> {
        let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
        let prot = prot & !(PROT_GROWSDOWN | PROT_GROWSUP);
        if grows == PROT_GROWSDOWN | PROT_GROWSUP {
            return Err(Error::BadProtection);
        }
        if !addr.is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        if len == 0 {
            return Ok(());
        }
        let end = addr.0.wrapping_add(page_align(len));
        if end <= addr.0 {
            return Err(Error::RangeOverflow);
        }
        if prot & !PROT_KNOWN != 0 {
            return Err(Error::BadProtection);
        }
        let mm = self.write();
        let mut start = addr.0;
        let first = self.find_intersection(start, end);
        let first = first.ok_or(Error::NotMapped)?;
        if grows & PROT_GROWSDOWN != 0 {
            start = first.start();
            if !first.flags().has(VmFlags::GROWSDOWN) {
                return Err(Error::BadProtection);
            }
        } else if first.start() > start {
            return Err(Error::NotMapped);
        } else if grows & PROT_GROWSUP != 0 {
            // Nothing grows up here.
            return Err(Error::BadProtection);
        }
        mm.protect_vmas(host, first, VirtRange::new(start, end), prot_flags(prot))
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    fn protect_vmas(
        &self,
        host: &dyn HostTable,
        first: Vma<'m>,
        range: VirtRange,
        prot: VmFlags,
    ) -> Result<()> {
        self.space.change_vmas(first, range, |prev, vma, part| {
            let flags = vma.flags().without(VmFlags::ACCESS).with(prot);
            let may = VmFlags(flags.0 >> 4);
            if flags.without(may).any(VmFlags::ACCESS) {
                return Err(Error::AccessDenied);
            }
            self.protect_vma(host, prev, vma, part, flags)
        })
    }

    /// Gives a part of a VMA these flags, and says which VMA it is in then
    /// (`mprotect_fixup`).
    fn protect_vma(
        &self,
        host: &dyn HostTable,
        prev: Option<Vma<'m>>,
        vma: Vma<'m>,
        part: VirtRange,
        flags: VmFlags,
    ) -> Result<Vma<'m>> {
        let space = &self.space;
        let old = vma.flags();
        let mut new = flags;
        if new == old {
            return Ok(vma);
        }
        let pages = part.pages();
        let mut charged = 0;
        if new.has(VmFlags::WRITE) {
            // What becomes data is limited as data.
            if !space.may_expand(new, pages) && space.may_expand(old, pages) {
                return Err(Error::AddressSpaceLimit);
            }
            let free = VmFlags::ACCOUNT
                .with(VmFlags::WRITE)
                .with(VmFlags::HUGETLB)
                .with(VmFlags::SHARED)
                .with(VmFlags::NORESERVE);
            if !old.any(free) {
                space.charge(pages)?;
                charged = pages;
                new = new.with(VmFlags::ACCOUNT);
            }
        } else if old.has(VmFlags::ACCOUNT) && vma.is_anonymous() && vma.anon() == 0 {
            // Nothing was written there: nothing needs to be kept.
            new = new.without(VmFlags::ACCOUNT);
        }
        let modified = self.modify_flags(host, prev, vma, part.start.0, part.end.0, &mut new);
        let vma = match modified {
            Ok(vma) => vma,
            Err(error) => {
                space.system.account(-(charged as i64));
                return Err(error);
            }
        };
        space.start_write(vma);
        vma.set_flags(new);
        space.protect_range(host, vma.cells(), part, new);
        if old.has(VmFlags::ACCOUNT) && !new.has(VmFlags::ACCOUNT) {
            space.system.account(-(pages as i64));
        }
        let unwritable = !old.any(VmFlags::WRITE.with(VmFlags::SHARED));
        if new.has(VmFlags::WRITE) && old.has(VmFlags::LOCKED) && unwritable {
            // Its copies are made now, as it is locked.
            space.populate_locked(host, vma, part);
        }
        space.stat_account(old, -(pages as i64));
        space.stat_account(new, pages as i64);
        Ok(vma)
    }
}
