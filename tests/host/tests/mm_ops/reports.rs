// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/{maps,smaps,smaps_rollup,status,pagemap}` of an address space, read by what
//! programs read the host's with.

use super::world::*;
use procfs_core::process::MMapPath;
use procfs_core::process::MemoryMaps;
use procfs_core::FromRead;
use shadowmm_core::error::Error;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::Segments;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::report::maps;
use shadowmm_core::report::smaps;
use shadowmm_core::report::SpaceFile;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_host_tests::machine::caches_of;

fn text(world: &World, file: SpaceFile) -> String {
    let mut text = String::new();
    file.write(&world.space, &mut text).unwrap();
    text
}

/// A heap, a stack, a mapping, shared memory.
fn world() -> World {
    let world = World::new();
    world.space.brk(&world.host, VirtAddr(BASE + 2 * PAGE));
    let stack = PRIVATE | FIXED | GROWSDOWN;
    world.request(1000, 3, READ | WRITE, stack).unwrap();
    let segments = world.space.segments();
    world.space.set_segments(&Segments {
        start_stack: at(1002).0 + 8,
        ..segments
    });
    world.map(100, 4, READ | EXEC);
    world.request(200, 2, READ | WRITE, SHARED | FIXED).unwrap();
    world.touch(0, 1);
    world.touch(200, 2);
    world
}

#[test]
fn a_line_is_linux_line_to_the_byte() {
    let world = world();
    let maps = text(&world, SpaceFile::Maps);
    let lines: Vec<&str> = maps.lines().collect();
    let heap = "1000000000-1000002000 rw-p 00000000 00:00 0                              [heap]";
    assert_eq!(lines[0], heap);
    // Without a name the line ends with a space.
    assert_eq!(lines[1], "1000064000-1000068000 r-xp 00000000 00:00 0 ");
    assert!(lines[2].starts_with("10000c8000-10000ca000 rw-s 00000000 00:01 "));
    assert!(lines[2].ends_with(" /dev/zero (deleted)"));
    let stack = "10003e8000-10003eb000 rw-p 00000000 00:00 0                              [stack]";
    assert_eq!(lines[3], stack);
    world.finish();
}

#[test]
fn one_vma_after_the_other_is_the_whole_text() {
    let world = world();
    let one_by_one = |file| {
        let (mut text, mut addr, mut count) = (String::new(), VirtAddr(0), 0);
        let mut next = |addr| match file {
            SpaceFile::Maps => maps::write_next(&mut text, &world.space, addr),
            _ => smaps::write_next(&mut text, &world.space, addr),
        };
        while let Some(behind) = next(addr).unwrap() {
            assert!(behind > addr);
            (addr, count) = (behind, count + 1);
        }
        (text, count)
    };
    for file in [SpaceFile::Maps, SpaceFile::Smaps] {
        assert_eq!(one_by_one(file), (text(&world, file), 4));
    }
    // From within a VMA on it is told as a whole, and one that is gone is none.
    let next_of = |addr| {
        let mut line = String::new();
        let behind = maps::write_next(&mut line, &world.space, addr).unwrap();
        (line.split(' ').next().unwrap_or("").to_owned(), behind)
    };
    let code = ("1000064000-1000068000".to_owned(), Some(at(104)));
    assert_eq!(next_of(at(103)), code);
    let shared = ("10000c8000-10000ca000".to_owned(), Some(at(202)));
    assert_eq!(next_of(at(104)), shared);
    world.unmap(100, 4).unwrap();
    assert_eq!(next_of(at(2)), shared);
    assert_eq!(next_of(at(1003)), (String::new(), None));
    world.finish();
}

#[test]
fn names_stand_where_linux_has_them() {
    let own = std::fs::read_to_string("/proc/self/maps").unwrap();
    let theirs = own.lines().find(|line| line.ends_with("[heap]")).unwrap();
    let world = world();
    let maps = text(&world, SpaceFile::Maps);
    let ours = maps.lines().next().unwrap();
    // Addresses of this process may be longer, but not the column.
    assert_eq!(theirs.find('['), ours.find('['));
    world.finish();
}

#[test]
fn smaps_has_linux_lines_in_linux_order() {
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1);
        let names = lines.map_while(|line| line.split_once(':'));
        names
            .map(|(name, _)| name.to_owned())
            .take_while(|name| !name.contains('-'))
            .collect()
    };
    let world = world();
    let smaps = text(&world, SpaceFile::Smaps);
    let expected = "Size KernelPageSize MMUPageSize Rss Pss Pss_Dirty Shared_Clean Shared_Dirty \
                    Private_Clean Private_Dirty Referenced Anonymous KSM LazyFree AnonHugePages \
                    ShmemPmdMapped FilePmdMapped Shared_Hugetlb Private_Hugetlb Swap SwapPss \
                    Locked THPeligible VmFlags";
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(keys(&smaps), expected);
    // The lines that both have are as wide as those of the running kernel.
    let own = std::fs::read_to_string("/proc/self/smaps").unwrap();
    for name in ["Size:", "Rss:", "Private_Hugetlb:", "THPeligible:"] {
        let line_of = |text: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.map(|line| line.trim_end_matches(" kB").len())
        };
        if let Some(theirs) = line_of(&own) {
            assert_eq!(line_of(&smaps), Some(theirs), "{name}");
        }
    }
    assert!(
        smaps.contains("VmFlags: rd wr mr mw me ac sd \n"),
        "{smaps}"
    );
    assert!(smaps.contains("VmFlags: rd wr mr mw me gd ac sd \n"));
    assert!(smaps.contains("VmFlags: rd wr sh mr mw me ms sd \n"));
    world.finish();
}

