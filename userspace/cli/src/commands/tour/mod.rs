// SPDX-License-Identifier: GPL-2.0

//! `shadowmm tour`: the whole story on live numbers.
//!
//! ```text
//! machine -> firmware -> memblock -> sections -> zones -> page allocator -> accounting    screens.rs
//!   -> a page's life                      life.rs
//!   -> objects                            objects.rs
//!   -> address spaces                     space.rs
//!   -> the first touch                    touch.rs
//!   -> exec                               exec.rs, and elf.rs for the file
//!   -> stacks                             stack.rs
//!   -> fork and threads                   fork.rs
//!   -> malloc                             malloc.rs
//!   -> overcommit                         promise.rs
//!   -> the host beside it                 screens.rs
//! ```
//!
//! Each screen is some two dozen lines: two or three sentences, and the part of a report that
//! they are about. From a page's life on something is done, and what changed is told: pages
//! and objects are taken, and in a window of the tour's own (window.rs) memory is mapped and
//! touched. No sentence is said whose contrary was seen. What is refused ends its screen, and
//! not the tour.

mod elf;
mod exec;
mod fork;
mod life;
mod malloc;
mod objects;
mod promise;
mod screens;
mod space;
mod stack;
mod touch;
mod window;

use super::accounting::AccountingReport;
use super::boot;
use super::compare::CompareReport;
use super::e820::E820Report;
use super::iomem::IomemReport;
use super::memblock::MemblockReport;
use super::nodes::NodesReport;
use super::sections::SectionsReport;
use super::slab::ListReport;
use super::zones::ZonesReport;
use crate::args;
use crate::context::json;
use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host::machine::Machine;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::Area;
use shadowmm_client::Device;
use shadowmm_client::Segment;
use shadowmm_client::Stage;
use shadowmm_client::Status;
use shadowmm_client::Version;
use std::io;
use std::io::IsTerminal;
use window::refused;
use window::Seen;

/// All that the screens about physical memory are made of.
#[derive(Debug, Serialize)]
struct Facts {
    machine: Machine,
    version: Version,
    status: Status,
    segments: Vec<Segment>,
    #[serde(flatten)]
    e820: E820Report,
    #[serde(flatten)]
    resources: IomemReport,
    memblock: MemblockReport,
    #[serde(flatten)]
    sections: SectionsReport,
    #[serde(flatten)]
    nodes: NodesReport,
    #[serde(flatten)]
    zones: ZonesReport,
    #[serde(flatten)]
    accounting: AccountingReport,
    slab: ListReport,
    /// None, unless the pages are the manager's after Cosmos.
    areas: Vec<Area>,
    compare: CompareReport,
}

impl Facts {
    fn read(context: &Context, device: &Device) -> Result<Self> {
        Ok(Self {
            machine: Machine::read(&context.root),
            version: device.version()?,
            status: device.status()?,
            segments: device.segments()?,
            e820: E820Report::read(device)?,
            resources: IomemReport::read(device)?,
            memblock: MemblockReport::read(device)?,
            sections: SectionsReport::read(device)?,
            nodes: NodesReport::read(device)?,
            zones: ZonesReport::read(device)?,
            accounting: AccountingReport::read(device)?,
            slab: ListReport::read(device, &args::List::default())?,
            areas: device.areas()?,
            compare: CompareReport::read(context, device)?,
        })
    }

    /// Whether the pages are the manager's after Cosmos, and not the buddy system's.
    fn has_cosmos(&self) -> bool {
        !self.areas.is_empty()
    }
}

/// What is seen of virtual memory by doing it.
#[derive(Debug, Serialize)]
struct Doings {
    process: Seen<space::AddressSpace>,
    touch: Seen<touch::FirstTouch>,
    exec: Seen<exec::Executed>,
    stack: Seen<stack::Stacks>,
    fork: Seen<fork::Forked>,
    malloc: Seen<malloc::Malloc>,
    promise: Seen<promise::Promises>,
}

