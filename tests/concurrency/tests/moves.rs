// SPDX-License-Identifier: GPL-2.0

//! Blocks that move under loom: core's own text of how compaction takes one off its owner
//! and moves it (`buddy/migrate.rs`, with `page.rs` and `buddy/list.rs`) and the glue's of
//! what their owner does meanwhile (`kernel/movable.rs`), with loom's atomics and locks.
//!
//! ```text
//! compaction                            the owner, with his lock
//!   movable, and one reference?           isolated? waits until it is not
//!   isolated, with the owner's lock       takes the block out, wherever it is now
//!   one reference (acquire)? ISOLATED     frees it
//!   copies, `to` is the owner's         another who has a reference
//!   frees `from`, or gives it back        ... what is in the block ... count - 1 (release)
//! ```
//!
//! What is in a page is a cell that loom watches: to move or to free it while another is at
//! it, or not to see what he has done, is a failure.

use loom::sync::Arc;
use loom::thread;
use shadowmm_core::error;
use shadowmm_core::phys;
use surroundings::*;

#[path = "common/without.rs"]
mod without;

/// What the texts find around them.
mod surroundings {
    pub use super::list::PageList;
    pub use super::migrate::Migrate;
    pub use super::migrate::MigrateMode;
    pub use super::migrate::Moved;
    pub use super::migrate::Target;
    pub(crate) use super::movable::Handles;
    pub(crate) use super::movable::Room;
    pub(crate) use super::movable::Uses;
    pub use super::page::PageDescriptor;
    pub use super::page::PageLink;
    pub use super::page::PageState;
    pub use super::page::ZoneId;
    pub use super::page::ZoneType;
    pub use super::page::NR_ZONE_TYPES;
    use loom::cell::UnsafeCell;
    use loom::sync::Condvar;
    use loom::sync::Mutex;
    use loom::sync::MutexGuard;
    pub use shadowmm_core::buddy::VmEvent;
    pub use shadowmm_core::error::Error;
    pub use shadowmm_core::error::Result;
    pub use shadowmm_core::error::Result as CoreResult;
    pub use shadowmm_core::phys::NodeId;
    pub use shadowmm_core::phys::PageOrder;
    pub use shadowmm_core::phys::Pages;
    pub use shadowmm_core::phys::Pfn;
    pub use shadowmm_core::phys::PhysAddr;
    pub use shadowmm_core::phys::PhysRange;
    pub use shadowmm_core::phys::PAGE_SIZE;
    use std::collections::BTreeMap;
    use std::marker::PhantomData;
    use std::ops::Deref;
    use std::ops::DerefMut;

    crate::without::without! {
        /// Who looks for the only reference sees what the others have done.
        Acquire,
        /// Looking for the only reference.
        Count,
        /// The owner waits while compaction has the block.
        Wait,
        /// The owner lets compaction have a block once at a time.
        Once,
        /// The mark goes before the owner is told that the block stays.
        Order,
        /// Whose a block is, and whether it stays there, in one load.
        OneLoad,
    }

    pub fn is_without(what: Without) -> bool {
        WITHOUT.get() == what
    }

    pub fn is_sole(page: &PageDescriptor) -> bool {
        match WITHOUT.get() {
            Without::Count => true,
            Without::Acquire => page.count() == 1,
            _ => page.is_sole(),
        }
    }

    pub fn tells_first() -> bool {
        is_without(Without::Order)
    }

    pub fn waits(isolated: bool) -> bool {
        isolated && !is_without(Without::Wait)
    }

    pub fn refuses(isolated: bool) -> bool {
        isolated && !is_without(Without::Once)
    }

    /// The kernel's lock.
    pub struct SpinLock<T>(Mutex<T>);

