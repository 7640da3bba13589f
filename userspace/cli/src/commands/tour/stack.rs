// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about stacks: one grows by faults, up to a limit and a gap; a thread's
//! is a mapping with a guard. Those who go too far are children.

use super::window::address;
use super::window::holding;
use super::window::length;
use super::window::open;
use super::window::place;
use super::window::range;
use super::window::size;
use super::window::touch_in_child;
use super::window::Ended;
use super::window::Touch;
use super::window::WINDOW;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::bytes;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use serde::Serialize;
use shadowmm_client::mm::Limit;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;

/// How far below the stack is touched, one after the other.
const BELOW: [u64; 2] = [4 * PAGE_SIZE, 300 << 10];
/// What the stack may grow by when it has its limit.
const ROOM: u64 = 64 << 10;
/// How near a mapping comes to it.
const NEAR: u64 = 128 << 10;
/// A thread's stack, and its guard.
const THREAD: u64 = 8 << 20;
const GUARD: u64 = PAGE_SIZE;

/// How stacks grow and end.
#[derive(Debug, Serialize)]
pub struct Stacks {
    /// As it was, and after each touch.
    grown: Vec<Grown>,
    /// The limit before the window had one of its own; none: unlimited.
    rlimit: Option<u64>,
    /// The window's own.
    limit: u64,
    /// What children touched, and how they ended.
    tried: Vec<Tried>,
    /// Those of a thread's stack: the guard, the stack.
    thread: Vec<Vma>,
}

#[derive(Debug, Serialize)]
struct Grown {
    /// How far below the stack was touched.
    below: Option<u64>,
    vma: Vma,
}

#[derive(Debug, Serialize)]
struct Tried {
    what: &'static str,
    ended: Ended,
}

/// The VMA of the stack.
fn stack(window: &Window<'_>) -> Result<Vma> {
    let top = window.space()?.start_stack;
    let found = holding(&window.vmas()?, top);
    found.ok_or_else(|| Error::failed("the window has no stack"))
}

impl Stacks {
    /// Touches, limits, and sends children too far.
    pub fn see(device: &Device) -> Result<Self> {
        let window = open(device, WINDOW)?;
        let mut vma = stack(&window)?;
        let mut grown = vec![Grown { below: None, vma }];
        let mut touch = Touch::new(&window)?;
        for below in BELOW {
            touch.write(vma.start - below, 1)?;
            vma = stack(&window)?;
            grown.push(Grown {
                below: Some(below),
                vma,
            });
        }

        let rlimit = window.getrlimit(Limit::Stack)?;
        let limit = size(&vma) + ROOM;
        window.setrlimit(Limit::Stack, Some(limit))?;
        let mut tried = Vec::new();
        let mut attempt = |what, addr| {
            let ended = touch_in_child(&window, addr)?;
            tried.push(Tried { what, ended });
            Ok::<(), Error>(())
        };
        let page = PAGE_SIZE;
        attempt("a page below the stack", vma.start - page)?;
        attempt("a page beyond its limit", vma.start - ROOM - page)?;
        window.follow_rlimit(Limit::Stack)?;
        let fixed = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let near = place(vma.start - NEAR)?;
        window.mmap(Some(near.addr()), length(page)?, prot, fixed, None)?;
        attempt("a page below it, a mapping near", vma.start - page)?;
        window.munmap(near, page as usize)?;

        // As the thread library has it (allocate_stack()).
        let none = ProtFlags::PROT_NONE;
        let all = window.mmap(None, length(THREAD)?, none, MapFlags::MAP_PRIVATE, None)?;
        let start = address(all);
        let usable = place(start + GUARD)?;
        window.mprotect(usable, (THREAD - GUARD) as usize, prot)?;
        attempt("a thread's stack, its top", start + THREAD - page)?;
        attempt("its guard, below it", start)?;
        let mut thread = window.vmas()?;
        thread.retain(|vma| start <= vma.start && vma.end <= start + THREAD);
        Ok(Self {
            grown,
            rlimit,
            limit,
            tried,
            thread,
        })
    }

    fn grown(&self) -> Table {
        let mut table = Table::new([
            Column::text("touched"),
            Column::text("[stack]"),
            Column::number("size"),
        ]);
        for grown in &self.grown {
            table.row([
                grown.below.map_or("nothing yet".to_owned(), |below| {
                    format!("{} below it", bytes(below))
                }),
                range(&grown.vma),
                bytes(size(&grown.vma)),
            ]);
        }
        table
    }
}

impl Report for Stacks {
    fn print(&self, screen: &mut Screen) {
        let grows = self
            .grown
            .windows(2)
            .all(|pair| pair[1].vma.start < pair[0].vma.start);
        screen.para(&format!(
            "A stack is a VMA that grows downwards: a fault below it is no end, it is expand_stack(). {}",
            match grows {
                true => "Here each touch below it moved its start:",
                false => "Here not every touch below it moved its start:",
            }
        ));
        screen.blank();
        self.grown().print(screen);
        screen.blank();
        screen.para(&format!(
            "It may come to RLIMIT_STACK, {}, and stops before a mapping below, by the gap of vm/stack_guard_gap. The window gets a limit of its own, of {}, and children try what is allowed:",
            self.rlimit.map_or("which is none".to_owned(), bytes),
            bytes(self.limit)
        ));
        screen.blank();
        let mut table = Table::new([
            Column::text("a child touches"),
            Column::text("waitpid() says"),
        ]);
        for tried in &self.tried {
            table.row([tried.what.to_owned(), tried.ended.to_string()]);
        }
        table.print(screen);
        screen.blank();
        let vmas: Vec<String> = self
            .thread
            .iter()
            .map(|vma| format!("{} {}", vma.flags.permissions(), bytes(size(vma))))
            .collect();
        screen.para(&format!(
            "A thread's stack is a plain mapping, which the thread library makes before clone(CLONE_VM) and keeps for the next thread: of fixed size, with a guard page at its end ({}). It does not grow.",
            vmas.join(", ")
        ));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> Stacks {
        let end = 0x7f00_4000_0000;
        let grown = [(None, 33), (Some(16 << 10), 37), (Some(300 << 10), 112)];
        let tried = |what, signal: Option<&'static str>| Tried {
            what,
            ended: Ended {
                status: signal.is_none().then_some(0),
                signal,
            },
        };
        let at = 0x7f00_3780_0000;
        Stacks {
            grown: grown
                .map(|(below, pages)| Grown {
                    below,
                    vma: testing::vma(end - pages * PAGE_SIZE, end, "rw"),
                })
                .into(),
            rlimit: Some(8 << 20),
            limit: 512 << 10,
            tried: vec![
                tried("a page below the stack", None),
                tried("a page beyond its limit", Some("SIGSEGV")),
                tried("a page below it, a mapping near", Some("SIGSEGV")),
                tried("a thread's stack, its top", None),
                tried("its guard, below it", Some("SIGSEGV")),
            ],
            thread: vec![
                testing::vma(at, at + GUARD, ""),
                testing::vma(at + GUARD, at + THREAD, "rw"),
            ],
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 300);
        assert!(text.contains("each touch below it moved its start"));
        assert!(text.contains("a page beyond its limit          ended by SIGSEGV"));
        assert!(text.contains("a page below the stack           exit status 0"));
        assert!(text.contains("(---p 4 KiB, rw-p 8 MiB)"));
        seen.grown[2].vma = seen.grown[1].vma;
        seen.rlimit = None;
        let text = testing::text(&seen, 300);
        assert!(text.contains("not every touch"));
        assert!(text.contains("RLIMIT_STACK, which is none,"));
    }
}
