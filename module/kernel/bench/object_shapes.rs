// SPDX-License-Identifier: GPL-2.0

//! The loops of objects that are measured: written once, run on any allocator of
//! objects.
//!
//! ```text
//! ObjectShape    what is done              ObjectSide    to whom
//! block          made ready | measured | put in order again
//! ```
//!
//! As with pages (shapes.rs) each loop is made anew for each side. Of a hot pair
//! of kmalloc the size is a constant, as it nearly always is in the kernel, so
//! that the cache is found when the code is compiled; of mixed sizes it is read
//! from memory. In a called pair both halves are calls.

use super::shapes::Lots;
use super::sizes;
use core::hint::black_box;

/// Somebody who gives out objects and takes them back.
pub trait ObjectSide {
    /// An object that was given out.
    type Object: Copy;

    /// No object.
    fn none() -> Self::Object;

    /// Takes an object of the cache that is measured.
    fn alloc(&self) -> Option<Self::Object>;

    /// Gives one back to it.
    fn free(&self, object: Self::Object);

    /// Takes an object of a size that is known to the compiler.
    fn kmalloc<const SIZE: usize>(&self) -> Option<Self::Object>;

    /// Takes an object of any size, in bytes.
    fn kmalloc_any(&self, size: usize) -> Option<Self::Object>;

    /// Gives an object back of which nothing is known but where it is. Its size
    /// is for those who have to be told. Nothing is done about no object.
    fn kfree(&self, object: Self::Object, size: usize);

    /// Takes objects of the cache for all places in one call, or none.
    fn alloc_bulk(&self, objects: &mut [Self::Object]) -> bool;

    /// Gives them back in one call.
    fn free_bulk(&self, objects: &mut [Self::Object]);

    /// Gives up what nobody uses of the cache. Never measured.
    fn shrink(&self);

    /// How many pages the cache has, with all that is kept for later; `None`
    /// where nobody says so.
    fn pages(&self) -> Option<u64>;
}

/// How often a hot pair is repeated in a block.
pub const PAIRS: usize = 64;
/// Objects of a bulk.
pub const BULK: usize = 1000;
/// Objects that are alive at once where pages are counted.
pub const MANY: usize = 10_000;
/// Of so many one stays where most go.
pub const ONE_OF: usize = 10;
/// Objects that are alive while others of mixed sizes come and go.
pub const WINDOW: usize = 256;
/// How many objects a side must have room for.
pub const ROOM: usize = MANY;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectShape {
    /// An object is taken from a cache and given back at once, again and again.
    CachePair,
    /// The same by size alone (`kmalloc`, `kfree`).
    KmallocPair,
    /// The same by size, with both through a call that is not inlined.
    CalledPair,
    /// Objects are taken, one after the other.
    Alloc,
    /// They go back in the order in which they came.
    FreeInOrder,
    /// They go back in an order drawn by lot.
    FreeShuffled,
    /// They are taken, and go back in the order in which they came.
    InOrder,
    /// They are taken, and go back in an order drawn by lot.
    Shuffled,
    /// Objects are taken in one call.
    AllocBulk,
    /// They go back in one call.
    FreeBulk,
    /// Among many objects, one drawn by lot goes and one of another size comes:
    /// sizes as a kernel's are (sizes.rs).
    Mixed,
}

impl ObjectShape {
    /// How many operations are measured at once: pairs, or objects.
    pub const fn operations(self) -> usize {
        match self {
            Self::CachePair | Self::KmallocPair | Self::CalledPair => PAIRS,
            _ => BULK,
        }
    }

