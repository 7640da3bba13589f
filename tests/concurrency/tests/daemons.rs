// SPDX-License-Identifier: GPL-2.0

//! What wakes the nodes' threads, under loom: core's own text of what is asked of them
//! (`buddy/reclaim/daemons.rs`) and of their steps (`kswapd.rs`, `kcompactd.rs`), with loom's
//! atomics, in every interleaving of its accesses and with every value that a relaxed load may
//! see.
//!
//! ```text
//! whoever is short of memory            the thread
//!   the zone, the order                   it waits
//!   fence                                 fence
//!   does it wait? wakes it                is there something to do? sleeps
//! ```
//!
//! Reclaim and compaction themselves are the model's: memory is short or is not, and which
//! orders and zones they were done for is kept. Asleep, a thread is woken by `wake` alone; a
//! nap may end at any time.

use daemons::Daemons;
use kcompactd::Kcompactd;
use kswapd::Kswapd;
use kswapd::Rest;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Arc;
use loom::sync::Condvar;
use loom::sync::Mutex;
use loom::thread;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use surroundings::BuddySystem;
use surroundings::Node;
use surroundings::Without;
use surroundings::Zone;
use surroundings::WITHOUT;

#[path = "common/without.rs"]
mod without;

/// What core's text finds around it.
#[allow(unused_imports, reason = "for one of the texts or the other")]
mod surroundings {
    pub use super::daemons::order_of;
    pub use super::daemons::zone_of;
    pub use super::daemons::Daemons;
    pub use super::daemons::NO_ZONE;
    pub use super::kswapd::Rest;
    use loom::sync::atomic::fence;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::atomic::AtomicU8;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::sync::atomic::Ordering::SeqCst;
    pub use shadowmm_core::buddy::gfp;
    pub use shadowmm_core::buddy::Gfp;
    pub use shadowmm_core::buddy::VmEvent;
    pub use shadowmm_core::page::ZoneId;
    pub use shadowmm_core::page::ZoneType;
    pub use shadowmm_core::page::NR_ZONE_TYPES;
    pub use shadowmm_core::phys::NodeId;
    pub use shadowmm_core::phys::PageOrder;
    pub use shadowmm_core::phys::Pages;
    pub use shadowmm_core::report::NodeStat;
    pub use shadowmm_core::trace::TraceEvent;
    pub use shadowmm_core::trace::TracePoint;
    pub use shadowmm_core::trace::Wakeup;
    pub use shadowmm_core::tunables::Tunable;
    use std::marker::PhantomData;
    use std::sync::Mutex;

    pub const MAX_RECLAIM_RETRIES: u32 = 16;
    pub const MAX_DEFER_SHIFT: u32 = 6;

    crate::without::without! {
        /// The fence of who asks.
        AskersFence,
        /// The fence of who is about to sleep.
        SleepersFence,
        /// A request is taken, or done with, in two steps.
        OneStep,
    }

    pub fn askers_fence() {
        if WITHOUT.get() != Without::AskersFence {
            fence(SeqCst);
        }
    }

    pub fn sleepers_fence() {
        if WITHOUT.get() != Without::SleepersFence {
            fence(SeqCst);
        }
    }

    /// kswapd takes the zone that was asked for.
    pub fn take(word: &AtomicU8, nothing: u8) -> u8 {
        if WITHOUT.get() != Without::OneStep {
            return word.swap(nothing, Relaxed);
        }
        let taken = word.load(Relaxed);
        word.store(nothing, Relaxed);
        taken
    }

    /// kcompactd is done with an order.
    pub fn done(word: &AtomicU8, order: u8) -> Result<u8, u8> {
        if WITHOUT.get() != Without::OneStep {
            return word.compare_exchange(order, 0, Relaxed, Relaxed);
        }
        let now = word.load(Relaxed);
        if now <= order {
            word.store(0, Relaxed);
        }
        Ok(now)
    }

    pub fn tell<P>(_: &P, _: TracePoint, _: impl FnOnce() -> TraceEvent) {}

    pub trait Platform {
        fn wake_kswapd(&self, nid: NodeId);
        fn wake_kcompactd(&self, nid: NodeId);

        fn has_kswapd(&self, _: NodeId) -> bool {
            true
        }

        fn owners(&self) -> Option<()> {
            Some(())
        }
    }

    pub trait MemMap {}
    impl MemMap for () {}

