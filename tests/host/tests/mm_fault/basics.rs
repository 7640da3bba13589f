// SPDX-License-Identifier: GPL-2.0

//! One process, one page.

use crate::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::SegvCode;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn what_nobody_has_written_reads_as_zero_and_is_nobodys() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(8);
    for page in 0..8 {
        assert_eq!(process.read(at + page * PAGE), 0);
    }
    assert_eq!(process.rss(), [0; 3]);
    let found = process.space.page_at(VirtAddr(at));
    assert!(found.leaf.is_zero_page() && !found.leaf.is_writable());
    let other = process.space.page_at(VirtAddr(at + PAGE));
    assert_eq!(found.pfn, other.pfn);
    process.write(at, 5);
    assert_eq!(process.read(at), 5);
    assert_eq!(process.read(at + PAGE), 0);
    assert_eq!(process.rss(), [0, 1, 0]);
    assert_ne!(process.space.page_at(VirtAddr(at)).pfn, other.pfn);
    process.exit();
    machine.finish();
}

#[test]
fn a_first_write_takes_a_page_and_tables_and_an_unmap_gives_them_back() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(600);
    for page in 0..600 {
        process.write(at + page * PAGE, page);
    }
    assert_eq!(process.rss(), [0, 600, 0]);
    // One each of the upper two, and two or three of the last level.
    let first = at / HUGE;
    let last = (at + 600 * PAGE - 1) / HUGE;
    assert_eq!(process.tables(), (2 + last - first + 1) * PAGE);
    process.check();
    process.munmap(at, 600);
    assert_eq!(process.rss(), [0; 3]);
    assert_eq!(process.tables(), 0);
    assert_eq!(process.host.len(), 0);
    process.exit();
    machine.finish();
}

#[test]
fn entries_have_the_bits_of_the_processor() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(2);
    process.write(at, 1);
    let found = process.space.page_at(VirtAddr(at));
    let [pgd, pud, pmd, pte] = found.levels;
    for entry in [pgd, pud, pmd] {
        assert_eq!(entry.0 & 0xfff, 0x67, "P RW US A D");
    }
    assert_eq!(pte.0 & 0xfff, 0x67);
    assert_eq!(pte.0 >> 52, 0x800, "NX alone");
    assert_eq!(pte.pfn(), found.pfn.unwrap());
    process.read(at + PAGE);
    let pte = process.space.page_at(VirtAddr(at + PAGE)).leaf;
    assert_eq!(pte.0 & 0xfff, 0x225, "P US A, and special");
    process.protect(at, 1, PROT_NONE);
    let pte = process.space.page_at(VirtAddr(at)).leaf;
    assert_eq!(pte.0 & 0x107, 0x100, "PROT_NONE");
    assert!(pte.is_present());
    process.exit();
    machine.finish();
}

#[test]
fn what_a_vma_does_not_allow_is_a_signal() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map(3, PROT_READ, MAP_PRIVATE);
    assert_eq!(process.read(at), 0);
    let denied = Err(FaultResult::Segv(SegvCode::AccErr));
    let missing = Err(FaultResult::Segv(SegvCode::MapErr));
    assert_eq!(process.try_write(at, 1), denied);
    assert_eq!(process.try_write(at + 3 * PAGE, 1), missing);
    assert_eq!(process.try_read(WINDOW.start.0 - PAGE).map(|_| ()), missing);
    assert_eq!(process.try_read(WINDOW.end.0).map(|_| ()), missing);
    assert_eq!(process.try_read(u64::MAX - 7).map(|_| ()), missing);
    let executed = process.fault(at, Access::Execute);
    assert_eq!(executed, FaultResult::Segv(SegvCode::AccErr));
    process.protect(at, 1, PROT_NONE);
    assert_eq!(process.try_read(at).map(|_| ()), denied);
    process.exit();
    machine.finish();
}

#[test]
fn protection_goes_and_comes_and_the_content_stays() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(4);
    for page in 0..4 {
        process.write(at + page * PAGE, page + 10);
    }
    let frames = |process: &Process| {
        [0, 1, 2, 3].map(|page| process.space.page_at(VirtAddr(at + page * PAGE)).pfn)
    };
    let before = frames(&process);
    process.protect(at, 4, PROT_READ);
    process.check();
    assert!(process.try_write(at, 0).is_err());
    assert_eq!(process.read(at), 10);
    process.protect(at, 4, RW);
    process.write(at, 20);
    assert_eq!(process.read(at), 20);
    process.protect(at, 4, PROT_NONE);
    assert_eq!(process.host.len(), 0);
    assert_eq!(process.rss(), [0, 4, 0]);
    process.protect(at, 4, RW);
    assert_eq!(
        [0, 1, 2, 3].map(|page| process.read(at + page * PAGE)),
        [20, 11, 12, 13]
    );
    assert_eq!(frames(&process), before);
    process.exit();
    machine.finish();
}

