// SPDX-License-Identifier: GPL-2.0

//! phys/: the region keeps its promises.

use shadowmm_core::error::Error;
use shadowmm_core::phys::*;
use shadowmm_host_tests::leaked_pages;

fn ram(start: u64, end: u64) -> PfnRange {
    PfnRange {
        start: Pfn(start),
        end: Pfn(end),
    }
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange {
        start: PhysAddr(start),
        end: PhysAddr(end),
    }
}

fn region(pages: &[usize], map: &[(i32, PfnRange)]) -> Result<Box<Region<'static>>, Error> {
    let mut backing = Backing::new();
    for (node, &count) in pages.iter().enumerate() {
        backing.push(BackingRun::from_pages(
            leaked_pages(count),
            NodeId(node as i32),
        ))?;
    }
    let mut region = Box::new(Region::EMPTY);
    region.lay(
        &backing,
        map.iter().map(|&(nid, range)| (NodeId(nid), range)),
    )?;
    Ok(region)
}

#[test]
fn lays_ranges_over_runs() {
    let region = region(
        &[64, 64],
        &[(0, ram(0, 10)), (0, ram(20, 90)), (1, ram(100, 140))],
    )
    .unwrap();
    assert_eq!(region.pages(), Pages(120));
    // The second range crosses from the first run to the second.
    let starts: Vec<_> = region
        .segments()
        .iter()
        .map(|s| (s.range.start.0, s.host_node.0))
        .collect();
    assert_eq!(starts, [(0, 0), (20, 0), (74, 1), (100, 1)]);
    assert_eq!(region.segment(Pfn(15)).map(|s| s.range), None);
    assert_eq!(
        region.host_pfn(Pfn(75)).unwrap(),
        region.host_pfn(Pfn(74)).unwrap() + 1
    );
}

#[test]
fn page_blocks_are_congruent_where_there_is_room() {
    let region = region(&[4096], &[(0, ram(0, 159)), (0, ram(256, 3000))]).unwrap();
    assert_eq!(region.host_pfn(Pfn(512)).unwrap() % 512, 0);
}

#[test]
fn alignment_never_takes_what_a_later_range_needs() {
    // Each range would like to be moved, and nothing is spare.
    let ranges = [
        (0, ram(100, 700)),
        (0, ram(1000, 1600)),
        (1, ram(2100, 2948)),
    ];
    assert_eq!(region(&[2048], &ranges).unwrap().pages(), Pages(2048));
    // What is spare goes to alignment as far as it suffices.
    let region = region(&[2048 + 600], &ranges).unwrap();
    assert_eq!(region.pages(), Pages(2048));
    assert_eq!(region.host_pfn(Pfn(100)).unwrap() % 512, 100);
}

#[test]
fn a_node_starts_on_a_run_of_its_own_where_the_rest_is_spare() {
    let ranges = [(0, ram(0, 56)), (1, ram(56, 120))];
    let starts = |pages: &[usize]| -> Vec<_> {
        let region = region(pages, &ranges).unwrap();
        let segments = region.segments().iter();
        segments
            .map(|s| (s.range.start.0, s.nid.0, s.host_node.0))
            .collect()
    };
    assert_eq!(starts(&[64, 64]), [(0, 0, 0), (56, 1, 1)]);
    assert_eq!(starts(&[64, 56]), [(0, 0, 0), (56, 1, 0), (64, 1, 1)]);
}

#[test]
fn refuses_what_does_not_fit_and_stays_empty() {
    assert_eq!(
        region(&[8], &[(0, ram(0, 9))]).err(),
        Some(Error::RegionTooSmall)
    );
    assert_eq!(
        region(&[64], &[(0, ram(0, 9)), (1, ram(8, 12))]).err(),
        Some(Error::MapNodeOverlap)
    );
}

#[test]
fn places_once_zeroes_never_what_is_placed_and_releases() {
    let mut region = region(&[16], &[(0, ram(0, 16))]).unwrap();
    let first = region
        .place_slice(range(4096, 8192), 1024, |i| i as u32)
        .unwrap();
    assert!(first.iter().enumerate().all(|(i, &v)| v == i as u32));
    assert_eq!(
        region.place(range(8000, 8192), 7u64).err(),
        Some(Error::PageReserved)
    );
    assert_eq!(
        region.zero(range(0, 65536)).err(),
        Some(Error::PageReserved)
    );
    assert_eq!(
        region.place(range(9, 17), 7u64).err(),
        Some(Error::ForeignPfn)
    );
    assert_eq!(
        region.place(range(65528, 65544), [0u64; 2]).err(),
        Some(Error::ForeignPfn)
    );
    assert_eq!(first[1023], 1023);
    region.release(range(4096, 8192), first).unwrap();
    assert_eq!(region.is_zero(range(4096, 8192)), Ok(false));
    region.zero(range(0, 65536)).unwrap();
    assert_eq!(region.is_zero(range(0, 65536)), Ok(true));
    assert!(region.placed().is_empty());
}

#[test]
fn neighbouring_placements_merge_in_memory_of_the_region() {
    let mut region = region(&[16], &[(0, ram(0, 16))]).unwrap();
    let a = region.place_slice(range(0, 4096), 512, |_| 0u64).unwrap();
    region
        .place_slice(range(8192, 12288), 512, |_| 0u64)
        .unwrap();
    assert_eq!(region.placed().len(), 2);
    region
        .place_slice(range(4096, 8192), 512, |_| 0u64)
        .unwrap();
    assert_eq!(region.placed(), [range(0, 12288)]);
    region.release(range(0, 4096), a).unwrap();
    assert_eq!(region.placed(), [range(4096, 12288)]);
}

#[test]
fn one_region_lies_on_a_backing() {
    let mut backing = Backing::new();
    let run = BackingRun::from_pages(leaked_pages(16), NodeId(0));
    backing.push(run).unwrap();
    let too_much = [(NodeId(0), ram(0, 17))];
    let fits = [(NodeId(0), ram(0, 16))];
    let mut first = Box::new(Region::EMPTY);
    let lay = |region: &mut Region<'static>, ram: &[_]| region.lay(&backing, ram.iter().copied());
    assert_eq!(lay(&mut first, &too_much), Err(Error::RegionTooSmall));
    assert_eq!(lay(&mut first, &fits), Ok(()));
    // Two of them would lend the same memory twice.
    let mut second = Box::new(Region::EMPTY);
    assert_eq!(lay(&mut second, &fits), Err(Error::StageOrder));
    assert_eq!(lay(&mut first, &fits), Err(Error::StageOrder));
    assert_eq!(first.pages(), Pages(16));
}

#[test]
fn a_loan_ends_as_a_whole() {
    let mut region = region(&[16], &[(0, ram(0, 16))]).unwrap();
    let slice = region.place_slice(range(0, 8192), 1000, |_| 0u64).unwrap();
    let (part, rest) = slice.split_at_mut(1);
    let refused = region.release(range(0, 8192), part);
    assert_eq!(refused, Err(Error::ForeignPfn));
    assert_eq!(region.placed(), [range(0, 8192)]);
    assert_eq!(rest.len(), 999);
}
