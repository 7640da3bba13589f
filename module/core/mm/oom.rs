// SPDX-License-Identifier: GPL-2.0

//! Memory is out: the process is killed whose end helps most (`out_of_memory`).
//!
//! ```text
//! somebody has pages that he would not miss they go (reclaim.rs), and nobody is killed
//! somebody is about to die already          wait for that, but not for ever
//! badness   resident pages, pages of tables, oom_score_adj thousandths of all memory
//! the worst that may be killed              the surroundings kill it, and write the report
//! it can't be killed                        the next one
//! ```
//!
//! Whoever needed the memory tries again then. Nobody is reaped before he has ended by
//! himself (`oom_reaper`): his pages come back when his address space does. Where that
//! takes longer than Linux's reaper tries, others are killed as if he were not there.

use super::cells::MmCells;
use super::lock::WriteLock;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use crate::buddy::VmEvent;
use crate::phys::Pages;
use crate::phys::PAGE_SIZE;
use crate::platform::Platform;
use crate::report::write_oom;
use crate::slab::ObjAddr;
use core::cmp::Reverse;
use core::sync::atomic::Ordering::Relaxed;

/// Who has this is never killed (`OOM_SCORE_ADJ_MIN`).
pub const OOM_SCORE_ADJ_MIN: i64 = -1000;

/// A bit of [`MmCells`]' policy: its process was killed to have memory
/// (`tsk_is_oom_victim`).
pub(super) const MM_OOM_VICTIM: u64 = 1 << 8;

/// How long somebody who is about to die is waited for: as long as Linux gives him to end
/// by himself and then tries to reap him, before it hides him from the killer
/// (`OOM_REAPER_DELAY`; `MAX_OOM_REAP_RETRIES` tenths of a second, `MMF_OOM_SKIP`).
const PATIENCE_NS: u64 = 3_000_000_000;

/// Whether there will be memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// Pages have come back, or somebody is about to die.
    Expected,
    /// There is nobody who could be killed.
    None,
}

/// An address space as the report shows it, and as who is to be killed is told to the
/// surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomTask {
    /// The address space's number.
    pub mm: u32,
    /// Its process.
    pub pid: u32,
    /// The process's name.
    pub comm: [u8; 16],
    /// All that is mapped.
    pub total_vm: Pages,
    /// Resident pages: of files, anonymous, of shared memory.
    pub rss_file: Pages,
    /// Anonymous ones.
    pub rss_anon: Pages,
    /// Those of shared memory.
    pub rss_shmem: Pages,
    /// What page tables take, in bytes.
    pub pgtables_bytes: u64,
    /// `oom_score_adj`.
    pub oom_score_adj: i64,
}

impl OomTask {
    pub(super) fn of(cells: &MmCells) -> Self {
        let [file, anon, _, shmem] = &cells.rss;
        Self {
            mm: cells.id.load(Relaxed),
            pid: cells.pid.load(Relaxed),
            comm: cells.comm(),
            total_vm: Pages(cells.total_vm.load(Relaxed)),
            rss_file: Pages(file.load(Relaxed)),
            rss_anon: Pages(anon.load(Relaxed)),
            rss_shmem: Pages(shmem.load(Relaxed)),
            pgtables_bytes: cells.pgtables_bytes.load(Relaxed),
            oom_score_adj: cells.oom_score_adj.load(Relaxed) as i64,
        }
    }

    /// Resident pages.
    pub fn rss(&self) -> Pages {
        self.rss_file + self.rss_anon + self.rss_shmem
    }

    /// How bad it is, where there are so many pages in all; `None` for one that is never
    /// killed (`oom_badness`).
    pub fn badness(&self, total: Pages) -> Option<i64> {
        if self.oom_score_adj == OOM_SCORE_ADJ_MIN {
            return None;
        }
        let points = self.rss().0.wrapping_add(self.pgtables_bytes / PAGE_SIZE);
        let unit = (total.0 / 1000) as i64;
        Some((points as i64).saturating_add(self.oom_score_adj.saturating_mul(unit)))
    }

    /// The name, as far as it is text.
    pub fn name(&self) -> &str {
        let len = self.comm.iter().position(|&byte| byte == 0);
        let name = self.comm.get(..len.unwrap_or(self.comm.len()));
        core::str::from_utf8(name.unwrap_or(&[])).unwrap_or("?")
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Shows each address space that somebody uses; none comes or goes meanwhile.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(&MmCells)) {
        let _lock = WriteLock::lock(self.platform(), &self.table().lock);
        self.walk(&mut |cells| each(cells));
    }