#[test]
fn the_host_may_lose_what_it_has() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(1);
    process.write(at, 7);
    use shadowmm_core::mm::HostTable;
    process.host.zap(VirtRange::of(VirtAddr(at), PAGE).unwrap());
    assert_eq!(process.read(at), 7);
    process.write(at, 8);
    assert_eq!(process.rss(), [0, 1, 0]);
    // And have no memory for it for a while.
    process
        .host
        .room
        .store(0, std::sync::atomic::Ordering::Relaxed);
    process.host.zap(VirtRange::of(VirtAddr(at), PAGE).unwrap());
    assert_eq!(process.try_read(at), Err(FaultResult::HostOom));
    process
        .host
        .room
        .store(9, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(process.read(at), 8);
    process.exit();
    machine.finish();
}

#[test]
fn faults_of_mapped_memory_take_no_mmap_lock() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(1000);
    for page in 0..1000 {
        process.write(at + page * PAGE, page);
    }
    let (vma_lock, mmap_lock) = process.space.cells().fault_counts();
    assert_eq!((vma_lock, mmap_lock), (1000, 0));
    assert!(process.try_read(at - PAGE).is_err());
    assert_eq!(process.space.cells().fault_counts(), (1000, 1));
    process.exit();
    machine.finish();
}

#[test]
fn pages_are_made_before_they_are_touched() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(20);
    let range = VirtRange::new(at + PAGE, at + 5 * PAGE);
    {
        let _read = process.space.read();
        assert_eq!(process.space.populate(&process.host, range, true), Ok(4));
    }
    assert_eq!(process.rss(), [0, 4, 0]);
    assert_eq!(process.host.len(), 4);
    let beyond = VirtRange::new(at + 18 * PAGE, at + 22 * PAGE);
    {
        let _read = process.space.read();
        assert!(process
            .space
            .populate(&process.host, beyond, false)
            .is_err());
    }
    assert_eq!(process.rss(), [0, 4, 0]);
    assert_eq!(process.host.len(), 6);
    process.exit();
    machine.finish();
}

#[test]
fn what_is_there_is_no_fault_when_it_is_populated() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(8);
    let range = VirtRange::new(at, at + 8 * PAGE);
    let faults = || process.space.numbers().min_flt;
    for page in 0..3 {
        process.write(at + page * PAGE, 1);
    }
    process.read(at + 3 * PAGE);
    let before = faults();
    assert_eq!(process.space.populate(&process.host, range, false), Ok(8));
    assert_eq!(faults() - before, 4);
    // What is there for reading alone is one, for who writes.
    assert_eq!(process.space.populate(&process.host, range, true), Ok(8));
    assert_eq!(faults() - before, 4 + 5);
    assert_eq!(process.space.populate(&process.host, range, true), Ok(8));
    assert_eq!(faults() - before, 4 + 5);
    process.exit();
    machine.finish();
}

#[test]
fn who_may_have_no_more_pages_keeps_the_use_of_his_own() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.anon(8);
    let shared = process.map(8, RW, MAP_SHARED);
    for page in 0..4 {
        process.write(at + page * PAGE, page + 1);
    }
    process.write(shared, 1);
    process.read(shared + PAGE);
    let child = process.fork();
    let full = |process: &Process| {
        let charged = process.space.cells().charged() as u64;
        process.host.limit.store(charged, Relaxed);
    };
    full(&process);
    // Others have it, too.
    assert_eq!(process.try_write(at, 9), Err(FaultResult::Bus));
    assert_eq!(process.read(at), 1);
    child.exit();
    // The fork has taken what the host had, and who is alone now may write.
    for page in 0..4 {
        process.write(at + page * PAGE, page + 10);
    }
    process.protect(at, 4, PROT_READ);
    process.protect(at, 4, RW);
    process.write(at, 20);
    process.write(shared, 2);
    process.write(shared + PAGE, 2);
    assert_eq!(process.read(at + 4 * PAGE), 0);
    // But nothing new.
    assert_eq!(process.try_write(at + 4 * PAGE, 1), Err(FaultResult::Bus));
    assert_eq!(process.try_write(at + 5 * PAGE, 1), Err(FaultResult::Bus));
    assert_eq!(
        process.try_write(shared + 2 * PAGE, 1),
        Err(FaultResult::Bus)
    );
    let range = VirtRange::new(at, at + 8 * PAGE);
    let populated = |range| process.space.populate(&process.host, range, true);
    assert_eq!(populated(range), Err(Error::UserLimit));
    assert_eq!(populated(VirtRange::new(at, at + 4 * PAGE)), Ok(4));
    // Whoever gives one back may have another.
    process.advise(at, 1, Advice::DontNeed);
    process.write(at + 4 * PAGE, 1);
    assert_eq!(process.try_write(at + 5 * PAGE, 1), Err(FaultResult::Bus));
    process.exit();
    machine.finish();
}

