// SPDX-License-Identifier: GPL-2.0

//! The depot of stacks and its root under loom: core's own text (`slab/debug/depot.rs`,
//! `slab/debug/witness.rs`) with loom's atomics, in every interleaving of its accesses and
//! with every value that a relaxed load may see.
//!
//! ```text
//! who saves a stack                     who looks for one, without a lock
//!   the root, made if there is none       the root (acquire)
//!   a pool's page, if it has none         the bucket (acquire)
//!   used: room for the record             record after record
//!   the record, relaxed
//!   the bucket: the record (release)
//! ```
//!
//! There is one bucket, and a page has eight words: two records of two addresses. The pages
//! are full of garbage when they are given out, but for a root's, which whoever takes it has
//! cleared. None is given out twice, and the list of them is nothing that loom knows of:
//! that a page is seen as it is, is the depot's part.

use loom::sync::atomic::AtomicU64;
use loom::thread;
use phys::Pfn;
use std::sync::Arc;
use std::sync::Mutex;

mod track {
    pub const TRACK_ADDRS_COUNT: usize = 2;

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StackHandle(pub u32);

    pub trait Stacks {
        fn fetch(&self, stack: StackHandle, entries: &mut [u64; TRACK_ADDRS_COUNT]) -> usize;
    }

    /// The stack alone.
    #[derive(Default)]
    pub struct Track(pub StackHandle);

    impl Track {
        pub fn now<P>(_: &P, _: u64, stack: StackHandle) -> Self {
            Self(stack)
        }
    }
}

mod inspect {
    #[derive(Default)]
    pub struct Taint;

    impl Taint {
        pub fn new() -> Self {
            Self
        }
    }
}

mod phys {
    pub use shadowmm_core::phys::PageOrder;
    pub use shadowmm_core::phys::Pfn;
    pub use shadowmm_core::phys::PhysAddr;
    pub use shadowmm_core::phys::PhysRange;

    macro_rules! cells {
        ($($text:tt)*) => { $($text)* };
    }
    pub(crate) use cells;
}

mod platform {
    pub trait Platform {
        fn save_stack(&self, entries: &mut [u64]) -> usize;
    }
}

mod buddy {
    use crate::phys::PageOrder;
    use crate::phys::Pfn;
    pub use shadowmm_core::buddy::gfp;
    pub use shadowmm_core::buddy::AllocRequest;

    pub trait PageAllocator {
        fn alloc(&self, request: &AllocRequest) -> Result<Pfn, ()>;
        fn free(&self, pfn: Pfn, order: PageOrder) -> Result<(), ()>;
    }
}

mod slab {
    pub use shadowmm_core::slab::SlabFlags;

    pub mod state {
        pub struct Shape {
            pub geometry: Geometry,
        }

        pub struct Geometry {
            pub flags: super::SlabFlags,
        }
    }
}

/// Who calls, from where.
struct Caller([u64; 2]);

impl platform::Platform for Caller {
    fn save_stack(&self, entries: &mut [u64]) -> usize {
        entries.copy_from_slice(&self.0);
        self.0.len()
    }
}

/// Pages of the pools are those from 1 on, of roots those from `ROOTS` on.
const POOL_PAGES: usize = 4;
const ROOTS: u64 = 8;

/// Which pages are given out, and how many were.
#[derive(Default)]
struct Given {
    out: Vec<Pfn>,
    pools: u64,
    roots: u64,
}

/// What is run of a text: each is a thread's part.
trait Depots: Send + Sync + 'static {
    fn new() -> Self;
    /// Keeps the stack of that caller.
    fn save(&self, stack: [u64; 2]) -> u32;
    /// The stack that was kept.
    fn fetch(&self, handle: u32) -> Vec<u64>;
    /// How many stacks there are, in how many pages, and how many are missing.
    fn counts(&self) -> (u32, u32, u32);
    fn end(&self);
    /// How many pages are given out.
    fn given(&self) -> usize;
}

