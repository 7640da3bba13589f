// SPDX-License-Identifier: GPL-2.0

//! `/proc/shadowmm/kmsob`: the containers, by the size of their objects.
//!
//! ```text
//! objects kmsob
//! containers 2
//! large_blocks 1
//! large_pages 2
//! caches 1
//!
//!      size containers extensions     pages   objects      used      free    allocs     frees   created destroyed
//!        64          1          2         3       183       150        33       150         0         1         0
//!       ...
//!
//! container 0x0000000000412000 size 64
//!   kmobinpnr 1
//!   mextnr 2
//!   mobjnr 183
//!   fobjnr 33
//!   msclst 1:2 2:0 4:0 8:0 16:0
//! ```
//!
//! Sizes of which there has never been a container are left out. `pages` are those
//! of containers and extensions; `large` is what was asked for beyond 2 KiB.
//! With the slab layer the first line names that, and there is no other.

use super::layout::SizeIndex;
use super::layout::MSCLST_MAX;
use super::locked::Container;
use super::Kmsob;
use crate::buddy::PageAllocator;
use crate::error::Result;
use crate::phys::Pages;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// The pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// Containers of all sizes (`ks_msobnr`).
    pub containers: u64,
    /// Objects larger than the largest size.
    pub large_blocks: u64,
    /// Their pages.
    pub large_pages: Pages,
    /// Named caches.
    pub caches: u64,
}

/// The containers of one size at one moment (`koblst_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListReport {
    /// The size of an object (`ol_sz`).
    pub size: SizeIndex,
    /// Containers (`ol_emnr`).
    pub containers: u64,
    /// Extensions of all of them.
    pub extensions: u64,
    /// Pages of both.
    pub pages: Pages,
    /// Objects, free or not.
    pub objects: u64,
    /// Of them, those that somebody has.
    pub used: u64,
    /// Objects given out so far.
    pub allocs: u64,
    /// Objects given back so far.
    pub frees: u64,
    /// Containers made so far.
    pub created: u64,
    /// Containers given back so far.
    pub destroyed: u64,
    /// How often a free object was found to be written to.
    pub overwritten: u64,
}

/// One container at one moment (`kmsob_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerReport {
    /// Where it lies (`so_vstat`).
    pub start: ObjAddr,
    /// The size of its objects.
    pub size: SizeIndex,
    /// Pages of its own block (`mc_kmobinpnr`).
    pub own_pages: Pages,
    /// Extensions (`so_mextnr`).
    pub extensions: u32,
    /// Objects (`so_mobjnr`).
    pub objects: u32,
    /// Of them, free ones (`so_fobjnr`).
    pub free: u32,
    /// Extensions' blocks of 1, 2, 4, 8 and 16 pages (`ml_msanr`).
    pub blocks: [u32; MSCLST_MAX],
}

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// The pool as it is now.
    pub fn pool_report(&self) -> PoolReport {
        let locked = self.lock();
        PoolReport {
            containers: locked.head.msobnr,
            large_blocks: locked.head.large_blocks,
            large_pages: Pages(locked.head.large_pages),
            caches: locked.head.caches,
        }
    }

    /// The containers of a size as they are now.
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`](crate::error::Error::SlabDamaged), as if there were
    /// no such list.
    pub fn list_report(&self, size: SizeIndex) -> Result<ListReport> {
        let locked = self.lock();
        let list = locked.list(size)?;
        let (containers, extensions) = (list.emnr.load(Relaxed), list.extensions.load(Relaxed));
        let blocks = containers.wrapping_add(extensions);
        Ok(ListReport {
            size,
            containers,
            extensions,
            pages: Pages(blocks.saturating_mul(size.order().pages().0)),
            objects: list.objects.load(Relaxed),
            used: list.used.load(Relaxed),
            allocs: list.allocs.load(Relaxed),
            frees: list.frees.load(Relaxed),
            created: list.created.load(Relaxed),
            destroyed: list.destroyed.load(Relaxed),
            overwritten: list.overwritten.load(Relaxed),
        })
    }

    /// The `nth` container of a size, the youngest first.
    ///
    /// # Errors
    ///
    /// [`Error::SlabDamaged`](crate::error::Error::SlabDamaged) when a header says
    /// nonsense.
    pub fn container_report(&self, size: SizeIndex, nth: u64) -> Result<Option<ContainerReport>> {
        let mut left = nth;
        self.lock().find_container(size, |container| {
            let is_it = left == 0;
            left = left.wrapping_sub(1);
            Ok(is_it.then(|| report(&container)))
        })
    }

    /// Writes the pool, each size and each container at one moment.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let pool = self.pool_report();
        let rows = [
            ("containers", pool.containers),
            ("large_blocks", pool.large_blocks),
            ("large_pages", pool.large_pages.0),
            ("caches", pool.caches),
        ];
        for (name, value) in rows {
            writeln!(out, "{name} {value}")?;
        }
        writeln!(out)?;
        write_row(
            out,
            [
                "size",
                "containers",
                "extensions",
                "pages",
                "objects",
                "used",
                "free",
                "allocs",
                "frees",
                "created",
                "destroyed",
            ],
        )?;
        for size in SizeIndex::all() {
            match self.list_report(size) {
                Ok(list) if list.created != 0 => list.write(out)?,
                _ => {}
            }
        }
        for size in SizeIndex::all() {
            let mut nth = 0u64;
            while let Ok(Some(container)) = self.container_report(size, nth) {
                container.write(out)?;
                nth = nth.wrapping_add(1);
            }
        }
        Ok(())
    }
}

fn report(container: &Container<'_>) -> ContainerReport {
    let cells = container.cells;
    let mut blocks = [0; MSCLST_MAX];
    for (count, list) in blocks.iter_mut().zip(&cells.mc) {
        *count = list.msanr.load(Relaxed);
    }
    ContainerReport {
        start: ObjAddr::new(container.start),
        size: container.size,
        own_pages: Pages(u64::from(cells.kmobinpnr.load(Relaxed))),
        extensions: cells.mextnr.load(Relaxed),
        objects: cells.mobjnr.load(Relaxed),
        free: cells.fobjnr.load(Relaxed),
        blocks,
    }
}

impl ListReport {
    /// Free objects.
    pub fn free(&self) -> u64 {
        self.objects.saturating_sub(self.used)
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write_row(
            out,
            [
                self.size.size().0,
                self.containers,
                self.extensions,
                self.pages.0,
                self.objects,
                self.used,
                self.free(),
                self.allocs,
                self.frees,
                self.created,
                self.destroyed,
            ],
        )
    }
}

impl ContainerReport {
    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (start, size) = (self.start, self.size.size().0);
        writeln!(out, "\ncontainer {start} size {size}")?;
        writeln!(out, "  kmobinpnr {}", self.own_pages.0)?;
        writeln!(out, "  mextnr {}", self.extensions)?;
        writeln!(out, "  mobjnr {}", self.objects)?;
        writeln!(out, "  fobjnr {}", self.free)?;
        write!(out, "  msclst")?;
        for (order, blocks) in self.blocks.iter().enumerate() {
            write!(out, " {}:{blocks}", 1u32 << order)?;
        }
        writeln!(out)
    }
}

fn write_row<T: fmt::Display>(out: &mut dyn fmt::Write, row: [T; 11]) -> fmt::Result {
    for (at, column) in row.iter().enumerate() {
        match at {
            0 => write!(out, "{column:>9}")?,
            _ => write!(out, " {column:>10}")?,
        }
    }
    writeln!(out)
}
