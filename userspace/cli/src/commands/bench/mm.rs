// SPDX-License-Identifier: GPL-2.0

//! `shadowmm bench mm`: what faults and calls in a window cost beside the process's own
//! address space, by the same loops.
//!
//! All is measured from the program that faults and calls, by the time-stamp counter. So
//! the window's figures have in them what the host does for it: its own part of a fault,
//! and the ioctl in place of the system call.

use super::costs;
use super::few;
use super::footer;
use super::together;
use super::BenchSubject;
use super::Missing;
use super::RatioOf;
use super::Row;
use super::Subject;
use super::Ticks;
use super::Unit;
use crate::args::BenchOptions;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::interrupt;
use crate::render::Screen;
use areas::Area;
use areas::Own;
use areas::Shadowed;
use nix::errno::Errno;
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::ProtFlags;
use serde::Serialize;
use shadowmm_client::mm::WindowConfig;
use shadowmm_client::Bench;
use shadowmm_client::BenchShape;
use shadowmm_client::BenchSides;
use shadowmm_client::Device;
use shadowmm_client::HostOptions;
use shadowmm_client::LookupMeasured;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

mod areas;

/// A page, in bytes.
const PAGE: usize = 4096;
/// What is touched.
const TOUCHED: usize = 64 << 20;
/// What forks have.
const FORKED: usize = 256 << 20;
/// Calls in a block.
const CALLS: usize = 64;

/// The measurements.
#[derive(Debug, Serialize)]
struct MmReport {
    accelerator: String,
    kernel: Option<String>,
    unit: Unit,
    host_options: HostOptions,
    /// The mmap lock in faults, of the faults of all rows.
    faults: u64,
    faults_mmap_lock: u64,
    rows: Vec<Row>,
    missing: Vec<Missing>,
    differences: &'static [&'static str],
}

/// What the host's path does that the shadow's does not.
const DIFFERENCES: &[&str] = &[
    "It zeroes pages where init_on_alloc is on as it zeroes them for the process: once, in \
     either case.",
    "It charges pages to the memory cgroup of the process, and puts them on the LRU lists.",
    "It keeps reverse maps (anon_vma), by which a page's users are found; the shadow has pages \
     that are not reclaimed.",
];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Pages of new memory are written to. So many at once, in bytes: 0 for what the
    /// machine has.
    Touch { huge: bool, around: bool },
    /// They are read.
    Read { around: bool },
    /// By two threads, each its half.
    Threads,
    /// They are written to after a fork, whose child is still there.
    Cow,
    /// mmap of a page, and munmap.
    MmapMunmap,
    /// mprotect of a page among others, there and back.
    Mprotect,
    /// fork of a process that has all pages.
    Fork,
}

const TOUCHES: u32 = 20;
const PAIRS: u32 = 400;

/// The rows: name, what an operation is, what is done, in how many blocks.
const ROWS: [(&str, &str, Shape, u32); 10] = [
    (
        "first touch of 64 MiB",
        "page",
        Shape::Touch {
            huge: false,
            around: false,
        },
        TOUCHES,
    ),
    (
        "the same with fault-around",
        "page",
        Shape::Touch {
            huge: false,
            around: true,
        },
        TOUCHES,
    ),
    (
        "the same with pages of 2 MiB",
        "page",
        Shape::Touch {
            huge: true,
            around: false,
        },
        TOUCHES,
    ),
    (
        "read touch of 64 MiB",
        "page",
        Shape::Read { around: false },
        TOUCHES,
    ),
    (
        "read touch with fault-around",
        "page",
        Shape::Read { around: true },
        TOUCHES,
    ),
    (
        "first touch by two threads",
        "page",
        Shape::Threads,
        TOUCHES,
    ),
    ("write after a fork", "page", Shape::Cow, TOUCHES),
    ("mmap and munmap", "pair", Shape::MmapMunmap, PAIRS),
    ("mprotect", "call", Shape::Mprotect, PAIRS),
    ("fork with 256 MiB", "fork", Shape::Fork, TOUCHES),
];

/// Lookups: name, among how many VMAs, in how many blocks.
const LOOKUPS: [(&str, usize, u32); 3] = [
    ("lookup among 10 VMAs", 10, 2000),
    ("lookup among 1,000 VMAs", 1000, 2000),
    ("lookup among 60,000 VMAs", 60_000, 2000),
];

