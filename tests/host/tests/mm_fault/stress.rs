// SPDX-License-Identifier: GPL-2.0

//! All threads of a process at once, and its children.

use crate::world::*;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::ThpMode;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

struct Sequence(u64);

impl Sequence {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn threads_touch_the_same_pages() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let pages = 4000;
    let at = process.anon(pages);
    thread::scope(|scope| {
        for cpu in 0..3u32 {
            let process = &process;
            scope.spawn(move || {
                run_on(cpu);
                for page in 0..pages {
                    // Each has a word of its own.
                    process.write(at + page * PAGE + u64::from(cpu) * 8, page + 1);
                }
            });
        }
    });
    for page in 0..pages {
        for word in 0..3 {
            assert_eq!(process.read(at + page * PAGE + word * 8), page + 1);
        }
    }
    assert_eq!(process.rss(), [0, pages, 0]);
    let (_, mmap_lock) = process.space.cells().fault_counts();
    assert_eq!(mmap_lock, 0);
    process.exit();
    machine.finish();
}

/// Threads write what they can tell again, while others unmap, protect and advise; and
/// children are forked that have the same threads.
fn storm(thp: ThpMode, shared: bool, seed: u64) {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(thp);
    let process = machine.process();
    process.host.can_huge.store(true, Relaxed);
    let pages = 3 * HUGE / PAGE;
    let flags = if shared { MAP_SHARED } else { MAP_PRIVATE };
    let at = WINDOW.start.0 + 64 * HUGE;
    process.map_at(at, pages, RW, flags | MAP_FIXED);
    let done = AtomicBool::new(false);
    let faults = AtomicU64::new(0);
    thread::scope(|scope| {
        let threads = [0u32, 1, 2].map(|cpu| {
            let (process, done, faults) = (&process, &done, &faults);
            scope.spawn(move || {
                run_on(cpu);
                let mut random = Sequence(seed + 17 * u64::from(cpu));
                while !done.load(Relaxed) {
                    let page = random.below(pages);
                    let word = at + page * PAGE + 8 * (1 + u64::from(cpu));
                    // Whatever is read is what was written there, or nothing.
                    match random.below(2) {
                        0 => {
                            if let Ok(found) = process.try_read(word) {
                                assert!(found == 0 || found == word, "{found:x} at {word:x}");
                            }
                        }
                        _ => {
                            let _ = process.try_write(word, word);
                        }
                    }
                    faults.fetch_add(1, Relaxed);
                }
            })
        });
        // Faults are counted once, in an address space or with those of the past, also
        // while one is on its way from there to here.
        let (machine, done) = (&machine, &done);
        scope.spawn(move || {
            run_on(3);
            let mut last = (0, 0);
            while !done.load(Relaxed) {
                let now = machine.spaces().faults();
                assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
                last = now;
                thread::yield_now();
            }
        });
        run_on(3);
        let mut random = Sequence(seed + 99);
        let mut children: Vec<Process> = vec![];
        let mut steps = 0;
        // Both sides do their part, however the machine shares its CPUs among them; one that
        // has failed does none.
        let lives = || threads.iter().any(|thread| !thread.is_finished());
        while steps < 1500 || (faults.load(Relaxed) < 3000 && lives()) {
            steps += 1;
            let len = 1 + random.below(700).min(pages - 1);
            let page = random.below(pages - len);
            let (from, all) = (at + page * PAGE, (at, pages));
            match random.below(8) {
                0 => process.advise(from, len, Advice::DontNeed),
                1 => process.protect(from, len, PROT_READ),
                2 => process.protect(all.0, all.1, RW),
                3 if !shared => {
                    process.munmap(from, len);
                    process.map_at(from, len, RW, flags | MAP_FIXED);
                }
                4 if children.len() < 3 => children.push(process.fork()),
                5 => {
                    if let Some(child) = children.pop() {
                        child.write(at, at);
                        for page in (0..pages).step_by(37) {
                            let found = child.try_read(at + page * PAGE + 16);
                            let word = at + page * PAGE + 16;
                            assert!(
                                matches!(found, Ok(found) if found == 0 || found == word)
                                    || found.is_err()
                            );
                        }
                        child.exit();
                    }
                }
                6 => {
                    let to = at + 100 * HUGE + (page % 3) * PAGE;
                    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
                    if process.try_remap(from, len, len, flags, to) == Ok(to) {
                        assert_eq!(process.try_remap(to, len, len, flags, from), Ok(from));
                    }
                }
                _ => thread::yield_now(),
            }
        }
        for child in children {
            child.exit();
        }
        done.store(true, Relaxed);
    });
    process.exit();
    machine.finish();
}

