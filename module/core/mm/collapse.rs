// SPDX-License-Identifier: GPL-2.0

//! Pages that are there become 2 MiB, because their process asks for it (`madvise_collapse`).
//!
//! ```text
//! each 2 MiB that lie in the VMA as a whole
//!   are 2 MiB already                   done
//!   no table, or a guard among them     not to be had
//!   a table of pages                    a block from the node that has most of them
//!     with the VMA marked for writing     the host's entries go, the pages are copied, what is
//!                                         not there is zeroes, the block's entry takes the
//!                                         table's place, which is laid by for its split
//! ```
//!
//! Nobody makes 2 MiB unasked (`khugepaged`), and shared memory and files have pages of 4 KiB
//! alone.

use super::flags::VmFlags;
use super::host::HostTable;
use super::huge::around;
use super::huge::has_huge_room;
use super::huge::DIRECT;
use super::huge::HUGE_PAGES;
use super::page_table::Entry;
use super::page_table::Level;
use super::page_table::Table;
use super::page_table::ENTRIES;
use super::page_table::HUGE_SIZE;
use super::parts::RestBefore;
use super::rss::Rss;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::Vma;
use super::zap::Puts;
use crate::buddy::PageAllocator;
use crate::buddy::UserStat;
use crate::buddy::VmEvent;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::phys::MAX_NODES;
use crate::platform::Platform;

/// What there is where 2 MiB are to be.
enum There<'m> {
    /// 2 MiB.
    Huge,
    /// No table.
    Nothing,
    /// A table of the second level, and that of the pages in it.
    Pages(Table<'m>, Table<'m>),
}

impl Vma<'_> {
    /// Whether 2 MiB can be had somewhere in it, by who asks for them
    /// (`thp_vma_allowable_orders` with `TVA_FORCED_COLLAPSE`).
    fn may_collapse(self) -> bool {
        let refused = VmFlags::NOHUGEPAGE
            .with(VmFlags::SPECIAL)
            .with(VmFlags::HUGETLB);
        self.is_anonymous()
            && self.anon() != 0
            && !self.flags().any(refused)
            && has_huge_room(self.range())
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// See the head of this file. Holes are noted and passed over.
    ///
    /// # Errors
    ///
    /// [`Error::BadAdvice`] where something can't become 2 MiB, [`Error::NoMemory`],
    /// [`Error::UserLimit`], [`Error::NotMapped`]. What was made before stays.
    pub(super) fn collapse(&self, host: &dyn HostTable, range: VirtRange) -> Result<()> {
        let mut at = range.start.0;
        let mut hole = false;
        while at < range.end.0 {
            let found = {
                let mm = self.read();
                let vma = mm.space.find_vma(at);
                vma.map(|vma| (vma.range(), vma.may_collapse()))
            };
            let found = found.filter(|(vma, _)| vma.start < range.end);
            let Some((vma, may)) = found else {
                hole = true;
                break;
            };
            if !may || host.has_no_huge(true) {
                return Err(Error::BadAdvice);
            }
            hole |= vma.start.0 > at;
            let part = vma.intersect(range);
            self.collapse_each(host, part)?;
            at = part.end.0;
        }
        match hole {
            true => Err(Error::NotMapped),
            false => Ok(()),
        }
    }

    /// All 2 MiB in a part of a VMA.
    fn collapse_each(&self, host: &dyn HostTable, part: VirtRange) -> Result<()> {
        let platform = self.system.platform();
        let mut all = Ok(());
        let mut at = part.start.0.checked_next_multiple_of(HUGE_SIZE);
        while let Some(addr) = at.filter(|at| part.end.0.saturating_sub(*at) >= HUGE_SIZE) {
            if platform.fatal_signal_pending() {
                return Err(Error::Interrupted);
            }
            if !self.collapse_one(host, VirtAddr(addr))? {
                all = Err(Error::BadAdvice);
            }
            platform.cond_resched();
            at = addr.checked_add(HUGE_SIZE);
        }
        all
    }

    /// 2 MiB, which they are then; `false` where they can't be, though others may
    /// (`collapse_huge_page`).
    fn collapse_one(&self, host: &dyn HostTable, addr: VirtAddr) -> Result<bool> {
        let spaces = &self.system;
        let nid = {
            let mm = self.read();
            mm.space.vma_to_collapse(addr)?;
            match mm.space.there(addr)? {
                There::Huge => return Ok(true),
                There::Nothing => return Ok(false),
                There::Pages(_, table) => mm.space.node_of_most(table),
            }
        };
        self.check_room_for(host, HUGE_PAGES)?;
        let allocator = spaces.mm.allocator();
        let block = allocator.alloc_block(&DIRECT.on(nid)).map_err(|_| {
            spaces.count_event(VmEvent::ThpCollapseAllocFailed);
            Error::NoMemory
        })?;
        spaces.count_event(VmEvent::ThpCollapseAlloc);
        let mm = self.write();
        let vma = self.vma_to_collapse(addr)?;
        self.start_write(vma);
        match self.there(addr)? {
            There::Huge => Ok(true),
            There::Nothing => Ok(false),
            There::Pages(pmd, table) => {
                mm.collapse_table(host, vma.flags(), addr, (pmd, table), block.pfn())?;
                let _ = block.into_raw();
                Ok(true)
            }
        }
    }

    /// The VMA that has all 2 MiB from an address on (`hugepage_vma_revalidate`). With the
    /// mmap lock.
    fn vma_to_collapse(&self, addr: VirtAddr) -> Result<Vma<'m>> {
        let vma = self.vma_lookup(addr.0);
        let has_all = |vma: &Vma<'m>| vma.end() >= addr.0.saturating_add(HUGE_SIZE);
        vma.filter(|vma| vma.may_collapse() && has_all(vma))
            .ok_or(Error::BadAdvice)
    }

    /// What there is, with the mmap lock (`find_pmd_or_thp_or_none`).
    ///
    /// # Errors
    ///
    /// [`Error::BadAdvice`] where a guard is among the pages.
    fn there(&self, addr: VirtAddr) -> Result<There<'m>> {
        let Some(pmd) = self.tables().table_at(addr, Level::Pmd) else {
            return Ok(There::Nothing);
        };
        let entry = pmd.get(Level::Pmd.index(addr));
        if entry.is_huge() {
            return Ok(There::Huge);
        }
        if !entry.is_table() {
            return Ok(There::Nothing);
        }
        let table = self.system.table_in(entry.pfn())?;
        match (0..ENTRIES).any(|index| table.get(index).is_guard()) {
            true => Err(Error::BadAdvice),
            false => Ok(There::Pages(pmd, table)),
        }
    }

    /// The node that has most of the pages in a table (`collapse_find_target_node`).
    fn node_of_most(&self, table: Table<'m>) -> NodeId {
        let mut pages = [0u32; MAX_NODES];
        for entry in (0..ENTRIES).map(|index| table.get(index)).filter(is_page) {
            let page = self.system.mm.sparse.page(entry.pfn());
            let nid = page.and_then(|page| usize::try_from(page.nid().0).ok());
            if let Some(count) = nid.and_then(|nid| pages.get_mut(nid)) {
                *count = count.wrapping_add(1);
            }
        }
        // Of several with as many the first.
        let most = pages
            .iter()
            .enumerate()
            .rev()
            .max_by_key(|(_, pages)| **pages);
        match most {
            Some((nid, 1..)) => NodeId(nid as i32),
            _ => NodeId::NONE,
        }
    }
}

