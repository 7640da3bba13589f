// SPDX-License-Identifier: GPL-2.0

//! What debugging of caches has found: in the kernel's log, and the last reports
//! in `/proc/shadowmm/slab_report`.
//!
//! A report comes in pieces, with a spinlock of the shadow's held, so nothing is
//! allocated and nothing sleeps: the pieces go into a ring whose oldest lines
//! make room. The log gets them too, but not more than a few reports at a time.

use core::fmt;
use core::fmt::Write;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use shadowmm_core::phys::Pfn;
use shadowmm_core::report::RateLimit;
use shadowmm_core::slab::debug::Finding;

/// How many bytes of reports are kept.
const KEPT: usize = 64 << 10;

/// How long a line of the log is at most: names of Rust's are long.
const LINE: usize = 320;

/// How often reports go to the log.
static LOGGED: RateLimit = RateLimit::of_log();
/// Whether the last report went there; what belongs to it does, too.
static LOGS: AtomicBool = AtomicBool::new(true);

kernel::sync::global_lock! {
    // SAFETY: Initialised in the module's init, before anything else.
    pub(crate) unsafe(uninit) static RING: SpinLock<Ring> = Ring::new();
}

/// The last bytes of all that was said.
pub(crate) struct Ring {
    bytes: [u8; KEPT],
    /// Where the next one goes.
    end: usize,
    /// Whether all are used.
    full: bool,
}

impl Ring {
    const fn new() -> Self {
        Self {
            bytes: [0; KEPT],
            end: 0,
            full: false,
        }
    }
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.end) {
                *place = byte;
            }
            self.end += 1;
            if self.end == KEPT {
                self.end = 0;
                self.full = true;
            }
        }
        Ok(())
    }
}

/// Text for the log, a line at a time; what is longer than a line of reports can
/// be is cut.
struct Lines {
    line: [u8; LINE],
    len: usize,
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                let line = self.line.get(..self.len).unwrap_or_default();
                pr_err!("{}\n", core::str::from_utf8(line).unwrap_or("?"));
                self.len = 0;
            } else if let Some(place) = self.line.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

fn log(text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result) {
    let mut lines = Lines {
        line: [0; LINE],
        len: 0,
    };
    // It does not fail.
    let _ = text(&mut lines);
}

/// Something was found, or, with `None`, more is said of it.
pub(crate) fn tell(
    finding: Option<Finding>,
    text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    now_ns: u64,
) {
    // It does not fail.
    let _ = text(&mut *RING.lock());
    if finding.is_some() {
        let missed = LOGGED.allow(now_ns);
        LOGS.store(missed.is_some(), Relaxed);
        if let Some(missed @ 1..) = missed {
            pr_err!("{} reports of slabs were not told\n", missed);
        }
    }
    if LOGS.load(Relaxed) {
        log(text);
    }
}

/// A page was written to while it was nobody's.
pub(crate) fn tell_page(pfn: Pfn, text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result, now_ns: u64) {
    let whole = |out: &mut dyn fmt::Write| {
        writeln!(out, "BUG page {pfn}: written to while it was free")?;
        text(out)
    };
    // It does not fail.
    let _ = whole(&mut *RING.lock());
    if LOGGED.allow(now_ns).is_some() {
        log(&whole);
    }
}

/// Writes the last reports, from the beginning of a line on.
pub(crate) fn write(out: &mut dyn fmt::Write) -> fmt::Result {
    let ring = RING.lock();
    let (new, old) = ring.bytes.split_at(ring.end.min(KEPT));
    let mut old = if ring.full { old } else { &[] };
    if let Some(line) = old.iter().position(|&byte| byte == b'\n') {
        old = old.get(line + 1..).unwrap_or_default();
    }
    for bytes in [old, new] {
        out.write_str(core::str::from_utf8(bytes).unwrap_or(""))?;
    }
    Ok(())
}
