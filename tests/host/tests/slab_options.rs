// SPDX-License-Identifier: GPL-2.0

//! slab/{debug_option,merge}.rs: which caches are debugged, and which share their
//! slabs.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::slab::*;

/// The letters that a cache without flags gets.
fn letters(option: &str, name: &str) -> String {
    let flags = SlabDebug::parse(option).flags(SlabFlags::NONE, name);
    flags.letters().to_string()
}

#[test]
fn options_name_caches() {
    let cases = [
        // option, cache, letters
        ("", "a", "FZPU"),
        ("-", "a", "-"),
        ("fzt", "a", "FZT"),
        ("FZ-P", "a", "P"),
        (",a", "a", "FZPU"),
        (",a", "b", "-"),
        ("F,a,b", "b", "F"),
        ("F,a,b", "ab", "-"),
        ("F,ab", "a", "-"),
        ("F,a", "ab", "-"),
        ("F,kmalloc-*", "kmalloc-rcl-96", "F"),
        ("F,kmalloc-*", "kmalloc", "-"),
        ("F,*", "whatever", "F"),
        ("F,a*b", "axx", "F"),
        // The first block that names a cache counts, the others have the rest.
        ("F,a;Z,b;T", "a", "F"),
        ("F,a;Z,b;T", "b", "Z"),
        ("F,a;Z,b;T", "c", "T"),
        ("F,a;Z,a;T", "a", "F"),
        ("T;F,a", "a", "F"),
        ("T;F,a", "b", "T"),
        ("-,a;U", "a", "-"),
        ("-,a;U", "b", "U"),
        // Of several blocks for all, the last.
        ("F;Z", "a", "Z"),
        (";;F,a", "a", "F"),
        (";", "a", "-"),
        // A letter that is none is skipped, and A is one.
        ("FXZ", "a", "FZ"),
        ("A", "a", "-"),
        // As mm/slub.c has it: before more than one ';', or the last one of all,
        // only a star lets a name be known.
        ("F,a;;Z,b", "a", "-"),
        ("F,a*;;Z,b", "a", "F"),
        ("F,a;", "a", "-"),
        ("F,b,a;", "b", "F"),
        // A comma right behind a ';' takes what follows to the block before it.
        ("F,a;,b", "b", "F"),
        ("F,a;,b", "a", "-"),
    ];
    for (option, name, expected) in cases {
        assert_eq!(
            letters(option, name),
            expected,
            "slab_debug={option}: {name}"
        );
    }
}

#[test]
fn options_say_what_else_there_is() {
    assert!(SlabDebug::NONE.is_none() && SlabDebug::parse("-").is_none());
    assert!(!SlabDebug::parse("-,a").is_none());
    let option = SlabDebug::parse("FO?!");
    assert_eq!((option.higher_order_disabled, option.unknown), (true, 2));
    assert!(SlabDebug::parse("F,a;O,b").higher_order_disabled);
    // A cache may be out of its reach, or have no use for one of the letters.
    let all = SlabDebug::parse("");
    let flags = |flags| all.flags(flags, "a");
    assert_eq!(flags(SlabFlags::NO_USER_FLAGS), SlabFlags::NO_USER_FLAGS);
    assert_eq!(flags(SlabFlags::NOLEAKTRACE).letters().to_string(), "FZP");
    let named = SlabDebug::parse(",a");
    let flags = named.flags(SlabFlags::NOLEAKTRACE, "a");
    assert_eq!(flags.letters().to_string(), "FZPU");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Any text is read, and gives debug flags only.
    #[test]
    fn any_option_is_read(option in "[-FZPUTAOx,;*ab]{0,24}", name in "[ab*]{0,4}") {
        let debug = SlabDebug::parse(&option);
        let flags = debug.flags(SlabFlags::CACHE_DMA, &name);
        prop_assert_eq!(flags.without(SlabFlags::DEBUG), SlabFlags::CACHE_DMA);
    }

    /// Without oddities each cache has what the first block says that names it, or
    /// else the last that names none.
    #[test]
    fn plain_options_mean_what_they_say(
        blocks in prop::collection::vec(
            ("[FZPUT]{1,3}", prop::collection::vec("[a-d]{1,2}", 0..3)), 1..4),
        name in "[a-d]{1,2}",
    ) {
        let text: Vec<String> = blocks
            .iter()
            .map(|(letters, names)| {
                let words = std::iter::once(letters).chain(names);
                words.map(String::as_str).collect::<Vec<_>>().join(",")
            })
            .collect();
        let flags = |letters: &str| {
            let each = letters.bytes().filter_map(SlabFlags::from_letter);
            each.fold(SlabFlags::NONE, |all, flag| all | flag)
        };
        let naming = blocks.iter().find(|(_, names)| names.contains(&name));
        let others = || blocks.iter().rev().find(|(_, names)| names.is_empty());
        let expected = naming.or_else(others).map_or(SlabFlags::NONE, |(letters, _)| flags(letters));
        let found = SlabDebug::parse(&text.join(";")).flags(SlabFlags::NONE, &name);
        prop_assert_eq!(found, expected, "{}", text.join(";"));
    }

    /// A cache that is shared serves the other's objects: it is large enough, and
    /// as aligned.
    #[test]
    fn what_is_merged_fits(
        sizes in prop::array::uniform2(1u32..600),
        aligns in prop::array::uniform2(0u32..8),
        hwcache in any::<[bool; 2]>(),
    ) {
        let around = Surroundings::new(2);
        let args = |i: usize| CacheArgs {
            align: if aligns[i] == 0 { 0 } else { 4 << aligns[i] },
            flags: if hwcache[i] { SlabFlags::HWCACHE_ALIGN } else { SlabFlags::NONE },
            ..CacheArgs::new("cache", sizes[i])
        };
        let [old, new] = [0, 1].map(|i| geometry(&args(i), &around).unwrap());
        let request = MergeRequest::new(&args(1), &around).unwrap().unwrap();
        let candidate = Candidate { geometry: &old, ctor: Constructor::None, usersize: 0, boot: false };
        if request.fits(&candidate, &around) {
            prop_assert_eq!(old.size % new.align, 0);
            prop_assert!(old.size >= new.size && old.size - new.size < 8);
            let merged = old.merged(sizes[1]);
            prop_assert!(merged.object_size >= sizes[0].max(sizes[1]));
            prop_assert!(merged.inuse >= merged.object_size && merged.inuse <= merged.size);
        } else if old.size == new.size && old.align == new.align {
            prop_assert!(false, "equal ones are shared");
        }
    }
}

