// SPDX-License-Identifier: GPL-2.0

//! Events of many threads, mixed as they come, sorted into the faults that they tell of:
//! a thread has one at a time.

use super::fault::Alone;
use super::fault::Fault;
use super::fault::Lost;
use super::line::Event;
use super::line::Line;
use super::line::Task;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What there is to tell.
#[derive(Debug)]
pub enum Told {
    /// A fault that is over, as far as is told.
    Fault(Box<Fault>),
    /// What the page allocator did for none.
    Alone(Alone),
    /// Events are lost.
    Lost(Lost),
}

/// The faults that are not over.
#[derive(Debug, Default)]
pub struct Collector {
    /// By thread.
    open: BTreeMap<u32, Fault>,
    /// The address spaces that are known to have a table: they have one to their end.
    with_tables: BTreeSet<u32>,
    told: Vec<Told>,
}

impl Collector {
    /// Takes a line, and gives what is known then.
    pub fn take(&mut self, line: Line) -> Vec<Told> {
        match line {
            Line::Event(task, event) => self.event(task, event),
            Line::Lost { cpu, events } => {
                for (_, mut fault) in std::mem::take(&mut self.open) {
                    fault.is_lost();
                    self.told.push(Told::Fault(Box::new(fault)));
                }
                self.told.push(Told::Lost(Lost::new(cpu, events)));
            }
        }
        std::mem::take(&mut self.told)
    }

    fn event(&mut self, task: Task, event: Event) {
        let pid = task.pid;
        match event {
            Event::Expand { mm, grown } => {
                self.stop(pid);
                let mut fault = Fault::new(&task, mm);
                fault.grown = Some(grown);
                self.open.insert(pid, fault);
            }
            Event::Vma {
                mm,
                addr,
                vma,
                vma_lock,
            } => {
                let has_tables = self.with_tables.contains(&mm);
                let goes_on = self.open.get(&pid).is_some_and(|fault| {
                    fault.is_next_round(mm, addr) && !(has_tables && fault.is_denied_by_now())
                });
                if !goes_on {
                    self.stop(pid);
                }
                // Nothing follows where nothing is allowed.
                let is_over = !vma.is_accessible();
                let fault = self
                    .open
                    .entry(pid)
                    .or_insert_with(|| Fault::new(&task, mm));
                fault.found(addr, vma, vma_lock);
                if is_over {
                    self.stop(pid);
                }
            }
            Event::Level { mm, addr, level } => {
                self.with_tables.insert(mm);
                self.of(&task, mm, addr).came_by(addr, level);
            }
            Event::Page {
                mm,
                addr,
                how,
                pfn,
                entry,
            } => {
                // It has tables now, whoever made them.
                self.with_tables.insert(mm);
                self.of(&task, mm, addr).ends(addr, how, pfn, entry);
                let fault = self.open.remove(&pid);
                self.told
                    .extend(fault.map(|fault| Told::Fault(Box::new(fault))));
            }
            Event::Allocator(allocator) => match self.open.get_mut(&pid) {
                Some(fault) => fault.allocator.push(allocator),
                None => self.told.push(Told::Alone(Alone::new(task, allocator))),
            },
        }
    }

    /// The thread's fault at an address, or another that begins.
    fn of(&mut self, task: &Task, mm: u32, addr: u64) -> &mut Fault {
        let is_it = |fault: &Fault| fault.is_at(mm, addr);
        if !self.open.get(&task.pid).is_some_and(is_it) {
            self.stop(task.pid);
        }
        let begin = || Fault::new(task, mm);
        self.open.entry(task.pid).or_insert_with(begin)
    }

    /// Nothing more is told of a thread's fault.
    fn stop(&mut self, pid: u32) {
        if let Some(mut fault) = self.open.remove(&pid) {
            fault.stops(self.with_tables.contains(&fault.mm));
            self.told.push(Told::Fault(Box::new(fault)));
        }
    }

