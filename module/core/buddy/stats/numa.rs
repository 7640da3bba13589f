// SPDX-License-Identifier: GPL-2.0

//! Where pages came from.

/// Where pages came from, seen from where they were wanted
/// (`enum numa_stat_item`, in its order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum NumaStat {
    /// Given out on the node where they were wanted.
    Hit = 0,
    /// Given out here, wanted elsewhere.
    Miss = 1,
    /// Wanted here, given out elsewhere.
    Foreign = 2,
    /// Given out where interleaving wanted them.
    InterleaveHit = 3,
    /// Given out to a CPU of the same node.
    Local = 4,
    /// Given out to a CPU of another node.
    Other = 5,
}

/// How many there are (`NR_VM_NUMA_EVENT_ITEMS`).
pub const NR_NUMA_STATS: usize = 6;

impl NumaStat {
    /// All of them, in the order of `/proc/zoneinfo`.
    pub const ALL: [NumaStat; NR_NUMA_STATS] = [
        Self::Hit,
        Self::Miss,
        Self::Foreign,
        Self::InterleaveHit,
        Self::Local,
        Self::Other,
    ];

    /// The name that `/proc` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "numa_hit",
            Self::Miss => "numa_miss",
            Self::Foreign => "numa_foreign",
            Self::InterleaveHit => "numa_interleave",
            Self::Local => "numa_local",
            Self::Other => "numa_other",
        }
    }
}
