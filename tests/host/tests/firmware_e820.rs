// SPDX-License-Identifier: GPL-2.0

//! firmware/: the e820 table against a model that knows nothing of tables.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::*;
use shadowmm_core::phys::*;

pub type Plain = (u64, u64, u32);

pub fn table(entries: &[Plain]) -> Box<E820Table> {
    let mut table = Box::new(E820Table::NEW);
    for &(addr, size, kind) in entries {
        table
            .range_add(PhysAddr(addr), Bytes(size), E820Type(kind))
            .unwrap();
    }
    table
}

pub fn plain(table: &E820Table) -> Vec<Plain> {
    let entries = table.entries().iter();
    entries.map(|e| (e.addr.0, e.size.0, e.kind.0)).collect()
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange {
        start: PhysAddr(start),
        end: PhysAddr(end),
    }
}

/// The type of each byte, byte by byte.
pub fn paint(entries: &[Plain], len: u64) -> Vec<u32> {
    let mut bytes = vec![0; len as usize];
    for &(addr, size, kind) in entries {
        for byte in &mut bytes[addr as usize..(addr + size) as usize] {
            *byte = kind.max(*byte);
        }
    }
    bytes
}

/// What Linux makes of it: runs of one type, those that must not be merged cut
/// where any entry starts or ends.
pub fn model(entries: &[Plain], len: u64) -> Vec<Plain> {
    let bytes = paint(entries, len);
    let ends: std::collections::BTreeSet<u64> = entries
        .iter()
        .filter(|e| e.1 != 0)
        .flat_map(|e| [e.0, e.0 + e.1])
        .collect();
    let mut runs: Vec<Plain> = Vec::new();
    for (at, &kind) in bytes.iter().enumerate() {
        let at = at as u64;
        let split = matches!(kind, 12 | 0xefff_ffff) && ends.contains(&at);
        match runs.last_mut() {
            Some(run) if run.2 == kind && !split => run.1 += 1,
            _ => runs.push((at, 1, kind)),
        }
    }
    runs.retain(|run| run.2 != 0);
    runs
}

pub const LEN: u64 = 200;

fn entry() -> impl Strategy<Value = Plain> {
    let kinds = prop::sample::select(vec![1u32, 1, 2, 3, 4, 5, 7, 12, 20, 0xefff_ffff]);
    (0..LEN, 0..60u64, kinds).prop_map(|(addr, size, kind)| (addr, size.min(LEN - addr), kind))
}

proptest! {
    #[test]
    fn update_is_the_model(entries in prop::collection::vec(entry(), 2..24)) {
        let mut table = table(&entries);
        prop_assert!(table.update());
        let once = plain(&table);
        prop_assert_eq!(&once, &model(&entries, LEN));
        // Settled is settled, and for one entry there is nothing to do.
        prop_assert_eq!(table.update(), once.len() >= 2);
        prop_assert_eq!(&plain(&table), &once);
    }

    #[test]
    fn range_update_retypes_bytes(
        entries in prop::collection::vec(entry(), 2..12),
        (start, size) in (0..LEN, 1..80u64),
        (old, new) in prop::sample::select(vec![(1u32, 2u32), (1, 5), (2, 1), (3, 1)]),
    ) {
        let mut t = table(&entries);
        t.update();
        let before = paint(&plain(&t), LEN + 80);
        let done = t.range_update(PhysAddr(start), Bytes(size), E820Type(old), E820Type(new));
        let mut want = before.clone();
        let mut count = 0;
        for byte in &mut want[start as usize..(start + size) as usize] {
            if *byte == old {
                *byte = new;
                count += 1;
            }
        }
        prop_assert_eq!(done, Ok(Bytes(count)));
        prop_assert_eq!(&paint(&plain(&t), LEN + 80), &want);
        t.update();
        prop_assert_eq!(&paint(&plain(&t), LEN + 80), &want);
    }

    #[test]
    fn range_remove_clears_bytes(
        entries in prop::collection::vec(entry(), 2..12),
        (start, size) in (0..LEN, 1..80u64),
        filter in prop::sample::select(vec![None, Some(1u32), Some(2)]),
    ) {
        let mut t = table(&entries);
        t.update();
        let mut want = paint(&plain(&t), LEN + 80);
        t.range_remove(PhysAddr(start), Bytes(size), filter.map(E820Type)).unwrap();
        for byte in &mut want[start as usize..(start + size) as usize] {
            if filter.is_none_or(|f| *byte == f) {
                *byte = 0;
            }
        }
        prop_assert_eq!(&paint(&plain(&t), LEN + 80), &want);
    }

    #[test]
    fn mapped_is_the_bytes(
        entries in prop::collection::vec(entry(), 2..12),
        (start, size) in (0..LEN, 1..40u64),
        kind in prop::sample::select(vec![None, Some(1u32), Some(2)]),
    ) {
        let mut t = table(&entries);
        t.update();
        let bytes = paint(&plain(&t), LEN + 40);
        let part = &bytes[start as usize..(start + size) as usize];
        let is = |b: &u32| kind.map_or(*b != 0, |k| *b == k);
        let r = range(start, start + size);
        let kind = kind.map(E820Type);
        prop_assert_eq!(t.mapped_any(r, kind), part.iter().any(is));
        prop_assert_eq!(t.mapped_all(r, kind), part.iter().all(is));
        if part.iter().all(|&b| b == part[0]) && part[0] != 0 {
            prop_assert_eq!(t.entry_type(r), Some(E820Type(part[0])));
        }
    }
}

