// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm walk`: how an address is translated.

use crate::commands::page::zone_name;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Walk;
use shadowmm_client::Device;
use shadowmm_client::Page;

/// The bits of an entry that are shown, as x86-64 has them.
const BITS: [(u32, &str); 9] = [
    (0, "P"),
    (1, "RW"),
    (2, "US"),
    (5, "A"),
    (6, "D"),
    (7, "PS"),
    (9, "soft"),
    (GUARD, "guard"),
    (63, "NX"),
];

/// The bit of an entry that is a guard.
const GUARD: u32 = 11;

/// A translation.
#[derive(Debug, Serialize)]
pub struct Walked {
    #[serde(flatten)]
    walk: Walk,
    page: Option<Page>,
}

impl Walked {
    /// Asks for it.
    pub fn read(device: &Device, id: u32, addr: u64) -> Result<Self> {
        let walk = device.walk(id, addr)?;
        let page = walk.pfn.map(|pfn| device.page(pfn)).transpose()?;
        Ok(Self { walk, page })
    }
}

/// An entry's bits by name.
fn bits(entry: u64) -> String {
    let set = BITS.iter().filter(|&&(bit, _)| (entry >> bit) & 1 != 0);
    let names: Vec<_> = set.map(|&(_, name)| name).collect();
    names.join(" ")
}

impl Report for Walked {
    fn print(&self, screen: &mut Screen) {
        let walk = &self.walk;
        match (&walk.vma, walk.mapped) {
            (Some(vma), true) => screen.para(&format!(
                "{:#x} is in the VMA {:#x}-{:#x} {}.",
                walk.addr,
                vma.start,
                vma.end,
                vma.flags.permissions()
            )),
            (Some(vma), false) => screen.para(&format!(
                "{:#x} is in no VMA; the next one is {:#x}-{:#x}.",
                walk.addr, vma.start, vma.end
            )),
            (None, _) => screen.para(&format!("{:#x} is in no VMA.", walk.addr)),
        }
        let mut table = Table::new([
            Column::text("level"),
            Column::number("table's PFN"),
            Column::number("index"),
            Column::number("entry"),
            Column::text("bits"),
        ]);
        for level in &walk.levels {
            table.row([
                level.name.to_owned(),
                level.table_pfn.to_string(),
                level.index.to_string(),
                format!("{:#x}", level.entry),
                bits(level.entry),
            ]);
        }
        table.print(screen);
        match (&walk.pfn, &self.page) {
            (Some(pfn), Some(page)) => screen.para(&format!(
                "The page is PFN {pfn}, node {}, zone {}, {} {} to it.",
                page.nid,
                zone_name(page.zone),
                page.count,
                match page.count {
                    1 => "reference",
                    _ => "references",
                }
            )),
            _ if walk
                .levels
                .last()
                .is_some_and(|level| (level.entry >> GUARD) & 1 != 0) =>
            {
                screen.para("A guard is there: whoever touches it gets SIGSEGV.")
            }
            _ => screen.para("No page is there: the first access brings one."),
        }
    }
}