#[test]
fn numbers_are_those_of_the_pages() {
    let world = world();
    let smaps = text(&world, SpaceFile::Smaps);
    let maps = MemoryMaps::from_read(smaps.as_bytes()).unwrap();
    let [heap, code, shared, stack] = &maps.0[..] else {
        panic!("{smaps}");
    };
    assert_eq!(heap.pathname, MMapPath::Heap);
    assert_eq!(stack.pathname, MMapPath::Stack);
    let of = |map: &procfs_core::process::MemoryMap, name: &str| map.extension.map[name];
    assert_eq!((of(heap, "Rss"), of(heap, "Anonymous")), (4096, 4096));
    assert_eq!((of(heap, "Pss"), of(heap, "Private_Dirty")), (4096, 4096));
    assert_eq!((of(shared, "Rss"), of(shared, "Anonymous")), (8192, 0));
    assert_eq!(of(shared, "Private_Dirty"), 8192);
    assert_eq!(of(code, "Rss"), 0);
    // A child has the same pages: half of each is whose.
    let child = world.space.fork(&world.host, 2, [0; 16]).unwrap();
    let smaps = text(&world, SpaceFile::Smaps);
    let maps = MemoryMaps::from_read(smaps.as_bytes()).unwrap();
    assert_eq!(
        (of(&maps.0[0], "Pss"), of(&maps.0[0], "Shared_Dirty")),
        (2048, 4096)
    );
    child.put(&Host::default());
    let rollup = text(&world, SpaceFile::SmapsRollup);
    assert!(rollup.starts_with("1000000000-10003eb000 ---p 00000000 00:00 0 "));
    assert!(rollup.contains("Pss_Shmem:             8 kB\n"));
    assert!(rollup.contains("Rss:                  12 kB\n"));
    world.finish();
}

#[test]
fn status_has_the_lines_about_memory() {
    let world = world();
    let status = text(&world, SpaceFile::Status);
    let expected = "Name:\t\nPid:\t0\nVmPeak:\t      44 kB\nVmSize:\t      44 kB\nVmLck:\t       0 kB\n\
                    VmPin:\t       0 kB\nVmHWM:\t      12 kB\nVmRSS:\t      12 kB\nRssAnon:\t       4 kB\n\
                    RssFile:\t       0 kB\nRssShmem:\t       8 kB\nVmData:\t       8 kB\n\
                    VmStk:\t      12 kB\nVmExe:\t       0 kB\nVmLib:\t      16 kB\n";
    assert!(status.starts_with(expected), "{status}");
    assert!(status.ends_with("VmSwap:\t       0 kB\nHugetlbPages:\t       0 kB\n"));
    // A name that would have lines of its own.
    world.space.cells().set_comm(*b"a\\b\nPid:\t1\0\0\0\0\0\0");
    let status = text(&world, SpaceFile::Status);
    let name = "Name:\ta\\\\b\\nPid:\t1\nPid:\t0\n";
    assert!(status.starts_with(name), "{status}");
    world.finish();
}

#[test]
fn pagemap_has_an_entry_for_each_page() {
    let world = world();
    let mut entries = [1; 4];
    let frames = world.space.pagemap(at(0), &mut entries, true);
    assert_eq!(frames, 4);
    let pfn = world.space.page_at(at(0)).pfn.unwrap().0;
    assert_eq!(
        entries,
        [(1 << 63) | (1 << 56) | (1 << 55) | pfn, 1 << 55, 0, 0]
    );
    world.space.pagemap(at(200), &mut entries, false);
    assert_eq!(entries[0], (1 << 63) | (1 << 61) | (1 << 56) | (1 << 55));
    let top = VirtAddr((1 << 47) - 2 * PAGE);
    assert_eq!(world.space.pagemap(top, &mut entries, false), 1);
    let looked = world.space.look(at(50), |vma| *vma);
    assert!(!looked.is_mapped);
    assert_eq!(looked.vma.unwrap().range.start, at(100));
    world.finish();
}

#[test]
fn who_lists_caches_has_those_of_address_spaces() {
    let mm = boot();
    assert_eq!(mm.make_caches(), Err(Error::NoSuchCache));
    let slab = mm.slab().unwrap();
    let names = [
        "mm_struct",
        "vm_area_struct",
        "maple_node",
        "shmem_inode_cache",
    ];
    let made = names.map(|name| slab.find(name));
    assert!(made.iter().all(Option::is_some), "{made:?}");
    let caches = caches_of(&slab);
    // Neither a space nor asking once more makes others.
    let world = World::on(mm, &MmConfig::default());
    mm.make_caches().unwrap();
    assert_eq!(caches_of(&slab), caches);
    assert_eq!(names.map(|name| slab.find(name)), made);
    world.space.put(&world.host);
    mm.shut_down().unwrap();
    assert_eq!(mm.make_caches(), Err(Error::NoSuchCache));
}
