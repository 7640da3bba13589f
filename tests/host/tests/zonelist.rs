// SPDX-License-Identifier: GPL-2.0

//! zonelist.rs and nodemask.rs: the order in which nodes and zones are tried.

use proptest::prelude::*;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::MAX_NODES;
use shadowmm_core::sparse::SectionOrder;
use shadowmm_core::zone::ZoneConfig;
use shadowmm_core::zonelist::FallbackOrder;
use shadowmm_core::zonelist::ZonelistKind;
use shadowmm_host_tests::early::memory;
use shadowmm_host_tests::early::scratch;
use shadowmm_host_tests::early::Shadow;

fn mask(nodes: &[i32]) -> NodeMask {
    nodes.iter().map(|&nid| NodeId(nid)).collect()
}

fn orders(
    possible: &[i32],
    memory: NodeMask,
    cpus: NodeMask,
    distance: impl Fn(i32, i32) -> u8,
) -> Vec<Vec<i32>> {
    let mut fallback = FallbackOrder::new(memory, cpus);
    possible
        .iter()
        .map(|&local| {
            let mut order = [NodeId::NONE; MAX_NODES];
            let distance = |a: NodeId, b: NodeId| distance(a.0, b.0);
            let nr = fallback.next(NodeId(local), distance, &mut order);
            order[..nr].iter().map(|nid| nid.0).collect()
        })
        .collect()
}

/// `build_zonelists()` for all nodes as the C program does it.
fn orders_in_c(
    possible: &[i32],
    memory: &[i32],
    cpus: &[i32],
    distance: impl Fn(i32, i32) -> u8,
) -> Vec<Vec<i32>> {
    let mut node_load = [0i32; 64];
    let mut orders = Vec::new();
    for &local_node in possible {
        let mut used = [false; 64];
        let mut prev_node = local_node;
        let mut node_order = Vec::new();
        loop {
            let mut best_node = -1;
            if !used[local_node as usize] && memory.contains(&local_node) {
                best_node = local_node;
            } else {
                let mut min_val = i32::MAX;
                for &n in memory {
                    if used[n as usize] {
                        continue;
                    }
                    let mut val = i32::from(distance(local_node, n));
                    val += i32::from(n < local_node);
                    if cpus.contains(&n) {
                        val += 1;
                    }
                    val *= 1024;
                    val += node_load[n as usize];
                    if val < min_val {
                        min_val = val;
                        best_node = n;
                    }
                }
            }
            if best_node < 0 {
                break;
            }
            used[best_node as usize] = true;
            if distance(local_node, best_node) != distance(local_node, prev_node) {
                node_load[best_node as usize] += 1;
            }
            node_order.push(best_node);
            prev_node = best_node;
        }
        orders.push(node_order);
    }
    orders
}

proptest! {
    #[test]
    fn nodes_fall_back_as_in_the_c_program(
        nodes in prop::collection::btree_set(0i32..64, 1..12),
        with_memory in any::<u64>(),
        with_cpus in any::<u64>(),
        distances in prop::collection::vec(prop::sample::select(vec![11u8, 20, 21, 30, 255]), 64 * 64),
    ) {
        let nodes: Vec<i32> = nodes.into_iter().collect();
        let some = |bits: u64| nodes.iter().copied().filter(|n| (bits >> n) & 1 != 0).collect();
        let memory: Vec<i32> = some(with_memory);
        let cpus: Vec<i32> = some(with_cpus);
        let distance = |a: i32, b: i32| if a == b { 10 } else { distances[(a * 64 + b) as usize] };
        prop_assert_eq!(
            orders(&nodes, mask(&memory), mask(&cpus), distance),
            orders_in_c(&nodes, &memory, &cpus, distance)
        );
    }

    #[test]
    fn masks_are_sets(nodes in prop::collection::btree_set(-2i32..70, 0..20), other in any::<u64>()) {
        let set: NodeMask = nodes.iter().map(|&nid| NodeId(nid)).collect();
        let valid: Vec<i32> = nodes.iter().copied().filter(|nid| (0..64).contains(nid)).collect();
        prop_assert_eq!(set.iter().map(|nid| nid.0).collect::<Vec<_>>(), valid.clone());
        prop_assert_eq!(set.len(), valid.len());
        prop_assert_eq!(set.is_empty(), valid.is_empty());
        prop_assert_eq!(set.first(), valid.first().map(|&nid| NodeId(nid)));
        prop_assert_eq!(set.nr_ids() as i32, valid.last().map_or(0, |nid| nid + 1));
        for nid in -2..70 {
            prop_assert_eq!(set.contains(NodeId(nid)), valid.contains(&nid));
        }
        let other: NodeMask = (0..64).filter(|n| (other >> n) & 1 != 0).map(NodeId).collect();
        let both = set.union(other);
        prop_assert!(set.is_subset(both) && other.is_subset(both));
        prop_assert_eq!(both.is_subset(other), valid.iter().all(|&nid| other.contains(NodeId(nid))));
    }
}