#[test]
fn update_of_the_example_in_the_kernel() {
    // The picture above e820__update_table(), a column a byte.
    let picture = [
        (4, 2, 2),
        (22, 1, 4),
        (4, 4, 1),
        (1, 2, 4),
        (0, 8, 1),
        (20, 2, 3),
        (11, 2, 4),
        (10, 5, 3),
        (14, 2, 2),
        (19, 4, 2),
        (9, 9, 1),
        (21, 2, 1),
        (17, 1, 4),
    ];
    let mut t = table(&picture);
    assert!(t.update());
    assert_eq!(
        plain(&t),
        [
            (0, 1, 1),
            (1, 2, 4),
            (3, 1, 1),
            (4, 2, 2),
            (6, 2, 1),
            (9, 1, 1),
            (10, 1, 3),
            (11, 2, 4),
            (13, 2, 3),
            (15, 1, 2),
            (16, 1, 1),
            (17, 1, 4),
            (19, 1, 2),
            (20, 2, 3),
            (22, 1, 4),
        ]
    );
}

#[test]
fn update_leaves_alone_what_linux_leaves_alone() {
    let mut one = table(&[(0, 0, 1)]);
    assert!(!one.update());
    assert_eq!(plain(&one), [(0, 0, 1)]);
    let wraps = [(0x1000, u64::MAX, 1), (0, 0x1000, 1), (0x800, 0x1000, 2)];
    let mut t = table(&wraps);
    assert!(!t.update());
    assert_eq!(plain(&t), wraps);
}

/// A range of nothing inside an entry still parts it, which shows where
/// neighbours are not joined again.
#[test]
fn an_empty_range_parts_an_entry() {
    let mut t = table(&[(0, 16, 12), (32, 16, 1)]);
    let none = Bytes(0);
    let updated = t.range_update(PhysAddr(4), none, E820Type::PRAM, E820Type::RAM);
    assert_eq!(updated, Ok(Bytes(0)));
    assert_eq!(t.range_remove(PhysAddr(40), none, None), Ok(()));
    assert_eq!(t.len(), 5);
    assert!(t.update());
    assert_eq!(plain(&t), [(0, 4, 12), (4, 12, 12), (32, 16, 1)]);
}

#[test]
fn a_full_table_is_cut_and_refuses_more() {
    let mut t = Box::new(E820Table::NEW);
    for i in 0..E820_MAX_ENTRIES as u64 - 1 {
        t.push(0x1000 + i * 0x10, 0x10, 12).unwrap();
    }
    t.push(0x1008, 0x4000, 12).unwrap();
    assert_eq!(t.push(0, 1, 1), Err(Error::MapTooManyEntries));
    // Every start cuts the long one, so the result has more than fit.
    assert!(t.update());
    assert_eq!(t.len(), E820_MAX_ENTRIES);
    assert_eq!(
        t.range_update(
            PhysAddr(0x1001),
            Bytes(2),
            E820Type::PRAM,
            E820Type::RESERVED
        ),
        Err(Error::MapTooManyEntries)
    );
    assert_eq!(
        t.range_remove(PhysAddr(0x1001), Bytes(2), None),
        Err(Error::MapTooManyEntries)
    );
}