/// How many faults a touch may make at once (`fault_around_bytes`), in the guest's file.
const AROUND: &str = "proc/shadowmm/vm/fault_around_bytes";
/// What it is in the rows about it; a page in all others.
const AROUND_PAGES: usize = 16;

impl Shape {
    /// Operations in a block.
    fn operations(self) -> usize {
        match self {
            Self::MmapMunmap => CALLS,
            Self::Mprotect => 2 * CALLS,
            Self::Fork => 1,
            _ => TOUCHED / PAGE,
        }
    }

    /// One block: what it took, by the time-stamp counter. A second thread runs on the
    /// other CPU.
    fn run(self, area: &impl Area, other: Option<u32>) -> Result<u64> {
        match self {
            Self::Touch { huge, .. } => with(area, TOUCHED, huge, |place| {
                Ok(timed(|| areas::write(place, TOUCHED)))
            }),
            Self::Read { .. } => with(area, TOUCHED, false, |place| {
                Ok(timed(|| areas::read(place, TOUCHED)))
            }),
            Self::Threads => {
                let cpu = other.ok_or_else(|| Error::failed(together::ONE_CPU))?;
                with(area, TOUCHED, false, |place| {
                    let half = TOUCHED / 2;
                    areas::at_once(
                        cpu,
                        || areas::write(place, half),
                        || areas::write(place + half, half),
                    )
                })
            }
            Self::Cow => with(area, TOUCHED, false, |place| {
                areas::write(place, TOUCHED);
                areas::beside_child(|| timed(|| areas::write(place, TOUCHED)))
            }),
            Self::Fork => with(area, FORKED, false, |place| {
                areas::write(place, FORKED);
                areas::fork_time()
            }),
            Self::MmapMunmap => {
                let begin = areas::ticks();
                for _ in 0..CALLS {
                    let place = area.map(PAGE)?;
                    area.unmap(place, PAGE)?;
                }
                Ok(areas::ticks() - begin)
            }
            Self::Mprotect => with(area, 16 * PAGE, false, |place| {
                areas::write(place, 16 * PAGE);
                let begin = areas::ticks();
                for _ in 0..CALLS {
                    area.protect(place + 4 * PAGE, PAGE, ProtFlags::PROT_READ)?;
                    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
                    area.protect(place + 4 * PAGE, PAGE, both)?;
                }
                Ok(areas::ticks() - begin)
            }),
        }
    }
}

fn timed(work: impl FnOnce()) -> u64 {
    let begin = areas::ticks();
    work();
    areas::ticks() - begin
}

/// Has new memory for `work`: it begins where a page of 2 MiB begins.
fn with<A: Area>(
    area: &A,
    len: usize,
    huge: bool,
    work: impl FnOnce(usize) -> Result<u64>,
) -> Result<u64> {
    let place = area.map(len)?;
    let advice = match huge {
        true => MmapAdvise::MADV_HUGEPAGE,
        false => MmapAdvise::MADV_NOHUGEPAGE,
    };
    area.advise(place, len, advice)?;
    let took = work(place);
    area.unmap(place, len)?;
    took
}

impl Report for MmReport {
    fn print(&self, screen: &mut Screen) {
        BenchSubject {
            what: "address spaces",
            unit: self.unit,
            kernel: self.kernel.as_deref(),
            accelerator: &self.accelerator,
            shadow: "is asked through a window",
            host_options: &self.host_options,
        }
        .print(screen);
        costs(screen, &self.rows);
        screen.para(&format!(
            "Of {} faults of the window, {} took the lock of the whole address space.",
            self.faults, self.faults_mmap_lock
        ));
        footer(screen, &self.host_options, self.differences, &self.missing);
    }
}

/// How much a fault makes: what it was again, when this is dropped.
struct FaultAround {
    path: PathBuf,
    was: String,
}

