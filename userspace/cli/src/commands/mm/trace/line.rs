// SPDX-License-Identifier: GPL-2.0

//! A line of trace_pipe, taken apart:
//!
//! ```text
//!    shadowmm-417     [001] .....   123.456789: mm_fault_level: mm=3 addr=0x7f… level=pgd …
//!    comm    -pid     cpu   flags   time        event           fields
//! CPU:1 [LOST 77 EVENTS]
//! ```

use serde::Serialize;

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An event.
    Event(Task, Event),
    /// So many events of a CPU are lost, as far as the kernel knows.
    Lost {
        /// The CPU.
        cpu: u32,
        /// How many.
        events: Option<u64>,
    },
}

/// Who was running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The thread.
    pub pid: u32,
    /// Its name, as far as the kernel has kept it.
    pub comm: String,
    /// Where.
    pub cpu: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `mm_fault_vma`.
    Vma {
        /// The address space's number.
        mm: u32,
        /// The address.
        addr: u64,
        /// The VMA.
        vma: VmaSeen,
        /// Whether its own lock was enough.
        vma_lock: bool,
    },
    /// `mm_fault_level`.
    Level {
        /// The address space's number.
        mm: u32,
        /// The page's address.
        addr: u64,
        /// The table, and what was in it.
        level: Level,
    },
    /// `mm_fault_page`.
    Page {
        /// The address space's number.
        mm: u32,
        /// The page's address.
        addr: u64,
        /// What was done, as the event has it.
        how: String,
        /// The frame.
        pfn: u64,
        /// The entry that is there now.
        entry: u64,
    },
    /// `mm_fault_expand`.
    Expand {
        /// The address space's number.
        mm: u32,
        /// Where the stack begins now, and where it did.
        grown: Grown,
    },
    /// One of the page allocator's.
    Allocator(Allocator),
}

/// A VMA, as a fault has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmaSeen {
    /// Its first address.
    pub start: u64,
    /// Behind its last.
    pub end: u64,
    /// Its flags by name, joined by `|`.
    pub flags: String,
}

impl VmaSeen {
    fn has(&self, name: &str) -> bool {
        self.flags.split('|').any(|flag| flag == name)
    }

    /// Whether anything is allowed.
    pub fn is_accessible(&self) -> bool {
        ["read", "write", "exec"].iter().any(|name| self.has(name))
    }

    /// As `/proc/PID/maps` shows them.
    pub fn permissions(&self) -> String {
        let letters = [("read", 'r'), ("write", 'w'), ("exec", 'x')];
        let shown = letters.map(|(name, letter)| if self.has(name) { letter } else { '-' });
        let sharing = if self.has("mayshare") { 's' } else { 'p' };
        shown.iter().chain([&sharing]).collect()
    }
}

/// A table on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// `pgd`, `pud`, `pmd` or `pte`.
    pub name: String,
    /// Its frame.
    pub table_pfn: u64,
    /// The entry that was there.
    pub entry: u64,
}

/// How a stack has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Grown {
    /// Where it begins now.
    pub start: u64,
    /// Where it began before.
    pub was: u64,
}

/// An event of the page allocator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allocator {
    /// Its name.
    pub event: String,
    /// The block's first page.
    pub pfn: Option<u64>,
    /// log2 of its pages.
    pub order: Option<u32>,
    /// All its fields, as the kernel prints them.
    pub text: String,
}

impl Allocator {
    /// Which block it is about.
    pub fn block(&self) -> String {
        let pfn = self.pfn.map(|pfn| format!("PFN {pfn:#x}"));
        let order = self.order.map(|order| format!("order {order}"));
        let parts: Vec<_> = pfn.into_iter().chain(order).collect();
        parts.join(", ")
    }
}

/// The value of a field `name=value`.
fn field<'t>(fields: &'t str, name: &str) -> Option<&'t str> {
    let mut words = fields.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

fn task(head: &str) -> Option<Task> {
    let (who, place) = head.rsplit_once(" [")?;
    let cpu = place.split(']').next()?.parse().ok()?;
    // With record-tgid the process stands behind the thread.
    let who = match who.rsplit_once('(') {
        Some((who, group)) if group.ends_with(')') => who,
        _ => who,
    };
    let (comm, pid) = who.trim().rsplit_once('-')?;
    Some(Task {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        cpu,
    })
}

fn event(name: &str, fields: &str) -> Option<Event> {
    let number = |name| field(fields, name).and_then(hex);
    let mm = || field(fields, "mm").and_then(|text| text.parse().ok());
    match name {
        "mm_fault_vma" => {
            let (start, end) = field(fields, "vma")?.split_once('-')?;
            Some(Event::Vma {
                mm: mm()?,
                addr: number("addr")?,
                vma: VmaSeen {
                    start: hex(start)?,
                    end: hex(end)?,
                    flags: field(fields, "flags").unwrap_or_default().to_owned(),
                },
                vma_lock: field(fields, "lock")? == "vma",
            })
        }
        "mm_fault_level" => Some(Event::Level {
            mm: mm()?,
            addr: number("addr")?,
            level: Level {
                name: field(fields, "level")?.to_owned(),
                table_pfn: number("table")?,
                entry: number("pte")?,
            },
        }),
        "mm_fault_page" => Some(Event::Page {
            mm: mm()?,
            addr: number("addr")?,
            how: field(fields, "how")?.to_owned(),
            pfn: number("pfn")?,
            entry: number("pte")?,
        }),
        "mm_fault_expand" => Some(Event::Expand {
            mm: mm()?,
            grown: Grown {
                start: number("start")?,
                was: number("was")?,
            },
        }),
        _ => Some(Event::Allocator(Allocator {
            event: name.to_owned(),
            pfn: number("pfn"),
            order: field(fields, "order").and_then(|text| text.parse().ok()),
            text: fields.to_owned(),
        })),
    }
}

