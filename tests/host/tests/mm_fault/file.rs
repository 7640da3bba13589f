// SPDX-License-Identifier: GPL-2.0

//! Pages of a file that have to be read first, when nobody's lock is held.

use super::world::*;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::VirtAddr;
use std::sync::atomic::Ordering::Relaxed;

const MAP_POPULATE: u32 = 0x8000;
const MAP_LOCKED: u32 = 0x2000;
const SIZE: u64 = 64 * PAGE;

/// Reads what is to be read, one page after the other, and goes on: which they were.
fn read_all(process: &Process) -> (Vec<u64>, Result<(), Error>) {
    let mut read = Vec::new();
    while let Some((page, rest)) = process.host.read_noted() {
        read.push(page);
        let Some(rest) = rest else { break };
        if let Err(error) = process.space.go_on(&process.host, rest) {
            return (read, Err(error));
        }
    }
    (read, Ok(()))
}

/// Goes on where the page can't be read.
fn go_on_without(process: &Process) -> Result<(), Error> {
    let (_, rest) = process.host.read_noted().unwrap();
    let space = &process.space;
    space.go_on_without(&process.host, rest.unwrap(), Error::NothingThere)
}

fn must_read(process: &Process, pages: &[u64]) {
    *process.host.unread.lock().unwrap() = pages.iter().copied().collect();
}

/// Those that waited for nothing, and those that did.
fn faults(process: &Process) -> (u64, u64) {
    let numbers = process.space.numbers();
    (numbers.min_flt, numbers.maj_flt)
}

/// How many pages of the file are there.
fn pages(process: &Process) -> u64 {
    process.rss()[0]
}

#[test]
fn a_fault_comes_again_when_the_page_is_read() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map_file(8, RW, 10, SIZE);
    must_read(&process, &[10, 11]);
    for (page, access) in [(0, Access::Read), (1, Access::Write)] {
        assert_eq!(
            process.fault(at + page * PAGE, access),
            FaultResult::NotRead
        );
        assert_eq!(process.rss(), [page, 0, 0]);
        // It is nobody's but the fault's to say which.
        assert_eq!(process.host.read_noted(), Some((10 + page, None)));
        assert_eq!(process.host.read_noted(), None);
        let done = process.fault_again(at + page * PAGE, access);
        assert!(matches!(done, FaultResult::Mapped(_)));
    }
    assert_eq!((process.read(at), process.read(at + PAGE)), (11, 12));
    assert_eq!(process.rss(), [1, 1, 0]);
    assert_eq!(faults(&process), (0, 2));
    // What the host has in its page cache is not waited for.
    assert_eq!(process.read(at + 2 * PAGE), 13);
    process.write(at + 3 * PAGE, 1);
    assert_eq!(faults(&process), (2, 2));
    process.exit();
    machine.finish();
}

#[test]
fn what_is_populated_goes_on_behind_each_page_that_is_read() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    must_read(&process, &[12, 13, 17]);
    let at = process.map_file_with(8, PROT_READ, 10, SIZE, MAP_POPULATE);
    assert_eq!(pages(&process), 2);
    assert_eq!(read_all(&process), (vec![12, 13, 17], Ok(())));
    assert_eq!(pages(&process), 8);
    assert_eq!(process.space.cells().resident(), 8);
    // Nothing was touched twice.
    assert_eq!(process.host.enters.load(Relaxed), 8);
    assert_eq!(faults(&process), (5, 3));
    process.munmap(at, 8);
    process.exit();
    machine.finish();
}

#[test]
fn who_populates_several_mappings_has_all_of_them() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let first = process.map_file(4, PROT_READ, 10, SIZE);
    let hidden = process.map_file(4, 0, 10, SIZE);
    let second = process.map_file(4, RW, 20, SIZE);
    must_read(&process, &[11, 20, 23]);
    // From the bottom up; what nobody may read is left out.
    process.space.mlockall(&process.host, 1).unwrap();
    assert_eq!(read_all(&process), (vec![20, 23, 11], Ok(())));
    assert_eq!(process.rss(), [4, 4, 0]);
    for (at, pages) in [(first, 4), (hidden, 4), (second, 4)] {
        process.munmap(at, pages);
    }
    process.exit();
    machine.finish();
}

