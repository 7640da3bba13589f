// SPDX-License-Identifier: GPL-2.0

//! The host's own firmware map, from sysfs.
//!
//! ```text
//! /sys/firmware/memmap/N/{start,end,type}            the e820 table, as the firmware gave it
//! /sys/devices/system/memory/block_size_bytes        the size of a memory block
//! /sys/devices/system/node/nodeN/memoryM             block M lies on node N     (SRAT)
//! /sys/devices/system/node/nodeN/cpulist             its CPUs                   (SRAT)
//! /sys/devices/system/node/nodeN/distance            to each online node        (SLIT)
//! ```
//!
//! The kernel does not show the SRAT itself, but what it made of it: memory
//! blocks, whose edges are those of the affinities rounded to a block. Where
//! two nodes meet inside a block it is on both, and the spans of the nodes'
//! zones in `/proc/zoneinfo` tell where.

use super::hexadecimal;
use super::numbered;
use super::read;
use crate::e820;
use crate::error::Error;
use crate::error::Result;
use shadowmm_client::CpuAffinity;
use shadowmm_client::E820Range;
use shadowmm_client::Map;
use shadowmm_client::MapSource;
use shadowmm_client::MemoryAffinity;
use shadowmm_client::PAGE_SIZE;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

const NODES: &str = "sys/devices/system/node";
/// The distance to a node that is not online (`REMOTE_DISTANCE`).
const REMOTE_DISTANCE: u8 = 20;
/// The distance of a node to itself (`LOCAL_DISTANCE`).
const LOCAL_DISTANCE: u8 = 10;
/// Node numbers from here on are none of ours.
const MAX_NODES: u64 = shadowmm_core::phys::MAX_NODES as u64;

/// Reads the host's map below `root`.
pub fn host(root: &Path) -> Result<Map> {
    let mut map = Map {
        source: MapSource::Host,
        e820: firmware_ranges(root)?,
        ..Map::builtin()
    };
    // A kernel without NUMA has no nodes to show, and needs none.
    if root.join(NODES).is_dir() {
        nodes(root, &mut map)?;
    }
    Ok(map)
}

/// The e820 table as the firmware gave it, by address.
pub fn firmware_ranges(root: &Path) -> Result<Vec<E820Range>> {
    let directory = "sys/firmware/memmap";
    let numbers = numbered(root, directory, "").map_err(|error| {
        error.with_advice(
            "the host shows its firmware map only with CONFIG_FIRMWARE_MEMMAP: take a boot log instead (--dmesg FILE), or the built-in map (--builtin)",
        )
    })?;
    let mut ranges = Vec::with_capacity(numbers.len());
    for number in numbers {
        let entry = |file: &str| read(root, &format!("{directory}/{number}/{file}"));
        let (start, end, kind) = (entry("start")?, entry("end")?, entry("type")?);
        let malformed = || {
            Error::failed(format!(
                "/{directory}/{number} is no range: start {start:?}, end {end:?}, type {kind:?}"
            ))
        };
        let first = hexadecimal(&start).ok_or_else(malformed)?;
        let last = hexadecimal(&end).ok_or_else(malformed)?;
        let size = last
            .checked_sub(first)
            .and_then(|size| size.checked_add(1))
            .ok_or_else(malformed)?;
        ranges.push(E820Range {
            addr: first,
            size,
            kind: e820::from_memmap(&kind).ok_or_else(malformed)?,
        });
    }
    ranges.sort_by_key(|range| range.addr);
    Ok(ranges)
}

fn nodes(root: &Path, map: &mut Map) -> Result<()> {
    let online: Vec<u64> = numbered(root, NODES, "node")?;
    if let Some(nid) = online.iter().find(|&&nid| nid >= MAX_NODES) {
        return Err(Error::failed(format!(
            "the host has a node {nid}, and shadowmm knows nodes up to {}",
            MAX_NODES - 1
        )));
    }
    for &nid in &online {
        if let Ok(list) = read(root, &format!("{NODES}/node{nid}/cpulist")) {
            let cpus = parse_list(&list).ok_or_else(|| {
                Error::failed(format!("node {nid} has no list of CPUs: {list:?}"))
            })?;
            map.cpus.extend(cpus.into_iter().map(|cpu| CpuAffinity {
                cpu,
                nid: nid as i32,
            }));
        }
    }
    map.cpus.sort_by_key(|affinity| affinity.cpu);
    map.distances = distances(root, &online)?;
    map.memory = memory(root, &online)?;
    Ok(())
}

/// The distances, for every number up to the highest node's.
fn distances(root: &Path, online: &[u64]) -> Result<Vec<Vec<u8>>> {
    let count = online.last().map_or(0, |&nid| nid as usize + 1);
    let mut table = vec![vec![REMOTE_DISTANCE; count]; count];
    for (nid, row) in table.iter_mut().enumerate() {
        row[nid] = LOCAL_DISTANCE;
    }
    for &from in online {
        let text = read(root, &format!("{NODES}/node{from}/distance"))?;
        let row: Option<Vec<u8>> = text
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect();
        let row = row
            .filter(|row| row.len() == online.len())
            .ok_or_else(|| Error::failed(format!("node {from} has no distances: {text:?}")))?;
        for (&to, distance) in online.iter().zip(row) {
            table[from as usize][to as usize] = distance;
        }
    }
    Ok(table)
}

