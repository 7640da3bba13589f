// SPDX-License-Identifier: GPL-2.0

//! Whom the OOM killer would choose, by the module's own rule.

use shadowmm_client::mm::Space;
use shadowmm_core::mm::OomTask;
use shadowmm_core::phys::Pages;
use std::cmp::Reverse;

/// How bad an address space is, in pages, where so many are managed in all; `None` for one
/// whose process is never killed (`oom_badness`).
pub fn badness(space: &Space, managed_pages: u64) -> Option<i64> {
    let task = OomTask {
        mm: space.id,
        pid: space.pid,
        comm: [0; 16],
        total_vm: Pages(space.total_vm_pages),
        rss_file: Pages(space.rss_file_pages),
        rss_anon: Pages(space.rss_anon_pages),
        rss_shmem: Pages(space.rss_shmem_pages),
        pgtables_bytes: space.pgtables_bytes,
        oom_score_adj: space.oom_score_adj.into(),
    };
    task.badness(Pages(managed_pages))
}

/// Who would be killed (`select_bad_process`): the worst, of equally bad ones the oldest; not
/// one whose process has gone already.
pub fn chosen(spaces: &[Space], managed_pages: u64) -> Option<&Space> {
    let alive = spaces.iter().filter(|space| space.pid != 0);
    let ranked = alive.filter_map(|space| {
        let points = badness(space, managed_pages)?;
        Some(((points, Reverse(space.id)), space))
    });
    let worst = ranked.max_by_key(|&(rank, _)| rank);
    worst.map(|(_, space)| space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::space;
    use shadowmm_core::mm::OOM_SCORE_ADJ_MIN;

    #[test]
    fn resident_pages_tables_and_the_adjustment_count() {
        let mut one = space(3);
        one.rss_anon_pages = 1000;
        one.rss_file_pages = 20;
        one.pgtables_bytes = 5 * 4096;
        assert_eq!(badness(&one, 100_000), Some(1025));
        one.oom_score_adj = -5;
        assert_eq!(badness(&one, 100_000), Some(525));
        one.oom_score_adj = OOM_SCORE_ADJ_MIN as i32;
        assert_eq!(badness(&one, 100_000), None);
    }

    #[test]
    fn the_worst_is_chosen_and_of_equals_the_oldest() {
        let mut all = [space(3), space(4), space(5), space(6)];
        for (space, rss) in all.iter_mut().zip([10, 20, 20, 90]) {
            space.rss_anon_pages = rss;
        }
        all[3].pid = 0;
        assert_eq!(chosen(&all, 1000).map(|space| space.id), Some(4));
        all[1].oom_score_adj = OOM_SCORE_ADJ_MIN as i32;
        assert_eq!(chosen(&all, 1000).map(|space| space.id), Some(5));
        assert!(chosen(&[], 1000).is_none());
    }
}
