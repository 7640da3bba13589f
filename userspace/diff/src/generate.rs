// SPDX-License-Identifier: GPL-2.0

//! The steps: what a machine does to its page allocator, in phases.
//!
//! A phase has its own mix of orders, types and urgency, fills the zone up to its
//! own mark, which may be all of it, and frees in its own order. Blocks are kept in
//! numbered slots:
//!
//! ```text
//! 0                                half                            slots
//! [ one block each                 ][ area | area | area | ...      ]
//!                                     of 512 slots: the pages of a bulk
//!                                     request or of a split block
//! ```
//!
//! Steps are made in batches, without knowing yet what the last ones came to;
//! [`Generator::learn`] is told afterwards.

use crate::random::Random;
use shadowmm_client::Outcome;
use shadowmm_client::Step;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::Gfp;
use std::collections::VecDeque;

/// Slots in an area.
pub const AREA: u32 = 512;

/// Which blocks are freed.
#[derive(Clone, Copy, Debug)]
enum FreeOrder {
    Random,
    Newest,
    Oldest,
}

/// What the machine does for a while.
#[derive(Debug)]
struct Phase {
    /// Steps until the next phase.
    left: usize,
    /// How many pages are to be held.
    target: u64,
    /// The orders of requests, each as often as it is here.
    orders: &'static [u32],
    /// The types of requests, likewise.
    kinds: Vec<Gfp>,
    free_order: FreeOrder,
    /// How many steps of one direction follow one another at most.
    run: usize,
    /// In percent of requests: urgent ones, and such as may use all memory.
    urgent: usize,
    reserves: usize,
    /// In percent of steps: bulk requests, and blocks that are split.
    bulk: usize,
    split: usize,
}

const MIXES: [&[u32]; 9] = [
    &[0],
    &[0, 0, 0, 0, 0, 0, 1, 1, 2, 3],
    &[0, 1, 2, 3],
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    &[4, 5, 6, 7, 8],
    &[9, 9, 9, 0, 10],
    &[3],
    &[0, 0, 0, 9],
    &[0, 0, 0, 0, 0, 0, 0, 2, 4, 10],
];

/// The pages of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Empty,
    /// So many are wanted; what came is not known yet.
    Wanted(u32),
    /// So many there are.
    Pages(u32),
    /// They go back one by one.
    Leaving(u32),
}

/// Makes steps.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    /// Pages that there are to be had.
    capacity: u64,
    /// Whether there are several zones.
    zones: bool,
    /// How many pages the kernel gives in bulk at most.
    bulk_most: u32,
    phase: Phase,
    freeing: bool,
    run_left: usize,
    /// The order of each slot's block.
    blocks: Vec<Option<u32>>,
    empty: Vec<u32>,
    live: Vec<u32>,
    areas: Vec<Area>,
    first_area: u32,
    held: u64,
    leaving: VecDeque<Step>,
}

fn pages(order: u32) -> u64 {
    1 << order
}

impl Generator {
    /// The steps of a seed, for zones with so many free pages and a number of
    /// slots, and a kernel that gives so many pages in bulk.
    pub fn new(seed: u64, capacity: u64, slots: u64, zones: u32, bulk_most: u32) -> Self {
        let half = u32::try_from(slots / 2).unwrap_or(u32::MAX) / AREA * AREA;
        let mut random = Random::new(seed);
        let zones = zones > 1;
        let phase = new_phase(&mut random, capacity, zones);
        Self {
            random,
            capacity,
            zones,
            bulk_most,
            phase,
            freeing: false,
            run_left: 0,
            blocks: vec![None; half as usize],
            empty: (0..half).rev().collect(),
            live: Vec::new(),
            areas: vec![Area::Empty; (half / AREA) as usize],
            first_area: half,
            held: 0,
            leaving: VecDeque::new(),
        }
    }