/// Which memory belongs to which node, neighbours joined.
fn memory(root: &Path, online: &[u64]) -> Result<Vec<MemoryAffinity>> {
    let mut blocks: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for &nid in online {
        for block in numbered(root, &format!("{NODES}/node{nid}"), "memory")? {
            blocks.entry(block).or_default().insert(nid);
        }
    }
    if blocks.is_empty() {
        // One node has it all; of several nobody knows which has what.
        return if online.len() <= 1 {
            Ok(Vec::new())
        } else {
            Err(Error::Failed {
                what: format!(
                    "the host has {} nodes and does not show which memory is whose",
                    online.len()
                ),
                advice: Some(
                    "take its boot log instead: dmesg | shadowmm boot --dmesg -".to_owned(),
                ),
            })
        };
    }
    let size = read(root, "sys/devices/system/memory/block_size_bytes")?;
    let size = hexadecimal(&size).filter(|&size| size > 0).ok_or_else(|| {
        Error::failed(format!("the size of a memory block is no number: {size:?}"))
    })?;
    let spans = read(root, "proc/zoneinfo").map_or_else(|_| BTreeMap::new(), |text| spans(&text));

    let mut affinities: Vec<MemoryAffinity> = Vec::new();
    let mut push = |nid: u64, range: Range<u64>| {
        if range.is_empty() {
            return;
        }
        match affinities.last_mut() {
            Some(last) if last.nid == nid as i32 && last.addr + last.size == range.start => {
                last.size += range.end - range.start;
            }
            _ => affinities.push(MemoryAffinity {
                addr: range.start,
                size: range.end - range.start,
                nid: nid as i32,
                hotplug: false,
            }),
        }
    };
    for (block, nids) in blocks {
        let range = block
            .checked_mul(size)
            .and_then(|start| Some(start..start.checked_add(size)?))
            .ok_or_else(|| {
                Error::failed(format!("there is no address for memory block {block}"))
            })?;
        for (nid, part) in share(range, &nids, &spans) {
            push(nid, part);
        }
    }
    Ok(affinities)
}

/// Which part of a block is whose. A block of one node is that node's; in one
/// of several each has what its zones span there, and the last one the rest.
fn share(
    range: Range<u64>,
    nids: &BTreeSet<u64>,
    spans: &BTreeMap<u64, Vec<Range<u64>>>,
) -> Vec<(u64, Range<u64>)> {
    let mut parts: Vec<(u64, u64)> = nids
        .iter()
        .map(|&nid| {
            let end = spans
                .get(&nid)
                .into_iter()
                .flatten()
                .filter(|span| span.start < range.end && span.end > range.start)
                .map(|span| span.end.min(range.end))
                .max();
            (nid, end.unwrap_or(range.start))
        })
        .collect();
    parts.sort_by_key(|&(_, end)| end);
    if let Some(last) = parts.last_mut() {
        last.1 = range.end;
    }
    let mut start = range.start;
    parts
        .into_iter()
        .map(|(nid, end)| {
            let part = start..end.max(start);
            start = part.end;
            (nid, part)
        })
        .collect()
}

/// What each node's zones span, in bytes, from the text of `/proc/zoneinfo`.
fn spans(zoneinfo: &str) -> BTreeMap<u64, Vec<Range<u64>>> {
    let mut spans: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
    let (mut nid, mut spanned) = (None, 0);
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Node"), Some(word)) => {
                nid = word.trim_end_matches(',').parse().ok();
                spanned = 0;
            }
            (Some("spanned"), Some(word)) => spanned = word.parse().unwrap_or(0),
            (Some("start_pfn:"), Some(word)) => {
                let start = word.parse::<u64>().ok();
                let range = start.and_then(|start| {
                    let end = start.checked_add(spanned)?;
                    Some(start.checked_mul(PAGE_SIZE)?..end.checked_mul(PAGE_SIZE)?)
                });
                if let (Some(nid), Some(range)) = (nid, range.filter(|range| !range.is_empty())) {
                    spans.entry(nid).or_default().push(range);
                }
            }
            _ => {}
        }
    }
    spans
}

