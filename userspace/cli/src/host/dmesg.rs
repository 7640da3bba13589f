// SPDX-License-Identifier: GPL-2.0

//! Another machine's map, from its boot log.
//!
//! Core reads the log; this hands it the text and turns what came out into
//! what the ABI takes. The module checks every entry again.

use crate::error::Error;
use crate::error::Result;
use shadowmm_client::CpuAffinity;
use shadowmm_client::E820Range;
use shadowmm_client::Map;
use shadowmm_client::MapSource;
use shadowmm_client::MemoryAffinity;
use shadowmm_core::firmware;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::firmware::ParseReport;
use shadowmm_core::phys::NodeId;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

/// No boot log is larger, and what is larger is not read.
const MAX_BYTES: u64 = 16 << 20;

/// Reads the log at `path`; `-` is stdin.
pub fn read(path: &Path) -> Result<(Map, ParseReport)> {
    let failed =
        |error: io::Error| Error::failed(format!("could not read {}: {error}", path.display()));
    let mut log = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut log)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut log))
    }
    .map_err(failed)?;
    if log.len() as u64 > MAX_BYTES {
        return Err(Error::Failed {
            what: format!(
                "{} is larger than a boot log can be (16 MiB)",
                path.display()
            ),
            advice: Some(
                "hand in its beginning: head -n 3000 FILE | shadowmm boot --dmesg -".to_owned(),
            ),
        });
    }
    // Logs hold bytes of all kinds; those of the map are ASCII.
    parse(&String::from_utf8_lossy(&log))
}

/// The map in a log, and what the parser has to say about it.
pub fn parse(log: &str) -> Result<(Map, ParseReport)> {
    let mut map = Box::new(FirmwareMap::NEW);
    let mut report = ParseReport::default();
    firmware::parse(log, &mut map, &mut report).map_err(|error| {
        let place = match report.first_bad_line {
            Some((line, _)) => format!("line {line} of the boot log: "),
            None => String::new(),
        };
        shadowmm_error(&place, error)
    })?;
    Ok((convert(&map), report))
}

fn shadowmm_error(place: &str, error: shadowmm_client::Reason) -> Error {
    let advice = match error {
        shadowmm_client::Reason::MapMissing => Some(
            "the log must have the boot's first lines, with BIOS-e820: 'dmesg' right after the boot, or 'journalctl -k -b'".to_owned(),
        ),
        _ => None,
    };
    Error::Failed {
        what: format!("{place}{}", error.sentence()),
        advice,
    }
}

fn convert(map: &FirmwareMap) -> Map {
    let e820 = map.e820.entries().iter().map(|entry| E820Range {
        addr: entry.addr.0,
        size: entry.size.0,
        kind: entry.kind.0,
    });
    let memory = map.meminfo.blocks().iter().map(|block| MemoryAffinity {
        addr: block.start.0,
        size: block.range().size().0,
        nid: block.nid.0,
        hotplug: block.hotplug,
    });
    let cpus = map.cpus.iter().map(|affinity| CpuAffinity {
        cpu: affinity.cpu.0,
        nid: affinity.nid.0,
    });
    let (memory, cpus): (Vec<_>, Vec<_>) = (memory.collect(), cpus.collect());
    // Distances are asked for up to the highest node that anything belongs to.
    let nids = memory
        .iter()
        .map(|m| m.nid)
        .chain(cpus.iter().map(|c| c.nid));
    let nodes = if map.slit.is_set() {
        nids.max().unwrap_or(-1) + 1
    } else {
        0
    };
    let row = |from| {
        (0..nodes)
            .map(|to| map.slit.distance(NodeId(from), NodeId(to)))
            .collect()
    };
    Map {
        source: MapSource::Log,
        e820: e820.collect(),
        memory,
        cpus,
        distances: (0..nodes).map(row).collect(),
        crashkernel: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LOG: &str = "\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
[    0.010000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x1fffffff]
[    0.010000] ACPI: SRAT: Node 1 PXM 1 [mem 0x20000000-0x3fffffff]
";

    #[test]
    fn a_log_becomes_a_map() {
        let (map, report) = parse(LOG).expect("a map");
        assert_eq!(map.source, MapSource::Log);
        assert_eq!(report.e820, 2);
        let ranges: Vec<_> = map.e820.iter().map(|r| (r.addr, r.size, r.kind)).collect();
        assert_eq!(ranges, [(0, 0x9fc00, 1), (0x100000, 0x3ff00000, 1)]);
        let memory: Vec<_> = map.memory.iter().map(|m| (m.addr, m.size, m.nid)).collect();
        assert_eq!(memory, [(0, 0x20000000, 0), (0x20000000, 0x20000000, 1)]);
        assert!(map.distances.is_empty());
    }

    #[test]
    fn a_log_without_a_map_says_what_is_wanted() {
        let error = parse("nothing\nto see\n").expect_err("no map");
        assert!(error.to_string().contains("no firmware map"), "{error}");
        assert!(error
            .advice()
            .is_some_and(|advice| advice.contains("BIOS-e820")));
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        let log = format!("{LOG}BIOS-e820: [mem 0x0000000050000000-0x00000000cheese] usable\n");
        let error = parse(&log).expect_err("a bad line").to_string();
        assert!(error.contains("line 5"), "{error}");
    }

    #[test]
    fn huge_and_missing_files_are_refused() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(MAX_BYTES + 1).expect("a hole");
        let error = read(file.path()).expect_err("too large").to_string();
        assert!(error.contains("16 MiB"), "{error}");
        file.as_file().set_len(0).expect("nothing");
        file.write_all(LOG.as_bytes()).expect("a log");
        assert!(read(file.path()).is_ok());
        let error = read(Path::new("/nowhere/at/all")).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
