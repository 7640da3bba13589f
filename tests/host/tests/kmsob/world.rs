// SPDX-License-Identifier: GPL-2.0

//! The page allocators' small machine, with the pool on top.

use crate::cosmos_world::Cosmos;
use crate::machine::*;
use shadowmm_core::allocator::Allocator;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::cosmos::kmsob::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::*;
use shadowmm_core::phys::*;
use shadowmm_core::slab::*;
use shadowmm_host_tests::leaked_pages;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

pub type Pages_<'a> = Allocator<'a, Threads, VecMap, Zones>;
pub type Pool<'a> = Kmsob<'a, Threads, Pages_<'a>>;

/// What an object is asked for with, by default.
pub const REQUEST: ObjRequest = ObjRequest::new(GFP_KERNEL);

pub struct Machine {
    pub cosmos: Cosmos,
    pool: KmsobPool<'static, Threads>,
    kind: AllocatorKind,
    /// Free pages at first.
    pub pages: u64,
}

/// The head, in memory of its own.
fn head() -> KmsobPool<'static, Threads> {
    let size = KmsobPool::<Threads>::size();
    let own = range(0, size.pages_up().0);
    let mut backing = Backing::new();
    let run = BackingRun::from_pages(leaked_pages(own.pages().0 as usize), NodeId(0));
    backing.push(run).unwrap();
    let mut region = Box::new(Region::EMPTY);
    let ram = [(NodeId(0), own)];
    region.lay(&backing, ram.into_iter()).unwrap();
    KmsobPool::place(&mut region, own.bytes()).unwrap()
}

impl Machine {
    /// A machine with these zones, all but page 0 of them free.
    pub fn with(kind: AllocatorKind, specs: &[ZoneSpec]) -> Self {
        Threads::run_on(0);
        let machine = Self {
            cosmos: Cosmos::new(specs, true, 0),
            pool: head(),
            kind,
            pages: specs.iter().map(|spec| spec.3 - spec.2.max(1)).sum(),
        };
        for spec in specs {
            crate::machine::hand_off(&machine.allocator(), spec.2.max(1), spec.3);
        }
        assert_eq!(machine.free(), machine.pages);
        machine
    }

    /// One zone of so many pages.
    pub fn new(kind: AllocatorKind, pages: u64) -> Self {
        Self::with(kind, &[(0, ZoneType::Normal, 0, pages)])
    }

    /// One such with each page allocator.
    pub fn each(pages: u64) -> [Self; 2] {
        AllocatorKind::ALL.map(|kind| Self::new(kind, pages))
    }

    /// The page allocator that has the pages.
    pub fn allocator(&self) -> Pages_<'_> {
        match self.kind {
            AllocatorKind::Buddy => Allocator::Buddy(self.cosmos.world.buddy()),
            AllocatorKind::Cosmos => Allocator::Cosmos(self.cosmos.system()),
        }
    }

    pub fn pool(&self) -> Pool<'_> {
        Kmsob {
            pages: self.allocator(),
            platform: &self.cosmos.world.platform,
            memory: &self.cosmos.world.memory,
            pool: &self.pool,
        }
    }

    pub fn kmalloc(&self, size: u64) -> Result<ObjAddr, Error> {
        self.pool().kmalloc(Bytes(size), &REQUEST)
    }

    pub fn kfree(&self, object: ObjAddr) -> Result<(), Error> {
        self.pool().kfree(object, 0)
    }

    pub fn cache(&self, name: &str, size: u32) -> CacheId {
        self.pool().create(&CacheArgs::new(name, size)).unwrap()
    }

    pub fn alloc(&self, id: CacheId) -> Result<ObjAddr, Error> {
        self.pool().alloc(id, &REQUEST)
    }

    /// Free pages of all zones.
    pub fn free(&self) -> u64 {
        let (nodes, kinds) = ((0..2), ZoneType::ALL);
        let ids = nodes.flat_map(|nid| kinds.map(|kind| ZoneId::new(NodeId(nid), kind)));
        let reports = ids.filter_map(|id| self.allocator().free_report(id));
        reports.map(|report| report.free.0).sum()
    }

    /// The containers of the size that holds `size` bytes.
    pub fn list(&self, size: u64) -> ListReport {
        let size = SizeIndex::for_size(Bytes(size)).unwrap();
        self.pool().list_report(size).unwrap()
    }

    /// Containers, extensions, objects and used objects of it.
    pub fn counts(&self, size: u64) -> [u64; 4] {
        let list = self.list(size);
        [list.containers, list.extensions, list.objects, list.used]
    }

    pub fn check(&self) {
        let valid = self.pool().validate();
        valid.unwrap_or_else(|flaw| panic!("{flaw}"));
        self.allocator().validate().unwrap();
    }

    /// All is given back.
    pub fn check_empty(&self) {
        self.check();
        assert_eq!(self.free(), self.pages);
        assert_eq!(self.pool().pool_report(), PoolReport::default());
        for size in SizeIndex::all() {
            let list = self.pool().list_report(size).unwrap();
            let now = [list.containers, list.extensions, list.objects, list.used];
            assert_eq!(now, [0; 4]);
            assert_eq!(list.created, list.destroyed);
            assert_eq!(list.allocs, list.frees);
        }
    }

    /// The bytes of an object.
    pub fn bytes(&self, object: ObjAddr, size: u64) -> &[AtomicU8] {
        let window = self.cosmos.world.memory.window(object.addr()).unwrap();
        let range = PhysRange::new(object.addr(), Bytes(size));
        window.slice(range).unwrap()
    }

    pub fn fill(&self, object: ObjAddr, size: u64, with: u8) {
        for byte in self.bytes(object, size) {
            byte.store(with, Relaxed);
        }
    }

    pub fn is_filled(&self, object: ObjAddr, size: u64, with: u8) -> bool {
        let bytes = self.bytes(object, size);
        bytes.iter().all(|byte| byte.load(Relaxed) == with)
    }
}
