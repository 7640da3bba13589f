// SPDX-License-Identifier: GPL-2.0

//! Numbers from outside that lie at the ends of their ranges. In the kernel's
//! build nothing checks for overflows; here everything does, and a sum that could
//! wrap is the end of the test.

use proptest::prelude::*;
use shadowmm_core::boot::CrashParameter;
use shadowmm_core::firmware::*;
use shadowmm_core::memblock::*;
use shadowmm_core::phys::*;
use shadowmm_core::quota::Kind;
use shadowmm_core::quota::Limits;
use shadowmm_core::slab::*;
use shadowmm_core::tunables::Tunable;
use shadowmm_core::tunables::Tunables;
use shadowmm_core::zone::ZoneConfig;

/// A number near an end, or near where something begins.
fn number() -> impl Strategy<Value = u64> {
    let ends = vec![
        0,
        1 << 12,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 44,
        1 << 47,
        1 << 63,
        u64::MAX,
    ];
    (prop::sample::select(ends), -4097i64..4097).prop_map(|(at, off)| at.wrapping_add_signed(off))
}

fn small_number() -> impl Strategy<Value = u32> {
    let ends = vec![0, 1 << 12, 1 << 22, 1 << 31, u32::MAX];
    (prop::sample::select(ends), -65i32..65).prop_map(|(at, off)| at.wrapping_add_signed(off))
}

