// SPDX-License-Identifier: GPL-2.0

//! Named caches share the containers of their size, and have their own counts.

use crate::world::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use shadowmm_host_tests::machine::caches_of;

fn destroy(machine: &Machine, id: CacheId) -> (Result<(), Error>, String) {
    let mut alive = String::new();
    let result = machine.pool().destroy(id, &mut alive);
    (result, alive)
}

#[test]
fn caches_of_one_size_share_containers_and_know_their_objects() {
    for machine in Machine::each(1024) {
        let inodes = machine.cache("inodes", 600);
        let buffers = machine.cache("buffers", 580);
        assert_ne!(inodes, buffers);
        let [a, b] = [inodes, buffers].map(|id| machine.alloc(id).unwrap());
        assert_eq!(a.get() - b.get(), 608, "neighbours in one container");
        let c = machine.kmalloc(601).unwrap();
        assert_eq!(machine.counts(600), [1, 0, 26, 3]);
        let free = |id, object| machine.pool().free(id, object, 0);
        assert_eq!(free(inodes, b), Err(Error::WrongCache));
        assert_eq!(free(inodes, c), Err(Error::WrongCache));
        let kmsob = machine.pool().find("kmsob-608").unwrap();
        assert_eq!(free(kmsob, a), Err(Error::WrongCache));
        machine.check();

        let report = |id| machine.pool().report(id).unwrap();
        assert_eq!(report(inodes).name.as_str(), "inodes");
        assert_eq!(report(inodes).geometry.object_size, 600);
        assert_eq!(report(inodes).geometry.size, 608);
        assert_eq!(report(inodes).active_objects, 1);
        assert_eq!(
            (report(inodes).nodes.slabs, report(inodes).pages),
            (0, Pages(0))
        );
        // The sums over all caches are those of the pool.
        let all: Vec<_> = caches_of(&machine.pool()).into_iter().map(report).collect();
        assert_eq!(all.len(), 64 + 1 + 2);
        let sum = |of: fn(&CacheReport) -> u64| all.iter().map(of).sum::<u64>();
        // Two records, and three objects.
        assert_eq!(sum(|cache| cache.active_objects), 5);
        assert_eq!(sum(|cache| cache.pages.0), machine.pages - machine.free());
        let objects = machine.list(600).objects + machine.list(96).objects;
        assert_eq!(sum(|cache| cache.nodes.total_objects), objects);

        free(inodes, a).unwrap();
        free(buffers, b).unwrap();
        machine.kfree(c).unwrap();
        for id in [inodes, buffers] {
            assert_eq!(destroy(&machine, id), (Ok(()), String::new()));
        }
        machine.check_empty();
    }
}

#[test]
fn a_cache_in_use_stays_and_says_what_is_alive() {
    for machine in Machine::each(1024) {
        let id = machine.cache("busy", 100);
        let objects: Vec<_> = (0..3).map(|_| machine.alloc(id).unwrap()).collect();
        machine.pool().free(id, objects[1], 0).unwrap();
        let (result, alive) = destroy(&machine, id);
        assert_eq!(result, Err(Error::CacheBusy));
        let [first, last] = [objects[0], objects[2]];
        assert_eq!(
            alive,
            format!(
                "{}\nBUG busy (Not tainted): Objects remaining on __kmem_cache_shutdown()\n{}\n\n\
                 Object {last} @offset={}\nObject {first} @offset={}\n",
                "=".repeat(77),
                "-".repeat(77),
                last.offset(),
                first.offset(),
            )
        );
        assert_eq!(machine.pool().find("busy"), Some(id));
        machine.check();
        // kfree takes an object of any cache.
        machine.kfree(first).unwrap();
        machine.pool().free(id, last, 0).unwrap();
        assert_eq!(destroy(&machine, id).0, Ok(()));
        assert_eq!(destroy(&machine, id).0, Err(Error::NoSuchCache));
        assert_eq!(machine.alloc(id), Err(Error::NoSuchCache));
        assert_eq!(machine.pool().free(id, last, 0), Err(Error::NoSuchCache));
        assert_eq!(
            machine.pool().free_bulk(Some(id), &[], 0),
            Err(Error::NoSuchCache)
        );
        assert_eq!(machine.pool().find("busy"), None);
        assert!(machine.pool().report(id).is_none());
        machine.check_empty();
    }
}

