// SPDX-License-Identifier: GPL-2.0

//! Emptying a range of pages: what is movable in it moves elsewhere
//! (`__alloc_contig_migrate_range`).

use super::state::pageblock_end;
use super::CompactControl;
use super::CLUSTER_MAX;
use crate::buddy::gfp;
use crate::buddy::migrate::Anywhere;
use crate::buddy::migrate::MigrateMode;
use crate::buddy::AllocRequest;
use crate::buddy::BuddySystem;
use crate::buddy::MemMap;
use crate::buddy::ZoneTable;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Pages;
use crate::phys::PfnRange;
use crate::platform::Platform;
use crate::zone::Zone;

/// How often what did not move is tried again.
const MAX_TRIES: u32 = 5;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Moves what is movable in `range`, which lies in one zone and is isolated,
    /// to where `request` finds room.
    ///
    /// # Errors
    ///
    /// [`Error::NotMovable`] when a block did not move, [`Error::NoMemory`]
    /// when there was nowhere to go. What was taken off its owner and has not
    /// moved is his again.
    pub(in crate::buddy) fn migrate_range(
        &self,
        zone: &Zone<P>,
        range: PfnRange,
        request: &AllocRequest,
    ) -> Result<()> {
        let mut cc = CompactControl::new(*self, zone, gfp::GFP_KERNEL, None);
        cc.mode = MigrateMode::Sync;
        cc.ignore_skip_hint = true;
        cc.no_set_skip_hint = true;
        cc.alloc_contig = true;
        let mut result = Ok(());
        let mut pfn = range.start;
        while result.is_ok() && pfn < range.end {
            cc.nr_migrate = Pages::ZERO;
            while pfn < range.end && cc.nr_migrate < CLUSTER_MAX {
                let end = pageblock_end(pfn).min(range.end);
                if !cc.isolate_migratepages_block(pfn, end) {
                    result = Err(Error::NotMovable);
                    break;
                }
                pfn = cc.migrate_pfn;
            }
            let mut target = Anywhere {
                buddy: self,
                request,
                last: Err(Error::NoMemory),
            };
            let mut tries = 0;
            while result.is_ok() && !cc.migrate.is_empty() {
                tries += 1;
                let migrated = self.migrate_pages(&mut cc.migrate, &mut target);
                if migrated.no_memory {
                    result = Err(Error::NoMemory);
                } else if tries == MAX_TRIES && !cc.migrate.is_empty() {
                    result = Err(Error::NotMovable);
                }
            }
        }
        self.putback_movable(&mut cc.migrate);
        result
    }
}