#[test]
fn each_caller_is_told_what_he_would_be_without_reading() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    // The last page of each range lies behind the file's end.
    let beyond = |start: u64| process.map_file(4, RW, start, (start + 3) * PAGE);
    let at = beyond(10);
    must_read(&process, &[11]);
    let locked = process
        .space
        .mlock(&process.host, VirtAddr(at), 4 * PAGE, 0);
    assert_eq!(locked, Ok(()));
    let told = (vec![11], Err(Error::NotMapped));
    assert_eq!(read_all(&process), told);
    process.munmap(at, 4);

    for (advice, start) in [(Advice::PopulateRead, 20), (Advice::PopulateWrite, 30)] {
        let at = beyond(start);
        must_read(&process, &[start, start + 2]);
        process.advise(at, 4, advice);
        let told = (vec![start, start + 2], Err(Error::NothingThere));
        assert_eq!(read_all(&process), told);
        process.munmap(at, 4);
    }

    must_read(&process, &[41]);
    let at = process.map_file_with(4, RW, 40, 43 * PAGE, MAP_POPULATE | MAP_LOCKED);
    assert_eq!(read_all(&process), (vec![41], Ok(())));
    process.munmap(at, 4);
    process.exit();
    machine.finish();
}

#[test]
fn what_can_not_be_read_is_told_as_a_fault_of_it_is() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let at = process.map_file(4, RW, 10, SIZE);
    for (error, told) in [
        (Error::NothingThere, Error::NotMapped),
        (Error::NoHostMemory, Error::TryAgain),
        (Error::Interrupted, Error::Interrupted),
    ] {
        must_read(&process, &[10]);
        let locked = process.space.mlock(&process.host, VirtAddr(at), PAGE, 0);
        assert_eq!(locked, Ok(()));
        let (page, rest) = process.host.read_noted().unwrap();
        assert_eq!((page, rest.unwrap().refused(error)), (10, Err(told)));

        must_read(&process, &[10]);
        process.advise(at, 1, Advice::PopulateRead);
        let (_, rest) = process.host.read_noted().unwrap();
        assert_eq!(rest.unwrap().refused(error), Err(error));
    }
    must_read(&process, &[10]);
    let other = process.map_file_with(1, RW, 10, SIZE, MAP_POPULATE);
    let (_, rest) = process.host.read_noted().unwrap();
    assert_eq!(rest.unwrap().refused(Error::NothingThere), Ok(()));
    assert_eq!(process.rss(), [0; 3]);
    process.munmap(other, 1);
    process.exit();
    machine.finish();
}

#[test]
fn what_can_not_be_read_keeps_no_other_mapping_from_being_populated() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    let first = process.map_file(4, PROT_READ, 10, SIZE);
    process.map_file(4, 0, 10, SIZE);
    let second = process.map_file(4, PROT_READ, 20, SIZE);
    must_read(&process, &[21]);
    process.space.mlockall(&process.host, 1).unwrap();
    // From the bottom up.
    assert_eq!(pages(&process), 1);
    assert_eq!((go_on_without(&process), pages(&process)), (Ok(()), 5));
    // Who is told of it ends there.
    must_read(&process, &[23]);
    process.advise(second, 4, Advice::PopulateRead);
    assert_eq!(go_on_without(&process), Err(Error::NothingThere));
    process.munmap(first, 4);
    process.exit();
    machine.finish();
}

#[test]
fn locked_memory_that_becomes_writable_is_there_behind_a_page_to_be_read() {
    let machine = Machine::two_nodes();
    let process = machine.process();
    process.space.mlockall(&process.host, 2).unwrap();
    let at = process.map_file(4, 0, 10, SIZE);
    assert_eq!(process.rss(), [0; 3]);
    must_read(&process, &[11]);
    process.protect(at, 4, RW);
    assert_eq!(read_all(&process), (vec![11], Ok(())));
    assert_eq!(process.rss(), [0, 4, 0]);
    process.munmap(at, 4);
    process.exit();
    machine.finish();
}
