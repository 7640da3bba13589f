// SPDX-License-Identifier: GPL-2.0

//! The parts of a boot log's lines that describe the map, in the words of all
//! kernels from 2.6 on.

use super::e820::E820Type;
use super::text::Reader;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::phys::PhysAddr;

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

/// A node's range: `[mem 0x0-0x9ffff]`, in 2.6 `0-a0000`, without the end.
pub(super) fn read_srat_range(t: &mut Reader<'_>) -> Result<(PhysAddr, PhysAddr)> {
    if t.0.starts_with('[') {
        let range = t.mem().ok_or(Error::MapMalformed)?;
        return range.ok_or(Error::MapEntryOverflow);
    }
    let (start, end) = t.bounds().ok_or(Error::MapMalformed)?;
    if end < start {
        return Err(Error::MapMalformed);
    }
    Ok((PhysAddr(start), PhysAddr(end)))
}

/// `0 -> APIC 0x00 -> Node 0`, behind "PXM ": the APIC id and the node.
pub(super) fn read_srat_cpu(t: &mut Reader<'_>) -> Option<(u64, u64)> {
    t.blanks().decimal()?;
    t.blanks().word("->")?;
    t.blanks().word("APIC")?;
    let apic = t.blanks().hex()?;
    t.blanks().word("->")?;
    t.blanks().word("Node")?;
    Some((apic, t.blanks().decimal()?))
}
