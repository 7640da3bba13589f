// SPDX-License-Identifier: GPL-2.0

//! slab/holdings.rs: beside a map of the standard library, on addresses that
//! fall together, and in the numbers that it is made for.

use proptest::prelude::*;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::Holding;
use shadowmm_core::slab::Holdings;
use shadowmm_core::slab::ObjAddr;
use std::collections::BTreeMap;

fn holding(object: u64, cache: u16) -> Holding {
    Holding {
        object: ObjAddr::new(object),
        cache: CacheId::new(cache),
    }
}

/// Enters it, in more memory if that is needed.
fn enter(table: &mut Holdings<Vec<u64>>, holding: Holding) {
    if let Some(words) = table.wants(1) {
        let old = table.move_to(vec![0; words]);
        assert!(old.len() < words);
    }
    assert!(table.insert(holding));
}

/// What it has, taken out in batches.
fn taken(table: &mut Holdings<Vec<u64>>) -> Vec<Holding> {
    let mut all = Vec::new();
    let mut batch = [ObjAddr::NULL; 7];
    table.take_all(&mut batch, |cache, objects| {
        assert!((1..=7).contains(&objects.len()));
        assert!(objects.is_sorted());
        all.extend(objects.iter().map(|&object| Holding { object, cache }));
    });
    assert!(table.is_empty());
    all
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u16),
    Remove(u64),
    Get(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Few addresses, so that they come again; neighbours, and the farthest.
    let address = prop_oneof![
        (0u64..200).prop_map(|n| 0x1000 + n * 8),
        (0u64..50).prop_map(|n| (1 << 44) - 8 - n * 4096),
    ];
    prop_oneof![
        4 => (address.clone(), 0u16..2048).prop_map(|(object, cache)| Step::Insert(object, cache)),
        3 => address.clone().prop_map(Step::Remove),
        1 => address.prop_map(Step::Get),
    ]
}

proptest! {
    #[test]
    fn it_holds_what_a_map_holds(steps in prop::collection::vec(step(), 0..1500)) {
        let mut table = Holdings::new(Vec::new());
        let mut map = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(object, cache) => {
                    if map.insert(object, holding(object, cache)).is_some() {
                        // It is never entered twice.
                        prop_assert!(table.remove(ObjAddr::new(object)).is_some());
                    }
                    enter(&mut table, holding(object, cache));
                }
                Step::Remove(object) => {
                    prop_assert_eq!(table.remove(ObjAddr::new(object)), map.remove(&object));
                }
                Step::Get(object) => {
                    prop_assert_eq!(table.get(ObjAddr::new(object)), map.get(&object).copied());
                }
            }
            prop_assert_eq!(table.len(), map.len());
        }
        for (&object, &held) in &map {
            prop_assert_eq!(table.get(ObjAddr::new(object)), Some(held));
        }
        let mut expected: Vec<Holding> = map.into_values().collect();
        expected.sort_by_key(|held| (held.cache, held.object));
        prop_assert_eq!(taken(&mut table), expected);
    }
}

#[test]
fn there_is_nothing_in_no_memory() {
    let mut table: Holdings<Vec<u64>> = Holdings::new(Vec::new());
    assert_eq!((table.len(), table.capacity()), (0, 0));
    assert_eq!(table.get(ObjAddr::new(64)), None);
    assert_eq!(table.remove(ObjAddr::new(64)), None);
    assert!(!table.insert(holding(64, 1)));
    assert_eq!(table.wants(1), Some(16));
    assert_eq!(taken(&mut table), []);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut table = Holdings::new(vec![0; 16]);
    for n in 1..=11 {
        assert!(table.insert(holding(n * 8, 3)));
    }
    // Three quarters are full.
    assert!(!table.insert(holding(12 * 8, 3)));
    assert_eq!(table.wants(1), Some(32));
    assert_eq!(table.wants(1000), Some(2048));
    assert_eq!(table.wants(usize::MAX), Some(usize::MAX));
    // Too few words, and a number that is none of a table's: nothing happens.
    assert_eq!(table.move_to(vec![0; 8]).len(), 8);
    assert_eq!(table.move_to(vec![0; 33]).len(), 33);
    assert_eq!(table.move_to(Vec::new()).len(), 0);
    assert_eq!(table.len(), 11);
    // No object lies there.
    let mut large = Holdings::new(vec![0; 64]);
    assert!(!large.insert(holding(4, 1)));
    assert!(!large.insert(holding(1 << 50, 1)));
    assert!(large.is_empty());
}

#[test]
fn an_object_asked_for_by_its_size_has_no_cache() {
    let mut table = Holdings::new(vec![0; 16]);
    assert!(table.insert(holding(4096, 0)));
    assert_eq!(table.get(ObjAddr::new(4096)), Some(holding(4096, 0)));
    assert_eq!(taken(&mut table), [holding(4096, 0)]);
}

#[test]
fn words_that_were_lent_dirty_are_empty() {
    let table = Holdings::new(vec![u64::MAX; 16]);
    assert_eq!(table.len(), 0);
    assert_eq!(table.get(ObjAddr::new(8)), None);
}

#[test]
fn a_million_objects_take_less_than_three_words_each() {
    const OBJECTS: u64 = 1_000_000;
    let mut table = Holdings::new(Vec::new());
    for n in 0..OBJECTS {
        enter(&mut table, holding(0x10_0000 + n * 64, 5));
    }
    assert_eq!(table.len() as u64, OBJECTS);
    assert!(
        table.capacity() as u64 <= OBJECTS * 8 / 3,
        "{}",
        table.capacity()
    );
    // In an order that has nothing to do with how they came.
    for n in 0..OBJECTS {
        let object = 0x10_0000 + (n * 7_919 % OBJECTS) * 64;
        assert!(table.remove(ObjAddr::new(object)).is_some());
    }
    assert!(table.is_empty());
}
