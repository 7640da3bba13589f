// SPDX-License-Identifier: GPL-2.0

//! Random steps. They know nothing of what is there: the arena is small enough that
//! most of what they do meets something. Each step follows from the seed and its own
//! number alone, so that any of them can be left out.

use super::op::Limit;
use super::op::Op;
use super::op::ADVICE;
use super::op::MAP_DROPPABLE;
use crate::random::Random;
use nix::libc;
use serde::Deserialize;
use serde::Serialize;

/// A page, in bytes.
pub const PAGE: u64 = 4096;
/// What the test's file has, in bytes: its last page is not full.
pub const FILE_LEN: u64 = 40 * PAGE + 1234;

/// What an episode is like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// Pages of the arena.
    pub pages: u64,
    /// What it may not do is what somebody may not who is not root.
    pub unprivileged: bool,
    /// Limits are set.
    pub limits: bool,
    /// How many forks may be within one another.
    pub depth: u32,
    /// What the tables of chances are shifted to.
    mix: Mix,
}

/// What is done more often than else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mix {
    Even,
    /// Many small VMAs that split and merge.
    Flags,
    /// Ranges move.
    Moves,
    /// Pages come and go, and forks share them.
    Pages,
    /// Stacks grow.
    Stacks,
}

impl Shape {
    /// The shape of an episode.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        Self {
            pages: random.pick(&[48, 48, 192, 192, 512, 1536, 4096]),
            unprivileged: random.chance(25),
            limits: random.chance(30),
            depth: random.pick(&[0, 1, 2, 4]),
            mix: random.pick(&[Mix::Even, Mix::Flags, Mix::Moves, Mix::Pages, Mix::Stacks]),
        }
    }
}

/// The step of a number in an episode.
pub fn step(shape: &Shape, seed: u64, number: u64) -> Op {
    let mut random = Random::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    // One number of neighbouring seeds is not unlike another; the next are.
    random.next();
    Maker {
        shape,
        random,
        number,
    }
    .op()
}

/// What makes a step.
type Make<'a> = fn(&mut Maker<'a>) -> Op;

struct Maker<'a> {
    shape: &'a Shape,
    random: Random,
    number: u64,
}

/// A range of the arena.
struct Range {
    at: u64,
    len: u64,
}

