// SPDX-License-Identifier: GPL-2.0

//! No memory: whatever was asked for fails as a whole, and nothing is lost.

use crate::world::*;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::buddy::VmEvent;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::OomTask;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::page::ZoneType;
use shadowmm_core::platform::Process as Owner;
use shadowmm_core::report::failure::write_mem_info;
use shadowmm_host_tests::machine::pages_of;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::Mutex;

/// Does `what` with no page, one page and so on, until it comes through; how many it
/// took.
fn until_it_works(machine: &Machine, mut what: impl FnMut() -> bool) -> u64 {
    for pages in 0..200 {
        let held = machine.hold_all_but(pages);
        let done = what();
        drop(held);
        if done {
            return pages;
        }
    }
    panic!("it does not come through");
}

#[test]
fn a_first_write_without_memory() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(1);
    let needed = until_it_works(&machine, || {
        let done = match process.try_write(at, 1) {
            Ok(()) => true,
            Err(FaultResult::Oom) => false,
            other => panic!("{other:?}"),
        };
        assert_eq!(process.rss(), [0, done.into(), 0]);
        process.check();
        done
    });
    // Whatever tables could be made stayed.
    assert!(needed > 0, "{needed}");
    assert_eq!(process.read(at), 1);
    process.exit();
    machine.finish();
}

#[test]
fn a_copy_without_memory() {
    let machine = Machine::two_nodes();
    let parent = machine.process();
    let at = parent.anon(3);
    parent.write(at, 1);
    let child = parent.fork();
    child.read(at + PAGE);
    for page in [0, 1] {
        let held = machine.hold_all_but(0);
        assert_eq!(child.try_write(at + page * PAGE, 2), Err(FaultResult::Oom));
        drop(held);
        child.write(at + page * PAGE, 2);
    }
    assert_eq!(parent.read(at), 1);
    child.exit();
    parent.exit();
    machine.finish();
}

#[test]
fn a_fork_without_memory() {
    for thp in [ThpMode::Never, ThpMode::Always] {
        let machine = Machine::two_nodes();
        machine.spaces().set_thp(thp);
        let parent = machine.process();
        let at = WINDOW.start.0 + 64 * HUGE;
        let pages = 3 * HUGE / PAGE;
        parent.map_at(at, pages, RW, MAP_PRIVATE | MAP_FIXED);
        for page in (0..pages).filter(|page| page % 7 == 0) {
            parent.write(at + page * PAGE, page);
        }
        let needed = until_it_works(&machine, || match parent.try_fork() {
            Ok(child) => {
                assert_eq!(child.rss(), parent.rss());
                child.exit();
                true
            }
            Err(_) => false,
        });
        assert!(needed > 3, "{needed}");
        for page in (0..pages).filter(|page| page % 7 == 0) {
            assert_eq!(parent.read(at + page * PAGE), page);
            parent.write(at + page * PAGE, 0);
        }
        parent.exit();
        machine.finish();
    }
}

#[test]
fn a_part_of_two_mib_goes_without_memory() {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    let process = machine.process();
    let at = WINDOW.start.0 + 64 * HUGE;
    process.map_at(at, HUGE / PAGE, RW, MAP_PRIVATE | MAP_FIXED);
    process.write(at, 1);
    let child = process.fork();
    let held = machine.hold_all_but(0);
    use shadowmm_core::mm::Advice;
    process.advise(at + 5 * PAGE, 9, Advice::DontNeed);
    assert_eq!(process.rss(), [0, HUGE / PAGE - 9, 0]);
    drop(held);
    assert_eq!(process.read(at), 1);
    child.exit();
    process.exit();
    machine.finish();
}

#[test]
fn shared_memory_and_files_without_memory() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let shared = process.map(4, RW, MAP_SHARED);
    let file = process.map_file(4, RW, 0, 4 * PAGE);
    for at in [shared, file] {
        until_it_works(&machine, || match process.try_read(at) {
            Ok(_) => true,
            Err(FaultResult::Oom) => false,
            other => panic!("{other:?}"),
        });
    }
    process.exit();
    machine.finish();
}