fn kind() -> impl Strategy<Value = E820Type> {
    prop::sample::select(vec![E820Type::RAM, E820Type::RESERVED, E820Type::ACPI])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// A map of any numbers is resolved and scaled, or refused, and then it is sound.
    #[test]
    fn maps_of_any_numbers(
        entries in prop::collection::vec((number(), number(), kind()), 1..20),
        nodes in prop::collection::vec((0..70i32, number(), number(), any::<bool>()), 0..8),
        backing in prop_oneof![number(), 4096..1_000_000u64],
    ) {
        let mut map = Box::new(FirmwareMap::NEW);
        for &(addr, size, kind) in &entries {
            let _ = map.e820.range_add(PhysAddr(addr), Bytes(size), kind);
        }
        for &(nid, start, end, hotplug) in &nodes {
            let _ = map.meminfo.add(NodeId(nid), PhysAddr(start), PhysAddr(end), hotplug);
        }
        if map.resolve().is_ok() {
            prop_assert_eq!(map.validate(), Ok(()));
            let mut scaled = Box::new(Scaled::NEW);
            if scale(&mut map, Pages(backing), &mut scaled).is_ok() {
                prop_assert_eq!(map.validate(), Ok(()));
            }
            for &(addr, size, _) in &entries {
                scaled.to_scaled(PhysAddr(addr));
                scaled.to_scaled_size(Bytes(size));
            }
        }
    }

    /// The same as a boot log has them.
    #[test]
    fn logs_of_any_numbers(
        entries in prop::collection::vec((number(), number(), 0..70u64), 1..12),
    ) {
        let mut text = String::new();
        for (start, end, nid) in &entries {
            text += &format!("BIOS-e820: [mem {start:#018x}-{end:#018x}] usable\n");
            text += &format!("ACPI: SRAT: Node {nid} PXM {start} [mem {start:#x}-{end:#x}]\n");
            text += &format!("  node {nid:3}: [mem {start:#018x}-{end:#018x}]\n");
            text += &format!("NUMA: Node {nid} [mem {start:#x}-{end:#x}] + [mem {end:#x}-{start:#x}] -> [mem {start:#x}-{end:#x}]\n");
            text += &format!("ACPI: SRAT: PXM {start} -> APIC {end:#x} -> Node {start}\n");
            text += &format!(" {start:#x}{start:x} {end}{end}\n");
        }
        let mut map = Box::new(FirmwareMap::NEW);
        let mut report = ParseReport::default();
        if parse(&text, &mut map, &mut report).is_ok() && map.resolve().is_ok() {
            prop_assert_eq!(map.validate(), Ok(()));
        }
    }

    /// memblock keeps its arrays sorted and apart whatever it is told.
    #[test]
    fn memblock_of_any_numbers(
        ops in prop::collection::vec((0..9u32, number(), number(), number()), 1..40),
    ) {
        let mut memory = vec![MemblockRegion::EMPTY; 130];
        let mut reserved = vec![MemblockRegion::EMPTY; 130];
        let mut early = EarlyMemory::new(&mut memory, &mut reserved, None);
        for &(op, base, size, third) in &ops {
            let (at, len) = (PhysAddr(base), Bytes(size));
            // An alignment is a power of two.
            let align = Bytes(1 << (third % 64));
            match op {
                0 => { let _ = early.add(at, len); }
                1 => { let _ = early.remove(at, len); }
                2 => { let _ = early.reserve(at, len); }
                3 => { let _ = early.phys_free(at, len); }
                4 => { let _ = early.mark_nomap(at, len); }
                5 => { let _ = early.set_node(at, len, MemblockKind::Memory, NodeId(1)); }
                6 => { let _ = early.phys_alloc_range(len, align, at, PhysAddr(third)); }
                7 => { let _ = early.alloc_exact_nid_raw(len, align, at, PhysAddr(third), NodeId(0)); }
                _ => {
                    early.is_region_memory(at, len);
                    early.is_region_reserved(at, len);
                    early.reserved_kern_size(at, NodeId::NONE);
                    early.search_pfn_nid(Pfn(base));
                }
            }
            prop_assert_eq!(early.validate(), Ok(()));
        }
        early.trim_memory(Bytes(1 << 12));
        prop_assert_eq!(early.validate(), Ok(()));
        early.estimated_nr_free_pages();
    }

    /// A cache of any numbers has a geometry that holds together, or none.
    #[test]
    fn caches_of_any_numbers(
        numbers in prop::array::uniform7(small_number()),
        freeptr: bool,
        bits: u32,
        cpus in prop_oneof![1..64u32, small_number()],
    ) {
        let [size, align, user, usersize, offset, sheaf, objects] = numbers;
        let flags = SlabFlags::from_bits(bits & SlabFlags::KNOWN.bits()).unwrap();
        let args = CacheArgs {
            align,
            flags,
            useroffset: user,
            usersize,
            freeptr_offset: freeptr.then_some(offset),
            sheaf_capacity: sheaf,
            ..CacheArgs::new("cache", size)
        };
        let around = Surroundings { min_objects: objects, ..Surroundings::new(cpus) };
        if let Ok(geometry) = geometry(&args, &around) {
            prop_assert!(geometry.objects > 0 && geometry.size >= size);
            let whole = geometry.order.pages().bytes().0;
            prop_assert!(u64::from(geometry.objects) * u64::from(geometry.size) <= whole);
            let _ = MergeRequest::new(&args, &around);
        }
    }

    /// Texts with numbers in them: parameters and knobs.
    #[test]
    fn parameters_of_any_numbers(
        numbers in prop::array::uniform4(number()),
        unit in prop::sample::select(vec!["", "K", "M", "G", "T", "P", "E", "%"]),
        ram in number(),
    ) {
        let [a, b, c, d] = numbers;
        for text in [
            format!("dma={a}{unit},dma32={b}{unit},normal,movable={c}{unit}"),
            format!("normal={a}{a}{unit},movable={b:#x}{unit}"),
        ] {
            let _ = ZoneConfig::parse(&text);
        }
        for text in [
            format!("{a}{unit}-{b}{unit}:{c}{unit},{d}{unit}-:{a}{unit}@{b}"),
            format!("crashkernel={a}{unit}@{b:#x}{unit} crashkernel={c}{unit},high"),
            format!("{a}{b}{unit}"),
        ] {
            if let Ok(parameter) = CrashParameter::new(&text) {
                let _ = parameter.wanted(Bytes(ram));
            }
        }
        for which in Tunable::ALL {
            for text in [format!("{a}"), format!("{b:#x} {c}\t{d:#o}"), format!("-{a}"), format!("{a}{b}{c}{d}")] {
                let mut tunables = Tunables::DEFAULT;
                if tunables.read(which, &text).is_ok() {
                    prop_assert_eq!(tunables.check(), Ok(()));
                }
            }
        }
    }

    /// Sizes, addresses and quotas.
    #[test]
    fn units_of_any_numbers(a in number(), b in number(), order in 0..=10u32) {
        let order = PageOrder::new(order).unwrap();
        size_roundup(Bytes(a));
        let _ = (Bytes(a) + Bytes(b), Bytes(a) - Bytes(b), Bytes(a).pages_up(), Pages(a).bytes(), Pages(a).kib());
        let _ = (Pages(a).order_up(), Pfn(a) + Pages(b), Pfn(a) - Pfn(b), Pfn(a).addr(), Pfn(a).buddy(order));
        let _ = (PhysAddr(a) + Bytes(b), PhysAddr(a) - PhysAddr(b), PhysAddr(a).checked_add(Bytes(b)));
        let range = PhysRange::new(PhysAddr(a), Bytes(b));
        prop_assert!(range.end >= range.start);
        let share = Limits::of_user(a);
        prop_assert!(Kind::ALL.iter().all(|&kind| share.of(kind) <= a.max(256)));
    }
}
