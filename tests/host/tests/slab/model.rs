// SPDX-License-Identifier: GPL-2.0

//! Random steps beside a model that is a set of objects for each cache.

use super::world::*;
use proptest::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::Mutex;

#[derive(Clone, Debug)]
pub enum Step {
    RunOn(u32),
    Create(u32, u32, bool),
    Alloc(usize, i32, bool),
    Bulk(usize, usize),
    Free(usize),
    FreeWrong(usize, u64),
    FreeMany(usize, usize),
    Kmalloc(u64),
    Realloc(usize, u64),
    Shrink(usize),
    ShrinkAll,
    Drain(u32),
    Destroy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..NR_CPUS as u32).prop_map(Step::RunOn),
        2 => (1..9000u32, 0..8u32, any::<bool>()).prop_map(|(s, a, m)| Step::Create(s, a, m)),
        8 => (any::<usize>(), -1..2i32, any::<bool>()).prop_map(|(c, n, z)| Step::Alloc(c, n, z)),
        3 => (any::<usize>(), 0..300usize).prop_map(|(c, n)| Step::Bulk(c, n)),
        8 => any::<usize>().prop_map(Step::Free),
        2 => (any::<usize>(), 1..64u64).prop_map(|(o, by)| Step::FreeWrong(o, by)),
        2 => (any::<usize>(), 0..300usize).prop_map(|(o, n)| Step::FreeMany(o, n)),
        3 => (0..20_000u64).prop_map(Step::Kmalloc),
        2 => (any::<usize>(), 0..20_000u64).prop_map(|(o, s)| Step::Realloc(o, s)),
        1 => any::<usize>().prop_map(Step::Shrink),
        1 => Just(Step::ShrinkAll),
        1 => (0..NR_CPUS as u32).prop_map(Step::Drain),
        1 => any::<usize>().prop_map(Step::Destroy),
    ]
}

/// An object, and the cache that it was taken from; none for kmalloc's.
type Held = (Option<CacheId>, ObjAddr);

#[derive(Default)]
pub struct Model {
    /// Each with how often it was created.
    pub caches: Vec<(CacheId, usize)>,
    pub held: Vec<Held>,
    created: usize,
}

impl Model {
    fn cache(&self, at: usize) -> Option<CacheId> {
        Some(self.caches.get(at.checked_rem(self.caches.len())?)?.0)
    }

    pub fn active(&self, id: CacheId) -> u64 {
        self.held.iter().filter(|(of, _)| *of == Some(id)).count() as u64
    }

