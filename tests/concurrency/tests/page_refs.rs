// SPDX-License-Identifier: GPL-2.0

//! The references to a page under loom: core's own text (`page.rs`) with loom's atomics,
//! in every interleaving of its accesses and with every value that a relaxed load may see.
//!
//! ```text
//! one more                              one less
//!   bits |= SHARED                        count is 1 (acquire)? the last
//!   count + 1 (release)                   count - 1: was it 1? the last
//!
//! the last                              who validates
//!   Allocated -> Pageset, no flags        count (acquire), bits (acquire), count:
//!   count = 0 ... count = 1               several, and not shared? twice? a violation
//!   -> Allocated (release)
//! ```
//!
//! What is in the page is a cell that loom watches: who frees it while another is at it,
//! or does not see what another has done, is a failure.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use shadowmm_core::error;
use shadowmm_core::phys;

/// What is run of a page's descriptor.
trait Page: Sized + Send + Sync + 'static {
    /// One of an allocated page that has one reference, and no flag.
    fn allocated() -> Self;
    /// One reference more.
    fn get(&self);
    /// So many more at once.
    fn get_more(&self, references: u32);
    /// One less; whether it was the last.
    fn put(&self) -> bool;
    /// Makes the page nobody's, of whoever gave up the last reference; whether it was he.
    fn take(&self) -> bool;
    /// Gives it out again.
    fn give_out(&self, way: Way);
    /// Makes it a slab, of whoever has the only reference.
    fn become_slab(&self);
    /// What validation asks.
    fn is_counted(&self) -> bool;
    fn count(&self) -> u32;
}

/// In which way a page is given out.
#[derive(Clone, Copy)]
enum Way {
    /// From a pageset or under the zone's lock (`buddy/direct.rs`).
    Direct,
    /// A CPU's hottest (`buddy/fast.rs`).
    Hot,
    /// Under the zone's lock, a larger one (`buddy/block.rs`).
    Block,
    /// In any other way (`buddy/alloc.rs`).
    Slow,
}

/// Core's text, as it is or with one step changed.
macro_rules! texts {
    ($($name:ident)*) => {$(
        #[allow(dead_code, reason = "core's text, of which a part is run")]
        mod $name {
            include!(concat!(env!("OUT_DIR"), "/page_", stringify!($name), ".rs"));

            const ZONE: ZoneId = ZoneId::new(NodeId(0), ZoneType::Normal);

            impl crate::Page for PageDescriptor {
                fn allocated() -> Self {
                    let page = Self::hole();
                    page.init(NodeId(0), ZoneType::Normal, PageState::Allocated);
                    page
                }

                fn get(&self) {
                    self.try_get().unwrap();
                }

                fn get_more(&self, references: u32) {
                    self.get_more(references);
                }

                fn put(&self) -> bool {
                    self.put_testzero()
                }

                fn take(&self) -> bool {
                    let taken = self.take_from_owner(PageOrder::ZERO);
                    if taken {
                        self.set_count(0);
                    }
                    taken
                }

                fn give_out(&self, way: crate::Way) {
                    match way {
                        crate::Way::Direct => {
                            self.set_count(1);
                            self.set_allocated_in(ZONE, PageOrder::ZERO);
                        }
                        crate::Way::Hot => {
                            self.set_count(1);
                            self.toggle_owner();
                        }
                        crate::Way::Block => {
                            self.set_bits(Self::plain_bits(ZONE));
                            self.set_count(1);
                        }
                        crate::Way::Slow => {
                            self.set_state(PageState::Allocated, PageOrder::ZERO);
                            self.set_count(1);
                        }
                    }
                }

                fn become_slab(&self) {
                    self.set_slab(PageOrder::ZERO, 1);
                    self.set_slab_counts(None, 2);
                }

                fn is_counted(&self) -> bool {
                    self.is_counted()
                }

                fn count(&self) -> u32 {
                    self.count()
                }
            }
        }
    )*};
}

texts! {
    whole
    last_without_acquire
    put_without_release
    put_without_acquire
    put_in_two_steps
    put_without_rmw
    counted_without_mark
    counted_without_release
    marked_behind
    looked_without_acquire
    given_out_without_release
    toggled_without_release
    bits_without_release
    state_without_release
    slab_without_release
    looked_at_bits_without_acquire
    looked_once
    taken_without_exchange
}

type Whole = whole::PageDescriptor;

