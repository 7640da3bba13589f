// SPDX-License-Identifier: GPL-2.0

//! Random steps beside a model that is a set of objects for each cache. Their owners write to
//! them, and find what they have written, up to the last byte.

use super::world::*;
use proptest::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;

/// What a cache is to be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub size: u32,
    /// None for 0, else 4 << align.
    pub align: u32,
    pub flags: SlabFlags,
    pub ctor: Constructor,
    /// Where the part begins that may be copied to users, and how long it is.
    pub users: (u32, u32),
    pub freeptr_offset: Option<u32>,
    pub sheaf_capacity: u32,
}

/// The flags that a cache is asked for with, most often with few of them.
pub const FLAGS: [SlabFlags; 12] = [
    SlabFlags::NO_MERGE,
    SlabFlags::CONSISTENCY_CHECKS,
    SlabFlags::RED_ZONE,
    SlabFlags::POISON,
    SlabFlags::STORE_USER,
    SlabFlags::TRACE,
    SlabFlags::HWCACHE_ALIGN,
    SlabFlags::TYPESAFE_BY_RCU,
    SlabFlags::KMALLOC,
    SlabFlags::NOLEAKTRACE,
    SlabFlags::RECLAIM_ACCOUNT,
    SlabFlags::ACCOUNT,
];

impl Wanted {
    /// What is wrong with it, where it is not served by a cache that is there.
    fn refusal(&self) -> Option<Error> {
        let (offset, size) = self.users;
        if (size == 0 && offset != 0) || u64::from(offset) + u64::from(size) > self.size.into() {
            return Some(Error::BadUserWindow);
        }
        let looked_at = self.flags.has(SlabFlags::TYPESAFE_BY_RCU) || self.ctor.is_some();
        match self.freeptr_offset {
            Some(at) if at >= self.size || at % 8 != 0 || !looked_at => Some(Error::BadFreePointer),
            _ => None,
        }
    }

    /// Whether taking an object, which is to be zeroed or not, fails as it should.
    fn fails(&self, error: Error, zero: bool) -> bool {
        match error {
            Error::ZeroWithConstructor => zero && self.ctor.is_some(),
            Error::ConstructorFailed => matches!(self.ctor, Constructor::FailAfter(_)),
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    RunOn(u32),
    Create(Wanted),
    Alloc(usize, i32, bool),
    Bulk(usize, usize),
    Free(usize),
    FreeWrong(usize, u64),
    FreeMany(usize, usize),
    Kmalloc(u64, bool),
    Ksize(usize),
    Realloc(usize, u64),
    Shrink(usize),
    ShrinkAll,
    Drain(u32),
    Destroy(usize),
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let flags = proptest::collection::vec(proptest::sample::select(&FLAGS[..]), 0..4);
    let ctor = prop_oneof![
        6 => Just(Constructor::None),
        2 => any::<u8>().prop_map(Constructor::Fill),
        1 => (0..100u32).prop_map(Constructor::FailAfter),
    ];
    let users = prop_oneof![3 => Just((0, 0)), 1 => (0..64u32, 0..256u32)];
    let freeptr = prop_oneof![3 => Just(None), 1 => (0..40u32).prop_map(|at| Some(at * 4))];
    let capacity = prop_oneof![3 => Just(0), 1 => 1..200u32];
    (1..9000u32, 0..8u32, flags, ctor, users, freeptr, capacity).prop_map(
        |(size, align, flags, ctor, users, freeptr_offset, sheaf_capacity)| Wanted {
            size,
            align,
            flags: flags
                .into_iter()
                .fold(SlabFlags::NONE, |all, flag| all | flag),
            ctor,
            users,
            freeptr_offset,
            sheaf_capacity,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..NR_CPUS as u32).prop_map(Step::RunOn),
        2 => wanted().prop_map(Step::Create),
        8 => (any::<usize>(), -1..2i32, any::<bool>()).prop_map(|(c, n, z)| Step::Alloc(c, n, z)),
        3 => (any::<usize>(), 0..300usize).prop_map(|(c, n)| Step::Bulk(c, n)),
        8 => any::<usize>().prop_map(Step::Free),
        2 => (any::<usize>(), 1..64u64).prop_map(|(o, by)| Step::FreeWrong(o, by)),
        2 => (any::<usize>(), 0..300usize).prop_map(|(o, n)| Step::FreeMany(o, n)),
        3 => (0..20_000u64, any::<bool>()).prop_map(|(s, z)| Step::Kmalloc(s, z)),
        1 => any::<usize>().prop_map(Step::Ksize),
        2 => (any::<usize>(), 0..20_000u64).prop_map(|(o, s)| Step::Realloc(o, s)),
        1 => any::<usize>().prop_map(Step::Shrink),
        1 => Just(Step::ShrinkAll),
        1 => (0..NR_CPUS as u32).prop_map(Step::Drain),
        1 => any::<usize>().prop_map(Step::Destroy),
    ]
}

/// An object that is somebody's.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The cache that it was taken from; none for kmalloc's.
    pub id: Option<CacheId>,
    pub object: ObjAddr,
    /// How many bytes of it are the owner's, and what is written there.
    size: u64,
    mark: u8,
}

impl Held {
    /// Where the owner writes: the first byte, the last, and one where a free pointer may
    /// have been.
    fn places(&self) -> [u64; 3] {
        [0, self.size / 2, self.size.saturating_sub(1)]
    }