#[test]
fn masks_print_as_lists() {
    let print = |nodes: &[i32]| mask(nodes).to_string();
    assert_eq!(print(&[]), "");
    assert_eq!(print(&[3]), "3");
    assert_eq!(print(&[0, 1, 2, 5, 62, 63]), "0-2,5,62-63");
    assert_eq!(NodeMask::ALL.to_string(), "0-63");
}

#[test]
fn at_equal_distance_the_next_node_comes_first() {
    let far = |a, b| if a == b { 10 } else { 20 };
    let all = mask(&[0, 1, 2]);
    assert_eq!(
        orders(&[0, 1, 2], all, NodeMask::NONE, far),
        [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    );
    // Node 1 has CPUs, and is spared by the others.
    assert_eq!(
        orders(&[0, 1, 2], all, mask(&[1]), far),
        [[0, 2, 1], [1, 2, 0], [2, 0, 1]]
    );
    // No memory at all: nowhere to go.
    assert_eq!(orders(&[0], NodeMask::NONE, all, far), [[0; 0]]);
}

#[test]
fn a_walk_skips_what_a_request_may_not_use() {
    let half = 32768;
    let ranges = [memory(0, 1, half), memory(2, half, 2 * half)];
    let mut scratch = scratch(2048);
    let cpus = mask(&[1]);
    let distance = |a: NodeId, b: NodeId| if a == b { 10 } else { 20 };
    let config = ZoneConfig::DEFAULT;
    let order = SectionOrder::MIN;
    let shadow = Shadow::boot(&ranges, &mut scratch, order, &config, cpus, distance).unwrap();
    let list = |nid, kind| shadow.nodes.get(NodeId(nid)).unwrap().zonelist(kind);
    let walk = |nid, kind, highest, nodes: NodeMask| -> Vec<String> {
        let list = list(nid, kind);
        let name = |nid: NodeId, kind: ZoneType| format!("{nid}:{}", kind.name());
        let walked: Vec<_> = list
            .iter_on(highest, nodes)
            .map(|z| name(z.nid(), z.kind()))
            .collect();
        let zones = list
            .iter_on(highest, nodes)
            .map(|z| name(z.zone.nid, z.zone.kind));
        assert!(
            zones.eq(walked.iter().cloned()),
            "an entry says what its zone is"
        );
        let first = list
            .first(highest, Some(nodes))
            .map(|z| name(z.nid(), z.kind()));
        assert_eq!(first.as_ref(), walked.first());
        walked
    };
    let (fallback, own) = (ZonelistKind::Fallback, ZonelistKind::NoFallback);
    let (dma32, normal, movable) = (ZoneType::Dma32, ZoneType::Normal, ZoneType::Movable);
    let all = NodeMask::ALL;
    assert_eq!(
        walk(0, fallback, movable, all),
        [
            "0:Movable",
            "0:Normal",
            "0:DMA32",
            "0:DMA",
            "2:Movable",
            "2:Normal"
        ]
    );
    assert_eq!(walk(0, fallback, dma32, all), ["0:DMA32", "0:DMA"]);
    assert_eq!(walk(0, fallback, normal, mask(&[2])), ["2:Normal"]);
    assert_eq!(walk(2, fallback, dma32, all), ["0:DMA32", "0:DMA"]);
    assert_eq!(
        walk(2, fallback, movable, all)[..2],
        ["2:Movable", "2:Normal"]
    );
    assert_eq!(walk(2, own, normal, all), ["2:Normal"]);
    assert_eq!(walk(2, own, ZoneType::Dma, all), [""; 0]);
    // The node without memory has zonelists all the same.
    assert_eq!(
        walk(1, fallback, normal, all)[..2],
        ["2:Normal", "0:Normal"]
    );
    assert_eq!(walk(1, own, movable, all), [""; 0]);
    let first = list(1, fallback).first(movable, None).unwrap();
    assert_eq!((first.nid(), first.kind()), (NodeId(2), movable));
}
