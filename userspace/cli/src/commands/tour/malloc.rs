// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about malloc: what the command's own C library does with requests, and
//! which of them reach the kernel.
//!
//! Readings are taken first, into places that are there already; words are made of them
//! afterwards, since these need memory themselves.

use crate::context::Report;
use crate::error::Result;
use crate::render::bytes;
use crate::render::count;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;

/// How many small ones, and of how many bytes: below the fast bins' limit.
const MANY: usize = 4000;
const SMALL: usize = 100;
/// How many above it.
const SOME: usize = 20;
const LARGER: usize = 1000;
/// What is a mapping of its own.
const LARGE: usize = 200 << 10;
/// From where on one is (`DEFAULT_MMAP_THRESHOLD`): it rises when mappings are freed, and may have
/// risen.
#[cfg(target_env = "gnu")]
const THRESHOLD: i32 = 128 << 10;
/// What is given back before the next step.
const AT_ONCE: &str = "free() of it";

/// What the C library did; nothing where it does not tell.
#[derive(Debug, Serialize)]
pub struct Malloc {
    told: Option<Told>,
}

/// What it told.
#[derive(Debug, Serialize)]
struct Told {
    /// Of malloc(24): what may be used, and the chunk.
    usable_bytes: usize,
    chunk_bytes: usize,
    /// Whether the next malloc(24) got the place that free() was given.
    same_place: bool,
    steps: Vec<Step>,
    /// Chunks that came to the fast bins: of the small ones that were freed, of the others.
    fast_chunks: [i64; 2],
    /// Free chunks that the others became.
    free_chunks: i64,
    /// What a second thread got.
    thread: Thread,
}

/// How the readings changed with a step.
#[derive(Clone, Debug, Default, Serialize)]
struct Step {
    what: &'static str,
    /// What counts as given out.
    in_use_bytes: i64,
    /// How far `sbrk(0)` moved, and how often.
    heap_bytes: i64,
    brk_moves: usize,
    /// What mappings of its own have.
    mmapped_bytes: i64,
    /// What arenas have of the kernel.
    arena_bytes: i64,
}

impl Step {
    /// What of it the kernel was asked for.
    fn kernel(&self) -> String {
        match (self.brk_moves, self.mmapped_bytes, self.arena_bytes) {
            (1, ..) => "brk".to_owned(),
            (2.., ..) => format!("brk, {} times", self.brk_moves),
            (0, 1.., _) => "mmap".to_owned(),
            (0, ..0, _) => "munmap".to_owned(),
            (0, 0, 0) => "no".to_owned(),
            (0, 0, _) => "an arena".to_owned(),
        }
    }
}

/// What a second thread got.
#[derive(Clone, Debug, Default, Serialize)]
struct Thread {
    address: usize,
    /// Whether that is outside of the heap.
    outside_heap: bool,
}

impl Malloc {
    /// Allocates and frees.
    pub fn see(_: &Device) -> Result<Self> {
        Ok(Self { told: gnu::told() })
    }
}

#[cfg(not(target_env = "gnu"))]
mod gnu {
    /// Other C libraries count nothing that could be read.
    pub fn told() -> Option<super::Told> {
        None
    }
}

#[cfg(target_env = "gnu")]
mod gnu {
    use super::*;
    use nix::libc;
    use std::ffi::c_void;
    use std::hint::black_box;
    use std::ptr;
    use std::thread;

    /// What the C library counts, and where its heap ends.
    #[derive(Clone, Copy)]
    struct Reading {
        info: libc::mallinfo2,
        brk: usize,
    }

    fn brk() -> usize {
        // SAFETY: Nothing is moved.
        unsafe { libc::sbrk(0) }.addr()
    }

    fn read() -> Reading {
        Reading {
            // SAFETY: It only counts, with its own locks.
            info: unsafe { libc::mallinfo2() },
            brk: brk(),
        }
    }

    fn malloc(bytes: usize) -> *mut c_void {
        // The compiler knows malloc, and would leave out what nobody uses.
        //
        // SAFETY: No preconditions.
        black_box(unsafe { libc::malloc(bytes) })
    }

    /// # Safety
    ///
    /// Of malloc, and not freed.
    unsafe fn free(piece: *mut c_void) {
        // SAFETY: By the caller.
        unsafe { libc::free(piece) }
    }

    /// The chunk that a piece is in: its size is in front of the piece, with flags in the three
    /// lowest bits.
    ///
    /// # Safety
    ///
    /// Of malloc, not null, and not freed.
    unsafe fn chunk(piece: *mut c_void) -> usize {
        // SAFETY: By the caller; there the C library has the size.
        unsafe { piece.cast::<usize>().sub(1).read() & !7 }
    }

    fn less(after: usize, before: usize) -> i64 {
        after.wrapping_sub(before) as i64
    }

