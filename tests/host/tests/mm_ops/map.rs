// SPDX-License-Identifier: GPL-2.0

//! `mmap` and `munmap`: ranges come, are merged, split and go.

use super::world::*;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::error::Errno;
use shadowmm_core::error::Error;
use shadowmm_core::mm::FileKind;
use shadowmm_core::mm::MmapFile;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use std::sync::atomic::Ordering::Relaxed;

/// Pages of 2 MiB.
const HUGE: u64 = 512;

#[test]
fn what_is_alike_and_side_by_side_is_one() {
    let world = World::new();
    world.map(0, 2, READ);
    world.map(4, 2, READ);
    assert_eq!(world.maps(), "0+2 r--p\n4+2 r--p\n");
    world.map(2, 2, READ);
    assert_eq!(world.maps(), "0+6 r--p\n");
    world.map(6, 1, READ | WRITE);
    assert_eq!(world.maps(), "0+6 r--p\n6+1 rw-p\n");
    world.finish();
}

#[test]
fn a_hole_splits_and_a_fixed_one_replaces() {
    let world = World::new();
    world.map(0, 10, READ | WRITE);
    world.unmap(3, 2).unwrap();
    assert_eq!(world.maps(), "0+3 rw-p\n5+5 rw-p\n");
    world.map(2, 5, READ);
    assert_eq!(world.maps(), "0+2 rw-p\n2+5 r--p\n7+3 rw-p\n");
    // What is unmapped already is passed over.
    world.unmap(0, 100).unwrap();
    assert_eq!(world.maps(), "");
    world.finish();
}

#[test]
fn regions_that_were_written_to_apart_stay_apart() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.map(4, 2, READ | WRITE);
    world.touch(0, 2);
    world.touch(4, 2);
    // Each has an anonymous region of its own: the new one goes with the one before.
    world.map(2, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+4 rw-p\n4+2 rw-p\n");
    world.finish();
}

#[test]
fn an_untouched_one_joins_what_was_written_to() {
    let world = World::new();
    world.map(0, 2, READ | WRITE);
    world.touch(0, 2);
    world.map(2, 2, READ | WRITE);
    assert_eq!(world.maps(), "0+4 rw-p\n");
    world.touch(2, 2);
    world.finish();
}

#[test]
fn shared_memory_is_never_merged_but_with_its_own() {
    let world = World::new();
    let flags = SHARED | FIXED;
    world.request(0, 2, READ | WRITE, flags).unwrap();
    world.request(2, 2, READ | WRITE, flags).unwrap();
    assert_eq!(world.maps(), "0+2 rw-s\n2+2 rw-s\n");
    world.protect(1, 1, READ).unwrap();
    assert_eq!(world.maps(), "0+1 rw-s\n1+1 r--s\n2+2 rw-s\n");
    world.protect(1, 1, READ | WRITE).unwrap();
    assert_eq!(world.maps(), "0+2 rw-s\n2+2 rw-s\n");
    world.touch(0, 4);
    assert_eq!(world.count(|counts| counts.rss[3]), 4);
    world.finish();
}