#[test]
fn all_at_once() {
    storm(ThpMode::Never, false, 1);
}

#[test]
fn all_at_once_by_two_mib() {
    storm(ThpMode::Always, false, 2);
}

#[test]
fn all_at_once_with_shared_memory() {
    storm(ThpMode::Never, true, 3);
}

/// Who goes through all spaces misses none because of one that ends before it.
#[test]
fn one_that_ends_hides_none_behind_it() {
    let machine = Machine::two_nodes();
    // They lie behind the two in the list, so that it takes a while to find the first of those.
    let others: Vec<Process> = (0..300).map(|_| machine.process()).collect();
    run_on(0);
    for _ in 0..200 {
        let (ends, stays) = (machine.process(), machine.process());
        let [first, last] = [&ends, &stays].map(|process| process.space.cells().id());
        let looks = AtomicBool::new(false);
        thread::scope(|scope| {
            let (ends, looks) = (&ends, &looks);
            scope.spawn(move || {
                run_on(1);
                while !looks.load(Relaxed) {
                    thread::yield_now();
                }
                ends.space.end(&ends.host);
            });
            loop {
                let found = machine.spaces().next(first - 1);
                let found = found.expect("the one that stays");
                let id = found.cells().id();
                found.put(&stays.host);
                if id == last {
                    break;
                }
                looks.store(true, Relaxed);
            }
        });
        stays.exit();
    }
    others.into_iter().for_each(Process::exit);
    machine.finish();
}

/// What a child has is what was when it was forked, whatever its parent writes to in place: pages
/// of 2 MiB are taken apart, copied, and the parent's alone again from one moment to the next.
#[test]
fn a_child_keeps_what_was_while_its_parent_writes() {
    let machine = Machine::two_nodes();
    machine.spaces().set_thp(ThpMode::Always);
    let process = machine.process();
    let pages = HUGE / PAGE;
    let at = WINDOW.start.0 + 64 * HUGE;
    let done = AtomicBool::new(false);
    let look = |child: &Process| -> Vec<u64> {
        let words = (0..pages)
            .step_by(3)
            .flat_map(|page| [page * PAGE, page * PAGE + 8]);
        words.map(|word| child.read(at + word)).collect()
    };
    let mut kept = 0;
    thread::scope(|scope| {
        for cpu in [0u32, 1] {
            let (process, done) = (&process, &done);
            scope.spawn(move || {
                run_on(cpu);
                let mut random = Sequence(5 + u64::from(cpu));
                let mut value = 0;
                while !done.load(Relaxed) {
                    value += 1;
                    let word = random.below(pages) * PAGE + 8 * u64::from(cpu);
                    // At times nothing is mapped.
                    let _ = process.try_write(at + word, value);
                }
            });
        }
        run_on(2);
        for round in 0..30 {
            // Without tables, so that it is 2 MiB again.
            process.map_at(at, pages, RW, MAP_PRIVATE | MAP_FIXED);
            process.write(at + 16, round);
            let mut children = VecDeque::new();
            for turn in 0..8 {
                let child = process.fork();
                let seen = look(&child);
                children.push_back((child, seen));
                if turn > 1 {
                    let (child, seen) = children.pop_front().unwrap();
                    kept += u64::from(look(&child) == seen);
                    child.exit();
                }
            }
            for (child, seen) in children {
                kept += u64::from(look(&child) == seen);
                child.exit();
            }
            process.munmap(at, pages);
        }
        done.store(true, Relaxed);
    });
    assert_eq!(kept, 30 * 8);
    process.exit();
    machine.finish();
}
