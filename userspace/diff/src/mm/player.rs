// SPDX-License-Identifier: GPL-2.0

//! A player: a process of its own that takes the steps of an episode on one side and
//! records what comes of them.
//!
//! ```text
//! player ── fork ─┬─ child plays on ──── back ─┐
//!                 └─ waits ────────────────────┴─ plays on where the child was
//! ```
//!
//! From the moment on that its arena is there it allocates nothing, and ends by `_exit`.

use super::look::Aspect;
use super::look::Looker;
use super::memory::Memory;
use super::memory::Record;
use super::memory::ENDED;
use super::op::Op;
use super::side::Outcome;
use super::side::Side;
use nix::libc;

/// The steps of an episode, and how closely they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The steps.
    pub ops: &'a [Op],
    /// How many forks may be within one another.
    pub depth: u32,
    /// After so many steps pages, flags and mincore are looked at; after four times as
    /// many, contents.
    pub look: usize,
    /// The step at which all that is seen is told.
    pub tell: Option<usize>,
    /// The step that this side leaves out.
    pub left_out: Option<usize>,
}

impl Plan<'_> {
    /// Whether this is looked at after a step of that number. It is the same on both sides.
    pub fn is_due(&self, at: usize, aspect: Aspect) -> bool {
        let is_last = at + 1 == self.ops.len();
        let is_look = is_last || (at + 1) % self.look == 0;
        let is_deep = is_last
            || (at + 1) % (4 * self.look) == 0
            || matches!(self.ops[at], Op::ForkLook { .. });
        match aspect {
            Aspect::Maps => true,
            Aspect::Contents => is_deep,
            _ => is_look,
        }
    }
}

/// What a process that plays has at hand.
pub struct Player<'a> {
    /// What is played.
    pub plan: Plan<'a>,
    /// Where it is recorded.
    pub memory: &'a Memory,
    /// On which side.
    pub side: Side,
    /// Sees what comes of it.
    pub looker: Looker,
}

