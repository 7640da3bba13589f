// SPDX-License-Identifier: GPL-2.0

//! What takes more than one CPU: pages that one takes and another frees, and
//! CPUs that are busy at once, of one node or of several.

use super::few;
use super::BenchReport;
use super::Missing;
use super::RatioOf;
use super::Row;
use super::Unit;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use nix::sched::sched_setaffinity;
use nix::sched::CpuSet;
use nix::unistd::Pid;
use shadowmm_client::Bench;
use shadowmm_client::BenchShape;
use shadowmm_client::BenchSides;
use shadowmm_client::Device;
use shadowmm_client::Measured;
use std::path::Path;
use std::sync::Barrier;

const EXCHANGE: &str = "one CPU takes 1,024, another frees them";
const ONE_NODE: &str = "CPUs of one node at once";
const NODES: &str = "CPUs of several nodes at once";

pub const ONE_CPU: &str = "there is one CPU (make guest CPUS=2)";
const ONE_NODE_EACH: &str = "no node has two CPUs (make guest NODES=1 CPUS=2)";
const ONE_OF_ALL: &str = "there is one node with CPUs (make guest NODES=2 CPUS=2)";
pub const TURNS: &str = "CPUs take turns where instructions are counted; it needs KVM, or see \
                     tests/bench, which measures the same code on the host";

/// What the CPUs do at once: of one node, and of several.
const SHAPES: [(&str, &str, &str, BenchShape, u32); 3] = [
    (
        "CPUs of one node: hot pair, order 0",
        "CPUs of several nodes: hot pair, order 0",
        "pair",
        BenchShape::Pair(0),
        2000,
    ),
    (
        "CPUs of one node: hot pair, order 4",
        "CPUs of several nodes: hot pair, order 4",
        "pair",
        BenchShape::Pair(4),
        2000,
    ),
    (
        "CPUs of one node: alloc 1,024",
        "CPUs of several nodes: alloc 1,024",
        "page",
        BenchShape::Alloc,
        200,
    ),
];

/// The CPUs that are up.
pub fn online(root: &Path) -> Result<Vec<u32>> {
    let list = host::read(root, "sys/devices/system/cpu/online")?;
    let cpus = host::map::parse_list(&list).filter(|cpus| !cpus.is_empty());
    cpus.ok_or_else(|| Error::failed("could not tell which CPUs are up"))
}

/// The CPU to measure on.
pub fn here(root: &Path) -> Result<u32> {
    Ok(*online(root)?.first().unwrap_or(&0))
}

/// Keeps the calling thread on a CPU.
pub fn stay_on(cpu: u32) -> Result<()> {
    let failed = |errno| Error::failed(format!("could not stay on CPU {cpu}: {errno}"));
    let mut set = CpuSet::new();
    set.set(cpu as usize).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(failed)
}

/// The CPUs of each node that has some.
pub fn nodes(root: &Path) -> Vec<Vec<u32>> {
    let nodes = host::numbered(root, "sys/devices/system/node", "node").unwrap_or_default();
    let cpus = nodes.into_iter().filter_map(|node| {
        let path = format!("sys/devices/system/node/node{node}/cpulist");
        host::map::parse_list(&host::read(root, &path).ok()?)
    });
    cpus.filter(|cpus| !cpus.is_empty()).collect()
}

/// Adds the rows that this machine has CPUs for; the others, with the reason.
pub fn measure(
    context: &Context,
    device: &Device,
    unit: Unit,
    quick: bool,
    rows: &mut Vec<Row>,
) -> Result<Vec<Missing>> {
    let blocks = |blocks| few(blocks, quick);
    let mut missing = Vec::new();
    let cpus = online(&context.root)?;
    match cpus.get(1) {
        None => missing.push((EXCHANGE, ONE_CPU)),
        Some(&other) => {
            let measured = device.bench(&Bench {
                shape: BenchShape::Exchange(other),
                blocks: blocks(200),
                fragmented: false,
                sides: BenchSides::Both,
            })?;
            let row = BenchReport::row(EXCHANGE, "page", unit, RatioOf::Min, &measured);
            rows.push(row?);
        }
    }
    let nodes = nodes(&context.root);
    let crowded = nodes.iter().find(|cpus| cpus.len() > 1);
    let apart: Vec<u32> = nodes
        .iter()
        .filter_map(|cpus| cpus.first().copied())
        .collect();
    for (name, reason, cpus, first) in [
        (
            ONE_NODE,
            ONE_NODE_EACH,
            crowded.cloned().unwrap_or_default(),
            true,
        ),
        (NODES, ONE_OF_ALL, apart, false),
    ] {
        if unit != Unit::Ns {
            missing.push((name, TURNS));
            continue;
        }
        if cpus.len() < 2 {
            missing.push((name, reason));
            continue;
        }
        for (one_node, several, per, shape, many) in SHAPES {
            let name = if first { one_node } else { several };
            let mut measured = at_once(context, &cpus, shape, blocks(many), BenchSides::Shadow)?;
            let host = at_once(context, &cpus, shape, blocks(many), BenchSides::Host)?;
            measured.host = host.host;
            rows.push(BenchReport::row(
                name,
                per,
                unit,
                RatioOf::Median,
                &measured,
            )?);
        }
    }
    let missing = missing.into_iter();
    let missing = missing.map(|(shape, why)| Missing {
        shape,
        why: why.into(),
    });
    Ok(missing.collect())
}

/// All these CPUs do `shape` at once, on one side: the blocks of all of them.
fn at_once(
    context: &Context,
    cpus: &[u32],
    shape: BenchShape,
    blocks: u32,
    sides: BenchSides,
) -> Result<Measured> {
    let bench = Bench {
        shape,
        blocks,
        fragmented: false,
        sides,
    };
    let all = on_all(context, cpus, |device| Ok(device.bench(&bench)?))?;
    let mut all = all.into_iter();
    let first = all
        .next()
        .ok_or_else(|| Error::failed("there are no CPUs"))?;
    Ok(all.fold(first, |mut sum, one| {
        sum.shadow.extend(one.shadow);
        sum.host.extend(one.host);
        sum
    }))
}

/// Has all these CPUs do the same at once.
pub fn on_all<T: Send>(
    context: &Context,
    cpus: &[u32],
    work: impl Fn(&Device) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let barrier = Barrier::new(cpus.len());
    let one = &|cpu| {
        // Whoever failed before the barrier meets the others there all the same.
        let device = stay_on(cpu).and_then(|()| context.open());
        barrier.wait();
        work(&device?)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .map(|&cpu| scope.spawn(move || one(cpu)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|_| Err(Error::failed("a thread failed"))))
            .collect()
    })
}
