// SPDX-License-Identifier: GPL-2.0

//! Ranges go.
//!
//! ```text
//! split at both ends     may fail; the splits stay, as in Linux
//!   detach               each VMA is marked and in the address space no more
//!   clear the tree
//!     entries, host      pages go back when nobody has them in a table any more
//!     tables             those that no neighbour needs
//!     counts, VMAs
//! ```

use super::flags::VmFlags;
use super::host::HostTable;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use super::zap::Guards;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::Ordering::Relaxed;

/// VMAs that are about to go (`struct vma_munmap_struct`).
pub(super) struct Doomed<'m> {
    range: VirtRange,
    /// The first of them; each has the next.
    first: Option<Vma<'m>>,
    /// Their neighbours.
    pub(super) prev: Option<Vma<'m>>,
    pub(super) next: Option<Vma<'m>>,
    count: u32,
    /// In pages.
    pub(super) pages: u64,
    pub(super) accounted: u64,
    locked: u64,
}

/// A length in whole pages (`PAGE_ALIGN`), which is 0 for one that is too large.
pub(super) const fn page_align(len: u64) -> u64 {
    len.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Unmaps a range; what is not mapped is passed over (`munmap`).
    ///
    /// # Errors
    ///
    /// [`Error::NotPageAligned`], [`Error::BadLength`], [`Error::BadRange`],
    /// [`Error::TooManyMaps`], [`Error::NoMemory`].
    pub fn munmap(&self, host: &dyn HostTable, addr: VirtAddr, len: u64) -> Result<()> {
        self.munmap_if(host, addr, len, Ok(()))
    }

    /// The same, where `one_more` says whether there may be a VMA more than there is: a hole in one
    /// makes two of it.
    ///
    /// # Errors
    ///
    /// Those, and that of `one_more`; nothing is unmapped then.
    pub fn munmap_if(
        &self,
        host: &dyn HostTable,
        addr: VirtAddr,
        len: u64,
        one_more: Result<()>,
    ) -> Result<()> {
        self.write().munmap(host, addr, len, one_more)
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// See [`AddressSpace::munmap`] (`do_vmi_munmap`).
    pub(super) fn munmap(
        &self,
        host: &dyn HostTable,
        addr: VirtAddr,
        len: u64,
        one_more: Result<()>,
    ) -> Result<()> {
        let window = self.space.window();
        if !addr.is_page_aligned() {
            return Err(Error::NotPageAligned);
        }
        if addr < window.start || addr > window.end || len > window.end.0 - addr.0 {
            return Err(Error::BadRange);
        }
        let range = VirtRange::new(addr.0, addr.0 + page_align(len));
        if range.is_empty() {
            return Err(Error::BadLength);
        }
        if self.makes_hole(range) {
            one_more?;
        }
        self.munmap_aligned(host, range)
    }

    /// Whether there is a VMA on both sides of a range that holds all of it.
    fn makes_hole(&self, range: VirtRange) -> bool {
        let vma = self.space.find_vma(range.start.0);
        vma.is_some_and(|vma| vma.start() < range.start.0 && range.end.0 < vma.end())
    }

    /// The same for whole pages (`do_vmi_align_munmap`).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMaps`], [`Error::NoMemory`].
    pub(super) fn munmap_aligned(&self, host: &dyn HostTable, range: VirtRange) -> Result<()> {
        let doomed = self.gather(host, range)?;
        if doomed.count == 0 {
            return Ok(());
        }
        let tree = self.space.tree();
        let mut reserve = tree.reserve(1)?;
        self.detach(&doomed);
        tree.store(range.start.0, range.end.0, None, &mut reserve);
        drop(reserve);
        self.clear_entries(host, &doomed);
        self.complete_munmap(&doomed);
        Ok(())
    }

    /// Splits at the ends of a range and looks at all VMAs in it
    /// (`vms_gather_munmap_vmas`). Nothing but the splits has changed.
    ///
    /// # Errors
    ///
    /// As above. A split that was made stays.
    pub(super) fn gather(&self, host: &dyn HostTable, range: VirtRange) -> Result<Doomed<'m>> {
        let space = &self.space;
        let (start, end) = (range.start.0, range.end.0);
        let mut next = space.find_vma(start);
        if let Some(vma) = next.filter(|vma| vma.start() < start) {
            // The count may go above its limit for a moment, but not stay there.
            if end < vma.end() && space.map_count() >= space.system.max_map_count() {
                return Err(Error::TooManyMaps);
            }
            self.split_unchecked(host, vma, start, true)?;
        }
        let mut doomed = Doomed {
            range,
            first: None,
            prev: space.prev_vma(start),
            next: None,
            count: 0,
            pages: 0,
            accounted: 0,
            locked: 0,
        };
        let mut last: Option<Vma<'m>> = None;
        while let Some(vma) = next.filter(|vma| vma.start() < end) {
            let behind = vma.end();
            if behind > end {
                self.split_unchecked(host, vma, end, false)?;
            }
            space.start_write(vma);
            match last {
                Some(last) => last.cells().next.store(vma.addr().get(), Relaxed),
                None => doomed.first = Some(vma),
            }
            last = Some(vma);
            let (pages, flags) = (vma.pages(), vma.flags());
            doomed.count += 1;
            doomed.pages += pages;
            if flags.has(VmFlags::LOCKED) {
                doomed.locked += pages;
            }
            if flags.has(VmFlags::ACCOUNT) {
                doomed.accounted += pages;
            }
            next = space.find_vma(behind.min(end));
        }
        doomed.next = next;
        Ok(doomed)
    }

    /// All of them are in the address space no more (`vma_mark_detached`).
    pub(super) fn detach(&self, doomed: &Doomed<'m>) {
        for vma in self.chain(doomed) {
            vma.set_mm(ObjAddr::NULL);
        }
    }

    /// Takes their pages away, from the host first, and then the tables that nobody
    /// needs (`unmap_region`).
    pub(super) fn clear_entries(&self, host: &dyn HostTable, doomed: &Doomed<'m>) {
        let space = &self.space;
        for vma in self.chain(doomed) {
            space.zap(host, vma.cells(), vma.range(), Guards::Go);
        }
        let floor = doomed.prev.map_or(0, Vma::end);
        let ceiling = doomed.next.map_or(0, Vma::start);
        space.free_tables(doomed.range, floor, ceiling);
    }

    /// Counts them off and gives them back; they are in the tree no more
    /// (`vms_complete_munmap_vmas`).
    pub(super) fn complete_munmap(&self, doomed: &Doomed<'m>) {
        if doomed.pages == 0 {
            return;
        }
        let space = &self.space;
        space.cells.map_count.fetch_sub(doomed.count, Relaxed);
        space.add_locked(-(doomed.locked as i64));
        space.update_hiwater_vm();
        for vma in self.chain(doomed) {
            space.stat_account(vma.flags(), -(vma.pages() as i64));
            space.put_backing(vma);
            space.system.free_vma(vma);
        }
        space.system.account(-(doomed.accounted as i64));
    }

    /// The VMAs of a chain; the next one is read before one is given out.
    fn chain(&self, doomed: &Doomed<'m>) -> impl Iterator<Item = Vma<'m>> + use<'a, 'm, P> {
        let system = self.space.system;
        let mut at = doomed.first;
        let mut left = doomed.count;
        core::iter::from_fn(move || {
            let vma = at.filter(|_| left != 0)?;
            left -= 1;
            at = match left {
                0 => None,
                _ => system.vma(vma.cells().next.load(Relaxed)),
            };
            Some(vma)
        })
    }
}
