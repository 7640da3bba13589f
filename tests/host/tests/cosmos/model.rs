// SPDX-License-Identifier: GPL-2.0

//! Random requests against a naive model: plain lists of page numbers, searched
//! from front to back, with Cosmos's rules written down once more. After each
//! request both must have the same blocks in the same order, and the same
//! counts.

use crate::machine::*;
use crate::world::*;
use proptest::prelude::*;
use shadowmm_core::buddy::gfp::*;
use shadowmm_core::buddy::*;
use shadowmm_core::cosmos::*;
use shadowmm_core::error::Error;
use shadowmm_core::nodemask::NodeMask;
use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    Hardware,
    Kernel,
    Application,
}

/// One area of the model.
#[derive(Debug)]
struct ModelArea {
    nid: i32,
    zone: ZoneType,
    kind: Use,
    start: u64,
    end: u64,
    lists: Vec<Vec<u64>>,
    pages: u64,
    divisions: u64,
    merges: u64,
    allocs: [u64; 11],
    frees: [u64; 11],
}

impl ModelArea {
    fn new(spec: &ZoneSpec, kind: Use, start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self {
            nid: spec.0,
            zone: spec.1,
            kind,
            start,
            end,
            lists: vec![vec![]; 11],
            pages: 0,
            divisions: 0,
            merges: 0,
            allocs: [0; 11],
            frees: [0; 11],
        })
    }

    fn divide(&mut self, order: usize) -> Option<u64> {
        let mut size = (order..11).find(|&size| !self.lists[size].is_empty())?;
        let pfn = self.lists[size].remove(0);
        while size > order {
            size -= 1;
            self.divisions += 1;
            self.lists[size].insert(0, pfn + (1 << size));
        }
        self.allocs[order] += 1;
        Some(pfn)
    }

    fn merge(&mut self, mut pfn: u64, mut order: usize) {
        while order < 10 {
            let neighbour = pfn ^ (1 << order);
            let at = self.lists[order].iter().position(|&p| p == neighbour);
            let Some(at) = at else { break };
            self.lists[order].remove(at);
            self.merges += 1;
            pfn = pfn.min(neighbour);
            order += 1;
        }
        self.lists[order].insert(0, pfn);
    }
}

struct Model {
    areas: Vec<ModelArea>,
    held: BTreeMap<u64, usize>,
}

impl Model {
    fn new(machine: &Machine) -> Self {
        let mut areas = vec![];
        for spec in &machine.specs {
            let (_, zone, start, end) = *spec;
            if zone == ZoneType::Movable {
                areas.extend(ModelArea::new(spec, Use::Application, start, end));
            } else {
                let border = machine.border.clamp(start, end);
                areas.extend(ModelArea::new(spec, Use::Hardware, start, border));
                areas.extend(ModelArea::new(spec, Use::Kernel, border, end));
            }
        }
        Self {
            areas,
            held: BTreeMap::new(),
        }
    }

    fn area_of(&mut self, pfn: u64) -> &mut ModelArea {
        let mut areas = self.areas.iter_mut();
        areas
            .find(|area| (area.start..area.end).contains(&pfn))
            .unwrap()
    }

    fn alloc(&mut self, request: &AllocRequest) -> Option<u64> {
        let highest = request.gfp().zone().unwrap();
        let own = request.nid().0.max(0);
        let rounds: &[&[Use]] = match highest {
            ZoneType::Dma | ZoneType::Dma32 => &[&[Use::Hardware], &[Use::Kernel]],
            ZoneType::Normal => &[&[Use::Kernel]],
            ZoneType::Movable => &[&[Use::Application, Use::Kernel]],
        };
        let mut turn: Vec<_> = (0..self.areas.len()).collect();
        turn.sort_by_key(|&i| {
            let area = &self.areas[i];
            (area.nid != own, area.nid, std::cmp::Reverse(area.zone))
        });
        for kinds in rounds {
            for &i in &turn {
                let area = &mut self.areas[i];
                let allowed = request
                    .nodes()
                    .is_none_or(|nodes| nodes.contains(NodeId(area.nid)));
                let there = !request.gfp().has(__GFP_THISNODE) || area.nid == own;
                if !kinds.contains(&area.kind) || area.zone > highest || !allowed || !there {
                    continue;
                }
                if let Some(pfn) = area.divide(request.order().index()) {
                    self.held.insert(pfn, request.order().index());
                    return Some(pfn);
                }
            }
        }
        None
    }

