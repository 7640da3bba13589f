// SPDX-License-Identifier: GPL-2.0

//! What cannot panic does what the standard library does, where that does not panic.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::prop_assert;
use proptest::prop_assert_eq;
use proptest::proptest;
use shadowmm_core::slices;

proptest! {
    #[test]
    fn sorts_as_the_standard_library(mut items in vec(any::<u8>(), 0..200)) {
        let mut sorted = items.clone();
        sorted.sort_unstable_by_key(|&item| !item);
        slices::sort_by_key(&mut items, |&item| !item);
        prop_assert_eq!(items, sorted);
    }

    #[test]
    fn changes_two_where_both_are_there(items in vec(any::<u8>(), 0..20), one in 0..24usize, other in 0..24usize) {
        let mut ours = items.clone();
        slices::swap(&mut ours, one, other);
        let mut theirs = items;
        if one.max(other) < theirs.len() {
            theirs.swap(one, other);
        }
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn inserts_and_removes_as_a_vector(items in vec(any::<u8>(), 0..20), at in 0..24usize, new: u8) {
        let mut ours = items.clone();
        let fell_off = slices::insert(&mut ours, at, new);
        let mut theirs = items.clone();
        theirs.insert(at.min(items.len()), new);
        prop_assert_eq!(theirs.pop(), Some(fell_off));
        prop_assert_eq!(ours, theirs);

        let mut ours = items.clone();
        let removed = slices::remove(&mut ours, at);
        prop_assert_eq!(removed, items.get(at).copied());
        let mut theirs = items.clone();
        if removed.is_some() {
            theirs.remove(at);
            theirs.extend(items.last());
        }
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn copies_what_there_is_room_for(to in vec(any::<u8>(), 0..20), from in vec(any::<u8>(), 0..20)) {
        let mut ours = to.clone();
        slices::copy(&mut ours, &from);
        let both = to.len().min(from.len());
        prop_assert_eq!(&ours[..both], &from[..both]);
        prop_assert_eq!(&ours[both..], &to[both..]);
    }

    #[test]
    fn parts_as_the_standard_library(items in vec(0..3u8, 0..50), most in 1..9usize) {
        prop_assert!(slices::batches(&items, most).eq(items.chunks(most)));
        let same = |a: &u8, b: &u8| a == b;
        prop_assert!(slices::stretches(&items, same).eq(items.chunk_by(same)));
    }

    #[test]
    fn searches_as_the_standard_library(text in "[abä\n\r]{0,30}", word in "[abä]{0,3}") {
        prop_assert_eq!(slices::find(&text, &word), text.find(&word));
        prop_assert_eq!(slices::contains(&text, &word), text.contains(&word));
        prop_assert_eq!(slices::split_once(&text, &word), text.split_once(&word));
        for separator in ['a', 'ä', '\n'] {
            prop_assert!(slices::split(&text, separator).eq(text.split(separator)));
        }
        prop_assert!(slices::lines(&text).eq(text.lines()));
    }
}

#[test]
fn no_batch_is_endless() {
    assert_eq!(slices::batches(&[1, 2, 3], 0).count(), 0);
}
