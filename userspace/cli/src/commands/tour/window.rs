// SPDX-License-Identifier: GPL-2.0

//! What the screens about virtual memory share: a window of the tour's own, touches that
//! can't end the tour, children that may end, and VMAs as `/proc/PID/maps` has them.
//!
//! ```text
//! the tour   touches by system calls: where no page is to be had they say EFAULT
//! a child    touches by itself, and ends by the signal that it gets
//! ```

use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::Screen;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal;
use nix::sys::signal::SigHandler;
use nix::sys::signal::Signal;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;
use std::ffi::c_void;
use std::fmt;
use std::io::Read;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::ptr::NonNull;

/// How large the tour's windows are, where nothing else is said.
pub const WINDOW: u64 = 1 << 30;

/// What was seen, or why it could not be: the tour goes on with the next screen.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Seen<T> {
    /// It was seen.
    Well(T),
    /// It was not.
    Not {
        /// Why.
        failed: String,
        /// What can be done about it.
        advice: Option<String>,
    },
}

impl<T> From<Result<T>> for Seen<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(seen) => Self::Well(seen),
            Err(error) => Self::Not {
                failed: error.to_string(),
                advice: error.advice().map(str::to_owned),
            },
        }
    }
}

impl<T: Report> Report for Seen<T> {
    fn print(&self, screen: &mut Screen) {
        match self {
            Self::Well(seen) => seen.print(screen),
            Self::Not { failed, advice } => refused(failed, advice.as_deref(), screen),
        }
    }
}

/// Says why a screen ends, and what can be done about it.
pub fn refused(why: &str, advice: Option<&str>, screen: &mut Screen) {
    let advice = advice.map_or(String::new(), |advice| format!(" ({advice})"));
    screen.warning(&format!("This screen ends here: {why}{advice}."));
}

/// A window of so many bytes.
pub fn open(device: &Device, bytes: u64) -> Result<Window<'_>> {
    Ok(device.window(length(bytes)?.get())?)
}

/// Bytes of a mapping.
pub fn length(bytes: u64) -> Result<NonZeroUsize> {
    let length = usize::try_from(bytes).ok().and_then(NonZeroUsize::new);
    length.ok_or_else(|| Error::failed(format!("{bytes} bytes can't be mapped")))
}

/// An address that calls take.
pub fn place(addr: u64) -> Result<NonNull<c_void>> {
    let pointer = usize::try_from(addr).map(ptr::with_exposed_provenance_mut);
    let pointer = pointer.ok().and_then(NonNull::new);
    pointer.ok_or_else(|| Error::failed(format!("there is no address {addr:#x}")))
}

/// The address of a place.
pub fn address(place: NonNull<c_void>) -> u64 {
    place.as_ptr().expose_provenance() as u64
}

/// A place in a window, for who touches it.
fn within(window: &Window<'_>, addr: u64) -> Result<NonNull<u8>> {
    let pointer = place(addr)?.cast::<u8>();
    match window.range().contains(&pointer.as_ptr().addr()) {
        true => Ok(pointer),
        false => Err(Error::failed(format!("{addr:#x} is not in the window"))),
    }
}

/// Touches places of a window by system calls, so that a fault that fails is an error and no
/// signal.
pub struct Touch<'w, 'd> {
    window: &'w Window<'d>,
    near: UnixStream,
    far: UnixStream,
}

impl<'w, 'd> Touch<'w, 'd> {
    /// For a window's places.
    pub fn new(window: &'w Window<'d>) -> Result<Self> {
        let (near, far) = UnixStream::pair().map_err(no_pipe)?;
        Ok(Self { window, near, far })
    }

    /// Reads the byte at an address.
    pub fn read(&mut self, addr: u64) -> Result<u8> {
        let byte = within(self.window, addr)?;
        // SAFETY: The kernel reads one byte, or finds that it can't.
        let sent = unsafe { libc::write(self.near.as_raw_fd(), byte.as_ptr().cast(), 1) };
        touched("read", addr, sent)?;
        let mut read = [0];
        self.far.read_exact(&mut read).map_err(no_pipe)?;
        Ok(read[0])
    }

