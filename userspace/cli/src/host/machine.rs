// SPDX-License-Identifier: GPL-2.0

//! What the machine is that the shadow runs in.

use crate::render::duration;
use crate::render::plural;
use procfs::FromRead;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// The host, as far as it could be found out: nothing here is worth an error.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// How the guest runs, where it is one of `make run`: kvm, tcg or icount.
    pub accelerator: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// CPUs online.
    pub cpus: Option<usize>,
    /// `MemTotal`.
    pub total_bytes: Option<u64>,
    /// `CmaTotal`.
    pub cma_total_bytes: Option<u64>,
    /// The CMA areas.
    pub cma_areas: Vec<CmaArea>,
    /// What inserting the module took, where the one who did tells.
    pub module_load_ms: Option<u64>,
}

/// An area of the host's contiguous memory allocator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CmaArea {
    /// Its name.
    pub name: String,
    /// Pages in it.
    pub total_pages: u64,
    /// Of these, pages that nobody has allocated.
    pub available_pages: u64,
}

impl Machine {
    /// Looks around below `root` and into the environment.
    pub fn read(root: &Path) -> Self {
        let meminfo = procfs::Meminfo::from_file(root.join("proc/meminfo")).ok();
        Self {
            accelerator: std::env::var("SHADOWMM_ACCEL").ok(),
            kernel: super::read(root, "proc/sys/kernel/osrelease").ok(),
            cpus: super::read(root, "sys/devices/system/cpu/online")
                .ok()
                .and_then(|list| super::map::parse_list(&list))
                .map(|cpus| cpus.len()),
            total_bytes: meminfo.as_ref().map(|meminfo| meminfo.mem_total),
            cma_total_bytes: meminfo.as_ref().and_then(|meminfo| meminfo.cma_total),
            cma_areas: cma_areas(root).unwrap_or_default(),
            module_load_ms: std::env::var("SHADOWMM_LOAD_MS")
                .ok()
                .and_then(|ms| ms.parse().ok()),
        }
    }
}

/// What the machine's processor is: as the one who booted it says (kvm, tcg or
/// icount), or by itself: tcg, kvm for any other hypervisor, none.
pub fn accelerator(root: &Path) -> String {
    if let Ok(accelerator) = std::env::var("SHADOWMM_ACCEL") {
        return accelerator;
    }
    let cpuinfo = super::read(root, "proc/cpuinfo").unwrap_or_default();
    let has = |field: &str, word: &str| {
        let mut lines = cpuinfo.lines().filter(|line| line.starts_with(field));
        lines.any(|line| line.contains(word))
    };
    let accelerator = match (has("model name", "QEMU TCG"), has("flags", " hypervisor")) {
        (true, _) => "tcg",
        (_, true) => "kvm",
        _ => "none",
    };
    accelerator.to_owned()
}

/// What the machine's clock counts: spans of time are told with that beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds of a processor.
    Processor,
    /// Nanoseconds of an emulator, which tell nothing of a processor.
    Emulator,
    /// Instructions: one counts as a nanosecond.
    Instructions,
}

impl Clock {
    /// That of the machine.
    pub fn read(root: &Path) -> Self {
        Self::of(&accelerator(root))
    }

    /// That of a machine with this accelerator.
    fn of(accelerator: &str) -> Self {
        match accelerator {
            "icount" => Self::Instructions,
            "tcg" => Self::Emulator,
            _ => Self::Processor,
        }
    }

    /// A span of time: "4.5 ms", "4.5 ms under emulation", "4,500,000 instructions".
    pub fn tell(self, ns: u64) -> String {
        match self {
            Self::Processor => duration(ns),
            Self::Emulator => format!("{} under emulation", duration(ns)),
            Self::Instructions => plural(ns, "instruction"),
        }
    }
}

fn cma_areas(root: &Path) -> Option<Vec<CmaArea>> {
    let directory = "sys/kernel/mm/cma";
    let mut areas = Vec::new();
    for entry in fs::read_dir(root.join(directory)).ok()? {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let number = |file: &str| {
            let text = super::read(root, &format!("{directory}/{name}/{file}")).ok()?;
            text.parse().ok()
        };
        if let (Some(total_pages), Some(available_pages)) =
            (number("total_pages"), number("available_pages"))
        {
            areas.push(CmaArea {
                name,
                total_pages,
                available_pages,
            });
        }
    }
    areas.sort_by(|a, b| a.name.cmp(&b.name));
    Some(areas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_whose_it_is() {
        assert_eq!(Clock::of("kvm").tell(4_500_000), "4.5 ms");
        assert_eq!(Clock::of("none").tell(4_500_000), "4.5 ms");
        assert_eq!(Clock::of("tcg").tell(4_500_000), "4.5 ms under emulation");
        assert_eq!(Clock::of("icount").tell(4_500), "4,500 instructions");
    }
}