fn builder(preemptions: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

/// So many have the page; each takes one reference more and gives it up as often as it
/// says, looks at the page, and gives up its own. The last one frees it.
fn last<P: Page>(holders: &'static [usize], preemptions: usize) {
    builder(preemptions).check(move || {
        let shared = Arc::new((P::allocated(), UnsafeCell::new(0)));
        shared.0.get_more(holders.len() as u32 - 1);
        let hold = |shared: &(P, UnsafeCell<u32>), more| {
            let (page, content) = shared;
            for _ in 0..more {
                page.get();
                assert!(!page.put(), "the last of several");
            }
            // SAFETY: loom fails the model where somebody writes to it.
            content.with(|content| assert_eq!(unsafe { *content }, 0, "freed"));
            let was_last = page.put();
            if was_last {
                // SAFETY: loom fails the model where somebody else is at it.
                content.with_mut(|content| unsafe { *content += 1 });
                assert!(page.take(), "taken twice");
            }
            was_last
        };
        let others: Vec<_> = holders[1..]
            .iter()
            .map(|&more| {
                let shared = shared.clone();
                thread::spawn(move || hold(&shared, more))
            })
            .collect();
        let mine = hold(&shared, holders[0]);
        let others = others.into_iter().map(|other| other.join().unwrap());
        let all = others.filter(|&was_last| was_last).count() + usize::from(mine);
        assert_eq!(all, 1, "so many were the last");
        assert_eq!(shared.0.count(), 0);
    });
}

/// A page lives so. Whoever looks meanwhile finds nothing wrong.
///
/// It is the other thread that looks: loom tries him before an access of the first if
/// that has not read the same word right before, as who takes a reference does.
fn look_at<P: Page>(preemptions: usize, lives: impl Fn(&P) + Send + Sync + 'static) {
    builder(preemptions).check(move || {
        let page = Arc::new(P::allocated());
        let other = {
            let page = page.clone();
            thread::spawn(move || {
                assert!(page.is_counted(), "several references, and not shared");
            })
        };
        lives(&page);
        other.join().unwrap();
        assert!(page.is_counted());
    });
}

/// It has so many lives, in each of which it has two references for a while.
fn look<P: Page>(lives: usize, way: Way, preemptions: usize) {
    look_at(preemptions, move |page: &P| {
        for life in 0..lives {
            if life > 0 {
                page.give_out(way);
            }
            page.get();
            assert!(!page.put());
            if life + 1 < lives {
                assert!(page.put() && page.take());
            }
        }
    });
}

/// It becomes a slab's, where other things stand in the place of the references.
fn look_at_slab<P: Page>() {
    look_at(3, P::become_slab);
}

/// Two free a page that has one reference.
fn twice<P: Page>() {
    builder(3).check(|| {
        let page = Arc::new(P::allocated());
        let free = |page: &P| page.put() && page.take();
        let other = {
            let page = page.clone();
            thread::spawn(move || free(&page))
        };
        let mine = free(&page);
        let others = other.join().unwrap();
        assert!(mine != others, "freed by both, or by none");
    });
}

#[test]
fn one_is_the_last_and_sees_what_all_have_done() {
    last::<Whole>(&[0, 0], 5);
    last::<Whole>(&[1, 1], 4);
    last::<Whole>(&[0, 0, 0], 4);
    last::<Whole>(&[1, 0, 1], 3);
}

#[test]
fn of_two_who_free_a_page_one_does() {
    twice::<Whole>();
}

#[test]
fn nothing_is_wrong_with_a_page_that_is_shared_meanwhile() {
    look::<Whole>(1, Way::Direct, 4);
}

#[test]
fn nothing_is_wrong_with_a_page_that_is_freed_and_shared_again() {
    for way in [Way::Direct, Way::Hot, Way::Block, Way::Slow] {
        look::<Whole>(2, way, 3);
    }
}

#[test]
fn nothing_is_wrong_with_a_page_that_becomes_a_slab() {
    look_at_slab::<Whole>();
}

#[test]
#[should_panic(expected = "not shared")]
fn without_release_what_a_slab_says_may_come_before_that_it_is_one() {
    look_at_slab::<slab_without_release::PageDescriptor>();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_only_one_without_acquire_does_not_see_what_another_has_done() {
    last::<last_without_acquire::PageDescriptor>(&[0, 0], 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_the_last_does_not_see_what_another_has_done() {
    last::<put_without_release::PageDescriptor>(&[0, 0], 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_acquire_the_last_does_not_see_what_another_has_done() {
    last::<put_without_acquire::PageDescriptor>(&[0, 0], 3);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn who_looks_behind_the_count_may_find_himself_the_last_beside_another() {
    last::<put_in_two_steps::PageDescriptor>(&[0, 0], 3);
}

#[test]
#[should_panic(expected = "so many were the last")]
fn without_a_locked_instruction_nobody_is_the_last() {
    last::<put_without_rmw::PageDescriptor>(&[0, 0], 3);
}

#[test]
#[should_panic(expected = "freed by both")]
fn without_an_exchange_both_free_it() {
    twice::<taken_without_exchange::PageDescriptor>();
}

#[test]
#[should_panic(expected = "not shared")]
fn without_the_mark_a_page_looks_wrong() {
    look::<counted_without_mark::PageDescriptor>(1, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn with_the_mark_behind_the_count_a_page_looks_wrong() {
    look::<marked_behind::PageDescriptor>(1, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn without_release_the_mark_may_come_behind_the_count() {
    look::<counted_without_release::PageDescriptor>(1, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn who_looks_without_acquire_may_not_see_the_mark() {
    look::<looked_without_acquire::PageDescriptor>(1, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn who_looks_once_takes_two_lives_for_one() {
    look::<looked_once::PageDescriptor>(2, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn a_page_given_out_without_release_looks_as_its_last_owner_left_it() {
    look::<given_out_without_release::PageDescriptor>(2, Way::Direct, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn nor_may_the_hottest_be_given_out_without_release() {
    look::<toggled_without_release::PageDescriptor>(2, Way::Hot, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn nor_a_larger_block() {
    look::<bits_without_release::PageDescriptor>(2, Way::Block, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn nor_any_other() {
    look::<state_without_release::PageDescriptor>(2, Way::Slow, 3);
}

#[test]
#[should_panic(expected = "not shared")]
fn who_looks_at_the_bits_without_acquire_may_see_an_older_count() {
    look::<looked_at_bits_without_acquire::PageDescriptor>(2, Way::Direct, 3);
}
