// SPDX-License-Identifier: GPL-2.0

//! A side: who answers the steps, and what is seen of its address space.

use super::arena;
use super::arena::Answer;
use super::generate::FILE_LEN;
use super::generate::PAGE;
use super::host::Host;
use super::look::FILE_NAME;
use super::op::Op;
use super::touch;
use super::touch::Fault;
use super::window::Window;
use nix::libc;
use std::os::fd::RawFd;

/// Pages of an arena at most.
pub const MOST_PAGES: usize = 4096;

/// Who answers.
#[derive(Debug)]
pub enum Who {
    /// The running kernel.
    Host(Host),
    /// The shadow.
    Window(Window),
}

/// The files that tell about an address space; a process's own.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// `maps`.
    pub maps: RawFd,
    /// `smaps`.
    pub smaps: RawFd,
    /// `pagemap`.
    pub pagemap: RawFd,
    /// `status`.
    pub status: RawFd,
}

impl Files {
    fn of_this_process() -> Self {
        Self {
            maps: arena::open(c"/proc/self/maps"),
            smaps: arena::open(c"/proc/self/smaps"),
            pagemap: arena::open(c"/proc/self/pagemap"),
            status: arena::open(c"/proc/self/status"),
        }
    }

    fn close(&self) {
        for fd in [self.maps, self.smaps, self.pagemap, self.status] {
            // SAFETY: They are ours.
            unsafe { libc::close(fd) };
        }
    }
}

/// A side.
#[derive(Debug)]
pub struct Side {
    /// Who answers.
    pub who: Who,
    /// Pages of the arena.
    pub pages: u64,
    /// What is mapped where a file is: each side has its own.
    file: RawFd,
    /// A pipe, to be read from and written to.
    pipe: [RawFd; 2],
    /// What tells about it.
    pub files: Files,
    /// Bytes that have come through the pipe, and mincore's answers.
    buffer: Box<[u8]>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The value, or minus an error number; places are distances in the arena.
    pub answer: Answer,
    /// What was read, or a number that stands for it.
    pub value: u64,
}

/// In mincore's answer, where nothing was written.
pub const NOT_ANSWERED: u8 = 0xff;

/// A signal as an answer: no error number is so large.
const SIGNALS: i64 = 1_000_000;

impl Outcome {
    /// The signal that came instead of a value, and its `si_code`.
    pub fn signal(&self) -> Option<(i64, i64)> {
        let code = -self.answer - SIGNALS;
        (code >= 0).then_some((code / 1000, code % 1000))
    }
}