    pub trait ZoneTable<P> {
        fn daemons(&self, nid: NodeId) -> Option<&Daemons>;
        fn tunable(&self, which: Tunable) -> u32;
    }

    pub struct Zone<P> {
        pub nid: NodeId,
        pub platform: PhantomData<P>,
    }

    impl<P> Zone<P> {
        pub fn managed(&self) -> Pages {
            Pages(1)
        }

        pub fn boost(&self) -> Pages {
            Pages::ZERO
        }
    }

    /// The node, and what its threads have done.
    pub struct Node {
        pub daemons: Daemons,
        /// Whether it has memory enough: 0 or 1.
        pub balanced: AtomicU32,
        /// `compaction_proactiveness`.
        pub knob: AtomicU32,
        pub knob_seen: Mutex<u32>,
        pub reclaimed_for: Mutex<Vec<(PageOrder, ZoneType)>>,
        pub compacted_for: Mutex<Vec<PageOrder>>,
    }

    impl<P> ZoneTable<P> for Node {
        fn daemons(&self, _: NodeId) -> Option<&Daemons> {
            Some(&self.daemons)
        }

        fn tunable(&self, _: Tunable) -> u32 {
            let value = self.knob.load(Relaxed);
            *self.knob_seen.lock().unwrap() = value;
            // Nothing is looked at unasked.
            0
        }
    }

    pub struct BuddySystem<'a, P, M, Z> {
        pub platform: &'a P,
        pub zones: &'a Z,
        pub node: &'a Node,
        pub map: PhantomData<M>,
    }

    impl<P, M, Z> BuddySystem<'_, P, M, Z> {
        pub fn managed_zones(
            &self,
            _: NodeId,
            _: ZoneType,
        ) -> impl Iterator<Item = (ZoneId, &Zone<P>)> {
            std::iter::empty()
        }

        pub fn pgdat_balanced(&self, _: NodeId, _: PageOrder, _: ZoneType) -> bool {
            self.node.balanced.load(Relaxed) != 0
        }

        pub fn balance_pgdat(&self, _: NodeId, order: PageOrder, highest: ZoneType) -> PageOrder {
            let mut done = self.node.reclaimed_for.lock().unwrap();
            done.push((order, highest));
            drop(done);
            self.node.balanced.store(1, Relaxed);
            order
        }

        pub fn compact(&self, order: PageOrder) {
            self.node.compacted_for.lock().unwrap().push(order);
        }

        pub fn kcompactd_node_suitable(&self, _: NodeId, _: &Daemons) -> bool {
            true
        }

        pub fn should_proactive_compact(&self, _: NodeId, _: &Daemons) -> bool {
            false
        }

        pub fn fragmentation_score_node(&self, _: NodeId) -> u32 {
            0
        }

        pub fn compact_node_mode(&self, _: NodeId, _: bool) {}
        pub fn count_event(&self, _: VmEvent, _: u64) {}
        pub fn end_boost(&self, _: &Zone<P>) {}
        pub fn reset_isolation_suitable(&self, _: NodeId) {}
    }
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod daemons {
    include!(concat!(env!("OUT_DIR"), "/daemons.rs"));
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod kswapd {
    include!(concat!(env!("OUT_DIR"), "/kswapd.rs"));

    impl Kswapd {
        /// Up to which zone it works where nothing else is asked for.
        pub fn own_highest(&self) -> ZoneType {
            self.highest
        }
    }
}

#[allow(
    dead_code,
    unused_imports,
    reason = "core's text, of which a part is run"
)]
mod kcompactd {
    include!(concat!(env!("OUT_DIR"), "/kcompactd.rs"));
}

const NID: NodeId = NodeId(0);

/// Where the thread rests: whether it was woken, and how many there are that may still do it.
struct Bed(Mutex<(bool, usize)>, Condvar);

impl Bed {
    fn wake(&self) {
        self.0.lock().unwrap().0 = true;
        self.1.notify_one();
    }

    /// One of those that ask has ended.
    fn ended(&self) {
        self.0.lock().unwrap().1 -= 1;
        self.1.notify_one();
    }

    /// Whether the thread was woken; `None` when nobody is left who would do it.
    fn rest(&self, rest: Rest) -> Option<bool> {
        let mut state = self.0.lock().unwrap();
        while rest == Rest::UntilWoken && !state.0 && state.1 != 0 {
            state = self.1.wait(state).unwrap();
        }
        let woken = std::mem::replace(&mut state.0, false);
        let ends = rest == Rest::UntilWoken && !woken;
        (!ends).then_some(woken)
    }
}