    fn free(&mut self, pfn: u64) -> usize {
        let order = self.held.remove(&pfn).unwrap();
        let area = self.area_of(pfn);
        area.frees[order] += 1;
        area.merge(pfn, order);
        order
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
        GFP_ATOMIC | __GFP_MEMALLOC,
        GFP_DMA,
        GFP_DMA32,
        GFP_KERNEL | __GFP_THISNODE,
        GFP_DMA32 | __GFP_THISNODE,
        GFP_HIGHUSER_MOVABLE | __GFP_THISNODE,
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

/// What memblock hands off lies anywhere in the zones; the hardware area ends
/// before, in or behind any of them.
#[derive(Clone, Debug)]
struct Machine {
    specs: Vec<ZoneSpec>,
    given: Vec<(u64, u64)>,
    border: u64,
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
    let given = prop::collection::vec((0u64..1500, 1u64..=1500), kinds.len());
    (given, 0u64..=12).prop_map(move |(given, border)| {
        let starts = (0u64..).step_by(2048);
        Machine {
            specs: kinds
                .into_iter()
                .zip(starts.clone())
                .map(|((nid, kind), start)| (nid, kind, start, start + 2048))
                .collect(),
            given: starts
                .zip(given)
                .map(|(start, (skip, len))| (start + skip, start + (skip + len).min(2048)))
                .collect(),
            border: border * 1024,
        }
    })
}

fn same(cosmos: &Cosmos, model: &Model) {
    for (area, copy) in cosmos.areas.iter().zip(&model.areas) {
        assert_eq!(cosmos.lists(area), copy.lists, "{copy:?}");
        let report = area.report();
        assert_eq!(
            (report.divisions, report.merges),
            (copy.divisions, copy.merges)
        );
        assert_eq!(report.max, Pages(copy.pages));
        for (order, list) in report.lists.iter().enumerate() {
            let held = model.held.iter();
            let here =
                held.filter(|(pfn, at)| **at == order && (copy.start..copy.end).contains(pfn));
            let free = copy.lists[order].len() as u64;
            let expected = ListReport {
                objects: free + here.count() as u64,
                free,
                allocs: copy.allocs[order],
                frees: copy.frees[order],
            };
            assert_eq!(*list, expected, "order {order} of {copy:?}");
        }
    }
}

fn run(machine: Machine, ops: Vec<Op>) {
    Threads::run_on(0);
    let cosmos = Cosmos::new(&machine.specs, false, machine.border);
    let mut model = Model::new(&machine);
    assert_eq!(cosmos.areas.iter().count(), model.areas.len());
    for &(start, end) in &machine.given {
        for (pfn, order) in cosmos.hand_off(start, end) {
            let area = model.area_of(pfn);
            area.pages += 1 << order;
            area.merge(pfn, order as usize);
        }
    }
    same(&cosmos, &model);
    cosmos.system().validate().unwrap();
    let reports = || {
        let specs = machine.specs.iter();
        let ids = specs.map(|spec| shadowmm_core::page::ZoneId::new(NodeId(spec.0), spec.1));
        ids.map(|id| cosmos.system().free_report(id))
            .collect::<Vec<_>>()
    };
    let at_first = reports();

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
                    request = request.within(chosen.collect::<NodeMask>());
                }
                let got = cosmos.system().alloc(&request).map(|pfn| pfn.0);
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
                cosmos.free(pfn, order as u32).unwrap();
            }
            Op::BadFree { pfn, order } => {
                if model.held.get(&pfn) != Some(&(order as usize)) {
                    cosmos.free(pfn, order).unwrap_err();
                }
            }
        }
        same(&cosmos, &model);
    }
    cosmos.system().validate().unwrap();

    for (pfn, order) in std::mem::take(&mut model.held) {
        cosmos.free(pfn, order as u32).unwrap();
    }
    cosmos.system().validate().unwrap();
    assert_eq!(reports(), at_first);
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