#[test]
fn caches_that_stay_alone() {
    let around = Surroundings::new(2);
    let args = CacheArgs::new("cache", 64);
    let wants = |args: CacheArgs<'_>, around: &Surroundings<'_>| {
        MergeRequest::new(&args, around).unwrap().is_some()
    };
    assert!(wants(args, &around));
    let alone = [
        CacheArgs {
            ctor: Constructor::Fill(0),
            ..args
        },
        CacheArgs {
            usersize: 8,
            ..args
        },
        CacheArgs {
            sheaf_capacity: 8,
            ..args
        },
        CacheArgs {
            flags: SlabFlags::NO_MERGE,
            ..args
        },
        CacheArgs {
            flags: SlabFlags::TYPESAFE_BY_RCU,
            ..args
        },
        CacheArgs {
            flags: SlabFlags::RED_ZONE,
            ..args
        },
        CacheArgs {
            flags: SlabFlags::NOLEAKTRACE,
            ..args
        },
    ];
    for args in alone {
        assert!(!wants(args, &around), "{args:?}");
    }
    assert!(!wants(
        args,
        &Surroundings {
            merge: false,
            ..around
        }
    ));
    let debug = SlabDebug::parse("F,cache");
    assert!(!wants(args, &Surroundings { debug, ..around }));

    let old = geometry(&args, &around).unwrap();
    let request = MergeRequest::new(&args, &around).unwrap().unwrap();
    let candidate = Candidate {
        geometry: &old,
        ctor: Constructor::None,
        usersize: 0,
        boot: false,
    };
    assert!(request.fits(&candidate, &around));
    assert!(!request.fits(
        &Candidate {
            boot: true,
            ..candidate
        },
        &around
    ));
    assert!(!request.fits(
        &Candidate {
            usersize: 8,
            ..candidate
        },
        &around
    ));
    assert!(!request.fits(
        &Candidate {
            ctor: Constructor::Fill(0),
            ..candidate
        },
        &around
    ));
    // From other pages, or charged differently.
    for flags in [
        SlabFlags::CACHE_DMA,
        SlabFlags::RECLAIM_ACCOUNT,
        SlabFlags::ACCOUNT,
    ] {
        let other = geometry(&CacheArgs { flags, ..args }, &around).unwrap();
        let candidate = Candidate {
            geometry: &other,
            ..candidate
        };
        assert!(!request.fits(&candidate, &around), "{flags}");
    }
    // Too small, and by a word too large.
    for size in [56, 72] {
        let other = geometry(&CacheArgs::new("other", size), &around).unwrap();
        let candidate = Candidate {
            geometry: &other,
            ..candidate
        };
        assert!(!request.fits(&candidate, &around), "{size}");
    }
    let bad = CacheArgs { align: 24, ..args };
    assert_eq!(MergeRequest::new(&bad, &around), Err(Error::BadAlignment));
}
