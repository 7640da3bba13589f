// SPDX-License-Identifier: GPL-2.0

//! Random requests against the naive model, which says which address comes next;
//! where a block is needed it only asks that the block be a new one. What objects
//! hold must never change.

use crate::machine::*;
use crate::naive::*;
use crate::world::*;
use proptest::prelude::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;

#[derive(Clone, Debug)]
enum Op {
    Kmalloc { size: u64, zero: bool },
    Alloc(prop::sample::Index),
    Bulk(prop::sample::Index, usize),
    Free(prop::sample::Index),
    FreeWrong(prop::sample::Index, prop::sample::Index),
    FreeNonsense(prop::sample::Index, i64),
    FreeMany(prop::sample::Index, usize),
    Realloc(prop::sample::Index, u64),
    Create(u32),
    Destroy(prop::sample::Index),
    Shrink,
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => prop_oneof![Just(32u64), Just(64), Just(600), Just(2048)],
        2 => 1u64..=2048,
        1 => 2049u64..=40_000,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (size(), any::<bool>()).prop_map(|(size, zero)| Op::Kmalloc { size, zero }),
        4 => index().prop_map(Op::Alloc),
        1 => (index(), 1usize..150).prop_map(|(cache, count)| Op::Bulk(cache, count)),
        6 => index().prop_map(Op::Free),
        1 => (index(), index()).prop_map(|(object, cache)| Op::FreeWrong(object, cache)),
        1 => (index(), -5000i64..5000).prop_map(|(object, by)| Op::FreeNonsense(object, by)),
        1 => (index(), 1usize..100).prop_map(|(object, count)| Op::FreeMany(object, count)),
        2 => (index(), size()).prop_map(|(object, size)| Op::Realloc(object, size)),
        1 => prop_oneof![1u32..=2048, 2049u32..10_000].prop_map(Op::Create),
        1 => index().prop_map(Op::Destroy),
        1 => Just(Op::Shrink),
    ]
}

struct Run {
    machine: Machine,
    model: Model,
    mark: u8,
}

impl Run {
    fn nth_held(&self, index: prop::sample::Index) -> Option<u64> {
        let held = &self.model.held;
        (!held.is_empty()).then(|| *held.keys().nth(index.index(held.len())).unwrap())
    }

    fn nth_cache(&self, index: prop::sample::Index) -> Option<u16> {
        let caches = &self.model.caches;
        (!caches.is_empty()).then(|| *caches.keys().nth(index.index(caches.len())).unwrap())
    }

