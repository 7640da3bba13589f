// SPDX-License-Identifier: GPL-2.0

//! The events that are counted, and what they are called.

use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::report::Event;

/// Declares the events: those of each kind of zone, and the table of the others,
/// each with the line of `/proc/vmstat` that it is.
macro_rules! vm_events {
    ($($(#[$doc:meta])* $event:ident = Event::$item:ident,)*) => {
        /// The events that `/proc/vmstat` counts (`enum vm_event_item`), as far
        /// as they happen here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum VmEvent {
            /// Pages given out by zones of this kind (`pgalloc_dma` ...).
            PgAlloc(ZoneType),
            /// Requests for this kind of zone that had to reclaim memory
            /// themselves (`allocstall_dma` ...).
            AllocStall(ZoneType),
            $($(#[$doc])* $event,)*
        }

        /// The places of the table.
        #[repr(usize)]
        enum Place { $($event,)* }

        /// How many events there are.
        pub(super) const NR_VM_EVENTS: usize = 2 * NR_ZONE_TYPES + VmEvent::NAMES.len();

        impl VmEvent {
            #[inline]
            pub(super) const fn index(self) -> usize {
                match self {
                    Self::PgAlloc(zone) => zone.index(),
                    Self::AllocStall(zone) => NR_ZONE_TYPES + zone.index(),
                    $(Self::$event => 2 * NR_ZONE_TYPES + Place::$event as usize,)*
                }
            }

            /// The table's events.
            const TABLE: &'static [Self] = &[$(Self::$event,)*];

            /// The names of the table's events.
            pub const NAMES: &'static [&'static str] = &[$(Event::$item.name(),)*];
        }
    };
}

impl VmEvent {
    /// The event that `/proc/vmstat` prints under this name, if it can happen
    /// here.
    pub fn from_name(name: &str) -> Option<Self> {
        let of_kind = |kind| match name {
            name if name == Event::pgalloc(kind).name() => Some(Self::PgAlloc(kind)),
            name if name == Event::allocstall(kind).name() => Some(Self::AllocStall(kind)),
            _ => None,
        };
        let mut table = Self::TABLE.iter().zip(Self::NAMES);
        let in_table = || {
            table
                .find(|&(_, &its)| its == name)
                .map(|(&event, _)| event)
        };
        ZoneType::ALL
            .into_iter()
            .find_map(of_kind)
            .or_else(in_table)
    }
}

vm_events! {
    /// Pages given back, those of the hand-off included.
    PgFree = Event::Pgfree,
    /// Private pages that whoever wrote to them had alone, so that none was copied.
    Pgreuse = Event::Pgreuse,
    /// Pages that came to be locked.
    UnevictablePgsMlocked = Event::UnevictablePgsMlocked,
    /// Pages that are not locked any more.
    UnevictablePgsMunlocked = Event::UnevictablePgsMunlocked,
    /// Objects that shrinkers were told to look at.
    SlabsScanned = Event::SlabsScanned,
    /// kswapd was woken from its nap.
    KswapdLowWmarkHitQuickly = Event::KswapdLowWmarkHitQuickly,
    /// kswapd found its node unbalanced when it was about to sleep.
    KswapdHighWmarkHitQuickly = Event::KswapdHighWmarkHitQuickly,
    /// Rounds of kswapd.
    Pageoutrun = Event::Pageoutrun,
    /// Shrinkers were told to give up all they can.
    DropSlab = Event::DropSlab,
    /// Pages that were moved.
    PgmigrateSuccess = Event::PgmigrateSuccess,
    /// Pages that could not be moved.
    PgmigrateFail = Event::PgmigrateFail,
    /// Pages that migrate scanners looked at.
    CompactMigrateScanned = Event::CompactMigrateScanned,
    /// Pages that free scanners looked at.
    CompactFreeScanned = Event::CompactFreeScanned,
    /// Pages that either of them took.
    CompactIsolated = Event::CompactIsolated,
    /// Requests that compacted.
    CompactStall = Event::CompactStall,
    /// Of these, those that got no block for it.
    CompactFail = Event::CompactFail,
    /// Of these, those that got one.
    CompactSuccess = Event::CompactSuccess,
    /// kcompactd started to work.
    CompactDaemonWake = Event::CompactDaemonWake,
    /// Pages that its migrate scanner looked at.
    CompactDaemonMigrateScanned = Event::CompactDaemonMigrateScanned,
    /// Pages that its free scanner looked at.
    CompactDaemonFreeScanned = Event::CompactDaemonFreeScanned,
    /// Pages that nobody had written to since they were freed lazily, and that went for want of
    /// memory, those of droppable memory among them.
    Pglazyfreed = Event::Pglazyfreed,
    /// Processes that were killed to have memory.
    OomKill = Event::OomKill,
    /// First writes that got 2 MiB.
    ThpFaultAlloc = Event::ThpFaultAlloc,
    /// First writes that were to get 2 MiB, and there were none.
    ThpFaultFallback = Event::ThpFaultFallback,
    /// Blocks of 2 MiB that were to take the place of pages, because somebody asked for it.
    ThpCollapseAlloc = Event::ThpCollapseAlloc,
    /// Those that there were not.
    ThpCollapseAllocFailed = Event::ThpCollapseAllocFailed,
    /// Blocks of 2 MiB that became single pages.
    ThpSplitPage = Event::ThpSplitPage,
    /// Entries of 2 MiB that became tables.
    ThpSplitPmd = Event::ThpSplitPmd,
}
