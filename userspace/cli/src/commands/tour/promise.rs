// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about overcommit: more is promised than there is, and whom the OOM
//! killer would choose if all of it came due.

use super::window::length;
use super::window::open;
use super::window::poke;
use super::window::resident;
use super::window::Child;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::bytes;
use crate::render::pages;
use crate::render::percent;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;
use std::path::Path;

/// What the tour's child has more than the tour.
const MORE: u64 = 2 << 20;
/// Address spaces that the table has room for.
const ROWS: usize = 2;

/// What was promised.
#[derive(Debug, Serialize)]
pub struct Promises {
    managed_pages: u64,
    /// Where it may be read.
    knobs: Option<Knobs>,
    steps: Vec<Step>,
    /// Who could be killed, the worst first.
    candidates: Vec<Candidate>,
    /// The space whose process would be.
    chosen: Option<u32>,
}

/// What `/proc/shadowmm` says of promises.
#[derive(Debug, Serialize)]
struct Knobs {
    overcommit_memory: u64,
    overcommit_ratio: u64,
    commit_limit_kib: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    what: String,
    /// Whether it was refused, and by what errno.
    refused: Option<String>,
    /// Afterwards.
    committed_kib: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    space: Space,
    badness: Option<i64>,
}

/// A line of meminfo, in KiB.
fn meminfo(root: &Path, wanted: &str) -> Result<u64> {
    let text = host::read(root, "proc/shadowmm/meminfo")?;
    let value = host::field(&text, &format!("{wanted}:"));
    value.ok_or_else(|| Error::failed(format!("meminfo has no {wanted}")))
}

fn knob(root: &Path, name: &str) -> Result<u64> {
    let text = host::read(root, &format!("proc/shadowmm/vm/{name}"))?;
    let value = text.parse();
    value.map_err(|_| Error::failed(format!("{name} is no number: {text}")))
}

impl Knobs {
    fn read(root: &Path) -> Result<Self> {
        Ok(Self {
            overcommit_memory: knob(root, "overcommit_memory")?,
            overcommit_ratio: knob(root, "overcommit_ratio")?,
            commit_limit_kib: meminfo(root, "CommitLimit")?,
        })
    }
}

/// Maps private memory, to be written to.
fn map(window: &Window<'_>, bytes: u64, flags: MapFlags) -> Result<()> {
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = flags | MapFlags::MAP_PRIVATE;
    window.mmap(None, length(bytes)?, prot, flags, None)?;
    Ok(())
}

impl Promises {
    /// Asks for more than there is, in several ways; then looks who has how much.
    pub fn see(context: &Context, device: &Device) -> Result<Self> {
        let root = &context.root;
        let managed_pages = device.status()?.managed_pages;
        let all = managed_pages.saturating_mul(PAGE_SIZE);
        let most = (managed_pages / 4 * 3).saturating_mul(PAGE_SIZE);
        let window = open(
            device,
            (all * 8).next_power_of_two().max(super::window::WINDOW),
        )?;
        let committed = || meminfo(root, "Committed_AS").ok();
        let mut steps = vec![Step {
            what: "the window is new".to_owned(),
            refused: None,
            committed_kib: committed(),
        }];
        let none = MapFlags::empty();
        for (what, bytes, flags) in [
            ("twice the memory", all * 2, none),
            ("that, MAP_NORESERVE", all * 2, MapFlags::MAP_NORESERVE),
            ("three quarters of it", most, none),
            ("and once more", most, none),
        ] {
            let refused = map(&window, bytes, flags).err();
            steps.push(Step {
                what: format!("{what}: {}", pages(bytes / PAGE_SIZE)),
                refused: refused.map(|error| match error {
                    Error::Device(error) => format!("{:?}", error.errno()),
                    other => other.to_string(),
                }),
                committed_kib: committed(),
            });
        }
        let mut promises = Self {
            managed_pages,
            knobs: Knobs::read(root).ok(),
            steps,
            candidates: Vec::new(),
            chosen: None,
        };
        drop(window);
        promises.rank(device)?;
        Ok(promises)
    }