    /// Notes an object and writes to all of it; or checks that there was no room.
    fn took(&mut self, got: Result<ObjAddr, Error>, size: u64, owner: u16) {
        match got {
            Ok(object) => {
                self.mark = self.mark.wrapping_add(1);
                self.model.took(object.get(), size, owner, self.mark);
                self.machine.fill(object, room(size), self.mark);
            }
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                assert!(room(size) > 2048 || self.model.next(room(size)).is_none());
            }
        }
    }

    fn check_contents(&self, at: u64) {
        let object = &self.model.held[&at];
        let found = self
            .machine
            .is_filled(ObjAddr::new(at), object.room, object.mark);
        assert!(found, "{at:#x} {object:?}");
    }

    fn free(&mut self, at: u64) {
        self.check_contents(at);
        let owner = self.model.held[&at].owner;
        let object = ObjAddr::new(at);
        match CacheId::new(owner) {
            Some(id) => self.machine.pool().free(id, object, 0).unwrap(),
            None => self.machine.kfree(object).unwrap(),
        }
        self.model.gave(at);
    }

    fn alloc(&mut self, id: u16) {
        let size = self.model.caches[&id].1;
        let got = self.machine.alloc(CacheId::new(id).unwrap());
        self.took(got, size, id);
    }

    fn create(&mut self, size: u32) {
        let before = self.machine.pool().pool_report().caches;
        let name = format!("cache{}", self.mark);
        self.mark = self.mark.wrapping_add(1);
        let got = self.machine.pool().create(&CacheArgs::new(&name, size));
        let exists = self.model.caches.values().any(|(its, _)| *its == name);
        match got {
            Ok(id) => {
                assert!(!exists);
                let alive = self.machine.pool().pool_report().caches;
                assert_eq!(alive, before + 1);
                let cache = (name, u64::from(size));
                assert!(self.model.caches.insert(id.get(), cache).is_none());
            }
            Err(Error::CacheExists) => assert!(exists),
            Err(error) => assert_eq!(error, Error::NoMemory),
        }
    }

    fn op(&mut self, op: Op) {
        match op {
            Op::Kmalloc { size, zero } => {
                let request = match zero {
                    false => REQUEST,
                    true => ObjRequest::new(REQUEST.gfp | shadowmm_core::buddy::gfp::__GFP_ZERO),
                };
                let got = self.machine.pool().kmalloc(Bytes(size), &request);
                if let (Ok(object), true) = (got, zero) {
                    assert!(self.machine.is_filled(object, room(size), 0));
                }
                self.took(got, size, 0);
            }
            Op::Alloc(cache) => {
                if let Some(id) = self.nth_cache(cache) {
                    self.alloc(id);
                }
            }
            Op::Bulk(cache, count) => {
                let Some(id) = self.nth_cache(cache) else {
                    return;
                };
                let size = self.model.caches[&id].1;
                let mut objects = vec![ObjAddr::NULL; count];
                let cache = CacheId::new(id).unwrap();
                match self
                    .machine
                    .pool()
                    .alloc_bulk(cache, &REQUEST, &mut objects)
                {
                    Ok(()) => {
                        for object in objects {
                            self.took(Ok(object), size, id);
                        }
                    }
                    // What a container was extended by stays; the model gives up then.
                    Err(error) => assert_eq!(error, Error::NoMemory),
                }
            }
            Op::Free(object) => {
                if let Some(at) = self.nth_held(object) {
                    self.free(at);
                    let again = self.machine.kfree(ObjAddr::new(at)).unwrap_err();
                    assert!(matches!(again, Error::ObjectFree | Error::NotAnObject));
                }
            }
            Op::FreeWrong(object, cache) => {
                let (Some(at), Some(id)) = (self.nth_held(object), self.nth_cache(cache)) else {
                    return;
                };
                if self.model.held[&at].owner != id {
                    let id = CacheId::new(id).unwrap();
                    let freed = self.machine.pool().free(id, ObjAddr::new(at), 0);
                    assert_eq!(freed, Err(Error::WrongCache));
                }
            }
            Op::FreeNonsense(object, by) => {
                let Some(at) = self.nth_held(object) else {
                    return;
                };
                let address = at.wrapping_add_signed(by);
                if address != 0 && !self.model.held.contains_key(&address) {
                    let freed = self.machine.kfree(ObjAddr::new(address));
                    freed.unwrap_err();
                }
            }
            Op::FreeMany(object, count) => {
                let Some(first) = self.nth_held(object) else {
                    return;
                };
                let many: Vec<_> = self.model.held.range(first..).take(count).collect();
                let many: Vec<_> = many.into_iter().map(|(&at, _)| at).collect();
                many.iter().for_each(|&at| self.check_contents(at));
                let objects: Vec<_> = many.iter().map(|&at| ObjAddr::new(at)).collect();
                let freed = self.machine.pool().free_bulk(None, &objects, 0);
                assert_eq!(freed, Ok(many.len()));
                many.into_iter().for_each(|at| self.model.gave(at));
            }
            Op::Realloc(object, size) => {
                let Some(at) = self.nth_held(object) else {
                    return;
                };
                let Held {
                    room: had, mark, ..
                } = self.model.held[&at];
                self.check_contents(at);
                let object = Some(ObjAddr::new(at));
                let got = self.machine.pool().krealloc(object, Bytes(size), &REQUEST);
                match got {
                    Ok(new) if new.get() == at => assert!(size <= had),
                    Ok(new) => {
                        assert!(size > had);
                        assert!(self.machine.is_filled(new, had, mark));
                        self.took(Ok(new), size, 0);
                        self.model.gave(at);
                    }
                    Err(error) => {
                        assert_eq!(error, Error::NoMemory);
                        self.check_contents(at);
                    }
                }
            }
            Op::Create(size) => self.create(size),
            Op::Destroy(cache) => {
                let Some(id) = self.nth_cache(cache) else {
                    return;
                };
                let mut alive = String::new();
                let result = self
                    .machine
                    .pool()
                    .destroy(CacheId::new(id).unwrap(), &mut alive);
                let held = self.model.held.values();
                let in_use = held.filter(|object| object.owner == id).count();
                assert_eq!(alive.matches("\nObject ").count(), in_use.min(256));
                match in_use {
                    0 => {
                        assert_eq!(result, Ok(()));
                        self.model.caches.remove(&id);
                    }
                    _ => assert_eq!(result, Err(Error::CacheBusy)),
                }
            }
            Op::Shrink => {
                let pages = self.machine.pool().shrink_all();
                assert_eq!(pages, Pages(self.model.shrunk()));
            }
        }
    }

    fn check(&self) {
        self.machine.check();
        for (&id, (name, size)) in &self.model.caches {
            let report = self.machine.pool().report(CacheId::new(id).unwrap());
            let report = report.unwrap();
            let held = self.model.held.values();
            let in_use = held.filter(|object| object.owner == id).count() as u64;
            assert_eq!(report.active_objects, in_use);
            assert_eq!(report.name.as_str(), name);
            assert_eq!(u64::from(report.geometry.size), room(*size));
        }
        for (&size, container) in &self.model.containers {
            if size == RECORD {
                continue;
            }
            let extensions = container.blocks.len() as u64 - 1;
            let held = self.model.held.values();
            let used = held.filter(|object| object.room == size).count() as u64;
            let objects = used + container.free.len() as u64;
            assert_eq!(self.machine.counts(size), [1, extensions, objects, used]);
        }
    }
}

