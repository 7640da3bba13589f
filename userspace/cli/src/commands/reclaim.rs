// SPDX-License-Identifier: GPL-2.0

//! `shadowmm drain`, `compact` and `shrink`: by hand what is done when memory is
//! short.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::count;
use crate::render::Screen;
use serde::Serialize;

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
pub fn drain(context: &Context, node: Option<u32>) -> Result<()> {
    let drained_pages = context.open()?.drain(node)?;
    context.show(&Drained { drained_pages })
}

#[derive(Serialize)]
struct Compacted {
    moved_pages: u64,
}

impl Report for Compacted {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.moved_pages {
            0 => "There was nothing to move.".to_owned(),
            1 => "1 page has moved.".to_owned(),
            pages => format!("{} pages have moved.", count(pages)),
        });
    }
}

/// Compacts all nodes, or one.
pub fn compact(context: &Context, node: Option<u32>) -> Result<()> {
    let moved_pages = context.open()?.compact(node)?;
    context.show(&Compacted { moved_pages })
}

#[derive(Serialize)]
struct Shrunk {
    freed_pages: u64,
}

impl Report for Shrunk {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.freed_pages {
            0 => "Nobody had a page to give up.".to_owned(),
            1 => "1 page was given up.".to_owned(),
            pages => format!("{} pages were given up.", count(pages)),
        });
    }
}

/// Shrinks all caches.
pub fn shrink(context: &Context) -> Result<()> {
    let freed_pages = context.open()?.shrink()?;
    context.show(&Shrunk { freed_pages })
}
