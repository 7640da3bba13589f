// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about the first touch: what is mapped has addresses, and gets memory by
//! a fault.

use super::window::address;
use super::window::length;
use super::window::open;
use super::window::resident;
use super::window::Touch;
use super::window::WINDOW;
use crate::commands::page::PageReport;
use crate::context::Report;
use crate::error::Result;
use crate::render::bytes;
use crate::render::pages;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Walk;
use shadowmm_client::mm::WalkLevel;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;

/// What is mapped.
const SIZE: u64 = 64 << 20;
/// A huge page.
const HUGE: u64 = 2 << 20;
/// Where in it is touched: not where the first 2 MiB begin, and then 8 MiB further.
const AT: u64 = 0x3000;
const FURTHER: u64 = 8 << 20;

/// Bits of an entry.
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const HUGE_ENTRY: u64 = 1 << 7;
/// What has the page that reads as zeroes (`Entry::ZERO`).
const ZERO: u64 = 1 << 9;

/// A moment.
#[derive(Debug, Serialize)]
struct Look {
    space: Space,
    walk: Walk,
}

/// What came of a read and a write.
#[derive(Debug, Serialize)]
pub struct FirstTouch {
    /// Before all of it.
    unmapped: Space,
    mapped: Look,
    /// What the byte was.
    byte: u8,
    read: Look,
    written: Look,
    /// The page that was written to.
    page: Option<PageReport>,
    /// After a write to 2 MiB that nobody had read.
    further: Look,
    /// Whether the pages are the manager's after Cosmos.
    cosmos: bool,
}

fn look(window: &Window<'_>, addr: u64) -> Result<Look> {
    Ok(Look {
        space: window.space()?,
        walk: window.device().walk(0, addr)?,
    })
}

impl FirstTouch {
    /// Maps, reads and writes.
    pub fn see(device: &Device) -> Result<Self> {
        let window = open(device, WINDOW)?;
        let unmapped = window.space()?;
        let start = address(window.mmap_anonymous(length(SIZE)?)?);
        let addr = start + AT;
        let mut touch = Touch::new(&window)?;
        let mapped = look(&window, addr)?;
        let byte = touch.read(addr)?;
        let read = look(&window, addr)?;
        touch.write(addr, 1)?;
        let written = look(&window, addr)?;
        let page = written.walk.pfn.map(|pfn| device.page(pfn)).transpose()?;
        let further = start.next_multiple_of(HUGE) + FURTHER;
        touch.write(further, 1)?;
        Ok(Self {
            unmapped,
            mapped,
            byte,
            read,
            written,
            page: page.map(PageReport::from),
            further: look(&window, further)?,
            cosmos: !device.areas()?.is_empty(),
        })
    }

    /// What the first touch made of tables: how many there were, and how many then.
    fn tables(&self) -> (usize, usize) {
        (self.mapped.walk.levels.len(), self.read.walk.levels.len())
    }

    fn table(&self) -> Table {
        let looks = [&self.mapped, &self.read, &self.written];
        let mut table = Table::new([
            Column::text(""),
            Column::text("mapped"),
            Column::text("a byte read"),
            Column::text("a byte written"),
        ]);
        let mut row = |what: &str, cell: &dyn Fn(&Look) -> String| {
            let mut cells = vec![what.to_owned()];
            cells.extend(looks.map(cell));
            table.row(cells);
        };
        row("VIRT", &|look| pages(look.space.total_vm_pages));
        row("RES", &|look| pages(resident(&look.space)));
        row("page tables", &|look| bytes(look.space.pgtables_bytes));
        for (index, level) in ["PGD", "PUD", "PMD", "PTE"].into_iter().enumerate() {
            row(level, &|look| cell(look.walk.levels.get(index), &look.walk));
            if index == 0 {
                row("P4D", &|_| "folded".to_owned());
            }
        }
        table
    }

    /// How the first fault found its VMA.
    fn way(&self) -> &'static str {
        let (before, after) = (&self.mapped.space, &self.read.space);
        match (
            after.faults_vma_lock - before.faults_vma_lock,
            after.faults_mmap_lock - before.faults_mmap_lock,
        ) {
            (1.., 0) => "lock_vma_under_rcu()",
            (0, 1..) => "the mmap lock, since lock_vma_under_rcu() was not enough",
            _ => "lock_vma_under_rcu() or the mmap lock",
        }
    }
}

/// An entry, in words.
fn cell(level: Option<&WalkLevel>, walk: &Walk) -> String {
    let Some(level) = level else {
        return "no table".to_owned();
    };
    let is_page = level.name == "pte" || level.entry & HUGE_ENTRY != 0;
    match (level.entry & PRESENT != 0, is_page, walk.pfn) {
        (false, ..) => "empty".to_owned(),
        (true, true, Some(pfn)) => {
            let zero = match level.entry & ZERO {
                0 => "",
                _ => "zero page ",
            };
            let mode = match level.entry & WRITE {
                0 => "r-",
                _ => "rw",
            };
            format!("{zero}{pfn} {mode}")
        }
        (true, ..) => "a table".to_owned(),
    }
}