/// The size of the containers that the records are in, which the model leaves
/// alone: nothing is asked for there.
const RECORD: u64 = 96;

fn is_records(op: &Op) -> bool {
    let within = |size: u64| room(size) == RECORD;
    match *op {
        Op::Kmalloc { size, .. } | Op::Realloc(_, size) => within(size),
        Op::Create(size) => within(u64::from(size)),
        _ => false,
    }
}

fn run(kind: AllocatorKind, pages: u64, ops: Vec<Op>) {
    let specs = [
        (0, ZoneType::Normal, 0, pages),
        (1, ZoneType::Normal, 2048, 2048 + pages),
    ];
    let mut run = Run {
        machine: Machine::with(kind, &specs),
        model: Model::default(),
        mark: 0,
    };
    Threads::run_on(0);
    for op in ops.into_iter().filter(|op| !is_records(op)) {
        let bulk = matches!(op, Op::Bulk(..));
        let before = run.machine.free();
        run.op(op);
        // A bulk request that failed may have extended its container.
        if bulk && run.machine.free() != before && !in_step(&run) {
            break;
        }
        run.check();
    }
    for at in run.model.held.keys().copied().collect::<Vec<_>>() {
        run.check_contents(at);
        run.machine.kfree(ObjAddr::new(at)).unwrap();
    }
    for &id in run.model.caches.keys() {
        let id = CacheId::new(id).unwrap();
        run.machine.pool().destroy(id, &mut String::new()).unwrap();
    }
    run.machine.check_empty();
}

/// Whether the model has as many pages as the machine, but for the records'.
fn in_step(run: &Run) -> bool {
    let records = run.machine.list(RECORD).pages.0;
    run.machine.pages - run.machine.free() == run.model.pages() + records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_objects_as_the_model(
        buddy in any::<bool>(),
        pages in prop_oneof![Just(64u64), Just(1024)],
        ops in prop::collection::vec(op(), 0..250),
    ) {
        let kind = match buddy {
            true => AllocatorKind::Buddy,
            false => AllocatorKind::Cosmos,
        };
        run(kind, pages, ops);
    }
}
