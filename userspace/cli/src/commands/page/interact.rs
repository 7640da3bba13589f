// SPDX-License-Identifier: GPL-2.0

//! `shadowmm page alloc --interactive`: does what the lines of stdin say.

use super::held::Freed;
use super::held::Got;
use super::held::Merged;
use super::held::Put;
use super::held::Split;
use super::PageReport;
use crate::args;
use crate::commands::lines;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use shadowmm_client::Device;
use shadowmm_client::PageOwner;
use shadowmm_client::PageState;

/// What a line may be.
pub const LINES: &str =
    "show PFN, free PFN [ORDER], split PFN TO, merge PFN ORDER, get PFN, put PFN, quit";

/// Does what the lines of stdin say, until there are no more. What the device
/// holds then goes back with it.
pub fn run(context: &Context, device: &Device) -> Result<()> {
    lines::obey_stdin(context, |words| obey(context, device, words))
}

fn obey(context: &Context, device: &Device, words: &[&str]) -> Result<()> {
    match *words {
        ["show", pfn] => context.show_line(&PageReport::from(device.page(number(pfn)?)?)),
        ["free", pfn] => {
            let pfn = number(pfn)?;
            context.show_line(&Freed::of(device, pfn, order_of(device, pfn))?)
        }
        ["free", pfn, order] => context.show_line(&Freed::of(device, number(pfn)?, small(order)?)?),
        ["split", pfn, to] => {
            let pfn = number(pfn)?;
            let order = order_of(device, pfn);
            context.show_line(&Split::of(device, pfn, order, small(to)?)?)
        }
        ["merge", pfn, order] => {
            context.show_line(&Merged::of(device, number(pfn)?, small(order)?)?)
        }
        ["get", pfn] => {
            let (block, got) = Got::of(device, number(pfn)?)?;
            // It is the device's now, until 'put' or the end.
            block.leave();
            context.show_line(&got)
        }
        ["put", pfn] => context.show_line(&Put::of(device, number(pfn)?)?),
        _ => Err(lines::unknown(words, LINES)),
    }
}

/// The order of one's own block; 0 for whatever else, which the module refuses.
fn order_of(device: &Device, pfn: u64) -> u32 {
    match device.page(pfn) {
        Ok(page) if page.state == PageState::Allocated && page.owner == PageOwner::This => {
            page.order
        }
        _ => 0,
    }
}

fn number(text: &str) -> Result<u64> {
    args::pfn(text).map_err(|error| Error::failed(format!("{text:?}: {error}")))
}

/// An order; what is too large for a number is too large for an order.
fn small(text: &str) -> Result<u32> {
    Ok(u32::try_from(number(text)?).unwrap_or(u32::MAX))
}
