// SPDX-License-Identifier: GPL-2.0

//! What the counts of free blocks say, the host's and the shadow's by one rule.

use serde::Serialize;
use serde::Serializer;
use shadowmm_client::NR_ORDERS;
use shadowmm_core::buddy::fragmentation_index;
use shadowmm_core::buddy::unusable_free_index;
use shadowmm_core::phys::PageOrder;

/// An index for each order, in thousandths; JSON has them as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices(pub [i64; NR_ORDERS]);

impl Serialize for Indices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0
            .map(|thousandths| thousandths as f64 / 1000.0)
            .serialize(serializer)
    }
}

/// Pages in all blocks.
pub fn free_pages(nr_free: &[u64; NR_ORDERS]) -> u64 {
    let pages = |(order, &blocks): (usize, &u64)| blocks.saturating_mul(1 << order);
    nr_free
        .iter()
        .enumerate()
        .map(pages)
        .fold(0, u64::saturating_add)
}

/// The highest order with a free block.
pub fn largest_free_order(nr_free: &[u64; NR_ORDERS]) -> Option<u32> {
    let order = nr_free.iter().rposition(|&blocks| blocks > 0)?;
    Some(order as u32)
}

/// Linux's unusable free space index for each order, in thousandths.
pub fn unusable_indices(nr_free: &[u64; NR_ORDERS]) -> [i64; NR_ORDERS] {
    each_order(|order| i64::from(unusable_free_index(order, nr_free)))
}

/// Linux's fragmentation index for each order, in thousandths; -1000 where a
/// request would not fail.
pub fn fragmentation_indices(nr_free: &[u64; NR_ORDERS]) -> [i64; NR_ORDERS] {
    each_order(|order| i64::from(fragmentation_index(order, nr_free)))
}

fn each_order(index: impl Fn(PageOrder) -> i64) -> [i64; NR_ORDERS] {
    let mut indices = [0; NR_ORDERS];
    for (place, order) in indices.iter_mut().zip(PageOrder::all()) {
        *place = index(order);
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_the_largest_order_follow_from_the_counts() {
        let mut nr_free = [0; NR_ORDERS];
        assert_eq!(
            (free_pages(&nr_free), largest_free_order(&nr_free)),
            (0, None)
        );
        nr_free[0] = 3;
        nr_free[10] = 2;
        assert_eq!(free_pages(&nr_free), 3 + 2048);
        assert_eq!(largest_free_order(&nr_free), Some(10));
        assert_eq!(free_pages(&[u64::MAX; NR_ORDERS]), u64::MAX);
    }

    #[test]
    fn indices_are_those_of_extfrag() {
        // 4 pages alone and one block of 4: half of the memory is no use to order 2.
        let mut nr_free = [0; NR_ORDERS];
        nr_free[0] = 4;
        nr_free[2] = 1;
        let unusable = unusable_indices(&nr_free);
        assert_eq!(unusable[..4], [0, 500, 500, 1000]);
        let fragmentation = fragmentation_indices(&nr_free);
        assert_eq!(fragmentation[..3], [-1000, -1000, -1000]);
        // 1000 - (1000 + 8 * 1000 / 8) / 5
        assert_eq!(fragmentation[3], 600);
        assert_eq!(unusable_indices(&[0; NR_ORDERS]), [1000; NR_ORDERS]);
        assert_eq!(fragmentation_indices(&[0; NR_ORDERS]), [0; NR_ORDERS]);
    }
}
