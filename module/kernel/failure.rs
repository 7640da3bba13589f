// SPDX-License-Identifier: GPL-2.0

//! Requests for pages that failed: in the kernel's log, as Linux tells it, and
//! the last one in `/proc/shadowmm/failure`.

use core::fmt;
use core::fmt::Write;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::report::AllocFailure;
use shadowmm_core::report::RateLimit;

/// How often it is told in the log.
static LOGGED: RateLimit = RateLimit::of_failures();
/// How often it is written down with the state of memory: ten times a second.
static KEPT: RateLimit = RateLimit::new(100_000_000, 1);

kernel::sync::global_lock! {
    // SAFETY: Initialised in the module's init, before anything else.
    unsafe(uninit) static LAST: Mutex<Option<Text>> = None;
}

/// That the last failure is kept: it goes with this, when all who can tell of one are gone.
pub(crate) struct Kept(());

impl Kept {
    /// For the module's init, before anything else.
    pub(crate) fn new() -> Self {
        // SAFETY: Called once, by the module's init, before anything can use it.
        unsafe { LAST.init() };
        Self(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(LAST.lock().take());
    }
}

/// A text that grows; what there is no memory for is left out.
pub(crate) struct Text(KVVec<u8>);

impl Text {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// What there is.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("")
    }

    /// Writes it to the log, line by line.
    pub(crate) fn log(&self) {
        self.lines().for_each(log_line);
    }

    /// The same, of the last line alone.
    pub(crate) fn log_last_line(&self) {
        if let Some(line) = self.lines().next_back() {
            log_line(line);
        }
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let lines = self.0.split(|&byte| byte == b'\n');
        lines.filter(|line| !line.is_empty())
    }
}

fn log_line(line: &[u8]) {
    pr_warn!("{}\n", core::str::from_utf8(line).unwrap_or("?"));
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = self.0.extend_from_slice(text.as_bytes(), GFP_KERNEL);
        kept.map_err(|_| fmt::Error)
    }
}

/// A request has failed, and was not told to be silent. The caller may sleep.
pub(crate) fn tell(
    failure: &AllocFailure,
    memory: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    now_ns: u64,
) {
    let logged = LOGGED.allow(now_ns);
    if KEPT.allow(now_ns).is_none() && logged.is_none() {
        return;
    }
    let mut text = Text::new();
    // Half of it is better than nothing.
    let _ = writeln!(text, "{failure}").and_then(|()| memory(&mut text));
    if let Some(missed) = logged {
        if missed != 0 {
            pr_warn!("{} failures were not told\n", missed);
        }
        text.log();
    }
    let before = LAST.lock().replace(text);
    drop(before);
}

/// Writes the last one; nothing where there was none.
pub(crate) fn write(out: &mut dyn fmt::Write) -> CoreResult<()> {
    match &*LAST.lock() {
        Some(Text(bytes)) => {
            let text = core::str::from_utf8(bytes).unwrap_or("");
            out.write_str(text).map_err(|_| Error::Corrupt)
        }
        None => Ok(()),
    }
}
