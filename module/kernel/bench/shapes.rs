// SPDX-License-Identifier: GPL-2.0

//! The loops that are measured: written once, run on any page allocator.
//!
//! ```text
//! Shape    what is done              Side    to whom
//! block    made ready | measured | put in order again
//! ```
//!
//! In the kernel the sides are the shadow's allocator and the host's, on the
//! host core's and those of public crates. Each loop is made anew for each side,
//! so what inlines is inlined. A hot pair's request is a constant, as it is where
//! pages are taken in earnest; in all other shapes it is hidden from the optimiser,
//! and so is the page between the two halves of a called pair.

use core::hint::black_box;
use shadowmm_core::slices;

/// Somebody who gives out blocks of pages and takes them back.
pub trait Side {
    /// A block that was given out.
    type Block: Copy;
    /// What is asked for. It is made before the loop.
    type Request: 'static;

    /// No block.
    fn none() -> Self::Block;

    /// A request of the kernel's own (`GFP_KERNEL`) for 2^order pages.
    fn request(&self, order: u32) -> Self::Request;

    /// The same, as a constant where that is of use.
    #[inline(always)]
    fn constant<const ORDER: u32>() -> Option<&'static Self::Request> {
        None
    }

    /// Takes a block.
    fn alloc(&self, request: &Self::Request) -> Option<Self::Block>;

    /// Gives back a block that was taken by this request.
    fn free(&self, block: Self::Block, request: &Self::Request);

    /// The same where the request is a constant.
    #[inline(always)]
    fn alloc_here(&self, request: &Self::Request) -> Option<Self::Block> {
        self.alloc(request)
    }

    /// The same where the request is a constant.
    #[inline(always)]
    fn free_here(&self, block: Self::Block, request: &Self::Request) {
        self.free(block, request);
    }

    /// Takes single pages in one call, and says how many.
    fn alloc_bulk(&self, request: &Self::Request, blocks: &mut [Self::Block]) -> usize;

    /// Gives single pages back in one call.
    fn free_bulk(&self, blocks: &[Self::Block], request: &Self::Request);

    /// Gives the zones back what is kept aside for the CPUs. Never measured.
    fn drain(&self);
}

/// How often a hot pair is repeated in a block.
pub const PAIRS: usize = 64;
/// Pages of a bulk.
pub const BULK: usize = 1024;
/// Pages that are taken in a row, more than a CPU is given at once.
pub const REFILL: usize = 4096;
/// How many blocks a side must have room for.
pub const ROOM: usize = 2 * REFILL;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A block is taken and given back at once, again and again the same.
    HotPair(u32),
    /// The same with both through a call that is not inlined.
    CalledPair(u32),
    /// Pages are taken, one after the other.
    Alloc,
    /// They go back in the order in which they came.
    FreeInOrder,
    /// The last goes back first.
    FreeReversed,
    /// They go back in an order drawn by lot.
    FreeRandom,
    /// Pages are taken in one call.
    AllocBulk,
    /// They go back in one call.
    FreeBulk,
    /// Many pages are taken where none were kept aside.
    Refill,
    /// They go back.
    Return,
}

impl Shape {
    /// How many operations are measured at once: pairs, or pages.
    pub const fn operations(self) -> usize {
        match self {
            Self::HotPair(_) | Self::CalledPair(_) => PAIRS,
            Self::Refill | Self::Return => REFILL,
            _ => BULK,
        }
    }

    /// The order of what is asked for.
    pub const fn order(self) -> u32 {
        match self {
            Self::HotPair(order) | Self::CalledPair(order) => order,
            _ => 0,
        }
    }