impl FaultAround {
    /// A page from now on; or why that can't be set.
    fn new(root: &Path) -> Result<Self, String> {
        let path = root.join(AROUND);
        let was = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "the module has no fault_around_bytes".to_owned(),
            _ => format!("could not read {}: {error}", path.display()),
        })?;
        let around = Self { path, was };
        around.set(PAGE)?;
        Ok(around)
    }

    fn set(&self, bytes: usize) -> Result<(), String> {
        self.write(&bytes.to_string())
    }

    fn write(&self, text: &str) -> Result<(), String> {
        fs::write(&self.path, text)
            .map_err(|error| format!("could not write to {}: {error}", self.path.display()))
    }
}

impl Drop for FaultAround {
    fn drop(&mut self) {
        if let Err(why) = self.write(self.was.trim()) {
            eprintln!("shadowmm: {why}");
        }
    }
}

/// Why a fork could not be measured, and what helps.
fn no_fork(error: &Error) -> String {
    match error {
        Error::Device(refused) if refused.errno() == Errno::ENOMEM => {
            format!("{error} (make guest MEM=4G CMA=1G)")
        }
        _ => error.to_string(),
    }
}

/// Measures address spaces.
pub fn mm(context: &Context, args: &BenchOptions) -> Result<()> {
    let device = context.open()?;
    let (accelerator, unit) = super::unit(context, "mm")?;
    let here = together::here(&context.root)?;
    together::stay_on(here)?;
    let mut online = together::online(&context.root)?.into_iter();
    let other = online.find(|&cpu| cpu != here);
    let clock = device.bench(&Bench {
        shape: BenchShape::Pair(0),
        blocks: 4,
        fragmented: false,
        sides: BenchSides::Both,
    })?;
    // What is measured is all that is there.
    device.configure_windows(&WindowConfig {
        bare: true,
        ..WindowConfig::default()
    })?;
    interrupt::catch();
    let fault_around = FaultAround::new(&context.root);
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    let mut faults = [0; 2];
    for (shape, per, what, blocks) in ROWS {
        let blocks = few(blocks, args.quick);
        if what == Shape::Threads && other.is_none() {
            missing.push(Missing {
                shape,
                why: together::ONE_CPU.into(),
            });
            continue;
        }
        let around = matches!(
            what,
            Shape::Touch { around: true, .. } | Shape::Read { around: true }
        );
        let set = match (&fault_around, around) {
            (Ok(fault_around), true) => fault_around.set(AROUND_PAGES * PAGE),
            (Ok(fault_around), false) => fault_around.set(PAGE),
            (Err(why), true) => Err(why.clone()),
            // It is what it is.
            (Err(_), false) => Ok(()),
        };
        if let Err(why) = set {
            missing.push(Missing {
                shape,
                why: why.into(),
            });
            continue;
        }
        match measure(&device, what, blocks, other, &mut faults) {
            Ok([shadow, host]) => {
                let ticks = Ticks {
                    shadow: &shadow,
                    host: &host,
                    operations: what.operations() as u32,
                    tsc_khz: clock.tsc_khz,
                };
                rows.push(Row::of(subject(shape, per, unit), &ticks)?);
            }
            Err(error) if what == Shape::Fork => missing.push(Missing {
                shape,
                why: no_fork(&error).into(),
            }),
            Err(error) => return Err(error),
        }
    }
    drop(fault_around);
    for (shape, vmas, blocks) in LOOKUPS {
        interrupt::check()?;
        let measured = lookups(&device, vmas, few(blocks, args.quick))?;
        let ticks = Ticks {
            shadow: &measured.shadow,
            host: &measured.host,
            operations: measured.operations,
            tsc_khz: clock.tsc_khz,
        };
        rows.push(Row::of(subject(shape, "lookup", unit), &ticks)?);
    }
    context.show(&MmReport {
        accelerator,
        kernel: host::read(&context.root, "proc/sys/kernel/osrelease").ok(),
        unit,
        host_options: clock.host_options,
        faults: faults[0],
        faults_mmap_lock: faults[1],
        rows,
        missing,
        differences: DIFFERENCES,
    })
}

/// What a row is about.
fn subject(shape: &'static str, per: &'static str, unit: Unit) -> Subject {
    Subject {
        bench: "mm",
        shape,
        per,
        unit,
        ratio_of: RatioOf::Min,
    }
}

