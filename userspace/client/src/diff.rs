// SPDX-License-Identifier: GPL-2.0

//! The differential test: the same steps on the running kernel's zones and on
//! copies of them that the shadow's buddy system manages.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use crate::request::text;
use serde::Serialize;
use shadowmm_abi as abi;

/// How many steps can be played at once.
pub const MAX_STEPS: usize = 1 << 16;

/// What a step does. A step whose slot is full where it must be empty, or the
/// other way round, does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Step {
    /// A block for a slot.
    Alloc {
        /// The slot.
        slot: u32,
        /// The request's flags.
        gfp: u32,
        /// The block's order.
        order: u32,
    },
    /// A slot's block goes back.
    Free {
        /// The slot.
        slot: u32,
    },
    /// Single pages at once, for this slot and those behind it.
    Bulk {
        /// The first slot.
        slot: u32,
        /// The request's flags.
        gfp: u32,
        /// How many pages at most.
        count: u32,
    },
    /// The single pages of so many slots go back at once.
    FreeBulk {
        /// The first slot.
        slot: u32,
        /// How many slots.
        count: u32,
    },
    /// A slot's block becomes single pages, for it and the slots behind it.
    Split {
        /// The slot.
        slot: u32,
    },
    /// All lists and page blocks are compared.
    Look,
    /// The boost of the watermarks ends.
    Unboost,
    /// The next refresh of the kernel's statistics finds its pagesets idle.
    Expire,
    /// That refresh has happened: the copies follow.
    Refresh,
}

impl From<&Step> for abi::shadowmm_diff_step {
    fn from(step: &Step) -> Self {
        let with = |op, slot, gfp, order| Self {
            op,
            gfp,
            order,
            slot,
        };
        match *step {
            Step::Alloc { slot, gfp, order } => with(abi::SHADOWMM_DIFF_ALLOC, slot, gfp, order),
            Step::Free { slot } => with(abi::SHADOWMM_DIFF_FREE, slot, 0, 0),
            Step::Bulk { slot, gfp, count } => with(abi::SHADOWMM_DIFF_BULK, slot, gfp, count),
            Step::FreeBulk { slot, count } => with(abi::SHADOWMM_DIFF_FREE_BULK, slot, 0, count),
            Step::Split { slot } => with(abi::SHADOWMM_DIFF_SPLIT, slot, 0, 0),
            Step::Look => with(abi::SHADOWMM_DIFF_LOOK, 0, 0, 0),
            Step::Unboost => with(abi::SHADOWMM_DIFF_UNBOOST, 0, 0, 0),
            Step::Expire => with(abi::SHADOWMM_DIFF_EXPIRE, 0, 0, 0),
            Step::Refresh => with(abi::SHADOWMM_DIFF_REFRESH, 0, 0, 0),
        }
    }
}

/// What a step came to, where both sides did the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The block's first page, or how many pages or blocks.
    Done(u64),
    /// No block.
    Nothing,
    /// The step could not be played.
    Skipped,
}

impl From<u64> for Outcome {
    fn from(result: u64) -> Self {
        match !result {
            0 => Self::Nothing,
            1 => Self::Skipped,
            _ => Self::Done(result),
        }
    }
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Another block was chosen.
    Blocks,
    /// Counts differ after the step.
    Numbers,
    /// A list differs.
    Lists,
    /// A page block's type differs.
    Types,
    /// The kernel's zone had changed before the first step.
    Disturbed,
}

/// A difference between the two sides, after which nothing more is played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// What kind it is.
    pub verdict: Verdict,
    /// What differs.
    pub what: String,
    /// The kernel's choice or number.
    pub host: u64,
    /// The shadow's.
    pub shadow: u64,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The running kernel.
    Host,
    /// The copies.
    Shadow,
}

/// How copies are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// The kernel's node.
    pub nid: u32,
    /// Take all of its free memory first and give it back.
    pub empty: bool,
    /// Pagesets keep nothing.
    pub without_pagesets: bool,
    /// In which order the memory goes back; 0 for the lowest pages first.
    pub seed: u64,
}