    /// Writes a byte to an address.
    pub fn write(&mut self, addr: u64, value: u8) -> Result<()> {
        let byte = within(self.window, addr)?;
        self.near.write_all(&[value]).map_err(no_pipe)?;
        // SAFETY: The kernel writes one byte, or finds that it can't; in a window nothing of
        // Rust's lies.
        let got = unsafe { libc::read(self.far.as_raw_fd(), byte.as_ptr().cast(), 1) };
        touched("written", addr, got)
    }
}

fn touched(what: &str, addr: u64, bytes: isize) -> Result<()> {
    match bytes {
        1 => Ok(()),
        _ => Err(Error::failed(format!(
            "{addr:#x} could not be {what}: {}",
            Errno::last().desc()
        ))),
    }
}

fn no_pipe(error: std::io::Error) -> Error {
    Error::failed(format!("processes can't talk to each other: {error}"))
}

/// Writes a byte to an address, as a program does: whoever may not gets a signal.
pub fn poke(window: &Window<'_>, addr: u64, value: u8) -> Result<()> {
    let byte = within(window, addr)?;
    // SAFETY: It is in the window, where nothing of Rust's lies; where nothing is mapped the
    // process gets a signal.
    unsafe { byte.as_ptr().write_volatile(value) };
    Ok(())
}

/// How a child has ended, as waitpid(2) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The exit status, where it has ended by itself.
    pub status: Option<i32>,
    /// The signal that has ended it.
    pub signal: Option<&'static str>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.signal) {
            (Some(status), _) => write!(f, "exit status {status}"),
            (None, Some(signal)) => write!(f, "ended by {signal}"),
            (None, None) => write!(f, "ended"),
        }
    }
}

/// Numbers between a child and its parent.
pub struct Talk(UnixStream);

impl Talk {
    /// Says some.
    pub fn say(&mut self, numbers: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        self.0.write_all(&bytes).map_err(no_pipe)
    }

    /// Waits for as many.
    pub fn hear<const N: usize>(&mut self) -> Result<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            self.0.read_exact(&mut bytes).map_err(no_pipe)?;
            *number = u64::from_ne_bytes(bytes);
        }
        Ok(numbers)
    }
}

/// A child, which is waited for.
pub struct Child {
    pid: libc::pid_t,
    talk: Option<Talk>,
}

impl Child {
    /// Forks. The child does its job and no more, and ends with 0 where that has gone well.
    pub fn fork(job: impl FnOnce(&mut Talk) -> Result<()>) -> Result<Self> {
        let (ours, its) = UnixStream::pair().map_err(no_pipe)?;
        // SAFETY: The tour has one thread, so that its child may do what it may.
        match unsafe { libc::fork() } {
            -1 => Err(Error::failed(format!(
                "could not fork: {}",
                Errno::last().desc()
            ))),
            0 => {
                drop(ours);
                no_handlers();
                let mut talk = Talk(its);
                let done = panic::catch_unwind(AssertUnwindSafe(|| job(&mut talk)));
                let status = i32::from(!matches!(done, Ok(Ok(()))));
                // SAFETY: Nothing is left to be done; what the parent has not written yet
                // is the parent's.
                unsafe { libc::_exit(status) }
            }
            pid => Ok(Self {
                pid,
                talk: Some(Talk(ours)),
            }),
        }
    }

