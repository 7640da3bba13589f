// SPDX-License-Identifier: GPL-2.0

//! The stages of the boot, and the map for the next one.
//!
//! ```text
//! Detect --> Memblock --> Paging --> Zones --> Handoff
//!    ^                                           |
//!    +---------------- reset() ------------------+   refused while pages are held
//! ```
//!
//! A map can be uploaded at `Detect` only.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use nix::errno::Errno;
use serde::Serialize;
use shadowmm_abi as abi;
use shadowmm_core::error::Error as Reason;
use std::ffi::CString;

/// What the boot has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The firmware map is there.
    Detect,
    /// memblock has memory and reservations.
    Memblock,
    /// Sections and page descriptors.
    Paging,
    /// Nodes, zones, zonelists.
    Zones,
    /// The buddy system has the memory.
    Handoff,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 5] = [
        Stage::Detect,
        Stage::Memblock,
        Stage::Paging,
        Stage::Zones,
        Stage::Handoff,
    ];

    /// The name, as `--json` and the tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Detect => "detect",
            Stage::Memblock => "memblock",
            Stage::Paging => "paging",
            Stage::Zones => "zones",
            Stage::Handoff => "handoff",
        }
    }

    /// What there is once it has been reached.
    pub fn text(self) -> &'static str {
        match self {
            Stage::Detect => "the firmware map is there",
            Stage::Memblock => "memblock has memory and reservations",
            Stage::Paging => "sections and page descriptors are there",
            Stage::Zones => "nodes, zones and zonelists are there",
            Stage::Handoff => "the buddy system has the memory",
        }
    }

    /// The stage after this one.
    pub fn next(self) -> Option<Stage> {
        Self::ALL.get(self as usize + 1).copied()
    }

    pub(crate) fn from_abi(stage: u32) -> Result<Self> {
        Self::ALL
            .get(stage as usize)
            .copied()
            .ok_or(Error::Unexpected {
                what: "read the boot's stage",
                value: u64::from(stage),
            })
    }
}

const _: () = assert!(Stage::Handoff as u32 == abi::SHADOWMM_STAGE_HANDOFF);

/// Where the boot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// The stage reached.
    pub stage: Stage,
    /// What each stage took, in nanoseconds; 0 for those to come.
    pub ns: [u64; 5],
}

/// Whose map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MapSource {
    /// A PC, made up by the module.
    Builtin,
    /// The host's own.
    Host,
    /// Another machine's, from its boot log.
    Log,
}

impl MapSource {
    pub(crate) fn from_abi(source: u32) -> Result<Self> {
        match source {
            abi::SHADOWMM_MAP_BUILTIN => Ok(Self::Builtin),
            abi::SHADOWMM_MAP_HOST => Ok(Self::Host),
            abi::SHADOWMM_MAP_LOG => Ok(Self::Log),
            other => Err(Error::Unexpected {
                what: "read the map's source",
                value: u64::from(other),
            }),
        }
    }

    /// As in "the map is …".
    pub fn text(self) -> &'static str {
        match self {
            Self::Builtin => "the built-in PC's",
            Self::Host => "the host's own",
            Self::Log => "from a boot log",
        }
    }
}

/// One range of the firmware's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct E820Range {
    /// The first byte's address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// As e820 numbers the types.
    pub kind: u32,
}

impl From<&abi::shadowmm_rec_e820> for E820Range {
    fn from(record: &abi::shadowmm_rec_e820) -> Self {
        Self {
            addr: record.addr,
            size: record.size,
            kind: record.type_,
        }
    }
}

/// One memory affinity of the SRAT: memory that belongs to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAffinity {
    /// The first byte's address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// The node.
    pub nid: i32,
    /// Whether memory may be plugged in there.
    pub hotplug: bool,
}

/// One CPU affinity of the SRAT: a CPU that belongs to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPU's number.
    pub cpu: u32,
    /// The node.
    pub nid: i32,
}

/// A machine's map, as its firmware describes it. The module scales it to the
/// region that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Whose it is; of the built-in map nothing else is read but `crashkernel`.
    pub source: MapSource,
    /// The ranges.
    pub e820: Vec<E820Range>,
    /// Which memory belongs to which node.
    pub memory: Vec<MemoryAffinity>,
    /// Which CPU belongs to which node.
    pub cpus: Vec<CpuAffinity>,
    /// Distances between the nodes, one row each; empty where they are unknown.
    pub distances: Vec<Vec<u8>>,
    /// What `crashkernel=` on the command line says.
    pub crashkernel: Option<String>,
}