    /// One block with objects of `size` bytes: what it took by `clock`; `None`
    /// when memory ran out. Everything has gone back then.
    pub fn run<S: ObjectSide>(
        self,
        side: &S,
        size: usize,
        objects: &mut [S::Object],
        plan: &Plan<'_>,
        clock: &impl Fn() -> u64,
    ) -> Option<u64> {
        let bulk = objects.get_mut(..BULK)?;
        let start;
        let end;
        match self {
            Self::CachePair | Self::KmallocPair | Self::CalledPair => {
                start = clock();
                let done = match (self, size) {
                    (Self::CachePair, _) => cache_pairs(side),
                    (Self::CalledPair, _) => called_pairs(side, size),
                    (_, 8) => kmalloc_pairs::<S, 8>(side),
                    (_, 64) => kmalloc_pairs::<S, 64>(side),
                    (_, 256) => kmalloc_pairs::<S, 256>(side),
                    (_, 1024) => kmalloc_pairs::<S, 1024>(side),
                    _ => any_pairs(side, size),
                };
                end = clock();
                done?;
            }
            Self::Alloc => {
                start = clock();
                take_all(side, bulk)?;
                end = clock();
                give_back(side, bulk);
            }
            Self::FreeInOrder | Self::FreeShuffled => {
                take_all(side, bulk)?;
                start = clock();
                match self {
                    Self::FreeShuffled => give_back_by(side, bulk, plan.order),
                    _ => give_back(side, bulk),
                }
                end = clock();
            }
            Self::InOrder => {
                start = clock();
                take_all(side, bulk)?;
                give_back(side, bulk);
                end = clock();
            }
            Self::Shuffled => {
                start = clock();
                take_all(side, bulk)?;
                give_back_by(side, bulk, plan.order);
                end = clock();
            }
            Self::AllocBulk => {
                start = clock();
                let taken = side.alloc_bulk(bulk);
                end = clock();
                taken.then_some(())?;
                give_back(side, bulk);
            }
            Self::FreeBulk => {
                side.alloc_bulk(bulk).then_some(())?;
                start = clock();
                side.free_bulk(bulk);
                end = clock();
            }
            Self::Mixed => {
                let window = bulk.get_mut(..WINDOW)?;
                let filled = fill(side, window, plan.first);
                start = clock();
                let done = filled.map_or(0, |()| churn(side, window, plan.steps));
                end = clock();
                for (at, &object) in window.iter().enumerate() {
                    side.kfree(object, plan.size_after(done, at));
                }
                (done == plan.steps.len()).then_some(())?;
            }
        }
        Some(end.wrapping_sub(start))
    }
}

#[inline(never)]
fn cache_pairs<S: ObjectSide>(side: &S) -> Option<()> {
    let mut left = PAIRS;
    while left != 0 {
        let object = side.alloc()?;
        side.free(object);
        left -= 1;
    }
    Some(())
}

#[inline(never)]
fn kmalloc_pairs<S: ObjectSide, const SIZE: usize>(side: &S) -> Option<()> {
    let mut left = PAIRS;
    while left != 0 {
        let object = side.kmalloc::<SIZE>()?;
        side.kfree(object, SIZE);
        left -= 1;
    }
    Some(())
}

#[inline(never)]
fn any_pairs<S: ObjectSide>(side: &S, size: usize) -> Option<()> {
    for _ in 0..PAIRS {
        let object = side.kmalloc_any(black_box(size))?;
        side.kfree(black_box(object), size);
    }
    Some(())
}

#[inline(never)]
fn called_pairs<S: ObjectSide>(side: &S, size: usize) -> Option<()> {
    for _ in 0..PAIRS {
        let object = alloc_called(side, size)?;
        free_called(side, object, size);
    }
    Some(())
}

#[inline(never)]
fn alloc_called<S: ObjectSide>(side: &S, size: usize) -> Option<S::Object> {
    side.kmalloc_any(black_box(size))
}

#[inline(never)]
fn free_called<S: ObjectSide>(side: &S, object: S::Object, size: usize) {
    side.kfree(black_box(object), size);
}

/// Takes an object for each place, or none at all.
#[inline(never)]
pub fn take_all<S: ObjectSide>(side: &S, objects: &mut [S::Object]) -> Option<()> {
    for at in 0..objects.len() {
        let Some(object) = side.alloc() else {
            give_back(side, objects.get(..at)?);
            return None;
        };
        *objects.get_mut(at)? = object;
    }
    Some(())
}

/// Gives objects back, one after the other.
#[inline(never)]
pub fn give_back<S: ObjectSide>(side: &S, objects: &[S::Object]) {
    for &object in objects {
        side.free(object);
    }
}

