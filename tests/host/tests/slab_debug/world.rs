// SPDX-License-Identifier: GPL-2.0

//! A cache with one slab in plain memory, and who hears of what is found in it.

use shadowmm_core::error::Result;
use shadowmm_core::page::ZoneId;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::CpuId;
use shadowmm_core::phys::NodeId;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::SpinWord;
use shadowmm_core::slab::debug::*;
use shadowmm_core::slab::geometry;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::SlabFlags;
use shadowmm_core::slab::Surroundings;
use shadowmm_host_tests::HostLock;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;

/// A clock that is set, a process, a stack, and all that was said.
#[derive(Default)]
pub struct Witness {
    pub now: AtomicU64,
    numbers: AtomicU64,
    pub said: Mutex<String>,
    pub found: Mutex<Vec<Finding>>,
}

impl Platform for Witness {
    type Lock<T: Send> = HostLock<T>;
    type CpuGuard<'a> = ();
    type RawGuard<'a> = SpinWord<'a>;

    fn raw_lock<'a>(&'a self, word: &'a AtomicU32) -> SpinWord<'a> {
        SpinWord::lock(word, || panic!("locked twice"))
    }

    fn random(&self) -> u64 {
        self.numbers
            .fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)
            .rotate_left(23)
    }

    fn save_stack(&self, entries: &mut [u64]) -> usize {
        // The slab layer's own frame, and two more.
        let stack = [0x51ab, CALLER, 0x1000];
        entries[..3].copy_from_slice(&stack);
        3
    }

    fn nr_cpus(&self) -> u32 {
        2
    }

    fn pin_cpu(&self) -> (CpuId, ()) {
        (CpuId(1), ())
    }

    fn synchronize(&self) {}

    fn local_node(&self) -> NodeId {
        NodeId(0)
    }

    fn now_ns(&self) -> u64 {
        self.now.load(Relaxed)
    }

    fn pid(&self) -> u32 {
        77
    }

    fn write_symbol(&self, out: &mut dyn fmt::Write, addr: u64) -> fmt::Result {
        write!(out, "function_{addr}+0x0/0x10")
    }

    fn slab_report(
        &self,
        finding: Option<Finding>,
        text: &dyn Fn(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        self.found.lock().unwrap().extend(finding);
        text(&mut *self.said.lock().unwrap()).unwrap();
    }
}

/// Who calls.
pub const CALLER: u64 = 0xca11;

/// One stack, by the handle 1.
pub struct OneStack;

impl Stacks for OneStack {
    fn fetch(&self, stack: StackHandle, entries: &mut [u64; TRACK_ADDRS_COUNT]) -> usize {
        assert_eq!(stack, StackHandle(1));
        entries[..3].copy_from_slice(&[1, 2, 3]);
        3
    }
}

pub const THIS: CacheId = match CacheId::new(7) {
    Some(id) => id,
    None => panic!(),
};
pub const OTHER: CacheId = match CacheId::new(8) {
    Some(id) => id,
    None => panic!(),
};

/// Where the slab lies.
pub const BASE: u64 = 0x0123_4000;

pub struct World {
    pub witness: Witness,
    pub findings: Findings,
    pub taint: Taint,
    pub geometry: Geometry,
    pub name: &'static str,
    words: Box<[AtomicU64]>,
}

impl World {
    /// A cache of objects of that size with these flags.
    pub fn new(size: u32, flags: SlabFlags) -> Self {
        let mut args = CacheArgs::new("misused", size);
        args.flags = flags | SlabFlags::NO_MERGE;
        let geometry = geometry(&args, &Surroundings::new(1)).unwrap();
        let words = 512usize << geometry.order.get();
        Self {
            witness: Witness::default(),
            findings: Findings::new(),
            taint: Taint::new(),
            geometry,
            name: "misused",
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub fn cache(&self) -> Cache<'_, Witness> {
        Cache {
            platform: &self.witness,
            name: self.name,
            layout: Layout::new(&self.geometry),
            random: 0x1234_5678_9abc_def0,
            stacks: &OneStack,
            findings: &self.findings,
            taint: &self.taint,
        }
    }

    /// A new slab, filled, with its objects free in the order `free`.
    pub fn slab(&self, free: &[u32]) -> Slab<'_> {
        let cache = self.cache();
        let mut slab = Slab {
            bytes: SlabBytes::new(&self.words),
            base: BASE,
            descriptor: 0x9000,
            zone: ZoneId::new(NodeId(0), ZoneType::Normal),
            is_partial: true,
            objects: self.geometry.objects,
            inuse: 0,
            freelist: 0,
            frozen: false,
        };
        cache.setup_slab(&slab);
        for &index in free.iter().rev() {
            let object = cache.layout.object(index);
            cache.set_free_pointer(&slab, object, slab.freelist);
            slab.freelist = slab.addr(object);
        }
        slab
    }

    /// A slab whose objects are free in their order.
    pub fn in_order(&self) -> Slab<'_> {
        let all: Vec<u32> = (0..self.geometry.objects).collect();
        self.slab(&all)
    }

    /// Takes the first free object, as `alloc_single_from_partial` does.
    pub fn alloc(&self, slab: &mut Slab<'_>, asked: u32) -> Result<u32> {
        let cache = self.cache();
        let first = slab.freelist;
        let object = slab.place(&cache.layout, first);
        slab.freelist = object.map_or(0, |object| cache.free_pointer(slab, object));
        slab.inuse += 1;
        let object = cache.alloc_object(slab, first, asked)?;
        if cache.layout.has(SlabFlags::STORE_USER) {
            let track = self.track(0xa110c);
            track.store(slab.bytes, &cache.layout, object, TrackItem::Alloc);
        }
        Ok(object)
    }

    /// Gives back what lies at that place, as `free_to_partial_list` does.
    pub fn free(&self, slab: &mut Slab<'_>, object: u32) -> Result<()> {
        self.free_at(slab, slab.addr(object), (THIS, THIS))
    }

    pub fn free_at(
        &self,
        slab: &mut Slab<'_>,
        object: u64,
        caches: (CacheId, CacheId),
    ) -> Result<()> {
        let cache = self.cache();
        let object = cache.free_object(slab, object, caches, &self.track(0xf4ee))?;
        slab.inuse -= 1;
        cache.set_free_pointer(slab, object, slab.freelist);
        slab.freelist = slab.addr(object);
        Ok(())
    }

    pub fn track(&self, addr: u64) -> Track {
        Track::now(&self.witness, addr, StackHandle(1))
    }

    /// What was said since the last time.
    pub fn said(&self) -> String {
        std::mem::take(&mut *self.witness.said.lock().unwrap())
    }

    /// What was found since the last time.
    pub fn found(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.witness.found.lock().unwrap())
    }
}
