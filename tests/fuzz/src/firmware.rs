// SPDX-License-Identifier: GPL-2.0

//! What comes from outside before there is any memory: boot logs, memory maps, parameters.

use arbitrary::Result;
use arbitrary::Unstructured;
use shadowmm_core::error::Error;
use shadowmm_core::firmware;
use shadowmm_core::firmware::E820Type;
use shadowmm_core::firmware::FirmwareMap;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::Pages;
use shadowmm_core::phys::PhysAddr;
use shadowmm_core::slab::SlabFlags;
use shadowmm_core::zone::ZoneConfig;

#[allow(dead_code, unused_imports, reason = "of the tests beside it")]
#[path = "../../host/tests/firmware_dmesg.rs"]
mod dmesg;
#[allow(dead_code, unused_imports, reason = "of the tests beside it")]
#[path = "../../host/tests/firmware_e820.rs"]
mod e820;
#[allow(dead_code, unused_imports, reason = "of the tests beside it")]
#[path = "../../host/tests/firmware_scale.rs"]
mod scale;

/// What lines of a boot log are made of.
const WORDS: [&str; 47] = [
    "BIOS-e820: ",
    "[mem ",
    "0x",
    "0x1000",
    "-",
    "-0xffffff",
    "]",
    "] usable",
    "] reserved",
    "] ACPI data",
    "] ACPI NVS",
    "] unusable",
    "] persistent (type 12)",
    "] soft reserved",
    "] type 20",
    "] System RAM",
    "] device reserved",
    "\n",
    "\r\n",
    "SRAT: ",
    "ACPI: SRAT: ",
    "Node ",
    "PXM ",
    "0 ",
    "1 ",
    "63 ",
    "64 ",
    "18446744073709551616 ",
    "-> APIC ",
    "-> Node ",
    "[gap ",
    "hotplug",
    "non-volatile",
    "smpboot: x86: Booting SMP configuration:\n",
    ".... node  #",
    ", CPUs:",
    "#",
    "user: ",
    " kernel: ",
    "[    0.000000] ",
    "<6>",
    "NUMA: ",
    "distance ",
    "SLIT: ",
    "Reserving ",
    "crashkernel",
    "é",
];

/// A text of such words, of numbers, and at times of anything.
fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let mut text = String::new();
    while !u.is_empty() && text.len() < 4096 {
        match u.int_in_range(0..=9u8)? {
            0..=3 => text += u.choose(&WORDS)?,
            4 => text += &format!("{:#018x}", u.arbitrary::<u64>()? >> u.int_in_range(0..=63)?),
            5 => text += &u.int_in_range(0..=70u32)?.to_string(),
            6 | 7 => {
                let start = u.arbitrary::<u64>()? >> u.int_in_range(12..=63)?;
                let end = start.wrapping_add(u.arbitrary::<u64>()? >> u.int_in_range(12..=63)?);
                let kinds = ["usable", "reserved", "ACPI data", "ACPI NVS", "unusable"];
                let kind = u.choose(&kinds)?;
                text += &format!("BIOS-e820: [mem {start:#018x}-{end:#018x}] {kind}\n");
            }
            8 => {
                let (node, pxm) = (u.int_in_range(0..=5u8)?, u.int_in_range(0..=5u8)?);
                let start = u.arbitrary::<u64>()? >> u.int_in_range(12..=63)?;
                let end = start.wrapping_add(u.arbitrary::<u64>()? >> u.int_in_range(12..=63)?);
                text += &format!("SRAT: Node {node} PXM {pxm} [mem {start:#x}-{end:#x}]\n");
            }
            _ => text.push(u.arbitrary()?),
        }
    }
    Ok(text)
}

