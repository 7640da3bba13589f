// SPDX-License-Identifier: GPL-2.0

//! An episode: the same steps on two sides, each with a player of its own, and where
//! they come apart.

use super::generate::Shape;
use super::generate::PAGE;
use super::host::Host;
use super::look::Aspect;
use super::look::Looker;
use super::memory::Memory;
use super::memory::Record;
use super::memory::ASPECTS;
use super::memory::ENDED;
use super::op::Op;
use super::player;
use super::player::Plan;
use super::player::Player;
use super::side::Side;
use super::side::Who;
use super::touch;
use super::window::Window;
use crate::signals;
use crate::Result;
use nix::libc;
use std::ffi::CStr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The running kernel, with an arena at this address.
    Host(u64),
    /// The shadow, with a window there.
    Window(u64),
}

/// Where the arena lies in a process: below all that is searched from below when there is
/// no room (`TASK_UNMAPPED_BASE`), as a window's does.
pub const FIRST_ARENA: u64 = 0x2000_0000_0000;
/// The same in a second process.
pub const SECOND_ARENA: u64 = 0x1000_0000_0000;

/// A player that gets no further in this time never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is the same for all episodes.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The module's device.
    pub device: &'a CStr,
    /// Who plays.
    pub kinds: [Kind; 2],
    /// After how many steps more is looked at than maps.
    pub look: usize,
    /// The step that the second of them takes alone.
    pub alone: Option<usize>,
}

/// Where two sides came apart.
#[derive(Clone, Debug)]
pub struct Split {
    /// The step.
    pub at: usize,
    /// What each came to; the last of a side that has ended is what was there before.
    pub records: [Record; 2],
    /// Why a side did not go on.
    pub ends: [Option<String>; 2],
}

/// What came of an episode.
#[derive(Debug)]
pub struct Played {
    /// Where both sides came apart, if they did.
    pub split: Option<Split>,
    /// Of each step until then, whether the kernel has refused it, or sent a signal.
    pub refused: Vec<bool>,
    /// How often each aspect was compared.
    pub looks: [u64; ASPECTS],
    /// Of each aspect, before the step that was to be told and after it, what each side
    /// had.
    pub texts: Vec<(Aspect, [[String; 2]; 2])>,
}

impl Stage<'_> {
    /// Plays; what is there at step number `tell` is told.
    pub fn play(&self, shape: &Shape, ops: &[Op], tell: Option<usize>) -> Result<Played> {
        let plan = |left_out| Plan {
            ops,
            depth: shape.depth,
            look: self.look,
            tell,
            left_out,
        };
        let plans = [plan(self.alone), plan(None)];
        let memories = [Memory::new(ops.len())?, Memory::new(ops.len())?];
        let mut pids = [0; 2];
        for side in 0..2 {
            pids[side] = self.start(self.kinds[side], shape, plans[side], &memories[side])?;
        }
        let ends = wait(&memories, pids, PATIENCE);
        signals::check()?;
        if let Some(why) = memories.iter().find_map(Memory::failure) {
            return Err(why);
        }
        let mut played = ops.len();
        for (memory, end) in memories.iter().zip(&ends) {
            if end.is_some() {
                played = played.min(memory.at() as usize);
            }
        }
        let records = |at: usize| [memories[0].record(at), memories[1].record(at)];
        let differs = |&at: &usize| {
            let [first, second] = records(at);
            first.outcome != second.outcome || first.differs(&second).contains(&true)
        };
        let split = match (0..played).find(differs) {
            Some(at) => Some(Split {
                at,
                records: records(at),
                ends: [None, None],
            }),
            None if ends.iter().any(Option::is_some) => Some(Split {
                at: played.min(ops.len() - 1),
                records: [Record::default(); 2],
                ends,
            }),
            None => None,
        };
        let equal = split.as_ref().map_or(ops.len(), |split| split.at);
        for (at, [first, second]) in (0..equal).map(records).enumerate() {
            let due = |aspect| plans[1].is_due(at, aspect);
            if let Some(aspect) = first.unseen(&second, due) {
                let name = aspect.name();
                return Err(format!(
                    "neither side could be looked at after step {at}: its {name} could not be read"
                ));
            }
        }
        let mut looks = [0; ASPECTS];
        let mut refused = Vec::with_capacity(equal);
        for [first, second] in (0..equal).map(records) {
            refused.push(first.outcome.answer < 0);
            for (look, (ours, theirs)) in looks.iter_mut().zip(first.seen.iter().zip(second.seen)) {
                *look += u64::from(*ours != 0 && theirs != 0);
            }
        }
        let both = |aspect, after| {
            [
                memories[0].told(aspect, after),
                memories[1].told(aspect, after),
            ]
        };
        let texts = Aspect::ALL.map(|aspect| (aspect, [both(aspect, false), both(aspect, true)]));
        Ok(Played {
            split,
            refused,
            looks,
            texts: texts.into(),
        })
    }

    /// Starts a player.
    fn start(
        &self,
        kind: Kind,
        shape: &Shape,
        plan: Plan<'_>,
        memory: &Memory,
    ) -> Result<libc::pid_t> {
        let parent = std::process::id();
        // SAFETY: This program has one thread; the child goes on as a player, which ends
        // without giving up what is its parent's.
        match unsafe { libc::fork() } {
            0 => {
                player::end_with(parent);
                self.be_player(kind, shape, plan, memory);
            }
            ..0 => Err("no player could be started".to_owned()),
            pid => {
                // It does the same; whoever is first, its children are in it.
                // SAFETY: Nothing in memory changes.
                unsafe { libc::setpgid(pid, pid) };
                Ok(pid)
            }
        }
    }

    fn be_player(&self, kind: Kind, shape: &Shape, plan: Plan<'_>, memory: &Memory) -> ! {
        signals::let_through();
        touch::handle_signals();
        let mut looker = Looker::new();
        let room = looker.room();
        let side = Side::new(shape.pages, || {
            grow_stack();
            match kind {
                Kind::Host(base) => Host::new(base, shape.pages, room).map(Who::Host),
                Kind::Window(base) => Window::new(self.device, base, shape.pages).map(Who::Window),
            }
        });
        let side = match side {
            Ok(side) => side,
            Err(why) => {
                memory.fail(why);
                player::end(false)
            }
        };
        let player = Player {
            plan,
            memory,
            side,
            looker,
        };
        player.play(shape.unprivileged)
    }
}

