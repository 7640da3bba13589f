// SPDX-License-Identifier: GPL-2.0

//! What is done with slices and texts, by functions that cannot panic.
//!
//! Those of the standard library check what they are given, and panic: the
//! sorts on an order that is none, `copy_within` and `swap` on a place that is
//! not there, the searches in a `str` on a boundary that they lost. The checks
//! stay in the object whenever the compiler does not see that they hold. Here a
//! place that is not there is nowhere, and nothing happens.

use core::mem;

/// Sorts in place, the smallest key first. Elements of equal keys may change
/// places. By heapsort, as the kernel does (`sort` in `lib/sort.c`): no
/// recursion, no memory, and never more than O(n log n).
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (1..items.len()).rev() {
        swap(items, 0, end);
        sift_down(items.get_mut(..end).unwrap_or_default(), 0, &key);
    }
}

/// Moves the element at `at` down the heap to where it is not smaller than
/// those below it.
fn sift_down<T, K: Ord>(items: &mut [T], mut at: usize, key: &impl Fn(&T) -> K) {
    loop {
        // Half of an index in a slice of anything but () fits twice.
        let left = at.saturating_mul(2).saturating_add(1);
        let Some(first) = items.get(left).map(key) else {
            return;
        };
        let right = left.saturating_add(1);
        let (larger, its) = match items.get(right).map(key) {
            Some(second) if second > first => (right, second),
            _ => (left, first),
        };
        if items.get(at).map(key).is_none_or(|of| of >= its) {
            return;
        }
        swap(items, at, larger);
        at = larger;
    }
}

/// Changes two elements, if both are there.
pub fn swap<T>(items: &mut [T], one: usize, other: usize) {
    let (low, high) = (one.min(other), one.max(other));
    let Some((head, tail)) = items.split_at_mut_checked(high) else {
        return;
    };
    if let (Some(low), Some(high)) = (head.get_mut(low), tail.first_mut()) {
        mem::swap(low, high);
    }
}

/// Puts `element` at `at`, those from there on one further, and gives back the
/// last, which there is no place for.
pub fn insert<T>(items: &mut [T], at: usize, element: T) -> T {
    let behind = items.get_mut(at..).unwrap_or_default();
    behind
        .iter_mut()
        .fold(element, |moved, place| mem::replace(place, moved))
}

/// Takes the element at `at` out, if it is there, and moves those behind it one
/// nearer. The last place keeps what it had.
pub fn remove<T: Copy>(items: &mut [T], at: usize) -> Option<T> {
    let behind = items.get_mut(at..)?;
    let last = *behind.last()?;
    let places = behind.iter_mut().rev();
    Some(places.fold(last, |moved, place| mem::replace(place, moved)))
}

/// Copies as much of `from` as there is room for.
pub fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The elements, up to `most` of them at a time.
pub fn batches<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    core::iter::from_fn(move || {
        let (batch, behind) = rest.split_at_checked(most.min(rest.len()))?;
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

/// The elements in stretches as long as `same` is true of all neighbours, as
/// [`slice::chunk_by`] has them.
pub fn stretches<T>(items: &[T], same: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    core::iter::from_fn(move || {
        let pairs = rest.iter().zip(rest.iter().skip(1));
        let whole = rest.len().min(
            pairs
                .take_while(|(a, b)| same(a, b))
                .count()
                .saturating_add(1),
        );
        let (stretch, behind) = rest.split_at_checked(whole)?;
        rest = behind;
        (!stretch.is_empty()).then_some(stretch)
    })
}

/// Where `word` is in `text` first.
pub fn find(text: &str, word: &str) -> Option<usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let last = text.len().checked_sub(word.len())?;
    let is_here = |&at: &usize| {
        text.get(at) == word.first() && text.get(at..).is_some_and(|rest| rest.starts_with(word))
    };
    match word.is_empty() {
        true => Some(0),
        false => (0..=last).find(is_here),
    }
}

/// Whether `word` is in `text`.
pub fn contains(text: &str, word: &str) -> bool {
    find(text, word).is_some()
}

/// What stands before and behind the first `word` in `text`.
pub fn split_once<'t>(text: &'t str, word: &str) -> Option<(&'t str, &'t str)> {
    let (before, rest) = text.split_at_checked(find(text, word)?)?;
    Some((before, rest.strip_prefix(word)?))
}

/// What stands between the separators in `text`, as [`str::split`] has it.
pub fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    core::iter::from_fn(move || {
        let text = rest?;
        let end = text.char_indices().find(|&(_, c)| c == separator);
        let Some((part, behind)) = end.and_then(|(end, _)| text.split_at_checked(end)) else {
            rest = None;
            return Some(text);
        };
        rest = behind.strip_prefix(separator);
        Some(part)
    })
}

/// The lines of `text`, without what ends them, as [`str::lines`] has them.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.bytes().position(|byte| byte == b'\n');
        let Some((line, behind)) = end.and_then(|end| rest.split_at_checked(end)) else {
            return Some(core::mem::take(&mut rest));
        };
        rest = behind.strip_prefix('\n')?;
        Some(line.strip_suffix('\r').unwrap_or(line))
    })
}