#[test]
fn errors_come_in_linux_order() {
    let world = World::new();
    let map = |addr: u64, len: u64, flags: u32| {
        let request = MmapRequest {
            addr: VirtAddr(addr),
            len,
            prot: READ,
            flags,
            file: None,
            pgoff: 0,
        };
        errno(world.space.mmap(&world.host, &request))
    };
    assert_eq!(map(BASE, 0, PRIVATE), Some(Errno::EINVAL));
    assert_eq!(map(BASE, u64::MAX, PRIVATE), Some(Errno::ENOMEM));
    assert_eq!(map(BASE + 1, PAGE, PRIVATE | FIXED), Some(Errno::EINVAL));
    // A place is chosen before the type is looked at.
    assert_eq!(map(BASE, SIZE + PAGE, 0), Some(Errno::ENOMEM));
    assert_eq!(map(BASE, PAGE, 0), Some(Errno::EINVAL));
    assert_eq!(map(BASE + SIZE, PAGE, PRIVATE | FIXED), Some(Errno::ENOMEM));
    assert_eq!(map(BASE - PAGE, PAGE, PRIVATE | FIXED), Some(Errno::ENOMEM));
    assert_eq!(map(BASE, PAGE, SHARED | GROWSDOWN), Some(Errno::EINVAL));
    assert_eq!(map(BASE, PAGE, SHARED_VALIDATE), Some(Errno::EINVAL));
    for flags in [GROWSDOWN, LOCKED] {
        assert_eq!(map(BASE, PAGE, DROPPABLE | flags), Some(Errno::EINVAL));
    }
    world.map(0, 2, READ);
    let taken = map(BASE + PAGE, PAGE, PRIVATE | FIXED_NOREPLACE);
    assert_eq!(taken, Some(Errno::EEXIST));
    assert_eq!(map(BASE + 2 * PAGE, PAGE, PRIVATE | FIXED_NOREPLACE), None);
    let unmap = |addr, len| errno(world.space.munmap(&world.host, VirtAddr(addr), len));
    assert_eq!(unmap(BASE + 1, PAGE), Some(Errno::EINVAL));
    assert_eq!(unmap(BASE, 0), Some(Errno::EINVAL));
    assert_eq!(unmap(BASE, SIZE + PAGE), Some(Errno::EINVAL));
    assert_eq!(unmap(BASE, SIZE), None);
    world.finish();
}

/// Why a page of a file is refused.
fn file_errno(world: &World, file: MmapFile, prot: u32, flags: u32) -> Option<Errno> {
    let request = MmapRequest {
        addr: VirtAddr(BASE),
        len: PAGE,
        prot,
        flags,
        file: Some(file),
        pgoff: 0,
    };
    errno(world.space.mmap(&world.host, &request))
}

#[test]
fn errors_of_private_files_come_in_linux_order() {
    let world = World::new();
    let map = |file, prot, flags| file_errno(&world, file, prot, flags);
    let unreadable = MmapFile {
        is_readable: false,
        is_noexec: true,
        ..FILE
    };
    let noexec = MmapFile {
        is_noexec: true,
        ..FILE
    };
    let device = MmapFile {
        kind: FileKind::Other,
        ..noexec
    };
    for flags in [0, DROPPABLE, PRIVATE | 4] {
        assert_eq!(map(unreadable, READ, flags), Some(Errno::EINVAL));
        assert_eq!(map(device, READ, flags), Some(Errno::EINVAL));
    }
    let stack = PRIVATE | GROWSDOWN;
    assert_eq!(map(unreadable, READ | EXEC, stack), Some(Errno::EACCES));
    assert_eq!(map(device, READ | EXEC, stack), Some(Errno::EPERM));
    assert_eq!(map(device, READ, stack), Some(Errno::ENODEV));
    assert_eq!(map(noexec, READ, stack), Some(Errno::EINVAL));
    // What is to be written is the mapping's own.
    let read_only = MmapFile {
        is_writable: false,
        ..FILE
    };
    assert_eq!(map(read_only, READ | WRITE, PRIVATE), None);
    world.unmap(0, 1).unwrap();
    world.finish();
}