    fn step(what: &'static str, before: &Reading, after: &Reading, moves: usize) -> Step {
        Step {
            what,
            in_use_bytes: less(
                after.info.uordblks + after.info.hblkhd,
                before.info.uordblks + before.info.hblkhd,
            ),
            heap_bytes: less(after.brk, before.brk),
            brk_moves: match moves {
                0 => usize::from(after.brk != before.brk),
                moves => moves,
            },
            mmapped_bytes: less(after.info.hblkhd, before.info.hblkhd),
            arena_bytes: less(after.info.arena, before.info.arena),
        }
    }

    pub fn told() -> Option<Told> {
        // What is formatted later shall not be allocated in between.
        let mut small = [ptr::null_mut(); MANY];
        let mut larger = [ptr::null_mut(); SOME];
        let mut at = [read(); 12];
        // SAFETY: A number is set, and what is free may go back to the kernel.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
            libc::malloc_trim(0);
        }

        at[0] = read();
        let piece = malloc(24);
        at[1] = read();
        if piece.is_null() {
            return None;
        }
        // SAFETY: It was just given out.
        let (usable, chunk) = unsafe { (libc::malloc_usable_size(piece), chunk(piece)) };
        let was = piece.addr();
        // SAFETY: As above.
        unsafe { free(piece) };
        at[2] = read();
        let again = malloc(24);
        let same_place = again.addr() == was;

        at[3] = read();
        for piece in &mut larger {
            *piece = malloc(LARGER);
        }
        // So that they don't become a part of the top chunk.
        let behind = malloc(24);
        at[4] = read();
        for piece in larger {
            // SAFETY: Each was given out, or is null.
            unsafe { free(piece) };
        }
        at[5] = read();
        let (mut end, mut moves) = (at[5].brk, 0);
        for piece in &mut small {
            *piece = malloc(SMALL);
            let now = brk();
            moves += usize::from(now != end);
            end = now;
        }
        at[6] = read();
        // While they take what was free in the heap.
        let large = malloc(LARGE);
        at[7] = read();
        // SAFETY: It was given out, or is null.
        unsafe { free(large) };
        at[8] = read();
        for piece in small {
            // SAFETY: As above.
            unsafe { free(piece) };
        }
        at[9] = read();
        let second = thread::spawn(|| {
            let piece = malloc(LARGER);
            let seen = (piece.addr(), read());
            // SAFETY: As above.
            unsafe { free(piece) };
            seen
        });
        let (address, in_thread) = second.join().ok()?;
        at[10] = read();
        // SAFETY: `again` and `behind` were given out, or are null; and trimming only gives
        // back what is free.
        unsafe {
            free(again);
            free(behind);
            libc::malloc_trim(0);
        }
        at[11] = read();

        let steps = vec![
            step("malloc(24)", &at[0], &at[1], 0),
            step(AT_ONCE, &at[1], &at[2], 0),
            step("20 of malloc(1000)", &at[3], &at[4], 0),
            step("free() of them", &at[4], &at[5], 0),
            step("4,000 of malloc(100)", &at[5], &at[6], moves),
            step("malloc(200 KiB)", &at[6], &at[7], 0),
            step(AT_ONCE, &at[7], &at[8], 0),
            step("free() of the 4,000", &at[8], &at[9], 0),
            step("a thread's malloc(1000)", &at[9], &in_thread, 0),
            step("malloc_trim(0)", &at[10], &at[11], 0),
        ];
        let fast = |at: [&Reading; 2]| less(at[1].info.smblks, at[0].info.smblks);
        Some(Told {
            usable_bytes: usable,
            chunk_bytes: chunk,
            same_place,
            steps,
            fast_chunks: [fast([&at[8], &at[9]]), fast([&at[4], &at[5]])],
            free_chunks: less(at[5].info.ordblks, at[4].info.ordblks),
            thread: Thread {
                address,
                // The heap lies behind the program, mappings far above.
                outside_heap: address >= in_thread.brk,
            },
        })
    }
}

impl Told {
    fn table(&self) -> Table {
        let mut table = Table::new([
            Column::text("step"),
            Column::number("given out"),
            Column::number("heap"),
            Column::number("mmapped"),
            Column::text("asks the kernel"),
        ]);
        // What is given back at once stands for itself.
        let is_shown = |step: &&Step| step.what != AT_ONCE;
        for step in self.steps.iter().filter(is_shown) {
            table.row([
                step.what.to_owned(),
                change(step.in_use_bytes),
                change(step.heap_bytes),
                change(step.mmapped_bytes),
                step.kernel(),
            ]);
        }
        table
    }

    /// The step's readings.
    fn step(&self, index: usize) -> Step {
        self.steps.get(index).cloned().unwrap_or_default()
    }

