// SPDX-License-Identifier: GPL-2.0

//! Anonymous regions beside merging, under loom: core's own text of how a VMA gets its
//! region (`mm/anon_region.rs`) and of when VMAs become one (`mm/merge.rs`, `mm/vma.rs`, with
//! the locks of `mm/lock.rs`), with loom's atomics.
//!
//! ```text
//! faults, with a VMA's lock or the mmap lock    who merges, with the mmap lock for writing
//!   no region yet? with the mmap lock             regions fit? marks both VMAs
//!   a neighbour's (acquire), or a new one         the one that is left has the other's
//!   chains = 1, region 0 -> n (release)           the tree is another
//! ```
//!
//! A private page belongs to the region that its VMA has when it is made. In the end the VMA
//! that it lies in then has that region still, whichever that is. The tree is a cell that
//! loom watches.

use anon::Fault;
use lock::ReadLock;
use lock::VmaRead;
use lock::WriteLock;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::atomic::Ordering::Release;
use loom::sync::Arc;
use loom::thread;
use sleepers::Sleepers;
use surroundings::*;

#[path = "common/cells.rs"]
mod cells;
#[path = "common/sleepers.rs"]
mod sleepers;
#[path = "common/without.rs"]
mod without;

/// What core's text finds around it.
mod surroundings {
    pub use super::lock::start_write;
    pub use super::lock::ReadLock;
    pub use super::vma::Vma;
    pub(crate) use crate::cells::cells;
    use crate::cells::New;
    pub use crate::sleepers::Platform;
    use crate::sleepers::Sleepers;
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::atomic::AtomicU64;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::sync::atomic::Ordering::Release;
    pub use shadowmm_core::error::Error;
    pub use shadowmm_core::error::Result;
    pub use shadowmm_core::mm::VirtAddr;
    pub use shadowmm_core::mm::VmFlags;
    pub use shadowmm_core::phys::PAGE_SHIFT;
    pub use shadowmm_core::phys::PAGE_SIZE;
    pub use shadowmm_core::slab::ObjAddr;
    use std::marker::PhantomData;

    crate::without::without! {
        /// The mmap lock, with a VMA's.
        MmapLock,
        /// The first one's region stays.
        Exchange,
        /// Who sees a region sees how many have it.
        Release,
    }

    pub fn locks(vma_lock_only: bool) -> bool {
        vma_lock_only && WITHOUT.get() != Without::MmapLock
    }

    pub fn join(anon: &AtomicU64, region: u64) -> Result<u64, u64> {
        match WITHOUT.get() {
            Without::Exchange => Ok(anon.swap(region, Release)),
            Without::Release => anon.compare_exchange(0, region, Relaxed, Relaxed),
            _ => anon.compare_exchange(0, region, Release, Relaxed),
        }
    }

    /// What who looks at a neighbour with a region sees.
    pub fn see(chains: u32) -> u32 {
        assert_ne!(chains, 0, "a region that is in no list");
        chains
    }

    pub trait HostTable {}
    impl HostTable for () {}

    pub enum Stop {
        NeedsMmapLock,
    }

    cells! {
        pub struct MmCells {
            pub lock: AtomicU32,
            pub seq: AtomicU32,
            pub map_count: AtomicU32,
        }
    }

    cells! {
        pub struct VmaCells {
            pub lock: AtomicU32,
            pub lock_seq: AtomicU32,
            pub chains: AtomicU32,
            pub mm: AtomicU64,
            pub start: AtomicU64,
            pub end: AtomicU64,
            pub flags: AtomicU64,
            pub pgoff: AtomicU64,
            pub anon_pgoff: AtomicU64,
            pub file: AtomicU64,
            pub anon: AtomicU64,
        }
    }

    pub struct Table {
        pub next_anon: AtomicU64,
    }

    #[derive(Clone, Copy)]
    pub struct Entry {
        start: u64,
        end: u64,
        pub value: u64,
    }

    /// Which VMA is where: with the mmap lock.
    pub struct Tree(UnsafeCell<Vec<Entry>>);

    impl Tree {
        fn get(&self, which: impl Fn(&Vec<Entry>) -> Option<Entry>) -> Option<Entry> {
            // SAFETY: loom fails the model where somebody changes it meanwhile.
            self.0.with(|entries| which(unsafe { &*entries }))
        }

        pub fn find(&self, addr: u64) -> Option<Entry> {
            self.get(|entries| entries.iter().find(|entry| entry.end > addr).copied())
        }

        pub fn prev(&self, addr: u64) -> Option<Entry> {
            self.get(|entries| entries.iter().rfind(|entry| entry.start < addr).copied())
        }

        pub fn reserve(&self, _: usize) -> Result<()> {
            Ok(())
        }

