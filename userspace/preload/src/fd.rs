// SPDX-License-Identifier: GPL-2.0

//! The file descriptor of the window. It is none of the program's: who wants its number for
//! a file of his own (dup2) gets it, and the library takes another.
//!
//! The number changes before the old one is somebody else's. A thread that asks meanwhile
//! asks another file, or none; it is refused, finds that the number is another one now, and
//! asks again.
//!
//! A child of vfork has files of its own and its parent's memory, with the parent's number
//! in it. There the descriptor is one like any other, which exec closes.
//!
//! What is not minded, since a lock could not be taken in a signal handler:
//! - Whose a number is is looked at before the system call. Where one thread wants a number
//!   that nobody has, or closes a range of them, and another's dup2 sends the file to that very
//!   number in between, the file is gone: the window's memory stays, and requests fail.
//! - Likewise a file `old` that another thread closes within dup2: then an open descriptor is
//!   left where the window's was.
//! - After a clone(2) that the C library knows nothing of, the first to ask has the memory. If that
//!   is a child of vfork, the descriptor is one like any other to its parent from then on.

use crate::kernel;
use nix::libc;
use nix::libc::c_int;
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;

/// Out of the way of programs that count their files.
const HIGH: u64 = 900;
/// So many numbers above it are the program's, where it may have few.
const ABOVE: u64 = 32;
/// Behind the standard streams.
const LOWEST: u64 = 3;

/// From where on a number is looked for, where files may have those below `limit`.
fn place(limit: u64) -> u64 {
    limit.saturating_sub(ABOVE).clamp(LOWEST, HIGH)
}

/// The soft limit of the numbers of files (`RLIMIT_NOFILE`).
fn limit() -> u64 {
    let mut limit = [HIGH + ABOVE, 0];
    let args = [
        0,
        libc::RLIMIT_NOFILE.into(),
        0,
        limit.as_mut_ptr() as u64,
        0,
        0,
    ];
    // SAFETY: A limit is two numbers (`struct rlimit64`).
    unsafe { kernel::syscall(libc::SYS_prlimit64, args) };
    limit[0]
}

/// Another number for a file of ours, out of the way if that can be had; `None` where there is
/// none.
fn duplicate(file: u64) -> Option<u64> {
    let from = |lowest: u64| {
        let args = [file, libc::F_DUPFD_CLOEXEC as u64, lowest, 0, 0, 0];
        // SAFETY: A new number is nobody's.
        u64::try_from(unsafe { kernel::syscall(libc::SYS_fcntl, args) }).ok()
    };
    from(place(limit())).or_else(|| from(LOWEST))
}

/// A page which holds zeros after fork; null where there is none.
fn wiped_on_fork() -> *mut AtomicI32 {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    // SAFETY: The kernel chooses a place where nothing is, which is ours then.
    unsafe {
        let page = kernel::syscall(libc::SYS_mmap, [0, 4096, prot, flags, u64::MAX, 0]);
        let Ok(addr) = u64::try_from(page) else {
            return ptr::null_mut();
        };
        let advice = [addr, 4096, libc::MADV_WIPEONFORK as u64, 0, 0, 0];
        if kernel::syscall(libc::SYS_madvise, advice) != 0 {
            kernel::syscall(libc::SYS_munmap, [addr, 4096, 0, 0, 0, 0]);
            return ptr::null_mut();
        }
        ptr::with_exposed_provenance_mut(addr as usize)
    }
}

const NUMBER: u64 = u32::MAX as u64;
const CHANGE: u64 = NUMBER + 1;
/// No descriptor.
const NONE: u64 = NUMBER;

/// The number of a descriptor's state.
fn number(state: u64) -> c_int {
    state as u32 as c_int
}

/// The descriptor.
///
/// # Invariants
///
/// `owner` is null, or a page of [`wiped_on_fork`], which stays.
pub(crate) struct Descriptor {
    /// The number, and above it how often it has changed: it may be an old one again.
    state: AtomicU64,
    /// The process whose memory it is; 0 where nobody has said so since a fork.
    owner: AtomicPtr<AtomicI32>,
}

