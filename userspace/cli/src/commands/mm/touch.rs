// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm touch`: memory in a window of this command's own: what mapping it changes,
//! and what touching it does.

use super::entry;
use crate::args;
use crate::args::TreeName;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::bytes;
use crate::render::duration;
use crate::render::pages;
use crate::render::plural;
use crate::render::Fields;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Tree;
use shadowmm_client::mm::WindowConfig;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Touched {
    bytes: u64,
    write: bool,
    addr: u64,
    /// Not under emulation, where time tells nothing.
    ns: Option<u64>,
    mapped: Change,
    touched: Change,
    /// What the first page is, where it is only read.
    zero_page_pfn: Option<u64>,
    space: Space,
    #[serde(skip)]
    before: Space,
    #[serde(skip)]
    hold: Option<u64>,
}

/// What an address space has more than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Change {
    total_vm_pages: i64,
    rss_pages: i64,
    pgtables_bytes: i64,
    faults: u64,
    faults_mmap_lock: u64,
}

impl Change {
    fn of(before: &Space, after: &Space) -> Self {
        let more = |of: fn(&Space) -> u64| of(after).wrapping_sub(of(before)) as i64;
        let faults = |of: fn(&Space) -> u64| of(after).saturating_sub(of(before));
        Self {
            total_vm_pages: more(|space| space.total_vm_pages),
            rss_pages: more(Space::rss_pages),
            pgtables_bytes: more(|space| space.pgtables_bytes),
            faults: faults(|space| space.faults_vma_lock + space.faults_mmap_lock),
            faults_mmap_lock: faults(|space| space.faults_mmap_lock),
        }
    }
}

impl From<TreeName> for Tree {
    fn from(name: TreeName) -> Self {
        match name {
            TreeName::Maple => Self::Maple,
            TreeName::Rbtree => Self::Rbtree,
        }
    }
}

/// Maps, touches, looks, tells, and keeps it as long as was asked for.
pub fn run(context: &Context, args: &args::Touch) -> Result<()> {
    let device = context.open()?;
    let size = NonZeroUsize::new(args.size as usize);
    let size = size.ok_or_else(|| Error::failed("there is nothing to touch"))?;
    let room = size.get().checked_next_multiple_of(1 << 21);
    let room = room.and_then(|room| room.checked_add(1 << 30));
    let room = room.ok_or_else(|| Error::failed("no address space is as large as that"))?;
    if let Some(tree) = args.tree {
        device.configure_windows(&WindowConfig {
            tree: Some(tree.into()),
            ..WindowConfig::default()
        })?;
    }
    let window = device.window(room)?;
    let before = window.space()?;
    let place = window.mmap_anonymous(size)?.cast::<u8>();
    let mapped = window.space()?;
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
    let space = window.space()?;
    let addr = place.as_ptr().addr() as u64;
    context.show(&Touched {
        bytes: args.size,
        write: !args.read,
        addr,
        ns: time_is_true(&context.root).then_some(ns),
        mapped: Change::of(&before, &mapped),
        touched: Change::of(&mapped, &space),
        zero_page_pfn: zero_page(&device, space.id, addr)?,
        space,
        before,
        hold: args.hold,
    })?;
    thread::sleep(Duration::from_secs(args.hold.unwrap_or(0)));
    Ok(())
}

/// Whether time tells something about the code that is timed.
fn time_is_true(root: &Path) -> bool {
    !matches!(host::machine::accelerator(root).as_str(), "tcg" | "icount")
}

/// The zero page's frame, where the page there is that.
fn zero_page(device: &Device, id: u32, addr: u64) -> Result<Option<u64>> {
    let walk = device.walk(id, addr)?;
    let last = walk.levels.last().map_or(0, |level| level.entry);
    Ok(walk.pfn.filter(|_| last & entry::ZERO != 0))
}

/// How something went on, in a sentence's rest.
fn grew(what: &str, was: u64, now: u64) -> String {
    let (text, now_text) = (bytes(was), bytes(now));
    match () {
        () if now > was => format!("{what} grows from {text} to {now_text}"),
        () if now < was => format!("{what} falls from {text} to {now_text}"),
        () => format!("{what} stays {text}"),
    }
}

impl Touched {
    /// A number of bytes before the touch.
    fn before_touch(&self, now: u64, more: i64) -> u64 {
        now.saturating_add_signed(more.wrapping_neg())
    }

    fn mapped_text(&self) -> String {
        let (space, before) = (&self.space, &self.before);
        let rss = space.rss_pages();
        let rss = self.before_touch(rss, self.touched.rss_pages);
        format!(
            "{} at {:#x}: {}, {}.",
            bytes(self.bytes),
            self.addr,
            grew(
                "VIRT",
                before.total_vm_pages * PAGE_SIZE,
                self.before_touch(space.total_vm_pages, self.touched.total_vm_pages) * PAGE_SIZE
            ),
            grew("RES", before.rss_pages() * PAGE_SIZE, rss * PAGE_SIZE),
        )
    }

