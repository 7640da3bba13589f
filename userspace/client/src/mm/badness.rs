// SPDX-License-Identifier: GPL-2.0

//! Whom the OOM killer would choose (`oom_badness`, `select_bad_process`): the formula is
//! core's, and so the module's.

use super::look::Space;
use shadowmm_core::mm::OomTask;
use shadowmm_core::phys::Pages;
use std::cmp::Reverse;

impl Space {
    /// Its resident pages, whatever is behind them.
    pub fn rss_pages(&self) -> u64 {
        self.rss_file_pages + self.rss_anon_pages + self.rss_shmem_pages
    }

    /// How bad it is where the buddy system has so many pages in all
    /// ([`Status::managed_pages`](crate::Status::managed_pages)): resident pages, pages of
    /// tables, and `oom_score_adj` thousandths of all. `None`: it is never killed.
    pub fn badness(&self, total_pages: u64) -> Option<i64> {
        let task = OomTask {
            mm: self.id,
            pid: self.pid,
            comm: [0; 16],
            total_vm: Pages(self.total_vm_pages),
            rss_file: Pages(self.rss_file_pages),
            rss_anon: Pages(self.rss_anon_pages),
            rss_shmem: Pages(self.rss_shmem_pages),
            pgtables_bytes: self.pgtables_bytes,
            oom_score_adj: self.oom_score_adj.into(),
        };
        task.badness(Pages(total_pages))
    }

    /// Which of these would be killed next, if memory were out now: the worst whose process
    /// is there, and of the equally bad the oldest.
    pub fn next_victim(spaces: &[Self], total_pages: u64) -> Option<&Self> {
        let alive = spaces.iter().filter(|space| space.pid != 0);
        let ranked = alive.filter_map(|space| Some((space.badness(total_pages)?, space)));
        let worst = ranked.max_by_key(|&(points, space)| (points, Reverse(space.id)));
        worst.map(|(_, space)| space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(id: u32, resident: u64, adj: i32) -> Space {
        Space {
            id,
            pid: 100 + id,
            rss_anon_pages: resident,
            pgtables_bytes: 5 * 4096 + 1,
            oom_score_adj: adj,
            ..Space::default()
        }
    }

    #[test]
    fn badness_is_what_is_resident_with_its_tables_and_the_score() {
        assert_eq!(space(1, 1000, 0).badness(100_000), Some(1005));
        assert_eq!(space(1, 1000, 500).badness(100_000), Some(51_005));
        assert_eq!(space(1, 1000, -500).badness(100_999), Some(-48_995));
        assert_eq!(space(1, 1000, -1000).badness(100_000), None);
        let all = Space {
            rss_file_pages: 1,
            rss_shmem_pages: 2,
            ..space(1, 4, 0)
        };
        assert_eq!((all.rss_pages(), all.badness(0)), (7, Some(12)));
    }

    #[test]
    fn the_worst_is_next_and_of_equals_the_oldest() {
        let next = |spaces: &[Space]| Space::next_victim(spaces, 100_000).map(|space| space.id);
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[space(1, 9000, -1000)]), None);
        assert_eq!(next(&[space(1, 8, 0), space(2, 900, 0)]), Some(2));
        assert_eq!(next(&[space(3, 8, 900), space(4, 900, 0)]), Some(3));
        assert_eq!(next(&[space(5, 8, 0), space(6, 8, 0)]), Some(5));
        let gone = Space {
            pid: 0,
            ..space(7, 900, 0)
        };
        assert_eq!(next(&[gone, space(8, 8, 0)]), Some(8));
    }
}