#[test]
fn shared_files_are_refused_where_linux_says_what_can_not_be_mapped() {
    const UNKNOWN: u32 = 1 << 10;
    let world = World::new();
    let map = |file, prot, flags| file_errno(&world, file, prot, flags);
    let write_only = MmapFile {
        is_readable: false,
        ..FILE
    };
    let read_only = MmapFile {
        is_writable: false,
        ..FILE
    };
    for kind in [SHARED, SHARED_VALIDATE] {
        assert_eq!(map(FILE, READ | WRITE, kind), Some(Errno::ENODEV));
        assert_eq!(map(write_only, WRITE, kind), Some(Errno::EACCES));
        assert_eq!(map(write_only, READ, kind), Some(Errno::EACCES));
        assert_eq!(map(read_only, READ | WRITE, kind), Some(Errno::EACCES));
        assert_eq!(map(read_only, READ, kind), Some(Errno::ENODEV));
        let log = MmapFile {
            is_append_only: true,
            ..FILE
        };
        assert_eq!(map(log, READ, kind), Some(Errno::EACCES));
        let read_log = MmapFile {
            is_writable: false,
            ..log
        };
        assert_eq!(map(read_log, READ, kind), Some(Errno::ENODEV));
        let noexec = MmapFile {
            is_noexec: true,
            ..FILE
        };
        assert_eq!(map(noexec, READ | EXEC, kind), Some(Errno::EPERM));
        assert_eq!(map(noexec, READ, kind), Some(Errno::ENODEV));
    }
    // What is unknown comes first, and a place before it; MAP_SHARED ignores it.
    let checked = SHARED_VALIDATE | UNKNOWN;
    assert_eq!(map(write_only, WRITE, checked), Some(Errno::EOPNOTSUPP));
    let ignored = SHARED | UNKNOWN;
    assert_eq!(map(write_only, WRITE, ignored), Some(Errno::EACCES));
    assert_eq!(map(FILE, READ, ignored), Some(Errno::ENODEV));
    let known = SHARED_VALIDATE | FIXED | LOCKED | POPULATE | NORESERVE | 0x1800;
    assert_eq!(map(FILE, READ, known), Some(Errno::ENODEV));
    // Which Linux does not let through either.
    let flags = SHARED_VALIDATE | FIXED_NOREPLACE;
    assert_eq!(map(FILE, READ, flags), Some(Errno::EOPNOTSUPP));
    world.map(0, 1, READ);
    assert_eq!(map(FILE, READ, flags), Some(Errno::EEXIST));
    world.finish();
}

#[test]
fn zeroes_of_a_device_are_memory_of_no_file() {
    let world = World::new();
    let zero = MmapFile {
        kind: FileKind::Zero,
        ..FILE
    };
    let read_only = MmapFile {
        is_writable: false,
        ..zero
    };
    let map = |page, file, prot, flags, pgoff| {
        let request = MmapRequest {
            addr: at(page),
            len: 4 * PAGE,
            prot,
            flags: flags | FIXED,
            file: Some(file),
            pgoff,
        };
        let mapped = world.space.mmap(&world.host, &request);
        assert_eq!(mapped, Ok(at(page)));
    };
    world.map(0, 4, READ | WRITE);
    // There is no end that it could lie behind.
    map(4, zero, READ | WRITE, PRIVATE, 1 << 51);
    map(16, zero, READ | WRITE, SHARED, 1);
    map(32, read_only, READ, SHARED, 1 << 51);
    assert_eq!(world.maps(), "0+8 rw-p\n16+4 rw-s\n32+4 r--s\n");
    world.touch(0, 8);
    // Shared memory of them is as large as its mapping, which begins behind its start here.
    world.touch(16, 3);
    let behind = VirtRange::new(at(19).0, at(20).0);
    let touched = {
        let _lock = world.space.read();
        world.space.populate(&world.host, behind, true)
    };
    assert_eq!(touched, Err(Error::NothingThere));
    let kinds = [UserStat::Anon, UserStat::Shmem, UserStat::File];
    assert_eq!(kinds.map(|kind| world.pages(kind)), [8, 3, 0]);
    assert_eq!(world.protect(32, 4, READ | WRITE), Err(Error::AccessDenied));
    // What may not be asked for of a file may not of this one.
    let refused = |file, prot, flags| file_errno(&world, file, prot, flags);
    assert_eq!(
        refused(zero, READ, PRIVATE | GROWSDOWN),
        Some(Errno::EINVAL)
    );
    assert_eq!(refused(zero, READ, PRIVATE | HUGETLB), Some(Errno::EINVAL));
    assert_eq!(refused(read_only, WRITE, SHARED), Some(Errno::EACCES));
    world.finish();
}

