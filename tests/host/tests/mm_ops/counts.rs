// SPDX-License-Identifier: GPL-2.0

//! What `/proc/meminfo` and `/proc/vmstat` are told, and the stack that is there first.

use super::world::*;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::buddy::VmEvent;
use shadowmm_core::error::Error;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::Rlimits;
use shadowmm_core::mm::ThpMode;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::VmFlags;
use shadowmm_core::mm::CAP_IPC_LOCK;

#[test]
fn a_page_counts_once_however_many_have_it() {
    let world = World::new();
    world.mm.spaces().set_thp(ThpMode::Never);
    world.map(0, 8, READ | WRITE);
    world.touch(0, 8);
    assert_eq!(world.pages(UserStat::Anon), 8);
    // Three below the top one, which Linux counts here, too.
    assert_eq!(world.pages(UserStat::Table), 4);
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    let child = world.beside(child);
    assert_eq!(world.pages(UserStat::Anon), 8);
    assert_eq!(world.pages(UserStat::Table), 8);
    child.touch(0, 2);
    assert_eq!(world.pages(UserStat::Anon), 10);
    child.unmap(4, 4).unwrap();
    assert_eq!(world.pages(UserStat::Anon), 10);
    world.unmap(4, 4).unwrap();
    assert_eq!(world.pages(UserStat::Anon), 6);
    child.space.put(&child.host);
    assert_eq!(world.pages(UserStat::Anon), 4);
    let (faults, major) = world.mm.spaces().faults();
    assert_eq!((faults, major), (10, 0));
    assert_eq!(world.space.numbers().min_flt, 8);
    world.finish();
}