    pub struct Guard<'a, T>(Option<MutexGuard<'a, T>>);

    impl<T> SpinLock<T> {
        pub fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub fn lock(&self) -> Guard<'_, T> {
            Guard(Some(self.0.lock().unwrap()))
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    /// Its condition variable.
    pub struct CondVar(Condvar);

    impl CondVar {
        pub fn new() -> Self {
            Self(Condvar::new())
        }

        pub fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            guard.0 = Some(self.0.wait(guard.0.take().unwrap()).unwrap());
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Its tree, of which the nodes are made before.
    pub struct RBTree<K, V>(BTreeMap<K, V>);
    pub struct RBTreeNode<K, V>(K, V);
    pub struct RBTreeNodeReservation<K, V>(PhantomData<(K, V)>);
    pub struct Cursor<'a, K, V>(&'a K, &'a V);
    pub const GFP_KERNEL: () = ();

    impl<K, V> RBTreeNodeReservation<K, V> {
        pub fn new((): ()) -> Result<Self> {
            Ok(Self(PhantomData))
        }

        pub fn into_node(self, key: K, value: V) -> RBTreeNode<K, V> {
            RBTreeNode(key, value)
        }
    }

    impl<K, V> RBTreeNode<K, V> {
        pub fn into_reservation(self) -> RBTreeNodeReservation<K, V> {
            RBTreeNodeReservation(PhantomData)
        }
    }

    impl<K: Ord, V> RBTree<K, V> {
        pub fn new() -> Self {
            Self(BTreeMap::new())
        }

        pub fn insert(&mut self, RBTreeNode(key, value): RBTreeNode<K, V>) {
            assert!(self.0.insert(key, value).is_none(), "entered twice");
        }

        pub fn get(&self, key: &K) -> Option<&V> {
            self.0.get(key)
        }

        pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
            self.0.get_mut(key)
        }

        pub fn remove(&mut self, key: &K) -> Option<V> {
            self.0.remove(key)
        }

        pub fn remove_node(&mut self, key: &K) -> Option<RBTreeNode<K, V>> {
            let (key, value) = self.0.remove_entry(key)?;
            Some(RBTreeNode(key, value))
        }

        pub fn cursor_lower_bound(&self, key: &K) -> Option<Cursor<'_, K, V>> {
            let (key, value) = self.0.range(key..).next()?;
            Some(Cursor(key, value))
        }
    }

    impl<'a, K, V> Cursor<'a, K, V> {
        pub fn current(&self) -> (&'a K, &'a V) {
            (self.0, self.1)
        }
    }

    /// As many as there are.
    pub const MAX_NODES: usize = 1;
    pub const ZONE: ZoneId = ZoneId::new(NodeId(0), ZoneType::Normal);
    pub type Deferred = ();

    /// The memory manager, as far as the owner asks it: which zone a page is of.
    pub struct Mm {
        pub sparse: Mm0,
    }
    pub struct Mm0;

    impl Mm0 {
        pub fn page(&self, _: Pfn) -> Option<Self> {
            Some(Self)
        }

        pub fn zone_id(&self) -> ZoneId {
            ZONE
        }
    }

    pub fn with_mm<R>(job: impl FnOnce((), &Mm) -> R) -> Option<R> {
        Some(job((), &Mm { sparse: Mm0 }))
    }

    pub trait Platform {
        fn owners(&self) -> Option<&dyn Migrate>;
        fn cond_resched(&self) {}
    }

    pub trait MemMap {
        fn page(&self, pfn: Pfn) -> Option<&PageDescriptor>;
    }

    pub trait ZoneTable<P> {}

    /// What is in a page.
    pub struct Content(UnsafeCell<u32>);

    impl Content {
        pub fn get(&self) -> u32 {
            // SAFETY: loom fails the model where somebody writes to it meanwhile.
            self.0.with(|content| unsafe { *content })
        }

        pub fn set(&self, value: u32) {
            // SAFETY: loom fails the model where somebody else is at it meanwhile.
            self.0.with_mut(|content| unsafe { *content = value });
        }
    }

    const PAGES: usize = 2;

    /// Some pages, those of them that are free, and who has blocks with handles.
    pub struct World {
        pub pages: [PageDescriptor; PAGES],
        pub contents: [Content; PAGES],
        /// The last one is taken first.
        pub free: Mutex<Vec<Pfn>>,
        pub(crate) handles: Handles,
        /// No page can be copied.
        pub fails: bool,
    }

    impl World {
        pub fn new(fails: bool) -> Self {
            let page = |_| {
                let page = PageDescriptor::hole();
                page.init(NodeId(0), ZoneType::Normal, PageState::Pageset);
                page.set_count(0);
                page
            };
            Self {
                pages: std::array::from_fn(page),
                contents: std::array::from_fn(|_| Content(UnsafeCell::new(0))),
                free: Mutex::new((0..PAGES as u64).rev().map(Pfn).collect()),
                handles: Handles::start(),
                fails,
            }
        }

        pub fn content(&self, pfn: Pfn) -> &Content {
            &self.contents[pfn.0 as usize]
        }

        pub fn copy(&self, from: PhysRange, to: PhysAddr) -> Result<()> {
            if self.fails {
                return Err(Error::Corrupt);
            }
            let of = |addr: PhysAddr| self.content(Pfn(addr.0 / PAGE_SIZE));
            of(to).set(of(from.start).get());
            Ok(())
        }
    }

    impl Platform for World {
        fn owners(&self) -> Option<&dyn Migrate> {
            Some(&self.handles)
        }
    }

    impl MemMap for World {
        fn page(&self, pfn: Pfn) -> Option<&PageDescriptor> {
            self.pages.get(pfn.0 as usize)
        }
    }

    impl ZoneTable<World> for World {}

    pub struct BuddySystem<'b, P, M, Z> {
        pub platform: &'b P,
        pub map: &'b M,
        pub zones: PhantomData<&'b Z>,
        pub memory: &'b World,
    }

    impl<P, M, Z> BuddySystem<'_, P, M, Z> {
        /// Nobody else is at what is in it.
        pub fn poison(&self, pfn: Pfn, _: PageOrder) {
            self.memory.content(pfn).set(0);
        }

        pub fn unpoison(&self, pfn: Pfn, order: PageOrder) {
            self.poison(pfn, order);
        }

        pub fn tell_free(&self, _: Pfn, _: PageOrder) {}

        pub fn count_event(&self, _: VmEvent, _: u64) {}

        pub fn free_taken(&self, pfn: Pfn, _: &PageDescriptor, _: PageOrder, _: Option<()>) {
            let mut free = self.memory.free.lock().unwrap();
            assert!(!free.contains(&pfn), "freed twice");
            free.push(pfn);
        }
    }
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod page {
    include!(concat!(env!("OUT_DIR"), "/page_whole.rs"));
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod list {
    include!(concat!(env!("OUT_DIR"), "/list.rs"));
}

#[allow(dead_code, reason = "core's text, of which a part is run")]
mod migrate {
    include!(concat!(env!("OUT_DIR"), "/migrate.rs"));
}

#[allow(dead_code, reason = "the glue's text, of which a part is run")]
mod movable {
    include!(concat!(env!("OUT_DIR"), "/movable.rs"));

    impl Handles {
        /// As `new`.
        pub(crate) fn start() -> Self {
            Self {
                table: SpinLock::new(Table {
                    blocks: RBTree::new(),
                    places: RBTree::new(),
                    caches: RBTree::new(),
                    last: 0,
                }),
                settled: CondVar::new(),
                caches: std::array::from_fn(|_| AtomicU64::new(0)),
                deferred: (),
            }
        }
    }
}

type Buddy<'w> = BuddySystem<'w, World, World, World>;

const FILE: u64 = 1;
const ORDER: PageOrder = PageOrder::ZERO;

fn buddy(world: &World) -> Buddy<'_> {
    BuddySystem {
        platform: world,
        map: world,
        zones: std::marker::PhantomData,
        memory: world,
    }
}