/// Takes a line apart; `None` for one that tells nothing of the kind.
pub fn parse(line: &str) -> Option<Line> {
    if let Some(rest) = line.trim_start().strip_prefix("CPU:") {
        if let Some((cpu, lost)) = rest.split_once(" [LOST ") {
            return Some(Line::Lost {
                cpu: cpu.trim().parse().ok()?,
                events: lost.split(' ').next().and_then(|count| count.parse().ok()),
            });
        }
    }
    // A task may have whatever name it likes; no field has this.
    let (head, told) = line.rsplit_once(": mm_")?;
    let (name, fields) = told.split_once(": ")?;
    let event = event(&format!("mm_{name}"), fields.trim())?;
    Some(Line::Event(task(head)?, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> (Task, Event) {
        match parse(line) {
            Some(Line::Event(task, event)) => (task, event),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_has_its_task_and_its_event() {
        let (task, event) = told(
            "        shadowmm-417     [001] .....   123.456789: mm_fault_vma: mm=3 addr=0x7fa4c0000010 vma=0x7fa4c0000000-0x7fa4c1000000 flags=read|write|mayread|maywrite lock=vma",
        );
        assert_eq!(
            (task.pid, task.comm.as_str(), task.cpu),
            (417, "shadowmm", 1)
        );
        let Event::Vma {
            mm: 3,
            addr,
            vma,
            vma_lock: true,
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!((addr, vma.end), (0x7fa4_c000_0010, 0x7fa4_c100_0000));
        assert_eq!(vma.permissions(), "rw-p");
        assert!(vma.is_accessible());
        let (_, event) = told(
            "a-1 [000] d..1. 1.0: mm_fault_level: mm=3 addr=0x1000 level=pmd table=0x1f pte=0x67",
        );
        let level = Level {
            name: "pmd".to_owned(),
            table_pfn: 0x1f,
            entry: 0x67,
        };
        assert_eq!(
            event,
            Event::Level {
                mm: 3,
                addr: 0x1000,
                level
            }
        );
        let (_, event) = told("a-1 [000] ..... 1.0: mm_fault_expand: mm=3 start=0x1000 was=0x3000");
        assert_eq!(
            event,
            Event::Expand {
                mm: 3,
                grown: Grown {
                    start: 0x1000,
                    was: 0x3000
                }
            }
        );
        let (_, event) = told("a-1 [000] ..... 1.0: mm_page_alloc: pfn=0xff order=0 migratetype=1 gfp_flags=GFP_KERNEL");
        let Event::Allocator(allocator) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (allocator.event.as_str(), allocator.pfn),
            ("mm_page_alloc", Some(255))
        );
        assert!(allocator.text.ends_with("gfp_flags=GFP_KERNEL"));
    }

    #[test]
    fn a_task_may_have_any_name() {
        let page = "mm_fault_page: mm=1 addr=0x1000 how=zero pfn=0x5 pte=0x205";
        for (head, comm, pid) in [
            ("  a b-c-12 [000] ..... 1.0: ", "a b-c", 12),
            ("  <...>-12 [000] ..... 1.0: ", "<...>", 12),
            (
                "  : mm_fault_vma: -12 [000] ..... 1.0: ",
                ": mm_fault_vma: ",
                12,
            ),
            ("  x [1] -12 [003] ..... 1.0: ", "x [1] ", 12),
            ("  x-12 (    11) [003] ..... 1.0: ", "x", 12),
        ] {
            let (task, event) = told(&format!("{head}{page}"));
            assert_eq!((task.comm.as_str(), task.pid), (comm, pid), "{head}");
            assert!(
                matches!(event, Event::Page { mm: 1, pfn: 5, .. }),
                "{event:?}"
            );
        }
    }

    #[test]
    fn what_is_lost_is_told_and_what_is_no_event_is_not() {
        assert_eq!(
            parse("CPU:1 [LOST 77 EVENTS]"),
            Some(Line::Lost {
                cpu: 1,
                events: Some(77)
            })
        );
        assert_eq!(
            parse("CPU:0 [LOST EVENTS]"),
            Some(Line::Lost {
                cpu: 0,
                events: None
            })
        );
        for line in [
            "",
            "# tracer: nop",
            "a-1 [000] ..... 1.0: kmalloc: ptr=0x1",
            "a-1 [000] ..... 1.0: mm_fault_page: mm=1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_vma_that_nobody_may_touch_is_told() {
        let vma = |flags: &str| VmaSeen {
            start: 0,
            end: 1,
            flags: flags.to_owned(),
        };
        assert!(!vma("mayread|maywrite|mayexec|account").is_accessible());
        assert_eq!(vma("read|mayshare|shared").permissions(), "r--s");
    }
}
