// SPDX-License-Identifier: GPL-2.0

//! A fault, put together from its events, and what is said of it.
//!
//! ```text
//! mm_fault_expand   the stack has grown first
//! mm_fault_vma      its VMA is found: a round begins
//! mm_fault_level    for each table that is there, from the top; another round, where one came to nothing
//! mm_fault_page     the end
//! ```

use super::line::Allocator;
use super::line::Grown;
use super::line::Level;
use super::line::Task;
use super::line::VmaSeen;
use crate::commands::mm::entry;
use crate::commands::mm::list::printable;
use crate::context::Report;
use crate::render::pages;
use crate::render::plural;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::PAGE_SIZE;
use std::collections::BTreeMap;

/// The levels, from the top.
const LEVELS: [&str; 4] = ["pgd", "pud", "pmd", "pte"];

/// A fault.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    kind: &'static str,
    #[serde(flatten)]
    task: Task,
    pub mm: u32,
    addr: Option<u64>,
    access: Option<&'static str>,
    vma: Option<VmaSeen>,
    lock: Option<&'static str>,
    /// Whether the first round had the VMA's lock alone.
    #[serde(skip)]
    began_with_vma_lock: bool,
    rounds: u32,
    pub grown: Option<Grown>,
    /// As the first round has found them.
    levels: Vec<Level>,
    /// As the last round has.
    #[serde(skip)]
    last: Vec<Level>,
    /// Unless that is not known.
    missing: Option<Vec<&'static str>>,
    outcome: String,
    pfn: Option<u64>,
    entry: Option<u64>,
    pub allocator: Vec<Allocator>,
}

impl Fault {
    /// One that begins.
    pub fn new(task: &Task, mm: u32) -> Self {
        Self {
            kind: "fault",
            task: task.clone(),
            mm,
            addr: None,
            access: None,
            vma: None,
            lock: None,
            began_with_vma_lock: false,
            rounds: 0,
            grown: None,
            levels: Vec::new(),
            last: Vec::new(),
            missing: None,
            outcome: "none".to_owned(),
            pfn: None,
            entry: None,
            allocator: Vec::new(),
        }
    }

    /// Its VMA is found.
    pub fn found(&mut self, addr: u64, vma: VmaSeen, vma_lock: bool) {
        if self.rounds == 0 {
            self.began_with_vma_lock = vma_lock;
        }
        self.addr = Some(addr);
        self.vma = Some(vma);
        self.lock = Some(if vma_lock { "vma" } else { "mmap" });
        self.rounds += 1;
        self.last.clear();
    }

    /// A table is there.
    pub fn came_by(&mut self, addr: u64, level: Level) {
        self.addr.get_or_insert(addr);
        if self.rounds == 0 || (!self.last.is_empty() && level.name == LEVELS[0]) {
            self.rounds += 1;
            self.last.clear();
        }
        if self.rounds == 1 {
            self.levels.push(level.clone());
        }
        self.last.push(level);
    }

    /// Whether an event of this page is this fault's.
    pub fn is_at(&self, mm: u32, addr: u64) -> bool {
        let page = |addr: u64| addr & !(PAGE_SIZE - 1);
        self.mm == mm && self.addr.is_none_or(|own| page(own) == page(addr))
    }

    /// Whether a VMA that is found for that address is for another round of it, or its first
    /// one, after the stack has grown.
    pub fn is_next_round(&self, mm: u32, addr: u64) -> bool {
        self.mm == mm && self.addr.is_none_or(|own| own == addr)
    }

    /// Whether its VMA was found, and no table looked at since: it was denied, if there is
    /// one.
    pub fn is_denied_by_now(&self) -> bool {
        self.vma.is_some() && self.last.is_empty()
    }

    /// The page is entered.
    pub fn ends(&mut self, addr: u64, how: String, pfn: u64, entry: u64) {
        self.addr.get_or_insert(addr);
        let wrote = entry & entry::RW != 0;
        self.access = match how.as_str() {
            "zero" => Some("read"),
            "anonymous" | "huge" | "cow" | "reuse" => Some("write"),
            "file" | "shared" if wrote => Some("write"),
            "file" | "shared" => Some("read"),
            _ => None,
        };
        self.pfn = Some(pfn);
        self.entry = Some(entry);
        self.outcome = how;
        self.note_missing();
    }

