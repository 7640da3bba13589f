// SPDX-License-Identifier: GPL-2.0

//! `shadowmm page`: allocates, frees and looks at pages.

use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::pages;
use crate::render::Column;
use crate::render::Fields;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::AllocRequest;
use shadowmm_client::Block;
use shadowmm_client::Device;
use shadowmm_client::Page;
use shadowmm_client::PageOwner;
use shadowmm_client::PageState;
use shadowmm_core::page::ZoneType;
use std::io;
use std::io::BufRead;
use std::thread;
use std::time::Duration;

/// The name of a zone by its index, as `/proc` has it.
pub fn zone_name(zone: u32) -> &'static str {
    let kind = ZoneType::ALL.get(zone as usize);
    kind.map_or("unknown", |kind| kind.name())
}

/// The blocks that were allocated.
#[derive(Debug, Serialize)]
struct AllocReport {
    blocks: Vec<BlockReport>,
    #[serde(skip)]
    end: &'static str,
}

#[derive(Debug, Serialize)]
struct BlockReport {
    pfn: u64,
    order: u32,
    nid: i32,
    zone: u32,
    zone_name: &'static str,
}

impl From<&Block<'_>> for BlockReport {
    fn from(block: &Block<'_>) -> Self {
        Self {
            pfn: block.pfn(),
            order: block.order(),
            nid: block.nid(),
            zone: block.zone(),
            zone_name: zone_name(block.zone()),
        }
    }
}

impl Report for AllocReport {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::number("pfn"),
            Column::number("order"),
            Column::number("size"),
            Column::number("node"),
            Column::text("zone"),
        ]);
        for block in &self.blocks {
            table.row([
                block.pfn.to_string(),
                block.order.to_string(),
                pages(1u64.checked_shl(block.order).unwrap_or(0)),
                block.nid.to_string(),
                block.zone_name.to_owned(),
            ]);
        }
        table.print(screen);
        screen.blank();
        screen.para(self.end);
    }
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
    /// What the page is, in a sentence's rest.
    pub fn what(&self) -> String {
        let page = &self.page;
        let size = pages(1u64.checked_shl(page.order).unwrap_or(0));
        match page.state {
            PageState::Hole => "an address without RAM".to_owned(),
            PageState::Reserved => "memblock has kept it".to_owned(),
            PageState::Buddy => format!("the first page of a free block of {size}"),
            PageState::Allocated => format!("the first page of an allocated block of {size}"),
            PageState::Tail => format!(
                "inside the {} block of {size} from {}",
                match page.head_state {
                    PageState::Allocated => "allocated",
                    _ => "free",
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

/// A block that was freed.
#[derive(Debug, Serialize)]
struct FreeReport {
    pfn: u64,
    order: u32,
    freed: bool,
}

impl Report for FreeReport {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "The block of order {} from page {} is free.",
            self.order, self.pfn
        ));
    }
}

/// Does what is to be done with pages.
pub fn run(context: &Context, command: &args::Page) -> Result<()> {
    let device = context.open()?;
    match command {
        args::Page::Alloc(args) => alloc(context, &device, args),
        args::Page::Free { pfn, order } => {
            device.free(*pfn, *order)?;
            context.show(&FreeReport {
                pfn: *pfn,
                order: *order,
                freed: true,
            })
        }
        args::Page::Show { pfn } => context.show(&PageReport::from(device.page(*pfn)?)),
    }
}

fn alloc(context: &Context, device: &Device, args: &args::Alloc) -> Result<()> {
    let request = AllocRequest {
        gfp: args.gfp,
        order: args.order,
        nid: args.node,
    };
    let mut blocks = Vec::new();
    for number in 1..=args.count {
        match device.alloc(&request) {
            Ok(block) => blocks.push(block),
            Err(error) if number > 1 => {
                let advice = error.advice().map(str::to_owned);
                return Err(Error::Failed {
                    what: format!("block {number} of {}: {error}", args.count),
                    advice,
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let report = AllocReport {
        blocks: blocks.iter().map(BlockReport::from).collect(),
        end: if args.interactive {
            "They are held until the end of stdin. Lines may be: show PFN, free PFN [ORDER], quit."
        } else if args.hold.is_some() {
            "They are held for the time named, or until this command is ended."
        } else {
            "They return now, with the end of this command; --hold SECS or --interactive keep them."
        },
    };
    if args.interactive {
        context.show_line(&report)?;
        interact(context, device, blocks)
    } else {
        context.show(&report)?;
        thread::sleep(Duration::from_secs(args.hold.unwrap_or(0)));
        Ok(())
    }
}

/// Does what the lines of stdin say, until there are no more.
fn interact(context: &Context, device: &Device, mut blocks: Vec<Block<'_>>) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::failed(format!("could not read stdin: {error}")))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = match words[..] {
            [] => Ok(()),
            ["quit" | "q"] => break,
            ["show", pfn] => {
                number(pfn).and_then(|pfn| context.show_line(&PageReport::from(device.page(pfn)?)))
            }
            ["free", pfn] => number(pfn).and_then(|pfn| {
                let held = blocks.iter().find(|block| block.pfn() == pfn);
                let order = held.map_or(0, Block::order);
                free(context, device, &mut blocks, pfn, order)
            }),
            ["free", pfn, order] => number(pfn).and_then(|pfn| {
                let order = u32::try_from(number(order)?).unwrap_or(u32::MAX);
                free(context, device, &mut blocks, pfn, order)
            }),
            _ => Err(Error::failed(format!(
                "{line:?} is not one of: show PFN, free PFN [ORDER], quit"
            ))),
        };
        match done {
            Ok(()) => {}
            Err(Error::Output(error)) => return Err(Error::Output(error)),
            // Whoever types goes on typing.
            Err(error) => eprintln!("shadowmm: {error}"),
        }
    }
    Ok(())
}

/// Frees a block, ours or not: the module judges.
fn free(
    context: &Context,
    device: &Device,
    blocks: &mut Vec<Block<'_>>,
    pfn: u64,
    order: u32,
) -> Result<()> {
    let ours = |block: &Block<'_>| block.pfn() == pfn && block.order() == order;
    match blocks.iter().position(ours) {
        Some(index) => blocks.swap_remove(index).free()?,
        None => device.free(pfn, order)?,
    }
    context.show_line(&FreeReport {
        pfn,
        order,
        freed: true,
    })
}

fn number(text: &str) -> Result<u64> {
    args::pfn(text).map_err(|error| Error::failed(format!("{text:?}: {error}")))
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
        let report = AllocReport {
            blocks: vec![BlockReport {
                pfn: 1,
                order: 10,
                nid: 0,
                zone: 2,
                zone_name: "Normal",
            }],
            end: "They return.",
        };
        testing::fits(&report);
        testing::keys(
            &report,
            "blocks blocks[].nid blocks[].order blocks[].pfn blocks[].zone blocks[].zone_name",
        );
    }
}