/// Gives objects back in this order.
#[inline(never)]
fn give_back_by<S: ObjectSide>(side: &S, objects: &[S::Object], order: &[u16]) {
    for &at in order {
        if let Some(&object) = objects.get(usize::from(at)) {
            side.free(object);
        }
    }
}

/// Fills the window with objects of these sizes.
fn fill<S: ObjectSide>(side: &S, window: &mut [S::Object], sizes: &[u16]) -> Option<()> {
    window.fill(S::none());
    for (place, &size) in window.iter_mut().zip(sizes) {
        *place = side.kmalloc_any(size.into())?;
    }
    Some(())
}

/// Does the steps: how many, which is all unless memory ran out.
#[inline(never)]
fn churn<S: ObjectSide>(side: &S, window: &mut [S::Object], steps: &[Step]) -> usize {
    let mut left = steps.iter();
    while let Some(step) = left.next() {
        let swapped = window.get_mut(usize::from(step.at)).and_then(|place| {
            side.kfree(*place, step.old.into());
            *place = S::none();
            *place = side.kmalloc_any(step.new.into())?;
            Some(())
        });
        if swapped.is_none() {
            // This one is not.
            let undone = left.len().saturating_add(1);
            return steps.len().saturating_sub(undone);
        }
    }
    steps.len()
}

/// How many pages the cache has with [`MANY`] objects alive, and with one of
/// [`ONE_OF`] of these when the others have gone in an order drawn by lot;
/// `None` when memory ran out, or where nobody says so. All have gone back then.
pub fn pages<S: ObjectSide>(
    side: &S,
    objects: &mut [S::Object],
    lots: &mut Lots,
) -> Option<[u64; 2]> {
    let objects = objects.get_mut(..MANY)?;
    side.shrink();
    take_all(side, objects)?;
    let many = side.pages();
    lots.shuffle(objects);
    let (few, most) = objects.split_at(MANY / ONE_OF);
    give_back(side, most);
    let left = side.pages();
    give_back(side, few);
    side.shrink();
    Some([many?, left?])
}

/// One object goes, and one comes in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Where.
    at: u16,
    /// The size of the one that goes, in bytes.
    old: u16,
    /// The size of the one that comes.
    new: u16,
}

/// What was drawn by lot before anything is measured: the same in every run, and
/// for both sides.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    order: &'a [u16],
    first: &'a [u16],
    steps: &'a [Step],
    last: &'a [u16],
}

impl<'a> Plan<'a> {
    /// The size of the object at a place of the window when so many steps are done.
    fn size_after(&self, done: usize, at: usize) -> usize {
        let (sizes, steps) = match done == self.steps.len() {
            true => (self.last, &[][..]),
            false => (self.first, self.steps.get(..done).unwrap_or_default()),
        };
        let mut newest = steps.iter().rev();
        let came = newest.find(|step| usize::from(step.at) == at);
        let size = came.map(|step| step.new).or(sizes.get(at).copied());
        size.unwrap_or_default().into()
    }

    /// Draws: `order` and `steps` have room for [`BULK`], `first` and `last` for
    /// [`WINDOW`].
    pub fn draw(
        lots: &mut Lots,
        order: &'a mut [u16],
        first: &'a mut [u16],
        steps: &'a mut [Step],
        last: &'a mut [u16],
    ) -> Self {
        for (number, place) in (0..).zip(order.iter_mut()) {
            *place = number;
        }
        lots.shuffle(order);
        for (first, last) in first.iter_mut().zip(last.iter_mut()) {
            *first = sizes::nth(lots.draw(sizes::TOTAL));
            *last = *first;
        }
        for step in steps.iter_mut() {
            let at = lots.draw(last.len());
            let new = sizes::nth(lots.draw(sizes::TOTAL));
            if let Some(last) = last.get_mut(at) {
                let at = at as u16;
                let old = core::mem::replace(last, new);
                *step = Step { at, old, new };
            }
        }
        Self {
            order,
            first,
            steps,
            last,
        }
    }
}