impl surroundings::Platform for Bed {
    fn wake_kswapd(&self, _: NodeId) {
        self.wake();
    }

    fn wake_kcompactd(&self, _: NodeId) {
        self.wake();
    }
}

struct Model {
    node: Node,
    bed: Bed,
}

type Buddy<'a> = BuddySystem<'a, Bed, (), Node>;

impl Model {
    fn buddy(&self) -> Buddy<'_> {
        BuddySystem {
            platform: &self.bed,
            zones: &self.node,
            node: &self.node,
            map: std::marker::PhantomData,
        }
    }
}

#[derive(Clone, Copy)]
struct Request(u32, ZoneType);

impl Request {
    fn order(self) -> PageOrder {
        PageOrder::new(self.0).unwrap()
    }
}

/// `ask` for each request, for each list of them in a thread of its own, while `turns` makes
/// those of the node's thread; then `check`.
fn run<R: Copy + Send + Sync + 'static, D: 'static>(
    without: Without,
    requests: &'static [&'static [R]],
    ask: fn(&Model, R),
    turns: fn(&Model) -> D,
    check: fn(&Model, D, &[&[R]]),
) {
    WITHOUT.set(without);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4 - requests.len());
    builder.check(move || {
        let model = Arc::new(Model {
            node: Node {
                daemons: Daemons::new(),
                balanced: AtomicU32::new(1),
                knob: AtomicU32::new(0),
                knob_seen: std::sync::Mutex::new(0),
                reclaimed_for: std::sync::Mutex::default(),
                compacted_for: std::sync::Mutex::default(),
            },
            bed: Bed(Mutex::new((false, requests.len())), Condvar::new()),
        });
        let askers: Vec<_> = requests
            .iter()
            .map(|&list| {
                let model = model.clone();
                thread::spawn(move || {
                    for &request in list {
                        ask(&model, request);
                    }
                    model.bed.ended();
                })
            })
            .collect();
        let daemon = turns(&model);
        for asker in askers {
            asker.join().unwrap();
        }
        check(&model, daemon, requests);
    });
}

/// Memory is short, by what the request has taken.
fn ask_kswapd(model: &Model, request: Request) {
    model.node.balanced.store(0, Relaxed);
    let zone = Zone {
        nid: NID,
        platform: std::marker::PhantomData,
    };
    let buddy = model.buddy();
    buddy.wakeup_kswapd(&zone, Gfp::NONE, request.order(), request.1);
}

/// What was asked of a thread that is asleep already: `wakeup_kswapd` finds memory short.
fn turns_of_kswapd(model: &Model) -> Kswapd {
    let mut kswapd = Kswapd::new(NID);
    let mut woken = false;
    loop {
        let rest = kswapd.step(&model.buddy(), woken);
        woken = match rest {
            Rest::No => false,
            rest => match model.bed.rest(rest) {
                Some(woken) => woken,
                None => return kswapd,
            },
        };
    }
}

/// It is asleep, and nobody wakes it any more: it has done what it was asked for, or it was told, and does it with the next request.
///
/// Two that ask at once may have it do the order of one and the zone of the other together,
/// as in Linux: of theirs, each half is looked at by itself.
fn check_kswapd(model: &Model, kswapd: Kswapd, requests: &[&[Request]]) {
    let node = &model.node;
    assert_eq!(
        node.balanced.load(Relaxed),
        1,
        "kswapd sleeps while memory is short"
    );
    let done = node.reclaimed_for.lock().unwrap();
    let order = daemons::order_of(node.daemons.kswapd_order.load(Relaxed));
    let highest = daemons::zone_of(node.daemons.kswapd_highest.load(Relaxed));
    let highest = highest.unwrap_or(kswapd.own_highest());
    let kept = [(order, highest)];
    let all = || done.iter().chain(&kept);
    for request in requests.iter().copied().flatten() {
        let order = |served: &&(PageOrder, ZoneType)| served.0 >= request.order();
        let zone = |served: &&(PageOrder, ZoneType)| served.1 >= request.1;
        let served = match requests.len() {
            1 => all().filter(order).any(|served| zone(&served)),
            _ => all().any(|served| order(&served)) && all().any(|served| zone(&served)),
        };
        assert!(served, "a request to kswapd is lost");
    }
}

