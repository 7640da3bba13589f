// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm list`, and what `/proc/shadowmm/mm` says of one.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::bytes;
use crate::render::pages;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Tree;
use shadowmm_client::mm::Vma;
use std::fs;
use std::path::Path;

/// Advice for whoever finds no address space.
const HOW: &str = "'shadowmm mm touch 64M --hold 60' keeps one for a minute, and 'shadowmm run -- PROGRAM' runs a program in one.";

/// The address spaces.
#[derive(Debug, Serialize)]
pub struct Spaces {
    spaces: Vec<Row>,
    /// Whom the OOM killer would choose now.
    next_victim: Option<u32>,
    managed_pages: u64,
    #[serde(flatten)]
    promised: Promised,
}

/// An address space, and how bad it is.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    space: Space,
    badness: Option<i64>,
}

/// What is promised, and what came of it when it came due; as far as it can be read.
#[derive(Debug, Default, Serialize)]
struct Promised {
    committed_bytes: Option<u64>,
    commit_limit_bytes: Option<u64>,
    overcommit_memory: Option<u64>,
    oom_kills: Option<u64>,
}

impl Promised {
    fn read(root: &Path) -> Self {
        let text = |path| host::read(root, path).unwrap_or_default();
        let meminfo = text("proc/shadowmm/meminfo");
        let kib = |name| Some(host::field(&meminfo, name)?.saturating_mul(1024));
        Self {
            committed_bytes: kib("Committed_AS:"),
            commit_limit_bytes: kib("CommitLimit:"),
            overcommit_memory: text("proc/shadowmm/vm/overcommit_memory").parse().ok(),
            oom_kills: host::field(&text("proc/shadowmm/vmstat"), "oom_kill"),
        }
    }

    /// In a sentence for each that is known.
    fn sentences(&self) -> String {
        let mut all = Vec::new();
        if let (Some(committed), Some(limit)) = (self.committed_bytes, self.commit_limit_bytes) {
            let (committed, limit) = (bytes(committed), bytes(limit));
            all.push(format!(
                "{committed} are promised (Committed_AS), CommitLimit is {limit}{}.",
                match self.overcommit_memory {
                    Some(0) =>
                        ", which mode 0 does not look at: it refuses what is obviously too much",
                    Some(1) => ", which mode 1 does not look at: all is promised",
                    Some(2) => ", and mode 2 promises no more",
                    _ => "",
                }
            ));
        }
        if let Some(kills) = self.oom_kills {
            all.push(match kills {
                0 => "The OOM killer has killed nobody yet.".to_owned(),
                kills => format!("The OOM killer has killed {}.", plural(kills, "time")),
            });
        }
        all.join(" ")
    }
}

impl Spaces {
    /// Asks for them.
    pub fn read(context: &Context) -> Result<Self> {
        let device = context.open()?;
        let spaces = device.spaces()?;
        let managed = device.status()?.managed_pages;
        Ok(Self::new(spaces, managed, Promised::read(&context.root)))
    }

    fn new(spaces: Vec<Space>, managed_pages: u64, promised: Promised) -> Self {
        Self {
            next_victim: Space::next_victim(&spaces, managed_pages).map(|space| space.id),
            spaces: spaces
                .into_iter()
                .map(|space| Row {
                    badness: space.badness(managed_pages),
                    space,
                })
                .collect(),
            managed_pages,
            promised,
        }
    }

    /// Whom the OOM killer would choose, in a sentence.
    fn next(&self) -> String {
        let is_next = |row: &&Row| Some(row.space.id) == self.next_victim;
        match self.spaces.iter().find(is_next) {
            Some(row) => format!(
                "Were memory out, the OOM killer would choose {} (pid {}, ID {}): badness {}, of {} pages in all.",
                printable(&row.space.comm),
                row.space.pid,
                row.space.id,
                row.badness.unwrap_or_default(),
                self.managed_pages
            ),
            None => "Were memory out, there is nobody whom the OOM killer may choose.".to_owned(),
        }
    }
}

impl Report for Spaces {
    fn print(&self, screen: &mut Screen) {
        if self.spaces.is_empty() {
            screen.para(&format!("No process has a window. {HOW}"));
        } else {
            let table = Table::new([
                Column::number("ID"),
                Column::number("pid"),
                Column::text("process"),
                Column::text("tree"),
                Column::number("VMAs"),
                Column::number("VIRT"),
                Column::number("RES"),
                Column::number("tables"),
                Column::number("faults"),
                Column::number("mmap lock"),
            ]);
            let mut table = table.tight();
            for Row { space, .. } in &self.spaces {
                table.row([
                    space.id.to_string(),
                    space.pid.to_string(),
                    printable(&space.comm),
                    space.tree.map_or("?", Tree::name).to_owned(),
                    space.map_count.to_string(),
                    pages(space.total_vm_pages),
                    pages(space.rss_pages()),
                    bytes(space.pgtables_bytes),
                    (space.faults_vma_lock + space.faults_mmap_lock).to_string(),
                    space.faults_mmap_lock.to_string(),
                ]);
            }
            table.print(screen);
            screen.blank();
            screen.para(&self.next());
        }
        screen.para(&self.promised.sentences());
    }
}

/// A process's name, which may have whatever that likes, for a terminal.
pub(super) fn printable(comm: &str) -> String {
    comm.replace(char::is_control, "?")
}

/// Lines of a text that has names in it, of processes or files; its tabs stay.
fn printable_lines(text: &str, screen: &mut Screen) {
    for line in text.lines() {
        let parts: Vec<_> = line.split('\t').map(printable).collect();
        screen.line(&parts.join("\t"));
    }
}