#[test]
fn the_worst_is_killed_and_the_others_go_on() {
    let machine = Machine::two_nodes();
    // What a kill does here: the process ends when it is next looked at.
    let killed = Arc::new(Mutex::new(vec![]));
    let told = killed.clone();
    let kill = move |victim: &OomTask, report: &str| {
        told.lock().unwrap().push((*victim, report.to_string()));
        true
    };
    assert!(machine.world.mm.platform.kill_by(kill));
    let named = |pid: u32, name: &[u8], adj: i16| {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        machine.process_with(&MmConfig {
            pid,
            comm,
            oom_score_adj: adj,
            ..MmConfig::default()
        })
    };
    let small = named(10, b"small", 0);
    let protected = named(11, b"protected", -1000);
    let large = named(12, b"large", 0);
    let write = |process: &Process, pages: u64| {
        let at = process.anon(pages);
        (0..pages).for_each(|page| process.write(at + page * PAGE, page));
        at
    };
    write(&protected, 6000);
    write(&large, 3000);
    let at = small.map(30_000, RW, MAP_PRIVATE | MAP_NORESERVE);
    let mut done = 0;
    while small.fault(at + done * PAGE, Access::Write) != FaultResult::Retry {
        done += 1;
    }
    let (victim, report) = killed.lock().unwrap()[0].clone();
    let expected = if done > 3000 { 10 } else { 12 };
    assert_eq!(victim.pid, expected, "{report}");
    // Until he is gone nobody else is killed.
    assert_eq!(
        small.fault(at + done * PAGE, Access::Write),
        FaultResult::Retry
    );
    assert_eq!(killed.lock().unwrap().len(), 1);
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(
        lines[0],
        "small invoked oom-killer: \
         gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP), order=0, oom_score_adj=0"
    );
    assert_eq!(lines[1], "Mem-Info:");
    assert!(report.contains(
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem \
         pgtables_bytes swapents oom_score_adj name\n"
    ));
    assert!(report.contains("         -1000 protected\n"), "{report}");
    let last = lines[lines.len() - 1];
    assert!(
        last.starts_with("Out of memory: Killed process 1"),
        "{last}"
    );
    let (dies, lives) = if expected == 10 {
        (small, large)
    } else {
        (large, small)
    };
    dies.exit();
    write(&lives, 100);
    assert_eq!(killed.lock().unwrap().len(), 1);
    lives.exit();
    protected.exit();
    machine.finish();
}

/// What is told to the log when memory is short has what processes have of it.
#[test]
fn the_state_of_memory_counts_what_processes_have() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(3);
    (0..3).for_each(|page| process.write(at + page * PAGE, page));
    let locked = process
        .space
        .mlock(&process.host, VirtAddr(at), 2 * PAGE, 0);
    locked.unwrap();
    let shared = process.map(5, RW, MAP_SHARED);
    (0..5).for_each(|page| process.write(shared + page * PAGE, page));
    let mm = &machine.world.mm;
    let mut told = String::new();
    write_mem_info(&mut told, &mm.buddy(), ZoneType::Movable, None).unwrap();
    let tables = pages_of(mm, UserStat::Table);
    assert!(tables > 0);
    let total = format!(" mapped:5 shmem:5 pagetables:{tables}\n");
    assert!(told.contains(&total), "{told}");
    assert!(told.contains("\n5 total pagecache pages\n"), "{told}");
    // Each node's and each zone's, together.
    let kib = |name: &str| -> u64 {
        let lines = told.lines().filter(|line| line.starts_with("Node "));
        let values = lines.filter_map(|line| Some(line.split_once(name)?.1.split_once("kB")?.0));
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    let counts = [" mapped:", " shmem:", " pagetables:", " mlocked:"].map(kib);
    assert_eq!(counts, [20, 20, tables * 4, 8], "{told}");
    process.exit();
    machine.finish();
}

/// Three processes, the later ones with more memory, and none left: 10, which needs some, 11
/// and 12. `kill` says whether it can be done; who was to be killed is noted.
struct Shortage {
    machine: Machine,
    processes: Vec<Process>,
    asked: Arc<Mutex<Vec<u32>>>,
    held: Held,
    at: u64,
}