/// Where blocks move to: what is free.
struct Free<'w>(&'w World);

impl Target for Free<'_> {
    fn get(&mut self, order: PageOrder) -> Option<Pfn> {
        let pfn = self.0.free.lock().unwrap().pop()?;
        buddy(self.0).make_allocated(pfn, order);
        Some(pfn)
    }

    fn put_back(&mut self, pfn: Pfn, _: PageOrder) {
        put(self.0, pfn);
    }
}

/// Gives up a reference; the last one frees the page (`try_put`).
fn put(world: &World, pfn: Pfn) {
    let page = &world.pages[pfn.0 as usize];
    assert!(page.is_allocated(ORDER), "a page that nobody has");
    if page.put_testzero() {
        assert!(page.take_from_owner(ORDER), "a free was refused");
        page.set_count(0);
        buddy(world).poison(pfn, ORDER);
        buddy(world).free_taken(pfn, page, ORDER, None);
    }
}

/// A new block of the file's: its handle (`Shadow::alloc_known`).
fn take(world: &World, value: u32) -> Option<u64> {
    let pfn = Free(world).get(ORDER)?;
    world.content(pfn).set(value);
    let page = &world.pages[pfn.0 as usize];
    page.set_held();
    page.set_movable(true);
    let (movable, cache) = (true, true);
    let uses = Uses { movable, cache };
    let room = Room::new().unwrap();
    let handle = world.handles.enter(room, FILE, pfn, ORDER, ZONE, uses);
    Some(handle)
}

