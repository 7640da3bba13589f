// SPDX-License-Identifier: GPL-2.0

//! What becomes of a CPU's pages of another node's zone that it has not used
//! for a while: they go back, a batch each time the statistics are refreshed.

use super::system::BuddySystem;
use super::MemMap;
use super::ZoneTable;
use crate::page::ZoneId;
use crate::phys::Pages;
use crate::platform::Platform;

impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
    /// Gives a zone a batch of what the running CPU keeps of it
    /// (`drain_zone_pages`), and says how many pages that were.
    pub fn drain_zone_pages(&self, id: ZoneId) -> Pages {
        let (cpu, _pinned) = self.platform.pin_cpu();
        let (Some(zone), Some(pageset)) = (self.zones.zone(id), self.stats.pageset(cpu, id)) else {
            return Pages::ZERO;
        };
        if !pageset.is_enabled() || !pageset.is_mine() {
            return Pages::ZERO;
        }
        pageset.unsettle();
        let before = pageset.count();
        self.free_pcppages_bulk(zone, id, pageset, pageset.batch(), 0);
        pageset.settle(0);
        Pages(before.saturating_sub(pageset.count()).into())
    }
}