/// Blocks of the shadow and of the host in turn.
fn measure(
    device: &Device,
    shape: Shape,
    blocks: u32,
    other: Option<u32>,
    faults: &mut [u64; 2],
) -> Result<[Vec<u64>; 2]> {
    let mut all = [Vec::new(), Vec::new()];
    // A window as large as leaves what is needed below the room for its stack.
    let window = device.window(1 << 40)?;
    let shadowed = Shadowed(&window);
    if shape == Shape::Fork {
        shadowed.has_room(FORKED)?;
    }
    for _ in 0..blocks {
        interrupt::check()?;
        all[0].push(shape.run(&shadowed, other)?);
        all[1].push(shape.run(&Own, other)?);
    }
    let space = window.space()?;
    faults[0] += space.faults_vma_lock + space.faults_mmap_lock;
    faults[1] += space.faults_mmap_lock;
    Ok(all)
}

/// Finds VMAs of a window that has so many; none of them merges with its neighbour.
fn lookups(device: &Device, vmas: usize, blocks: u32) -> Result<LookupMeasured> {
    let window = device.window(1 << 40)?;
    let shadowed = Shadowed(&window);
    let place = shadowed.map(vmas * PAGE)?;
    for at in (1..vmas).step_by(2) {
        shadowed.protect(place + at * PAGE, PAGE, ProtFlags::PROT_READ)?;
    }
    let measured = device.bench_lookup(blocks)?;
    match measured.vmas as usize == vmas {
        true => Ok(measured),
        false => Err(Error::failed("the window has other VMAs than were made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> MmReport {
        let row = |(shape, per, _, _)| {
            let ticks = Ticks {
                shadow: &[900, 902, 904],
                host: &[1800, 1802, 1804],
                operations: 1,
                tsc_khz: 1,
            };
            Row::of(subject(shape, per, Unit::Instructions), &ticks).unwrap()
        };
        MmReport {
            accelerator: "icount".to_owned(),
            kernel: Some("7.3.4+deb13-cloud-amd64".to_owned()),
            unit: Unit::Instructions,
            host_options: HostOptions::default(),
            faults: 1_000_000,
            faults_mmap_lock: 0,
            rows: ROWS.map(row).into(),
            missing: vec![Missing {
                shape: ROWS[9].0,
                why: "there is too little memory".into(),
            }],
            differences: DIFFERENCES,
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        testing::keys(
            &report,
            "accelerator differences faults faults_mmap_lock host_options \
             host_options.debug_pagealloc host_options.init_on_alloc host_options.init_on_free \
             host_options.page_poison kernel missing missing[].shape missing[].why rows \
             rows[].bench rows[].blocks rows[].host rows[].host.median rows[].host.min rows[].per \
             rows[].ratio rows[].ratio_of rows[].shadow rows[].shadow.median rows[].shadow.min rows[].shape \
             rows[].unit unit",
        );
    }

    #[test]
    fn what_a_fault_makes_is_what_it_was_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let why = FaultAround::new(root.path()).err().unwrap();
        assert_eq!(why, "the module has no fault_around_bytes");
        let path = root.path().join(AROUND);
        fs::create_dir_all(&path).unwrap();
        let why = FaultAround::new(root.path()).err().unwrap();
        assert!(why.contains("directory"), "{why}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "8192\n").unwrap();
        let is = || fs::read_to_string(&path).unwrap();
        let around = FaultAround::new(root.path()).unwrap();
        assert_eq!(is(), "4096");
        around.set(AROUND_PAGES * PAGE).unwrap();
        assert_eq!(is(), "65536");
        drop(around);
        assert_eq!(is(), "8192");
    }

    #[test]
    fn why_there_was_no_fork_is_told() {
        let failed = |errno| {
            no_fork(&Error::Device(shadowmm_client::Error::Failed {
                what: "give advice about memory",
                errno,
            }))
        };
        assert!(failed(Errno::ENOMEM).contains("make guest MEM=4G"));
        let text = failed(Errno::EPERM);
        assert!(text.contains("EPERM") && !text.contains("MEM="), "{text}");
    }

    #[test]
    fn the_loops_run_in_a_processs_own_memory() {
        let shape = Shape::Mprotect;
        assert!(shape.run(&Own, None).unwrap() > 0);
        assert_eq!(shape.operations(), 128);
        assert!(Shape::MmapMunmap.run(&Own, None).unwrap() > 0);
    }
}