/// The owner frees his block, in which is what he has put there.
fn free(world: &World, handle: u64, value: u32) {
    let (pfn, _) = world.handles.take(FILE, handle, ORDER).unwrap();
    assert_eq!(world.content(pfn).get(), value, "another's block");
    put(world, pfn);
}

/// The owner of the block that the world begins with frees it.
fn free_first(world: &World) {
    free(world, 1, 7);
}

/// He frees it and takes another, which may be the same page.
fn free_and_take(world: &World) {
    free_first(world);
    if let Some(handle) = take(world, 8) {
        free(world, handle, 8);
    }
}

/// Compaction moves the block at the first page, if it can.
fn compact(world: &World) {
    let (buddy, pfn, page) = (buddy(world), Pfn(0), &world.pages[0]);
    let (state, order) = page.state_and_order();
    let mut list = PageList::NEW;
    let mode = MigrateMode::Async;
    if state == PageState::Allocated && buddy.isolate_movable(pfn, page, order, mode, &mut list) {
        buddy.migrate_pages(&mut list, &mut Free(world));
        buddy.putback_movable(&mut list);
    }
}

/// He takes a block off its owner, and gives it back.
fn isolate(world: &World) {
    let (buddy, page) = (buddy(world), &world.pages[0]);
    let mut list = PageList::NEW;
    if buddy.isolate_movable(Pfn(0), page, ORDER, MigrateMode::Async, &mut list) {
        buddy.putback_movable(&mut list);
    }
}

/// Another who has a reference to the first page writes to it, and gives it up.
fn use_and_put(world: &World) {
    let content = world.content(Pfn(0));
    content.set(content.get() + 1);
    put(world, Pfn(0));
}

/// Who validates the pages.
fn validate(world: &World) {
    for page in &world.pages {
        assert!(page.is_counted(), "several references, and not shared");
    }
}

/// Another file wants a reference to a block that one holds; no block that moves is had
/// (`Shadow::get_of_others`, whose lock has no file free one meanwhile).
fn get_of_others(world: &World) {
    for page in &world.pages {
        let stays = match is_without(Without::OneLoad) {
            true => page.is_held() && !page.is_movable(),
            false => page.is_held_and_movable() == (true, false),
        };
        assert!(!stays, "a reference to a block that moves");
    }
}

type Part = fn(&World);

struct Setting {
    without: Without,
    /// References to the first block beside its owner's.
    others: u32,
    /// No page can be copied.
    fails: bool,
    preemptions: usize,
}

const ALL: Setting = Setting {
    without: Without::Nothing,
    others: 0,
    fails: false,
    preemptions: 3,
};

