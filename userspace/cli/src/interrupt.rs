// SPDX-License-Identifier: GPL-2.0

//! Signals to a command that has something to put back before it ends.

use crate::error::Error;
use crate::error::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal;
use nix::sys::signal::SaFlags;
use nix::sys::signal::SigAction;
use nix::sys::signal::SigHandler;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

static CAME: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    CAME.store(true, Relaxed);
}

/// From now on a signal is noted and ends nothing by itself, and a reader who has gone is an
/// error. A system call that was interrupted goes on, but for those that wait for files.
pub fn catch() {
    let handlers = [
        (Signal::SIGINT, SigHandler::Handler(note)),
        (Signal::SIGTERM, SigHandler::Handler(note)),
        (Signal::SIGHUP, SigHandler::Handler(note)),
        (Signal::SIGPIPE, SigHandler::SigIgn),
    ];
    for (number, handler) in handlers {
        // Whoever is to outlive his terminal (nohup) does.
        // SAFETY: The handler sets a flag alone.
        let _ = unsafe { handle(number, handler, number == Signal::SIGHUP) };
    }
}

/// Has a signal handled, but with `unless_ignored` where it is ignored: what was to be done about it
/// before.
///
/// # Safety
///
/// The handler calls what one may.
unsafe fn handle(
    number: Signal,
    handler: SigHandler,
    unless_ignored: bool,
) -> nix::Result<SigAction> {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: By this function's own.
    let old = unsafe { signal::sigaction(number, &action)? };
    if unless_ignored && matches!(old.handler(), SigHandler::SigIgn) {
        // SAFETY: It was so before.
        unsafe { signal::sigaction(number, &old)? };
    }
    Ok(old)
}

/// Whether one has come since.
pub fn came() -> bool {
    CAME.load(Relaxed)
}

/// An error, if one has come since.
pub fn check() -> Result<()> {
    match came() {
        true => Err(Error::failed("interrupted by a signal")),
        false => Ok(()),
    }
}

static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Rust's run time ignores SIGPIPE before `main`, and what was before is to be seen here alone.
extern "C" fn begin() {
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: Nothing is changed, and what is told has room.
    let is_ignored = unsafe {
        libc::sigaction(libc::SIGPIPE, ptr::null(), old.as_mut_ptr()) == 0
            && old.assume_init().sa_sigaction == libc::SIG_IGN
    };
    PIPE_IGNORED.store(is_ignored, Relaxed);
}

#[used]
#[link_section = ".init_array"]
static BEGIN: extern "C" fn() = begin;

/// Whether whoever started the command had it ignore SIGPIPE.
pub fn is_pipe_ignored() -> bool {
    PIPE_IGNORED.load(Relaxed)
}

/// The process that signals are passed on to; 0 where there is none.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(number: i32) {
    let program = PROGRAM.load(Relaxed);
    if program != 0 {
        let errno = Errno::last_raw();
        // SAFETY: A signal handler may call kill(2); the process is a child that nobody has waited for.
        unsafe { libc::kill(program, number) };
        Errno::set_raw(errno);
    }
}

/// From now on a signal is passed on to the process of [`pass_on_to`], but one that is ignored:
/// what was to be done about it before.
pub fn pass_on_signal(number: Signal) -> nix::Result<SigAction> {
    // SAFETY: It calls kill(2) alone.
    unsafe { handle(number, SigHandler::Handler(pass_on), true) }
}

/// Names the process that signals are passed on to: a child that nobody has waited for yet, or 0.
pub fn pass_on_to(program: i32) {
    PROGRAM.store(program, Relaxed);
}
