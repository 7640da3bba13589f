// SPDX-License-Identifier: GPL-2.0

//! Random requests against a naive model: plain lists of page numbers, searched
//! from front to back, with Linux's rules written down once more. After each
//! request both must have the same blocks in the same order.

use crate::world::*;
use proptest::prelude::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::zone::Watermark;
use std::collections::BTreeMap;

/// One zone of the model.
struct ModelZone {
    spec: ZoneSpec,
    min: i64,
    low: i64,
    /// Against requests up to each kind.
    reserve: [i64; 4],
    lists: Vec<Vec<u64>>,
}

impl ModelZone {
    fn free_pages(&self) -> i64 {
        let pages = |(order, list): (usize, &Vec<u64>)| (list.len() as i64) << order;
        self.lists.iter().enumerate().map(pages).sum()
    }

    fn watermark_ok(&self, order: usize, mark: i64, highest: ZoneType, depth: Depth) -> bool {
        let mut min = mark;
        if depth.high {
            min -= min / 2;
            if depth.non_block {
                min -= min / 4;
            }
        }
        let free = self.free_pages() - ((1 << order) - 1);
        free > min + self.reserve[highest as usize]
            && (order == 0 || self.lists[order..].iter().any(|list| !list.is_empty()))
    }

    fn rmqueue(&mut self, order: usize) -> Option<u64> {
        let mut from = (order..11).find(|&order| !self.lists[order].is_empty())?;
        let pfn = self.lists[from].remove(0);
        while from > order {
            from -= 1;
            self.lists[from].insert(0, pfn + (1 << from));
        }
        Some(pfn)
    }

    fn free(&mut self, mut pfn: u64, mut order: usize, to_tail: bool) {
        let position = |list: &Vec<u64>, pfn| list.iter().position(|&other| other == pfn);
        while order < 10 {
            let Some(at) = position(&self.lists[order], pfn ^ (1 << order)) else {
                break;
            };
            self.lists[order].remove(at);
            pfn &= !(1 << order);
            order += 1;
        }
        let above = pfn & !(1u64 << order);
        let likely = order < 9 && position(&self.lists[order + 1], above ^ (2 << order)).is_some();
        match to_tail || likely {
            true => self.lists[order].push(pfn),
            false => self.lists[order].insert(0, pfn),
        }
    }
}

/// How deep below a mark a request may dig.
#[derive(Clone, Copy, Default)]
struct Depth {
    high: bool,
    non_block: bool,
    all: bool,
}

struct Model {
    zones: Vec<ModelZone>,
    held: BTreeMap<u64, usize>,
}

impl Model {
    fn try_zones(
        &mut self,
        request: &AllocRequest,
        nodes: Option<NodeMask>,
        at_min: bool,
        depth: Depth,
    ) -> Option<u64> {
        let highest = request.gfp().zone().unwrap();
        let order = request.order().index();
        let this_node = request.gfp().has(__GFP_THISNODE);
        let own = request.nid().0.max(0);
        let mut turn: Vec<_> = (0..self.zones.len()).collect();
        turn.sort_by_key(|&i| {
            let (nid, kind, ..) = self.zones[i].spec;
            (nid != own, nid, std::cmp::Reverse(kind))
        });
        for i in turn {
            let zone = &mut self.zones[i];
            let (nid, kind, ..) = zone.spec;
            let allowed = nodes.is_none_or(|nodes| nodes.contains(NodeId(nid)));
            if kind > highest || (this_node && nid != own) || !allowed {
                continue;
            }
            let mark = if at_min { zone.min } else { zone.low };
            if depth.all || zone.watermark_ok(order, mark, highest, depth) {
                if let Some(pfn) = zone.rmqueue(order) {
                    self.held.insert(pfn, order);
                    return Some(pfn);
                }
            }
        }
        None
    }

