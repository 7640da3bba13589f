// SPDX-License-Identifier: GPL-2.0

//! Signals that ask the command to end, put off until what it has changed of the kernel is as it
//! was: who has changed something says so, and looks now and then.

use crate::Result;
use nix::libc;
use std::mem;
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

/// Those that a terminal, a shell or a service manager sends.
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The first that came, or 0.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Puts them off from now on. What is ignored already, as nohup(1) has it, stays so.
pub fn put_off() {
    for signal in SIGNALS {
        // SAFETY: The handler stores a number, and nothing else.
        unsafe {
            let mut old: libc::sigaction = mem::zeroed();
            let has_old = libc::sigaction(signal, ptr::null(), &mut old) == 0;
            if has_old && old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            // Without SA_RESTART: who waits in the kernel looks, too.
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = note as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

extern "C" fn note(signal: libc::c_int) {
    let _ = ASKED.compare_exchange(0, signal, Relaxed, Relaxed);
}

/// The signal that has asked the command to end.
pub fn asked() -> Option<libc::c_int> {
    Some(ASKED.load(Relaxed)).filter(|&signal| signal != 0)
}

/// An error when one has.
pub fn check() -> Result<()> {
    match asked() {
        None => Ok(()),
        Some(signal) => Err(format!("signal {signal} has ended it")),
    }
}

/// A process of its own has nothing to put right: it ends by these signals at once.
pub fn let_through() {
    for signal in SIGNALS {
        // SAFETY: The default action is no handler.
        unsafe {
            let mut old: libc::sigaction = mem::zeroed();
            let has_old = libc::sigaction(signal, ptr::null(), &mut old) == 0;
            if has_old && old.sa_sigaction != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Ends this process by the signal, as it would have ended without being put off.
pub fn end_by(signal: libc::c_int) {
    let_through();
    // SAFETY: Its action is the default one again.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_noted_and_ends_the_process_later() {
        // SAFETY: The child does nothing but this, and allocates nothing before it ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: Nothing has to be done at the end.
            unsafe {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                put_off();
                let none = asked().is_none();
                libc::raise(libc::SIGHUP);
                let ignored = asked().is_none();
                libc::raise(libc::SIGTERM);
                libc::raise(libc::SIGINT);
                if none && ignored && asked() == Some(libc::SIGTERM) {
                    end_by(libc::SIGTERM);
                }
                libc::_exit(1);
            }
        }
        let mut status = 0;
        // SAFETY: The child is ours, and the status there to be written.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGTERM);
    }
}
