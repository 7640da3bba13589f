// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm list`, and what `/proc/shadowmm/mm` says of one.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Vma;
use shadowmm_client::Device;
use std::fs;

/// The address spaces.
#[derive(Debug, Serialize)]
pub struct Spaces {
    spaces: Vec<Space>,
}

impl Spaces {
    /// Asks for them.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            spaces: device.spaces()?,
        })
    }
}

impl Report for Spaces {
    fn print(&self, screen: &mut Screen) {
        if self.spaces.is_empty() {
            screen.para("No process has a window.");
            return;
        }
        let mut table = Table::new([
            Column::number("id"),
            Column::number("pid"),
            Column::text("process"),
            Column::number("VMAs"),
            Column::number("mapped"),
            Column::number("resident"),
            Column::number("tables"),
            Column::number("faults"),
            Column::number("mmap lock"),
        ]);
        for space in &self.spaces {
            let resident = space.rss_file_pages + space.rss_anon_pages + space.rss_shmem_pages;
            table.row([
                space.id.to_string(),
                space.pid.to_string(),
                printable(&space.comm),
                space.map_count.to_string(),
                pages(space.total_vm_pages),
                pages(resident),
                crate::render::bytes(space.pgtables_bytes),
                (space.faults_vma_lock + space.faults_mmap_lock).to_string(),
                space.faults_mmap_lock.to_string(),
            ]);
        }
        table.print(screen);
    }
}

/// A process's name, which may have whatever that likes, for a terminal.
fn printable(comm: &str) -> String {
    comm.replace(char::is_control, "?")
}

/// A text about an address space.
#[derive(Debug, Serialize)]
pub struct Text {
    id: u32,
    text: String,
}

impl Text {
    /// Reads it.
    pub fn read(context: &Context, id: u32, file: &str) -> Result<Self> {
        let path = context.root.join(format!("proc/shadowmm/mm/{id}/{file}"));
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| {
            let error = Error::failed(format!("could not read {}: {error}", path.display()));
            error.with_advice("'shadowmm mm list' shows which there are")
        })?;
        Ok(Self { id, text })
    }
}

impl Report for Text {
    fn print(&self, screen: &mut Screen) {
        for line in self.text.lines() {
            screen.line(line);
        }
    }
}

#[derive(Debug, Serialize)]
struct Maps {
    id: u32,
    vmas: Vec<Vma>,
    #[serde(skip)]
    text: String,
}

impl Report for Maps {
    fn print(&self, screen: &mut Screen) {
        for line in self.text.lines() {
            screen.line(line);
        }
    }
}

/// `shadowmm mm maps`.
pub fn maps(context: &Context, id: u32) -> Result<()> {
    let text = Text::read(context, id, "maps")?.text;
    let vmas = context.open()?.vmas(id)?;
    context.show(&Maps { id, vmas, text })
}