#[test]
fn caches_of_large_objects_have_pages() {
    for machine in Machine::each(1024) {
        let id = machine.cache("large", 10_000);
        let other = machine.kmalloc(10_000).unwrap();
        let objects: Vec<_> = (0..3).map(|_| machine.alloc(id).unwrap()).collect();
        let report = machine.pool().report(id).unwrap();
        assert_eq!(report.active_objects, 3);
        assert_eq!((report.nodes.slabs, report.nodes.full), (3, 3));
        assert_eq!((report.pages, report.geometry.size), (Pages(12), 16_384));
        let near = machine.pool().node_report(id, NodeId(0));
        assert_eq!(near, Some(report.nodes));
        assert_eq!(machine.pool().free(id, other, 0), Err(Error::WrongCache));
        machine.check();
        let (result, alive) = destroy(&machine, id);
        assert_eq!(result, Err(Error::CacheBusy));
        assert_eq!(alive.matches("\nObject ").count(), 3);
        assert_eq!(machine.pool().free_bulk(Some(id), &objects, 0), Ok(3));
        machine.kfree(other).unwrap();
        assert_eq!(destroy(&machine, id).0, Ok(()));
        machine.check_empty();
    }
}

#[test]
fn the_pool_s_own_caches_are_nobody_s() {
    let machine = Machine::new(AllocatorKind::Buddy, 1024);
    let id = machine.cache("x", 8);
    let records = machine.pool().find("kmsob_cache").unwrap();
    assert_eq!(machine.pool().report(records).unwrap().active_objects, 1);
    assert_eq!(machine.alloc(records), Err(Error::CacheNeeded));
    assert_eq!(destroy(&machine, records).0, Err(Error::CacheNeeded));
    let size = machine.pool().find("kmsob-32").unwrap();
    assert_eq!(destroy(&machine, size).0, Err(Error::CacheNeeded));
    // Wherever the record lies: its last object, freed by mistake.
    let beside = machine.kmalloc(80).unwrap();
    let record = ObjAddr::new(beside.get() + machine.pool().ksize(beside).unwrap().0);
    assert_eq!(machine.kfree(record), Err(Error::WrongCache));
    assert_eq!(machine.pool().free(size, record, 0), Err(Error::WrongCache));
    assert_eq!(
        machine.pool().free(records, record, 0),
        Err(Error::CacheNeeded)
    );
    // A number that no cache has: that of what has pages, and one never given.
    for id in [66, 67 + 1, 2047] {
        let id = CacheId::new(id).unwrap();
        assert_eq!(machine.alloc(id), Err(Error::NoSuchCache));
        assert_eq!(machine.pool().shrink(id), Err(Error::NoSuchCache));
        assert!(machine.pool().report(id).is_none());
    }
    machine.check();
    machine.kfree(beside).unwrap();
    assert_eq!(destroy(&machine, id).0, Ok(()));
    machine.check_empty();
}

#[test]
fn there_may_be_many_caches_and_no_more() {
    for machine in Machine::each(1024) {
        let made = |i: usize| CacheArgs::new("x", i as u32 + 1).object_size;
        let mut ids = vec![];
        for i in 0.. {
            let name = format!("cache-{i}");
            match machine.pool().create(&CacheArgs::new(&name, made(i))) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    assert_eq!(error, Error::TooManyCaches);
                    break;
                }
            }
        }
        assert_eq!(ids.len(), MAX_CACHES - 67);
        let again = machine.pool().create(&CacheArgs::new("cache-1000", 8));
        assert_eq!(again, Err(Error::CacheExists));
        assert_eq!(machine.pool().find("cache-1000"), Some(ids[1000]));
        let objects: Vec<_> = ids.iter().map(|&id| machine.alloc(id)).collect();
        machine.check();
        for (&id, object) in ids.iter().zip(objects) {
            machine.pool().free(id, object.unwrap(), 0).unwrap();
            machine.pool().destroy(id, &mut String::new()).unwrap();
        }
        machine.check_empty();
    }
}

#[test]
fn bulk_takes_all_or_none() {
    for machine in Machine::each(1024) {
        let id = machine.cache("bulk", 256);
        let mut objects = [ObjAddr::NULL; 1000];
        machine
            .pool()
            .alloc_bulk(id, &REQUEST, &mut objects)
            .unwrap();
        let mut sorted = objects.to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 1000);
        assert_eq!(machine.pool().report(id).unwrap().active_objects, 1000);
        let mut more = vec![ObjAddr::NULL; 20_000];
        let refused = machine.pool().alloc_bulk(id, &REQUEST, &mut more);
        assert_eq!(refused, Err(Error::NoMemory));
        assert_eq!(machine.pool().report(id).unwrap().active_objects, 1000);
        assert_eq!(machine.pool().report(id).unwrap().counts.failed, 1);
        machine.check();
        assert_eq!(machine.pool().free_bulk(Some(id), &objects, 0), Ok(1000));
        assert_eq!(destroy(&machine, id).0, Ok(()));
        machine.check_empty();
    }
}
