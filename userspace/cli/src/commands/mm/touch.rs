// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm touch`: memory in a window of this command's own.

use crate::args;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::bytes;
use crate::render::duration;
use crate::render::pages;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;
use std::num::NonZeroUsize;
use std::time::Instant;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Touched {
    bytes: u64,
    write: bool,
    ns: u64,
    space: Space,
}

impl Touched {
    /// Maps, touches and looks.
    pub fn run(device: &Device, args: &args::Touch) -> Result<Self> {
        let size = NonZeroUsize::new(args.size as usize);
        let size = size.ok_or_else(|| Error::failed("there is nothing to touch"))?;
        let window = device.window(size.get().next_multiple_of(1 << 21) + (1 << 30))?;
        let place = window.mmap_anonymous(size)?.cast::<u8>();
        let start = Instant::now();
        for offset in (0..size.get()).step_by(PAGE_SIZE as usize) {
            // SAFETY: The memory was just mapped, so many bytes of it, and nobody else
            // knows of it.
            unsafe {
                let byte = place.add(offset).as_ptr();
                match args.read {
                    true => drop(byte.read_volatile()),
                    false => byte.write_volatile(1),
                }
            }
        }
        let ns = start.elapsed().as_nanos() as u64;
        Ok(Self {
            bytes: args.size,
            write: !args.read,
            ns,
            space: window.space()?,
        })
    }
}

impl Report for Touched {
    fn print(&self, screen: &mut Screen) {
        let space = &self.space;
        screen.para(&format!(
            "{} touched in {}: {} are resident, {} of tables, {} faults, {} of them with the mmap lock.",
            bytes(self.bytes),
            duration(self.ns),
            pages(space.rss_anon_pages),
            bytes(space.pgtables_bytes),
            space.faults_vma_lock + space.faults_mmap_lock,
            space.faults_mmap_lock
        ));
    }
}