        pub fn store(&self, start: u64, end: u64, value: Option<u64>, (): &mut ()) {
            let store = |entries: &mut Vec<Entry>| {
                entries.retain(|entry| entry.end <= start || entry.start >= end);
                entries.extend(value.map(|value| Entry { start, end, value }));
                entries.sort_unstable_by_key(|entry| entry.start);
            };
            // SAFETY: loom fails the model where somebody looks at it meanwhile.
            self.0.with_mut(|entries| store(unsafe { &mut *entries }));
        }
    }

    /// An address space of two VMAs, which have the addresses 1 and 2, and a page each.
    pub struct World<P> {
        pub platform: P,
        pub table: Table,
        pub mm: MmCells,
        pub vmas: [VmaCells; 2],
        pub tree: Tree,
    }

    impl World<Sleepers> {
        pub fn new() -> Self {
            let world = Self {
                platform: Sleepers::new(),
                table: Table {
                    next_anon: AtomicU64::new(1),
                },
                mm: New::new(),
                vmas: New::new(),
                tree: Tree(UnsafeCell::new(vec![])),
            };
            let flags = [
                VmFlags::DATA_DEFAULT,
                VmFlags::DATA_DEFAULT.without(VmFlags::WRITE),
            ];
            for (at, (vma, flags)) in (0..).zip(world.vmas.iter().zip(flags)) {
                vma.lock_seq.store(u32::MAX - 1, Relaxed);
                vma.mm.store(1, Relaxed);
                vma.start.store(at * PAGE_SIZE, Relaxed);
                vma.end.store((at + 1) * PAGE_SIZE, Relaxed);
                vma.flags.store(flags.0, Relaxed);
                vma.pgoff.store(at, Relaxed);
                vma.anon_pgoff.store(at, Relaxed);
                let (start, end) = (at * PAGE_SIZE, (at + 1) * PAGE_SIZE);
                world.tree.store(start, end, Some(at + 1), &mut ());
            }
            world
        }
    }

    pub struct AddressSpaces<'a, 'm, P> {
        pub world: &'m World<P>,
        pub view: PhantomData<&'a ()>,
    }

    impl<P> Clone for AddressSpaces<'_, '_, P> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<P> Copy for AddressSpaces<'_, '_, P> {}

    /// What is found at an address.
    pub trait Kept {
        fn at<P>(world: &World<P>, addr: ObjAddr) -> Option<&Self>;
    }

    impl Kept for VmaCells {
        fn at<P>(world: &World<P>, addr: ObjAddr) -> Option<&Self> {
            world.vmas.get(addr.get() as usize - 1)
        }
    }