    /// Nothing is held any more: all slots are empty.
    pub fn forget(&mut self) {
        self.blocks.fill(None);
        self.empty = (0..self.first_area).rev().collect();
        self.live.clear();
        self.areas.fill(Area::Empty);
        self.leaving.clear();
        self.held = 0;
    }

    /// A choice that is not about a step.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next steps.
    pub fn batch(&mut self, count: usize) -> Vec<Step> {
        let mut steps = Vec::with_capacity(count);
        while steps.len() < count {
            self.next(&mut steps);
        }
        steps
    }

    fn next(&mut self, steps: &mut Vec<Step>) {
        if self.phase.left == 0 {
            self.phase = new_phase(&mut self.random, self.capacity, self.zones);
            self.run_left = 0;
        }
        self.phase.left -= 1;
        if !self.leaving.is_empty() && self.random.chance(40) {
            steps.extend(self.leaving.pop_front());
            return;
        }
        if self.random.below(2000) == 0 {
            steps.push(Step::Unboost);
            return;
        }
        if self.run_left == 0 {
            self.run_left = self.random.within(1, self.phase.run);
            let full = self.held >= self.phase.target;
            self.freeing = self.random.chance(if full { 85 } else { 25 });
        }
        self.run_left -= 1;
        if self.freeing {
            self.free(steps);
        } else {
            self.alloc(steps);
        }
    }

    fn gfp(&mut self) -> u32 {
        let mut flags = self.random.pick(&self.phase.kinds);
        if self.random.chance(self.phase.urgent) {
            flags = flags | gfp::__GFP_HIGH;
        }
        if self.random.chance(self.phase.reserves) {
            flags = flags | gfp::__GFP_MEMALLOC;
        }
        if self.random.chance(3) {
            flags = flags | gfp::__GFP_NOMEMALLOC;
        }
        if self.random.chance(10) {
            flags = flags | gfp::__GFP_NORETRY;
        }
        flags.bits()
    }

    fn alloc(&mut self, steps: &mut Vec<Step>) {
        let gfp = self.gfp();
        if self.random.chance(self.phase.bulk) {
            if let Some(area) = self.empty_area() {
                let count = match self.random.chance(50) {
                    true => self.random.within(1, 16),
                    false => self.random.within(1, AREA as usize),
                };
                let count = (count as u32).min(self.bulk_most);
                self.areas[area] = Area::Wanted(count);
                self.held += u64::from(count);
                let slot = self.area_slot(area);
                steps.push(Step::Bulk { slot, gfp, count });
                return;
            }
        }
        if self.random.chance(self.phase.split) {
            if let Some(area) = self.empty_area() {
                let order = self.random.within(1, 9) as u32;
                self.areas[area] = Area::Wanted(1 << order);
                self.held += pages(order);
                let slot = self.area_slot(area);
                steps.push(Step::Alloc { slot, gfp, order });
                steps.push(Step::Split { slot });
                return;
            }
        }
        let order = self.random.pick(self.phase.orders);
        let Some(slot) = self.empty.pop() else {
            self.freeing = true;
            return self.free(steps);
        };
        self.blocks[slot as usize] = Some(order);
        self.live.push(slot);
        self.held += pages(order);
        steps.push(Step::Alloc { slot, gfp, order });
    }

    fn free(&mut self, steps: &mut Vec<Step>) {
        if self.random.chance(self.phase.bulk + self.phase.split) && self.free_area(steps) {
            return;
        }
        if self.live.is_empty() {
            self.freeing = false;
            if !self.free_area(steps) {
                self.alloc(steps);
            }
            return;
        }
        let at = match self.phase.free_order {
            FreeOrder::Random => self.random.below(self.live.len()),
            FreeOrder::Newest => self.live.len() - 1,
            FreeOrder::Oldest => 0,
        };
        let slot = self.live.swap_remove(at);
        if let Some(order) = self.blocks[slot as usize].take() {
            self.held -= pages(order);
        }
        self.empty.push(slot);
        steps.push(Step::Free { slot });
    }