impl<'a> Maker<'a> {
    fn op(&mut self) -> Op {
        let moves = usize::from(self.shape.mix == Mix::Moves);
        let flags = usize::from(self.shape.mix == Mix::Flags);
        let pages = usize::from(self.shape.mix == Mix::Pages);
        let stacks = usize::from(self.shape.mix == Mix::Stacks);
        let limits = usize::from(self.shape.limits);
        let forks = usize::from(self.shape.depth > 0);
        // Each with how often it is done.
        let table: [(usize, Make<'a>); 18] = [
            (200, Self::mmap),
            (70 + 20 * moves, Self::munmap),
            (110 + 150 * flags, Self::mprotect),
            (90 + 200 * moves, Self::mremap),
            (110 + 150 * flags + 60 * pages, Self::madvise),
            (15, Self::brk),
            (40 + 40 * flags, Self::mlock),
            (25, Self::munlock),
            (2, Self::mlockall),
            (15, Self::mincore),
            (15, Self::msync),
            (70 + 100 * pages + 100 * stacks, Self::load),
            (110 + 150 * pages + 200 * stacks, Self::store),
            (25 + 50 * pages, Self::fill),
            (30, Self::copy),
            (2 + 8 * pages, Self::fork_look),
            (8 * forks, Self::fork),
            (8 * limits, Self::limit),
        ];
        let sum = table.iter().map(|&(weight, _)| weight).sum();
        let mut ticket = self.random.below(sum);
        for (weight, make) in table {
            match ticket.checked_sub(weight) {
                Some(rest) => ticket = rest,
                None => return make(self),
            }
        }
        Op::Munlockall
    }

    fn value(&self) -> u64 {
        self.number
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A length in pages: mostly a few.
    fn few(&mut self) -> u64 {
        let pages = self.shape.pages as usize;
        let most = match self.random.below(20) {
            0..=10 => 4,
            11..=16 => 16,
            17..=18 => (pages / 8).max(1),
            _ => (pages / 2).max(1),
        };
        self.random.within(1, most.min(pages)) as u64
    }

    /// Whole pages of the arena.
    fn pages(&mut self) -> Range {
        let len = self.few();
        let at = self.random.within(0, (self.shape.pages - len) as usize) as u64;
        // Neighbours are worth meeting: at half of all times on a coarse grid.
        let at = match self.random.chance(50) {
            true => at & !3,
            false => at,
        };
        Range {
            at: at * PAGE,
            len: len * PAGE,
        }
    }

    /// A range that a system call is given: seldom a bad one.
    fn range(&mut self) -> Range {
        let Range { at, len } = self.pages();
        match self.random.below(100) {
            0 => Range { at, len: 0 },
            1 => Range {
                at,
                len: len.wrapping_neg(),
            },
            2 => Range {
                at: at + self.random.within(1, 4095) as u64,
                len: len.saturating_sub(PAGE),
            },
            3..=5 => Range {
                at,
                len: len - self.random.within(1, 4095) as u64,
            },
            _ => Range { at, len },
        }
    }

    fn prot(&mut self) -> i32 {
        let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        self.random.pick(&[
            r | w,
            r | w,
            r | w,
            r | w,
            r,
            r,
            libc::PROT_NONE,
            w,
            r | x,
            r | w | x,
        ])
    }

    fn mmap(&mut self) -> Op {
        let kind = self.random.below(100);
        let stacks = self.shape.mix == Mix::Stacks;
        let file = (78..86)
            .contains(&kind)
            .then(|| self.random.below(44) as u64);
        let mut flags = match kind {
            0..=85 => libc::MAP_PRIVATE,
            86..=97 => libc::MAP_SHARED,
            98 => MAP_DROPPABLE,
            _ => self.random.pick(&[0, libc::MAP_SHARED_VALIDATE, 5]),
        };
        if file.is_none() {
            flags |= libc::MAP_ANONYMOUS;
        }
        if self.random.chance(if stacks { 30 } else { 4 }) {
            flags |= libc::MAP_GROWSDOWN;
        }
        for (flag, percent) in [
            (libc::MAP_STACK, 3),
            (libc::MAP_NORESERVE, 6),
            (libc::MAP_LOCKED, 3),
            (libc::MAP_POPULATE, 6),
            (libc::MAP_NONBLOCK, 2),
        ] {
            if self.random.chance(percent) {
                flags |= flag;
            }
        }
        let place = self.random.below(100);
        let Range { at, len } = match place {
            // Only such as do not go beyond the arena may replace what is there.
            0..=44 => self.pages(),
            _ => self.range(),
        };
        let (at, len) = match place {
            0..=36 => {
                flags |= libc::MAP_FIXED;
                let unaligned = self.random.chance(1) && at > 0;
                (Some(if unaligned { at - 8 } else { at }), len)
            }
            37..=44 => {
                flags |= libc::MAP_FIXED_NOREPLACE;
                (Some(at), len)
            }
            45..=64 => (Some(at), len),
            _ => (None, len),
        };
        // The sizes that huge pages fit in, at places where they do.
        let len = match flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) {
            0 if self.random.chance(3) => self.random.pick(&[2 << 20, 4 << 20]),
            _ => len,
        };
        let prot = self.prot();
        Op::Mmap {
            at,
            len,
            prot,
            flags,
            file,
        }
    }

    fn munmap(&mut self) -> Op {
        let Range { at, len } = self.range();
        Op::Munmap { at, len }
    }

    fn mprotect(&mut self) -> Op {
        let Range { at, len } = self.range();
        let mut prot = self.prot();
        match self.random.below(100) {
            0..=2 => prot |= libc::PROT_GROWSDOWN,
            3 => prot |= libc::PROT_GROWSUP,
            4 => prot |= 0x40,
            _ => {}
        }
        Op::Mprotect { at, len, prot }
    }

    fn mremap(&mut self) -> Op {
        let Range { at, len: old } = self.range();
        let new = match self.random.below(10) {
            0..=3 => old,
            4..=6 => old.wrapping_add(self.few() * PAGE),
            7 => 0,
            _ => self.few() * PAGE,
        };
        let old = match self.random.below(20) {
            0 => 0,
            _ => old,
        };
        let (may, fixed, dont) = (
            libc::MREMAP_MAYMOVE,
            libc::MREMAP_FIXED,
            libc::MREMAP_DONTUNMAP,
        );
        let mut flags = match self.random.below(100) {
            0..=14 => 0,
            15..=39 => may,
            40..=69 => may | fixed,
            70..=84 => may | dont,
            85..=93 => may | fixed | dont,
            94 => fixed,
            95 => dont,
            96 => 8 | may,
            _ => may,
        };
        let mut new = new;
        if flags & dont != 0 && self.random.chance(90) {
            new = old;
        }
        // Where it goes must lie in the arena, whatever is there.
        let room = self.shape.pages * PAGE;
        let whole = new.next_multiple_of(PAGE);
        let to = match room.checked_sub(whole) {
            Some(most) => self.random.within(0, (most / PAGE) as usize) as u64 * PAGE,
            None => {
                flags &= !(fixed | dont);
                0
            }
        };
        // So many VMAs at once move only when their length stays.
        let to = match self.random.chance(2) && to >= PAGE {
            true => to - 16,
            false => to,
        };
        Op::Mremap {
            at,
            old,
            new,
            flags,
            to,
        }
    }

    fn madvise(&mut self) -> Op {
        let Range { at, len } = self.range();
        let advice = match self.random.chance(40) {
            true => self.random.pick(&[
                libc::MADV_DONTNEED,
                libc::MADV_DONTNEED,
                libc::MADV_POPULATE_READ,
                libc::MADV_POPULATE_WRITE,
                libc::MADV_WIPEONFORK,
                libc::MADV_DONTFORK,
            ]),
            false => self.random.pick(ADVICE).0,
        };
        Op::Madvise { at, len, advice }
    }

    fn brk(&mut self) -> Op {
        let most = (self.shape.pages / 8 * PAGE) as usize;
        let to = self.random.within(0, most) as u64;
        Op::Brk { to }
    }

    fn mlock(&mut self) -> Op {
        let Range { at, len } = self.range();
        let flags = match self.random.below(20) {
            0..=14 => 0,
            19 => 2,
            _ => libc::MLOCK_ONFAULT as i32,
        };
        Op::Mlock { at, len, flags }
    }

    fn munlock(&mut self) -> Op {
        let Range { at, len } = self.range();
        Op::Munlock { at, len }
    }

    fn mlockall(&mut self) -> Op {
        // All that there is includes what is around the arena, which differs: whoever
        // is limited can't be compared.
        let kinds = if self.shape.unprivileged { 8 } else { 10 };
        match self.random.below(kinds) {
            0..=4 => Op::Munlockall,
            5 => Op::Mlockall { flags: 0 },
            6 => Op::Mlockall {
                flags: libc::MCL_FUTURE,
            },
            7 => Op::Mlockall {
                flags: libc::MCL_FUTURE | libc::MCL_ONFAULT,
            },
            8 => Op::Mlockall {
                flags: libc::MCL_CURRENT | libc::MCL_ONFAULT,
            },
            _ => Op::Mlockall {
                flags: libc::MCL_CURRENT,
            },
        }
    }

    fn mincore(&mut self) -> Op {
        let Range { at, len } = self.range();
        Op::Mincore { at, len }
    }

    fn msync(&mut self) -> Op {
        let Range { at, len } = self.range();
        let flags = self.random.pick(&[
            0,
            libc::MS_ASYNC,
            libc::MS_SYNC,
            libc::MS_SYNC | libc::MS_INVALIDATE,
            libc::MS_ASYNC | libc::MS_INVALIDATE,
            libc::MS_ASYNC | libc::MS_SYNC,
            8,
        ]);
        Op::Msync { at, len, flags }
    }

    /// Eight bytes in one page.
    fn word(&mut self) -> u64 {
        let page = self.random.below(self.shape.pages as usize) as u64;
        page * PAGE + self.random.below(512) as u64 * 8
    }

    fn load(&mut self) -> Op {
        Op::Load { at: self.word() }
    }

    fn store(&mut self) -> Op {
        Op::Store {
            at: self.word(),
            value: self.value(),
        }
    }

    fn fill(&mut self) -> Op {
        let Range { at, len } = self.pages();
        Op::Fill {
            at: at + self.random.below(512) as u64 * 8,
            pages: (len / PAGE).min(32),
            value: self.value(),
        }
    }

    fn copy(&mut self) -> Op {
        let at = self.word() + self.random.below(8) as u64;
        let room = self.shape.pages * PAGE - at;
        let len = self.random.within(1, 3 * PAGE as usize) as u64;
        let len = len.min(room);
        match self.random.chance(50) {
            true => Op::CopyIn { at, len },
            false => Op::CopyOut { at, len },
        }
    }

    fn fork_look(&mut self) -> Op {
        Op::ForkLook {
            value: self.value(),
        }
    }

    fn fork(&mut self) -> Op {
        match self.random.chance(50) {
            true => Op::Fork,
            false => Op::Back,
        }
    }

    fn limit(&mut self) -> Op {
        let which = self
            .random
            .pick(&[Limit::As, Limit::Data, Limit::Stack, Limit::Memlock]);
        let most = (self.shape.pages * PAGE) as usize;
        let bytes = match self.random.chance(60) {
            true => None,
            false => Some(self.random.within(0, most) as u64),
        };
        Op::Limit { which, bytes }
    }
}
