// SPDX-License-Identifier: GPL-2.0

//! Words of which one tells that another holds, under loom: core's own text with loom's
//! atomics.
//!
//! ```text
//! phys/cells.rs      what is in a slice, and its length; then the pointer (release)
//! mm/mapcount.rs     1 more of each page; then 1 less of all of the block (release)
//! mm/rlimit.rs       the limit; then that the address space has its own (release)
//! ```
//!
//! Who looks reads the last one first (acquire).

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Arc;
use loom::thread;
use rlimit::Rlimit;
use shadowmm_core::error;
use shadowmm_core::phys;
use slots::CellRef;
use slots::CellSlot;
use slots::CellsSlot;
use surroundings::*;

#[path = "common/without.rs"]
mod without;

/// What core's text finds around it.
mod surroundings {
    pub use super::page::PageDescriptor;
    pub use super::page::PageState;
    pub use super::page::ZoneType;
    use loom::sync::atomic::AtomicU64;
    use loom::sync::atomic::Ordering;
    use loom::sync::atomic::Ordering::Acquire;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::sync::atomic::Ordering::Release;
    pub use shadowmm_core::phys::NodeId;
    pub use shadowmm_core::phys::PageOrder;
    pub use shadowmm_core::phys::Pfn;
    use std::marker::PhantomData;

    crate::without::without! {
        Acquire,
        Release,
    }

    pub fn acquire() -> Ordering {
        match WITHOUT.get() {
            Without::Acquire => Relaxed,
            _ => Acquire,
        }
    }

    pub fn release() -> Ordering {
        match WITHOUT.get() {
            Without::Release => Relaxed,
            _ => Release,
        }
    }

    pub trait Cells {}
    impl Cells for AtomicU64 {}

    /// Of an entry, how it maps a page.
    pub struct Entry(pub u64, pub Pfn);

    impl Entry {
        pub const HUGE: u64 = 1;
        pub const PART: u64 = 2;

        pub fn has(&self, bits: u64) -> bool {
            self.0 & bits != 0
        }

        pub fn pfn(&self) -> Pfn {
            self.1
        }
    }

    pub struct Translation {
        pub pfn: Option<Pfn>,
        pub leaf: Entry,
    }

    pub struct Sparse(pub [PageDescriptor; 2]);

