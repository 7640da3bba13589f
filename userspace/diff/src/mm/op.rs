// SPDX-License-Identifier: GPL-2.0

//! The steps: system calls and touches at places of an arena, which are told by their
//! distance from its beginning, in bytes.

use nix::libc;
use serde::Deserialize;
use serde::Serialize;
use std::fmt;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// mmap; without a place, wherever there is room.
    Mmap {
        at: Option<u64>,
        len: u64,
        prot: i32,
        flags: i32,
        /// The test's file is behind it, from this page on.
        file: Option<u64>,
    },
    /// munmap.
    Munmap { at: u64, len: u64 },
    /// mprotect.
    Mprotect { at: u64, len: u64, prot: i32 },
    /// mremap; the new place is passed on where there is one.
    Mremap {
        at: u64,
        old: u64,
        new: u64,
        flags: i32,
        to: u64,
    },
    /// madvise.
    Madvise { at: u64, len: u64, advice: i32 },
    /// brk.
    Brk { to: u64 },
    /// mlock, or mlock2 with flags.
    Mlock { at: u64, len: u64, flags: i32 },
    /// munlock.
    Munlock { at: u64, len: u64 },
    /// mlockall.
    Mlockall { flags: i32 },
    /// munlockall.
    Munlockall,
    /// mincore.
    Mincore { at: u64, len: u64 },
    /// msync.
    Msync { at: u64, len: u64, flags: i32 },
    /// A load of eight bytes.
    Load { at: u64 },
    /// A store of eight bytes.
    Store { at: u64, value: u64 },
    /// A store to each page of a range.
    Fill { at: u64, pages: u64, value: u64 },
    /// read(2) of so many bytes into the arena.
    CopyIn { at: u64, len: u64 },
    /// write(2) of so many bytes from the arena.
    CopyOut { at: u64, len: u64 },
    /// fork; the child looks at all it has, writes to it, looks again, and ends.
    ForkLook { value: u64 },
    /// fork; the child goes on, and the parent waits.
    Fork,
    /// The child of the last fork ends, and its parent goes on.
    Back,
    /// setrlimit, in bytes above what the process had at the start.
    Limit { which: Limit, bytes: Option<u64> },
}

/// What may be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    As,
    Data,
    Stack,
    Memlock,
}

/// The names of the bits that are set.
struct Bits<'a>(i32, &'a [(i32, &'a str)]);

impl fmt::Display for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mut rest, names) = *self;
        let mut between = "";
        for &(bit, name) in names {
            if bit != 0 && rest & bit == bit {
                write!(f, "{between}{name}")?;
                rest &= !bit;
                between = "|";
            }
        }
        match (rest, between) {
            (0, "") => write!(f, "0"),
            (0, _) => Ok(()),
            _ => write!(f, "{between}{rest:#x}"),
        }
    }
}

const PROT: &[(i32, &str)] = &[
    (libc::PROT_READ, "READ"),
    (libc::PROT_WRITE, "WRITE"),
    (libc::PROT_EXEC, "EXEC"),
    (libc::PROT_GROWSDOWN, "GROWSDOWN"),
    (libc::PROT_GROWSUP, "GROWSUP"),
];

const MAP: &[(i32, &str)] = &[
    (libc::MAP_SHARED_VALIDATE, "SHARED_VALIDATE"),
    (libc::MAP_SHARED, "SHARED"),
    (libc::MAP_PRIVATE, "PRIVATE"),
    (MAP_DROPPABLE, "DROPPABLE"),
    (libc::MAP_FIXED, "FIXED"),
    (libc::MAP_FIXED_NOREPLACE, "FIXED_NOREPLACE"),
    (libc::MAP_ANONYMOUS, "ANONYMOUS"),
    (libc::MAP_GROWSDOWN, "GROWSDOWN"),
    (libc::MAP_LOCKED, "LOCKED"),
    (libc::MAP_NORESERVE, "NORESERVE"),
    (libc::MAP_POPULATE, "POPULATE"),
    (libc::MAP_NONBLOCK, "NONBLOCK"),
    (libc::MAP_STACK, "STACK"),
];

const MREMAP: &[(i32, &str)] = &[
    (libc::MREMAP_MAYMOVE, "MAYMOVE"),
    (libc::MREMAP_FIXED, "FIXED"),
    (libc::MREMAP_DONTUNMAP, "DONTUNMAP"),
];

const MSYNC: &[(i32, &str)] = &[
    (libc::MS_ASYNC, "ASYNC"),
    (libc::MS_INVALIDATE, "INVALIDATE"),
    (libc::MS_SYNC, "SYNC"),
];

const MLOCKALL: &[(i32, &str)] = &[
    (libc::MCL_CURRENT, "CURRENT"),
    (libc::MCL_FUTURE, "FUTURE"),
    (libc::MCL_ONFAULT, "ONFAULT"),
];

/// `MAP_DROPPABLE`.
pub const MAP_DROPPABLE: i32 = 8;

