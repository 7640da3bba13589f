// SPDX-License-Identifier: GPL-2.0

//! Checks all that holds of an address space.

use super::accounting::is_data;
use super::accounting::is_exec;
use super::accounting::is_stack;
use super::cells::NR_RSS;
use super::flags::VmFlags;
use super::host::Nowhere;
use super::rss::Rss;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::types::VirtRange;
use super::vma::Vma;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

/// What the VMAs add up to, in pages.
#[derive(Default)]
struct Sums {
    count: u64,
    total: u64,
    locked: u64,
    exec: u64,
    stack: u64,
    data: u64,
    rss: [u64; NR_RSS],
}

impl Sums {
    fn add(&mut self, flags: VmFlags, pages: u64) {
        self.count += 1;
        self.total += pages;
        if flags.has(VmFlags::LOCKED) {
            self.locked += pages;
        }
        if is_exec(flags) {
            self.exec += pages;
        } else if is_stack(flags) {
            self.stack += pages;
        } else if is_data(flags) {
            self.data += pages;
        }
    }
}

/// A claim that must hold, and what is wrong where it does not.
fn check(holds: bool, wrong: &'static str) -> Result<(), &'static str> {
    match holds {
        true => Ok(()),
        false => Err(wrong),
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Checks each address space, one after the other ([`AddressSpace::validate`]).
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub fn validate(&self) -> Result<(), &'static str> {
        let mut last = 0;
        while let Some(space) = self.next(last) {
            last = space.cells.id();
            let sound = space.validate();
            // Where this is the last reference, the window is gone, and the host's
            // entries with it.
            space.put(&Nowhere);
            sound?;
        }
        Ok(())
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Checks that tree, VMAs, tables and counts say the same (`validate_mm`,
    /// `check_mm`). Waits for the mmap lock and for all faults.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn validate(&self) -> Result<(), &'static str> {
        let _mm = self.write();
        let tree = self.tree();
        let in_order = tree.validate();
        in_order.map_err(|_| "the tree of VMAs is not in order")?;
        for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
            self.start_write(vma);
        }
        let mut sums = Sums::default();
        let mut end = 0;
        for entry in tree.iter(0, u64::MAX) {
            let vma = self.system.vma(entry.value);
            let vma = vma.ok_or("an entry of the tree is no VMA")?;
            let same = vma.start() == entry.start && vma.end() == entry.end;
            check(same, "a VMA has another range than its entry")?;
            check(vma.start() >= end, "two VMAs overlap")?;
            end = vma.end();
            self.validate_vma(vma)?;
            sums.add(vma.flags(), vma.pages());
            self.count_pages(vma, &mut sums.rss)?;
        }
        let mut rest = 0u64;
        self.tables().for_each_table(self.window(), |table, _| {
            rest = rest.wrapping_add(self.system.rest_in(table));
        });
        let counted = self.cells.rest_pages.load(Relaxed);
        check(counted == rest, "rest_pages is wrong")?;
        self.validate_counts(&sums)
    }

    fn validate_vma(&self, vma: Vma<'m>) -> Result<(), &'static str> {
        let range = vma.range();
        let window = self.window();
        let fits = range.start >= window.start && range.end <= window.end;
        check(fits && !range.is_empty(), "a VMA is not in the window")?;
        let aligned = range.start.is_page_aligned() && range.end.is_page_aligned();
        check(aligned, "a VMA does not begin and end with pages")?;
        let mm = vma.cells().mm.load(Relaxed);
        check(mm == self.addr.get(), "a VMA is said to be elsewhere")?;
        let chains = vma.cells().chains.load(Relaxed);
        let same = (vma.anon() == 0) == (chains == 0);
        check(same, "a VMA has an anonymous region and is in none")?;
        let may = vma.flags().has(VmFlags::MAYBE_GUARD);
        let fits = may || !self.has_guards(range);
        check(fits, "a VMA has guards and does not say so")?;
        let may = VmFlags(vma.flags().0 >> 4);
        let allowed = !vma.flags().without(may).any(VmFlags::ACCESS);
        check(allowed, "a VMA allows what it may not")
    }

    /// Counts what the tables have of a VMA. Each page counts as mapped, too; how often is
    /// not known, since others may map it or not meanwhile.
    fn count_pages(&self, vma: Vma<'m>, rss: &mut [u64; NR_RSS]) -> Result<(), &'static str> {
        let flags = vma.flags();
        let shared = flags.has(VmFlags::SHARED);
        for (_, page) in self.resident_in(vma.range()) {
            let Some(kind) = Rss::of(page.leaf, shared) else {
                continue;
            };
            if let Some(count) = rss.get_mut(kind as usize) {
                *count += 1;
            }
            let counts = self.map_count_of(&page, flags) != 0;
            check(counts, "a page is mapped and counts as not mapped")?;
        }
        Ok(())
    }

    fn validate_counts(&self, sums: &Sums) -> Result<(), &'static str> {
        let cells = self.cells;
        check(self.map_count() == sums.count, "map_count is wrong")?;
        let counts = [
            (&cells.total_vm, sums.total, "total_vm is wrong"),
            (&cells.locked_vm, sums.locked, "locked_vm is wrong"),
            (&cells.exec_vm, sums.exec, "exec_vm is wrong"),
            (&cells.stack_vm, sums.stack, "stack_vm is wrong"),
            (&cells.data_vm, sums.data, "data_vm is wrong"),
        ];
        for (count, sum, wrong) in counts {
            check(count.load(Relaxed) == sum, wrong)?;
        }
        for (count, sum) in cells.rss.iter().zip(sums.rss) {
            check(
                count.load(Relaxed) == sum,
                "a count of resident pages is wrong",
            )?;
        }
        Ok(())
    }
}
