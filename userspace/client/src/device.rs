// SPDX-License-Identifier: GPL-2.0

//! The open device, and the one place that asks the module anything.

use crate::error::Error;
use crate::error::Result;
use crate::report;
use crate::report::Account;
use crate::report::Counter;
use crate::report::MemblockRegion;
use crate::report::Node;
use crate::report::Resource;
use crate::report::Section;
use crate::report::Segment;
use crate::report::Status;
use crate::report::Zone;
use crate::request::text;
use crate::request::Record;
use crate::request::Request;
use crate::usage::Fallback;
use crate::usage::Fragmentation;
use crate::usage::Numastat;
use crate::usage::PageType;
use crate::usage::Pageset;
use crate::E820Range;
use nix::errno::Errno;
use nix::libc;
use serde::Serialize;
use shadowmm_abi as abi;
use shadowmm_core::error::Error as Reason;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::path::Path;

/// Where the module puts its device.
pub const DEFAULT_PATH: &str = "/dev/shadowmm";

/// The version of the ABI that this library speaks.
pub const ABI_VERSION: u32 = abi::SHADOWMM_ABI_VERSION;

/// Records that a report may have at most before something must be wrong.
const MAX_RECORDS: u32 = 1 << 20;

/// The open device. What is taken through it returns when it is dropped.
#[derive(Debug)]
pub struct Device {
    file: File,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The version of the ABI.
    pub abi: u32,
    /// The module's release.
    pub release: String,
    /// The kernel that it runs in.
    pub kernel: String,
}

