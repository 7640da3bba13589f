// SPDX-License-Identifier: GPL-2.0

//! Who uses an address space or a shared object, under loom: core's own text of how spaces
//! are found and counted (`mm/address_space.rs`, with `mm/lock.rs`) and of what shared
//! objects have of that (`mm/shared.rs`), with loom's atomics, in every interleaving of its
//! accesses and with every value that a relaxed load may see.
//!
//! ```text
//! its owner                             who looks for it, with the list's lock
//!   the last one? users = 0               users += 1, if it is not 0
//!   off the list, with its lock           ... what is in it ...
//!   ... what is in it goes ...            users -= 1; the last one?
//!   the memory is another's
//! ```
//!
//! What is in a space or an object is a cell that loom watches: to look at it while it goes,
//! or not to see what was done in it, is a failure. Memory that was freed is the next one's
//! at once, of the same kind (`SLAB_TYPESAFE_BY_RCU`).

use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Arc;
use loom::thread;
use shadowmm_core::slab::ObjAddr;
use sleepers::Sleepers;
use surroundings::AddressSpace;
use surroundings::AddressSpaces;
use surroundings::CacheOf;
use surroundings::HostTable;
use surroundings::Pages;
use surroundings::Without;
use surroundings::World;
use surroundings::REQUEST;
use surroundings::WITHOUT;

#[path = "common/cells.rs"]
mod cells;
#[path = "common/sleepers.rs"]
mod sleepers;
#[path = "common/without.rs"]
mod without;

/// What core's text finds around it.
mod surroundings {
    pub use super::lock::WriteLock;
    use super::shared::ShmCells;
    pub(crate) use crate::cells::cells;
    use crate::cells::New;
    use crate::sleepers::Sleepers;
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::atomic::AtomicU64;
    use loom::sync::atomic::Ordering;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::sync::Mutex;
    pub use shadowmm_core::error::Error;
    pub use shadowmm_core::error::Result;
    pub use shadowmm_core::phys::Pages;
    pub use shadowmm_core::slab::ObjAddr;
    use std::marker::PhantomData;

    crate::without::without! {
        /// The orderings with which a use ends.
        Orderings,
        /// Looking whether there is a user at all.
        UnlessZero,
    }

    /// With what a use ends.
    pub fn put() -> Ordering {
        match WITHOUT.get() {
            Without::Orderings => Relaxed,
            _ => Ordering::AcqRel,
        }
    }

    /// Whether one with no user is used again.
    pub fn no_matter() -> bool {
        WITHOUT.get() == Without::UnlessZero
    }

    pub trait Platform: crate::sleepers::Platform {
        fn relax(&self);
    }

    impl Platform for Sleepers {
        fn relax(&self) {
            loom::thread::yield_now();
        }
    }

    pub trait HostTable {}
    impl HostTable for () {}

    cells! {
        pub struct MmCells {
            pub seq: AtomicU32,
            pub users: AtomicU32,
            pub id: AtomicU32,
            pub list_next: AtomicU64,
            pub list_prev: AtomicU64,
            pub mapped: Inside,
        }
    }

    cells! {
        pub struct VmaCells {
            pub lock: AtomicU32,
            pub lock_seq: AtomicU32,
        }
    }

    impl MmCells {
        pub fn id(&self) -> u32 {
            self.id.load(Relaxed)
        }

        pub fn charged(&self) -> i64 {
            0
        }
    }

    /// What is in a space: its number.
    pub struct Inside(UnsafeCell<u32>);

    impl New for Inside {
        fn new() -> Self {
            Self(UnsafeCell::new(0))
        }
    }

    impl Inside {
        pub fn get(&self) -> u32 {
            // SAFETY: loom fails the model where somebody changes it meanwhile.
            self.0.with(|inside| unsafe { *inside })
        }

        pub fn set(&self, value: u32) {
            // SAFETY: loom fails the model where somebody looks at it meanwhile.
            self.0.with_mut(|inside| unsafe { *inside = value });
        }
    }

    pub struct SpacesTable {
        pub lock: AtomicU32,
        pub first: AtomicU64,
        pub count: AtomicU32,
    }

    /// Two places for spaces, of the addresses 1 and 2, and one for a shared object, 3.
    pub struct World<P> {
        pub platform: P,
        pub table: SpacesTable,
        pub spaces: [MmCells; 2],
        pub shared: ShmCells,
        /// What is in the object.
        pub pages: Inside,
        /// The places where nothing is. The last one that became so is taken first.
        pub free: Mutex<Vec<u64>>,
    }