    /// Where a byte of it lies, and how far it is to be shifted there.
    fn word(&self, world: &World, at: u64) -> (&'static AtomicU64, u64) {
        let addr = self.object.get() + at;
        let window = world.mm.region.window(PhysAddr(addr)).unwrap();
        (window.cells(PhysAddr(addr & !7)).unwrap(), addr % 8 * 8)
    }

    fn byte(&self, world: &World, at: u64) -> u8 {
        let (word, shift) = self.word(world, at);
        (word.load(Relaxed) >> shift) as u8
    }

    fn write(&self, world: &World) {
        for at in self.places() {
            let (word, shift) = self.word(world, at);
            let others = word.load(Relaxed) & !(0xff << shift);
            word.store(others | (u64::from(self.mark) << shift), Relaxed);
        }
    }

    #[track_caller]
    fn check(&self, world: &World) {
        for at in self.places() {
            assert_eq!(self.byte(world, at), self.mark, "byte {at} of {self:?}");
        }
    }

    /// Nothing of whoever had it before.
    #[track_caller]
    fn check_zeroed(&self, world: &World) {
        let dirty = (0..self.size).find(|&at| self.byte(world, at) != 0);
        assert_eq!(dirty, None, "{self:?}");
    }
}

/// A cache that is somebody's.
#[derive(Debug)]
pub struct Created {
    pub id: CacheId,
    /// How often it was created.
    count: usize,
    /// How, the first time; with the size of the smallest.
    wanted: Wanted,
}

#[derive(Default)]
pub struct Model {
    pub caches: Vec<Created>,
    pub held: Vec<Held>,
    created: usize,
    marks: u8,
}

impl Model {
    fn cache(&self, at: usize) -> Option<&Created> {
        self.caches.get(at.checked_rem(self.caches.len())?)
    }

    pub fn active(&self, id: CacheId) -> u64 {
        self.held.iter().filter(|held| held.id == Some(id)).count() as u64
    }

    /// Somebody has an object now, of which so many bytes are his.
    #[track_caller]
    fn take(
        &mut self,
        world: &World,
        (id, object): (Option<CacheId>, ObjAddr),
        size: u64,
        zeroed: bool,
    ) {
        self.marks = self.marks.wrapping_add(1);
        let held = Held {
            id,
            object,
            size,
            mark: self.marks,
        };
        if zeroed {
            held.check_zeroed(world);
        }
        held.write(world);
        self.held.push(held);
    }

