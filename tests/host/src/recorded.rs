// SPDX-License-Identifier: GPL-2.0

//! Boots of real kernels, as `data/boot-*.txt` has recorded them.

use crate::early::memory;
use crate::early::Memory;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::Pages;
use shadowmm_core::zone::ZoneConfig;

/// A boot of Linux.
pub struct Boot {
    /// The file's name.
    pub name: &'static str,
    /// What the kernel was told about zones.
    pub config: ZoneConfig,
    /// Early memory node ranges.
    pub memory: Vec<Memory>,
    /// Nodes with CPUs.
    pub cpus: NodeMask,
    /// The zones of `/proc/zoneinfo`.
    pub zones: Vec<ZoneInfo>,
    /// `/proc/sys/vm/min_free_kbytes`.
    pub min_free_kbytes: u64,
    /// Pages of the kernel image that were freed after the watermarks were set.
    pub freed_later: Pages,
    lines: Vec<&'static str>,
}

/// A zone of `/proc/zoneinfo`.
#[derive(Clone, Debug, Default)]
pub struct ZoneInfo {
    /// The node.
    pub nid: i32,
    /// The name.
    pub name: String,
    /// min, low, high, promo.
    pub marks: [u64; 4],
    /// Pages.
    pub spanned: u64,
    /// Pages.
    pub present: u64,
    /// Pages.
    pub managed: u64,
    /// The reserve against each kind of zone, ZONE_DEVICE last.
    pub protection: Vec<u64>,
    /// The first page; 0 where the zone is empty.
    pub start_pfn: u64,
}

macro_rules! boots {
    ($($name:literal)*) => {
        /// All boots that are recorded; where the environment's `SHADOWMM_BOOT_RECORD` names
        /// a file, the boot in it alone.
        pub fn boots() -> Vec<Boot> {
            if let Some(path) = std::env::var_os("SHADOWMM_BOOT_RECORD") {
                let text = std::fs::read_to_string(path).expect("a record");
                return vec![Boot::parse("recorded", text.leak())];
            }
            vec![$(Boot::parse($name, include_str!(concat!("../data/boot-", $name, ".txt")))),*]
        }
    };
}

boots! { "two" "four" "memoryless" "large" "small" "six" }

impl Boot {
    fn parse(name: &'static str, text: &'static str) -> Self {
        let (dmesg, rest) = text.split_once("zoneinfo:\n").expect("zoneinfo");
        let (zoneinfo, min_free) = rest.split_once("min_free_kbytes: ").expect("the last line");
        let lines: Vec<_> = dmesg.lines().filter(|l| !l.starts_with('#')).collect();
        let option = lines[0].strip_prefix("command line: ").expect("first line");
        let option = option.replace("movablecore", "movable");
        let comma = if option.is_empty() { "" } else { "," };
        let config = format!("dma=16M,dma32=4G,normal{comma}{option}");
        let freed = lines
            .iter()
            .filter(|line| line.starts_with("Freeing unused"))
            .map(|line| number(line.rsplit(": ").next().expect("a size"), 10));
        Self {
            name,
            config: ZoneConfig::parse(&config).expect("a configuration"),
            memory: lines
                .iter()
                .filter(|line| line.starts_with("  node "))
                .map(|line| range(line))
                .collect(),
            cpus: lines
                .iter()
                .filter_map(|line| line.strip_prefix("nodes with CPUs: "))
                .flat_map(|nodes| nodes.split(' '))
                .map(|nid| NodeId(number(nid, 10) as i32))
                .collect(),
            zones: parse_zoneinfo(zoneinfo),
            min_free_kbytes: number(min_free, 10),
            freed_later: Pages(freed.sum::<u64>() / 4),
            lines,
        }
    }

    /// The lines from the first that starts with `first` on, as long as they
    /// start with one of `next`; with their ends, to be compared with a text.
    pub fn text(&self, first: &str, next: &[&str]) -> String {
        let start = self.lines.iter().position(|line| line.starts_with(first));
        let lines = self.lines[start.expect("the first line")..].iter();
        lines
            .take_while(|line| {
                line.starts_with(first) || next.iter().any(|next| line.starts_with(next))
            })
            .flat_map(|line| [*line, "\n"])
            .collect()
    }

    /// The distances that the machine was given; a record may have them in
    /// rows, `distances from 0: 10 20`.
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        let row = format!("distances from {}: ", from.0);
        let mut rows = self.lines.iter();
        if let Some(row) = rows.find_map(|line| line.strip_prefix(&row)) {
            let distance = row.split(' ').nth(to.0 as usize).expect("a distance");
            return number(distance, 10) as u8;
        }
        match (self.name, from.0.min(to.0), from.0.max(to.0)) {
            _ if from == to => 10,
            ("four", 0, 1) => 30,
            _ => 20,
        }
    }
}

/// The zones in the text of `/proc/zoneinfo`.
pub fn parse_zoneinfo(text: &str) -> Vec<ZoneInfo> {
    let mut zones: Vec<ZoneInfo> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["Node", nid, "zone", name] = words[..] {
            zones.push(ZoneInfo {
                nid: number(nid, 10) as i32,
                name: name.into(),
                ..ZoneInfo::default()
            });
            continue;
        }
        let Some(zone) = zones.last_mut() else {
            continue;
        };
        match words[..] {
            ["min", n] => zone.marks[0] = number(n, 10),
            ["low", n] => zone.marks[1] = number(n, 10),
            ["high", n] => zone.marks[2] = number(n, 10),
            ["promo", n] => zone.marks[3] = number(n, 10),
            ["spanned", n] => zone.spanned = number(n, 10),
            ["present", n] => zone.present = number(n, 10),
            ["managed", n] => zone.managed = number(n, 10),
            ["start_pfn:", n] => zone.start_pfn = number(n, 10),
            ["protection:", ..] => {
                let list = words[1..].iter();
                zone.protection = list.map(|n| number(n.trim_matches('('), 10)).collect();
            }
            _ => {}
        }
    }
    zones
}

/// `  node   0: [mem 0x0000000000001000-0x000000000009efff]`
fn range(line: &str) -> Memory {
    let (nid, range) = line["  node ".len()..].split_once(':').expect("a colon");
    let (start, last) = range.split_once('-').expect("a dash");
    let start = start.split_once("0x").expect("a number").1;
    let nid = number(nid.trim(), 10) as i32;
    let last = number(last.trim_start_matches("0x"), 16);
    memory(nid, number(start, 16) >> 12, (last + 1) >> 12)
}

/// The number that `text` starts with.
fn number(text: &str, radix: u32) -> u64 {
    let end = text.find(|c: char| !c.is_digit(radix));
    u64::from_str_radix(&text[..end.unwrap_or(text.len())], radix).expect("a number")
}
