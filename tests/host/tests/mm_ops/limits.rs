// SPDX-License-Identifier: GPL-2.0

//! How much may be mapped, and how much promised.

use super::world::*;
use shadowmm_core::error::Errno;
use shadowmm_core::error::Error;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::CAP_SYS_ADMIN;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;

#[test]
fn who_may_have_no_vma_more_unmaps_what_makes_none() {
    let world = World::new();
    world.map(0, 9, READ);
    let limit = Err(Error::UserLimit);
    let unmap = |page: u64, pages: u64, one_more| {
        let done = world
            .space
            .munmap_if(&world.host, at(page), pages * PAGE, one_more);
        world.check();
        done
    };
    assert_eq!(unmap(4, 1, limit), limit);
    assert_eq!(world.maps(), "0+9 r--p\n");
    assert_eq!(unmap(0, 1, limit), Ok(()));
    assert_eq!(unmap(8, 1, limit), Ok(()));
    assert_eq!(unmap(20, 1, limit), Ok(()));
    assert_eq!(world.maps(), "1+7 r--p\n");
    assert_eq!(unmap(4, 1, Ok(())), Ok(()));
    // Over a hole, and more than there is.
    assert_eq!(unmap(3, 3, limit), Ok(()));
    assert_eq!(world.maps(), "1+2 r--p\n6+2 r--p\n");
    assert_eq!(unmap(0, 9, limit), Ok(()));
    world.finish();
}

#[test]
fn no_request_has_the_objects_that_core_believes() {
    let world = World::new();
    world.map(0, 1, READ);
    let slab = world.mm.slab().unwrap();
    let gfp = shadowmm_core::buddy::gfp::GFP_KERNEL;
    let request = ObjRequest::new(gfp);
    for name in [
        "mm_struct",
        "vm_area_struct",
        "maple_node",
        "shmem_inode_cache",
    ] {
        let id = slab.find(name).unwrap();
        assert_eq!(slab.alloc(id, &request), Err(Error::CacheNeeded));
        let mut objects = [ObjAddr::NULL; 2];
        let bulk = slab.alloc_bulk(id, &request, &mut objects);
        assert_eq!(bulk, Err(Error::CacheNeeded));
    }
    world.finish();
}

#[test]
fn all_of_it_and_of_data() {
    let world = World::new();
    world.space.set_rlimit(Rlimit::As, 8 * PAGE, 8 * PAGE);
    world.map(0, 8, READ);
    assert_eq!(
        world.request(8, 1, READ, PRIVATE | FIXED),
        Err(Error::AddressSpaceLimit)
    );
    // What is replaced does not count twice.
    world.map(0, 8, READ | EXEC);
    world.space.set_rlimit(Rlimit::Data, 2 * PAGE, 2 * PAGE);
    world.map(0, 2, READ | WRITE);
    world.space.set_rlimit(Rlimit::As, u64::MAX, u64::MAX);
    let more = world.protect(2, 1, READ | WRITE);
    assert_eq!(errno(more), Some(Errno::ENOMEM));
    // What replaces as much as it has is let through, whatever that was.
    world.map(3, 1, READ | WRITE);
    let more = world.request(8, 1, READ | WRITE, PRIVATE | FIXED);
    assert_eq!(more, Err(Error::AddressSpaceLimit));
    let counts = world.space.numbers();
    assert_eq!((counts.data_vm, counts.exec_vm, counts.total_vm), (3, 5, 8));
    world.finish();
}

#[test]
fn a_limit_of_no_data_is_taken_for_its_highest() {
    let world = World::new();
    world.space.set_rlimit(Rlimit::Data, 0, 2 * PAGE);
    world.map(0, 2, READ | WRITE);
    let more = world.request(2, 1, READ | WRITE, PRIVATE | FIXED);
    assert_eq!(more, Err(Error::AddressSpaceLimit));
    world.finish();
}

#[test]
fn a_replacement_that_fails_leaves_what_was_there_split() {
    let world = World::new();
    world.map(0, 4, READ);
    world.space.set_rlimit(Rlimit::As, 4 * PAGE, 4 * PAGE);
    let more = world.request(2, 4, READ | EXEC, PRIVATE | FIXED);
    assert_eq!(more, Err(Error::AddressSpaceLimit));
    assert_eq!(world.maps(), "0+2 r--p\n2+2 r--p\n");
    world.finish();
}

#[test]
fn in_the_modes_of_overcommit() {
    let world = World::new();
    let spaces = world.mm.spaces();
    let all = world.mm.managed().0;
    let map = |pages, flags| world.request(0, pages, READ | WRITE, PRIVATE | FIXED | flags);
    // Guess: no more than there is at once.
    assert_eq!(map(all + 1, 0), Err(Error::Overcommit));
    assert_eq!(map(all, 0), Ok(0));
    assert_eq!(spaces.committed().0, all);
    assert_eq!(map(all + 1, NORESERVE), Ok(0));
    assert_eq!(spaces.committed().0, 0);
    // Always.
    spaces.set_knob(MmKnob::OvercommitMemory, 1).unwrap();
    assert_eq!(map(4 * all, 0), Ok(0));
    world.unmap(0, 4 * all).unwrap();
    // Never: half of it, less what is kept for others.
    spaces.set_knob(MmKnob::OvercommitMemory, 2).unwrap();
    assert_eq!(spaces.commit_limit().0, all * 50 / 100);
    let admin = spaces.knob(MmKnob::AdminReserveKbytes) / 4;
    let allowed = all * 50 / 100 - admin;
    assert_eq!(map(allowed, NORESERVE), Err(Error::Overcommit));
    assert_eq!(map(allowed - 1, 0), Ok(0));
    assert_eq!(
        world.request(allowed, 1, READ | WRITE, PRIVATE | FIXED),
        Err(Error::Overcommit)
    );
    world.space.set_caps(CAP_SYS_ADMIN);
    // An administrator may have the rest, but for a part of what he has.
    let share = (allowed - 1) / 32;
    let user = spaces.knob(MmKnob::UserReserveKbytes) / 4;
    let rest = all * 50 / 100 - share.min(user) - (allowed - 1);
    let more = world.request(allowed, rest - 1, READ | WRITE, PRIVATE | FIXED);
    assert_eq!(more, Ok(allowed));
    let more = world.request(2 * all, 1, READ | WRITE, PRIVATE | FIXED);
    assert_eq!(more, Err(Error::Overcommit));
    spaces.set_knob(MmKnob::OvercommitKbytes, 4 * 10).unwrap();
    assert_eq!(spaces.commit_limit().0, 10);
    assert_eq!(spaces.knob(MmKnob::OvercommitRatio), 0);
    world.finish();
}

#[test]
fn shared_memory_is_promised_with_its_object() {
    let world = World::new();
    let spaces = world.mm.spaces();
    world.request(0, 4, READ, SHARED | FIXED).unwrap();
    assert_eq!(spaces.committed().0, 4);
    world.unmap(0, 2).unwrap();
    // The object is there still.
    assert_eq!(spaces.committed().0, 4);
    world.unmap(2, 2).unwrap();
    assert_eq!(spaces.committed().0, 0);
    world
        .request(0, 4, READ, SHARED | FIXED | NORESERVE)
        .unwrap();
    assert_eq!(spaces.committed().0, 0);
    world.finish();
}
