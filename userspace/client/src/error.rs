// SPDX-License-Identifier: GPL-2.0

//! Why a request failed: what happened, and what to do about it.

use nix::errno::Errno;
use shadowmm_core::error::Error as Reason;
use std::fmt;
use std::path::PathBuf;

/// Why the device could not be asked, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such device: the module is not loaded.
    NotLoaded {
        /// Where the device was looked for.
        path: PathBuf,
    },
    /// The device may only be opened by root.
    NoPermission {
        /// The device.
        path: PathBuf,
    },
    /// The device could not be opened for another reason.
    Open {
        /// The device.
        path: PathBuf,
        /// What the system call said.
        errno: Errno,
    },
    /// What was opened is not shadowmm's device.
    NotShadowmm {
        /// What was opened.
        path: PathBuf,
    },
    /// The module speaks another version of the ABI.
    VersionMismatch {
        /// The version that this program was built for.
        ours: u32,
        /// The version of the module.
        theirs: u32,
        /// The module's release.
        release: String,
    },
    /// The module refused the request and said why. Nothing has changed.
    Refused {
        /// What was asked, as in "could not …".
        what: &'static str,
        /// Why it was refused.
        reason: Reason,
        /// The errno that came with it.
        errno: Errno,
    },
    /// The request failed without a reason of the module's.
    Failed {
        /// What was asked, as in "could not …".
        what: &'static str,
        /// What the system call said.
        errno: Errno,
    },
    /// The module answered with a value that this program does not know.
    Unexpected {
        /// What was asked, as in "could not …".
        what: &'static str,
        /// The value.
        value: u64,
    },
}

/// A result of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Why the module refused, if it was the module.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// The errno that it is, for those who are told no more.
    pub fn errno(&self) -> Errno {
        match self {
            Error::NotLoaded { .. } => Errno::ENODEV,
            Error::NoPermission { .. } => Errno::EACCES,
            Error::NotShadowmm { .. } => Errno::ENOTTY,
            Error::VersionMismatch { .. } | Error::Unexpected { .. } => Errno::EPROTO,
            Error::Open { errno, .. }
            | Error::Refused { errno, .. }
            | Error::Failed { errno, .. } => *errno,
        }
    }

    /// What a person can do about it, in one sentence, where there is something.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Error::NotLoaded { .. } => {
                Some("load the module: modprobe shadowmm, or insmod PATH/shadowmm.ko")
            }
            Error::NoPermission { .. } => Some("run as root, for example with sudo"),
            Error::NotShadowmm { .. } => Some("name shadowmm's own device, or none"),
            Error::VersionMismatch { .. } => Some(
                "build the module and this program from the same source: make module userspace",
            ),
            Error::Refused { reason, .. } => advice_for(*reason),
            _ => None,
        }
    }
}

/// What helps against a refusal.
fn advice_for(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::StageOrder => {
            Some("'shadowmm boot' runs the stages that are left; 'shadowmm status' shows where it is")
        }
        Reason::PagesHeld => Some(
            "end the processes that have the device open; 'shadowmm status' counts them",
        ),
        Reason::RegionTooSmall => Some(
            "give the region more memory (cma=SIZE or numa_cma=NODE:SIZE on the kernel's command line, region_mb= at load), or take a smaller map",
        ),
        Reason::MapMissing => Some(
            "the log must start at the boot, with the BIOS-e820 lines: try 'dmesg' right after it, or 'journalctl -k -b'",
        ),
        Reason::CrashKernelNoRoom => Some("ask for less, or leave the offset out"),
        Reason::OrderTooLarge => Some("take more blocks of order 10 instead"),
        Reason::NoMemory => {
            Some("'shadowmm buddy' shows what is free in which zone; a smaller order may do")
        }
        Reason::NotOwner => Some(
            "pages belong to the open file that allocated them and return when it is closed: end that process",
        ),
        Reason::WrongOrder | Reason::NotBlockHead => {
            Some("'shadowmm page show PFN' tells the block's first page and its order")
        }
        Reason::NodeOffline => Some("'shadowmm nodes' lists the nodes"),
        Reason::Shared => Some("the other holders have to give it up first; 'shadowmm page show PFN' counts the references"),
        Reason::BadPieces => {
            Some("a block of order N starts at a multiple of 2^N; 'shadowmm page show PFN' tells a block's order")
        }
        Reason::NotSupported => {
            Some("load the module with allocator=buddy, or leave the parameter out")
        }
        Reason::Corrupt => Some("this is a bug in shadowmm: 'shadowmm validate' names the invariant"),
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLoaded { path } => write!(
                f,
                "there is no {}: the module shadowmm is not loaded",
                path.display()
            ),
            Error::NoPermission { path } => {
                write!(f, "no permission to open {}", path.display())
            }
            Error::Open { path, errno } => {
                write!(f, "could not open {}: {}", path.display(), errno.desc())
            }
            Error::NotShadowmm { path } => {
                write!(f, "{} is not shadowmm's device", path.display())
            }
            Error::VersionMismatch {
                ours,
                theirs,
                release,
            } => write!(
                f,
                "the module (release {release}) speaks version {theirs} of the ABI, and this program version {ours}"
            ),
            Error::Refused {
                what,
                reason,
                errno,
            } => write!(f, "could not {what}: {} ({errno:?})", reason.sentence()),
            Error::Failed { what, errno } => {
                write!(f, "could not {what}: {} ({errno:?})", errno.desc())
            }
            Error::Unexpected { what, value } => write!(
                f,
                "could not {what}: the module answered {value}, which this program does not know"
            ),
        }
    }
}

impl std::error::Error for Error {}