    /// Looks at all address spaces while a child has one that is worse than the tour's.
    fn rank(&mut self, device: &Device) -> Result<()> {
        let window = open(device, super::window::WINDOW)?;
        let start = super::window::address(window.mmap_anonymous(length(MORE)?)?);
        let mut child = Child::fork(|talk| {
            for addr in (start..start + MORE).step_by(PAGE_SIZE as usize) {
                poke(&window, addr, 2)?;
            }
            talk.say(&[0])?;
            talk.hear::<1>().map(drop)
        })?;
        child.talk()?.hear::<1>()?;
        let spaces = device.spaces()?;
        child.end()?;
        self.chosen = Space::next_victim(&spaces, self.managed_pages).map(|space| space.id);
        self.candidates = spaces
            .into_iter()
            .map(|space| Candidate {
                badness: space.badness(self.managed_pages),
                space,
            })
            .collect();
        self.candidates
            .sort_by_key(|candidate| std::cmp::Reverse(candidate.badness));
        Ok(())
    }

    fn promised(&self) -> Table {
        let all = self.managed_pages.saturating_mul(PAGE_SIZE);
        let mut table = Table::new([
            Column::text("mapped"),
            Column::text("answer"),
            Column::number("Committed_AS"),
            Column::number("of the memory"),
        ]);
        for (index, step) in self.steps.iter().enumerate() {
            let committed = step.committed_kib.map(|kib| kib.saturating_mul(1024));
            table.row([
                step.what.clone(),
                match (index, &step.refused) {
                    (0, _) => String::new(),
                    (_, None) => "yes".to_owned(),
                    (_, Some(_)) => "refused".to_owned(),
                },
                committed.map_or("?".to_owned(), bytes),
                committed.map_or("?".to_owned(), |committed| percent(committed, all)),
            ]);
        }
        table
    }

    fn ranked(&self) -> Table {
        let mut table = Table::new([
            Column::number("space"),
            Column::number("pid"),
            Column::text("process"),
            Column::number("RES"),
            Column::number("tables"),
            Column::number("adj"),
            Column::number("badness"),
        ]);
        for Candidate { space, badness } in self.candidates.iter().take(ROWS) {
            table.row([
                space.id.to_string(),
                space.pid.to_string(),
                space.comm.replace(char::is_control, "?"),
                pages(resident(space)),
                bytes(space.pgtables_bytes),
                space.oom_score_adj.to_string(),
                badness.map_or("never".to_owned(), |points| points.to_string()),
            ]);
        }
        table
    }

    /// The most that was promised at a time, in bytes.
    fn most(&self) -> Option<u64> {
        let kib = self.steps.iter().filter_map(|step| step.committed_kib);
        kib.max().map(|kib| kib.saturating_mul(1024))
    }
}