impl Descriptor {
    pub(crate) const fn none() -> Self {
        // INVARIANT: It is null.
        Self {
            state: AtomicU64::new(NONE),
            owner: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Takes an open file, and gives it a number out of the way.
    pub(crate) fn set(&self, file: u64) {
        let away = duplicate(file).inspect(|_| kernel::close(file));
        self.state.store(away.unwrap_or(file), Release);
        // INVARIANT: It is from there, and nobody unmaps it.
        self.owner.store(wiped_on_fork(), Release);
        self.forked();
    }

    /// After a fork this process has a copy of the memory, and of the files.
    pub(crate) fn forked(&self) {
        self.is_owner();
    }

    /// Whether the memory is this process's, and not lent by a parent that waits.
    fn is_owner(&self) -> bool {
        // SAFETY: By the invariant.
        let Some(owner) = (unsafe { self.owner.load(Acquire).as_ref() }) else {
            return true;
        };
        // SAFETY: It changes nothing.
        let process = unsafe { kernel::syscall(libc::SYS_getpid, [0; 6]) } as c_int;
        match owner.compare_exchange(0, process, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(owner) => owner == process,
        }
    }

    /// Its number; `None` where it is one like any other.
    pub(crate) fn number(&self) -> Option<c_int> {
        self.is_owner().then(|| number(self.state.load(Acquire)))
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, fd: c_int) -> bool {
        fd == number(self.state.load(Acquire)) && self.is_owner()
    }

    /// Leaves its number, if it is this one, to a file `old` of somebody else's. What is
    /// left is a second descriptor of the file, for dup2 to replace.
    ///
    /// An errno where dup2 would fail (`ksys_dup3`), or where there is no other number.
    pub(crate) fn leave(&self, fd: c_int, old: c_int) -> Result<(), c_int> {
        let state = self.state.load(Acquire);
        if number(state) != fd || !self.is_owner() {
            return Ok(());
        }
        if fd as u64 >= limit() || !kernel::is_open(old) {
            return Err(libc::EBADF);
        }
        let new = duplicate(fd as u64).ok_or(libc::EMFILE)?;
        let changed = (state & !NUMBER).wrapping_add(CHANGE) | new;
        let left = self
            .state
            .compare_exchange(state, changed, Release, Relaxed);
        if left.is_err() {
            // Another thread was here first.
            kernel::close(new);
        }
        Ok(())
    }

    /// Calls ioctl: what it returns, or a negative errno.
    ///
    /// # Safety
    ///
    /// As the call's own.
    pub(crate) unsafe fn ioctl(&self, request: u32, arg: u64) -> i64 {
        loop {
            let state = self.state.load(Acquire);
            let args = [state & NUMBER, request.into(), arg, 0, 0, 0];
            // SAFETY: By this function's own.
            let done = unsafe { kernel::syscall(libc::SYS_ioctl, args) };
            if done >= 0 || self.state.load(Acquire) == state {
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_void;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn open() -> Descriptor {
        let descriptor = Descriptor::none();
        // SAFETY: The path is a C string.
        let file = unsafe { kernel::open(c"/dev/zero".as_ptr(), libc::O_RDONLY) };
        descriptor.set(file.unwrap());
        descriptor
    }

    fn close(descriptor: &Descriptor) {
        kernel::close(descriptor.number().unwrap() as u64);
    }

    /// What it is the descriptor of.
    fn device(fd: c_int) -> Option<u64> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: There is room for what is said.
        unsafe {
            let said = libc::fstat(fd, stat.as_mut_ptr());
            (said == 0).then(|| stat.assume_init().st_rdev)
        }
    }

    /// Waits for a child: whether it was content.
    fn is_content(child: libc::pid_t) -> bool {
        let mut status = 0;
        // SAFETY: There is room for the status.
        unsafe { libc::waitpid(child, &mut status, 0) == child && status == 0 }
    }

    #[test]
    fn it_is_out_of_the_way_where_few_files_are_allowed_too() {
        assert_eq!(place(1 << 20), 900);
        assert_eq!(place(900), 868);
        assert_eq!(place(256), 224);
        assert_eq!(place(10), 3);
        let descriptor = open();
        let number = descriptor.number().unwrap();
        assert!(number as u64 >= place(limit()));
        close(&descriptor);
    }

    #[test]
    fn who_wants_its_number_gets_it() {
        let descriptor = open();
        let old = descriptor.number().unwrap();
        assert!(descriptor.leave(old + 1, 0).is_ok() && descriptor.is(old));
        assert!(descriptor.leave(old, 0).is_ok());
        let new = descriptor.number().unwrap();
        assert_ne!(old, new);
        // The same file, until the number is another's.
        assert!(device(old).is_some());
        assert_eq!(device(new), device(old));
        // SAFETY: It changes nothing.
        let flags = unsafe { libc::fcntl(new, libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        kernel::close(old as u64);
        close(&descriptor);
    }

    #[test]
    fn nobody_gets_its_number_for_a_file_that_is_not_open() {
        let descriptor = open();
        let number = descriptor.number().unwrap();
        for closed in [-1, c_int::MAX] {
            assert_eq!(descriptor.leave(number, closed), Err(libc::EBADF));
        }
        assert!(descriptor.is(number));
        close(&descriptor);
    }

    #[test]
    fn threads_that_want_it_and_threads_that_use_it_are_no_trouble_to_each_other() {
        let descriptor = open();
        let done = AtomicBool::new(false);
        let ask = || {
            let mut asked = 0;
            while !done.load(Relaxed) || asked == 0 {
                // The file has no such request, as it says; one that is closed says otherwise.
                // SAFETY: As above.
                let said = unsafe { descriptor.ioctl(0, 0) };
                assert_eq!(said, -i64::from(libc::ENOTTY));
                asked += 1;
            }
        };
        thread::scope(|scope| {
            scope.spawn(ask);
            scope.spawn(ask);
            for _ in 0..2000 {
                let old = descriptor.number().unwrap();
                assert!(descriptor.leave(old, 0).is_ok());
                kernel::close(old as u64);
            }
            done.store(true, Relaxed);
        });
        close(&descriptor);
    }

    #[test]
    fn a_child_has_its_own() {
        let descriptor = open();
        let old = descriptor.number().unwrap();
        // SAFETY: The child makes system calls alone.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let left = descriptor.is(old) && descriptor.leave(old, 0).is_ok();
            let left = left && !descriptor.is(old);
            // SAFETY: The child ends.
            unsafe { libc::_exit(i32::from(!left)) };
        }
        assert!(is_content(child));
        assert!(descriptor.is(old));
        close(&descriptor);
    }

    #[test]
    fn one_that_shares_its_parents_memory_leaves_the_parents_number() {
        extern "C" fn child(descriptor: *mut c_void) -> c_int {
            // SAFETY: The parent waits, with the descriptor.
            let descriptor = unsafe { &*descriptor.cast::<Descriptor>() };
            let number = number(descriptor.state.load(Relaxed));
            let hidden = descriptor.number().is_some() || descriptor.is(number);
            i32::from(hidden || descriptor.leave(number, 0).is_err())
        }
        let descriptor = open();
        let old = descriptor.number().unwrap();
        let mut stack = vec![0u128; 1 << 14];
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let argument = ptr::from_ref(&descriptor).cast_mut().cast();
        // SAFETY: The stack is the child's until it has ended, and this thread waits for that.
        let child = unsafe { libc::clone(child, top.cast(), flags, argument) };
        assert!(is_content(child));
        assert!(descriptor.is(old));
        close(&descriptor);
    }
}
