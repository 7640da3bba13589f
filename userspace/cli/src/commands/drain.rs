// SPDX-License-Identifier: GPL-2.0

//! `shadowmm drain`: the pages that CPUs keep at hand go back to their zones.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::count;
use crate::render::Screen;
use serde::Serialize;

/// What became of it.
#[derive(Serialize)]
struct Drained {
    drained_pages: u64,
}

impl Report for Drained {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.drained_pages {
            0 => "No CPU kept a page.".to_owned(),
            1 => "1 page went back to its zone.".to_owned(),
            pages => format!("{} pages went back to their zones.", count(pages)),
        });
    }
}

/// Drains all pagesets, or those of one node's zones.
pub fn run(context: &Context, node: Option<u32>) -> Result<()> {
    let drained_pages = context.open()?.drain(node)?;
    context.show(&Drained { drained_pages })
}