    fn touched_text(&self) -> String {
        let (space, touched) = (&self.space, &self.touched);
        let rss = space.rss_pages();
        let was = self.before_touch(rss, touched.rss_pages);
        let mut text = format!(
            "each page {}{}: {}",
            match self.write {
                true => "written to",
                false => "read",
            },
            self.ns
                .map_or(String::new(), |ns| format!(" in {}", duration(ns))),
            grew("RES", was * PAGE_SIZE, rss * PAGE_SIZE)
        );
        if let Some(pfn) = self.zero_page_pfn {
            text.push_str(&format!(
                ", because what is only read is the zero page, PFN {pfn}, one for all"
            ));
        }
        let tables = space.pgtables_bytes;
        let had = self.before_touch(tables, touched.pgtables_bytes);
        text.push_str(&format!(
            "; {}; {}, {} with the mmap lock",
            grew("what tables take", had, tables),
            plural(touched.faults, "fault"),
            match touched.faults_mmap_lock {
                0 => "none".to_owned(),
                some => some.to_string(),
            }
        ));
        if let Some(each) = u64::try_from(touched.rss_pages)
            .ok()
            .and_then(|more| more.checked_div(touched.faults))
            .filter(|&each| each > 1)
        {
            text.push_str(&format!(", {} each", pages(each)));
        }
        text.push('.');
        text
    }
}

impl Report for Touched {
    fn print(&self, screen: &mut Screen) {
        let mut fields = Fields::default();
        fields.add("mapped", self.mapped_text());
        fields.add("touched", self.touched_text());
        fields.print(screen);
        match self.hold {
            Some(seconds) => {
                screen.para(&format!(
                    "It stays for {}, or until Ctrl-C.",
                    plural(seconds, "second")
                ));
                // On a line of its own, to be copied.
                screen.para(&format!(
                    "Next: shadowmm mm walk {} {:#x}",
                    self.space.id, self.addr
                ));
            }
            None => screen.para("It goes now, with the end of this command; --hold SECS keeps it."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample(write: bool, ns: Option<u64>, hold: Option<u64>) -> Touched {
        let before = Space {
            id: 7,
            total_vm_pages: 33,
            ..Space::default()
        };
        let mapped = Space {
            total_vm_pages: 33 + 4096,
            ..before.clone()
        };
        let faults = if write { 9 } else { 4096 };
        let space = Space {
            rss_anon_pages: if write { 4096 } else { 0 },
            pgtables_bytes: 12 << 12,
            faults_vma_lock: faults - 1,
            faults_mmap_lock: 1,
            ..mapped.clone()
        };
        Touched {
            bytes: 16 << 20,
            write,
            addr: 0x7fff_c000_0000,
            ns,
            mapped: Change::of(&before, &mapped),
            touched: Change::of(&mapped, &space),
            zero_page_pfn: (!write).then_some(4711),
            space,
            before,
            hold,
        }
    }

    fn text(touched: &Touched) -> String {
        let words: Vec<_> = testing::text(touched, 80)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        words.join(" ")
    }

    #[test]
    fn they_fit_and_their_keys_stay() {
        for touched in [
            sample(true, Some(1_234_567), Some(60)),
            sample(false, None, None),
        ] {
            testing::fits(&touched);
            let value = serde_json::to_value(&touched).expect("JSON");
            assert_eq!(value["ns"].as_u64(), touched.ns);
            assert_eq!(value["touched"]["faults_mmap_lock"], 1);
            assert_eq!(value["mapped"]["total_vm_pages"], 4096);
            assert_eq!(value["mapped"]["rss_pages"], 0);
        }
    }

    #[test]
    fn mapping_and_touching_are_told_apart() {
        let written = text(&sample(true, Some(1_234_567), Some(60)));
        assert!(written.contains(
            "mapped 16 MiB at 0x7fffc0000000: VIRT grows from 132 KiB to 16.1 MiB, RES stays 0 B."
        ));
        assert!(written.contains(
            "touched each page written to in 1.2 ms: RES grows from 0 B to 16 MiB; what tables \
             take grows from 0 B to 48 KiB; 9 faults, 1 with the mmap lock, 1.8 MiB each."
        ));
        assert!(
            written.contains("for 60 seconds, or until Ctrl-C. Next: shadowmm mm walk 7 0x7fff")
        );
    }

    #[test]
    fn what_is_only_read_is_the_zero_page() {
        let read = text(&sample(false, None, None));
        assert!(read.contains(
            "each page read: RES stays 0 B, because what is only read is the zero page, PFN 4711"
        ));
        assert!(read.contains("4,096 faults, 1 with the mmap lock. It goes now"));
    }

    #[test]
    fn emulated_time_is_not_told() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(std::env::var_os("SHADOWMM_ACCEL").is_some() || time_is_true(dir.path()));
        assert!(!text(&sample(true, None, None)).contains(" in "));
    }
}
