// SPDX-License-Identifier: GPL-2.0

//! Where things lie in a block, for every size.

use shadowmm_core::cosmos::kmsob::*;
use shadowmm_core::phys::*;

#[test]
fn sizes_grow_by_32_bytes_to_2_kib() {
    let sizes: Vec<_> = SizeIndex::all().map(|size| size.size().0).collect();
    assert_eq!(sizes.len(), KOBLST_MAX);
    assert_eq!((sizes[0], sizes[1], sizes[63]), (32, 64, 2048));
    for size in 1..=2048u64 {
        let chosen = SizeIndex::for_size(Bytes(size)).unwrap().size().0;
        let smallest = sizes.iter().copied().find(|&its| its >= size);
        assert_eq!(Some(chosen), smallest, "{size}");
    }
    for size in [0, 2049, 4096, u64::MAX] {
        assert_eq!(SizeIndex::for_size(Bytes(size)), None);
    }
    assert_eq!(SizeIndex::new(64), None);
    assert_eq!(SizeIndex::new(usize::MAX), None);
}

#[test]
fn blocks_have_one_two_or_four_pages() {
    for size in SizeIndex::all() {
        let pages = match size.size().0 {
            0..=128 => 1,
            129..=512 => 2,
            _ => 4,
        };
        assert_eq!(size.order().pages(), Pages(pages), "{size:?}");
    }
}

#[test]
fn objects_are_aligned_and_lie_beside_one_another_and_behind_the_tags() {
    for size in SizeIndex::all() {
        for layout in [size.own(), size.extension()] {
            let room = size.order().pages().bytes().0;
            let bytes = size.size().0;
            assert!(layout.objects > 0, "{size:?}");
            assert_eq!(layout.first % 32, 0);
            assert_eq!(layout.size, bytes);
            assert_eq!(layout.tag(0), layout.tags);
            assert!(layout.tag(layout.objects - 1) + 2 <= layout.first);
            assert!(layout.object(layout.objects - 1) + bytes <= room);
            // One more would not find room.
            let tags = layout.tags + 2 * u64::from(layout.objects + 1);
            let one_more = tags.next_multiple_of(32) + u64::from(layout.objects + 1) * bytes;
            assert!(one_more > room, "{size:?} {layout:?}");
            for offset in 0..=room {
                let index = layout.index(offset);
                let starts = (0..layout.objects).find(|&index| layout.object(index) == offset);
                assert_eq!(index, starts, "{size:?} {offset}");
            }
        }
        assert!(size.own().objects <= size.extension().objects);
    }
    assert_eq!(SizeIndex::for_size(Bytes(32)).unwrap().own().objects, 116);
    let largest = SizeIndex::for_size(KMSOB_MAX).unwrap();
    assert_eq!((largest.own().objects, largest.extension().objects), (7, 7));
}
