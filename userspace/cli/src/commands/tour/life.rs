// SPDX-License-Identifier: GPL-2.0

//! The tour's screen that does something: pages are allocated, looked at and
//! freed, and the free areas say what happened.

use crate::commands::buddy::BuddyReport;
use crate::commands::buddy::ORDERS;
use crate::commands::page::zone_name;
use crate::commands::page::PageReport;
use crate::error::Result;
use crate::render::signed;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use shadowmm_client::AllocRequest;
use shadowmm_client::Device;
use shadowmm_client::NR_ORDERS;

/// What is allocated: a page, a small stack, a huge page.
const PLAN: [u32; 3] = [0, 3, 9];

/// Free blocks by order, in all zones together, those included that the CPUs
/// keep at hand.
fn drained(device: &Device) -> Result<[u64; NR_ORDERS]> {
    device.drain(None)?;
    blocks(device)
}

/// Free blocks by order, in all zones together, of the free lists alone.
fn blocks(device: &Device) -> Result<[u64; NR_ORDERS]> {
    let mut sum = [0u64; NR_ORDERS];
    for zone in BuddyReport::read(device)?.zones {
        for (sum, blocks) in sum.iter_mut().zip(zone.nr_free) {
            *sum = sum.saturating_add(blocks);
        }
    }
    Ok(sum)
}

/// A row of the change from `before` to `after`.
fn change(what: String, before: &[u64; NR_ORDERS], after: &[u64; NR_ORDERS]) -> Vec<String> {
    let mut row = vec![what];
    row.extend(before.iter().zip(after).map(|(&before, &after)| {
        match after.wrapping_sub(before) as i64 {
            0 => String::new(),
            change => signed(change),
        }
    }));
    row
}

/// Tells it while doing it.
pub fn tell(device: &Device, cosmos: bool, screen: &mut Screen) -> Result<()> {
    screen.para(match cosmos {
        true => "alloc_pages() goes to an area of the page manager after Cosmos (allocator=cosmos), not of Linux's: the smallest block that fits is taken, and halved down to the size that is wanted; what comes back merges with the block beside it, as far up as that goes. Requests of one page, of 8 and of 512, and how the free blocks change:",
        false => "alloc_pages() goes through the zonelist, asks for a zone whose watermark allows it, and takes a block off a free list. Small ones go through the CPU's pageset, a stack of free pages of its own, which is drained after each step but the first free(). Requests (GFP_KERNEL) of 1, 8 and 512 pages, and how free blocks change:",
    });
    screen.blank();
    let mut columns = vec![Column::text("free blocks by order")];
    columns.extend(ORDERS.map(Column::number));
    let mut table = Table::new(columns).tight();

    let first = drained(device)?;
    let mut row = vec!["before".to_owned()];
    row.extend(first.iter().map(u64::to_string));
    table.row(row);

    let mut held = Vec::new();
    let mut stories = Vec::new();
    let mut before = first;
    for order in PLAN {
        let request = AllocRequest {
            order,
            ..AllocRequest::default()
        };
        match device.alloc(&request) {
            Ok(block) => {
                let after = drained(device)?;
                table.row(change(format!("alloc order {order}"), &before, &after));
                before = after;
                if held.is_empty() {
                    let page = PageReport::from(device.page(block.pfn())?);
                    stories.push(format!(
                        "Page {}, node {}, zone {}, is {}.",
                        block.pfn(),
                        block.nid(),
                        zone_name(block.zone()),
                        page.what()
                    ));
                }
                held.push(block);
            }
            Err(error) => stories.push(format!("Order {order}: {error}.")),
        }
    }
    // Inside the last block: a page that is not its first.
    if let Some(block) = held.last() {
        let inside = block.pfn() + 5;
        let page = PageReport::from(device.page(inside)?);
        stories.push(format!("Page {inside} is {}.", page.what()));
        let refused = device.free(inside, 0);
        if let Err(error) = refused {
            stories.push(format!("Freeing that one is refused: {error}."));
        }
    }
    // Of a page that was seen to stay in a pageset and to come out of it: whether it merged.
    let mut kept = None;
    for block in held {
        let order = block.order();
        let mut stayed = false;
        block.free()?;
        if order == 0 {
            // What goes to the CPU's pageset the lists don't see.
            let after = blocks(device)?;
            table.row(change("free order 0".to_owned(), &before, &after));
            stayed = after == before;
            before = after;
        }
        let after = drained(device)?;
        table.row(match order {
            0 => change("drained".to_owned(), &before, &after),
            _ => change(format!("free order {order}"), &before, &after),
        });
        if order == 0 && stayed && after != before {
            kept = Some(after[0] <= before[0]);
        }
        before = after;
    }
    let mut row = vec!["after".to_owned()];
    row.extend(before.iter().map(u64::to_string));
    table.row(row);

    table.print(screen);
    screen.blank();
    for story in stories {
        screen.para(&story);
    }
    if let Some(merged) = kept {
        screen.para(&format!(
            "The freed page stayed in the CPU's pageset, off the lists; drained, it {}.",
            match merged {
                true => "merged",
                false => "came to them",
            }
        ));
    }
    screen.para(if before == first {
        "Every split has been merged again: the free blocks are what they were."
    } else {
        "The free blocks are not what they were: somebody else has allocated or freed meanwhile."
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_only_the_orders_that_changed() {
        let mut before = [0; NR_ORDERS];
        before[2] = 3;
        let mut after = before;
        after[2] = 2;
        after[1] = 1;
        let row = change("split".to_owned(), &before, &after);
        assert_eq!(row[..4], ["split", "", "+1", "-1"]);
        assert!(row[4..].iter().all(String::is_empty));
    }
}