    /// The same for who has the lock.
    fn walk(&self, each: &mut dyn FnMut(&'m MmCells)) {
        self.walk_all(&mut |cells| {
            if cells.users.load(Relaxed) != 0 {
                each(cells);
            }
        });
    }

    /// Those, too, that nobody uses any more and that are about to go. For who has the
    /// lock.
    pub(super) fn walk_all(&self, each: &mut dyn FnMut(&'m MmCells)) {
        let mut at = self.table().first.load(Relaxed);
        while at != 0 {
            let Ok(cells) = self.cells::<MmCells>(ObjAddr::new(at)) else {
                return;
            };
            each(cells);
            at = cells.list_next.load(Relaxed);
        }
    }

    /// What each address space has.
    pub fn for_each_task(&self, each: &mut dyn FnMut(&OomTask)) {
        self.for_each(&mut |cells| each(&OomTask::of(cells)));
    }

    /// Who is to be killed (`select_bad_process`), which he is marked for; `Err` where
    /// somebody is about to die already. Of several who ask at once one chooses
    /// (`oom_lock`), and until he has killed somebody or finds nobody, the others wait for
    /// the one that is marked: so `failed`, whom he could not kill, loses his mark when
    /// the next one gets it. Whoever is chosen behind another ranks lower, so that there
    /// is an end to it.
    fn select_bad_process(&self, failed: Option<&Chosen>) -> Result<Option<Chosen>, ()> {
        let _lock = WriteLock::lock(self.platform(), &self.table().lock);
        let total = self.mm.managed();
        let now = self.platform().now_ns();
        let mut chosen: Option<(Chosen, &MmCells)> = None;
        let mut dies = false;
        let mut has_gone = failed.is_some();
        self.walk(&mut |cells| {
            if failed.is_some_and(|failed| failed.task.mm == cells.id()) {
                has_gone = false;
                cells.unmark_victim();
            }
            if cells.is_oom_victim() {
                dies |= cells.is_waited_for(now);
                return;
            }
            // A child was not there when its space was made; names and scores change. Where
            // nobody has it any more, what it has is about to come back.
            if let Some(process) = self.platform().process_of(cells.id()) {
                if process.pid == 0 {
                    let has_some = OomTask::of(cells).rss() != Pages::ZERO;
                    dies |= has_some && cells.is_waited_for(now);
                    return;
                }
                cells.is_anybodys();
                cells.set_pid(process.pid);
                cells.set_comm(process.comm);
                cells.set_oom_score_adj(process.oom_score_adj);
            }
            let task = OomTask::of(cells);
            let Some(points) = task.badness(total) else {
                return;
            };
            // Of the equally bad the oldest, as Linux has the last of its list of tasks.
            let rank = (points, Reverse(task.mm));
            let is_below = failed.is_none_or(|failed| rank < failed.rank);
            if is_below && chosen.as_ref().is_none_or(|(most, _)| rank >= most.rank) {
                chosen = Some((Chosen { task, rank }, cells));
            }
        });
        // One that has gone before it could be killed gives its memory back by itself.
        if dies || has_gone {
            return Err(());
        }
        Ok(chosen.map(|(chosen, cells)| {
            cells.mark_victim(now);
            chosen
        }))
    }
}

/// Who is to be killed, and where he stands among the others.
struct Chosen {
    task: OomTask,
    rank: (i64, Reverse<u32>),
}

/// With the lock of the list, but for the question.
impl MmCells {
    /// Whether its process was killed to have memory (`tsk_is_oom_victim`).
    fn is_oom_victim(&self) -> bool {
        self.policy.load(Relaxed) & MM_OOM_VICTIM != 0
    }

    /// It is about to be killed (`mark_oom_victim`).
    fn mark_victim(&self, now: u64) {
        self.oom_since.store(now.max(1), Relaxed);
        self.policy.fetch_or(MM_OOM_VICTIM, Relaxed);
    }

    /// It can't be killed.
    fn unmark_victim(&self) {
        self.policy.fetch_and(!MM_OOM_VICTIM, Relaxed);
        self.oom_since.store(0, Relaxed);
    }

    /// Its process is there: it was not about to come back, as a child whose process is not
    /// seen yet looks.
    fn is_anybodys(&self) {
        self.oom_since.store(0, Relaxed);
    }

    /// Whether its memory, which is about to come back, is to be waited for still. The time
    /// runs from the mark, or where there is none, from the first question.
    fn is_waited_for(&self, now: u64) -> bool {
        if self.oom_since.load(Relaxed) == 0 {
            self.oom_since.store(now.max(1), Relaxed);
        }
        now.saturating_sub(self.oom_since.load(Relaxed)) <= PATIENCE_NS
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Sees to it that there will be memory, after the page allocator had none for this
    /// space, whose mmap lock the caller has or not.
    #[cold]
    #[inline(never)]
    pub(super) fn out_of_memory(&self, has_lock: bool) -> Relief {
        let spaces = &self.system;
        let platform = spaces.platform();
        if platform.fatal_signal_pending() {
            return Relief::Expected;
        }
        // What he waits for would be his own end. Linux gives him of its reserves, and when
        // they are gone, nothing, either (`oom_reserves_allowed`, `VM_FAULT_OOM`).
        if self.cells.is_oom_victim() && platform.is_exiting() {
            return Relief::None;
        }
        if spaces.drop_unneeded(has_lock.then_some(self.addr)) {
            return Relief::Expected;
        }
        let asking = OomTask::of(self.cells);
        let mut failed = None;
        loop {
            let victim = match spaces.select_bad_process(failed.as_ref()) {
                Err(()) => {
                    platform.relax();
                    return Relief::Expected;
                }
                Ok(None) => return Relief::None,
                Ok(Some(victim)) => victim,
            };
            let task = &victim.task;
            let report = |out: &mut dyn core::fmt::Write| write_oom(out, spaces.mm, &asking, task);
            if platform.oom_kill(task, &report) {
                spaces.count_event(VmEvent::OomKill);
                platform.relax();
                return Relief::Expected;
            }
            failed = Some(victim);
        }
    }
}