    impl World<Sleepers> {
        pub fn new() -> Self {
            Self {
                platform: Sleepers::new(),
                table: SpacesTable {
                    lock: AtomicU32::new(0),
                    first: AtomicU64::new(0),
                    count: AtomicU32::new(0),
                },
                spaces: [New::new(), New::new()],
                shared: New::new(),
                pages: New::new(),
                free: Mutex::new(vec![3, 2, 1]),
            }
        }
    }

    /// What is found at an address.
    pub trait Kept {
        fn at<P>(world: &World<P>, addr: ObjAddr) -> Option<&Self>;
    }

    impl Kept for MmCells {
        fn at<P>(world: &World<P>, addr: ObjAddr) -> Option<&Self> {
            world.spaces.get(addr.get() as usize - 1)
        }
    }

    impl Kept for ShmCells {
        fn at<P>(world: &World<P>, addr: ObjAddr) -> Option<&Self> {
            (addr.get() == 3).then_some(&world.shared)
        }
    }

    pub struct AddressSpaces<'a, 'm, P: Platform> {
        pub world: &'m World<P>,
        pub view: PhantomData<&'a ()>,
    }

    impl<P: Platform> Clone for AddressSpaces<'_, '_, P> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<P: Platform> Copy for AddressSpaces<'_, '_, P> {}

    pub enum CacheOf {
        Mm,
        Shared,
    }

    /// How an object is asked for.
    pub const REQUEST: () = ();

    pub struct Cache<'m>(&'m Mutex<Vec<u64>>, CacheOf);

    impl Cache<'_> {
        pub fn alloc(&self, _: &()) -> Result<ObjAddr> {
            let is_one = |&addr: &u64| matches!(self.1, CacheOf::Shared) == (addr == 3);
            let mut free = self.0.lock().unwrap();
            let at = free.iter().rposition(|addr| is_one(addr));
            at.map(|at| ObjAddr::new(free.remove(at)))
                .ok_or(Error::Corrupt)
        }

        pub fn free(&self, addr: ObjAddr) -> Result<()> {
            let mut free = self.0.lock().unwrap();
            assert!(!free.contains(&addr.get()), "freed twice");
            free.push(addr.get());
            Ok(())
        }
    }

    impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
        pub fn platform(&self) -> &'a P {
            &self.world.platform
        }

        pub fn table(&self) -> &'a SpacesTable {
            &self.world.table
        }

        pub fn cells<T: Kept>(&self, addr: ObjAddr) -> Result<&'m T> {
            T::at(self.world, addr).ok_or(Error::Corrupt)
        }

        pub fn cache(&self, of: CacheOf) -> Result<Cache<'m>> {
            Ok(Cache(&self.world.free, of))
        }

        pub fn tables_of(&self, _: &ShmCells) -> Tables<'m> {
            Tables(&self.world.pages)
        }
    }

    pub struct AddressSpace<'a, 'm, P: Platform> {
        pub system: AddressSpaces<'a, 'm, P>,
        pub addr: ObjAddr,
        pub cells: &'m MmCells,
    }

    impl<P: Platform> AddressSpace<'_, '_, P> {
        pub fn keep_faults(&self) {}

        /// All that is in it goes.
        pub fn exit_mmap(&self, _: &dyn HostTable) {
            self.cells.mapped.set(0);
        }
    }

    pub struct Tables<'m>(&'m Inside);

    impl Tables<'_> {
        pub fn drop_all(&self, put: &mut dyn FnMut(())) {
            self.0.set(0);
            put(());
        }
    }

    pub struct Puts;

    impl Puts {
        pub fn new<P: Platform>(_: &AddressSpaces<'_, '_, P>) -> Self {
            Self
        }

        pub fn put(&mut self, (): ()) {}
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod lock {
    include!(concat!(env!("OUT_DIR"), "/lock.rs"));
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod space {
    include!(concat!(env!("OUT_DIR"), "/space.rs"));
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod shared {
    include!(concat!(env!("OUT_DIR"), "/shared.rs"));
}

type Spaces<'w> = AddressSpaces<'w, 'w, Sleepers>;
const HOST: &dyn HostTable = &();

fn spaces(world: &World<Sleepers>) -> Spaces<'_> {
    AddressSpaces {
        world,
        view: std::marker::PhantomData,
    }
}

/// A new space of this number, where the last one was that went.
fn make<'w>(world: &'w World<Sleepers>, id: u32) -> AddressSpace<'w, 'w, Sleepers> {
    let system = spaces(world);
    let addr = system.cache(CacheOf::Mm).unwrap().alloc(&REQUEST).unwrap();
    let cells: &surroundings::MmCells = system.cells(addr).unwrap();
    cells.id.store(id, Relaxed);
    cells.mapped.set(id);
    let space = AddressSpace {
        system,
        addr,
        cells,
    };
    space.publish();
    space
}

/// Who looks for the space of this number: he has that one, or none.
fn look(world: &World<Sleepers>, id: u32) {
    if let Ok(space) = spaces(world).find(id) {
        assert_eq!(space.cells.mapped.get(), id, "another space than asked for");
        space.put(HOST);
    }
}

/// Who looks at all of them.
fn look_at_all(world: &World<Sleepers>) {
    let mut id = 0;
    while let Some(space) = spaces(world).next(id) {
        id = space.cells.id();
        assert_eq!(space.cells.mapped.get(), id, "another space than asked for");
        space.put(HOST);
    }
}

type Part = fn(&World<Sleepers>);

/// What its owner does with the space of number 1, and others beside him, each in a thread.
fn run(without: Without, owner: Part, others: &'static [Part]) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(5 - others.len());
    builder.check(move || {
        let world = Arc::new(World::new());
        make(&world, 1);
        let others: Vec<_> = others
            .iter()
            .map(|other| {
                let world = world.clone();
                thread::spawn(move || other(&world))
            })
            .collect();
        owner(&world);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(world.table.first.load(Relaxed), 0);
        assert_eq!(world.table.count.load(Relaxed), 0);
        let mut free = world.free.lock().unwrap();
        free.sort_unstable();
        assert_eq!(*free, [1, 2, 3], "a space is in its place still");
    });
}

/// The owner's own use, of which he knows the place.
fn own<'w>(world: &'w World<Sleepers>, at: u64) -> AddressSpace<'w, 'w, Sleepers> {
    let (system, addr) = (spaces(world), ObjAddr::new(at));
    let cells = system.cells(addr).unwrap();
    AddressSpace {
        system,
        addr,
        cells,
    }
}