impl Report for FirstTouch {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "malloc() and mmap() give addresses, not memory. {} are mapped: what top calls VIRT grows from {} to {}, RES {}. Only a touch, by a fault, brings a page:",
            bytes(SIZE),
            pages(self.unmapped.total_vm_pages),
            pages(self.mapped.space.total_vm_pages),
            match (resident(&self.unmapped), resident(&self.mapped.space)) {
                (before, after) if before == after => format!("stays {}", pages(after)),
                (before, after) => format!("from {} to {}", pages(before), pages(after)),
            },
        ));
        screen.blank();
        self.table().print(screen);
        screen.blank();
        let (before, after) = self.tables();
        let tables = |look: &Look| look.space.pgtables_bytes;
        screen.para(&format!(
            "The read: do_user_addr_fault() found the VMA by {}; handle_mm_fault() went down from the PGD, where {before} of four tables were there, and then {after} (page tables grew by {}); {}.",
            self.way(),
            bytes(tables(&self.read).saturating_sub(tables(&self.mapped))),
            match is_zero(&self.read) {
                true => "do_anonymous_page() entered the zero page, which all share and which is not RES",
                false => "do_anonymous_page() entered a page",
            }
        ));
        let pages_of = match self.cosmos {
            true => "the manager after Cosmos",
            false => "the buddy system",
        };
        match &self.page {
            Some(report) if self.written.walk.pfn != self.read.walk.pfn => screen.para(&format!(
                "The write: do_wp_page() took a page of {pages_of} in its place: PFN {}, node {}, zone {}.",
                report.page().pfn,
                report.page().nid,
                report.zone_name(),
            )),
            _ => screen.para("The write brought no other page."),
        }
        screen.para(&format!(
            "A write where nobody has read: 8 MiB further {}. From the same place branch faults of files, copy-on-write and, in Linux, swap: the shadow has no swap.",
            self.further()
        ));
    }
}

/// Whether the entry is the zero page's.
fn is_zero(look: &Look) -> bool {
    let last = look.walk.levels.last();
    last.is_some_and(|level| level.name == "pte" && level.entry & ZERO != 0)
}

impl FirstTouch {
    /// What the write to untouched memory brought.
    fn further(&self) -> String {
        let more = resident(&self.further.space).saturating_sub(resident(&self.written.space));
        match self.further.walk.levels.last() {
            Some(level) if level.entry & (PRESENT | HUGE_ENTRY) == PRESENT | HUGE_ENTRY => {
                format!(
                    "do_huge_pmd_anonymous_page() had {} for it, in the PMD",
                    pages(more)
                )
            }
            _ => format!("do_anonymous_page() had {} for it", plural(more, "page")),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    const NAMES: [&str; 4] = ["pgd", "pud", "pmd", "pte"];

    pub fn walk(entries: &[u64], pfn: Option<u64>) -> Walk {
        let levels = entries.iter().zip(NAMES).enumerate();
        Walk {
            addr: 0x7f00_3000_3000,
            vma: None,
            mapped: true,
            levels: levels
                .map(|(level, (&entry, name))| WalkLevel {
                    name,
                    table_pfn: 123_000 + level as u64,
                    index: 3,
                    entry,
                })
                .collect(),
            pfn,
        }
    }

    pub fn sample() -> FirstTouch {
        let look = |rss: u64, tables: u64, walk: Walk| {
            let mut space = testing::space(13);
            space.total_vm_pages += SIZE / 4096;
            space.rss_anon_pages = rss;
            space.pgtables_bytes = tables << 12;
            Look { space, walk }
        };
        let mut read = look(0, 4, walk(&[7, 7, 7, 0x225], Some(4097)));
        read.space.faults_vma_lock = 1;
        FirstTouch {
            unmapped: testing::space(13),
            mapped: look(0, 1, walk(&[0], None)),
            byte: 0,
            read,
            written: look(1, 4, walk(&[7, 7, 7, 0x1_2345_6067], Some(123_456))),
            page: Some(testing::page(123_456, 1).into()),
            further: look(513, 5, walk(&[7, 7, 0xe7], Some(65536))),
            cosmos: false,
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 400);
        assert!(
            text.contains("1 of four tables were there, and then 4 (page tables grew by 12 KiB)")
        );
        assert!(text.contains("zero page 4097 r-"));
        assert!(text.contains("123456 rw"));
        assert!(text.contains("found the VMA by lock_vma_under_rcu();"));
        assert!(text.contains("PFN 123456, node 1, zone Movable"));
        assert!(text.contains("had 2 MiB for it, in the PMD"));
        seen.further = Look {
            space: seen.written.space.clone(),
            walk: walk(&[7, 7, 7, 0x67], Some(5)),
        };
        seen.further.space.rss_anon_pages += 1;
        seen.cosmos = true;
        let text = testing::text(&seen, 400);
        assert!(text.contains("do_anonymous_page() had 1 page for it."));
        assert!(text.contains("of the manager after Cosmos") && !text.contains("buddy"));
    }
}
