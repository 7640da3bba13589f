// SPDX-License-Identifier: GPL-2.0

//! slab/{geometry,flags,kmalloc_info}.rs: how objects lie in slabs, by what must
//! hold of any layout, and by numbers that a kernel 7.3.4 has shown. The guest
//! compares the rest with the running kernel (`shadowmm-diff slab --geometry`).

use proptest::prelude::*;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::Gfp;
use shadowmm_core::error::Error;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::*;

/// The machines' surroundings that tests are done in.
fn around() -> impl Strategy<Value = Surroundings<'static>> {
    let order = (0u32..=10).prop_map(|order| PageOrder::new(order).unwrap());
    let min = prop_oneof![Just(0u32), 1u32..200];
    (1u32..300, min, order.clone(), order, any::<[bool; 2]>()).prop_map(
        |(nr_cpus, min_objects, min_order, max_order, [merge, accounting])| Surroundings {
            min_objects,
            min_order: min_order.min(max_order),
            max_order,
            merge,
            accounting,
            ..Surroundings::new(nr_cpus)
        },
    )
}

/// Requests that Linux grants.
fn requests() -> impl Strategy<Value = CacheArgs<'static>> {
    let size = prop_oneof![1u32..200, 1u32..9000, 1u32..200_000];
    let flags = any::<u32>().prop_map(|bits| {
        let known = SlabFlags::from_bits(bits & SlabFlags::KNOWN.bits()).unwrap();
        known.and(SlabFlags::PERMITTED)
    });
    let ctor = prop_oneof![Just(Constructor::None), Just(Constructor::Fill(1))];
    (size, 0u32..13, flags, ctor, any::<[bool; 2]>(), 0u32..200).prop_map(
        |(size, align, flags, ctor, [freeptr, user], sheaf_capacity)| {
            let looked_at = ctor.is_some() || flags.has(SlabFlags::TYPESAFE_BY_RCU);
            CacheArgs {
                align: if align == 0 { 0 } else { 1 << align },
                flags,
                ctor,
                usersize: if user { size } else { 0 },
                freeptr_offset: (freeptr && looked_at).then_some(size / 16 * 8),
                sheaf_capacity,
                ..CacheArgs::new("cache", size)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Every part has its place, and no two share one.
    #[test]
    fn parts_lie_one_behind_the_other(args in requests(), around in around()) {
        let g = geometry(&args, &around).unwrap();
        prop_assert!(g.align.is_power_of_two() && g.align >= 8 && g.align >= args.align);
        prop_assert_eq!(g.size % g.align, 0);
        prop_assert_eq!(g.red_left_pad % g.align, 0);
        prop_assert_eq!(g.object_size, args.object_size);
        prop_assert!(g.inuse >= g.object_size && g.inuse % 8 == 0 && g.offset % 8 == 0);
        let has = |flag| g.flags.has(flag);
        if g.free_pointer_is_outside() {
            prop_assert_eq!(g.offset, g.inuse);
        } else {
            prop_assert!(g.offset < g.object_size.max(1));
        }
        // What lies behind the object, and what the next one has before it.
        let mut end = g.info_end();
        if has(SlabFlags::STORE_USER) {
            end += 2 * TRACK_SIZE;
        }
        if g.flags.keeps_request_size() {
            end += 8;
        }
        if has(SlabFlags::RED_ZONE) {
            prop_assert!(g.inuse > g.object_size, "there is a right red zone");
            prop_assert!(g.red_left_pad >= 8, "and a left one");
            end += 8;
        } else {
            prop_assert_eq!(g.red_left_pad, 0);
        }
        prop_assert!(end + g.red_left_pad <= g.size);
        prop_assert!(g.size - end - g.red_left_pad < g.align, "no more than is needed");
        // Whoever may look at a free object finds it as it was.
        let looked_at = has(SlabFlags::TYPESAFE_BY_RCU) || args.ctor.is_some();
        if has(SlabFlags::POISON) || (looked_at && args.freeptr_offset.is_none()) {
            prop_assert!(g.free_pointer_is_outside());
        }
        prop_assert_eq!(has(SlabFlags::OBJECT_POISON), has(SlabFlags::POISON) && !looked_at);
    }

    /// Slabs hold what they say, and no more is wasted than must be.
    #[test]
    fn slabs_are_of_the_least_order_that_does(args in requests(), around in around()) {
        let g = geometry(&args, &around).unwrap();
        let bytes = |order: PageOrder| order.pages().bytes().0 as u32;
        prop_assert_eq!(g.objects, bytes(g.order) / g.size);
        prop_assert_eq!(g.min_objects, bytes(g.min_order) / g.size);
        prop_assert!(g.min_objects >= 1 && g.objects <= MAX_OBJECTS);
        prop_assert!(g.leftover(g.order) < g.size);
        // The least order is the smallest that holds one.
        prop_assert!(g.min_order.down().is_none_or(|less| bytes(less) < g.size));
        if g.order > g.min_order.max(around.max_order) {
            prop_assert!(false, "larger than the largest");
        }
        // No smaller one between both bounds wastes at most a sixteenth and
        // holds as many as are wanted.
        let fls = u32::BITS - around.nr_cpus.leading_zeros();
        let wanted = if around.min_objects == 0 { 4 * (fls + 1) } else { around.min_objects };
        let wanted = wanted.min((bytes(around.max_order) / g.size).max(1));
        for order in PageOrder::all().filter(|&o| o >= around.min_order && o < g.order) {
            let enough = bytes(order) / g.size >= wanted;
            prop_assert!(!enough || bytes(order) % g.size > bytes(order) / 16);
        }
    }

    /// What is kept follows from the size alone, and never from the debugging but
    /// through it.
    #[test]
    fn what_is_kept_is_bounded(args in requests(), around in around()) {
        let g = geometry(&args, &around).unwrap();
        prop_assert!((MIN_PARTIAL..=MAX_PARTIAL).contains(&g.min_partial));
        prop_assert_eq!(g.min_partial, (g.size.ilog2() / 2).clamp(MIN_PARTIAL, MAX_PARTIAL));
        let none = SlabFlags::DEBUG | SlabFlags::NOLEAKTRACE | SlabFlags::KMALLOC;
        if g.flags.has(none) {
            prop_assert_eq!(g.sheaf_capacity, 0);
        } else {
            let usual = match g.size { 4096.. => 4, 1024.. => 12, 256.. => 28, _ => 60 };
            prop_assert_eq!(g.sheaf_capacity, args.sheaf_capacity.max(usual));
        }
    }

    /// No request makes core panic, whatever it says.
    #[test]
    fn any_request_has_an_answer(
        sizes in any::<[u32; 5]>(),
        align in prop_oneof![any::<u32>(), 0u32..20_000],
        freeptr in any::<Option<u32>>(),
        bits in any::<u32>(),
        around in around(),
    ) {
        let args = CacheArgs {
            align,
            flags: SlabFlags::from_bits(bits & SlabFlags::KNOWN.bits()).unwrap(),
            useroffset: sizes[1],
            usersize: sizes[2],
            freeptr_offset: freeptr,
            sheaf_capacity: sizes[3],
            ..CacheArgs::new("cache", sizes[0])
        };
        let _ = geometry(&args, &around);
        let _ = boot_geometry(&args, &around);
        let _ = MergeRequest::new(&args, &around);
        let small = CacheArgs { align, freeptr_offset: freeptr, ..CacheArgs::new("c", sizes[4] % 9000) };
        if let Ok(g) = geometry(&small, &around) {
            prop_assert!(g.objects > 0 && g.size >= g.object_size);
        }
    }
}

/// What the kernel stumbles over, and what it refuses.
#[test]
fn bad_requests_have_their_errors() {
    let around = Surroundings::new(2);
    let of = |args: CacheArgs<'_>| geometry(&args, &around).map(|g| (g.size, g.align));
    let args = CacheArgs::new("cache", 100);
    assert_eq!(of(CacheArgs::new("cache", 0)), Err(Error::BadObjectSize));
    assert_eq!(of(CacheArgs::new("cache", 1)), Ok((8, 8)));
    // The largest block, and what does not fit it.
    let most = 4 << 20;
    assert_eq!(of(CacheArgs::new("cache", most)), Ok((most, 8)));
    let too_large = CacheArgs::new("cache", most + 1);
    assert_eq!(of(too_large), Err(Error::ObjectTooLarge));
    let red = CacheArgs {
        flags: SlabFlags::RED_ZONE,
        ..CacheArgs::new("cache", most)
    };
    assert_eq!(of(red), Err(Error::ObjectTooLarge));
    for size in [u32::MAX, u32::MAX - 7, u32::MAX - 8, 1 << 31] {
        assert_eq!(
            of(CacheArgs::new("cache", size)),
            Err(Error::ObjectTooLarge)
        );
    }
    // Alignments are rounded up to words first, as Linux does.
    for (align, rounded) in [
        (0, 8),
        (1, 8),
        (7, 8),
        (9, 16),
        (25, 32),
        (57, 64),
        (4096, 4096),
    ] {
        assert_eq!(
            of(CacheArgs { align, ..args }).unwrap().1,
            rounded,
            "{align}"
        );
    }
    for align in [17, 24, 33, 96, 100, 4097, u32::MAX] {
        assert_eq!(
            of(CacheArgs { align, ..args }),
            Err(Error::BadAlignment),
            "{align}"
        );
    }
    // Above a page they hold as well: a block of pages lies at its own size.
    assert_eq!(
        of(CacheArgs {
            align: 65536,
            ..args
        }),
        Ok((65536, 65536))
    );
    let beyond = CacheArgs {
        align: 8 << 20,
        ..args
    };
    assert_eq!(of(beyond), Err(Error::ObjectTooLarge));

    let rcu = CacheArgs {
        flags: SlabFlags::TYPESAFE_BY_RCU,
        ..args
    };
    for (offset, is_good) in [
        (0, true),
        (96, true),
        (100, false),
        (104, false),
        (4, false),
    ] {
        let answer = of(CacheArgs {
            freeptr_offset: Some(offset),
            ..rcu
        });
        assert_eq!(answer == Err(Error::BadFreePointer), !is_good, "{offset}");
    }
    let without = CacheArgs {
        freeptr_offset: Some(8),
        ..args
    };
    assert_eq!(of(without), Err(Error::BadFreePointer));

    for (useroffset, usersize) in [(1, 0), (0, 101), (50, 51), (u32::MAX, 1)] {
        let window = CacheArgs {
            useroffset,
            usersize,
            ..args
        };
        assert_eq!(
            of(window),
            Err(Error::BadUserWindow),
            "{useroffset} {usersize}"
        );
    }
    assert!(of(CacheArgs {
        useroffset: 50,
        usersize: 50,
        ..args
    })
    .is_ok());
    for flags in [
        SlabFlags::NO_SHEAVES,
        SlabFlags::OBJECT_POISON,
        SlabFlags::SKIP_KFENCE,
    ] {
        assert_eq!(
            of(CacheArgs { flags, ..args }),
            Err(Error::BadFlags),
            "{flags}"
        );
    }
    assert_eq!(SlabFlags::from_bits(1 << 23), Err(Error::BadFlags));
}

/// Cache lines: objects that are small share one, but lie in none other.
#[test]
fn hardware_cache_alignment_halves_the_line() {
    let of = |size, align| calculate_alignment(SlabFlags::HWCACHE_ALIGN, align, size, 64);
    let sizes = [
        (1, 8),
        (8, 8),
        (9, 16),
        (16, 16),
        (17, 32),
        (32, 32),
        (33, 64),
        (5000, 64),
    ];
    for (size, align) in sizes {
        assert_eq!(of(size, 0), Ok(align), "{size}");
    }
    assert_eq!(of(8, 256), Ok(256));
    // An alignment that is no power of two does no harm below a cache line.
    assert_eq!(of(100, 24), Ok(64));
    assert_eq!(of(0, 0), Err(Error::BadObjectSize));
}

/// Where the order of slabs comes from when there are many CPUs, or parameters.
#[test]
fn parameters_move_the_order() {
    let order = |size, around: &Surroundings<'_>| calculate_order(size, around).unwrap().get();
    let mut around = Surroundings::new(2);
    // 12 objects on 2 CPUs, 32 on 64.
    assert_eq!((order(512, &around), order(64, &around)), (1, 0));
    assert_eq!(order(512, &Surroundings::new(64)), 2);
    around.min_objects = 1;
    assert_eq!(order(512, &around), 0);
    around.set_orders(PageOrder::new(5), None);
    assert_eq!((around.min_order.get(), around.max_order.get()), (5, 5));
    assert_eq!(order(512, &around), 5);
    // No slab has more objects than it can count: 16,384 of 8 bytes.
    around.set_orders(Some(PageOrder::MAX), None);
    assert_eq!(order(8, &around), 5);
    around.set_orders(None, PageOrder::new(0));
    assert_eq!((around.min_order.get(), around.max_order.get()), (0, 0));
    assert_eq!((order(8, &around), order(5000, &around)), (0, 1));
    assert_eq!((nr_cpus(1, 8), nr_cpus(4, 8)), (8, 4));
}

/// `slab_debug=O`: a cache whose slabs would have to be larger goes without.
#[test]
fn debugging_that_needs_larger_slabs_can_be_left_out() {
    let mut around = Surroundings::new(2);
    around.debug = SlabDebug::parse("FZPUO");
    let of = |size| geometry(&CacheArgs::new("cache", size), &around).unwrap();
    assert!(of(100).flags.has_all(SlabFlags::DEBUG_DEFAULT));
    let large = of(4096);
    assert_eq!(
        large.flags.and(SlabFlags::DEBUG),
        SlabFlags::CONSISTENCY_CHECKS
    );
    assert_eq!(
        (large.size, large.red_left_pad, large.sheaf_capacity),
        (4096, 0, 0)
    );
    around.debug = SlabDebug::parse("ZO");
    let large = geometry(&CacheArgs::new("cache", 4096), &around).unwrap();
    assert_eq!(
        (large.flags.and(SlabFlags::DEBUG), large.sheaf_capacity),
        (SlabFlags::NONE, 4)
    );
}

/// kmalloc's caches as `/sys/kernel/slab` of a kernel 7.3.4 with 2 CPUs shows
/// them: objects, order, alignment, sheaf capacity.
#[test]
fn kmalloc_rows_are_those_of_the_kernel() {
    let shown = [
        (96, 42, 0, 32, 60),
        (192, 21, 0, 64, 60),
        (8, 512, 0, 8, 60),
        (16, 256, 0, 16, 60),
        (32, 128, 0, 32, 60),
        (64, 64, 0, 64, 60),
        (128, 32, 0, 128, 60),
        (256, 16, 0, 256, 28),
        (512, 16, 1, 512, 28),
        (1024, 16, 2, 1024, 12),
        (2048, 16, 3, 2048, 12),
        (4096, 8, 3, 4096, 4),
        (8192, 4, 3, 8192, 4),
    ];
    let around = Surroundings::new(2);
    for (index, (size, objects, order, align, sheaf)) in KmallocIndex::all().zip(shown) {
        for row in KmallocType::ALL {
            let name = KmallocName(row, index).to_string();
            let args = kmalloc_args(&name, row, index, &around);
            let g = boot_geometry(&args, &around).unwrap();
            let found = (
                g.size,
                g.objects,
                u32::from(g.order.get()),
                g.align,
                g.sheaf_capacity,
            );
            assert_eq!(found, (size, objects, order, align, sheaf), "{name}");
            assert!(g.flags.has(SlabFlags::KMALLOC));
        }
    }
    assert_eq!(KmallocIndex::all().count(), shown.len());
}

#[test]
fn kmalloc_sizes_find_the_smallest_cache() {
    let mut sizes: Vec<u32> = KmallocIndex::all().map(KmallocIndex::size).collect();
    sizes.sort_unstable();
    for size in 1..=8192 {
        let smallest = *sizes.iter().find(|&&s| s >= size).unwrap();
        let found = KmallocIndex::of(Bytes(size.into())).unwrap();
        assert_eq!(found.size(), smallest, "{size}");
        assert_eq!(size_roundup(Bytes(size.into())), Bytes(smallest.into()));
    }
    assert_eq!(KmallocIndex::of(Bytes(0)), None);
    assert_eq!(KmallocIndex::of(Bytes(8193)), None);
    assert_eq!(KmallocIndex::of(Bytes(u64::MAX)), None);
    let large = [
        (0, 0),
        (8193, 16384),
        (65536, 65536),
        (65537, 131_072),
        (4 << 20, 4 << 20),
    ];
    for (size, rounded) in large {
        assert_eq!(size_roundup(Bytes(size)), Bytes(rounded));
    }
    // What kmalloc can't give stays what it is.
    let beyond = Bytes(KMALLOC_MAX_SIZE.0 + 1);
    assert_eq!(size_roundup(beyond), beyond);
    assert_eq!(size_roundup(Bytes(u64::MAX)), Bytes(u64::MAX));
}

#[test]
fn kmalloc_names_and_rows() {
    let name = |row, size| KmallocName(row, KmallocIndex::of(Bytes(size)).unwrap()).to_string();
    assert_eq!(name(KmallocType::Normal, 64), "kmalloc-64");
    assert_eq!(name(KmallocType::Reclaim, 64), "kmalloc-rcl-64");
    assert_eq!(name(KmallocType::Dma, 96), "dma-kmalloc-96");
    assert_eq!(name(KmallocType::Cgroup, 8192), "kmalloc-cg-8k");
    assert_eq!(name(KmallocType::Normal, 1024), "kmalloc-1k");
    let row = |flags: Gfp| KmallocType::of(gfp::GFP_KERNEL | flags);
    assert_eq!(row(Gfp::NONE), KmallocType::Normal);
    assert_eq!(row(gfp::__GFP_DMA | gfp::__GFP_ACCOUNT), KmallocType::Dma);
    assert_eq!(
        row(gfp::__GFP_RECLAIMABLE | gfp::__GFP_ACCOUNT),
        KmallocType::Reclaim
    );
    assert_eq!(row(gfp::__GFP_ACCOUNT), KmallocType::Cgroup);
    let mut around = Surroundings::new(2);
    assert!(KmallocType::Normal.flags(&around).has(SlabFlags::NO_MERGE));
    assert!(KmallocType::Cgroup.exists(&around));
    around.accounting = false;
    assert!(!KmallocType::Normal.flags(&around).has(SlabFlags::NO_MERGE));
    assert!(!KmallocType::Cgroup.exists(&around));
}

#[test]
fn flags_have_linux_values_names_and_letters() {
    // include/linux/slab.h, with Debian's configuration.
    let values = [
        (SlabFlags::CONSISTENCY_CHECKS, 0x1),
        (SlabFlags::RED_ZONE, 0x2),
        (SlabFlags::POISON, 0x4),
        (SlabFlags::HWCACHE_ALIGN, 0x10),
        (SlabFlags::CACHE_DMA, 0x20),
        (SlabFlags::STORE_USER, 0x80),
        (SlabFlags::TYPESAFE_BY_RCU, 0x200),
        (SlabFlags::NO_MERGE, 0x1000),
        (SlabFlags::ACCOUNT, 0x2000),
        (SlabFlags::RECLAIM_ACCOUNT, 0x20000),
        (SlabFlags::OBJ_EXT_IN_OBJ, 0x20_0000),
    ];
    for (flag, value) in values {
        assert_eq!(flag.bits(), value, "{flag}");
        assert_eq!(SlabFlags::from_bits(value), Ok(flag));
    }
    assert_eq!(SlabFlags::DEBUG_DEFAULT.letters().to_string(), "FZPU");
    assert_eq!(
        (SlabFlags::TRACE | SlabFlags::POISON).letters().to_string(),
        "PT"
    );
    assert_eq!(SlabFlags::HWCACHE_ALIGN.letters().to_string(), "-");
    assert_eq!(
        (SlabFlags::POISON | SlabFlags::PANIC).to_string(),
        "POISON|PANIC"
    );
    assert_eq!(SlabFlags::NONE.to_string(), "none");
    for letter in b'\0'..=255 {
        let known = b"FZPUTAfzputa".contains(&letter);
        assert_eq!(SlabFlags::from_letter(letter).is_some(), known, "{letter}");
    }
}