    /// All that lies where nobody writes is as the constructor has made it.
    fn check_made(&self, world: &World, id: CacheId, object: ObjAddr) {
        let wanted = self.caches.iter().find(|cache| cache.id == id);
        let wanted = &wanted.unwrap().wanted;
        let Constructor::Fill(byte) = wanted.ctor else {
            return;
        };
        let held = Held {
            id: Some(id),
            object,
            size: wanted.size.into(),
            mark: byte,
        };
        let free_pointer = |at: u64| {
            let from = wanted.freeptr_offset.map(u64::from);
            from.is_some_and(|from| (from..from + 8).contains(&at))
        };
        let places = held.places();
        let mut made = (0..held.size.min(64)).filter(|at| !places.contains(at));
        let other = made.find(|&at| !free_pointer(at) && held.byte(world, at) != byte);
        assert_eq!(other, None, "{held:?}");
    }

    fn create(&mut self, world: &World, wanted: &Wanted) {
        let name = format!("model-{}", self.created);
        self.created += 1;
        let args = CacheArgs {
            align: match wanted.align {
                0 => 0,
                align => 4 << align,
            },
            flags: wanted.flags,
            ctor: wanted.ctor,
            useroffset: wanted.users.0,
            usersize: wanted.users.1,
            freeptr_offset: wanted.freeptr_offset,
            sheaf_capacity: wanted.sheaf_capacity,
            ..CacheArgs::new(&name, wanted.size)
        };
        let id = match (world.slab().create(&args), wanted.refusal()) {
            (Ok(id), None) => id,
            // As in Linux, nobody looks at that where the cache is there already.
            (Ok(id), Some(Error::BadFreePointer)) => {
                assert!(world.report(id).refcount > 1);
                id
            }
            (created, refusal) => return assert_eq!(created.err(), refusal, "{wanted:?}"),
        };
        match self.caches.iter_mut().find(|cache| cache.id == id) {
            Some(cache) => {
                cache.count += 1;
                cache.wanted.size = cache.wanted.size.min(wanted.size);
            }
            // One of kmalloc's may be shared, too.
            None => self.caches.push(Created {
                id,
                count: 1,
                wanted: wanted.clone(),
            }),
        }
    }