fn run_kswapd(without: Without, requests: &'static [&'static [Request]]) {
    run(without, requests, ask_kswapd, turns_of_kswapd, check_kswapd);
}

fn ask_kcompactd(model: &Model, request: Request) {
    let buddy = model.buddy();
    buddy.wakeup_kcompactd(NID, request.order(), request.1);
}

fn turns_of_kcompactd(model: &Model) {
    let mut kcompactd = Kcompactd::new(NID);
    loop {
        let rest = kcompactd.step(&model.buddy());
        if rest != Rest::No && model.bed.rest(rest).is_none() {
            return;
        }
    }
}

fn check_kcompactd(model: &Model, _: (), requests: &[&[Request]]) {
    let node = &model.node;
    assert_eq!(
        node.daemons.kcompactd_max_order.load(Relaxed),
        0,
        "kcompactd sleeps while an order is asked for"
    );
    let done = node.compacted_for.lock().unwrap();
    for request in requests.iter().copied().flatten() {
        assert!(
            done.iter().any(|&order| order >= request.order()),
            "an order that kcompactd was asked for is lost"
        );
    }
}

fn run_kcompactd(without: Without, requests: &'static [&'static [Request]]) {
    let (ask, turns) = (ask_kcompactd, turns_of_kcompactd);
    run(without, requests, ask, turns, check_kcompactd);
}

const LOW: Request = Request(3, ZoneType::Normal);
const HIGH: Request = Request(9, ZoneType::Movable);
const ONE: &[&[Request]] = &[&[LOW]];
/// The second may come while the thread is at work for the first.
const MORE: &[&[Request]] = &[&[LOW, HIGH]];
const AT_ONCE: &[&[Request]] = &[&[LOW], &[HIGH]];

#[test]
fn kswapd_does_not_sleep_while_memory_is_short() {
    run_kswapd(Without::Nothing, ONE);
}

#[test]
fn no_request_to_kswapd_is_lost() {
    run_kswapd(Without::Nothing, MORE);
    run_kswapd(Without::Nothing, AT_ONCE);
}

#[test]
fn kcompactd_does_not_sleep_while_it_is_asked() {
    run_kcompactd(Without::Nothing, ONE);
}

#[test]
fn no_order_that_kcompactd_was_asked_for_is_lost() {
    run_kcompactd(Without::Nothing, MORE);
    run_kcompactd(Without::Nothing, AT_ONCE);
}

/// Who finds the trigger set wakes nobody, and what he has turned the knob to is seen.
#[test]
fn the_knob_is_seen_as_it_was_turned_last() {
    let turn = |model: &Model, value| {
        model.node.knob.fetch_max(value, Relaxed);
        model.buddy().trigger_proactive_compaction(NID);
    };
    run(
        Without::Nothing,
        &[&[1], &[2]],
        turn,
        turns_of_kcompactd,
        |model, (), _| {
            let trigger = &model.node.daemons.proactive_compact_trigger;
            assert!(
                !trigger.load(Relaxed),
                "kcompactd sleeps while it is triggered"
            );
            assert_eq!(*model.node.knob_seen.lock().unwrap(), 2);
        },
    );
}

#[test]
#[should_panic(expected = "while memory is short")]
fn without_the_askers_fence_kswapd_sleeps() {
    run_kswapd(Without::AskersFence, ONE);
}

#[test]
#[should_panic(expected = "while memory is short")]
fn without_its_fence_kswapd_sleeps() {
    run_kswapd(Without::SleepersFence, ONE);
}

#[test]
#[should_panic(expected = "a request to kswapd is lost")]
fn taken_in_two_steps_a_zone_is_lost() {
    run_kswapd(Without::OneStep, MORE);
}

#[test]
#[should_panic(expected = "while an order is asked for")]
fn without_the_askers_fence_kcompactd_sleeps() {
    run_kcompactd(Without::AskersFence, ONE);
}

#[test]
#[should_panic(expected = "while an order is asked for")]
fn without_its_fence_kcompactd_sleeps() {
    run_kcompactd(Without::SleepersFence, ONE);
}

#[test]
#[should_panic(expected = "asked for is lost")]
fn done_in_two_steps_an_order_is_lost() {
    run_kcompactd(Without::OneStep, MORE);
}