    /// Gives the faults of threads that are not there any more.
    pub fn sweep(&mut self, is_there: impl Fn(u32) -> bool) -> Vec<Told> {
        let gone: Vec<u32> = self
            .open
            .keys()
            .copied()
            .filter(|&pid| !is_there(pid))
            .collect();
        for pid in gone {
            self.stop(pid);
        }
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::parse;
    use super::*;
    use crate::testing;
    use serde_json::Value;

    /// What is told of these lines and at their end, as text of 80 columns and as JSON.
    fn told(lines: &[String]) -> (String, Vec<Value>) {
        let mut collector = Collector::default();
        let mut all = Vec::new();
        for line in lines {
            all.extend(collector.take(parse(line).unwrap_or_else(|| panic!("{line}"))));
        }
        all.extend(collector.sweep(|_| false));
        let mut text = String::new();
        let mut values = Vec::new();
        for one in &all {
            macro_rules! add {
                ($report:expr) => {{
                    testing::fits($report);
                    text.push_str(&testing::text($report, 80));
                    values.push(serde_json::to_value($report).expect("JSON"));
                }};
            }
            match one {
                Told::Fault(fault) => add!(fault.as_ref()),
                Told::Alone(alone) => add!(alone),
                Told::Lost(lost) => add!(lost),
            }
        }
        let words: Vec<_> = text.split_whitespace().collect();
        (words.join(" "), values)
    }

    fn line(pid: u32, event: &str) -> String {
        format!("  touch-{pid}     [001] .....   12.5: mm_fault_{event}")
    }

    fn vma(pid: u32, addr: &str, flags: &str, lock: &str) -> String {
        line(
            pid,
            &format!("vma: mm=3 addr={addr} vma=0x10000-0x90000 flags={flags} lock={lock}"),
        )
    }

    fn level(pid: u32, addr: &str, name: &str, pte: &str) -> String {
        line(
            pid,
            &format!(
                "level: mm=3 addr={addr} level={name} table=0x1{name_len} pte={pte}",
                name_len = name.len()
            ),
        )
    }

    fn page(pid: u32, addr: &str, how: &str, pte: &str) -> String {
        line(
            pid,
            &format!("page: mm=3 addr={addr} how={how} pfn=0x77 pte={pte}"),
        )
    }

    const RW: &str = "read|write|mayread|maywrite|mayexec|account";
    const DIRTY: &str = "0x8000000000077067";

    #[test]
    fn a_first_write_finds_no_tables_and_makes_them() {
        let (text, values) = told(&[
            vma(9, "0x10123", RW, "vma"),
            vma(9, "0x10123", RW, "mmap"),
            level(9, "0x10000", "pgd", "0x13067"),
            level(9, "0x10000", "pud", "0x13067"),
            level(9, "0x10000", "pmd", "0x13067"),
            level(9, "0x10000", "pte", "0x0"),
            page(9, "0x10000", "anonymous", DIRTY),
        ]);
        assert_eq!(values.len(), 1);
        assert_eq!(values[0]["rounds"], 2);
        assert_eq!(values[0]["access"], "write");
        assert_eq!(values[0]["lock"], "mmap");
        assert_eq!(values[0]["outcome"], "anonymous");
        assert_eq!(values[0]["missing"].as_array().map(Vec::len), Some(4));
        assert!(text.starts_with("touch-9 on CPU 1, address space 3: a write at 0x10123. Its VMA 0x10000-0x90000 rw-p was found without the mmap lock (lock_vma_under_rcu), which was not enough: then with it. 2 rounds in all. Tables: PGD, PUD, PMD, PTE missing, made now. do_anonymous_page, a write: a zeroed page, PFN 0x77."), "{text}");
        assert!(text.ends_with("The entry: P RW US A D NX."), "{text}");
    }

    #[test]
    fn faults_of_threads_are_told_apart() {
        let (text, values) = told(&[
            vma(9, "0x10000", RW, "vma"),
            vma(8, "0x20008", RW, "vma"),
            level(9, "0x10000", "pgd", "0x13067"),
            level(8, "0x20000", "pgd", "0x13067"),
            level(8, "0x20000", "pud", "0x13067"),
            level(8, "0x20000", "pmd", "0x13067"),
            level(8, "0x20000", "pte", "0x0"),
            page(8, "0x20000", "zero", "0x8000000000077225"),
            level(9, "0x10000", "pud", "0x0"),
            page(9, "0x10000", "huge", "0x80000000000770e7"),
        ]);
        let field = |at: usize, key: &str| values[at][key].clone();
        assert_eq!(
            (field(0, "pid"), field(0, "access")),
            (8.into(), "read".into())
        );
        assert_eq!(
            (field(1, "pid"), field(1, "outcome")),
            (9.into(), "huge".into())
        );
        assert_eq!(field(1, "missing"), serde_json::json!(["pmd", "pte"]));
        assert!(field(0, "missing").as_array().is_some_and(Vec::is_empty));
        assert!(text.contains("a read at 0x20008"), "{text}");
        assert!(
            text.contains(
                "the zero page, PFN 0x77, which is one for all. The entry: P US A zero NX."
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "Tables: PGD 0x13, PUD 0x13 there; PMD, PTE missing, made now, the PTE's laid by"
            ),
            "{text}"
        );
    }

    #[test]
    fn copies_name_what_they_are_of() {
        let round = |pte: &str, how: &str| {
            let (text, _) = told(&[
                vma(9, "0x10000", RW, "vma"),
                level(9, "0x10000", "pgd", "0x13067"),
                level(9, "0x10000", "pud", "0x13067"),
                level(9, "0x10000", "pmd", "0x13067"),
                level(9, "0x10000", "pte", pte),
                page(9, "0x10000", how, DIRTY),
            ]);
            text
        };
        assert!(round("0x8000000000005225", "cow").contains("in the place of the zero page"));
        assert!(round("0x8000000000005425", "cow").contains("the file's page, PFN 0x5"));
        assert!(round("0x8000000000005025", "cow")
            .contains("a page that others may have, too, PFN 0x5"));
        assert!(round("0x8000000000077025", "reuse")
            .contains("wp_page_reuse: PFN 0x77 is made writable"));
        assert!(round("0x8000000000077067", "spurious").contains("a fault at 0x10000"));
        assert!(round("0x0", "file").contains("do_cow_fault"));
        assert!(round("0x0", "shared").contains("do_shared_fault"));
    }

    #[test]
    fn what_is_not_allowed_is_denied() {
        // Nothing is, which the VMA says at once.
        let mut collector = Collector::default();
        let nothing = parse(&vma(9, "0x10000", "mayread|maywrite", "vma")).expect("a line");
        assert_eq!(collector.take(nothing).len(), 1);
        // No write is, which shows when nothing follows, and the space is known to have tables.
        let tables = [
            vma(8, "0x10000", "read|mayread", "vma"),
            level(8, "0x10000", "pgd", "0x0"),
            page(8, "0x10000", "zero", "0x8000000000077225"),
        ];
        let refused = [
            vma(9, "0x20000", "read|mayread", "vma"),
            vma(9, "0x20000", "read|mayread", "vma"),
        ];
        let (text, values) = told(&[&tables[..], &refused].concat());
        let outcomes: Vec<_> = values
            .iter()
            .map(|value| value["outcome"].clone())
            .collect();
        assert_eq!(outcomes, ["zero", "denied", "denied"]);
        assert!(
            text.contains("The VMA does not allow it: SIGSEGV."),
            "{text}"
        );
        // Where it is not known the first fault may only have no table yet.
        let (text, values) = told(&refused);
        assert_eq!(
            (values.len(), values[0]["outcome"].as_str()),
            (1, Some("none"))
        );
        assert!(
            text.contains("Nothing was entered that is told") && !text.contains("missing"),
            "{text}"
        );
    }

    #[test]
    fn stacks_grow_first() {
        let (text, values) = told(&[
            line(9, "expand: mm=3 start=0xe000 was=0x10000"),
            vma(9, "0xe010", RW, "mmap"),
            level(9, "0xe000", "pgd", "0x13067"),
            level(9, "0xe000", "pud", "0x13067"),
            level(9, "0xe000", "pmd", "0x0"),
            page(9, "0xe000", "anonymous", DIRTY),
        ]);
        assert_eq!(values.len(), 1);
        assert_eq!(values[0]["grown"]["start"], 0xe000);
        assert!(
            text.contains("The stack has grown down to it, from 0x10000 to 0xe000, by 8 KiB."),
            "{text}"
        );
        assert!(text.contains("was found with the mmap lock."), "{text}");
    }

    #[test]
    fn what_the_page_allocator_does_is_a_faults_or_nobodys() {
        let event = |event| format!("  touch-9     [001] .....   12.5: mm_page_{event}");
        let alloc = event("alloc: pfn=0x77 order=0 migratetype=1 gfp_flags=GFP_KERNEL");
        let refill = event("alloc_zone_locked: pfn=0x78 order=0 migratetype=1 percpu_refill=1");
        let (text, values) = told(&[
            vma(9, "0x10000", RW, "vma"),
            level(9, "0x10000", "pgd", "0x13067"),
            refill.clone(),
            refill,
            alloc.clone(),
            page(9, "0x10000", "anonymous", DIRTY),
            event("free: pfn=0x12 order=3"),
        ]);
        assert_eq!(values[0]["allocator"][2]["pfn"], 0x77);
        assert_eq!(values[0]["allocator"][2]["order"], 0);
        assert_eq!(values[1]["kind"], "allocator");
        assert_eq!(values[1]["event"], "mm_page_free");
        assert!(
            text.contains(
                "The page allocator: gave (PFN 0x77, order 0); mm_page_alloc_zone_locked 2 times."
            ),
            "{text}"
        );
        assert!(
            text.contains("in no fault: mm_page_free, PFN 0x12, order 3."),
            "{text}"
        );
    }

    #[test]
    fn what_is_lost_is_said() {
        let (text, values) = told(&[
            vma(9, "0x10000", RW, "vma"),
            "CPU:1 [LOST 77 EVENTS]".to_owned(),
        ]);
        assert_eq!(
            (values[0]["outcome"].as_str(), values[1]["events"].as_u64()),
            (Some("lost"), Some(77))
        );
        assert!(text.contains("what became of it is not known"), "{text}");
        assert!(text.contains("77 events of CPU 1 are lost"), "{text}");
        let (text, _) = told(&["CPU:0 [LOST EVENTS]".to_owned()]);
        assert!(text.contains("Events of CPU 0 are lost"), "{text}");
    }

    #[test]
    fn what_is_told_in_part_is_not_completed() {
        let (text, values) = told(&[
            level(9, "0x10000", "pte", "0x0"),
            page(9, "0x10000", "anonymous", DIRTY),
            page(8, "0x20000", "anonymous", DIRTY),
        ]);
        assert!(values
            .iter()
            .all(|value| value["missing"].is_null() && value["vma"].is_null()));
        assert!(text.contains("Of its VMA nothing is told"), "{text}");
        assert!(!text.contains("missing"), "{text}");
        // Filled ahead: whole but for the VMA.
        let (_, values) = told(&[
            level(9, "0x10000", "pgd", "0x13067"),
            page(9, "0x10000", "anonymous", DIRTY),
        ]);
        assert_eq!(
            values[0]["missing"],
            serde_json::json!(["pud", "pmd", "pte"])
        );
    }

    #[test]
    fn the_keys_stay() {
        let mut collector = Collector::default();
        let mut all = Vec::new();
        for line in [
            line(9, "expand: mm=3 start=0xe000 was=0x10000"),
            vma(9, "0xe010", RW, "mmap"),
            level(9, "0xe000", "pgd", "0x13067"),
            "  touch-9     [001] .....   12.5: mm_page_free: pfn=0x77 order=0".to_owned(),
            page(9, "0xe000", "anonymous", DIRTY),
        ] {
            all.extend(collector.take(parse(&line).expect("a line")));
        }
        let [Told::Fault(fault)] = all.as_slice() else {
            panic!("{all:?}");
        };
        testing::keys(
            fault.as_ref(),
            "access addr allocator allocator[].event allocator[].order allocator[].pfn allocator[].text comm cpu entry \
             grown grown.start grown.was kind levels levels[].entry levels[].name levels[].table_pfn \
             lock missing mm outcome pfn pid rounds vma vma.end vma.flags vma.start",
        );
    }
}
