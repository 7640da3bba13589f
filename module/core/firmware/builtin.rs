// SPDX-License-Identifier: GPL-2.0

//! A made-up PC, for when no other map is given.
//!
//! ```text
//! 0         640K   1M            3G - 16M            3.5G                4G
//! [RAM][EBDA]  [ROM][RAM ........][ACPI][NVS][stolen] .. [MMCONFIG] .. [APICs][flash]
//! 4G                                                       end  end + 32M
//! [RAM .......................................................][reserved]
//! ```
//!
//! Node 0 starts at address 0, and each node follows the one before; a node
//! that reaches over the hole below 4 GiB has RAM on both sides of it.

use super::e820::E820Type;
use super::map::FirmwareMap;
use super::map::MapSource;
use super::map::DMA32_LIMIT;
use super::ratio::mul_div;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::NodeId;
use crate::phys::Pages;
use crate::phys::PhysAddr;
use crate::phys::MAX_CPUS;
use crate::phys::MAX_NODES;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where RAM below 4 GiB ends.
const LOW_END: u64 = 3 * GIB - 16 * MIB;
/// The machine's smallest RAM, and the least for each node.
const MIN_RAM: u64 = 16 * GIB;
const MIN_NODE_RAM: u64 = 8 * GIB;
/// No node is smaller.
const MIN_SPAN: u64 = 128 * MIB;
/// What below 3 GiB is no RAM.
const LOST: u64 = (3 * GIB - LOW_END) + (MIB - 0x9fc00);
/// The distance between two sockets.
const OTHER_SOCKET: u32 = 21;

/// Everything but RAM, in order: start, end, type. Between them are the VGA
/// window and the PCI holes.
const FIXED: [(u64, u64, E820Type); 9] = [
    (0x9fc00, 640 * KIB, E820Type::RESERVED), // extended BIOS data area
    (960 * KIB, MIB, E820Type::RESERVED),     // system ROM
    (LOW_END, LOW_END + MIB, E820Type::ACPI),
    (LOW_END + MIB, LOW_END + 4 * MIB, E820Type::NVS),
    (LOW_END + 4 * MIB, 3 * GIB, E820Type::RESERVED), // graphics
    (0xe000_0000, 0xf000_0000, E820Type::RESERVED),   // PCI MMCONFIG
    (0xfec0_0000, 0xfec0_1000, E820Type::RESERVED),   // I/O APIC
    (0xfee0_0000, 0xfee0_1000, E820Type::RESERVED),   // local APIC
    (0xff00_0000, DMA32_LIMIT.0, E820Type::RESERVED), // flash
];

/// Writes the PC into `map`, which is cleared before and resolved after. It
/// has a node for each of `shares`, with RAM in their proportion (the backing
/// runs', so that each shadow node lies on one node of the host), 16 GiB in
/// all or 8 GiB for each node, whichever is more, and `nr_cpus` CPUs spread
/// over the nodes.
///
/// # Errors
///
/// [`Error::MapEmpty`] when no share is more than zero; [`Error::MapBadNode`]
/// for more shares than there can be nodes. The map is empty then. CPUs that
/// the map has no room for are left out.
pub fn builtin(map: &mut FirmwareMap, shares: &[Pages], nr_cpus: u32) -> Result<()> {
    map.clear();
    map.source = MapSource::Builtin;
    let result = fill(map, shares, nr_cpus).and_then(|()| map.resolve());
    if result.is_err() {
        map.clear();
    }
    result
}

fn fill(map: &mut FirmwareMap, shares: &[Pages], nr_cpus: u32) -> Result<()> {
    let all: Pages = shares.iter().copied().sum();
    if all.is_zero() {
        return Err(Error::MapEmpty);
    }
    if shares.len() > MAX_NODES {
        return Err(Error::MapBadNode);
    }
    let nodes = shares.len() as u64;
    let total = MIN_RAM.max(MIN_NODE_RAM * nodes);
    let mut seen = Pages::ZERO;
    let mut used = 0;
    for (nid, &share) in shares.iter().enumerate() {
        if share.is_zero() {
            continue;
        }
        seen += share;
        // What the firmware keeps below 3 GiB, node 0 has besides its share of
        // RAM. The last one ends at the total whatever was rounded before.
        let ideal = LOST + mul_div(total - LOST, seen.0, all.0);
        let ideal = if seen == all {
            total
        } else {
            ideal / MIB * MIB
        };
        let end = ideal.max(used + MIN_SPAN);
        let range = (address(used), address(end));
        map.meminfo
            .add(NodeId(nid as i32), range.0, range.1, false)?;
        used = end;
    }
    let top = address(used);

    let e820 = &mut map.e820;
    let mut add = |start, end, kind| e820.range_add(PhysAddr(start), Bytes(end - start), kind);
    add(0, 0x9fc00, E820Type::RAM)?;
    add(MIB, LOW_END, E820Type::RAM)?;
    for (start, end, kind) in FIXED {
        add(start, end, kind)?;
    }
    add(DMA32_LIMIT.0, top.0, E820Type::RAM)?;
    add(top.0, top.0 + 32 * MIB, E820Type::RESERVED)?;

    let cpus = nr_cpus.min(MAX_CPUS as u32);
    for cpu in 0..cpus {
        // The nodes' CPUs are neighbours, as on a machine without threads.
        let nth = u64::from(cpu) * nodes / u64::from(cpus);
        map.cpus.push(cpu, nth as i32)?;
    }
    for from in 0..nodes as i32 {
        for to in 0..nodes as i32 {
            let distance = if from == to { 10 } else { OTHER_SOCKET };
            map.slit.set(from, to, distance)?;
        }
    }
    Ok(())
}

/// Where the byte lies that has `used` bytes of RAM, or of what is taken out
/// of it below 3 GiB, before it.
fn address(used: u64) -> PhysAddr {
    if used < 3 * GIB {
        PhysAddr(used)
    } else {
        PhysAddr(used - 3 * GIB + DMA32_LIMIT.0)
    }
}