    pub fn step(&mut self, world: &World, step: &Step) {
        let slab = world.slab();
        match *step {
            Step::RunOn(cpu) => run_on(cpu),
            Step::Create(size, align, merge) => {
                let name = format!("model-{}", self.created);
                self.created += 1;
                let flags = match merge {
                    true => SlabFlags::NONE,
                    false => SlabFlags::NO_MERGE,
                };
                let align = if align == 0 { 0 } else { 4 << align };
                let args = CacheArgs {
                    align,
                    flags,
                    ..CacheArgs::new(&name, size)
                };
                let id = slab.create(&args).unwrap();
                match self.caches.iter_mut().find(|(of, _)| *of == id) {
                    Some((_, count)) => *count += 1,
                    // One of kmalloc's may be shared, too.
                    None => self.caches.push((id, 1)),
                }
            }
            Step::Alloc(cache, nid, zero) => {
                let Some(id) = self.cache(cache) else { return };
                let zeroed = if zero {
                    gfp::__GFP_ZERO
                } else {
                    gfp::Gfp::NONE
                };
                let request = ObjRequest::new(gfp::GFP_KERNEL | zeroed).on(NodeId(nid));
                let object = slab.alloc(id, &request).unwrap();
                assert!(!self.held.iter().any(|(_, held)| *held == object));
                self.held.push((Some(id), object));
            }
            Step::Bulk(cache, count) => {
                let Some(id) = self.cache(cache) else { return };
                let mut objects = vec![ObjAddr::NULL; count];
                slab.alloc_bulk(id, &KERNEL, &mut objects).unwrap();
                self.held.extend(objects.into_iter().map(|o| (Some(id), o)));
            }
            Step::Free(at) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let (id, object) = self.held.swap_remove(at);
                    free(slab, id, object).unwrap();
                    assert!(free(slab, id, object).is_err());
                }
            }
            Step::FreeWrong(at, by) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let (id, object) = self.held[at];
                    let inside = ObjAddr::new(object.get() + by);
                    if !self.held.contains(&(id, inside)) {
                        assert!(free(slab, id, inside).is_err());
                    }
                    if let Some(id) = id {
                        let other = self.caches.iter().find(|(of, _)| *of != id);
                        if let Some(&(other, _)) = other {
                            assert_eq!(slab.free(other, object, 0), Err(Error::WrongCache));
                        }
                    }
                }
            }
            Step::FreeMany(at, count) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let end = self.held.len().min(at + count);
                    for (id, object) in self.held.drain(at..end) {
                        free(slab, id, object).unwrap();
                    }
                }
            }
            Step::Kmalloc(size) => {
                let object = slab.kmalloc(Bytes(size), &KERNEL).unwrap();
                if !object.is_null() {
                    assert!(slab.ksize(object).unwrap() >= Bytes(size));
                    self.held.push((None, object));
                }
            }
            Step::Realloc(at, size) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    if let (None, object) = self.held[at] {
                        let new = slab.krealloc(Some(object), Bytes(size), &KERNEL).unwrap();
                        self.held.swap_remove(at);
                        if !new.is_null() {
                            self.held.push((None, new));
                        }
                    }
                }
            }
            Step::Shrink(cache) => {
                if let Some(id) = self.cache(cache) {
                    slab.shrink(id).unwrap();
                    assert_eq!(world.report(id).nodes.empty, 0);
                }
            }
            Step::ShrinkAll => {
                slab.shrink_all();
            }
            Step::Drain(cpu) => slab.drain_cpu(CpuId(cpu)),
            Step::Destroy(cache) => self.destroy(world, cache),
        }
    }

    pub fn destroy(&mut self, world: &World, cache: usize) {
        let Some(at) = cache.checked_rem(self.caches.len()) else {
            return;
        };
        let (id, count) = self.caches[at];
        let result = world.slab().destroy(id, &mut String::new());
        if count > 1 {
            assert_eq!(result, Ok(()));
            self.caches[at].1 -= 1;
        } else if self.active(id) > 0 {
            assert_eq!(result, Err(Error::CacheBusy));
        } else {
            assert_eq!(result, Ok(()));
            self.caches.swap_remove(at);
        }
    }
}

pub fn free(slab: Slab, id: Option<CacheId>, object: ObjAddr) -> Result<(), Error> {
    match id {
        Some(id) => slab.free(id, object, 0),
        None => slab.kfree(object, 0),
    }
}

/// Between two cases.
static WORLD: Mutex<Option<World>> = Mutex::new(None);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_steps(steps in proptest::collection::vec(step(), 1..400)) {
        // A case that ends well leaves the machine as it was.
        let kept = WORLD.lock().unwrap().take();
        let world = kept.unwrap_or_else(|| World::new(&[64, 64]));
        run_on(0);
        let mut model = Model::default();
        for (n, step) in steps.iter().enumerate() {
            model.step(&world, step);
            if n % 50 == 0 {
                world.validate();
            }
        }
        world.validate();
        for &(id, _) in &model.caches {
            prop_assert_eq!(world.report(id).active_objects, model.active(id));
        }
        run_on(0);
        for (id, object) in std::mem::take(&mut model.held) {
            free(world.slab(), id, object).unwrap();
        }
        while !model.caches.is_empty() {
            model.destroy(&world, 0);
        }
        world.finish();
        *WORLD.lock().unwrap() = Some(world);
    }
}