impl Side {
    /// A side with an arena of so many pages. It allocates what it needs before `who` is
    /// made.
    pub fn new(
        pages: u64,
        who: impl FnOnce() -> Result<Who, &'static str>,
    ) -> Result<Self, &'static str> {
        let mut pipe = [-1; 2];
        // SAFETY: There is room for both.
        if unsafe { libc::pipe(pipe.as_mut_ptr()) } != 0 {
            return Err("no pipe could be made");
        }
        let file = test_file()?;
        let buffer = vec![0; MOST_PAGES.max(4 * PAGE as usize)].into_boxed_slice();
        let who = who()?;
        let files = match &who {
            Who::Host(_) => Files::of_this_process(),
            Who::Window(window) => window.files(),
        };
        Ok(Self {
            who,
            pages,
            file,
            pipe,
            files,
            buffer,
        })
    }

    /// Where the arena begins.
    pub fn base(&self) -> u64 {
        match &self.who {
            Who::Host(host) => host.base,
            Who::Window(window) => window.base,
        }
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.base() + self.pages * PAGE
    }

    /// This process is a child now, and all that it has is its own.
    pub fn forked(&mut self) {
        self.files.close();
        self.files = match &self.who {
            Who::Host(_) => Files::of_this_process(),
            Who::Window(window) => window.files(),
        };
    }

    /// What the address space had when the test began, in bytes.
    pub fn remember(&mut self, total: u64, data: u64) {
        match &mut self.who {
            Who::Host(host) => host.remember(total, data),
            Who::Window(window) => window.remember(total, data),
        }
    }

    /// Takes a step; forks are not for this.
    pub fn step(&mut self, op: &Op) -> Outcome {
        match *op {
            Op::Load { at } => self.touched(touch::load(self.base() + at)),
            Op::Store { at, value } => {
                let stored = touch::store(self.base() + at, value);
                self.touched(stored.map(|()| 0))
            }
            Op::Fill { at, pages, value } => {
                for page in 0..pages {
                    let at = self.base() + at + page * PAGE;
                    if let Err(fault) = touch::store(at, value.wrapping_add(page)) {
                        return self.touched(Err(fault));
                    }
                }
                Outcome::default()
            }
            Op::CopyIn { at, len } => {
                let args = [self.file as u64, self.base() + at, len, at % 4096, 0, 0];
                // SAFETY: Only the arena is written to.
                let answer = unsafe { arena::call(libc::SYS_pread64, args) };
                Outcome { answer, value: 0 }
            }
            Op::CopyOut { at, len } => self.copy_out(at, len),
            Op::Mincore { at, len } => Outcome {
                answer: self.mincore(at, len, NOT_ANSWERED),
                value: 0,
            },
            _ => self.call(op),
        }
    }

    fn touched(&self, touched: Result<u64, Fault>) -> Outcome {
        match touched {
            Ok(value) => Outcome { answer: 0, value },
            Err(Fault { signal, code, addr }) => Outcome {
                answer: -(SIGNALS + i64::from(signal) * 1000 + i64::from(code)),
                value: addr.wrapping_sub(self.base()),
            },
        }
    }

    fn copy_out(&mut self, at: u64, len: u64) -> Outcome {
        let args = [self.pipe[1] as u64, self.base() + at, len, 0, 0, 0];
        // SAFETY: Nothing is written to memory.
        let answer = unsafe { arena::call(libc::SYS_write, args) };
        let mut value = 0;
        if let Ok(count @ 1..) = usize::try_from(answer) {
            let bytes = &mut self.buffer[..count];
            // SAFETY: There is room for as many as were written.
            unsafe { libc::read(self.pipe[0], bytes.as_mut_ptr().cast(), bytes.len()) };
            value = super::text::digest(bytes);
        }
        Outcome { answer, value }
    }

    /// What is not answered stays `unanswered`.
    fn mincore(&mut self, at: u64, len: u64, unanswered: u8) -> Answer {
        self.buffer.fill(unanswered);
        let addr = self.base().wrapping_add(at);
        match &self.who {
            Who::Host(host) => host.mincore(addr, len, &mut self.buffer),
            Who::Window(window) => window.mincore(addr, len, &mut self.buffer),
        }
    }

    /// Of each page of a range that is mapped, whether it is there.
    pub fn residency(&mut self, start: u64, end: u64) -> &[u8] {
        let at = start - self.base();
        self.mincore(at, end - start, 0);
        &self.buffer[..((end - start) / PAGE) as usize]
    }

    /// What a step that was a mincore of so many bytes has answered, page by page:
    /// [`NOT_ANSWERED`] where it has not come to one.
    pub fn answered(&self, len: u64) -> &[u8] {
        let pages = len.div_ceil(PAGE).min(self.buffer.len() as u64);
        &self.buffer[..pages as usize]
    }

    /// A step that is a system call.
    fn call(&mut self, op: &Op) -> Outcome {
        let answer = match &self.who {
            Who::Host(host) => host.call(op, self.file),
            Who::Window(window) => window.call(op, self.file),
        };
        let is_place = matches!(op, Op::Mmap { .. } | Op::Mremap { .. } | Op::Brk { .. });
        let answer = match is_place && answer >= 0 {
            true => answer.wrapping_sub_unsigned(self.base()),
            false => answer,
        };
        Outcome { answer, value: 0 }
    }
}

/// The file that is mapped: each of its words tells where it is.
fn test_file() -> Result<RawFd, &'static str> {
    // SAFETY: The name ends with a zero.
    let fd = unsafe { libc::memfd_create(FILE_NAME.as_ptr(), 0) };
    let words = (0..FILE_LEN / 8).map(|word| word.wrapping_mul(0x0101_0101_0101_0101));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    bytes.resize(FILE_LEN as usize, 0x5a);
    // SAFETY: The bytes are there to be read.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match usize::try_from(written) {
        Ok(len) if len == bytes.len() => Ok(fd),
        _ => Err("the test's file could not be made"),
    }
}