/// The file has a block at the first page, and each part is a thread. In the end each page
/// is free again.
///
/// Who gives up a reference is the first where that matters: loom tries the others behind
/// it then, but does not before, for he has read the same word right before.
fn run(setting: Setting, parts: &'static [Part]) {
    let Setting { others, fails, .. } = setting;
    WITHOUT.set(setting.without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(setting.preemptions);
    builder.check(move || {
        let world = Arc::new(World::new(fails));
        assert_eq!(take(&world, 7), Some(1));
        for _ in 0..others {
            world.pages[0].try_get().unwrap();
        }
        let threads: Vec<_> = parts[1..]
            .iter()
            .map(|part| {
                let world = world.clone();
                thread::spawn(move || part(&world))
            })
            .collect();
        parts[0](&world);
        for thread in threads {
            thread.join().unwrap();
        }
        while let Some((pfn, _)) = world.handles.take_any(FILE) {
            assert_eq!(world.content(pfn).get(), 7 + others, "something is lost");
            put(&world, pfn);
        }
        assert_eq!(world.free.lock().unwrap().len(), world.pages.len());
        for page in &world.pages {
            assert_eq!((page.count(), page.is_isolated()), (0, false));
        }
    });
}

/// The same with something left out.
fn run_without(without: Without, setting: Setting, parts: &'static [Part]) {
    run(Setting { without, ..setting }, parts);
}

const SHARED: Setting = Setting { others: 1, ..ALL };
const FAILS: Setting = Setting { fails: true, ..ALL };
const THREE: Setting = Setting {
    preemptions: 2,
    ..ALL
};

#[test]
fn who_frees_a_block_that_moves_frees_it_where_it_is() {
    run(ALL, &[free_first, compact]);
    run(ALL, &[compact, free_first]);
    run(FAILS, &[compact, free_first]);
}

#[test]
fn a_page_that_is_anothers_meanwhile_moves_or_stays_as_his() {
    run(ALL, &[free_and_take, compact]);
    run(ALL, &[compact, free_and_take]);
}

#[test]
fn two_move_a_block_that_is_freed() {
    run(THREE, &[free_first, compact, compact]);
    run(THREE, &[free_first, isolate, compact]);
}

#[test]
fn a_block_that_another_has_moves_with_what_he_has_done() {
    run(SHARED, &[use_and_put, compact]);
    run(SHARED, &[compact, use_and_put]);
}

#[test]
fn nothing_is_wrong_with_a_block_that_moves() {
    run(ALL, &[compact, validate]);
    let setting = Setting {
        preemptions: 2,
        ..SHARED
    };
    run(setting, &[use_and_put, compact, validate]);
}

#[test]
fn no_file_joins_the_holders_of_a_block_that_moves() {
    run(ALL, &[compact, get_of_others]);
    run(FAILS, &[compact, get_of_others]);
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_acquire_what_another_has_done_is_left_behind() {
    run_without(Without::Acquire, SHARED, &[use_and_put, compact]);
}

#[test]
#[should_panic(expected = "ausality violation")]
fn without_looking_for_others_a_block_moves_under_their_hands() {
    run_without(Without::Count, SHARED, &[compact, use_and_put]);
}

#[test]
#[should_panic]
fn an_owner_who_does_not_wait_frees_what_moves() {
    run_without(Without::Wait, ALL, &[compact, free_first]);
}

#[test]
#[should_panic]
fn a_block_that_two_have_is_freed_while_one_moves_it() {
    run_without(Without::Once, THREE, &[free_first, compact, compact]);
}

#[test]
#[should_panic(expected = "a free was refused")]
fn an_owner_who_is_told_first_frees_it_in_vain() {
    run_without(Without::Order, ALL, &[isolate, free_first]);
}

#[test]
#[should_panic(expected = "a reference to a block that moves")]
fn in_two_loads_a_block_that_moves_seems_to_stay() {
    run_without(Without::OneLoad, FAILS, &[compact, get_of_others]);
}