    pub fn step(&mut self, world: &World, step: &Step) {
        let slab = world.slab();
        match *step {
            Step::RunOn(cpu) => run_on(cpu),
            Step::Create(ref wanted) => self.create(world, wanted),
            Step::Alloc(cache, nid, zero) => {
                let Some(cache) = self.cache(cache) else {
                    return;
                };
                let (id, size) = (cache.id, cache.wanted.size);
                let zeroed = if zero {
                    gfp::__GFP_ZERO
                } else {
                    gfp::Gfp::NONE
                };
                let request = ObjRequest::new(gfp::GFP_KERNEL | zeroed).on(NodeId(nid));
                match slab.alloc(id, &request) {
                    Ok(object) => {
                        assert!(!self.held.iter().any(|held| held.object == object));
                        self.check_made(world, id, object);
                        self.take(world, (Some(id), object), size.into(), zero);
                    }
                    Err(error) => assert!(cache.wanted.fails(error, zero), "{error:?}"),
                }
            }
            Step::Bulk(cache, count) => {
                let Some(cache) = self.cache(cache) else {
                    return;
                };
                let (id, size) = (cache.id, cache.wanted.size);
                let mut objects = vec![ObjAddr::NULL; count];
                match slab.alloc_bulk(id, &KERNEL, &mut objects) {
                    Ok(()) => {
                        for object in objects {
                            self.take(world, (Some(id), object), size.into(), false);
                        }
                    }
                    Err(error) => assert!(cache.wanted.fails(error, false), "{error:?}"),
                }
            }
            Step::Free(at) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let held = self.held.swap_remove(at);
                    free(world, held).unwrap();
                    assert!(give(slab, held.id, held.object).is_err());
                }
            }
            Step::FreeWrong(at, by) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let Held { id, object, .. } = self.held[at];
                    let inside = ObjAddr::new(object.get() + by);
                    // Debugged without checks, as in Linux, what is free goes to a freelist twice, if it is
                    // not the first there (`suite-slab-debug` has that).
                    let its = slab.cache_of(object).ok();
                    let flags = its.map_or(SlabFlags::NONE, |its| world.report(its).geometry.flags);
                    let looks =
                        flags.has(SlabFlags::CONSISTENCY_CHECKS) || !flags.has(SlabFlags::DEBUG);
                    let is_held = self.held.iter().any(|held| held.object == inside);
                    if !is_held && (looks || by % 8 != 0) {
                        assert!(give(slab, id, inside).is_err());
                    }
                    if let Some(id) = id {
                        let other = self.caches.iter().find(|cache| cache.id != id);
                        if let Some(other) = other {
                            assert_eq!(slab.free(other.id, object, 0), Err(Error::WrongCache));
                        }
                    }
                    self.held[at].check(world);
                }
            }
            Step::FreeMany(at, count) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let end = self.held.len().min(at + count);
                    let many: Vec<_> = self.held.drain(at..end).collect();
                    if count % 2 == 0 {
                        many.into_iter().for_each(|held| free(world, held).unwrap());
                        return;
                    }
                    many.iter().for_each(|held| held.check(world));
                    let objects: Vec<_> = many.iter().map(|held| held.object).collect();
                    assert_eq!(slab.free_bulk(None, &objects, 0), Ok(objects.len()));
                }
            }
            Step::Kmalloc(size, zero) => {
                let request = match zero {
                    true => ObjRequest::new(gfp::GFP_KERNEL | gfp::__GFP_ZERO),
                    false => KERNEL,
                };
                let object = slab.kmalloc(Bytes(size), &request).unwrap();
                if !object.is_null() {
                    self.take(world, (None, object), size, zero);
                    assert!(slab.usable(object).unwrap() >= Bytes(size));
                }
            }
            Step::Ksize(at) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let held = &mut self.held[at];
                    held.check(world);
                    assert!(slab.usable(held.object).unwrap() >= Bytes(held.size));
                    if held.id.is_none() {
                        // All of it is the owner's from now on.
                        held.size = slab.ksize(held.object).unwrap().0;
                        held.write(world);
                    }
                }
            }
            Step::Realloc(at, size) => {
                if let Some(at) = at.checked_rem(self.held.len()) {
                    let held = self.held[at];
                    if held.id.is_none() {
                        held.check(world);
                        let object = Some(held.object);
                        let new = slab.krealloc(object, Bytes(size), &KERNEL).unwrap();
                        self.held.swap_remove(at);
                        if !new.is_null() {
                            let kept = Held {
                                object: new,
                                ..held
                            };
                            let mut places = held.places().into_iter();
                            assert!(places.all(|place| {
                                place >= size || kept.byte(world, place) == held.mark
                            }));
                            self.take(world, (None, new), size, false);
                        }
                    }
                }
            }
            Step::Shrink(cache) => {
                if let Some(id) = self.cache(cache).map(|cache| cache.id) {
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
        let (id, count) = (self.caches[at].id, self.caches[at].count);
        let result = world.slab().destroy(id, &mut String::new());
        if count > 1 {
            assert_eq!(result, Ok(()));
            self.caches[at].count -= 1;
        } else if self.active(id) > 0 {
            assert_eq!(result, Err(Error::CacheBusy));
        } else {
            assert_eq!(result, Ok(()));
            self.caches.swap_remove(at);
        }
    }
}

fn give(slab: Slab, id: Option<CacheId>, object: ObjAddr) -> Result<(), Error> {
    match id {
        Some(id) => slab.free(id, object, 0),
        None => slab.kfree(object, 0),
    }
}

/// Its owner has what he has written, and gives it back.
#[track_caller]
pub fn free(world: &World, held: Held) -> Result<(), Error> {
    held.check(world);
    give(world.slab(), held.id, held.object)
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
        for cache in &model.caches {
            prop_assert_eq!(world.report(cache.id).active_objects, model.active(cache.id));
        }
        run_on(0);
        for held in std::mem::take(&mut model.held) {
            free(&world, held).unwrap();
        }
        while !model.caches.is_empty() {
            model.destroy(&world, 0);
        }
        world.finish();
        *WORLD.lock().unwrap() = Some(world);
    }
}
