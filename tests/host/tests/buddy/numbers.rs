// SPDX-License-Identifier: GPL-2.0

//! The rules that are only arithmetic, against straight transcriptions of
//! theirs in C and against values that Linux printed.

use proptest::prelude::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;

#[test]
fn flags_have_the_kernels_values() {
    // As the tracepoints of 7.3 print them.
    let values = [
        (GFP_ATOMIC, 0x820),
        (GFP_KERNEL, 0xcc0),
        (GFP_KERNEL_ACCOUNT, 0x400cc0),
        (GFP_NOWAIT, 0x2800),
        (GFP_NOIO, 0xc00),
        (GFP_NOFS, 0xc40),
        (GFP_USER, 0x100cc0),
        (GFP_DMA, 0x1),
        (GFP_DMA32, 0x4),
        (GFP_HIGHUSER, 0x100cc2),
        (GFP_HIGHUSER_MOVABLE, 0x100cca),
        (GFP_TRANSHUGE_LIGHT, 0x1c20ca),
        (GFP_TRANSHUGE, 0x1c24ca),
        (__GFP_ZERO, 0x100),
        (__GFP_NOWARN, 0x2000),
        (__GFP_RETRY_MAYFAIL, 0x4000),
        (__GFP_NOFAIL, 0x8000),
        (__GFP_NORETRY, 0x10000),
        (__GFP_MEMALLOC, 0x20000),
        (__GFP_COMP, 0x40000),
        (__GFP_NOMEMALLOC, 0x80000),
        (__GFP_THISNODE, 0x200000),
        (__GFP_ZEROTAGS, 0x800000),
    ];
    for (gfp, bits) in values {
        assert_eq!(gfp.bits(), bits);
        assert_eq!(Gfp::from_bits(bits), Ok(gfp));
    }
}

#[test]
fn the_zone_bits_are_read_as_the_table_says() {
    use ZoneType::*;
    let bad = Err(Error::BadGfp);
    let table = [
        Ok(Normal),
        Ok(Dma),
        Ok(Normal),
        bad,
        Ok(Dma32),
        bad,
        bad,
        bad,
        Ok(Normal),
        Ok(Dma),
        Ok(Movable),
        bad,
        Ok(Dma32),
        bad,
        bad,
        bad,
    ];
    for (bits, zone) in table.into_iter().enumerate() {
        let bits = bits as u32;
        assert_eq!(Gfp::from_bits(bits).and_then(Gfp::zone), zone, "{bits:#x}");
        let more = bits | GFP_KERNEL.bits();
        assert_eq!(Gfp::from_bits(more).and_then(Gfp::zone), zone);
    }
    for bit in 0..32 {
        let known = bit < 24 && bit != 9;
        assert_eq!(Gfp::from_bits(1 << bit).is_ok(), known, "bit {bit}");
    }
}

/// `__zone_watermark_ok()` up to the order check, as it stands in C.
fn watermark_ok_in_c(free_pages: i64, order: u32, mark: i64, reserve: i64, flags: u32) -> bool {
    const ALLOC_OOM: u32 = 0x08;
    const ALLOC_NON_BLOCK: u32 = 0x10;
    const ALLOC_MIN_RESERVE: u32 = 0x20;
    let mut min = mark;
    let free_pages = free_pages - ((1 << order) - 1);
    if flags & (ALLOC_OOM | ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE) != 0 {
        if flags & ALLOC_MIN_RESERVE != 0 {
            min -= min / 2;
            if flags & ALLOC_NON_BLOCK != 0 {
                min -= min / 4;
            }
        }
        if flags & ALLOC_OOM != 0 {
            min -= min / 2;
        }
    }
    free_pages > min + reserve
}

const FLAGS: [(AllocFlags, u32); 4] = [
    (AllocFlags::OOM, 0x08),
    (AllocFlags::NON_BLOCK, 0x10),
    (AllocFlags::MIN_RESERVE, 0x20),
    (AllocFlags::CPUSET, 0x40),
];

fn check_watermark(free: u64, order: u32, mark: u64, reserve: u64, choice: u32) {
    let mut flags = AllocFlags::WMARK_LOW;
    let mut c_flags = 1;
    for (i, (flag, c_flag)) in FLAGS.into_iter().enumerate() {
        if (choice >> i) & 1 != 0 {
            flags = flags | flag;
            c_flags |= c_flag;
        }
    }
    let order_type = PageOrder::new(order).unwrap();
    assert_eq!(
        is_above(Pages(free), order_type, Pages(mark), Pages(reserve), flags),
        watermark_ok_in_c(free as i64, order, mark as i64, reserve as i64, c_flags),
        "free {free} order {order} mark {mark} reserve {reserve} flags {c_flags:#x}"
    );
}