    fn alloc(&mut self, request: &AllocRequest) -> Option<u64> {
        let gfp = request.gfp();
        let nodes = request.nodes();
        let depth = Depth {
            high: gfp.has(__GFP_HIGH),
            non_block: !gfp.has(__GFP_DIRECT_RECLAIM) && !gfp.has(__GFP_NOMEMALLOC),
            all: false,
        };
        let all = Depth {
            all: true,
            ..Depth::default()
        };
        let memalloc = gfp.has(__GFP_MEMALLOC) && !gfp.has(__GFP_NOMEMALLOC);
        let urgent = gfp.has(__GFP_HIGH) && !gfp.has(__GFP_DIRECT_RECLAIM);
        // A request that is held to nodes with no zone for it never gets as far
        // as to be let off.
        let highest = gfp.zone().unwrap();
        let own = request.nid().0.max(0);
        let this_node = gfp.has(__GFP_THISNODE);
        let usable = |zone: &ModelZone| {
            let (nid, kind, ..) = zone.spec;
            let allowed = nodes.is_none_or(|nodes| nodes.contains(NodeId(nid)));
            kind <= highest && allowed && (!this_node || nid == own)
        };
        if !self.zones.iter().any(usable) {
            return None;
        }
        let mut found = self.try_zones(request, nodes, false, Depth::default());
        found = found.or_else(|| self.try_zones(request, nodes, true, depth));
        if memalloc {
            found = found.or_else(|| self.try_zones(request, None, true, all));
        } else if urgent {
            found = found.or_else(|| self.try_zones(request, None, true, depth));
        }
        found
    }

    fn free(&mut self, pfn: u64) -> usize {
        let order = self.held.remove(&pfn).unwrap();
        self.zone_of(pfn).free(pfn, order, false);
        order
    }

