// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm walk`: how an address is translated, and what the next access meets.

use super::entry;
use super::next;
use super::next::Next;
use crate::commands::page::PageReport;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Walk;
use shadowmm_client::Page;

/// A translation.
#[derive(Debug, Serialize)]
pub struct Walked {
    #[serde(flatten)]
    walk: Walk,
    page: Option<PageReport>,
    #[serde(serialize_with = "next::name")]
    next: Next,
}

impl Walked {
    /// Asks for it.
    pub fn read(context: &Context, id: u32, addr: u64) -> Result<Self> {
        let device = context.open()?;
        let walk = device.walk(id, addr)?;
        let page = walk.pfn.map(|pfn| device.page(pfn)).transpose()?;
        let spaces = device.spaces()?;
        let space = spaces.iter().find(|space| space.id == id);
        let file_bytes = space.and_then(|space| next::file_bytes(context, space, walk.vma?));
        Ok(Self::new(walk, page, space, file_bytes))
    }

    fn new(walk: Walk, page: Option<Page>, space: Option<&Space>, file: Option<u64>) -> Self {
        Self {
            next: Next::of(&walk, page.as_ref(), space, file),
            walk,
            page: page.map(PageReport::from),
        }
    }

    /// What the bits are that occur, and where the fifth level is.
    fn legend(&self) -> String {
        let all = self.walk.levels.iter().fold(0, |all, it| all | it.entry);
        let mut text = format!("{}.", entry::legend(all));
        if self.walk.levels.iter().all(|level| level.name != "p4d") {
            text.push_str(" With four levels the P4D is folded into the PGD.");
        }
        text
    }
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
        if walk.levels.is_empty() {
            screen.para("The address space has no table yet.");
        } else {
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
                    entry::bits(level.entry),
                ]);
            }
            table.print(screen);
            screen.para(&self.legend());
        }
        if let (Some(pfn), Some(report)) = (&walk.pfn, &self.page) {
            let page = report.page();
            screen.para(&format!(
                "The page is PFN {pfn}, node {}, zone {}, {} to it.",
                page.nid,
                report.zone_name(),
                plural(page.count.into(), "reference")
            ));
        }
        screen.para(&self.next.sentence());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use shadowmm_client::mm::Vma;
    use shadowmm_client::mm::VmaFlags;
    use shadowmm_client::mm::WalkLevel;

    const TABLE: u64 = 0x67;

    /// A translation that ends with this entry in a VMA of these flags.
    fn sample(flags: u64, last: u64, count: u32) -> Walked {
        let level = |name, entry| WalkLevel {
            name,
            table_pfn: 130_943,
            index: 511,
            entry,
        };
        let pfn = (last != 0 && !entry::is_guard(last)).then_some(130_000);
        let walk = Walk {
            addr: 0x7fff_ffff_e123,
            vma: Some(Vma {
                start: 0x7fff_ffff_0000,
                end: 0x7fff_ffff_f000,
                flags: VmaFlags(flags),
                pgoff: 0,
                file: 0,
                anon: 0,
            }),
            mapped: true,
            levels: vec![
                level("pgd", TABLE),
                level("pud", TABLE),
                level("pmd", TABLE),
                level("pte", last),
            ],
            pfn,
        };
        let page = pfn.map(|pfn| testing::page(pfn, count));
        Walked::new(walk, page, None, None)
    }

    const RW: u64 = 0x3;
    const WRITTEN: u64 = entry::P | entry::RW | 0x64 | entry::NX;

    #[test]
    fn they_fit_and_their_keys_stay() {
        for walked in [sample(RW, WRITTEN, 1), sample(RW, 0, 0)] {
            testing::fits(&walked);
        }
        testing::keys(
            &sample(RW, WRITTEN, 1),
            "addr levels levels[].entry levels[].index levels[].name levels[].table_pfn mapped next \
             page page.count page.head_pfn page.head_state page.host_pfn page.nid page.order \
             page.owner page.pfn page.section page.state page.zone page.zone_name pfn vma vma.anon vma.end \
             vma.file vma.flags vma.pgoff vma.start",
        );
    }

    #[test]
    fn the_bits_that_occur_are_told_and_no_others() {
        let text = testing::text(&sample(RW, WRITTEN, 1), 80).replace('\n', " ");
        for part in [
            "P present",
            "RW writable",
            "D written to",
            "NX not to be executed",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        for part in ["PS 2 MiB", "zero the zero", "guard no page", "part of"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("the P4D is folded into the PGD"));
        assert!(text.contains("The page is PFN 130000, node 1, zone Movable, 1 reference to it."));
        let guard = testing::text(&sample(RW, entry::GUARD | entry::ZERO, 0), 80);
        assert!(
            guard.contains("  guard\n") && guard.contains("SIGSEGV"),
            "{guard}"
        );
    }

    #[test]
    fn json_names_what_is_next() {
        let next = |walked: &Walked| {
            let value = serde_json::to_value(walked).expect("JSON");
            value["next"].as_str().map(str::to_owned)
        };
        assert_eq!(next(&sample(RW, WRITTEN, 1)).as_deref(), Some("writable"));
        assert_eq!(next(&sample(RW, 0, 0)).as_deref(), Some("anonymous"));
        assert_eq!(next(&sample(0, 0, 0)).as_deref(), Some("no_access"));
    }

    #[test]
    fn without_tables_there_is_no_table() {
        let mut walked = sample(RW, 0, 0);
        walked.walk.levels.clear();
        testing::fits(&walked);
        let text = testing::text(&walked, 80);
        assert!(text.contains("has no table yet") && !text.contains("P4D"));
    }
}