    impl<'m, P: Platform> AddressSpaces<'_, 'm, P> {
        pub fn platform(&self) -> &'m P {
            &self.world.platform
        }

        pub fn table(&self) -> &'m Table {
            &self.world.table
        }

        pub fn cells<T: Kept>(&self, addr: ObjAddr) -> Result<&'m T> {
            T::at(self.world, addr).ok_or(Error::Corrupt)
        }

        pub fn free_vma(&self, _: Vma<'m>) {}
    }

    pub struct AddressSpace<'a, 'm, P: Platform> {
        pub system: AddressSpaces<'a, 'm, P>,
        pub cells: &'m MmCells,
    }

    impl<'m, P: Platform> AddressSpace<'_, 'm, P> {
        pub fn tree(&self) -> &'m Tree {
            &self.system.world.tree
        }

        pub fn find_vma(&self, addr: u64) -> Option<Vma<'m>> {
            Vma::of(self.system.world, self.tree().find(addr)?.value)
        }

        pub fn start_write(&self, vma: Vma<'m>) {
            start_write(self.system.platform(), self.cells, vma.cells());
        }

        pub fn split_huge_at(&self, _: &dyn HostTable, _: VirtAddr) {}

        pub fn put_backing(&self, _: Vma<'m>) {}
    }

    pub struct MmapWrite<'a, 'm, P: Platform> {
        pub space: AddressSpace<'a, 'm, P>,
    }

    impl<'m, P: Platform> MmapWrite<'_, 'm, P> {
        /// All changes are of whole VMAs.
        pub fn split(&self, _: &dyn HostTable, _: Vma<'m>, _: u64, _: bool) -> Result<Vma<'m>> {
            unreachable!()
        }
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod lock {
    include!(concat!(env!("OUT_DIR"), "/lock.rs"));
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod vma {
    include!(concat!(env!("OUT_DIR"), "/vma.rs"));

    impl<'m> Vma<'m> {
        /// As `AddressSpaces::vma`.
        pub fn of<P>(world: &'m World<P>, value: u64) -> Option<Self> {
            let addr = ObjAddr::new(value);
            let cells = VmaCells::at(world, addr)?;
            Some(Self { addr, cells })
        }
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod merge {
    include!(concat!(env!("OUT_DIR"), "/merge.rs"));
}

#[allow(unused_imports, reason = "core's text, of which a part is another")]
mod anon {
    include!(concat!(env!("OUT_DIR"), "/anon.rs"));

    /// What the text of a fault has of it.
    pub struct Fault<'f, 'a, 'm, P: Platform, H: ?Sized> {
        pub space: AddressSpace<'a, 'm, P>,
        pub vma: &'m VmaCells,
        pub vma_lock_only: bool,
        pub host: std::marker::PhantomData<&'f H>,
    }
}

type Space<'w> = AddressSpace<'w, 'w, Sleepers>;

fn space(world: &World<Sleepers>) -> Space<'_> {
    let view = std::marker::PhantomData;
    AddressSpace {
        system: AddressSpaces { world, view },
        cells: &world.mm,
    }
}

/// A page is made in its VMA: its region.
fn make<'w>(
    world: &'w World<Sleepers>,
    vma: &'w VmaCells,
    vma_lock_only: bool,
) -> Result<u64, Stop> {
    let fault = Fault {
        space: space(world),
        vma,
        vma_lock_only,
        host: std::marker::PhantomData::<&()>,
    };
    fault.prepare_anon()?;
    Ok(vma.anon.load(Relaxed))
}

/// The first write to a page: which that is, and its region (`mm/fault.rs`).
fn fault(world: &World<Sleepers>, page: u64) -> (u64, u64) {
    let addr = page * PAGE_SIZE;
    let vma = &world.vmas[page as usize];
    if let Some(_lock) = VmaRead::try_lock(&world.platform, &world.mm, vma) {
        let range = vma.start.load(Relaxed)..vma.end.load(Relaxed);
        if vma.mm.load(Relaxed) != 0 && range.contains(&addr) {
            if let Ok(region) = make(world, vma, true) {
                return (page, region);
            }
        }
    }
    let _lock = ReadLock::lock(&world.platform, &world.mm.lock);
    let vma = space(world).find_vma(addr).unwrap();
    let region = make(world, vma.cells(), false).ok();
    (page, region.expect("with the mmap lock"))
}

/// Makes the second VMA what the first is: they become one, if their regions fit
/// (`mprotect`).
fn merge(world: &World<Sleepers>) {
    let lock = WriteLock::lock(&world.platform, &world.mm.lock);
    world.mm.seq.fetch_add(1, Release);
    let writer = MmapWrite {
        space: space(world),
    };
    let prev = writer.space.find_vma(0);
    let vma = writer.space.find_vma(PAGE_SIZE).unwrap();
    let mut flags = VmFlags::DATA_DEFAULT;
    let (start, end) = (PAGE_SIZE, 2 * PAGE_SIZE);
    let vma = writer.modify_flags(&(), prev, vma, start, end, &mut flags);
    let vma = vma.unwrap();
    writer.space.start_write(vma);
    vma.set_flags(flags);
    world.mm.seq.fetch_add(1, Release);
    drop(lock);
}

/// Faults at these pages, each in a thread, the first one's beside them; and who merges.
fn run(without: Without, pages: &'static [u64], merges: bool, preemptions: usize) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let world = Arc::new(World::new());
        let others: Vec<_> = pages[1..]
            .iter()
            .map(|&page| {
                let world = world.clone();
                thread::spawn(move || fault(&world, page))
            })
            .collect();
        let merger = merges.then(|| {
            let world = world.clone();
            thread::spawn(move || merge(&world))
        });
        let mine = fault(&world, pages[0]);
        let others = others.into_iter().map(|other| other.join().unwrap());
        let made: Vec<_> = others.chain([mine]).collect();
        if let Some(merger) = merger {
            merger.join().unwrap();
        }
        for (page, region) in made {
            let vma = space(&world).find_vma(page * PAGE_SIZE).unwrap();
            assert!(
                region != 0 && vma.anon() == region,
                "a page of another region"
            );
        }
    });
}

#[test]
fn of_two_faults_in_a_vma_one_gives_it_a_region() {
    run(Without::Nothing, &[0, 0], false, 4);
    run(Without::Nothing, &[0, 0], true, 1);
}

#[test]
fn neighbours_get_their_regions_at_once() {
    run(Without::Nothing, &[0, 1], false, 4);
}

#[test]
fn vmas_become_one_while_one_gets_a_region() {
    run(Without::Nothing, &[0], true, 4);
    run(Without::Nothing, &[1], true, 4);
}

#[test]
fn vmas_become_one_while_both_get_regions() {
    run(Without::Nothing, &[0, 1], true, 1);
    run(Without::Nothing, &[1, 0], true, 1);
}

#[test]
#[should_panic(expected = "a page of another region")]
fn without_an_exchange_a_region_does_not_stay() {
    run(Without::Exchange, &[0, 0], false, 3);
}

#[test]
#[should_panic(expected = "a region that is in no list")]
fn without_release_a_region_is_seen_before_it_is_in_a_list() {
    run(Without::Release, &[0, 1], false, 3);
}

#[test]
#[should_panic(expected = "a page of another region")]
fn without_the_mmap_lock_a_region_comes_while_vmas_become_one() {
    run(Without::MmapLock, &[0, 1], true, 1);
}
