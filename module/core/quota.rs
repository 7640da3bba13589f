// SPDX-License-Identifier: GPL-2.0

//! How much of the shadow one user may have, and one open file.
//!
//! ```text
//! user    what all of his open files have   <= the limit of a user
//!   file  what this one has                 <= the limit of a file
//! ```
//!
//! What is asked for is reserved first, in the file's count and the user's; what
//! came of it is settled afterwards: a request that got less, or nothing, gives
//! the rest back then. As with the limits of `setrlimit` and the quotas of keys
//! (`key_payload_reserve`), whoever has `CAP_SYS_RESOURCE` is above them, and
//! counted none the less.

use crate::barrier::after_atomic;
use crate::error::Error;
use crate::error::Result;
use core::fmt;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Relaxed;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pages: of held blocks, and those that processes have in their windows, of tables and
    /// shared objects, too.
    Pages,
    /// Objects of caches and of kmalloc.
    Objects,
    /// Address spaces.
    Spaces,
    /// VMAs of address spaces.
    Vmas,
}

/// How many kinds there are.
pub const NR_KINDS: usize = 4;

impl Kind {
    /// All of them.
    pub const ALL: [Self; NR_KINDS] = [Self::Pages, Self::Objects, Self::Spaces, Self::Vmas];
}

/// How much of each kind may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([u64; NR_KINDS]);

impl Limits {
    /// No limits.
    pub const NONE: Self = Self([u64::MAX; NR_KINDS]);

    /// What a user may have where nothing else is said: half of the shadow's pages;
    /// as many objects as take half of that, if each were the only one in a
    /// slab of order 3; 256 address spaces; and half as many VMAs as there are pages,
    /// which with their trees are kept in a twentieth of these or so. All of it leaves
    /// others a fifth.
    pub const fn of_user(shadow: u64) -> Self {
        Self([shadow / 2, shadow / 32, 256, shadow / 2])
    }

    /// The limit of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or(u64::MAX)
    }
}

/// What somebody has.
#[derive(Debug, Default)]
pub struct Usage([AtomicI64; NR_KINDS]);

impl Usage {
    /// Nothing.
    pub const fn new() -> Self {
        Self([const { AtomicI64::new(0) }; NR_KINDS])
    }

    /// How much of a kind. Below zero, where it is none, a count is for a moment: what
    /// has gone may be told before that it had come.
    pub fn of(&self, kind: Kind) -> u64 {
        let count = self.0.get(kind as usize);
        let count = count.map_or(0, |count| count.load(Relaxed));
        u64::try_from(count).unwrap_or(0)
    }

    /// Takes `more`; false, and nothing is taken, where that would be more than
    /// `limit`.
    fn take(&self, kind: Kind, more: u64, limit: u64) -> bool {
        let Ok(more) = i64::try_from(more) else {
            return false;
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let taken = self.0.get(kind as usize).map(|count| {
            count.fetch_update(Relaxed, Relaxed, |now| {
                now.checked_add(more)
                    .filter(|&sum| more == 0 || sum <= limit)
            })
        });
        matches!(taken, Some(Ok(_)))
    }

    /// Adds what may be negative.
    fn add(&self, kind: Kind, more: i64) {
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(more, Relaxed);
        }
    }
}

/// What an open file has, with its user's.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The file's.
    pub file: &'a Usage,
    /// That of all the user's files.
    pub user: &'a Usage,
}

impl Account<'_> {
    /// Reserves `more` of a kind, of which the file and the user may have so much.
    /// `exempt` is asked where a limit is in the way.
    ///
    /// # Errors
    ///
    /// [`Error::FileLimit`], [`Error::UserLimit`]; nothing is reserved then.
    pub fn reserve(
        &self,
        kind: Kind,
        more: u64,
        (of_file, of_user): (u64, u64),
        exempt: impl Fn() -> bool,
    ) -> Result<()> {
        let take = |of: &Usage, limit: u64| {
            of.take(kind, more, limit) || exempt() && of.take(kind, more, u64::MAX)
        };
        if !take(self.file, of_file) {
            return Err(Error::FileLimit);
        }
        if !take(self.user, of_user) {
            self.file.add(kind, (more as i64).wrapping_neg());
            return Err(Error::UserLimit);
        }
        Ok(())
    }

    /// Gives back what was reserved and is not had, or not any more.
    pub fn release(&self, kind: Kind, less: u64) {
        self.settle(kind, less as i64, 0);
    }

    /// What was seen of a kind, `before` and `now`, of that which comes without being
    /// asked for: a process's touches take pages.
    pub fn settle(&self, kind: Kind, before: i64, now: i64) {
        let more = now.wrapping_sub(before);
        self.file.add(kind, more);
        self.user.add(kind, more);
    }

    /// Whether the file or the user would have more than he may with `more`.
    pub fn is_full(&self, kind: Kind, more: u64, (of_file, of_user): (u64, u64)) -> bool {
        let would = |of: &Usage| of.of(kind).saturating_add(more);
        would(self.file) > of_file || would(self.user) > of_user
    }
}

/// What an account was told of a count that comes without being asked for, and that others
/// change at the same time.
///
/// ```text
/// who changes the count                 another, who tells
///   count                                 told = what he has read
///   barrier                               barrier
///   told: near enough? done               count: is that near it? done
/// ```
///
/// # Invariants
///
/// What was settled adds up to what was told. When each who has changed the count has been in
/// [`Told::tell`] since, and nobody is, what was told is the count, but for less than the slack.
#[derive(Debug)]
pub struct Told(AtomicI64);

impl Told {
    /// So much was told already.
    pub const fn new(told: i64) -> Self {
        Self(AtomicI64::new(told))
    }

    /// How much was told.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// Tells what `count` reads, where it is as far as `slack` from what was told: `settle` has
    /// what was told before, and what is now ([`Account::settle`]).
    pub fn tell(&self, slack: u64, count: impl Fn() -> i64, settle: impl Fn(i64, i64)) {
        // Who was kept from telling what he had read tells of a past: the last to tell looks again.
        loop {
            after_atomic();
            let now = count();
            if self.0.load(Relaxed).abs_diff(now) < slack {
                return;
            }
            self.set(now, &settle);
        }
    }

    /// The same without another look: of who knows what the count is, and that nobody changes it, or who
    /// has just looked.
    pub fn set(&self, now: i64, settle: impl Fn(i64, i64)) {
        // Two at once tell of what each has seen, one after the other. Who comes behind sees
        // what the one before him has counted.
        let before = self.0.swap(now, AcqRel);
        if before != now {
            settle(before, now);
        }
    }
}

/// The head of `/proc/shadowmm/users`.
pub const HEAD: &str = "       uid  files      pages    objects     spaces       vmas\n";

/// A user's line there.
///
/// # Errors
///
/// Those of `out`.
pub fn write_user(out: &mut dyn fmt::Write, uid: u32, files: u64, usage: &Usage) -> fmt::Result {
    let [pages, objects, spaces, vmas] = Kind::ALL.map(|kind| usage.of(kind));
    writeln!(
        out,
        "{uid:>10} {files:>6} {pages:>10} {objects:>10} {spaces:>10} {vmas:>10}"
    )
}