    impl Sparse {
        pub fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
            self.0.get(pfn.0 as usize)
        }
    }

    pub trait Platform {
        /// What the process has.
        fn rlimit(&self, _: super::Rlimit, _: bool) -> Option<u64> {
            Some(8)
        }
    }
    impl Platform for () {}

    /// The block that an address space maps.
    pub struct Mm<'m> {
        pub sparse: &'m Sparse,
    }

    pub struct AddressSpaces<'a, 'm, P> {
        pub mm: Mm<'m>,
        pub view: PhantomData<&'a P>,
    }

    impl<'m, P> AddressSpaces<'_, 'm, P> {
        pub fn platform(&self) -> &() {
            &()
        }

        pub fn block_pages(&self, _: Pfn) -> &'m [PageDescriptor] {
            &self.mm.sparse.0
        }
    }

    pub struct MmCells {
        pub policy: AtomicU64,
        pub rlimit_as: AtomicU64,
        pub rlimit_data: AtomicU64,
        pub rlimit_data_max: AtomicU64,
        pub rlimit_stack: AtomicU64,
        pub rlimit_memlock: AtomicU64,
    }

    pub struct AddressSpace<'a, 'm, P> {
        pub system: AddressSpaces<'a, 'm, P>,
        pub cells: &'m MmCells,
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod page {
    include!(concat!(env!("OUT_DIR"), "/page_whole.rs"));
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod slots {
    include!(concat!(env!("OUT_DIR"), "/slots.rs"));
}

#[allow(unused_imports, reason = "core's text, of which a part is another")]
mod mapcount {
    include!(concat!(env!("OUT_DIR"), "/mapcount.rs"));
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod rlimit {
    include!(concat!(env!("OUT_DIR"), "/rlimit.rs"));
}

/// What one does while another looks.
fn check<T: 'static>(without: Without, new: fn() -> T, work: fn(&T), look: fn(&T)) {
    WITHOUT.set(without);
    loom::model(move || {
        let shared = Arc::new(new());
        let other = {
            let shared = shared.clone();
            thread::spawn(move || look(&shared))
        };
        work(&shared);
        other.join().unwrap();
    });
}

/// Places for references to what is made while they are looked at.
struct Places {
    one: CellSlot<'static, AtomicU64>,
    another: CellRef<'static, AtomicU64>,
    some: CellsSlot<'static, AtomicU64>,
}

/// Cells that nobody has seen yet.
fn made() -> &'static [AtomicU64] {
    let cells = (0..2).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
    cells.iter().for_each(|cell| cell.store(1, Relaxed));
    cells
}

fn places(without: Without, work: fn(&Places)) {
    let new = || Places {
        one: CellSlot::new(),
        another: CellRef::new(&made()[0]),
        some: CellsSlot::new(),
    };
    check(without, new, work, |places| {
        let some = places.some.get();
        assert!(matches!(some.len(), 0 | 2), "a pointer without its length");
        let all = places.one.get().into_iter().chain([places.another.get()]);
        for cell in all.chain(some) {
            assert_eq!(cell.load(Relaxed), 1, "a reference to what is not made");
        }
    });
}

#[test]
fn who_finds_a_reference_finds_what_it_leads_to() {
    places(Without::Nothing, |places| {
        places.one.set(Some(&made()[0]));
        places.another.set(&made()[1]);
    });
    places(Without::Nothing, |places| {
        assert!(places.some.set(made()));
        assert!(places.some.set(&[]) && places.some.set(made()));
        assert!(!places.some.set(&made()[..1]), "another length");
    });
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_release_a_slice_has_no_length() {
    places(Without::Release, |places| {
        places.some.set(made());
    });
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_acquire_a_reference_leads_to_nothing() {
    places(Without::Acquire, |places| {
        places.one.set(Some(&made()[0]));
    });
}

/// A block that one address space has as a whole, and splits in its tables.
fn mapped(without: Without) {
    let new = || {
        let sparse = Sparse(std::array::from_fn(|_| {
            let page = PageDescriptor::hole();
            page.init(NodeId(0), ZoneType::Normal, PageState::Allocated);
            page.mapcount().store(0, Relaxed);
            page
        }));
        sparse.0[0].entire_mapcount().store(1, Relaxed);
        sparse
    };
    fn spaces(sparse: &Sparse) -> AddressSpaces<'_, '_, ()> {
        AddressSpaces {
            mm: Mm { sparse },
            view: std::marker::PhantomData,
        }
    }
    let split = |sparse: &Sparse| spaces(sparse).note_parted(Pfn(0));
    check(without, new, split, |sparse| {
        let page = Translation {
            pfn: Some(Pfn(1)),
            leaf: Entry(Entry::PART, Pfn(1)),
        };
        let count = spaces(sparse).block_mapcount(&page);
        assert!(matches!(count, Some(1 | 2)), "mapped less than it is");
    });
}

#[test]
fn a_page_of_a_block_that_is_split_is_mapped() {
    mapped(Without::Nothing);
}

#[test]
#[should_panic(expected = "mapped less than it is")]
fn without_release_it_is_mapped_by_nobody() {
    mapped(Without::Release);
}

#[test]
#[should_panic(expected = "mapped less than it is")]
fn nor_without_acquire() {
    mapped(Without::Acquire);
}

/// An address space gets a limit of its own.
fn limited(without: Without) {
    let new = || {
        let none = || AtomicU64::new(u64::MAX);
        MmCells {
            policy: AtomicU64::new(0),
            rlimit_as: none(),
            rlimit_data: none(),
            rlimit_data_max: none(),
            rlimit_stack: none(),
            rlimit_memlock: none(),
        }
    };
    fn space(cells: &MmCells) -> AddressSpace<'_, '_, ()> {
        let sparse: &'static Sparse = Box::leak(Box::new(Sparse(std::array::from_fn(|_| {
            PageDescriptor::hole()
        }))));
        AddressSpace {
            system: AddressSpaces {
                mm: Mm { sparse },
                view: std::marker::PhantomData,
            },
            cells,
        }
    }
    let set = |cells: &MmCells| space(cells).set_rlimit(Rlimit::Stack, 4, 4);
    check(without, new, set, |cells| {
        let limit = space(cells).limit(Rlimit::Stack);
        assert!(matches!(limit, 4 | 8), "no limit");
    });
}

#[test]
fn a_limit_is_the_process_s_or_its_own() {
    limited(Without::Nothing);
}

#[test]
#[should_panic(expected = "no limit")]
fn without_release_there_is_no_limit() {
    limited(Without::Release);
}

#[test]
#[should_panic(expected = "no limit")]
fn nor_without_acquire_is_there_one() {
    limited(Without::Acquire);
}
