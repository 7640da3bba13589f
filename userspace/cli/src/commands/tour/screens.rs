// SPDX-License-Identifier: GPL-2.0

//! The tour's screens that look at one report each.

use super::Facts;
use crate::commands::buddy::BuddyReport;
use crate::commands::compare::CompareReport;
use crate::commands::nodes::in_zonelist;
use crate::commands::page::zone_name;
use crate::commands::status::source_text;
use crate::context::Report;
use crate::render::address;
use crate::render::bytes;
use crate::render::count;
use crate::render::duration;
use crate::render::pages;
use crate::render::percent;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use shadowmm_client::Stage;
use shadowmm_client::PAGE_SIZE;
use shadowmm_core::sparse::SECTIONS_PER_ROOT;

/// Rows of a table that a screen has room for.
const ROWS: usize = 10;

/// Pages of a section on x86-64 (`SECTION_SIZE_BITS`).
const LINUX_SECTION_PAGES: u64 = (128 << 20) / PAGE_SIZE;

/// A screen: its title, and who fills it.
pub type Told = (&'static str, fn(&Facts, &mut Screen));

/// The screens, in the order of the data.
pub const SCREENS: [Told; 7] = [
    ("The machine and its shadow", machine),
    ("What the firmware says", firmware),
    ("memblock: memory before there is an allocator", memblock),
    ("Sections and page descriptors", sparse),
    ("Nodes and zones", zones),
    ("The hand-off to the page allocator", hand_off),
    ("Where the memory went", accounting),
];

/// Says how many rows a table has not shown.
fn more(shown: usize, all: usize, command: &str, screen: &mut Screen) {
    if let Some(rest @ 1..) = all.checked_sub(shown) {
        screen.para(&format!("… and {rest} more: shadowmm {command}"));
    }
}

/// The kernel, where the region lies, and how long all took.
fn machine(facts: &Facts, screen: &mut Screen) {
    let Facts {
        machine, status, ..
    } = facts;
    let accelerator = match machine.accelerator.as_deref() {
        Some("kvm") => ", run by KVM".to_owned(),
        Some("tcg") => ", run under emulation (tcg)".to_owned(),
        Some("icount") => ", run under emulation that counts instructions (icount)".to_owned(),
        Some(other) => format!(", run by {other}"),
        None => String::new(),
    };
    screen.para(&format!(
        "This is Linux {}{accelerator}, with {} and {} of memory that it manages itself, {} of which in CMA areas: free for movable pages until somebody needs it in one piece.",
        machine.kernel.as_deref().unwrap_or(&facts.version.kernel),
        machine.cpus.map_or("some CPUs".to_owned(), |cpus| plural(cpus as u64, "CPU")),
        machine.total_bytes.map_or("some".to_owned(), bytes),
        machine.cma_total_bytes.map_or("some".to_owned(), bytes),
    ));
    screen.para(&format!(
        "The module shadowmm {} took {} from {} and boots a second memory manager on it. What the shadow calls page 0 is a page of the host's far up; no page of the host's own is ever touched:",
        facts.version.release,
        pages(status.backing_pages),
        source_text(status.region_source),
    ));
    screen.blank();
    let mut table = Table::new([
        Column::number("shadow's page"),
        Column::number("pages"),
        Column::number("size"),
        Column::number("node"),
        Column::number("host's node"),
        Column::text("host's page"),
    ]);
    for segment in facts.segments.iter().take(ROWS) {
        table.row([
            segment.start_pfn.to_string(),
            segment.pages.to_string(),
            pages(segment.pages),
            segment.nid.to_string(),
            segment.host_nid.to_string(),
            segment
                .host_pfn
                .map_or("-".to_owned(), |pfn| format!("{pfn:#x}")),
        ]);
    }
    table.print(screen);
    more(ROWS, facts.segments.len(), "tour --json", screen);
    screen.blank();
    let stages: Vec<String> = Stage::ALL
        .into_iter()
        .zip(status.stage_ns)
        .map(|(stage, ns)| format!("{} {}", stage.name(), duration(ns)))
        .collect();
    screen.para(&format!(
        "{}The shadow's boot took {}: {}.",
        machine.module_load_ms.map_or(String::new(), |ms| format!(
            "Inserting the module took {ms} ms. "
        )),
        duration(status.stage_ns.iter().sum()),
        stages.join(", ")
    ));
}

/// The e820 table, the nodes' memory and distances.
fn firmware(facts: &Facts, screen: &mut Screen) {
    let status = &facts.status;
    screen.para("Before a kernel runs, the firmware has found the DIMMs. It describes them in three tables: E820 says which addresses are RAM and which are not, the ACPI SRAT which memory and which CPU belong to which node, the SLIT how far the nodes are apart.");
    screen.para(&format!(
        "This map is {}: {} of RAM, scaled to the {} that the shadow has, with holes and proportions kept.",
        status.map_source.text(),
        bytes(status.original_ram_bytes),
        pages(status.ram_pages),
    ));
    screen.blank();
    facts.e820.table(ROWS - 1).print(screen);
    more(ROWS - 1, facts.e820.len(), "e820", screen);
    screen.blank();
    for node in &facts.nodes.nodes {
        let distances: Vec<String> = facts
            .nodes
            .nodes
            .iter()
            .filter_map(|other| {
                let distance = node.distances.get(usize::try_from(other.nid).ok()?)?;
                Some(format!("{distance} to node {}", other.nid))
            })
            .collect();
        screen.para(&format!(
            "Node {}: {} from {}, {}; distance {}.",
            node.nid,
            pages(node.present_pages),
            address(node.start_pfn.saturating_mul(PAGE_SIZE)),
            plural(node.nr_cpus.into(), "CPU"),
            distances.join(", ")
        ));
    }
    screen.para("Distances are relative, no times: 10 is local. On hardware local memory takes about 100 ns, remote about 300 ns.");
}

/// The two arrays, and who took from them.
fn memblock(facts: &Facts, screen: &mut Screen) {
    let memblock = &facts.memblock;
    screen.para("A kernel that boots needs memory before it has an allocator. memblock is coarse on purpose: two sorted arrays of regions, one of all memory, one of what is taken. Whoever needs some finds a gap and reserves it.");
    screen.para(&format!(
        "memory has {} with {}; reserved has {} with {}: above all the page descriptors of the next screen.",
        plural(memblock.memory.cnt as u64, "region"),
        bytes(memblock.memory.total_size_bytes),
        memblock.reserved.cnt,
        bytes(memblock.reserved.total_size_bytes),
    ));
    match facts.resources.crash_kernel() {
        Some(crash) => screen.para(&format!(
            "The crash kernel, which would save this one's state, has {} at {}.",
            bytes(crash.end.saturating_sub(crash.start).saturating_add(1)),
            address(crash.start)
        )),
        None => screen.para("No memory is set aside for a crash kernel (shadowmm boot --crashkernel SIZE does that)."),
    }
    screen.blank();
    screen.heading("memory");
    memblock.memory.table(ROWS / 2).print(screen);
    more(ROWS / 2, memblock.memory.cnt, "memblock", screen);
    screen.heading("reserved");
    memblock.reserved.table(ROWS / 2).print(screen);
    more(ROWS / 2, memblock.reserved.cnt, "memblock", screen);
}

/// What the descriptors cost.
fn sparse(facts: &Facts, screen: &mut Screen) {
    let Facts {
        status, sections, ..
    } = facts;
    let ram = status.ram_pages.saturating_mul(PAGE_SIZE);
    screen.para(&format!(
        "Linux keeps a struct page for every page frame, of {} bytes: {} of all memory, 256 MiB of 16 GiB. Addresses have holes, so the descriptors come in sections, and only sections with memory have any; their array has two levels, with roots of {SECTIONS_PER_ROOT} sections.",
        status.host_descriptor_size,
        percent(u64::from(status.host_descriptor_size), PAGE_SIZE),
    ));
    screen.para(&format!(
        "shadowmm needs {} bytes, because it links pages by 32-bit frame numbers. Here there are {} of {}; memblock gave each its descriptors on its own node.{}",
        status.descriptor_size,
        plural(sections.len() as u64, "section"),
        pages(sections.section_pages()),
        match sections.section_pages() < LINUX_SECTION_PAGES {
            true => " Linux's sections on x86-64 have 128 MiB; these are smaller so that descriptors stay below 0.45 %.",
            false => "",
        }
    ));
    screen.blank();
    let mut table = Table::new([
        Column::text("descriptors"),
        Column::number("bytes each"),
        Column::number("in all"),
        Column::number("of the RAM"),
    ]);
    for (whose, each, all) in [
        (
            "Linux's would be",
            status.host_descriptor_size,
            status.linux_descriptor_bytes(),
        ),
        (
            "shadowmm's are",
            status.descriptor_size,
            status.descriptor_bytes,
        ),
    ] {
        table.row([
            whose.to_owned(),
            each.to_string(),
            bytes(all),
            percent(all, ram),
        ]);
    }
    table.print(screen);
    screen.blank();
    screen.para(&format!(
        "With section tables, nodes and statistics the shadow's own needs are {}, {} of the region.",
        bytes(status.metadata_bytes),
        percent(
            status.metadata_bytes,
            status.backing_pages.saturating_mul(PAGE_SIZE)
        )
    ));
    screen.blank();
    sections.table(ROWS / 3).print(screen);
    more(ROWS / 3, sections.len(), "sections", screen);
}

/// Spans, watermarks, and where a request falls back to.
fn zones(facts: &Facts, screen: &mut Screen) {
    screen.para("Memory of one node is equally far from its CPUs; a remote access may take three times as long. Within a node, zones part it by use: DMA for ISA devices, DMA32 for devices with 32-bit addresses, Normal, and Movable for pages that can be moved away. Pages:");
    screen.blank();
    let mut table = Table::new([
        Column::number("node"),
        Column::text("zone"),
        Column::number("start"),
        Column::number("spanned"),
        Column::number("present"),
        Column::number("managed"),
        Column::number("min"),
        Column::number("low"),
        Column::number("high"),
    ]);
    let populated: Vec<_> = facts
        .zones
        .zones
        .iter()
        .filter(|zone| zone.present_pages > 0)
        .collect();
    for zone in populated.iter().take(ROWS) {
        table.row([
            zone.nid.to_string(),
            zone.name.clone(),
            zone.start_pfn.to_string(),
            zone.spanned_pages.to_string(),
            zone.present_pages.to_string(),
            zone.managed_pages.to_string(),
            zone.watermark_min.to_string(),
            zone.watermark_low.to_string(),
            zone.watermark_high.to_string(),
        ]);
    }
    table.print(screen);
    more(ROWS, populated.len(), "zones", screen);
    screen.blank();
    screen.para("spanned counts holes, present does not, managed leaves out what memblock has kept. Below min only those who free memory get any; between low and high background reclaim works.");
    if let Some((zone, kept)) = populated
        .iter()
        .flat_map(|zone| zone.protection.map(|pages| (zone, pages)))
        .max_by_key(|(_, pages)| *pages)
    {
        screen.para(&format!(
            "Low zones are kept for those who have no other: zone {} of node {} holds back up to {} pages more from requests that higher zones could serve.",
            zone.name, zone.nid, count(kept)
        ));
    }
    for node in facts.nodes.nodes.iter().take(2) {
        screen.para(&format!(
            "A movable request on node {} looks at: {}.",
            node.nid,
            zonelist(facts, &node.fallback)
        ));
    }
    screen.para("One of the kernel's own (GFP_KERNEL) leaves out Movable.");
}

/// The zones of a zonelist, in order: node by node of its fallback (`build_zonelists`).
fn zonelist(facts: &Facts, fallback: &[i32]) -> String {
    let nodes = fallback.iter().filter_map(|&nid| {
        let zones = in_zonelist(&facts.zones.zones, nid);
        let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{} of node {nid}", names.join(", ")))
    });
    nodes.collect::<Vec<_>>().join("; ")
}

/// Who gets the memory after memblock.
fn hand_off(facts: &Facts, screen: &mut Screen) {
    match facts.has_cosmos() {
        true => areas(facts, screen),
        false => buddy(facts, screen),
    }
}

/// The areas of the manager after Cosmos.
fn areas(facts: &Facts, screen: &mut Screen) {
    screen.para(&format!(
        "The last thing that memblock does is to give all it has left to the page allocator: {} pages. From then on it refuses requests.",
        count(facts.status.managed_pages)
    ));
    screen.para("That is not Linux's here, but one after the page manager of Peng Dong's Cosmos teaching kernel (allocator=cosmos): areas by use (memarea_t), for hardware, for the kernel and for applications. Each has a list of blocks for each power of two; a request halves the smallest block that fits, and what is freed merges with the block beside it:");
    screen.blank();
    let mut table = Table::new([
        Column::number("node"),
        Column::text("zone"),
        Column::text("area"),
        Column::number("memory"),
        Column::number("free"),
        Column::number("halved"),
        Column::number("merged"),
    ]);
    for area in facts.areas.iter().take(ROWS) {
        table.row([
            area.nid.to_string(),
            zone_name(area.zone).to_owned(),
            area.kind.clone(),
            pages(area.max_pages),
            pages(area.free_pages),
            area.divisions.to_string(),
            area.merges.to_string(),
        ]);
    }
    table.print(screen);
    more(ROWS, facts.areas.len(), "cosmos", screen);
}

/// The free areas.
fn buddy(facts: &Facts, screen: &mut Screen) {
    let report = BuddyReport::from_zones(&facts.zones.zones);
    screen.para(&format!(
        "The last thing that memblock does is to give all it has left to the buddy system, in blocks as large as their alignment allows: {} pages. From then on it refuses requests.",
        count(facts.status.managed_pages)
    ));
    screen.para(&format!(
        "The buddy system keeps free blocks of 2^n pages, n from 0 (4 KiB) to 10 (4 MiB), in lists for each zone. A request takes the smallest block that fits and splits it; a freed block merges with its neighbour of the same size, its buddy, as far up as that goes. Now {} pages are free, in these blocks by order:",
        count(report.free_pages())
    ));
    screen.blank();
    report.table().print(screen);
    screen.blank();
    screen.para("The host's own lists look the same, in /proc/buddyinfo; the shadow's are in /proc/shadowmm/buddyinfo, to be read by the same programs.");
}

/// From dmidecode to free.
fn accounting(facts: &Facts, screen: &mut Screen) {
    screen.para("Why does free -m show less than dmidecode? The firmware keeps some memory, the crash kernel has some set aside, the page descriptors take their share. For the shadow it adds up to the byte:");
    screen.blank();
    facts.accounting.print(screen);
    screen.blank();
    let (whole, rest) = (facts.accounting.whole(), facts.accounting.rest());
    screen.para(&format!(
        "So of {} there are {} to use, {}. MemTotal in /proc/shadowmm/meminfo says the same.",
        bytes(whole),
        bytes(rest),
        percent(rest, whole)
    ));
}

/// The same for both.
pub fn comparison(compare: &CompareReport, cosmos: bool, screen: &mut Screen) {
    screen.para(match cosmos {
        true => "The host's buddy system, and the shadow's page manager after Cosmos, which has other rules and blocks of the same sizes. Free blocks by order:",
        false => "The host's buddy system and the shadow's, by the same rules. Free blocks by order:",
    });
    screen.blank();
    compare.blocks().print(screen);
    screen.blank();
    screen.para("Free pages, the largest order with a free block, and the unusable free space index at order 9, a huge page of 2 MiB: 0 if all free memory could serve one, 1 if none could:");
    screen.blank();
    compare.summary(9).print(screen);
    screen.blank();
    screen.para(
        "Go on with: shadowmm compare, shadowmm boot --step --builtin, shadowmm page alloc --help.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_cut_short_says_so() {
        let look = crate::render::Look {
            width: 80,
            colour: false,
        };
        let mut screen = Screen::new(look);
        more(10, 10, "e820", &mut screen);
        more(10, 3, "e820", &mut screen);
        assert_eq!(screen.text(), "");
        more(10, 12, "e820", &mut screen);
        assert_eq!(screen.text(), "… and 2 more: shadowmm e820\n");
    }
}