impl Player<'_> {
    /// Plays until the end. This process is the player's alone.
    pub fn play(mut self, is_unprivileged: bool) -> ! {
        // What it starts is to end with it.
        // SAFETY: Nothing in memory changes.
        unsafe { libc::setpgid(0, 0) };
        let begun = self
            .looker
            .begin(&mut self.side)
            .and_then(|()| match is_unprivileged {
                true => give_up_locking(),
                false => Ok(()),
            });
        if let Err(why) = begun {
            self.memory.fail(why);
            end(false)
        }
        let has_ended = self.all();
        end(has_ended)
    }

    /// Whether this process, or a child of it, has come to the end.
    fn all(&mut self) -> bool {
        let mut depth = 0;
        let mut at = 0;
        while let Some(op) = self.plan.ops.get(at) {
            self.memory.set_at(at as u64);
            if self.plan.tell == Some(at) {
                self.tell_all(false);
            }
            let outcome = match *op {
                _ if self.plan.left_out == Some(at) => Outcome::default(),
                Op::Fork if depth < self.plan.depth => match fork() {
                    Fork::Child => {
                        depth += 1;
                        self.side.forked();
                        self.looker.forked();
                        Outcome::default()
                    }
                    Fork::Parent(child) => {
                        if !is_well(child) {
                            return false;
                        }
                        match self.memory.resume() {
                            ENDED => return true,
                            resume => at = resume as usize,
                        }
                        Outcome::default()
                    }
                    Fork::Refused(error) => Outcome {
                        answer: error,
                        value: 0,
                    },
                },
                Op::Back if depth > 0 => {
                    self.memory.set_resume(at as u64);
                    end(true);
                }
                Op::Fork | Op::Back => Outcome::default(),
                Op::ForkLook { value } => match self.fork_look(value) {
                    Some(outcome) => outcome,
                    None => return false,
                },
                ref op => {
                    let mut outcome = self.side.step(op);
                    if let Op::Mincore { at, len } = *op {
                        outcome.value = self.looker.answered(&self.side, at, len);
                    }
                    outcome
                }
            };
            self.record(at, outcome);
            at += 1;
        }
        self.memory.set_at(at as u64);
        self.memory.set_resume(ENDED);
        true
    }

    fn record(&mut self, at: usize, outcome: Outcome) {
        let mut record = Record {
            outcome,
            seen: [0; Aspect::ALL.len()],
        };
        for aspect in Aspect::ALL {
            if self.plan.is_due(at, aspect) && self.looker.look(&mut self.side, aspect) {
                record.seen[aspect as usize] = self.looker.seen.digest();
                if self.plan.tell == Some(at) {
                    let text = self.looker.seen.as_bytes();
                    self.memory.tell(aspect, true, text);
                }
            }
        }
        self.memory.set_record(at, &record);
    }

    /// Tells what there is, but for the contents, whose reading changes it.
    fn tell_all(&mut self, after: bool) {
        for aspect in Aspect::ALL {
            if aspect != Aspect::Contents && self.looker.look(&mut self.side, aspect) {
                self.memory.tell(aspect, after, self.looker.seen.as_bytes());
            }
        }
    }

    /// A child looks at all that it has, writes to it, looks again, and ends. `None` if
    /// it did not come to that.
    fn fork_look(&mut self, value: u64) -> Option<Outcome> {
        match fork() {
            Fork::Child => {
                self.side.forked();
                self.looker.forked();
                let mut seen = 0u64;
                let rounds = [
                    Aspect::Maps,
                    Aspect::Mincore,
                    Aspect::Contents,
                    Aspect::Mincore,
                    Aspect::Counters,
                ];
                for is_written in [false, true] {
                    if is_written {
                        self.looker.scribble(value);
                    }
                    for aspect in rounds {
                        // What can't be looked at is 0, as in a record.
                        let digest = match self.looker.look(&mut self.side, aspect) {
                            true => self.looker.seen.digest(),
                            false => 0,
                        };
                        seen = seen.rotate_left(9) ^ digest;
                    }
                }
                self.memory.set_child(seen);
                end(true)
            }
            Fork::Parent(child) => is_well(child).then(|| Outcome {
                answer: 0,
                value: self.memory.child(),
            }),
            Fork::Refused(error) => Some(Outcome {
                answer: error,
                value: 0,
            }),
        }
    }
}

enum Fork {
    Child,
    Parent(libc::pid_t),
    /// Minus the error number.
    Refused(i64),
}

fn fork() -> Fork {
    let parent = std::process::id();
    // SAFETY: The only thread of this process goes on in both, and allocates in neither.
    match super::arena::answer(i64::from(unsafe { libc::fork() })) {
        0 => {
            end_with(parent);
            Fork::Child
        }
        error @ ..0 => Fork::Refused(error),
        child => Fork::Parent(child as libc::pid_t),
    }
}

/// Has this process end as soon as its parent has, which may have been a moment ago.
pub fn end_with(parent: u32) {
    // SAFETY: Nothing in memory changes.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() as u32 != parent {
            end(false);
        }
    }
}

/// Waits for a child: whether it has ended by itself.
pub fn is_well(child: libc::pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: The status is there to be written.
        let got = unsafe { libc::waitpid(child, &mut status, 0) };
        if got == child {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if got < 0 && super::arena::answer(-1) != -i64::from(libc::EINTR) {
            return false;
        }
    }
}

/// Ends this process, and nothing else: what it has in common with others stays.
pub fn end(is_well: bool) -> ! {
    // SAFETY: Nothing has to be done at the end.
    unsafe { libc::_exit(i32::from(!is_well)) }
}

/// Is limited in what it may lock from here on.
fn give_up_locking() -> Result<(), &'static str> {
    const CAP_IPC_LOCK: u32 = 14;
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; low words, then high ones.
    let mut sets = [0u32; 6];
    // SAFETY: Both are as large as that version's.
    unsafe {
        if libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) == 0 {
            sets[0] &= !(1 << CAP_IPC_LOCK);
            if libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) == 0 {
                return Ok(());
            }
        }
    }
    Err("CAP_IPC_LOCK could not be given up")
}