    /// One block: what it took by `clock`; `None` when pages ran out. Everything
    /// has gone back then. `blocks` has room for [`Shape::operations`].
    pub fn run<S: Side>(
        self,
        side: &S,
        blocks: &mut [S::Block],
        lots: &mut Lots,
        clock: &impl Fn() -> u64,
    ) -> Option<u64> {
        let request = side.request(self.order());
        let blocks = blocks.get_mut(..self.operations())?;
        let start;
        let end;
        match self {
            Self::HotPair(_) | Self::CalledPair(_) => {
                // With a block held, there is one of this order whose buddy is in
                // use: on both sides a pair neither splits nor merges.
                let block = side.alloc(&request)?;
                let held = side.alloc(&request);
                side.free(block, &request);
                start = clock();
                let done = match self {
                    Self::HotPair(0) => hot_pairs::<S, 0>(side),
                    Self::HotPair(3) => hot_pairs::<S, 3>(side),
                    Self::HotPair(4) => hot_pairs::<S, 4>(side),
                    Self::HotPair(9) => hot_pairs::<S, 9>(side),
                    Self::HotPair(_) => pairs(side, &request),
                    _ => called_pairs(side, &request),
                };
                end = clock();
                if let Some(held) = held {
                    side.free(held, &request);
                }
                done?;
            }
            Self::Alloc | Self::Refill => {
                if self == Self::Refill {
                    side.drain();
                }
                start = clock();
                let taken = take(side, &request, blocks);
                end = clock();
                give_back(side, &request, blocks.get(..taken)?);
                (taken == blocks.len()).then_some(())?;
            }
            Self::FreeInOrder | Self::FreeReversed | Self::FreeRandom | Self::Return => {
                let taken = take(side, &request, blocks);
                let taken = blocks.get_mut(..taken)?;
                match self {
                    Self::FreeReversed => taken.reverse(),
                    Self::FreeRandom => lots.shuffle(taken),
                    _ => {}
                }
                start = clock();
                give_back(side, &request, taken);
                end = clock();
                (taken.len() == self.operations()).then_some(())?;
            }
            Self::AllocBulk => {
                // Linux's call fills the places that are empty.
                blocks.fill(S::none());
                start = clock();
                let taken = take_bulk(side, &request, blocks);
                end = clock();
                give_back(side, &request, blocks.get(..taken)?);
                (taken == blocks.len()).then_some(())?;
            }
            Self::FreeBulk => {
                let taken = take(side, &request, blocks);
                let taken = blocks.get(..taken)?;
                start = clock();
                side.free_bulk(taken, &request);
                end = clock();
                (taken.len() == self.operations()).then_some(())?;
            }
        }
        Some(end.wrapping_sub(start))
    }
}

#[inline(never)]
fn hot_pairs<S: Side, const ORDER: u32>(side: &S) -> Option<()> {
    let Some(request) = S::constant::<ORDER>() else {
        return pairs(side, &side.request(ORDER));
    };
    let mut left = PAIRS;
    while left != 0 {
        let block = side.alloc_here(request)?;
        side.free_here(block, request);
        left -= 1;
    }
    Some(())
}

#[inline(never)]
fn pairs<S: Side>(side: &S, request: &S::Request) -> Option<()> {
    for _ in 0..PAIRS {
        let request = black_box(request);
        let block = side.alloc(request)?;
        side.free(black_box(block), request);
    }
    Some(())
}

#[inline(never)]
fn called_pairs<S: Side>(side: &S, request: &S::Request) -> Option<()> {
    for _ in 0..PAIRS {
        let block = alloc_called(side, request)?;
        free_called(side, block, request);
    }
    Some(())
}

#[inline(never)]
fn alloc_called<S: Side>(side: &S, request: &S::Request) -> Option<S::Block> {
    side.alloc(black_box(request))
}

#[inline(never)]
fn free_called<S: Side>(side: &S, block: S::Block, request: &S::Request) {
    side.free(black_box(block), request);
}

/// Takes a block for each place, as long as there are some; how many.
#[inline(never)]
pub fn take<S: Side>(side: &S, request: &S::Request, blocks: &mut [S::Block]) -> usize {
    let mut taken = 0;
    for place in blocks {
        let Some(block) = side.alloc(black_box(request)) else {
            break;
        };
        *place = block;
        taken += 1;
    }
    taken
}

/// Gives the blocks back, one after the other.
#[inline(never)]
pub fn give_back<S: Side>(side: &S, request: &S::Request, blocks: &[S::Block]) {
    for &block in blocks {
        side.free(block, black_box(request));
    }
}

/// Takes single pages in as few calls as it needs; how many.
#[inline(never)]
fn take_bulk<S: Side>(side: &S, request: &S::Request, blocks: &mut [S::Block]) -> usize {
    let mut taken = 0;
    while let Some(left) = blocks.get_mut(taken..).filter(|left| !left.is_empty()) {
        match side.alloc_bulk(black_box(request), left) {
            0 => break,
            more => taken += more,
        }
    }
    taken
}

/// Leaves a zone of which every second page is somebody's: the held pages are
/// those in front, and how many they are is returned.
pub fn fragment<S: Side>(side: &S, blocks: &mut [S::Block]) -> usize {
    let request = side.request(0);
    let taken = take(side, &request, blocks);
    let mut held = 0;
    for at in 0..taken {
        let Some(&block) = blocks.get(at) else { break };
        if at % 2 == 1 {
            side.free(block, &request);
        } else if let Some(place) = blocks.get_mut(held) {
            *place = block;
            held += 1;
        }
    }
    side.drain();
    held
}

/// Lots to draw: the same row of them in every run.
#[derive(Clone, Copy, Debug)]
pub struct Lots(u64);

impl Lots {
    /// Those of a seed, which is not 0.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `below`; 0 if that is 0 (xorshift).
    pub fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.checked_rem(below as u64).unwrap_or(0) as usize
    }

    /// Puts these in another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.draw(last + 1);
            slices::swap(items, last, other);
        }
    }
}