/// Core's text, as it is or with one step changed.
macro_rules! texts {
    ($($name:ident)*) => {$(
        #[allow(dead_code, unused_imports, reason = "core's text, of which a part is run")]
        mod $name {
            mod depot {
                include!(concat!(env!("OUT_DIR"), "/depot_", stringify!($name), ".rs"));

                impl DepotRoot {
                    /// Each word is made this.
                    pub fn fill(&self, value: u32) {
                        let words = [&self.used, &self.stacks, &self.missed];
                        let words = words.into_iter().chain(&self.buckets);
                        words.chain(&self.pools).for_each(|word| word.store(value, Relaxed));
                    }
                }
            }

            mod witness {
                include!(concat!(env!("OUT_DIR"), "/witness_", stringify!($name), ".rs"));
            }

            mod system {
                use super::depot::DepotRoot;
                use super::witness::DebugState;
                use crate::buddy::gfp;
                use crate::buddy::AllocRequest;
                use crate::buddy::PageAllocator;
                use crate::phys::PageOrder;
                use crate::phys::Pfn;
                use crate::phys::PhysAddr;
                use crate::phys::PhysRange;
                use loom::sync::atomic::AtomicU64;
                use std::any::Any;

                pub struct Layer {
                    pub debug: DebugState,
                    pub roots: [DepotRoot; 2],
                    pub pools: crate::Pools,
                }

                pub struct SlabAllocator<'a, 'm, P> {
                    pub mm: Mm<'m>,
                    pub platform: &'a P,
                }

                impl<P> Clone for SlabAllocator<'_, '_, P> {
                    fn clone(&self) -> Self {
                        *self
                    }
                }

                impl<P> Copy for SlabAllocator<'_, '_, P> {}

                #[derive(Clone, Copy)]
                pub struct Mm<'m>(pub &'m Layer);

                impl<'m> Mm<'m> {
                    pub fn allocator(&self) -> &'m impl PageAllocator {
                        self.0
                    }
                }

                impl PageAllocator for Layer {
                    fn alloc(&self, request: &AllocRequest) -> Result<Pfn, ()> {
                        let pfn = self.pools.take(request.order() != PageOrder::ZERO);
                        if request.gfp().has(gfp::__GFP_ZERO) {
                            self.roots[(pfn.0 - crate::ROOTS) as usize].fill(0);
                        }
                        Ok(pfn)
                    }

                    fn free(&self, pfn: Pfn, _: PageOrder) -> Result<(), ()> {
                        self.pools.give_back(pfn);
                        Ok(())
                    }
                }

                impl<'a, 'm, P> SlabAllocator<'a, 'm, P> {
                    pub fn table(&self) -> &'m Layer {
                        self.mm.0
                    }

                    pub fn platform(&self) -> &'a P {
                        self.platform
                    }

                    pub fn cells<T: Any>(&self, addr: u64) -> Option<&'m T> {
                        let root = PhysAddr(addr).pfn_down().0.checked_sub(crate::ROOTS)?;
                        let root: &dyn Any = self.mm.0.roots.get(root as usize)?;
                        root.downcast_ref()
                    }

                    pub fn cell_slice(&self, range: PhysRange) -> Option<&'m [AtomicU64]> {
                        let pool = range.start.pfn_down().0.checked_sub(1)?;
                        Some(self.mm.0.pools.words.get(pool as usize)?)
                    }
                }
            }

            use crate::slab::state::Geometry;
            use crate::slab::state::Shape;
            use crate::slab::SlabFlags;
            use crate::track::StackHandle;
            use crate::track::Stacks;

            pub struct Text(system::Layer);

            impl Text {
                fn with<'a>(
                    &'a self,
                    caller: &'a crate::Caller,
                ) -> system::SlabAllocator<'a, 'a, crate::Caller> {
                    system::SlabAllocator {
                        mm: system::Mm(&self.0),
                        platform: caller,
                    }
                }
            }

            impl crate::Depots for Text {
                fn new() -> Self {
                    let roots = [(); 2].map(|()| depot::DepotRoot::default());
                    // A handle that leads nowhere, and more than there is room for.
                    roots.each_ref().map(|root| root.fill(77));
                    Self(system::Layer {
                        debug: witness::DebugState::new(),
                        roots,
                        pools: crate::Pools::new(),
                    })
                }

                fn save(&self, stack: [u64; 2]) -> u32 {
                    let geometry = Geometry {
                        flags: SlabFlags::STORE_USER,
                    };
                    let caller = crate::Caller(stack);
                    let track = self.with(&caller).witness(&Shape { geometry }, 0);
                    track.0 .0
                }

                fn fetch(&self, handle: u32) -> Vec<u64> {
                    let mut entries = [0; 2];
                    let depot = self.with(&crate::Caller([0; 2])).depot();
                    let len = depot.fetch(StackHandle(handle), &mut entries);
                    entries[..len].to_vec()
                }

                fn counts(&self) -> (u32, u32, u32) {
                    self.with(&crate::Caller([0; 2])).depot_counts()
                }

                fn end(&self) {
                    self.with(&crate::Caller([0; 2])).drop_depot();
                }

                fn given(&self) -> usize {
                    self.0.pools.given.lock().unwrap().out.len()
                }
            }
        }
    )*};
}