    /// Nothing more is told of it. Where its VMA was found and no table was looked at, though
    /// the address space has one (`has_tables`), the VMA does not allow it.
    pub fn stops(&mut self, has_tables: bool) {
        let forbids = self.vma.as_ref().is_some_and(|vma| !vma.is_accessible());
        if self.is_denied_by_now() && (forbids || has_tables) {
            self.outcome = "denied".to_owned();
        } else if !self.levels.is_empty() {
            self.note_missing();
        }
    }

    /// Events are lost, and whatever was told of it may not be all.
    pub fn is_lost(&mut self) {
        self.outcome = "lost".to_owned();
    }

    /// The levels below the last one that was there, unless that has 2 MiB. What was told of
    /// only in part leaves it open.
    fn note_missing(&mut self) {
        let is_whole = match self.levels.first() {
            Some(level) => level.name == LEVELS[0],
            None => self.vma.is_some(),
        };
        let is_huge = |level: &Level| level.entry & entry::PS != 0;
        self.missing = is_whole.then(|| match self.levels.last() {
            Some(level) if is_huge(level) => Vec::new(),
            _ => LEVELS.into_iter().skip(self.levels.len()).collect(),
        });
    }

    fn was(&self) -> u64 {
        self.last.last().map_or(0, |level| level.entry)
    }

    fn head(&self) -> String {
        let what = match self.access {
            Some(access) => format!("a {access}"),
            None => "a fault".to_owned(),
        };
        let place = match (self.addr, self.grown) {
            (Some(addr), _) => format!("{addr:#x}"),
            (None, Some(grown)) => format!("{:#x}", grown.start),
            (None, None) => "?".to_owned(),
        };
        format!(
            "{}-{} on CPU {}, address space {}: {what} at {place}.",
            printable(&self.task.comm),
            self.task.pid,
            self.task.cpu,
            self.mm
        )
    }

    fn found_text(&self) -> String {
        let Some(vma) = &self.vma else {
            return "Of its VMA nothing is told: the page is filled ahead (MAP_POPULATE, mlock), or it had begun before the trace, or before what is lost.".to_owned();
        };
        let place = format!("{:#x}-{:#x} {}", vma.start, vma.end, vma.permissions());
        let mut text = match (self.began_with_vma_lock, self.lock) {
            (true, Some("mmap")) => format!("Its VMA {place} was found without the mmap lock (lock_vma_under_rcu), which was not enough: then with it."),
            (true, _) => format!("Its VMA {place} was found without the mmap lock (lock_vma_under_rcu)."),
            (false, _) => format!("Its VMA {place} was found with the mmap lock."),
        };
        if self.rounds > 1 {
            text.push_str(&format!(" {} in all.", plural(self.rounds.into(), "round")));
        }
        text
    }

    /// Which tables were there, by their frames, and which were not.
    fn tables_text(&self) -> Option<String> {
        let there = self.levels.iter();
        let there = there.map(|it| format!("{} {:#x}", it.name.to_uppercase(), it.table_pfn));
        let there: Vec<_> = there.collect();
        let missing = self.missing.iter().flatten();
        let missing: Vec<_> = missing.map(|name| name.to_uppercase()).collect();
        let mut parts = Vec::new();
        if !there.is_empty() {
            parts.push(format!("{} there", there.join(", ")));
        }
        if !missing.is_empty() {
            let done = match self.outcome.as_str() {
                "none" | "lost" => "",
                "huge" => ", made now, the PTE's laid by for a split",
                _ => ", made now",
            };
            parts.push(format!("{} missing{done}", missing.join(", ")));
        }
        (!parts.is_empty()).then(|| format!("Tables: {}.", parts.join("; ")))
    }