#[test]
fn the_zero_page_goes_with_the_last_who_may_have_it() {
    let machine = Machine::two_nodes();
    let (first, second) = (machine.process(), machine.process());
    for process in [&first, &second] {
        process.read(process.anon(1));
    }
    let zero = |process: &Process, at: u64| process.space.page_at(VirtAddr(at)).pfn;
    let (a, b) = (first.anon(1), second.anon(1));
    first.read(a);
    second.read(b);
    assert_eq!(zero(&first, a), zero(&second, b));
    first.exit();
    assert_eq!(second.read(b), 0);
    second.exit();
    machine.finish();
}

#[test]
fn neighbours_are_made_for_who_asks_for_that() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let spaces = machine.spaces();
    let base = WINDOW.start.0 + HUGE;
    let at = process.map_at(base + 5 * PAGE, 60, RW, MAP_PRIVATE | MAP_FIXED);
    for bytes in [0, 100, 3 * PAGE, 32 * PAGE] {
        assert!(spaces.set_knob(MmKnob::FaultAroundBytes, bytes).is_err());
    }
    assert_eq!(
        spaces.read_knob(MmKnob::FaultAroundBytes, " 0x10000\n"),
        Ok(9)
    );
    assert_eq!(spaces.knob(MmKnob::FaultAroundBytes), 16 * PAGE);
    // Page 7 of the table: from 5, where the VMA begins, on.
    process.write(at + 2 * PAGE, 1);
    assert_eq!(process.rss(), [0, 16, 0]);
    assert_eq!(process.host.len(), 16);
    // 32 to 47.
    process.write(base + 40 * PAGE, 2);
    assert_eq!(process.rss(), [0, 32, 0]);
    // What is there stays.
    process.read(base + 22 * PAGE);
    process.write(base + 22 * PAGE, 3);
    process.write(base + 23 * PAGE, 4);
    for page in 5..65 {
        let expected = match page {
            7 => 1,
            22 => 3,
            23 => 4,
            40 => 2,
            _ => 0,
        };
        assert_eq!(process.read(base + page * PAGE), expected, "{page}");
    }
    process.check();
    spaces.set_knob(MmKnob::FaultAroundBytes, PAGE).unwrap();
    process.exit();
    machine.finish();
}

#[test]
fn who_reads_has_neighbours_read_as_zeroes_where_that_is_asked_for() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let spaces = machine.spaces();
    spaces
        .set_knob(MmKnob::FaultAroundBytes, 16 * PAGE)
        .unwrap();
    let base = WINDOW.start.0 + HUGE;
    let at = process.map_at(base + 5 * PAGE, 60, RW, MAP_PRIVATE | MAP_FIXED);
    assert_eq!(process.read(at + 2 * PAGE), 0);
    assert_eq!(process.host.len(), 16);
    assert_eq!(process.rss(), [0, 0, 0]);
    let there = |page| process.space.page_at(VirtAddr(base + page * PAGE)).leaf;
    assert!(there(20).is_zero_page() && there(21).is_none());
    // A write among them has a page of its own, and no neighbours: they are there.
    process.write(at, 9);
    assert_eq!(process.rss(), [0, 1, 0]);
    assert_eq!(process.read(at), 9);
    assert_eq!(process.read(at + PAGE), 0);
    process.check();
    spaces.set_knob(MmKnob::FaultAroundBytes, PAGE).unwrap();
    process.exit();
    machine.finish();
}

#[test]
fn a_page_that_the_host_had_lost_brings_its_neighbours() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map_at(WINDOW.start.0 + HUGE, 40, RW, MAP_PRIVATE | MAP_FIXED);
    for page in 0..40 {
        process.write(at + page * PAGE, page);
    }
    let child = process.fork();
    assert_eq!(process.host.len(), 0);
    assert_eq!(process.read(at + 20 * PAGE), 20);
    assert_eq!(process.host.len(), 16);
    process.write(at + 21 * PAGE, 1);
    assert_eq!(child.read(at + 21 * PAGE), 21);
    process.check();
    child.exit();
    process.exit();
    machine.finish();
}