impl Report for Promises {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match &self.knobs {
            Some(knobs) => format!(
                "What is mapped is a promise. vm/overcommit_memory is {}: {}. {}: {}, by vm/overcommit_ratio {} %.",
                knobs.overcommit_memory,
                match knobs.overcommit_memory {
                    0 => "only a mapping that is larger than all memory is refused",
                    1 => "nothing is refused",
                    _ => "no more is promised than may be",
                },
                match knobs.overcommit_memory {
                    0 | 1 => "In mode 2 CommitLimit would be the most",
                    _ => "CommitLimit is the most",
                },
                bytes(knobs.commit_limit_kib.saturating_mul(1024)),
                knobs.overcommit_ratio
            ),
            None => "What is mapped is a promise. How much is, /proc/shadowmm/meminfo tells those who may read it: root, and the group of report_gid=.".to_owned(),
        });
        screen.blank();
        self.promised().print(screen);
        screen.blank();
        let refused = self.steps.iter().filter_map(|step| step.refused.as_ref());
        let all = self.managed_pages.saturating_mul(PAGE_SIZE);
        let refusals = match refused.clone().next() {
            Some(why) => format!(
                "Refused: {} of {} ({why}).",
                refused.count(),
                self.steps.len() - 1
            ),
            None => "Nothing was refused.".to_owned(),
        };
        screen.para(&match self.most() {
            Some(most) if most > all => format!(
                "{refusals} {} are promised then, where there are {}, and the tour has touched none of it.",
                bytes(most),
                bytes(all)
            ),
            _ => refusals,
        });
        screen.para("If it comes due, the OOM killer chooses who has most: resident pages, pages of tables, and oom_score_adj thousandths of all memory. A child of the tour's has 2 MiB now:");
        screen.blank();
        self.ranked().print(screen);
        if let Some(rest @ 1..) = self.candidates.len().checked_sub(ROWS) {
            screen.para(&format!("… and {rest} more: shadowmm mm list"));
        }
        screen.para(&match self.chosen {
            Some(id) => format!("It would be space {id}'s process. Nobody was killed."),
            None => "There is nobody who could be killed.".to_owned(),
        });
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;
    use std::fs;

    pub fn sample() -> Promises {
        let managed_pages = 127_268;
        let step = |what: &str, refused: Option<&str>, committed_kib| Step {
            what: what.to_owned(),
            refused: refused.map(str::to_owned),
            committed_kib: Some(committed_kib),
        };
        let mut worst = testing::space(18);
        worst.rss_anon_pages = 512;
        worst.pgtables_bytes = 16384;
        let candidates = [worst, testing::space(17)].map(|space| Candidate {
            badness: space.badness(managed_pages),
            space,
        });
        Promises {
            managed_pages,
            knobs: Some(Knobs {
                overcommit_memory: 0,
                overcommit_ratio: 50,
                commit_limit_kib: 254_536,
            }),
            steps: vec![
                step("the window is new", None, 132),
                step("twice the memory: 994 MiB", Some("ENOMEM"), 132),
                step("that, MAP_NORESERVE: 994 MiB", None, 132),
                step("three quarters of it: 373 MiB", None, 381_932),
                step("and once more: 373 MiB", None, 763_732),
            ],
            candidates: candidates.into(),
            chosen: Some(18),
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 300);
        assert!(text.contains("only a mapping that is larger than all memory is refused"));
        assert!(text.contains("Refused: 1 of 4 (ENOMEM)."));
        assert!(text.contains("746 MiB are promised then, where there are 497 MiB"));
        assert!(text.contains("It would be space 18's process."));
        seen.knobs = None;
        seen.chosen = None;
        for step in &mut seen.steps {
            (step.refused, step.committed_kib) = (None, None);
        }
        let text = testing::text(&seen, 300);
        assert!(text.contains("those who may read it: root"));
        assert!(text.contains("Nothing was refused.") && !text.contains("are promised then"));
        assert!(text.contains("nobody who could be killed"));
    }

    #[test]
    fn meminfo_and_knobs_are_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("proc/shadowmm");
        fs::create_dir_all(dir.join("vm")).unwrap();
        fs::write(
            dir.join("meminfo"),
            "CommitLimit:   12 kB\nCommitted_AS:    7 kB\n",
        )
        .unwrap();
        fs::write(dir.join("vm/overcommit_memory"), "2\n").unwrap();
        fs::write(dir.join("vm/overcommit_ratio"), "cheese\n").unwrap();
        assert_eq!(meminfo(root.path(), "Committed_AS").unwrap(), 7);
        assert!(meminfo(root.path(), "Cheese").is_err());
        assert_eq!(knob(root.path(), "overcommit_memory").unwrap(), 2);
        let error = Knobs::read(root.path()).unwrap_err().to_string();
        assert!(error.contains("cheese"));
    }
}