/// The pages of the pools, and the list of all.
struct Pools {
    words: [[AtomicU64; 8]; POOL_PAGES],
    given: Mutex<Given>,
}

impl Pools {
    fn new() -> Self {
        Self {
            words: [(); POOL_PAGES].map(|()| [(); 8].map(|()| AtomicU64::new(77))),
            given: Mutex::default(),
        }
    }

    fn take(&self, root: bool) -> Pfn {
        let mut given = self.given.lock().unwrap();
        let pfn = match root {
            true => ROOTS + given.roots,
            false => 1 + given.pools,
        };
        given.roots += u64::from(root);
        given.pools += u64::from(!root);
        given.out.push(Pfn(pfn));
        Pfn(pfn)
    }

    fn give_back(&self, pfn: Pfn) {
        let mut given = self.given.lock().unwrap();
        let at = given.out.iter().position(|&other| other == pfn);
        given.out.remove(at.expect("a page goes back twice"));
    }
}

texts! {
    whole
    linked_without_release
    found_without_acquire
    linked_without_exchange
    reserved_without_exchange
    added_without_exchange
    kept_page
    older_head
    root_without_release
    root_without_acquire
    root_without_exchange
    dropped_without_swap
}

type Whole = whole::Text;

fn builder(preemptions: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

/// A thread each saves a stack of these, where some were saved `before`. At the end each
/// stack is what it was, and found again, and each page is the depot's.
fn save<D: Depots>(before: &'static [u64], stacks: &'static [u64], preemptions: usize) {
    builder(preemptions).check(move || {
        let depots = Arc::new(D::new());
        let save = |depots: &D, stack| depots.save([stack, stack + 1]);
        let mut kept: Vec<_> = before
            .iter()
            .map(|&stack| (stack, save(&depots, stack)))
            .collect();
        let others: Vec<_> = stacks[1..]
            .iter()
            .map(|&stack| {
                let depots = depots.clone();
                thread::spawn(move || (stack, save(&depots, stack)))
            })
            .collect();
        kept.push((stacks[0], save(&depots, stacks[0])));
        kept.extend(others.into_iter().map(|other| other.join().unwrap()));
        for &(stack, handle) in &kept {
            assert_ne!(handle, 0, "a stack is missing");
            let found = depots.fetch(handle);
            assert_eq!(found, [stack, stack + 1], "a stack is another");
            // That of the same stack that was put before the others.
            let found = save(&depots, stack);
            assert!(kept.contains(&(stack, found)), "a stack is lost");
        }
        let (_, pages, missed) = depots.counts();
        assert_eq!(missed, 0);
        // And the root.
        assert_eq!(depots.given(), pages as usize + 1, "a page is lost");
        depots.end();
        assert_eq!(depots.given(), 0, "a page is left");
    });
}

/// A stack that is kept is found, while another is put before it. It is the other thread
/// that looks: loom tries him before an access of the first if that has not read the same
/// word right before, as who saves a stack does.
fn find<D: Depots>() {
    builder(4).check(|| {
        let depots = Arc::new(D::new());
        let first = depots.save([1, 2]);
        let other = {
            let depots = depots.clone();
            thread::spawn(move || {
                let found = depots.save([1, 2]);
                assert_eq!(found, first, "a stack that is kept is not found");
            })
        };
        depots.save([3, 4]);
        other.join().unwrap();
        assert_eq!(depots.counts().0, 2);
    });
}

/// Two end the layer.
fn end<D: Depots>() {
    builder(4).check(|| {
        let depots = Arc::new(D::new());
        depots.save([1, 2]);
        let other = {
            let depots = depots.clone();
            thread::spawn(move || depots.end())
        };
        depots.end();
        other.join().unwrap();
        assert_eq!(depots.given(), 0, "a page is left");
    });
}

#[test]
fn two_who_save_stacks_lose_none() {
    save::<Whole>(&[1], &[3, 5], 4);
}

#[test]
fn two_who_save_the_same_stack_both_have_it() {
    save::<Whole>(&[1], &[3, 3], 4);
}

#[test]
fn two_who_are_the_first_make_one_root() {
    save::<Whole>(&[], &[3, 5], 4);
}

#[test]
fn three_who_save_stacks_lose_none() {
    save::<Whole>(&[1], &[3, 5, 7], 2);
}

#[test]
fn a_stack_that_is_kept_is_found() {
    find::<Whole>();
}

#[test]
fn of_two_who_end_it_one_gives_the_pages_back() {
    end::<Whole>();
}

#[test]
#[should_panic(expected = "not found")]
fn without_release_a_record_is_found_before_it_is_written() {
    find::<linked_without_release::Text>();
}

#[test]
#[should_panic(expected = "not found")]
fn without_acquire_a_record_is_read_before_it_is_written() {
    find::<found_without_acquire::Text>();
}

#[test]
#[should_panic(expected = "a stack is lost")]
fn without_the_buckets_exchange_a_stack_is_lost() {
    save::<linked_without_exchange::Text>(&[1], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "a stack is lost")]
fn who_leads_to_an_older_head_loses_what_came_between() {
    save::<older_head::Text>(&[1], &[3, 5], 3);
}

/// A stack is another then, or a record leads to itself.
#[test]
#[should_panic]
fn without_the_exchange_of_used_two_have_the_same_room() {
    save::<reserved_without_exchange::Text>(&[1], &[3, 5], 3);
}

/// The page that had been given to the pool is nowhere.
#[test]
#[should_panic(expected = "a page is lost")]
fn without_the_pools_exchange_a_page_is_lost() {
    save::<added_without_exchange::Text>(&[], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "a page is lost")]
fn who_does_not_give_his_page_back_loses_it() {
    save::<kept_page::Text>(&[], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "a stack is missing")]
fn without_release_a_root_is_found_before_it_is_clear() {
    save::<root_without_release::Text>(&[], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "a stack is missing")]
fn without_acquire_a_root_is_read_before_it_is_clear() {
    save::<root_without_acquire::Text>(&[], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "a stack is another")]
fn without_the_roots_exchange_one_is_lost() {
    save::<root_without_exchange::Text>(&[], &[3, 5], 3);
}

#[test]
#[should_panic(expected = "goes back twice")]
fn without_the_swap_both_give_the_pages_back() {
    end::<dropped_without_swap::Text>();
}
