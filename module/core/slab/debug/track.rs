// SPDX-License-Identifier: GPL-2.0

//! Who had to do with an object last (`struct track`).
//!
//! ```text
//! word 0   addr    where the function was called from; 0: not known, not shown
//! word 1   handle  31..0 the stack, in the depot | 63..32 the CPU
//! word 2   pid     31..0
//! word 3   when    in jiffies
//! ```

use super::layout::Layout;
use super::layout::TrackItem;
use super::pattern::SlabBytes;
use crate::phys::CpuId;
use crate::platform::Platform;
use crate::slab::SlabFlags;
use core::fmt;

/// How many frames of a stack are kept (`TRACK_ADDRS_COUNT`).
pub const TRACK_ADDRS_COUNT: usize = 16;

/// A stack in the depot; 0 is none (`depot_stack_handle_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackHandle(pub u32);

/// Where stacks are fetched from (`stack_depot_fetch`).
pub trait Stacks {
    /// Writes the addresses of a stack to `entries`, the innermost first, and
    /// says how many there were room for; 0 when there is no such stack.
    fn fetch(&self, stack: StackHandle, entries: &mut [u64; TRACK_ADDRS_COUNT]) -> usize;
}

/// Who has allocated or freed an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Where the function was called from.
    pub addr: u64,
    /// With the stack there.
    pub stack: StackHandle,
    /// On which CPU.
    pub cpu: u32,
    /// By which process.
    pub pid: u32,
    /// When, in jiffies.
    pub when: u64,
}

impl Track {
    /// Here and now, called from `addr`, with a stack that was saved before
    /// (`set_track_update`).
    pub fn now<P: Platform>(platform: &P, addr: u64, stack: StackHandle) -> Self {
        let (CpuId(cpu), _pinned) = platform.pin_cpu();
        Self {
            addr,
            stack,
            cpu,
            pid: platform.pid(),
            when: platform.jiffies(),
        }
    }

    /// The track of the object at `object`.
    pub fn load(slab: SlabBytes<'_>, layout: &Layout, object: u32, item: TrackItem) -> Self {
        let at = object + layout.track(item);
        let [addr, handle, pid, when] = [0, 8, 16, 24].map(|place| slab.word(at + place));
        Self {
            addr,
            stack: StackHandle(handle as u32),
            cpu: (handle >> 32) as u32,
            pid: pid as u32,
            when,
        }
    }

    /// Stores it.
    pub fn store(&self, slab: SlabBytes<'_>, layout: &Layout, object: u32, item: TrackItem) {
        let at = object + layout.track(item);
        let handle = u64::from(self.stack.0) | (u64::from(self.cpu) << 32);
        let words = [self.addr, handle, u64::from(self.pid), self.when];
        for (place, word) in (at..).step_by(8).zip(words) {
            slab.set_word(place, word);
        }
    }

    /// Writes it (`print_track`).
    fn write<P: Platform>(
        &self,
        out: &mut dyn fmt::Write,
        platform: &P,
        stacks: &dyn Stacks,
        what: &str,
        now: u64,
    ) -> fmt::Result {
        if self.addr == 0 {
            return Ok(());
        }
        write!(out, "{what} in ")?;
        platform.write_symbol(out, self.addr)?;
        let age = now.wrapping_sub(self.when);
        writeln!(out, " age={age} cpu={} pid={}", self.cpu, self.pid)?;
        if self.stack == StackHandle(0) {
            return writeln!(out, "object allocation/free stack trace missing");
        }
        let mut entries = [0; TRACK_ADDRS_COUNT];
        let len = stacks.fetch(self.stack, &mut entries);
        for &entry in entries.iter().take(len) {
            out.write_char(' ')?;
            platform.write_symbol(out, entry)?;
            out.write_char('\n')?;
        }
        Ok(())
    }
}

/// Writes who has allocated the object and who has freed it
/// (`print_tracking`).
///
/// # Errors
///
/// Those of `out`.
pub(super) fn write_tracking<P: Platform>(
    out: &mut dyn fmt::Write,
    platform: &P,
    stacks: &dyn Stacks,
    (slab, layout, object): (SlabBytes<'_>, &Layout, u32),
) -> fmt::Result {
    if !layout.has(SlabFlags::STORE_USER) {
        return Ok(());
    }
    let now = platform.jiffies();
    for (item, what) in [(TrackItem::Alloc, "Allocated"), (TrackItem::Free, "Freed")] {
        Track::load(slab, layout, object, item).write(out, platform, stacks, what, now)?;
    }
    Ok(())
}