/// Copies of the zones of one of the kernel's nodes. What was taken from the
/// node goes back when the device is closed, or with the next copies.
#[derive(Debug)]
pub struct Diff<'d> {
    device: &'d Device,
    zones: u32,
    slots: u64,
    managed: u64,
    free: u64,
}

impl Device {
    /// Copies the zones of one of the kernel's nodes.
    pub fn diff(&self, options: &DiffOptions) -> Result<Diff<'_>> {
        let flag = |set, flag| if set { flag } else { 0 };
        let mut open = abi::shadowmm_diff_open {
            nid: i32::try_from(options.nid).unwrap_or(i32::MAX),
            seed: options.seed,
            ..Default::default()
        };
        open.head.flags = flag(options.empty, abi::SHADOWMM_DIFF_EMPTY)
            | flag(options.without_pagesets, abi::SHADOWMM_DIFF_NO_PAGESETS);
        self.request("copy the kernel's zones", &mut open)?;
        Ok(Diff {
            device: self,
            zones: open.nr_zones,
            slots: open.nr_slots,
            managed: open.managed,
            free: open.free,
        })
    }
}

impl Diff<'_> {
    /// How many zones there are.
    pub fn zones(&self) -> u32 {
        self.zones
    }

    /// How many slots there are for blocks.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// How many pages the zones have.
    pub fn managed(&self) -> u64 {
        self.managed
    }

    /// How many of them were free in the beginning.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Plays up to [`MAX_STEPS`] steps: what each came to, as far as both sides
    /// were equal, and what was not.
    pub fn play(&self, steps: &[Step]) -> Result<(Vec<Outcome>, Option<Divergence>)> {
        const WHAT: &str = "play steps on both sides";
        let steps: Vec<abi::shadowmm_diff_step> = steps.iter().map(Into::into).collect();
        let mut results = vec![0u64; steps.len()];
        let mut play = abi::shadowmm_diff_play {
            nr_steps: steps.len().try_into().unwrap_or(u32::MAX),
            steps: steps.as_ptr() as u64,
            results: results.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.device.request(WHAT, &mut play)?;
        results.truncate(play.done as usize);
        let verdict = match play.verdict {
            abi::SHADOWMM_DIFF_EQUAL => None,
            abi::SHADOWMM_DIFF_BLOCKS => Some(Verdict::Blocks),
            abi::SHADOWMM_DIFF_NUMBERS => Some(Verdict::Numbers),
            abi::SHADOWMM_DIFF_LISTS => Some(Verdict::Lists),
            abi::SHADOWMM_DIFF_TYPES => Some(Verdict::Types),
            abi::SHADOWMM_DIFF_DISTURBED => Some(Verdict::Disturbed),
            value => {
                return Err(Error::Unexpected {
                    what: WHAT,
                    value: value.into(),
                })
            }
        };
        let divergence = verdict.map(|verdict| Divergence {
            verdict,
            what: text(&play.what),
            host: play.host,
            shadow: play.shadow,
        });
        Ok((results.into_iter().map(Into::into).collect(), divergence))
    }

    /// A side's state, for people.
    pub fn state(&self, side: Side) -> Result<String> {
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let mut state = abi::shadowmm_diff_state {
                side: match side {
                    Side::Host => abi::SHADOWMM_DIFF_HOST,
                    Side::Shadow => abi::SHADOWMM_DIFF_SHADOW,
                },
                capacity: bytes.len().try_into().unwrap_or(u32::MAX),
                buf: bytes.as_mut_ptr() as u64,
                ..Default::default()
            };
            self.device.request("read a side's state", &mut state)?;
            let size = usize::try_from(state.size).unwrap_or(usize::MAX);
            if size <= bytes.len() || bytes.len() >= 1 << 24 {
                bytes.truncate(size);
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            bytes.resize(size, 0);
        }
    }
}
