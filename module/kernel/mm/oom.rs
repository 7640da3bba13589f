// SPDX-License-Identifier: GPL-2.0

//! Memory is out, and core has chosen whose process is to be killed.

use crate::failure::Text;
use crate::shadow;
use core::fmt;
use shadowmm_core::mm::OomTask;

/// Kills a process, and tells it in the log; whether there was one
/// (`oom_kill_process`). Everybody who has the host's mm is killed, as in Linux.
pub(crate) fn oom_kill(
    victim: &OomTask,
    report: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
) -> bool {
    let window = shadow::current().and_then(|shadow| shadow.windows.find(victim.mm));
    let killed = window.is_some_and(|window| window.mm.kill());
    if killed {
        let mut text = Text::new();
        // Half of it is better than nothing.
        let _ = report(&mut text);
        text.log();
    }
    killed
}