    /// What it says.
    pub fn talk(&mut self) -> Result<&mut Talk> {
        let talk = self.talk.as_mut();
        talk.ok_or_else(|| Error::failed("the child has ended"))
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Ended> {
        self.wait()
    }

    fn wait(&mut self) -> Result<Ended> {
        // One that waits for a word gets none any more.
        self.talk = None;
        let mut status = 0;
        // SAFETY: `status` is ours.
        while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } == -1 {
            match Errno::last() {
                Errno::EINTR => {}
                errno => {
                    let what = format!("could not wait for the child: {}", errno.desc());
                    return Err(Error::failed(what));
                }
            }
        }
        self.pid = 0;
        let signal = Signal::try_from(libc::WTERMSIG(status)).ok();
        Ok(Ended {
            status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: signal
                .filter(|_| libc::WIFSIGNALED(status))
                .map(Signal::as_str),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid != 0 {
            // Nobody is left to be told how it has ended.
            let _ = self.wait();
        }
    }
}

/// What a child is told that touches one place: how it has ended.
pub fn touch_in_child(window: &Window<'_>, addr: u64) -> Result<Ended> {
    Child::fork(|_| poke(window, addr, 1))?.end()
}

/// In a child: signals end it, and without a core file.
fn no_handlers() {
    for number in [Signal::SIGSEGV, Signal::SIGBUS] {
        // SAFETY: The default action is no handler that could run in the middle of anything.
        let _ = unsafe { signal::signal(number, SigHandler::SigDfl) };
    }
    // SAFETY: A number of the process's alone is set.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// A VMA's addresses, as `/proc/PID/maps` has them.
pub fn range(vma: &Vma) -> String {
    format!("{:x}-{:x}", vma.start, vma.end)
}

/// Bytes of a VMA.
pub fn size(vma: &Vma) -> u64 {
    vma.end.saturating_sub(vma.start)
}

/// Where in its file a VMA begins, in bytes.
pub fn offset(vma: &Vma) -> u64 {
    match vma.file {
        0 => 0,
        _ => vma.pgoff.saturating_mul(PAGE_SIZE),
    }
}

/// What `/proc/PID/maps` calls a VMA of no file.
pub fn name(vma: &Vma, space: &Space) -> &'static str {
    let holds = |addr: u64| vma.start <= addr && addr < vma.end;
    match () {
        () if vma.start < space.brk && vma.end > space.start_brk => "[heap]",
        () if holds(space.start_stack) => "[stack]",
        () => "",
    }
}

/// The VMA that holds an address.
pub fn holding(vmas: &[Vma], addr: u64) -> Option<Vma> {
    let mut all = vmas.iter().copied();
    all.find(|vma| vma.start <= addr && addr < vma.end)
}

/// The resident pages of an address space.
pub fn resident(space: &Space) -> u64 {
    space.rss_file_pages + space.rss_anon_pages + space.rss_shmem_pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_child_says_numbers_and_how_it_ends() {
        let mut child = Child::fork(|talk| {
            let [number] = talk.hear()?;
            talk.say(&[number + 1, 7])
        })
        .unwrap();
        child.talk().unwrap().say(&[41]).unwrap();
        assert_eq!(child.talk().unwrap().hear::<2>().unwrap(), [42, 7]);
        let ended = child.end().unwrap();
        assert_eq!((ended.status, ended.signal), (Some(0), None));
        let ended = Child::fork(|_| Err(Error::failed("no"))).unwrap().end();
        assert_eq!(ended.unwrap().to_string(), "exit status 1");
        let ended = Child::fork(|_| {
            // SAFETY: The child ends itself.
            unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) };
            Ok(())
        });
        assert_eq!(
            ended.unwrap().end().unwrap().to_string(),
            "ended by SIGSEGV"
        );
    }

    #[test]
    fn a_child_that_nobody_talks_to_ends() {
        let child = Child::fork(|talk| talk.hear::<1>().map(drop)).unwrap();
        assert_eq!(child.end().unwrap().status, Some(1));
    }

    #[test]
    fn vmas_are_named_as_maps_has_them() {
        let mut space = testing::space(1);
        space.brk += 0x2000;
        let heap = testing::vma(space.start_brk, space.brk, "rw");
        let stack = testing::vma(0x7f00_3ffd_f000, 0x7f00_4000_0000, "rw");
        let other = testing::vma(0x7f00_2000_0000, 0x7f00_2000_1000, "r");
        let names = [heap, stack, other].map(|vma| name(&vma, &space));
        assert_eq!(names, ["[heap]", "[stack]", ""]);
        assert_eq!(range(&other), "7f0020000000-7f0020001000");
        assert_eq!(offset(&other), 0);
        assert_eq!(holding(&[heap, other], other.start + 1), Some(other));
        assert_eq!(holding(&[heap, other], other.end), None);
    }

    #[test]
    fn what_was_not_seen_says_why() {
        let seen: Seen<Nothing> = Err(Error::failed("no window").with_advice("try later")).into();
        testing::fits(&seen);
        testing::keys(&seen, "advice failed");
        let text = testing::text(&seen, 80);
        assert_eq!(text, "This screen ends here: no window (try later).\n");
    }

    #[derive(Serialize)]
    struct Nothing;

    impl Report for Nothing {
        fn print(&self, _: &mut Screen) {}
    }
}