/// Whether an entry has a page of the process's own.
fn is_page(entry: &Entry) -> bool {
    entry.is_present() && !entry.is_zero_page()
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Has a block take the place of a table of pages. The VMA is marked: nobody else comes to
    /// its entries until the end of the mmap lock, and the host has none of them once they are
    /// zapped.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignPfn`] and [`Error::Corrupt`], before anything has changed.
    fn collapse_table(
        &self,
        host: &dyn HostTable,
        flags: VmFlags,
        addr: VirtAddr,
        (pmd, table): (Table<'m>, Table<'m>),
        block: Pfn,
    ) -> Result<()> {
        let spaces = &self.space.system;
        host.zap(around(addr));
        for (page, index) in (0..ENTRIES).enumerate() {
            let to = block + Pages(page as u64);
            match Some(table.get(index)).filter(is_page) {
                Some(entry) => spaces.copy_page(entry.pfn(), to)?,
                None => spaces.zero_pages(to, PageOrder::ZERO)?,
            }
        }
        spaces.begin_mapcounts(block)?;
        let first = spaces.mm.sparse.page(block).ok_or(Error::Corrupt)?;
        let bits = match flags.has(VmFlags::WRITE) {
            true => Entry::DIRTY | Entry::HUGE | Entry::WRITE,
            false => Entry::DIRTY | Entry::HUGE,
        };
        let locked = flags.has(VmFlags::LOCKED);
        let _lock = pmd.lock(spaces.platform());
        let index = Level::Pmd.index(addr);
        pmd.set(index, Entry::page(block, flags).with(bits));
        let mut puts = Puts::new(spaces);
        let mut were = 0u64;
        let mut rest = RestBefore::new();
        for index in 0..ENTRIES {
            let entry = table.get(index);
            rest.note(spaces, entry, &[table]);
            table.set(index, Entry::NONE);
            if is_page(&entry) {
                were = were.wrapping_add(1);
                if locked {
                    spaces.count_locked(entry, -1);
                }
                puts.put(entry);
            }
        }
        rest.settle(&self.space, &[table]);
        pmd.lay_by(table);
        self.space
            .cells
            .add_rss(Rss::Anon, HUGE_PAGES.saturating_sub(were));
        spaces.count_huge(first.zone_id(), 1);
        if locked {
            spaces.count_pages(first.zone_id(), UserStat::Locked, HUGE_PAGES as i64);
        }
        Ok(())
    }
}