impl Map {
    /// The built-in map.
    pub fn builtin() -> Self {
        Self {
            source: MapSource::Builtin,
            e820: Vec::new(),
            memory: Vec::new(),
            cpus: Vec::new(),
            distances: Vec::new(),
            crashkernel: None,
        }
    }
}

impl Device {
    /// Where the boot is.
    pub fn boot(&self) -> Result<Boot> {
        self.stage_request(abi::SHADOWMM_STAGE_GET, "read the boot's stage")
    }

    /// Goes one stage on.
    pub fn boot_next(&self) -> Result<Boot> {
        self.stage_request(abi::SHADOWMM_STAGE_NEXT, "go to the next stage of the boot")
    }

    /// Runs the stages that are left.
    pub fn boot_run(&self) -> Result<Boot> {
        self.stage_request(abi::SHADOWMM_STAGE_RUN, "run the boot")
    }

    /// Takes everything back to the first stage; refused while pages are held.
    pub fn boot_reset(&self) -> Result<Boot> {
        self.stage_request(
            abi::SHADOWMM_STAGE_RESET,
            "take the boot back to its first stage",
        )
    }

    fn stage_request(&self, op: u32, what: &'static str) -> Result<Boot> {
        let mut stage = abi::shadowmm_stage {
            op,
            ..Default::default()
        };
        self.request(what, &mut stage)?;
        Ok(Boot {
            stage: Stage::from_abi(stage.stage)?,
            ns: stage.ns,
        })
    }

    /// Hands in the map for the next boot.
    pub fn upload(&self, map: &Map) -> Result<()> {
        const WHAT: &str = "hand in the map";
        let refused = |reason, errno| Error::Refused {
            what: WHAT,
            reason,
            errno,
        };
        let crashkernel = match &map.crashkernel {
            Some(text) => Some(
                CString::new(text.as_str()).map_err(|_| refused(Reason::BadText, Errno::EINVAL))?,
            ),
            None => None,
        };
        if map
            .distances
            .iter()
            .any(|row| row.len() != map.distances.len())
        {
            return Err(refused(Reason::MapBadDistance, Errno::EINVAL));
        }
        let e820: Vec<abi::shadowmm_e820> = map
            .e820
            .iter()
            .map(|range| abi::shadowmm_e820 {
                addr: range.addr,
                size: range.size,
                type_: range.kind,
                reserved: 0,
            })
            .collect();
        let memory: Vec<abi::shadowmm_affinity> = map
            .memory
            .iter()
            .map(|affinity| abi::shadowmm_affinity {
                addr: affinity.addr,
                size: affinity.size,
                nid: affinity.nid,
                flags: if affinity.hotplug {
                    abi::SHADOWMM_AFFINITY_HOTPLUG
                } else {
                    0
                },
            })
            .collect();
        let cpus: Vec<abi::shadowmm_cpu> = map
            .cpus
            .iter()
            .map(|affinity| abi::shadowmm_cpu {
                cpu: affinity.cpu,
                nid: affinity.nid,
            })
            .collect();
        let distances = map.distances.concat();
        let count = |len: usize| {
            u32::try_from(len).map_err(|_| refused(Reason::MapTooManyEntries, Errno::E2BIG))
        };
        let mut request = abi::shadowmm_map {
            source: match map.source {
                MapSource::Builtin => abi::SHADOWMM_MAP_BUILTIN,
                MapSource::Host => abi::SHADOWMM_MAP_HOST,
                MapSource::Log => abi::SHADOWMM_MAP_LOG,
            },
            nr_e820: count(e820.len())?,
            nr_memory: count(memory.len())?,
            nr_cpus: count(cpus.len())?,
            nr_nodes: count(map.distances.len())?,
            e820: address(&e820),
            memory: address(&memory),
            cpus: address(&cpus),
            distances: address(&distances),
            crashkernel: crashkernel.as_ref().map_or(0, |text| text.as_ptr() as u64),
            ..Default::default()
        };
        self.request(WHAT, &mut request)
    }
}

/// Where a slice lies, as the ABI passes it: 0 for an empty one.
fn address<T>(slice: &[T]) -> u64 {
    if slice.is_empty() {
        0
    } else {
        slice.as_ptr() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_numbered_as_in_the_header() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(Stage::from_abi(number as u32), Ok(stage));
        }
        assert!(matches!(
            Stage::from_abi(5),
            Err(Error::Unexpected { value: 5, .. })
        ));
        assert_eq!(Stage::Detect.next(), Some(Stage::Memblock));
        assert_eq!(Stage::Handoff.next(), None);
    }
}
