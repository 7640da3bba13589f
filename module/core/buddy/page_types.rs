// SPDX-License-Identifier: GPL-2.0

//! Counting a zone's free blocks and page blocks by migrate type, for
//! `/proc/pagetypeinfo`.

use super::migratetype::MigrateType;
use super::MemMap;
use crate::page::ZoneId;
use crate::phys::PageOrder;
use crate::platform::Lock;
use crate::platform::Platform;
use crate::report::PageTypeModel;
use crate::zone::Zone;

/// What `/proc/pagetypeinfo` says about a zone. The lock is taken anew for each
/// list, so the lists need not be of the same moment.
pub fn page_types<P: Platform>(map: &impl MemMap, zone: &Zone<P>) -> PageTypeModel {
    let mut model = PageTypeModel::NONE;
    for (mt, free) in MigrateType::ALL.into_iter().zip(&mut model.free) {
        for (order, count) in PageOrder::all().zip(free) {
            let areas = zone.free.lock();
            let list = areas.list(order, mt).iter(map);
            *count = list.take(PageTypeModel::MOST as usize).count() as u64;
        }
    }
    // A page block counts for the zone that its first page in the span is in
    // (pagetypeinfo_showblockcount_print).
    let id = ZoneId::new(zone.nid, zone.kind);
    let mut pfn = zone.span.start;
    while pfn < zone.span.end {
        let ours = map.page(pfn).is_some_and(|page| page.zone_id() == id);
        if let (true, Some(block)) = (ours, map.pageblock(pfn)) {
            if let Some(count) = model.blocks.get_mut(block.migratetype().index()) {
                *count = count.wrapping_add(1);
            }
        }
        pfn = pfn + PageOrder::PAGEBLOCK.pages();
    }
    model
}
