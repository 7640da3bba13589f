// SPDX-License-Identifier: GPL-2.0

//! What the tests of the commands share: a shadow to report on, and what must
//! hold of every report.

use crate::context::Report;
use crate::render::Look;
use crate::render::Screen;
use serde_json::Value;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Tree;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::VmaFlags;
use shadowmm_client::MapSource;
use shadowmm_client::Page;
use shadowmm_client::PageOwner;
use shadowmm_client::PageState;
use shadowmm_client::RegionSource;
use shadowmm_client::Stage;
use shadowmm_client::Status;
use shadowmm_client::Zone;
use shadowmm_client::PAGE_SIZE;
use std::collections::BTreeSet;

/// A shadow of 512 MiB on two nodes.
pub fn status() -> Status {
    Status {
        stage: Stage::Handoff,
        map_source: MapSource::Builtin,
        region_source: RegionSource::Cma,
        nr_nodes: 2,
        backing_pages: 131_072,
        ram_pages: 130_944,
        original_ram_bytes: 16 << 30,
        metadata_bytes: 2_140_000,
        descriptor_bytes: 2_097_152,
        managed_pages: 130_000,
        free_pages: 129_000,
        held_pages: 0,
        open_files: 1,
        section_order: 13,
        descriptor_size: 16,
        host_descriptor_size: 64,
        stage_ns: [1_000, 20_000, 300_000, 40_000, 5_000],
        crash_refusal: None,
    }
}

/// A page of node 1 that is given out, with so many references.
pub fn page(pfn: u64, count: u32) -> Page {
    Page {
        pfn,
        state: PageState::Allocated,
        head_pfn: pfn,
        head_state: PageState::Allocated,
        order: 0,
        nid: 1,
        zone: 3,
        section: 7,
        count,
        owner: PageOwner::Kernel,
        host_pfn: None,
    }
}

/// A zone with this many free blocks of the largest order.
pub fn zone(nid: i32, name: &str, blocks: u64) -> Zone {
    let mut nr_free = [1; shadowmm_client::NR_ORDERS];
    nr_free[10] = blocks;
    Zone {
        nid,
        zone: 2,
        name: name.to_owned(),
        start_pfn: 4096,
        spanned_pages: 65536,
        present_pages: if blocks == 0 { 0 } else { 65000 },
        managed_pages: 64000,
        free_pages: 1023 + (blocks << 10),
        watermark_min: 350,
        watermark_low: 437,
        watermark_high: 524,
        watermark_promo: 611,
        protection: [0, 0, 250, 250],
        nr_free,
    }
}

/// Three zones with memory on two nodes, and one without.
pub fn zones() -> Vec<Zone> {
    vec![
        zone(0, "DMA", 1),
        zone(0, "Normal", 61),
        zone(1, "Movable", 12_345),
        zone(1, "DMA", 0),
    ]
}

/// A report as text, without colour.
pub fn text(report: &impl Report, width: usize) -> String {
    let look = Look {
        width,
        colour: false,
    };
    let mut screen = Screen::new(look);
    report.print(&mut screen);
    screen.text().to_owned()
}

/// No line of the report is wider than the screen, and it says the same numbers
/// on every screen.
#[track_caller]
pub fn fits(report: &impl Report) {
    for width in [20, 24, 40, 60, 80, 100, 200] {
        let text = text(report, width);
        assert!(!text.trim().is_empty());
        assert!(!text.contains('\x1b'), "an escape sequence without colour");
        for line in text.lines() {
            assert!(
                line.chars().count() <= width,
                "wider than {width}: {line:?}"
            );
        }
    }
}

/// The report's keys are these and no others. Array elements share one name.
#[track_caller]
pub fn keys(report: &impl Report, expected: &str) {
    let value = serde_json::to_value(report).expect("JSON");
    let mut found = BTreeSet::new();
    collect(&value, "", &mut found);
    let expected: BTreeSet<String> = expected.split_whitespace().map(str::to_owned).collect();
    assert_eq!(found, expected);
}

fn collect(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                assert!(
                    key.chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                    "{path} is not in snake case"
                );
                collect(value, &path, keys);
                keys.insert(path);
            }
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect(value, &format!("{path}[]"), keys)),
        _ => {}
    }
}

/// An address space with nothing in it but a stack that nobody has touched.
pub fn space(id: u32) -> Space {
    Space {
        id,
        pid: 700 + id,
        comm: "shadowmm".to_owned(),
        window_start: 0x7f00_0000_0000,
        window_end: 0x7f00_4000_0000,
        mmap_base: 0x7f00_3800_0000,
        start_brk: 0x7f00_0000_0000,
        brk: 0x7f00_0000_0000,
        start_stack: 0x7f00_3fff_f000,
        total_vm_pages: 33,
        locked_vm_pages: 0,
        data_vm_pages: 0,
        stack_vm_pages: 33,
        hiwater_vm_pages: 33,
        hiwater_rss_pages: 0,
        rss_file_pages: 0,
        rss_anon_pages: 0,
        rss_shmem_pages: 0,
        pgtables_bytes: 0,
        min_flt: 0,
        maj_flt: 0,
        faults_vma_lock: 0,
        faults_mmap_lock: 0,
        map_count: 1,
        tree: Some(Tree::Maple),
        oom_score_adj: 0,
    }
}

/// A private VMA of these permissions.
pub fn vma(start: u64, end: u64, permissions: &str) -> Vma {
    let bits = permissions.chars().map(|letter| match letter {
        'r' => 1,
        'w' => 2,
        'x' => 4,
        _ => 0,
    });
    Vma {
        start,
        end,
        flags: VmaFlags(bits.sum()),
        pgoff: start / PAGE_SIZE,
        file: 0,
        anon: 0,
    }
}
