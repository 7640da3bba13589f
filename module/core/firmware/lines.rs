// SPDX-License-Identifier: GPL-2.0

//! The parts of a boot log's lines that describe the map, in the words of all
//! kernels from 2.6 on.

use super::e820::E820Type;
use super::text::Reader;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PhysAddr;
use crate::phys::PAGE_SIZE;
use crate::slices;

/// The words for a type in the logs of all kernels.
const TYPES: [(&str, E820Type); 8] = [
    ("usable", E820Type::RAM),
    ("System RAM", E820Type::RAM),
    ("reserved", E820Type::RESERVED),
    ("device reserved", E820Type::RESERVED),
    ("soft reserved", E820Type::SOFT_RESERVED),
    ("ACPI data", E820Type::ACPI),
    ("ACPI NVS", E820Type::NVS),
    ("unusable", E820Type::UNUSABLE),
];

/// A node's number that the map can hold.
pub(super) fn node(nid: u64) -> Result<i32> {
    let nid = u32::try_from(nid).map_err(|_| Error::MapBadNode)?;
    Ok(NodeId::new(nid).ok_or(Error::MapBadNode)?.0)
}

/// `[mem 0x0-0x9fbff] usable`, or before 3.5
/// `0000000000000000 - 000000000009fc00 (usable)`, as start, end and type.
pub(super) fn read_entry(text: &str) -> Result<(PhysAddr, PhysAddr, u32)> {
    let mut t = Reader(text);
    let (start, end) = if text.starts_with('[') {
        let range = t.mem().ok_or(Error::MapMalformed)?;
        range.ok_or(Error::MapEntryOverflow)?
    } else {
        let (start, end) = t.bounds().ok_or(Error::MapMalformed)?;
        if end < start {
            return Err(Error::MapMalformed);
        }
        (PhysAddr(start), PhysAddr(end))
    };
    let kind = read_type(t.0.trim()).ok_or(Error::MapMalformed)?;
    Ok((start, end, kind))
}

/// A type's text in the log of any kernel, as a number.
fn read_type(text: &str) -> Option<u32> {
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let text = inner.unwrap_or(text);
    if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == text) {
        return Some(kind.0);
    }
    let persistent = text.strip_prefix("persistent (");
    let persistent = persistent.or_else(|| text.strip_prefix("persistent RAM ("));
    let text = match persistent {
        Some(inner) => inner.strip_suffix(')')?,
        None => text,
    };
    let number = text.strip_prefix("type ")?;
    number.parse().ok().filter(|&n| n != 0)
}

/// A node's range: `[mem 0x0-0x9ffff]`, in 2.6 `0-a0000` without the end and
/// in its first years `0-9ffff` with it. No range ends one byte before a page.
pub(super) fn read_node_range(t: &mut Reader<'_>) -> Result<(PhysAddr, PhysAddr)> {
    if t.0.starts_with('[') {
        let range = t.mem().ok_or(Error::MapMalformed)?;
        return range.ok_or(Error::MapEntryOverflow);
    }
    let (start, end) = t.bounds().ok_or(Error::MapMalformed)?;
    node_range(start, end)
}

/// The same from two numbers.
pub(super) fn node_range(start: u64, end: u64) -> Result<(PhysAddr, PhysAddr)> {
    let last_byte = end & (PAGE_SIZE - 1) == PAGE_SIZE - 1;
    let end = end.checked_add(u64::from(last_byte));
    let end = end.ok_or(Error::MapEntryOverflow)?;
    if end < start {
        return Err(Error::MapMalformed);
    }
    Ok((PhysAddr(start), PhysAddr(end)))
}

/// `0 -> APIC 0x00 -> Node 0`, behind "PXM ": the number by which the firmware
/// knows the CPU, and the node. In 2.6 there was a `-> CPU 0` in between, and
/// other architectures have other words. The inner `None`: a CPU without a node,
/// or what is no CPU, as `ITS 0` (`gic_acpi_parse_srat_its`).
pub(super) fn read_srat_cpu(t: &mut Reader<'_>) -> Option<Option<(u64, u64)>> {
    t.blanks().decimal()?;
    t.blanks().word("->")?;
    let names = ["APIC", "X2APIC", "MPIDR", "HARTID", "CPU"];
    let kind = t.blanks().0;
    if !names.iter().any(|name| kind.starts_with(name)) && slices::contains(kind, "-> Node ") {
        return Some(None);
    }
    let number = |t: &mut Reader<'_>| {
        let rest = names
            .iter()
            .find_map(|name| t.blanks().0.strip_prefix(name));
        t.0 = rest?;
        t.blanks().hex()
    };
    let id = number(t)?;
    t.blanks().word("->")?;
    if number(t).is_some() {
        t.blanks().word("->")?;
    }
    t.blanks().word("Node")?;
    if t.blanks().word("-1").is_some() {
        return Some(None);
    }
    Some(Some((id, t.blanks().decimal()?)))
}

/// `0: 0x00000010 -> 0x0000009f` behind "early_node_map[...] active PFN
/// ranges", in hexadecimal or, before 2.6.25, decimal: the node and its range.
pub(super) fn read_pfn_range(t: &mut Reader<'_>) -> Option<(u64, PhysAddr, PhysAddr)> {
    let number = |t: &mut Reader<'_>| match t.blanks().0.starts_with("0x") {
        true => t.hex(),
        false => t.decimal(),
    };
    let nid = t.blanks().decimal()?;
    t.word(":")?;
    let start = number(t)?;
    t.blanks().word("->")?;
    let end = number(t)?;
    let addr = |pfn: u64| pfn.checked_mul(PAGE_SIZE).map(PhysAddr);
    Some((nid, addr(start)?, addr(end).filter(|_| start <= end)?))
}