    fn print(&self, screen: &mut Screen) {
        self.table().print(screen);
        screen.blank();
        let cached = self.step(1).in_use_bytes == 0 && self.same_place;
        screen.para(&format!(
            "malloc(24) has {} to use, of a chunk of {} with its header. {}",
            plural(self.usable_bytes as u64, "byte"),
            self.chunk_bytes,
            match cached {
                true => "What was freed still counts as given out, and the next malloc(24) got that very place: it was in the thread's own cache (tcache, since glibc 2.26).",
                false => "The next malloc(24) did not get the freed place out of a cache.",
            }
        ));
        let [small, larger] = self.fast_chunks;
        screen.para(&format!(
            "The rest goes to an arena, under its lock: of {} small chunks {} to fast bins (up to 128 bytes, 160 by M_MXFAST), of {SOME} larger ones {}{}. Then come small bins (16 bytes apart, below 1,024), large bins, the top chunk, and at last the kernel.",
            count(MANY as u64),
            none_or(small),
            none_or(larger),
            match self.free_chunks {
                1..MERGED => format!(
                    ": neighbours merged, to {} more in the unsorted bin",
                    plural(self.free_chunks as u64, "free chunk")
                ),
                _ => String::new(),
            }
        ));
        let large = match self.step(5).mmapped_bytes {
            1.. => "200 KiB are a mapping of their own, above M_MMAP_THRESHOLD (128 KiB)",
            _ => "200 KiB came from the heap",
        };
        screen.para(&format!(
            "{large}. {}",
            match self.thread.outside_heap {
                true => format!(
                    "The thread's memory, at {:#x}, is outside of the heap: an arena of its own, so that it waits for nobody's lock.",
                    self.thread.address
                ),
                false => "The thread has got memory of the first one's heap.".to_owned(),
            }
        ));
    }
}

/// As many free chunks more there are not where the larger ones have merged.
const MERGED: i64 = SOME as i64 / 2;

/// How many more, if there are more.
fn none_or(more: i64) -> String {
    match more {
        1.. => count(more as u64),
        _ => "none".to_owned(),
    }
}

/// A change in bytes; nothing where there is none.
fn change(by: i64) -> String {
    let size = bytes(by.unsigned_abs());
    match by {
        0 => String::new(),
        1.. => format!("+{size}"),
        ..0 => format!("-{size}"),
    }
}

impl Report for Malloc {
    fn print(&self, screen: &mut Screen) {
        screen.para("mmap, brk and sbrk are the kernel's side of malloc(). What this command's own C library does above them (without a window):");
        screen.blank();
        match &self.told {
            Some(told) => told.print(screen),
            None => screen.para("This C library does not tell: the GNU one would."),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> Malloc {
        let step = |what, in_use_bytes, heap_bytes, brk_moves, mmapped_bytes| Step {
            what,
            in_use_bytes,
            heap_bytes,
            brk_moves,
            mmapped_bytes,
            arena_bytes: heap_bytes,
        };
        let thread = Step {
            arena_bytes: 135_168,
            ..step("a thread's malloc(1000)", 1008, 0, 0, 0)
        };
        Malloc {
            told: Some(Told {
                usable_bytes: 24,
                chunk_bytes: 32,
                same_place: true,
                steps: vec![
                    step("malloc(24)", 0, 0, 0, 0),
                    step(AT_ONCE, 0, 0, 0, 0),
                    step("20 of malloc(1000)", 20_160, 0, 0, 0),
                    step("free() of them", -13_104, 0, 0, 0),
                    step("4,000 of malloc(100)", 448_000, 405_504, 3, 0),
                    step("malloc(200 KiB)", 208_896, 0, 0, 208_896),
                    step(AT_ONCE, -208_896, 0, 0, -208_896),
                    step("free() of the 4,000", -447_216, 0, 0, 0),
                    thread,
                    step("malloc_trim(0)", 0, -401_408, 1, 0),
                ],
                fast_chunks: [3993, 0],
                free_chunks: 1,
                thread: Thread {
                    address: 0x7f12_3456_7890,
                    outside_heap: true,
                },
            }),
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 400);
        assert!(text.contains("24 bytes to use, of a chunk of 32"));
        assert!(text.contains("got that very place"));
        assert!(text.contains("of 4,000 small chunks 3,993 to fast bins"));
        assert!(text.contains("of 20 larger ones none: neighbours merged, to 1 free chunk more in"));
        assert!(text.contains("brk, 3 times") && text.contains("an arena"));
        assert!(text.contains("200 KiB are a mapping of their own"));
        assert!(text.contains("outside of the heap"));
        if let Some(told) = &mut seen.told {
            told.same_place = false;
            told.free_chunks = 0;
            told.steps[5].mmapped_bytes = 0;
            told.thread.outside_heap = false;
        }
        let text = testing::text(&seen, 400);
        assert!(text.contains("did not get the freed place"));
        assert!(!text.contains("merged"));
        assert!(text.contains("200 KiB came from the heap"));
        assert!(text.contains("the first one's heap"));
        let text = testing::text(&Malloc { told: None }, 80);
        assert!(text.contains("does not tell"));
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_chunk_is_what_may_be_used_and_a_header() {
        let told = gnu::told().expect("the C library tells");
        assert!(told.usable_bytes >= 24);
        assert_eq!(told.chunk_bytes, told.usable_bytes + 8);
        // Others allocate meanwhile, so that this is all that is certain.
        assert!(told.thread.address != 0);
    }
}