impl Doings {
    fn see(context: &Context, device: &Device) -> Self {
        Self {
            process: space::AddressSpace::see(device).into(),
            touch: touch::FirstTouch::see(device).into(),
            exec: exec::Executed::see(device).into(),
            stack: stack::Stacks::see(device).into(),
            fork: fork::Forked::see(device).into(),
            malloc: malloc::Malloc::see(device).into(),
            promise: promise::Promises::see(context, device).into(),
        }
    }
}

/// All that JSON has.
#[derive(Debug, Serialize)]
struct Everything {
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    doings: Doings,
}

/// A tour under way.
struct Tour<'t> {
    context: &'t Context,
    device: &'t Device,
    facts: &'t Facts,
}

/// Does something, and says on the screen what came of it.
type Do = fn(&Tour<'_>, &mut Screen) -> Result<()>;

/// Shows what was seen.
fn shown<T: Report>(screen: &mut Screen, seen: Result<T>) -> Result<()> {
    Seen::from(seen).print(screen);
    Ok(())
}

/// The screens behind those that only look ([`screens::SCREENS`]).
const DOINGS: [(&str, Do); 10] = [
    ("A page's life", |tour, screen| {
        life::tell(tour.device, tour.facts.has_cosmos(), screen)
    }),
    ("Objects smaller than a page", |tour, screen| {
        objects::tell(tour.device, tour.facts.has_cosmos(), screen)
    }),
    ("A process and its address space", |tour, screen| {
        shown(screen, space::AddressSpace::see(tour.device))
    }),
    ("Addresses, not memory", |tour, screen| {
        shown(screen, touch::FirstTouch::see(tour.device))
    }),
    ("What exec maps", |tour, screen| {
        shown(screen, exec::Executed::see(tour.device))
    }),
    ("The stack", |tour, screen| {
        shown(screen, stack::Stacks::see(tour.device))
    }),
    ("fork and threads", |tour, screen| {
        shown(screen, fork::Forked::see(tour.device))
    }),
    ("malloc above it", |tour, screen| {
        shown(screen, malloc::Malloc::see(tour.device))
    }),
    ("More promised than there is", |tour, screen| {
        shown(screen, promise::Promises::see(tour.context, tour.device))
    }),
    ("The shadow beside the host", |tour, screen| {
        // Not the look from before the pages were allocated and freed.
        let compare = CompareReport::read(tour.context, tour.device)?;
        screens::comparison(&compare, tour.facts.has_cosmos(), screen);
        Ok(())
    }),
];

/// Takes the tour.
pub fn run(context: &Context, args: &args::Tour) -> Result<()> {
    let device = context.open()?;
    // A shadow that waits in the middle of its boot is brought to the end.
    let mut now = device.boot()?;
    if now.stage < Stage::Handoff {
        boot::run_rest(&device, &mut now, &mut Vec::new())?;
    }
    let facts = Facts::read(context, &device)?;
    if context.json {
        let doings = Doings::see(context, &device);
        return context.write(&json(&Everything { facts, doings }, true)?);
    }

    let tour = Tour {
        context,
        device: &device,
        facts: &facts,
    };
    let pause = args.pause && io::stdin().is_terminal() && io::stdout().is_terminal();
    let last = screens::SCREENS.len() + DOINGS.len();
    let show = |number: usize, title: &str, fill: &dyn Fn(&mut Screen) -> Result<()>| {
        let mut screen = context.screen();
        if number > 1 {
            screen.blank();
        }
        screen.title(&format!("{number}/{last}  {title}"));
        if let Err(error) = fill(&mut screen) {
            refused(&error.to_string(), error.advice(), &mut screen);
        }
        context.write(screen.text())?;
        if pause && number < last {
            wait(context)?;
        }
        Ok::<(), Error>(())
    };
    for (number, (title, tell)) in (1..).zip(screens::SCREENS) {
        show(number, title, &|screen| {
            tell(&facts, screen);
            Ok(())
        })?;
    }
    for (number, (title, tell)) in (1 + screens::SCREENS.len()..).zip(DOINGS) {
        show(number, title, &|screen| tell(&tour, screen))?;
    }
    Ok(())
}

/// Waits for Enter.
fn wait(context: &Context) -> Result<()> {
    context.write("\n-- Enter: the next screen --")?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Error::failed(format!("could not read the terminal: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use crate::testing;

    /// A screen of the tour, as a report that only has the screen.
    #[derive(Serialize)]
    struct Shown<'f>(#[serde(skip)] fn(&Facts, &mut Screen), &'f Facts);

    impl Report for Shown<'_> {
        fn print(&self, screen: &mut Screen) {
            self.0(self.1, screen);
        }
    }

    fn sample() -> Facts {
        Facts {
            machine: Machine::default(),
            version: Version {
                abi: 1,
                release: "0.1.0".to_owned(),
                kernel: "7.3.4".to_owned(),
            },
            status: testing::status(),
            segments: vec![Segment {
                start_pfn: 0,
                pages: 65536,
                host_pfn: Some(0x7_0000),
                nid: 0,
                host_nid: 0,
            }],
            e820: commands::e820::tests::sample(),
            resources: commands::iomem::tests::sample(),
            memblock: commands::memblock::tests::sample(),
            sections: commands::sections::tests::sample(),
            nodes: commands::nodes::tests::sample(),
            zones: commands::zones::tests::sample(),
            accounting: commands::accounting::tests::sample(),
            slab: commands::slab::sample(),
            areas: Vec::new(),
            compare: commands::compare::tests::sample(),
        }
    }

    fn doings() -> Doings {
        Doings {
            process: Seen::Well(space::tests::sample()),
            touch: Seen::Well(touch::tests::sample()),
            exec: Seen::Well(exec::tests::sample()),
            stack: Seen::Well(stack::tests::sample()),
            fork: Seen::Well(fork::tests::sample()),
            malloc: Seen::Well(malloc::tests::sample()),
            promise: Seen::Well(promise::tests::sample()),
        }
    }

    fn area() -> Area {
        Area {
            nid: 0,
            zone: 2,
            kind: "kernel".to_owned(),
            start_pfn: 4096,
            end_pfn: 28_672,
            max_pages: 23_552,
            free_pages: 21_504,
            divisions: 24_690,
            merges: 24_690,
            lists: Vec::new(),
        }
    }

    /// What is wrong with it, if it has more lines than a terminal; in width it fits.
    fn too_long(title: &str, shown: &impl Report) -> Option<String> {
        testing::fits(shown);
        let lines = testing::text(shown, 80).lines().count();
        (lines > 24).then(|| format!("{title} has {lines} lines"))
    }

    #[test]
    fn every_screen_fits_into_a_terminal() {
        let mut facts = sample();
        let mut wrong = Vec::new();
        for areas in [Vec::new(), vec![area(); 20]] {
            facts.areas = areas;
            for (title, tell) in screens::SCREENS {
                wrong.extend(too_long(title, &Shown(tell, &facts)));
            }
        }
        let doings = doings();
        wrong.extend(too_long("process", &doings.process));
        wrong.extend(too_long("touch", &doings.touch));
        wrong.extend(too_long("exec", &doings.exec));
        wrong.extend(too_long("stack", &doings.stack));
        wrong.extend(too_long("fork", &doings.fork));
        wrong.extend(too_long("malloc", &doings.malloc));
        wrong.extend(too_long("promise", &doings.promise));
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn with_the_other_manager_no_screen_speaks_of_the_buddy_system() {
        let mut facts = sample();
        facts.areas = vec![area()];
        for (title, tell) in screens::SCREENS {
            let text = testing::text(&Shown(tell, &facts), 300);
            assert!(!text.contains("buddy"), "{title}: {text}");
        }
    }

    #[test]
    fn the_reports_keep_their_keys_in_one_object() {
        let everything = Everything {
            facts: sample(),
            doings: doings(),
        };
        let value = serde_json::to_value(everything).expect("JSON");
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "accounts",
                "areas",
                "compare",
                "e820",
                "exec",
                "fork",
                "machine",
                "malloc",
                "memblock",
                "nodes",
                "process",
                "promise",
                "resources",
                "section_pages",
                "sections",
                "segments",
                "slab",
                "stack",
                "status",
                "touch",
                "version",
                "zones",
            ]
        );
    }

    #[test]
    fn what_was_done_keeps_its_keys() {
        const SPACE: &str = "brk comm data_vm_pages faults_mmap_lock faults_vma_lock hiwater_rss_pages hiwater_vm_pages id locked_vm_pages maj_flt map_count min_flt mmap_base oom_score_adj pgtables_bytes pid rss_anon_pages rss_file_pages rss_shmem_pages stack_vm_pages start_brk start_stack total_vm_pages tree window_end window_start";
        const VMA: &str = "anon end file flags pgoff start";
        const PAGE: &str =
            "count head_pfn head_state host_pfn nid order owner pfn section state zone zone_name";
        const HAS: &str = "pfn references space_id table_pfn writable";
        let of = |path: &str, keys: &str| -> String {
            let all = keys.split_whitespace();
            let all: Vec<String> = all.map(|key| format!("{path}.{key} ")).collect();
            all.concat()
        };
        let below = |path: &str, keys: &str| format!("{path} {}", of(path, keys));
        let each = |path: &str, keys: &str| of(&format!("{path}[]"), keys);
        let doings = doings();
        testing::keys(
            &doings.process,
            &[
                "by_mmap_lock by_vma_lock steps steps[].map_count steps[].what touched_pages ",
                &below("steps[].vmas", ""),
                &each("steps[].vmas", VMA),
                &below("vmas", ""),
                &each("vmas", VMA),
                &below("space", SPACE),
            ]
            .concat(),
        );
        let mut touch = "byte cosmos ".to_owned();
        for look in ["mapped", "read", "written", "further"] {
            touch += &format!("{look} ");
            touch += &below(&format!("{look}.space"), SPACE);
            touch += &below(&format!("{look}.walk"), "addr levels mapped pfn vma");
            touch += &each(&format!("{look}.walk.levels"), "entry index name table_pfn");
        }
        touch += &below("unmapped", SPACE);
        touch += &below("page", PAGE);
        testing::keys(&doings.touch, &touch);
        testing::keys(
            &doings.exec,
            &[
                "interpreter is_anywhere parts parts[].of parts[].segment ",
                &below("parts[].vma", VMA),
                &below("space", SPACE),
            ]
            .concat(),
        );
        testing::keys(
            &doings.stack,
            &[
                "grown grown[].below limit rlimit thread tried tried[].what ",
                &below("grown[].vma", VMA),
                &below("tried[].ended", "signal status"),
                &each("thread", VMA),
            ]
            .concat(),
        );
        let whose =
            "written parent_forked child_forked child_written parent_left parent_written thread";
        let fork: String = whose.split(' ').map(|who| below(who, HAS)).collect();
        testing::keys(&doings.fork, &fork);
        testing::keys(
            &doings.malloc,
            &[
                "told told.steps told.steps[].arena_bytes told.steps[].brk_moves \
                 told.steps[].heap_bytes told.steps[].in_use_bytes told.steps[].mmapped_bytes \
                 told.steps[].what ",
                "told.chunk_bytes told.fast_chunks told.free_chunks told.same_place \
                 told.usable_bytes ",
                &below("told.thread", "address outside_heap"),
            ]
            .concat(),
        );
        testing::keys(
            &doings.promise,
            &[
                "candidates candidates[].badness chosen managed_pages steps \
                 steps[].committed_kib steps[].refused steps[].what ",
                &below(
                    "knobs",
                    "commit_limit_kib overcommit_memory overcommit_ratio",
                ),
                &below("candidates[].space", SPACE),
            ]
            .concat(),
        );
    }
}