/// A table, and the same as an array with a type for each byte.
fn table(u: &mut Unstructured<'_>) -> Result<()> {
    let kinds = [1u32, 1, 2, 3, 4, 5, 7, 12, 20, 0xefff_ffff];
    let mut entries = vec![];
    for _ in 0..u.int_in_range(2..=23)? {
        let addr = u.int_in_range(0..=e820::LEN - 1)?;
        let size = u.int_in_range(0..=59u64)?.min(e820::LEN - addr);
        entries.push((addr, size, *u.choose(&kinds)?));
    }
    let mut table = e820::table(&entries);
    assert!(table.update());
    assert_eq!(e820::plain(&table), e820::model(&entries, e820::LEN));
    let len = e820::LEN + 80;
    let mut bytes = e820::paint(&e820::plain(&table), len);
    for _ in 0..u.int_in_range(0..=12)? {
        let start = u.int_in_range(0..=e820::LEN - 1)?;
        let size = u.int_in_range(1..=79u64)?;
        let part = start as usize..(start + size) as usize;
        let (addr, size) = (PhysAddr(start), Bytes(size));
        if u.arbitrary()? {
            let (old, new) = *u.choose(&[(1u32, 2u32), (1, 5), (2, 1), (3, 1), (12, 1)])?;
            let done = table.range_update(addr, size, E820Type(old), E820Type(new));
            let mut count = 0;
            for byte in &mut bytes[part] {
                if *byte == old {
                    *byte = new;
                    count += 1;
                }
            }
            assert_eq!(done, Ok(Bytes(count)));
        } else {
            let filter = *u.choose(&[None, Some(1u32), Some(2)])?;
            table
                .range_remove(addr, size, filter.map(E820Type))
                .unwrap();
            for byte in &mut bytes[part] {
                if filter.is_none_or(|filter| *byte == filter) {
                    *byte = 0;
                }
            }
        }
        assert_eq!(e820::paint(&e820::plain(&table), len), bytes);
        table.update();
        assert_eq!(e820::paint(&e820::plain(&table), len), bytes);
    }
    Ok(())
}

/// Any ranges of any nodes, scaled to some size: all of it is valid, or it is refused.
fn ranges(u: &mut Unstructured<'_>) -> Result<()> {
    let mut map = Box::new(FirmwareMap::NEW);
    let number = |u: &mut Unstructured<'_>, bits: u32| -> Result<u64> {
        Ok(u.arbitrary::<u64>()? % (1 << u.int_in_range(0..=bits)?))
    };
    for _ in 0..u.int_in_range(1..=20)? {
        let (addr, size) = (number(u, 52)?, number(u, 48)?);
        let kind = *u.choose(&[1, 1, 1, 2, 3, 12, 0xefff_ffff])?;
        let _ = map.e820.push(addr, size, kind);
    }
    for _ in 0..u.int_in_range(0..=6)? {
        let (addr, size) = (number(u, 52)?, number(u, 48)?);
        let (nid, hotplug) = (u.int_in_range(-1..=64)?, u.arbitrary()?);
        let _ = map.meminfo.push(addr, size, nid, hotplug);
    }
    let backing = number(u, 31)?.max(1);
    match scale::scaled(&map, backing) {
        Ok(_) => {}
        Err(error) => assert!(
            matches!(
                error,
                Error::MapEmpty
                    | Error::MapNodeOverlap
                    | Error::RegionTooSmall
                    | Error::MapTooSparse
            ),
            "{error:?}"
        ),
    }
    Ok(())
}

/// Parameters, as they stand on a kernel's command line.
fn parameters(u: &mut Unstructured<'_>) -> Result<()> {
    let words = [
        "dma",
        "dma32",
        "normal",
        "movable",
        "kernelcore",
        "=",
        ",",
        "%",
        "25%",
        "0",
        "1",
        "64M",
        "4G",
        "1K",
        "T",
        "P",
        "E",
        "k",
        "@",
        "-",
        ":",
        "0x",
        "18446744073709551615",
        "99999999999999999999",
        "+",
        " ",
        "F",
        "Z",
        "P",
        "U",
        "A",
        "O",
        ";",
        "*",
        "kmalloc-",
        "mm_struct",
        ",high",
        ",low",
        ",cma",
        "512M",
        "17179869184G",
        "\u{fe}",
    ];
    let mut text = String::new();
    while !u.is_empty() && text.len() < 300 {
        match u.ratio(1, 12)? {
            true => text.push(u.arbitrary()?),
            false => text += u.choose(&words)?,
        }
    }
    if let Ok(config) = ZoneConfig::parse(&text) {
        let pages = Pages(1 << 17);
        let _ = config.max_zone_pfns(shadowmm_core::phys::Pfn(pages.0));
    }
    let _ = firmware::parse_crashkernel(&text, Bytes(1 << 32));
    if let Some((_, rest)) = firmware::memparse(&text) {
        assert!(text.ends_with(rest));
    }
    let debug = shadowmm_core::slab::SlabDebug::parse(&text);
    let _ = debug.flags(SlabFlags::NONE, "kmalloc-64");
    Ok(())
}

fn input(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=7u8)? {
        0 => {
            let bytes = u.bytes(u.len())?;
            dmesg::survive(&String::from_utf8_lossy(bytes));
            Ok(())
        }
        1 | 2 => {
            let text = text(u)?;
            dmesg::survive(&text);
            Ok(())
        }
        3 | 4 => table(u),
        5 | 6 => ranges(u),
        _ => parameters(u),
    }
}

/// See the head of this file.
pub fn run(data: &[u8]) {
    // Too few bytes are an end, and nothing more.
    let _ = input(&mut Unstructured::new(data));
}