    fn zone_of(&mut self, pfn: u64) -> &mut ModelZone {
        let mut zones = self.zones.iter_mut();
        zones
            .find(|zone| (zone.spec.2..zone.spec.3).contains(&pfn))
            .unwrap()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Alloc {
        gfp: usize,
        order: u32,
        nid: i32,
        nodes: Option<u64>,
    },
    Free(prop::sample::Index),
    BadFree {
        pfn: u64,
        order: u32,
    },
}

fn flags() -> Vec<Gfp> {
    vec![
        GFP_KERNEL,
        GFP_HIGHUSER_MOVABLE,
        GFP_ATOMIC,
        GFP_NOWAIT,
        GFP_DMA,
        GFP_DMA32,
        GFP_KERNEL | __GFP_THISNODE,
        GFP_HIGHUSER_MOVABLE | __GFP_THISNODE,
        GFP_KERNEL | __GFP_HIGH,
        GFP_ATOMIC | __GFP_MEMALLOC,
        GFP_ATOMIC | __GFP_NOMEMALLOC | __GFP_MEMALLOC,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let order = prop_oneof![3 => Just(0u32), 4 => 0u32..=10];
    let alloc = (
        0..flags().len(),
        order,
        -1i32..=1,
        prop::option::of(0u64..4),
    );
    prop_oneof![
        6 => alloc.prop_map(|(gfp, order, nid, nodes)| Op::Alloc { gfp, order, nid, nodes }),
        4 => any::<prop::sample::Index>().prop_map(Op::Free),
        1 => (0u64..13_000, 0u32..=10).prop_map(|(pfn, order)| Op::BadFree { pfn, order }),
    ]
}

/// What memblock hands off lies anywhere in the zones; watermarks and reserves
/// are anything.
#[derive(Clone, Debug)]
struct Machine {
    specs: Vec<ZoneSpec>,
    given: Vec<(u64, u64)>,
    min: Vec<u64>,
    reserve: Vec<[u64; 4]>,
}

fn machine() -> impl Strategy<Value = Machine> {
    let kinds = [
        (0, ZoneType::Dma),
        (0, ZoneType::Dma32),
        (0, ZoneType::Normal),
        (0, ZoneType::Movable),
        (1, ZoneType::Normal),
        (1, ZoneType::Movable),
    ];
    let given = prop::collection::vec((0u64..1024, 1u64..=1024), kinds.len());
    let min = prop::collection::vec(0u64..200, kinds.len());
    let reserve = prop::collection::vec(prop::array::uniform4(0u64..300), kinds.len());
    (given, min, reserve).prop_map(move |(given, min, reserve)| {
        // Zones end where no block crosses, as they do in Linux.
        let starts = (0..).step_by(2048);
        let zones = kinds.into_iter().zip(starts.clone());
        let given = starts.zip(given);
        Machine {
            specs: zones
                .map(|((nid, kind), start)| (nid, kind, start, start + 2048))
                .collect(),
            given: given
                .map(|(start, (skip, len))| (start + skip, start + skip + len))
                .collect(),
            min,
            reserve,
        }
    })
}

fn run(machine: Machine, ops: Vec<Op>) {
    let world = World::new(&machine.specs, false);
    let mut model = Model {
        zones: vec![],
        held: BTreeMap::new(),
    };
    for (i, &spec) in machine.specs.iter().enumerate() {
        let zone = world.zone(spec.0, spec.1);
        let min = machine.min[i];
        zone.set_watermark(Watermark::Min, Pages(min));
        zone.set_watermark(Watermark::Low, Pages(min * 5 / 4));
        zone.set_watermark(Watermark::High, Pages(min * 3 / 2));
        for kind in ZoneType::ALL {
            zone.set_lowmem_reserve(kind, Pages(machine.reserve[i][kind as usize]));
        }
        let mut copy = ModelZone {
            spec,
            min: min as i64,
            low: (min * 5 / 4) as i64,
            reserve: machine.reserve[i].map(|pages| pages as i64),
            lists: vec![vec![]; 11],
        };
        let (start, end) = machine.given[i];
        for (pfn, order) in world.hand_off(start, end) {
            copy.free(pfn, order as usize, true);
        }
        model.zones.push(copy);
    }
    let same = |model: &Model| {
        for zone in &model.zones {
            let (nid, kind, ..) = zone.spec;
            assert_eq!(world.lists(nid, kind), zone.lists, "node {nid} {kind:?}");
        }
    };
    same(&model);
    world.buddy().validate().unwrap();
    let at_first: Vec<_> = world
        .snapshot()
        .into_iter()
        .map(|(_, report)| report)
        .collect();

    for op in ops {
        match op {
            Op::Alloc {
                gfp,
                order,
                nid,
                nodes,
            } => {
                let mut request = request(flags()[gfp], order).on(NodeId(nid));
                if let Some(nodes) = nodes {
                    let chosen = (0..2).filter(|node| (nodes >> node) & 1 != 0).map(NodeId);
                    request = request.within(chosen.collect());
                }
                let got = world.buddy().alloc(&request).map(|pfn| pfn.0);
                assert_eq!(
                    got,
                    model.alloc(&request).ok_or(Error::NoMemory),
                    "{request:?}"
                );
            }
            Op::Free(_) if model.held.is_empty() => {}
            Op::Free(index) => {
                let pfn = *model
                    .held
                    .keys()
                    .nth(index.index(model.held.len()))
                    .unwrap();
                let order = model.free(pfn);
                world.free(pfn, order as u32).unwrap();
            }
            Op::BadFree { pfn, order } => {
                if model.held.get(&pfn) != Some(&(order as usize)) {
                    world.free(pfn, order).unwrap_err();
                }
            }
        }
        same(&model);
    }
    world.buddy().validate().unwrap();

    for (pfn, order) in std::mem::take(&mut model.held) {
        world.free(pfn, order as u32).unwrap();
    }
    world.buddy().validate().unwrap();
    let at_last: Vec<_> = world
        .snapshot()
        .into_iter()
        .map(|(_, report)| report)
        .collect();
    assert_eq!(at_last, at_first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_blocks_in_the_same_order_as_the_model(
        machine in machine(),
        ops in prop::collection::vec(op(), 0..300),
    ) {
        run(machine, ops);
    }
}