#[test]
fn shared_memory_is_there_without_being_mapped() {
    let world = World::new();
    let at = world.request(0, 4, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(at, 3);
    let both = || (world.pages(UserStat::Shmem), world.pages(UserStat::Mapped));
    assert_eq!(both(), (3, 3));
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    let child = world.beside(child);
    child.touch(at, 4);
    assert_eq!(both(), (4, 4));
    world.advise(at, 4, Advice::DontNeed).unwrap();
    assert_eq!(both(), (4, 4));
    child.advise(at, 2, Advice::DontNeed).unwrap();
    assert_eq!(both(), (4, 2));
    child.space.put(&child.host);
    assert_eq!(both(), (4, 0));
    world.touch(at, 1);
    assert_eq!(both(), (4, 1));
    assert_eq!(world.pages(UserStat::Anon), 0);
    world.finish();
}

#[test]
fn a_page_that_nobody_else_has_is_reused() {
    let world = World::new();
    world.mm.spaces().set_thp(ThpMode::Never);
    let reused = || world.mm.stats.vm_event(VmEvent::Pgreuse);
    world.map(0, 4, READ | WRITE);
    world.touch(0, 4);
    let shared = world.request(8, 2, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(shared, 2);
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    let child = world.beside(child);
    // A copy for the child; what is left is the parent's alone.
    child.touch(0, 1);
    assert_eq!(reused(), 0);
    world.touch(0, 1);
    assert_eq!(reused(), 1);
    child.space.put(&child.host);
    world.touch(1, 3);
    assert_eq!(reused(), 4);
    // Those of shared memory are nobody's own.
    world.touch(shared, 2);
    assert_eq!(reused(), 4);
    world.finish();
}

#[test]
fn locked_pages_count_while_they_are_mapped() {
    let world = World::new();
    world.space.set_caps(CAP_IPC_LOCK);
    world.map(0, 16, READ | WRITE);
    world.touch(0, 4);
    // Linux counts both with each change of NR_MLOCK.
    let events = || {
        use VmEvent::UnevictablePgsMlocked;
        use VmEvent::UnevictablePgsMunlocked;
        [UnevictablePgsMlocked, UnevictablePgsMunlocked].map(|event| world.mm.stats.vm_event(event))
    };
    let locked = || {
        let locked = world.pages(UserStat::Locked);
        let [came, went] = events();
        assert_eq!(came - went, locked);
        locked
    };
    assert_eq!(locked(), 0);
    world.space.mlock(&world.host, at(0), 8 * PAGE, 0).unwrap();
    assert_eq!(locked(), 8);
    // Those on fault count with their faults.
    world.space.mlock(&world.host, at(8), 4 * PAGE, 1).unwrap();
    assert_eq!(locked(), 8);
    world.touch(9, 2);
    assert_eq!(locked(), 10);
    world.space.munlock(&world.host, at(2), 2 * PAGE).unwrap();
    assert_eq!(locked(), 8);
    world.unmap(4, 2).unwrap();
    assert_eq!(locked(), 6);
    world.advise(6, 1, Advice::DontNeedLocked).unwrap();
    assert_eq!((locked(), events()), (5, [10, 5]));
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    assert_eq!(locked(), 5);
    let child = world.beside(child);
    // The page that takes another's place counts as that did.
    world.touch(0, 1);
    assert_eq!((locked(), events()), (5, [11, 6]));
    child.space.put(&child.host);
    assert_eq!(locked(), 5);
    world.finish();
}

#[test]
fn two_mebibytes_count_as_long_as_they_are_a_block() {
    let mm = boot_with(64);
    mm.spaces().set_thp(ThpMode::Always);
    let world = World::on(mm, &MmConfig::default());
    world.map(0, 1024, READ | WRITE);
    world.touch(0, 1);
    let counts = || (world.pages(UserStat::Anon), world.pages(UserStat::AnonHuge));
    assert_eq!(counts(), (512, 512));
    let event = |event| mm.stats.vm_event(event);
    assert_eq!(event(VmEvent::ThpFaultAlloc), 1);
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    assert_eq!(counts(), (512, 512));
    child.put(&world.host);
    assert_eq!(counts(), (512, 512));
    world.unmap(8, 1).unwrap();
    assert_eq!(counts(), (511, 0));
    assert_eq!(event(VmEvent::ThpSplitPmd), 1);
    assert_eq!(event(VmEvent::ThpSplitPage), 1);
    world.finish();
}

#[test]
fn a_stack_is_there_first_for_who_wants_it() {
    let with = |limits| {
        World::with(&MmConfig {
            has_stack: true,
            limits,
            ..MmConfig::default()
        })
    };
    let world = with(Rlimits::default());
    let top = (SIZE / PAGE) - 33;
    assert_eq!(world.maps(), format!("{top}+33 rw-p\n"));
    let counts = world.space.numbers();
    assert_eq!(
        (counts.stack_vm, counts.data_vm, counts.total_vm),
        (33, 0, 33)
    );
    assert_eq!(world.mm.spaces().committed().0, 33);
    world
        .space
        .for_each_vma(|vma| assert!(vma.flags.has(VmFlags::GROWSDOWN)));
    let at = world.anywhere(4, READ | WRITE, PRIVATE).unwrap();
    assert!(at + 4 + 256 <= top, "the gap stays free");
    world.check();
    world.finish();
    let world = with(Rlimits {
        stack: 3 * PAGE + 5,
        ..Rlimits::default()
    });
    assert_eq!(world.maps(), format!("{}+3 rw-p\n", SIZE / PAGE - 3));
    world.finish();
}

#[test]
fn without_memory_for_a_stack_there_is_no_address_space() {
    let world = World::new();
    let spaces = world.mm.spaces();
    spaces.set_knob(MmKnob::OvercommitMemory, 2).unwrap();
    spaces.set_knob(MmKnob::OvercommitKbytes, 4 * 32).unwrap();
    let config = MmConfig {
        has_stack: true,
        ..MmConfig::default()
    };
    let window = VirtRange::new(BASE, BASE + SIZE);
    let space = spaces.create(window, &config);
    assert_eq!(space.err(), Some(Error::Overcommit));
    assert_eq!(spaces.count(), 1);
    world.finish();
}