    fn outcome_text(&self) -> String {
        let write = self.access == Some("write");
        let was = self.was();
        let is_huge = self.entry.is_some_and(|entry| entry & entry::PS != 0);
        let place = format!("PFN {:#x}", self.pfn.unwrap_or(0));
        let done = match self.outcome.as_str() {
            "zero" => format!("do_anonymous_page, a read: the zero page, {place}, which is one for all."),
            "anonymous" => format!("do_anonymous_page, a write: a zeroed page, {place}."),
            "huge" => format!("do_huge_pmd_anonymous_page: 2 MiB, zeroed, from {place} on."),
            "file" if write => format!("do_cow_fault: a page of its own with the file's content, {place}."),
            "file" => format!("do_read_fault: a page with the file's content, {place}."),
            "shared" => format!("{}: the shared object's page, {place}.", if write { "do_shared_fault" } else { "do_read_fault" }),
            "cow" if was & entry::ZERO != 0 => format!("do_wp_page, wp_page_copy: a zeroed page, {place}, in the place of the zero page."),
            "cow" => format!("do_wp_page, wp_page_copy: a copy, {place}, in the place of {}PFN {:#x}.", if was & entry::FILE != 0 { "the file's page, " } else { "a page that others may have, too, " }, entry::pfn(was)),
            "reuse" if is_huge => format!("do_huge_pmd_wp_page: nobody else has the 2 MiB from {place} on: they are made writable."),
            "reuse" => format!("do_wp_page, wp_page_reuse: {place} is made writable, without a copy."),
            "spurious" => format!("{place} was there already, and is entered again: the host had lost its entry, or another was quicker."),
            "denied" => "The VMA does not allow it: SIGSEGV.".to_owned(),
            "lost" => "Events were lost, so what became of it is not known.".to_owned(),
            "none" if self.vma.is_none() && self.grown.is_some() && self.rounds == 0 => return String::new(),
            "none" => "Nothing was entered that is told: it is not over, is to come again, or ended with a signal (SIGSEGV, SIGBUS) or without memory.".to_owned(),
            other => format!("{other}: {place}."),
        };
        match self.entry {
            Some(entry) => format!("{done} The entry: {}.", entry::bits(entry)),
            None => done,
        }
    }
}

impl Fault {
    /// What the page allocator did meanwhile: each block, and how often the rest.
    fn allocator_text(&self) -> String {
        let blocks = |event: &str, verb: &str| {
            let of = self.allocator.iter().filter(|it| it.event == event);
            let all: Vec<_> = of.map(|it| format!("({})", it.block())).collect();
            (!all.is_empty()).then(|| format!("{verb} {}", all.join(", ")))
        };
        let mut others: BTreeMap<&str, u64> = BTreeMap::new();
        for it in &self.allocator {
            if !["mm_page_alloc", "mm_page_free"].contains(&it.event.as_str()) {
                *others.entry(&it.event).or_default() += 1;
            }
        }
        let others = others.into_iter();
        let others = others.map(|(event, times)| format!("{event} {}", plural(times, "time")));
        let parts: Vec<_> = blocks("mm_page_alloc", "gave")
            .into_iter()
            .chain(blocks("mm_page_free", "took back"))
            .chain(others)
            .collect();
        format!("The page allocator: {}.", parts.join("; "))
    }
}

impl Report for Fault {
    fn print(&self, screen: &mut Screen) {
        let mut text = vec![self.head()];
        if let Some(grown) = self.grown {
            text.push(format!(
                "The stack has grown down to it, from {:#x} to {:#x}, by {}.",
                grown.was,
                grown.start,
                pages((grown.was.saturating_sub(grown.start)) / PAGE_SIZE)
            ));
        }
        if self.rounds > 0 || self.entry.is_some() {
            text.push(self.found_text());
        }
        text.extend(self.tables_text());
        text.push(self.outcome_text());
        text.retain(|part| !part.is_empty());
        screen.para(&text.join(" "));
        if !self.allocator.is_empty() {
            screen.para(&self.allocator_text());
        }
        screen.blank();
    }
}

/// What the page allocator did for nobody's fault.
#[derive(Debug, Serialize)]
pub struct Alone {
    kind: &'static str,
    #[serde(flatten)]
    task: Task,
    #[serde(flatten)]
    allocator: Allocator,
}

impl Alone {
    /// It did this.
    pub fn new(task: Task, allocator: Allocator) -> Self {
        Self {
            kind: "allocator",
            task,
            allocator,
        }
    }
}

impl Report for Alone {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "{}-{} on CPU {}, in no fault: {}, {}.",
            printable(&self.task.comm),
            self.task.pid,
            self.task.cpu,
            self.allocator.event,
            self.allocator.block()
        ));
    }
}

/// Events that nobody will see.
#[derive(Debug, Serialize)]
pub struct Lost {
    kind: &'static str,
    cpu: u32,
    events: Option<u64>,
}

impl Lost {
    /// So many of a CPU.
    pub fn new(cpu: u32, events: Option<u64>) -> Self {
        Self {
            kind: "lost",
            cpu,
            events,
        }
    }
}

impl Report for Lost {
    fn print(&self, screen: &mut Screen) {
        screen.warning(&match self.events {
            Some(events) => format!(
                "{} of CPU {} are lost: they came faster than they were read.",
                plural(events, "event"),
                self.cpu
            ),
            None => format!(
                "Events of CPU {} are lost: they came faster than they were read.",
                self.cpu
            ),
        });
        screen.blank();
    }
}