    fn area_slot(&self, area: usize) -> u32 {
        self.first_area + area as u32 * AREA
    }

    fn empty_area(&mut self) -> Option<usize> {
        let at = self.random.below(self.areas.len());
        let mut around = (at..self.areas.len()).chain(0..at);
        around.find(|&area| self.areas[area] == Area::Empty)
    }

    /// Frees an area's pages, at once or one by one; whether there was one.
    fn free_area(&mut self, steps: &mut Vec<Step>) -> bool {
        let at = self.random.below(self.areas.len());
        let mut around = (at..self.areas.len()).chain(0..at);
        let Some(area) = around.find(|&area| matches!(self.areas[area], Area::Pages(_))) else {
            return false;
        };
        let Area::Pages(count) = self.areas[area] else {
            return false;
        };
        let slot = self.area_slot(area);
        if self.random.chance(60) {
            self.areas[area] = Area::Empty;
            self.held = self.held.saturating_sub(count.into());
            steps.push(Step::FreeBulk { slot, count });
            return true;
        }
        self.areas[area] = Area::Leaving(count);
        let mut slots: Vec<u32> = (slot..slot + count).collect();
        if self.random.chance(70) {
            for i in (1..slots.len()).rev() {
                slots.swap(i, self.random.below(i + 1));
            }
        }
        let frees = slots.into_iter().map(|slot| Step::Free { slot });
        self.leaving.extend(frees);
        steps.extend(self.leaving.pop_front());
        true
    }

    /// What the steps came to that were made last.
    pub fn learn(&mut self, steps: &[Step], outcomes: &[Outcome]) {
        let mut failed: Vec<u32> = Vec::new();
        for (step, outcome) in steps.iter().zip(outcomes) {
            match (*step, *outcome) {
                (Step::Alloc { slot, .. }, _) if slot >= self.first_area => {
                    let area = ((slot - self.first_area) / AREA) as usize;
                    self.arrived(area, *outcome != Outcome::Nothing);
                }
                (Step::Alloc { slot, .. }, Outcome::Nothing) => failed.push(slot),
                (Step::Alloc { slot, .. }, _) | (Step::Free { slot }, _) => {
                    if slot < self.first_area {
                        failed.retain(|&other| other != slot);
                    } else {
                        self.left((slot - self.first_area) / AREA);
                    }
                }
                (Step::Bulk { slot, .. }, outcome) => {
                    let area = ((slot - self.first_area) / AREA) as usize;
                    if let (Area::Wanted(wanted), Outcome::Done(came)) = (self.areas[area], outcome)
                    {
                        self.held = self.held.saturating_sub(u64::from(wanted) - came);
                        self.areas[area] = Area::Wanted(came as u32);
                    }
                    self.arrived(area, self.areas[area] != Area::Wanted(0));
                }
                _ => {}
            }
        }
        for &slot in &failed {
            // Not if it was freed in the same batch, when nothing was there.
            if let Some(order) = self.blocks[slot as usize].take() {
                self.held = self.held.saturating_sub(pages(order));
                self.empty.push(slot);
            }
        }
        if !failed.is_empty() {
            let blocks = &self.blocks;
            self.live.retain(|&slot| blocks[slot as usize].is_some());
        }
    }

    /// What was wanted for an area is there, or is not.
    fn arrived(&mut self, area: usize, came: bool) {
        if let Area::Wanted(count) = self.areas[area] {
            self.areas[area] = match came {
                true => Area::Pages(count),
                false => {
                    self.held = self.held.saturating_sub(count.into());
                    Area::Empty
                }
            };
        }
    }

    /// A page of an area is gone.
    fn left(&mut self, area: u32) {
        let area = area as usize;
        if let Area::Leaving(count) = self.areas[area] {
            self.held = self.held.saturating_sub(1);
            self.areas[area] = match count {
                0 | 1 => Area::Empty,
                count => Area::Leaving(count - 1),
            };
        }
    }
}