#[test]
fn huge_pages_are_of_a_known_size_and_of_no_other_file() {
    let world = World::new();
    let huge = |kind| MmapFile { kind, ..FILE };
    for flags in [0, PRIVATE, SHARED, PRIVATE | GROWSDOWN] {
        for kind in [FileKind::Pages, FileKind::Other] {
            let refused = file_errno(&world, huge(kind), READ, flags | HUGETLB);
            assert_eq!(refused, Some(Errno::EINVAL));
        }
    }
    // There is no pool: it is asked last.
    let of_hugetlbfs = |flags| file_errno(&world, huge(FileKind::Huge), READ, flags);
    let anonymous = |len: u64, flags: u32| {
        let request = MmapRequest {
            addr: VirtAddr(BASE),
            len,
            prot: READ,
            flags: flags | HUGETLB,
            file: None,
            pgoff: 0,
        };
        errno(world.space.mmap(&world.host, &request))
    };
    for kind in [PRIVATE, SHARED, SHARED_VALIDATE] {
        assert_eq!(of_hugetlbfs(kind), Some(Errno::ENOMEM));
        assert_eq!(of_hugetlbfs(kind | HUGETLB), Some(Errno::ENOMEM));
        for gbpages in [false, true] {
            world.mm.platform.gbpages.store(gbpages, Relaxed);
            for shift in 0..64 {
                let want = match shift {
                    0 | 21 => Errno::ENOMEM,
                    30 if gbpages => Errno::ENOMEM,
                    _ => Errno::EINVAL,
                };
                assert_eq!(anonymous(PAGE, kind | (shift << 26)), Some(want), "{shift}");
            }
        }
        assert_eq!(anonymous(PAGE, kind | GROWSDOWN), Some(Errno::EINVAL));
        assert_eq!(anonymous(0, kind), Some(Errno::EINVAL));
    }
    assert_eq!(anonymous(PAGE, 0), Some(Errno::EINVAL));
    assert_eq!(anonymous(PAGE, DROPPABLE), Some(Errno::EINVAL));
    assert_eq!(anonymous(SIZE + PAGE, PRIVATE), Some(Errno::ENOMEM));
    let unknown = SHARED_VALIDATE | (1 << 10);
    assert_eq!(anonymous(PAGE, unknown), Some(Errno::EOPNOTSUPP));
    world.finish();
}

#[test]
fn where_there_are_no_huge_pages_what_was_there_is_gone() {
    let world = World::new();
    let file = MmapFile {
        kind: FileKind::Huge,
        ..FILE
    };
    let kinds = [PRIVATE, SHARED, SHARED_VALIDATE];
    for (file, flags) in [(None, HUGETLB), (Some(file), 0), (Some(file), HUGETLB)] {
        for (kind, pgoff) in kinds.into_iter().zip([0, HUGE, 1]) {
            world.map(0, 3 * HUGE, READ | WRITE);
            world.touch(HUGE, 3);
            let request = MmapRequest {
                addr: at(HUGE),
                // Huge pages are whole ones.
                len: PAGE,
                prot: READ | WRITE,
                flags: flags | kind | FIXED,
                file,
                pgoff,
            };
            let want = match pgoff {
                1 => Error::BadMapFlags,
                _ => Error::NoMemory,
            };
            assert_eq!(world.mmap_file(&request), Err(want));
            world.check();
            assert_eq!(world.maps(), "0+512 rw-p\n1024+512 rw-p\n");
            assert_eq!(world.count(|counts| counts.rss[1]), 0);
            assert_eq!(world.mm.spaces().committed().0, 2 * HUGE);
        }
    }
    world.unmap(0, 3 * HUGE).unwrap();
    // What is refused before is refused while all is there.
    let map = |kind| world.request(HUGE, 1, READ | WRITE, kind | FIXED | HUGETLB);
    world.map(HUGE, HUGE, READ);
    world.space.set_rlimit(Rlimit::As, PAGE, PAGE);
    assert_eq!(map(PRIVATE), Err(Error::AddressSpaceLimit));
    assert_eq!(world.maps(), "512+512 r--p\n");
    world.space.set_rlimit(Rlimit::As, u64::MAX, u64::MAX);
    world.unmap(HUGE + 1, HUGE - 1).unwrap();
    world.space.set_rlimit(Rlimit::Data, PAGE, PAGE);
    assert_eq!(map(PRIVATE), Err(Error::AddressSpaceLimit));
    assert_eq!(world.maps(), "512+1 r--p\n");
    // Shared memory is no data.
    assert_eq!(map(SHARED), Err(Error::NoMemory));
    assert_eq!(world.maps(), "");
    world.finish();
}