/// Has the stack grow now by what is needed later, which begins where this function's frame
/// does.
#[inline(never)]
fn grow_stack() {
    let room = [0u8; 64 * PAGE as usize];
    std::hint::black_box(&room);
}

/// Waits for both players; why one did not come to the end. Both are ended where this command is
/// to end.
fn wait(memories: &[Memory; 2], pids: [libc::pid_t; 2], patience: Duration) -> [Option<String>; 2] {
    let mut ends = [None, None];
    let mut is_running = [true; 2];
    let mut last = [(u64::MAX, Instant::now()); 2];
    while is_running.contains(&true) {
        for side in 0..2 {
            if !is_running[side] {
                continue;
            }
            let mut status = 0;
            // SAFETY: The status is there to be written.
            let got = unsafe { libc::waitpid(pids[side], &mut status, libc::WNOHANG) };
            if got == pids[side] {
                is_running[side] = false;
                if ends[side].is_none() {
                    ends[side] = how_ended(&memories[side], status);
                }
                continue;
            }
            if signals::asked().is_some() {
                stop(pids[side]);
                continue;
            }
            let at = memories[side].at();
            if at != last[side].0 {
                last[side] = (at, Instant::now());
            } else if last[side].1.elapsed() > patience {
                stop(pids[side]);
                ends[side] = Some(format!("it hung for {} s", patience.as_secs()));
                last[side].1 = Instant::now();
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
    ends
}

/// Ends a player, and its children with it: they are its process group. It is ended also
/// where it has none yet.
fn stop(player: libc::pid_t) {
    // SAFETY: The process is ours, and not waited for yet.
    unsafe {
        libc::kill(-player, libc::SIGKILL);
        libc::kill(player, libc::SIGKILL);
    }
}

fn how_ended(memory: &Memory, status: i32) -> Option<String> {
    if libc::WIFSIGNALED(status) {
        return Some(format!("its player got signal {}", libc::WTERMSIG(status)));
    }
    let is_well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    match is_well && memory.resume() == ENDED {
        true => None,
        false => Some("its player, or a child of it, did not come to the end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that gets no further.
    fn idler() -> libc::pid_t {
        // SAFETY: The child does nothing but wait.
        let player = match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: As above.
                unsafe { libc::pause() };
            },
            player => player,
        };
        assert!(player > 0);
        player
    }

    #[test]
    fn a_player_that_hung_is_not_told_to_have_got_the_signal_that_ended_it() {
        let memories = [(); 2].map(|()| Memory::new(1).unwrap());
        let ends = wait(&memories, [idler(), idler()], Duration::from_millis(20));
        for end in ends {
            let end = end.unwrap();
            assert!(end.starts_with("it hung"), "{end}");
        }
    }

    #[test]
    fn a_player_without_a_group_is_ended_too() {
        let player = idler();
        stop(player);
        let begin = Instant::now();
        let mut status = 0;
        // SAFETY: The status is there to be written.
        while unsafe { libc::waitpid(player, &mut status, libc::WNOHANG) } == 0 {
            assert!(begin.elapsed() < Duration::from_secs(30), "it goes on");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(libc::WIFSIGNALED(status));
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
    }
}