#[test]
fn push_checks_its_numbers() {
    let mut t = Box::new(E820Table::NEW);
    assert_eq!(t.push(0, 0, 1), Err(Error::MapEntryEmpty));
    assert_eq!(t.push(1, u64::MAX, 1), Err(Error::MapEntryOverflow));
    for bad in [0, 6, 8, 11, 13, 0xf000_0000, u32::MAX] {
        assert_eq!(t.push(0, 1, bad), Err(Error::MapUnknownType));
    }
    assert!(t.is_empty());
    for kind in E820Type::ALL {
        t.push(0, u64::MAX, kind.0).unwrap();
    }
    assert_eq!(t.len(), 8);
}

#[test]
fn prints_as_the_kernel_does() {
    let t = table(&[
        (0, 0x9fc00, 1),
        (0x9fc00, 0x400, 2),
        (0xf0000, 0x10000, 3),
        (0x100000, 0x1000, 4),
        (0x101000, 0x1000, 5),
        (0x102000, 0x1000, 7),
        (0x103000, 0x1000, 12),
        (0x104000, 0x1000, 0xefff_ffff),
        (0x105000, 0x1000, 20),
        (0x1000, 0x1000, 1),
    ]);
    let mut text = String::new();
    t.print("BIOS-e820", &mut text).unwrap();
    assert_eq!(
        text,
        "\
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff]  System RAM
BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff]  device reserved
BIOS-e820: [gap 0x00000000000a0000-0x00000000000effff]
BIOS-e820: [mem 0x00000000000f0000-0x00000000000fffff]  ACPI data
BIOS-e820: [mem 0x0000000000100000-0x0000000000100fff]  ACPI NVS
BIOS-e820: [mem 0x0000000000101000-0x0000000000101fff]  unusable
BIOS-e820: [mem 0x0000000000102000-0x0000000000102fff]  persistent RAM (type 7)
BIOS-e820: [mem 0x0000000000103000-0x0000000000103fff]  persistent RAM (type 12)
BIOS-e820: [mem 0x0000000000104000-0x0000000000104fff]  soft reserved
BIOS-e820: [mem 0x0000000000105000-0x0000000000105fff]  type 20
[Firmware Bug]: out of order E820 entry!
BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff]  System RAM
"
    );
}

#[test]
fn names_of_resources_go_both_ways() {
    for kind in E820Type::ALL {
        assert_eq!(
            E820Type::from_resource_name(kind.resource_name()),
            Some(kind)
        );
    }
    let old = E820Type::from_resource_name("reserved\n");
    assert_eq!(old, Some(E820Type::RESERVED));
    assert_eq!(E820Type::from_resource_name("System ROM"), None);
    let unknown = E820Type::from_resource_name(E820Type(20).resource_name());
    assert_eq!(unknown, Some(E820Type::RESERVED));
    assert_eq!(E820Type(20).resource_name(), "Unknown E820 type");
}

#[test]
fn ends_of_ram_and_memblock() {
    let t = table(&[
        (0, 0x9fc00, 1),
        (0x100000, 0xbff0_0000, 1),
        (0xc000_0000, 0x1800, 3),
        (0xd000_0000, 0x1000, 0xefff_ffff),
        (0xf000_0000, 0x1000_0000, 2),
        (0xffff_f000, 0x8000_1800, 1),
    ]);
    // ACPI tables count, and partial pages do not.
    assert_eq!(t.end_of_ram_pfn(), Pfn(0x180000));
    assert_eq!(t.end_of_low_ram_pfn(), Pfn(0x100000));
    assert_eq!(t.ram_pages(), Pages(0x9f + 0xbff00 + 0x80001));
    assert_eq!(t.ram_bytes(), Bytes(0x9fc00 + 0xbff0_0000 + 0x8000_1800));
    let uses: Vec<_> = t.entries().iter().map(|e| e.memblock_use()).collect();
    use MemblockUse::*;
    assert_eq!(uses, [Add, Add, Ignore, Reserve, Ignore, Add]);
    assert_eq!(table(&[(0, 1 << 50, 1)]).end_of_ram_pfn(), Pfn(1 << 34));
    assert_eq!(table(&[]).end_of_ram_pfn(), Pfn(0));
}