fn new_phase(random: &mut Random, capacity: u64, zones: bool) -> Phase {
    const MOVABLE: Gfp = gfp::__GFP_MOVABLE;
    let movable = MOVABLE | gfp::__GFP_HIGHMEM;
    let (reclaimable, unmovable) = (gfp::__GFP_RECLAIMABLE, Gfp::NONE);
    let mut kinds = match random.below(6) {
        0 => vec![movable],
        1 => vec![unmovable],
        2 => vec![movable, movable, movable, unmovable],
        3 => vec![reclaimable, unmovable],
        _ => vec![movable, unmovable, reclaimable],
    };
    if zones && random.chance(50) {
        kinds.push(gfp::__GFP_DMA32);
    }
    let percent = random.pick(&[2, 10, 30, 60, 85, 95, 99, 101, 110]);
    Phase {
        left: random.within(200, 6000),
        target: capacity * percent / 100,
        orders: random.pick(&MIXES),
        kinds,
        free_order: random.pick(&[
            FreeOrder::Random,
            FreeOrder::Random,
            FreeOrder::Newest,
            FreeOrder::Oldest,
        ]),
        run: random.pick(&[1, 5, 50, 400]),
        urgent: random.pick(&[0, 5, 50]),
        reserves: random.pick(&[0, 0, 2, 20]),
        bulk: random.pick(&[0, 1, 5, 20]),
        split: random.pick(&[0, 1, 3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A zone that always has what is asked for, up to its size.
    fn play(steps: &[Step], held: &mut HashMap<u32, u32>, room: u64) -> Vec<Outcome> {
        let sum = |held: &HashMap<u32, u32>| held.values().map(|&order| pages(order)).sum::<u64>();
        let mut outcomes = Vec::new();
        for step in steps {
            outcomes.push(match *step {
                Step::Alloc { slot, order, .. } => {
                    assert!(!held.contains_key(&slot), "a slot is used twice");
                    if sum(held) + pages(order) > room {
                        Outcome::Nothing
                    } else {
                        held.insert(slot, order);
                        Outcome::Done(0)
                    }
                }
                Step::Free { slot } => match held.remove(&slot) {
                    Some(_) => Outcome::Done(0),
                    None => Outcome::Skipped,
                },
                Step::Bulk { slot, count, .. } => {
                    let came = u64::from(count).min(room - sum(held));
                    (0..came as u32).for_each(|i| assert_eq!(held.insert(slot + i, 0), None));
                    Outcome::Done(came)
                }
                Step::FreeBulk { slot, count } => {
                    (0..count).for_each(|i| assert_eq!(held.remove(&(slot + i)), Some(0)));
                    Outcome::Done(count.into())
                }
                Step::Split { slot } => match held.remove(&slot) {
                    Some(order) => {
                        (0..1 << order).for_each(|i| assert_eq!(held.insert(slot + i, 0), None));
                        Outcome::Done(0)
                    }
                    None => Outcome::Skipped,
                },
                _ => Outcome::Done(0),
            });
        }
        outcomes
    }

    #[test]
    fn what_is_held_is_known_and_a_seed_gives_the_same_steps() {
        let room = 4096;
        let mut generators = [(); 2].map(|()| Generator::new(7, room, 1 << 14, 1, AREA));
        let mut held = HashMap::new();
        let (mut most, mut failures) = (0, 0);
        for _ in 0..60 {
            let steps = generators[0].batch(500);
            assert_eq!(steps, generators[1].batch(500));
            let outcomes = play(&steps, &mut held, room);
            failures += outcomes.iter().filter(|o| **o == Outcome::Nothing).count();
            generators
                .iter_mut()
                .for_each(|g| g.learn(&steps, &outcomes));
            let sum: u64 = held.values().map(|&order| pages(order)).sum();
            assert_eq!(generators[0].held, sum);
            most = most.max(sum);
        }
        assert!(most > room * 9 / 10, "the zone was never full: {most}");
        assert!(failures > 10, "nothing ever failed: {failures}");
    }
}
