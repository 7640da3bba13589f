// SPDX-License-Identifier: GPL-2.0

//! Memory is out, and core has chosen what is to go, or whose process is to be killed.

use super::window::Window;
use crate::failure::Text;
use crate::shadow;
use core::fmt;
use shadowmm_core::mm::OomTask;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::platform::Process;
use shadowmm_core::report::RateLimit;

/// How often it is told who had how much (`oom_rs` in `oom_kill_process`); who is killed, always.
static LOGGED: RateLimit = RateLimit::of_log();

/// Of whom an address space is now. A window that is not listed is about to go, or to come.
pub(crate) fn process_of(mm: u32) -> Option<Process> {
    let shadow = shadow::current()?;
    let process = shadow.windows.look(mm, |window| window.mm.process());
    Some(process.unwrap_or_default())
}

/// Zaps what the host has entered of a window, whose process may do anything meanwhile. One that
/// is unmapped has nothing entered any more.
pub(crate) fn zap_window(mm: u32, range: VirtRange) {
    if let Some(shadow) = shadow::current() {
        shadow.windows.look(mm, |window| window.zap(range));
    }
}

/// Tells a window's user how many pages it has, after another has taken some.
pub(crate) fn tell_charged(mm: u32, charged: &dyn Fn() -> i64) {
    if let Some(shadow) = shadow::current() {
        shadow
            .windows
            .look(mm, |window| window.count_pages(charged));
    }
}

/// Kills a process, and tells it in the log; whether there was one
/// (`oom_kill_process`). Everybody who has the host's mm is killed, as in Linux.
pub(crate) fn oom_kill(
    victim: &OomTask,
    report: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    now_ns: u64,
) -> bool {
    let Some(shadow) = shadow::current() else {
        return false;
    };
    // The victim is in its own report, so that comes first. Half of it is better than
    // nothing.
    let mut text = Text::new();
    let _ = report(&mut text);
    let kill = |window: &Window| window.mm.kill();
    let killed = shadow.windows.look(victim.mm, kill).unwrap_or(false);
    if killed && LOGGED.allow(now_ns).is_some() {
        text.log();
    } else if killed {
        text.log_last_line();
    }
    killed
}