/// How long somebody who dies is waited for.
const PATIENCE: u64 = 3_000_000_000;

impl Shortage {
    fn new(kill: impl Fn(u32) -> bool + Send + Sync + 'static) -> Self {
        let machine = Machine::two_nodes();
        let asked = Arc::<Mutex<Vec<u32>>>::default();
        let told = asked.clone();
        let kill = move |victim: &OomTask, _: &str| {
            told.lock().unwrap().push(victim.pid);
            kill(victim.pid)
        };
        assert!(machine.world.mm.platform.kill_by(kill));
        machine.world.mm.platform.clock.store(7, Relaxed);
        let processes: Vec<Process> = (10..13)
            .map(|pid| {
                let config = MmConfig {
                    pid,
                    ..MmConfig::default()
                };
                let process = machine.process_with(&config);
                let pages = u64::from(pid - 10) * 100 + 1;
                let at = process.anon(pages);
                (0..pages).for_each(|page| process.write(at + page * PAGE, page));
                process
            })
            .collect();
        let at = processes[0].anon(1);
        let held = machine.hold_all_but(0);
        Self {
            machine,
            processes,
            asked,
            held,
            at,
        }
    }

    /// The first one needs memory: what that comes to, and who was to be killed so far.
    #[track_caller]
    fn touch(&self, result: FaultResult, asked: &[u32]) {
        assert_eq!(self.processes[0].fault(self.at, Access::Write), result);
        assert_eq!(*self.asked.lock().unwrap(), asked);
    }

    fn pass(&self, ns: u64) {
        let clock = &self.machine.world.mm.platform.clock;
        clock.fetch_add(ns, Relaxed);
    }

    /// There is memory again.
    fn finish(self) {
        drop(self.held);
        self.processes[0].write(self.at, 1);
        self.processes.into_iter().for_each(Process::exit);
        self.machine.finish();
    }
}

#[test]
fn where_the_worst_cant_be_killed_the_next_one_is() {
    let shortage = Shortage::new(|pid| pid != 12);
    shortage.touch(FaultResult::Retry, &[12, 11]);
    shortage.touch(FaultResult::Retry, &[12, 11]);
    shortage.finish();
}

#[test]
fn where_nobody_can_be_killed_all_have_been_tried() {
    let shortage = Shortage::new(|_| false);
    shortage.touch(FaultResult::Oom, &[12, 11, 10]);
    // Nobody is waited for, and nobody passed over, the next time.
    shortage.touch(FaultResult::Oom, &[12, 11, 10, 12, 11, 10]);
    shortage.finish();
}

#[test]
fn who_goes_before_he_is_killed_is_not_followed_by_another() {
    let leaves = Arc::<Mutex<Option<Process>>>::default();
    let here = leaves.clone();
    let mut shortage = Shortage::new(move |_| {
        if let Some(process) = here.lock().unwrap().take() {
            process.exit();
        }
        false
    });
    *leaves.lock().unwrap() = shortage.processes.pop();
    shortage.touch(FaultResult::Retry, &[12]);
    shortage.finish();
}

#[test]
fn who_does_not_end_is_not_waited_for_for_ever() {
    let shortage = Shortage::new(|_| true);
    shortage.touch(FaultResult::Retry, &[12]);
    shortage.pass(PATIENCE);
    shortage.touch(FaultResult::Retry, &[12]);
    shortage.pass(1);
    shortage.touch(FaultResult::Retry, &[12, 11]);
    shortage.pass(PATIENCE);
    shortage.touch(FaultResult::Retry, &[12, 11]);
    shortage.pass(1);
    shortage.touch(FaultResult::Retry, &[12, 11, 10]);
    shortage.pass(PATIENCE + 1);
    shortage.touch(FaultResult::Oom, &[12, 11, 10]);
    // Who had been given up and goes at last has given his memory back.
    shortage.finish();
}

