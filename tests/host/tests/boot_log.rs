// SPDX-License-Identifier: GPL-2.0

//! firmware/ against kernels' own words: a boot log has the firmware's map at
//! its beginning, and further down what that kernel made of it ("Early memory
//! node ranges"). From the one must follow the other.
//!
//! The logs are those of tests/data/dmesg; where the environment's
//! `SHADOWMM_BOOT_LOG` names a file, that one alone.

use shadowmm_core::firmware;
use shadowmm_core::firmware::E820Type;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PhysAddr;
use std::path::PathBuf;

/// Node, first byte, last byte.
type Range = (i32, u64, u64);

fn logs() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("SHADOWMM_BOOT_LOG") {
        return vec![path.into()];
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/dmesg");
    let entries = std::fs::read_dir(directory).expect("the logs");
    entries.map(|entry| entry.expect("a log").path()).collect()
}

/// `…  node   0: [mem 0x0000000000001000-0x000000000009efff]`, below their title.
fn early_ranges(log: &str) -> Vec<Range> {
    let lines = log
        .lines()
        .skip_while(|line| !line.ends_with("Early memory node ranges"));
    let ranges = lines.skip(1).map_while(|line| {
        let (node, range) = line.split_once(": [mem 0x")?;
        let nid = node.rsplit_once("  node ")?.1.trim().parse().ok()?;
        let (first, last) = range.strip_suffix(']')?.split_once("-0x")?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some((nid, hex(first)?, hex(last)?))
    });
    ranges.collect()
}

/// What core makes of the map in the log.
fn our_ranges(log: &str) -> Vec<Range> {
    let mut map = Box::new(FirmwareMap::NEW);
    firmware::parse(log, &mut map, &mut Default::default()).expect("a map");
    // trim_bios_range()
    let (page, ram) = (Bytes(0x1000), E820Type::RAM);
    let e820 = &mut map.e820;
    e820.range_update(PhysAddr(0), page, ram, E820Type::RESERVED)
        .expect("room");
    e820.range_remove(PhysAddr(0xa0000), Bytes(0x60000), Some(ram))
        .expect("room");
    map.resolve().expect("a machine");
    let mut ranges: Vec<Range> = map
        .ram_ranges()
        .map(|(nid, range)| (nid.0, range.start.0 << 12, (range.end.0 << 12) - 1))
        .collect();
    ranges.sort_by_key(|&(_, first, _)| first);
    ranges.dedup_by(|next, last| {
        let joined = last.0 == next.0 && last.2 + 1 == next.1;
        if joined {
            last.2 = next.2;
        }
        joined
    });
    ranges
}

#[test]
fn the_same_map_gives_the_same_ranges() {
    let logs = logs();
    assert!(!logs.is_empty());
    for path in logs {
        let log = std::fs::read_to_string(&path).expect("a log");
        let theirs = early_ranges(&log);
        assert!(!theirs.is_empty(), "{} has no ranges", path.display());
        assert_eq!(our_ranges(&log), theirs, "{}", path.display());
    }
}