/// A list as sysfs writes them: "0-3,8", or nothing.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    /// More than that is no list of CPUs.
    const MAX: u32 = 1 << 16;
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const MIB: u64 = 1 << 20;

    /// A tree like sysfs: each line is a path and its content.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, content).expect("a file");
        }
        root
    }

    const MEMMAP: &[(&str, &str)] = &[
        // As in a directory: 10 before 2.
        ("sys/firmware/memmap/0/start", "0x0\n"),
        ("sys/firmware/memmap/0/end", "0x9fbff\n"),
        ("sys/firmware/memmap/0/type", "System RAM\n"),
        ("sys/firmware/memmap/10/start", "0x100000\n"),
        ("sys/firmware/memmap/10/end", "0x1fffffff\n"),
        ("sys/firmware/memmap/10/type", "System RAM\n"),
        ("sys/firmware/memmap/2/start", "0x9fc00\n"),
        ("sys/firmware/memmap/2/end", "0x9ffff\n"),
        ("sys/firmware/memmap/2/type", "Reserved\n"),
    ];

    const TWO_NODES: &[(&str, &str)] = &[
        ("sys/devices/system/memory/block_size_bytes", "8000000\n"),
        ("sys/devices/system/node/online", "0,2\n"),
        ("sys/devices/system/node/node0/cpulist", "0-1,4\n"),
        ("sys/devices/system/node/node0/distance", "10 21\n"),
        ("sys/devices/system/node/node0/memory0/state", "online\n"),
        ("sys/devices/system/node/node0/memory1/state", "online\n"),
        ("sys/devices/system/node/node2/cpulist", "\n"),
        ("sys/devices/system/node/node2/distance", "21 10\n"),
        ("sys/devices/system/node/node2/memory1/state", "online\n"),
        ("sys/devices/system/node/node2/memory3/state", "online\n"),
        (
            "proc/zoneinfo",
            "Node 0, zone    DMA32\n  pages free 1\n        spanned  40960\n  start_pfn:           4096\n\
             Node 2, zone   Normal\n        spanned  81920\n  start_pfn:           45056\n",
        ),
    ];

    #[test]
    fn the_firmware_map_is_read_in_the_order_of_the_addresses() {
        let root = tree(MEMMAP);
        let map = host(root.path()).expect("a map");
        assert_eq!(map.source, MapSource::Host);
        let ranges: Vec<_> = map.e820.iter().map(|r| (r.addr, r.size, r.kind)).collect();
        assert_eq!(
            ranges,
            [
                (0, 0x9fc00, 1),
                (0x9fc00, 0x400, 2),
                (0x100000, 511 * MIB, 1)
            ]
        );
        assert!(map.memory.is_empty() && map.cpus.is_empty() && map.distances.is_empty());
    }

    #[test]
    fn nodes_have_their_cpus_distances_and_memory() {
        let root = tree(&[MEMMAP, TWO_NODES].concat());
        let map = host(root.path()).expect("a map");
        let cpus: Vec<_> = map.cpus.iter().map(|c| (c.cpu, c.nid)).collect();
        assert_eq!(cpus, [(0, 0), (1, 0), (4, 0)]);
        // Node 1 is not there; its row is what Linux takes for unknown.
        assert_eq!(
            map.distances,
            [vec![10, 20, 21], vec![20, 10, 20], vec![21, 20, 10]]
        );
        let memory: Vec<_> = map.memory.iter().map(|m| (m.addr, m.size, m.nid)).collect();
        // The nodes meet inside block 1, at 45056 pages = 176 MiB.
        assert_eq!(
            memory,
            [
                (0, 176 * MIB, 0),
                (176 * MIB, 80 * MIB, 2),
                (384 * MIB, 128 * MIB, 2)
            ]
        );
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let root = tree(&[]);
        let error = host(root.path()).expect_err("no map");
        assert!(error.to_string().contains("sys/firmware/memmap"), "{error}");
        assert!(error
            .advice()
            .is_some_and(|advice| advice.contains("--dmesg")));

        let root = tree(&[
            ("sys/firmware/memmap/0/start", "0x1000"),
            ("sys/firmware/memmap/0/end", "0xfff"),
            ("sys/firmware/memmap/0/type", "Cheese"),
        ]);
        let error = host(root.path()).expect_err("no range").to_string();
        assert!(error.contains("Cheese"), "{error}");

        let root = tree(
            &[
                MEMMAP,
                &[
                    ("sys/devices/system/node/node0/distance", "10 20"),
                    ("sys/devices/system/node/node1/distance", "20 10"),
                ],
            ]
            .concat(),
        );
        let error = host(root.path()).expect_err("no memory blocks");
        assert!(error.to_string().contains("which memory"), "{error}");

        let root = tree(&[MEMMAP, &[("sys/devices/system/node/node64/distance", "10")]].concat());
        let error = host(root.path()).expect_err("a node too many").to_string();
        assert!(error.contains("node 64"), "{error}");
    }

    #[test]
    fn lists_are_read_and_nonsense_is_not() {
        assert_eq!(parse_list("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list("\n"), Some(vec![]));
        for text in ["x", "3-1", "0-4294967295", "1-", "-"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
    }

    #[test]
    fn a_shared_block_without_spans_goes_to_one_node_whole() {
        let parts = share(0..100, &BTreeSet::from([0, 1]), &BTreeMap::new());
        let taken: Vec<_> = parts
            .into_iter()
            .filter(|(_, part)| !part.is_empty())
            .collect();
        assert_eq!(taken, [(1, 0..100)]);
    }
}