/// What a check of all invariants came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// Whether all of them hold.
    pub ok: bool,
    /// How many things were looked at.
    pub checks: u64,
    /// The invariant that does not hold.
    pub violated: Option<String>,
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Device {
    /// Opens the device at `path` and makes sure that the module there speaks
    /// this library's version of the ABI.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| {
                let path = path.to_owned();
                match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => Error::NotLoaded { path },
                    Errno::EACCES | Errno::EPERM => Error::NoPermission { path },
                    errno => Error::Open { path, errno },
                }
            })?;
        let device = Self { file };
        let version = device.version().map_err(|error| match error {
            Error::Failed {
                errno: Errno::ENOTTY,
                ..
            } => Error::NotShadowmm {
                path: path.to_owned(),
            },
            // A module of another version may have another struct here.
            Error::Refused {
                reason: Reason::TooNew | Reason::BadSize,
                ..
            } => Error::VersionMismatch {
                ours: ABI_VERSION,
                theirs: 0,
                release: "unknown".to_owned(),
            },
            other => other,
        })?;
        if version.abi == ABI_VERSION {
            Ok(device)
        } else {
            Err(Error::VersionMismatch {
                ours: ABI_VERSION,
                theirs: version.abi,
                release: version.release,
            })
        }
    }

    /// Passes `request` to the module; `what` says what it does, as in "could not …".
    pub(crate) fn request<R: Request>(&self, what: &'static str, request: &mut R) -> Result<()> {
        let head = request.head();
        *head = abi::shadowmm_head {
            size: size_of::<R>() as u32,
            flags: head.flags,
            ..Default::default()
        };
        let done = loop {
            // SAFETY: The module reads and writes at most `head.size` bytes at
            // the pointer, which are `request`'s own and borrowed mutably, and
            // by `Request`'s contract whatever it writes is a value of `R`. A
            // pointer that the struct holds leads to memory that the caller of
            // this function has borrowed for as long (`upload`, `records`,
            // `play`, `state`).
            let result = unsafe {
                libc::ioctl(
                    self.file.as_raw_fd(),
                    R::NUMBER as _,
                    std::ptr::from_mut(request),
                )
            };
            match Errno::result(result) {
                Err(Errno::EINTR) => {}
                done => break done,
            }
        };
        let Err(errno) = done else {
            return Ok(());
        };
        Err(match Reason::from_code(request.head().reason) {
            Some(reason) => Error::Refused {
                what,
                reason,
                errno,
            },
            None => Error::Failed { what, errno },
        })
    }

    /// Who is there.
    pub fn version(&self) -> Result<Version> {
        let mut version = abi::shadowmm_version::default();
        self.request("ask for the version", &mut version)?;
        Ok(Version {
            abi: version.abi,
            release: text(&version.release),
            kernel: text(&version.kernel),
        })
    }

    /// All records of one kind, as the module has them.
    pub(crate) fn records<R: Record>(&self) -> Result<Vec<R>> {
        self.records_of(R::KIND, R::WHAT)
    }

    fn records_of<R: Copy + Default>(&self, kind: u32, what: &'static str) -> Result<Vec<R>> {
        let mut buffer: Vec<R> = Vec::new();
        // The numbers move while one looks: the buffer grows until all fit.
        loop {
            let mut report = abi::shadowmm_report {
                kind,
                record_size: size_of::<R>() as u32,
                capacity: buffer.len() as u32,
                buf: buffer.as_mut_ptr() as u64,
                ..Default::default()
            };
            self.request(what, &mut report)?;
            if report.count > MAX_RECORDS {
                return Err(Error::Unexpected {
                    what,
                    value: u64::from(report.count),
                });
            }
            let count = report.count as usize;
            if count <= buffer.len() {
                buffer.truncate(count);
                return Ok(buffer);
            }
            buffer.resize(count + count / 8, R::default());
        }
    }

    /// One look at everything important.
    pub fn status(&self) -> Result<Status> {
        let records = self.records::<abi::shadowmm_rec_status>()?;
        match records.first() {
            Some(record) => report::status(record),
            None => Err(Error::Unexpected {
                what: "read the status",
                value: 0,
            }),
        }
    }

    /// The pieces of the host's memory that the shadow's RAM lies on.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        let records = self.records::<abi::shadowmm_rec_segment>()?;
        Ok(records.iter().map(Segment::from).collect())
    }

    /// The firmware's map, scaled to the region.
    pub fn e820(&self) -> Result<Vec<E820Range>> {
        let records = self.records::<abi::shadowmm_rec_e820>()?;
        Ok(records.iter().map(E820Range::from).collect())
    }

    /// The resources, as `/proc/iomem` shows them.
    pub fn resources(&self) -> Result<Vec<Resource>> {
        let records = self.records::<abi::shadowmm_rec_resource>()?;
        Ok(records.iter().map(Resource::from).collect())
    }

    /// memblock's regions, `memory` first.
    pub fn memblock(&self) -> Result<Vec<MemblockRegion>> {
        let records = self.records::<abi::shadowmm_rec_memblock>()?;
        records.iter().map(MemblockRegion::try_from).collect()
    }

    /// The nodes.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let records = self.records::<abi::shadowmm_rec_node>()?;
        let count = records
            .iter()
            .map(|record| record.nid.max(-1) as usize + 1)
            .max()
            .unwrap_or(0);
        Ok(records
            .iter()
            .map(|record| Node::from_record(record, count))
            .collect())
    }

    /// The zones, by node and kind.
    pub fn zones(&self) -> Result<Vec<Zone>> {
        let records = self.records::<abi::shadowmm_rec_zone>()?;
        Ok(records.iter().map(Zone::from).collect())
    }

    /// Where the memory went.
    pub fn accounting(&self) -> Result<Vec<Account>> {
        let records = self.records::<abi::shadowmm_rec_account>()?;
        Ok(records.iter().map(Account::from).collect())
    }

    /// The sections of page descriptors.
    pub fn sections(&self) -> Result<Vec<Section>> {
        let records = self.records::<abi::shadowmm_rec_section>()?;
        Ok(records.iter().map(Section::from).collect())
    }

    /// What each CPU keeps of each zone with memory.
    pub fn pagesets(&self) -> Result<Vec<Pageset>> {
        let records = self.records::<abi::shadowmm_rec_pageset>()?;
        Ok(records.iter().map(Pageset::from).collect())
    }

    /// The pages of each zone with memory, by migrate type.
    pub fn page_types(&self) -> Result<Vec<PageType>> {
        let records = self.records::<abi::shadowmm_rec_pagetype>()?;
        Ok(records.iter().map(PageType::from).collect())
    }

    /// How fragmented each zone with memory is, and each migrate type in it.
    pub fn fragmentation(&self) -> Result<Vec<Fragmentation>> {
        let records = self.records::<abi::shadowmm_rec_fragmentation>()?;
        Ok(records.iter().map(Fragmentation::from).collect())
    }

    /// Where the pages of each node were wanted.
    pub fn numastat(&self) -> Result<Vec<Numastat>> {
        let records = self.records::<abi::shadowmm_rec_numastat>()?;
        Ok(records.iter().map(Numastat::from).collect())
    }

    /// How often requests took from page blocks of other types.
    pub fn fallbacks(&self) -> Result<Vec<Fallback>> {
        let records = self.records::<abi::shadowmm_rec_fallback>()?;
        Ok(records.iter().map(Fallback::from).collect())
    }

    /// The counters of `/proc/vmstat`.
    pub fn vmstat(&self) -> Result<Vec<Counter>> {
        self.counters(abi::SHADOWMM_REPORT_VMSTAT, "read the counters")
    }

    /// How often each error has been the answer.
    pub fn refusals(&self) -> Result<Vec<Counter>> {
        self.counters(
            abi::SHADOWMM_REPORT_REFUSALS,
            "read the counters of refusals",
        )
    }

    fn counters(&self, kind: u32, what: &'static str) -> Result<Vec<Counter>> {
        let records: Vec<abi::shadowmm_rec_counter> = self.records_of(kind, what)?;
        Ok(records.iter().map(Counter::from).collect())
    }

    /// Gives the zones back what the CPUs keep at hand, on one node or on all,
    /// and says how many pages those were. What was freed shows in the free
    /// lists, merged, only then.
    pub fn drain(&self, nid: Option<u32>) -> Result<u64> {
        self.reclaim("drain the CPUs' pages", abi::SHADOWMM_RECLAIM_DRAIN, nid)
    }

    /// Moves what may be moved together, on one node or on all, and says how
    /// many pages have moved meanwhile.
    pub fn compact(&self, nid: Option<u32>) -> Result<u64> {
        self.reclaim("compact memory", abi::SHADOWMM_RECLAIM_COMPACT, nid)
    }

    /// Has everything go that is kept only while nobody needs the memory, and
    /// says how many pages came back.
    pub fn shrink(&self) -> Result<u64> {
        self.reclaim("shrink the caches", abi::SHADOWMM_RECLAIM_SHRINK, None)
    }

    fn reclaim(&self, what: &'static str, op: u32, nid: Option<u32>) -> Result<u64> {
        let mut request = abi::shadowmm_reclaim {
            op,
            // A number that no node has is refused as such.
            nid: nid.map_or(-1, |nid| i32::try_from(nid).unwrap_or(i32::MAX)),
            ..Default::default()
        };
        self.request(what, &mut request)?;
        Ok(request.pages)
    }

    /// Has the module check every invariant of the running shadow.
    pub fn validate(&self) -> Result<Validation> {
        let mut validate = abi::shadowmm_validate::default();
        self.request("check the invariants", &mut validate)?;
        let violated = text(&validate.what);
        Ok(Validation {
            ok: violated.is_empty(),
            checks: validate.checks,
            violated: (!violated.is_empty()).then_some(violated),
        })
    }
}