#[test]
fn huge_pages_begin_where_one_of_their_size_does() {
    let world = World::new();
    let map = |page, flags| world.request(page, 1, READ, flags | HUGETLB);
    let unaligned = Err(Error::NotPageAligned);
    world.map(0, 2 * HUGE, READ);
    world.space.set_rlimit(Rlimit::Memlock, 0, 0);
    // Which is told before what else is wrong.
    for kind in [0, PRIVATE, SHARED] {
        for flags in [FIXED, FIXED_NOREPLACE, FIXED | LOCKED] {
            assert_eq!(map(1, kind | flags), unaligned);
        }
    }
    let taken = map(HUGE, PRIVATE | FIXED_NOREPLACE);
    assert_eq!(taken, Err(Error::RangeTaken));
    let locked = PRIVATE | FIXED | LOCKED;
    assert_eq!(map(HUGE, locked), Err(Error::MayNotLock));
    world.space.set_rlimit(Rlimit::Memlock, PAGE, PAGE);
    assert_eq!(map(1, locked), unaligned);
    assert_eq!(map(HUGE, locked), Err(Error::LockLimit));
    let file = MmapFile {
        kind: FileKind::Huge,
        ..FILE
    };
    let of_hugetlbfs = MmapRequest {
        addr: at(1),
        len: PAGE,
        prot: READ,
        flags: PRIVATE | FIXED,
        file: Some(file),
        pgoff: 0,
    };
    assert_eq!(errno(world.mmap_file(&of_hugetlbfs)), Some(Errno::EINVAL));
    // Another place will do where this one is but wished for.
    assert_eq!(map(1, PRIVATE), Err(Error::NoMemory));
    // What is larger than the window is refused for that.
    let all = SIZE / PAGE;
    let fixed = PRIVATE | FIXED;
    assert_eq!(map(all + 1, fixed), unaligned);
    assert_eq!(map(all, fixed), Err(Error::OutsideWindow));
    let larger = world.request(1, all + 1, READ, fixed | HUGETLB);
    assert_eq!(larger, Err(Error::OutsideWindow));
    let large = fixed | (30 << 26);
    world.mm.platform.gbpages.store(true, Relaxed);
    assert_eq!(map(HUGE, large), unaligned);
    assert_eq!(world.maps(), "0+1024 r--p\n");
    assert_eq!(map(0, large), Err(Error::NoMemory));
    assert_eq!(world.maps(), "");
    world.finish();
}

#[test]
fn the_count_of_vmas_has_a_limit() {
    let world = World::new();
    let spaces = world.mm.spaces();
    spaces
        .set_knob(shadowmm_core::mm::MmKnob::MaxMapCount, 4)
        .unwrap();
    world.map(0, 9, READ);
    for page in [10, 12, 14] {
        world.map(page, 1, READ | WRITE);
    }
    // Four: as many as may be. One more is let through, as in Linux.
    world.map(16, 1, READ | WRITE);
    let more = world.request(18, 1, READ | WRITE, PRIVATE | FIXED);
    assert_eq!(more, Err(Error::TooManyMaps));
    // A hole would make two of one; an end may go.
    assert_eq!(world.unmap(3, 2), Err(Error::TooManyMaps));
    assert_eq!(world.protect(3, 2, READ | WRITE), Err(Error::TooManyMaps));
    world.unmap(0, 2).unwrap();
    world.unmap(7, 2).unwrap();
    assert_eq!(world.count(|counts| counts.map_count.into()), 5);
    world.finish();
}

#[test]
fn what_is_populated_is_there() {
    let world = World::new();
    let page = world
        .request(0, 8, READ | WRITE, PRIVATE | FIXED | POPULATE)
        .unwrap();
    assert_eq!(world.count(|counts| counts.rss[1]), 8);
    world.unmap(page + 2, 3).unwrap();
    assert_eq!(world.count(|counts| counts.rss[1]), 5);
    world.map(0, 8, READ | WRITE);
    assert_eq!(world.count(|counts| counts.rss[1]), 0);
    world.finish();
}
