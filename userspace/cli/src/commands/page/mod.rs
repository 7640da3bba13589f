// SPDX-License-Identifier: GPL-2.0

//! `shadowmm page`: allocates, splits, merges, shares, frees and looks at pages.
//!
//! ```text
//! alloc.rs      blocks, many single pages, so many bytes
//! held.rs       what is done with blocks that one has
//! interact.rs   the same, line by line
//! ```

mod alloc;
mod held;
mod interact;

use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::pages;
use crate::render::Fields;
use crate::render::Screen;
use held::Freed;
use held::Got;
use held::Merged;
use held::Put;
use held::Split;
use serde::Serialize;
use shadowmm_client::Page;
use shadowmm_client::PageOwner;
use shadowmm_client::PageState;
use shadowmm_core::page::ZoneType;
use std::thread;
use std::time::Duration;

/// The name of a zone by its index, as `/proc` has it.
pub fn zone_name(zone: u32) -> &'static str {
    let kind = ZoneType::ALL.get(zone as usize);
    kind.map_or("unknown", |kind| kind.name())
}

/// What is known about a page.
#[derive(Debug, Serialize)]
pub struct PageReport {
    #[serde(flatten)]
    page: Page,
    zone_name: &'static str,
}

impl From<Page> for PageReport {
    fn from(page: Page) -> Self {
        Self {
            zone_name: zone_name(page.zone),
            page,
        }
    }
}

impl PageReport {
    /// The page itself.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Its zone's name.
    pub fn zone_name(&self) -> &'static str {
        self.zone_name
    }

    /// What the page is, in a sentence's rest.
    pub fn what(&self) -> String {
        let page = &self.page;
        let size = pages(1u64.checked_shl(page.order).unwrap_or(0));
        match page.state {
            PageState::Hole => "an address without RAM".to_owned(),
            PageState::Reserved => "memblock has kept it".to_owned(),
            PageState::Buddy => format!("the first page of a free block of {size}"),
            PageState::Allocated => format!("the first page of an allocated block of {size}"),
            PageState::Slab => format!("the first page of a slab of {size}"),
            PageState::Tail => format!(
                "inside the {} of {size} from {}",
                match page.head_state {
                    PageState::Allocated => "allocated block",
                    PageState::Slab => "slab",
                    _ => "free block",
                },
                page.head_pfn
            ),
        }
    }
}

impl Report for PageReport {
    fn print(&self, screen: &mut Screen) {
        let page = &self.page;
        let mut fields = Fields::default();
        fields.add("pfn", format!("{} ({:#x})", page.pfn, page.pfn));
        fields.add("state", format!("{}: {}", page.state.name(), self.what()));
        fields.add("order", page.order.to_string());
        fields.add("references", page.count.to_string());
        fields.add(
            "owner",
            match page.owner {
                PageOwner::None => "none",
                PageOwner::This => "this open file",
                PageOwner::Other => "another open file",
                PageOwner::Kernel => "the module itself",
            },
        );
        fields.add("node", page.nid.to_string());
        fields.add("zone", self.zone_name);
        fields.add("section", page.section.to_string());
        fields.add(
            "host's pfn",
            page.host_pfn
                .map_or("none, or none that you may see".to_owned(), |pfn| {
                    format!("{pfn} ({pfn:#x})")
                }),
        );
        fields.print(screen);
    }
}

/// Does what is to be done with pages.
pub fn run(context: &Context, command: &args::Page) -> Result<()> {
    match command {
        args::Page::Alloc(args) => alloc::run(context, args),
        args::Page::Free { pfn, order } => {
            context.show(&Freed::of(&context.open()?, *pfn, *order)?)
        }
        args::Page::Split { pfn, order, to } => {
            context.show(&Split::of(&context.open()?, *pfn, *order, *to)?)
        }
        args::Page::Merge { pfn, order } => {
            context.show(&Merged::of(&context.open()?, *pfn, *order)?)
        }
        args::Page::Get { pfn, hold } => {
            let device = context.open()?;
            let (block, got) = Got::of(&device, *pfn)?;
            context.show(&got)?;
            thread::sleep(Duration::from_secs(hold.unwrap_or(0)));
            Ok(block.free()?)
        }
        args::Page::Contig(args) => alloc::contig(context, args),
        args::Page::Put { pfn } => context.show(&Put::of(&context.open()?, *pfn)?),
        args::Page::Show { pfn } => context.show(&PageReport::from(context.open()?.page(*pfn)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample(state: PageState) -> PageReport {
        PageReport::from(Page {
            pfn: 4099,
            state,
            head_pfn: 4096,
            head_state: PageState::Allocated,
            order: 3,
            nid: 1,
            zone: 2,
            section: 1,
            count: 1,
            owner: PageOwner::Other,
            host_pfn: None,
        })
    }

    #[test]
    fn a_page_is_told_in_words() {
        assert_eq!(
            sample(PageState::Tail).what(),
            "inside the allocated block of 32 KiB from 4096"
        );
        assert!(sample(PageState::Buddy)
            .what()
            .contains("free block of 32 KiB"));
        assert_eq!(zone_name(2), "Normal");
        assert_eq!(zone_name(9), "unknown");
    }

    #[test]
    fn they_fit_and_their_keys_stay() {
        testing::fits(&sample(PageState::Tail));
        testing::keys(
            &sample(PageState::Tail),
            "count head_pfn head_state host_pfn nid order owner pfn section state zone zone_name",
        );
    }
}