/// He waits for all others.
fn end(world: &World<Sleepers>) {
    own(world, 1).end(HOST);
}

/// The last one has it go.
fn put(world: &World<Sleepers>) {
    own(world, 1).put(HOST);
}

/// Its place is the next one's at once.
fn end_and_again(world: &World<Sleepers>) {
    end(world);
    make(world, 2).end(HOST);
}

#[test]
fn a_space_that_is_found_does_not_go() {
    run(Without::Nothing, end, &[|world| look(world, 1)]);
    run(Without::Nothing, put, &[|world| look(world, 1)]);
}

#[test]
fn two_look_for_a_space_that_goes() {
    const LOOK: Part = |world| look(world, 1);
    run(Without::Nothing, end, &[LOOK, LOOK]);
    run(Without::Nothing, put, &[LOOK, LOOK]);
}

#[test]
fn who_is_found_is_not_the_next_one_in_its_place() {
    run(Without::Nothing, end_and_again, &[|world| look(world, 1)]);
    run(Without::Nothing, end_and_again, &[look_at_all]);
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_orderings_a_space_goes_while_it_is_looked_at() {
    run(Without::Orderings, end, &[|world| look(world, 1)]);
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_looking_for_a_user_one_that_goes_is_found() {
    run(Without::UnlessZero, end, &[|world| look(world, 1)]);
}

/// Three have a shared object, and the last one has its pages go.
fn run_shared(without: Without) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let world = Arc::new(World::new());
        let object = spaces(&world).new_shared(Pages(1), Pages(1)).unwrap();
        world.pages.set(1);
        let use_it = move |world: &World<Sleepers>| {
            assert_eq!(world.pages.get(), 1, "its pages are gone");
            spaces(world).put_shared(object).0
        };
        let others = [(); 2].map(|()| {
            spaces(&world).get_shared(object);
            let world = world.clone();
            thread::spawn(move || use_it(&world))
        });
        let mine = use_it(&world);
        let promised: Pages = others
            .into_iter()
            .map(|other| other.join().unwrap())
            .chain([mine])
            .sum();
        assert_eq!(promised, Pages(1), "what was promised is told once");
        assert_eq!(world.free.lock().unwrap().len(), 3);
    });
}

#[test]
fn the_last_one_has_a_shared_object_go() {
    run_shared(Without::Nothing);
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_orderings_a_shared_object_goes_while_it_is_used() {
    run_shared(Without::Orderings);
}