/// A text about an address space.
#[derive(Debug, Serialize)]
pub struct Text {
    id: u32,
    pub(super) text: String,
}

impl Text {
    /// Reads it.
    pub fn read(context: &Context, id: u32, file: &str) -> Result<Self> {
        // Without the module there are no files to tell of.
        drop(context.open()?);
        let path = context.root.join(format!("proc/shadowmm/mm/{id}/{file}"));
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| {
            let error = Error::failed(format!("could not read {}: {error}", path.display()));
            error.with_advice("'shadowmm mm list' shows which there are")
        })?;
        Ok(Self { id, text })
    }
}

impl Report for Text {
    fn print(&self, screen: &mut Screen) {
        printable_lines(&self.text, screen);
    }
}

#[derive(Debug, Serialize)]
struct Maps {
    id: u32,
    vmas: Vec<Vma>,
    #[serde(skip)]
    text: String,
}

impl Report for Maps {
    fn print(&self, screen: &mut Screen) {
        printable_lines(&self.text, screen);
    }
}

/// `shadowmm mm maps`.
pub fn maps(context: &Context, id: u32) -> Result<()> {
    let text = Text::read(context, id, "maps")?.text;
    let vmas = context.open()?.vmas(id)?;
    context.show(&Maps { id, vmas, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn space(id: u32, comm: &str, resident: u64) -> Space {
        Space {
            id,
            pid: 4_194_303,
            comm: comm.to_owned(),
            total_vm_pages: (3 << 28) / 5,
            rss_anon_pages: resident,
            pgtables_bytes: 1_300_000,
            faults_vma_lock: 123_000,
            faults_mmap_lock: 17,
            map_count: 212,
            tree: Some(Tree::Rbtree),
            ..Space::default()
        }
    }

    fn sample() -> Spaces {
        let spaces = vec![
            space(12, "shadowmm", 3000),
            space(13, "py\x1bthon3", 90_000),
        ];
        let promised = Promised {
            committed_bytes: Some(1 << 30),
            commit_limit_bytes: Some(100 << 20),
            overcommit_memory: Some(0),
            oom_kills: Some(3),
        };
        Spaces::new(spaces, 130_000, promised)
    }

    #[test]
    fn they_fit_and_their_keys_stay() {
        testing::fits(&sample());
        testing::keys(
            &sample(),
            "commit_limit_bytes committed_bytes managed_pages next_victim oom_kills \
             overcommit_memory spaces spaces[].badness spaces[].brk spaces[].comm \
             spaces[].data_vm_pages spaces[].faults_mmap_lock spaces[].faults_vma_lock \
             spaces[].hiwater_rss_pages spaces[].hiwater_vm_pages spaces[].id \
             spaces[].locked_vm_pages spaces[].maj_flt spaces[].map_count spaces[].min_flt \
             spaces[].mmap_base spaces[].oom_score_adj spaces[].pgtables_bytes spaces[].pid \
             spaces[].rss_anon_pages spaces[].rss_file_pages spaces[].rss_shmem_pages \
             spaces[].stack_vm_pages spaces[].start_brk spaces[].start_stack \
             spaces[].total_vm_pages spaces[].tree spaces[].window_end spaces[].window_start",
        );
    }

    #[test]
    fn each_is_one_line_of_80_columns_and_says_its_tree() {
        let text = testing::text(&sample(), 80);
        let row = text
            .lines()
            .find(|line| line.contains("py?thon3"))
            .expect("its row");
        for part in [
            "13", "4194303", "rbtree", "212", "614 GiB", "352 MiB", "123017", "17",
        ] {
            assert!(row.contains(part), "{part}: {row}");
        }
        let text = text.replace('\n', " ");
        assert!(
            text.contains("choose py?thon3 (pid 4194303, ID 13): badness 90317, of 130000 pages")
        );
        assert!(text
            .contains("1 GiB are promised (Committed_AS), CommitLimit is 100 MiB, which mode 0"));
        assert!(text.contains("has killed 3 times"));
    }

    #[test]
    fn names_in_a_text_say_nothing_to_a_terminal() {
        let text = "Name:\tpy\x1b]0;thon\x073\nVmPeak:\t  12 kB\n".to_owned();
        assert_eq!(
            testing::text(&Text { id: 7, text }, 80),
            "Name:\tpy?]0;thon?3\nVmPeak:\t  12 kB\n"
        );
    }

    #[test]
    fn without_any_there_is_advice() {
        let none = Spaces::new(Vec::new(), 130_000, Promised::default());
        testing::fits(&none);
        let text = testing::text(&none, 80).replace('\n', " ");
        assert!(text.contains("No process has a window") && text.contains("--hold 60"));
        assert!(!text.contains("OOM") && !text.contains("promised"));
    }

    #[test]
    fn nobody_is_chosen_who_may_not_be_killed() {
        let guarded = Space {
            oom_score_adj: -1000,
            ..space(1, "mm", 5)
        };
        let spaces = Spaces::new(vec![guarded], 130_000, Promised::default());
        assert!(testing::text(&spaces, 200).contains("nobody whom the OOM killer may choose"));
    }

    #[test]
    fn files_of_proc_have_names_and_numbers() {
        let meminfo = "MemTotal:  100 kB\nCommitLimit:      51200 kB\nCommitted_AS:  7 kB\n";
        assert_eq!(host::field(meminfo, "CommitLimit:"), Some(51_200));
        assert_eq!(host::field(meminfo, "Committed_AS:"), Some(7));
        assert_eq!(host::field(meminfo, "Committed"), None);
        assert_eq!(host::field("oom_kill 2\n", "oom_kill"), Some(2));
    }
}