#[test]
fn whom_nobody_has_any_more_is_not_waited_for_for_ever() {
    let shortage = Shortage::new(|_| true);
    let [nobodys, first] = [2, 0].map(|of| shortage.processes[of].space.cells().id());
    let owner = move |mm: u32| {
        let pid = if mm == nobodys { 0 } else { 10 + mm - first };
        Some(Owner {
            pid,
            ..Owner::default()
        })
    };
    assert!(shortage.machine.world.mm.platform.owned_by(owner));
    shortage.touch(FaultResult::Retry, &[]);
    shortage.pass(PATIENCE);
    shortage.touch(FaultResult::Retry, &[]);
    shortage.pass(1);
    shortage.touch(FaultResult::Retry, &[11]);
    shortage.finish();
}

#[test]
fn whom_nobody_had_for_a_moment_is_waited_for_as_long_as_others() {
    let shortage = Shortage::new(|_| true);
    let [first, forked] = [0, 1].map(|of| shortage.processes[of].space.cells().id());
    let is_there = Arc::new(AtomicBool::new(false));
    let seen = is_there.clone();
    let owner = move |mm: u32| {
        let is_seen = mm != forked || seen.load(Relaxed);
        Some(Owner {
            pid: if is_seen { 10 + mm - first } else { 0 },
            ..Owner::default()
        })
    };
    assert!(shortage.machine.world.mm.platform.owned_by(owner));
    // A child that runs in a moment.
    shortage.touch(FaultResult::Retry, &[]);
    is_there.store(true, Relaxed);
    shortage.pass(2 * PATIENCE);
    shortage.touch(FaultResult::Retry, &[12]);
    // Now it ends, and the one that was killed does not.
    is_there.store(false, Relaxed);
    shortage.pass(PATIENCE + 1);
    shortage.touch(FaultResult::Retry, &[12]);
    shortage.pass(PATIENCE + 1);
    shortage.touch(FaultResult::Retry, &[12, 10]);
    shortage.finish();
}

#[test]
fn who_is_killed_does_not_wait_for_his_own_end() {
    let shortage = Shortage::new(|_| true);
    shortage.touch(FaultResult::Retry, &[12]);
    let victim = &shortage.processes[2];
    let at = victim.anon(1);
    // His signal reaches him yet.
    assert_eq!(victim.fault(at, Access::Write), FaultResult::Retry);
    let exits = &shortage.machine.world.mm.platform.exits;
    exits.store(true, Relaxed);
    assert_eq!(victim.fault(at, Access::Write), FaultResult::Oom);
    // Another who ends waits for him.
    shortage.touch(FaultResult::Retry, &[12]);
    exits.store(false, Relaxed);
    shortage.finish();
}

/// MAP_DROPPABLE.
const DROPPABLE: u32 = 8;

/// The pages of a range that are there.
fn there(process: &Process, at: u64, pages: u64) -> Vec<u64> {
    let is_there = |page: &u64| {
        process
            .space
            .page_at(VirtAddr(at + page * PAGE))
            .pfn
            .is_some()
    };
    (0..pages).filter(is_there).collect()
}

/// A page that nobody has touched, beside one that somebody has: what goes is of no use for tables.
fn place_with_tables(process: &Process) -> u64 {
    let at = process.anon(2);
    process.write(at, 1);
    at + PAGE
}

