// SPDX-License-Identifier: GPL-2.0

//! What is behind a VMA, and that it stays as long as the VMA does: a shared object of
//! the shadow's, or a file of the host's.

use super::flags::VmFlags;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::vma::NewVma;
use super::vma::Vma;
use crate::error::Result;
use crate::phys::Pages;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// One more VMA has what is behind this one (`get_file`).
    pub(super) fn get_backing(&self, vma: Vma<'m>) {
        match (vma.file(), vma.flags().has(VmFlags::MAYSHARE)) {
            (0, _) => {}
            (object, true) => self.get_shared(ObjAddr::new(object)),
            (file, false) => self.platform().get_file(file),
        }
    }

    /// A mapping does not need its own reference to a file.
    pub(super) fn put_file(&self, file: u64) {
        if file != 0 {
            self.platform().put_file(file);
        }
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// One VMA less has it (`fput`).
    pub(super) fn put_backing(&self, vma: Vma<'m>) {
        match (vma.file(), vma.flags().has(VmFlags::MAYSHARE)) {
            (0, _) => {}
            (object, true) => self.put_shared_memory(object),
            (file, false) => self.system.put_file(file),
        }
    }

    /// A shared object goes with the last who has it, and what was promised for it
    /// (`shmem_unacct_size`).
    pub(super) fn put_shared_memory(&self, object: u64) {
        let (promised, charged) = self.system.put_shared(ObjAddr::new(object));
        self.system.account(-(promised.0 as i64));
        let less = charged.0.wrapping_neg();
        self.cells.object_pages.fetch_add(less, Relaxed);
    }

    /// The object of new shared memory, all of which is promised with it, unless each page is to be
    /// when it comes (`shmem_zero_setup`).
    ///
    /// # Errors
    ///
    /// [`Error::Overcommit`](crate::error::Error::Overcommit), and those of the slab
    /// layer.
    pub(super) fn new_shared_memory(&self, new: &NewVma) -> Result<u64> {
        let pages = (new.end - new.start) >> PAGE_SHIFT;
        let promised = match new.flags.has(VmFlags::NORESERVE) {
            true => 0,
            false => pages,
        };
        self.charge(promised)?;
        let made = self.system.new_shared(Pages(pages), Pages(promised));
        let object = made.inspect_err(|_| self.system.account(-(promised as i64)))?;
        Ok(object.get())
    }
}