#[test]
fn the_watermark_rule_is_linuxs_around_every_edge() {
    for mark in 0..40 {
        for reserve in [0, 1, 13] {
            for order in [0, 1, 2, 5] {
                for free in 0..90 {
                    for choice in 0..16 {
                        check_watermark(free, order, mark, reserve, choice);
                    }
                }
            }
        }
    }
}

#[test]
fn absurd_watermarks_do_not_overflow() {
    let all = Pages::MAX;
    let flags = AllocFlags::WMARK_MIN;
    assert!(!is_above(all, PageOrder::MAX, all, all, flags));
    assert!(is_above(all, PageOrder::MAX, Pages(0), Pages(0), flags));
}

proptest! {
    #[test]
    fn the_watermark_rule_is_linuxs_anywhere(
        free in 0u64..1 << 32,
        order in 0u32..=10,
        mark in 0u64..1 << 32,
        reserve in 0u64..1 << 32,
        choice in 0u32..16,
    ) {
        check_watermark(free, order, mark, reserve, choice);
    }

    #[test]
    fn the_indices_are_linuxs(blocks: [u16; 11], order in 0usize..=10) {
        let blocks = blocks.map(u64::from);
        let free: u64 = (0..11).map(|o| blocks[o] << o).sum();
        let total: u64 = blocks.iter().sum();
        let suitable: u64 = (order..11).map(|o| blocks[o] << (o - order)).sum();
        let unusable = match free {
            0 => 1000,
            _ => (free - (suitable << order)) * 1000 / free,
        };
        let index = match (total, suitable) {
            (0, _) => 0,
            (_, 0) => 1000 - ((1000 + free * 1000 / (1 << order)) / total) as i64,
            _ => -1000,
        };
        let order = PageOrder::new(order as u32).unwrap();
        prop_assert_eq!(u64::from(unusable_free_index(order, &blocks)), unusable);
        prop_assert_eq!(i64::from(fragmentation_index(order, &blocks)), index);
    }
}

#[test]
fn the_indices_of_plain_cases() {
    let of = |some: &[(usize, u64)]| {
        let mut blocks = [0; NR_PAGE_ORDERS];
        some.iter()
            .for_each(|&(order, count)| blocks[order] = count);
        blocks
    };
    let orders: Vec<_> = PageOrder::all().collect();
    let none = of(&[]);
    assert_eq!(unusable_free_index(orders[0], &none), 1000);
    assert_eq!(extfrag_for_order(orders[0], &none), 0);
    assert_eq!(fragmentation_index(orders[0], &none), 0);

    let scattered = of(&[(0, 1024)]);
    assert_eq!(unusable_free_index(orders[0], &scattered), 0);
    assert_eq!(unusable_free_index(orders[1], &scattered), 1000);
    assert_eq!(extfrag_for_order(orders[1], &scattered), 100);
    assert_eq!(fragmentation_index(orders[0], &scattered), -1000);
    assert_eq!(fragmentation_index(orders[1], &scattered), 500);
    assert_eq!(fragmentation_index(orders[9], &scattered), 998);
    assert_eq!(fragmentation_index(orders[1], &of(&[(0, 1)])), -500);

    let mixed = of(&[(0, 3), (2, 5), (10, 1)]);
    assert_eq!(unusable_free_index(orders[3], &mixed), 23 * 1000 / 1047);
    assert_eq!(extfrag_for_order(orders[3], &mixed), 2);
    assert_eq!(unusable_free_index(orders[10], &mixed), 23 * 1000 / 1047);
}

#[test]
fn every_event_is_a_line_of_vmstat() {
    for name in VmEvent::NAMES {
        let event = shadowmm_core::report::Event::from_name(name);
        assert!(event.is_some(), "{name}");
        assert!(VmEvent::from_name(name).is_some(), "{name}");
    }
    let pgalloc = VmEvent::from_name("pgalloc_dma32");
    assert_eq!(pgalloc, Some(VmEvent::PgAlloc(ZoneType::Dma32)));
    assert_eq!(VmEvent::from_name("pgalloc_device"), None);
}