#[test]
fn what_nobody_would_miss_goes_before_anybody_is_killed() {
    let machine = Machine::two_nodes();
    assert!(machine
        .world
        .mm
        .platform
        .kill_by(|_, _| panic!("somebody is killed")));
    let owner = machine.process();
    let asking = machine.process();
    let at = owner.anon(8);
    (0..8).for_each(|page| owner.write(at + page * PAGE, page + 1));
    owner.advise(at, 6, Advice::Free);
    // Who writes to it wants it; who reads it does not say so.
    owner.write(at + PAGE, 20);
    assert_eq!(owner.read(at + 2 * PAGE), 3);
    // What a fork shares stays.
    let shared = owner.anon(1);
    owner.write(shared, 30);
    let child = owner.fork();
    owner.advise(shared, 1, Advice::Free);
    child
        .space
        .munmap(&child.host, VirtAddr(at), 8 * PAGE)
        .unwrap();
    let droppable = owner.map(4, RW, DROPPABLE);
    (0..3).for_each(|page| owner.write(droppable + page * PAGE, 40));
    owner.read(droppable + 3 * PAGE);
    let wanted = place_with_tables(&asking);
    let held = machine.hold_all_but(0);
    assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Retry);
    assert_eq!(there(&owner, at, 8), [1, 6, 7]);
    assert_eq!(there(&owner, droppable, 4), [3]);
    assert_eq!(there(&owner, shared, 1), [0]);
    owner.check();
    assert_eq!(owner.rss(), [0, 4, 0]);
    assert_eq!(owner.mm.stats.vm_event(VmEvent::Pglazyfreed), 8);
    asking.write(wanted, 1);
    // It is as if nobody had ever written to them.
    drop(held);
    let found: Vec<u64> = (0..8).map(|page| owner.read(at + page * PAGE)).collect();
    assert_eq!(found, [0, 20, 0, 0, 0, 0, 7, 8]);
    assert_eq!((owner.read(droppable), owner.read(shared)), (0, 30));
    for process in [child, asking, owner] {
        process.exit();
    }
    machine.finish();
}

#[test]
fn two_mib_that_nobody_would_miss_go_as_a_whole() {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    let owner = machine.process();
    let asking = machine.process();
    let at = WINDOW.start.0 + 64 * HUGE;
    owner.map_at(at, 2 * HUGE / PAGE, RW, MAP_PRIVATE | MAP_FIXED);
    owner.write(at, 1);
    owner.write(at + HUGE, 2);
    owner.advise(at, HUGE / PAGE, Advice::Free);
    let wanted = place_with_tables(&asking);
    let held = machine.hold_all_but(0);
    assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Retry);
    assert_eq!(owner.rss(), [0, HUGE / PAGE, 0]);
    owner.check();
    asking.write(wanted, 1);
    drop(held);
    assert_eq!((owner.read(at), owner.read(at + HUGE)), (0, 2));
    owner.exit();
    asking.exit();
    machine.finish();
}

#[test]
fn no_more_goes_than_is_enough_for_a_while() {
    let machine = Machine::two_nodes();
    let owner = machine.process();
    let asking = machine.process();
    let pages = 4 * HUGE / PAGE;
    let at = owner.anon(pages);
    (0..pages).for_each(|page| owner.write(at + page * PAGE, 1));
    owner.advise(at, pages, Advice::Free);
    let wanted = place_with_tables(&asking);
    let held = machine.hold_all_but(0);
    assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Retry);
    let gone = owner.mm.stats.vm_event(VmEvent::Pglazyfreed);
    assert!((512..1024).contains(&gone), "{gone}");
    assert_eq!(owner.rss(), [0, pages - gone, 0]);
    asking.write(wanted, 1);
    drop(held);
    owner.exit();
    asking.exit();
    machine.finish();
}

#[test]
fn locked_memory_is_passed_over_and_spaces_at_work_are_waited_for() {
    let machine = Machine::two_nodes();
    let owner = machine.process();
    let asking = machine.process();
    let at = owner.anon(2);
    (0..2).for_each(|page| owner.write(at + page * PAGE, page + 1));
    owner.advise(at, 2, Advice::Free);
    owner
        .space
        .mlock(&owner.host, VirtAddr(at), PAGE, 0)
        .unwrap();
    let wanted = place_with_tables(&asking);
    let held = machine.hold_all_but(0);
    {
        let _changing = owner.space.write();
        assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Retry);
        // But not for ever.
        let clock = &machine.world.mm.platform.clock;
        clock.fetch_add(2_000_000_000, Relaxed);
        assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Oom);
    }
    assert_eq!(there(&owner, at, 2), [0, 1]);
    assert_eq!(asking.fault(wanted, Access::Write), FaultResult::Retry);
    assert_eq!(there(&owner, at, 2), [0]);
    asking.write(wanted, 1);
    drop(held);
    owner.exit();
    asking.exit();
    machine.finish();
}