/// `MADV_GUARD_INSTALL`.
pub const MADV_GUARD_INSTALL: i32 = 102;
/// `MADV_GUARD_REMOVE`.
pub const MADV_GUARD_REMOVE: i32 = 103;

/// Kinds of advice that are given, with their names.
pub const ADVICE: &[(i32, &str)] = &[
    (libc::MADV_NORMAL, "NORMAL"),
    (libc::MADV_RANDOM, "RANDOM"),
    (libc::MADV_SEQUENTIAL, "SEQUENTIAL"),
    (libc::MADV_WILLNEED, "WILLNEED"),
    (libc::MADV_DONTNEED, "DONTNEED"),
    (libc::MADV_FREE, "FREE"),
    (libc::MADV_DONTFORK, "DONTFORK"),
    (libc::MADV_DOFORK, "DOFORK"),
    (libc::MADV_HUGEPAGE, "HUGEPAGE"),
    (libc::MADV_NOHUGEPAGE, "NOHUGEPAGE"),
    (libc::MADV_DONTDUMP, "DONTDUMP"),
    (libc::MADV_DODUMP, "DODUMP"),
    (libc::MADV_WIPEONFORK, "WIPEONFORK"),
    (libc::MADV_KEEPONFORK, "KEEPONFORK"),
    (libc::MADV_COLD, "COLD"),
    (libc::MADV_POPULATE_READ, "POPULATE_READ"),
    (libc::MADV_POPULATE_WRITE, "POPULATE_WRITE"),
    (libc::MADV_DONTNEED_LOCKED, "DONTNEED_LOCKED"),
    (MADV_GUARD_INSTALL, "GUARD_INSTALL"),
    (MADV_GUARD_REMOVE, "GUARD_REMOVE"),
    (1000, "(1000)"),
];

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mmap {
                at,
                len,
                prot,
                flags,
                file,
            } => {
                write!(f, "mmap(")?;
                match at {
                    Some(at) => write!(f, "{at:#x}")?,
                    None => write!(f, "NULL")?,
                }
                let (prot, flags) = (Bits(prot, PROT), Bits(flags, MAP));
                write!(f, ", {len:#x}, {prot}, {flags}")?;
                match file {
                    Some(page) => write!(f, ", file, page {page})"),
                    None => write!(f, ")"),
                }
            }
            Self::Munmap { at, len } => write!(f, "munmap({at:#x}, {len:#x})"),
            Self::Mprotect { at, len, prot } => {
                write!(f, "mprotect({at:#x}, {len:#x}, {})", Bits(prot, PROT))
            }
            Self::Mremap {
                at,
                old,
                new,
                flags,
                to,
            } => {
                let flags = Bits(flags, MREMAP);
                write!(f, "mremap({at:#x}, {old:#x}, {new:#x}, {flags}, {to:#x})")
            }
            Self::Madvise { at, len, advice } => {
                let name = ADVICE.iter().find(|&&(number, _)| number == advice);
                let name = name.map_or("?", |&(_, name)| name);
                write!(f, "madvise({at:#x}, {len:#x}, {name})")
            }
            Self::Brk { to } => write!(f, "brk({to:#x})"),
            Self::Mlock { at, len, flags: 0 } => write!(f, "mlock({at:#x}, {len:#x})"),
            Self::Mlock { at, len, flags } => {
                write!(f, "mlock2({at:#x}, {len:#x}, {flags:#x})")
            }
            Self::Munlock { at, len } => write!(f, "munlock({at:#x}, {len:#x})"),
            Self::Mlockall { flags } => write!(f, "mlockall({})", Bits(flags, MLOCKALL)),
            Self::Munlockall => write!(f, "munlockall()"),
            Self::Mincore { at, len } => write!(f, "mincore({at:#x}, {len:#x})"),
            Self::Msync { at, len, flags } => {
                write!(f, "msync({at:#x}, {len:#x}, {})", Bits(flags, MSYNC))
            }
            Self::Load { at } => write!(f, "load {at:#x}"),
            Self::Store { at, value } => write!(f, "store {at:#x} {value:#x}"),
            Self::Fill { at, pages, value } => {
                write!(f, "store to each of {pages} pages from {at:#x} {value:#x}")
            }
            Self::CopyIn { at, len } => write!(f, "read(file, {at:#x}, {len:#x})"),
            Self::CopyOut { at, len } => write!(f, "write(pipe, {at:#x}, {len:#x})"),
            Self::ForkLook { value } => write!(f, "fork() and the child writes {value:#x}"),
            Self::Fork => write!(f, "fork() and the child goes on"),
            Self::Back => write!(f, "exit() and the parent goes on"),
            Self::Limit { which, bytes } => {
                let name = match which {
                    Limit::As => "AS",
                    Limit::Data => "DATA",
                    Limit::Stack => "STACK",
                    Limit::Memlock => "MEMLOCK",
                };
                match bytes {
                    Some(bytes) => write!(f, "setrlimit({name}, {bytes:#x})"),
                    None => write!(f, "setrlimit({name}, INFINITY)"),
                }
            }
        }
    }
}
