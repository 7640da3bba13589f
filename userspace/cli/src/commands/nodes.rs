// SPDX-License-Identifier: GPL-2.0

//! `shadowmm nodes`: spans, distances, and the order of fallback.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Node;
use shadowmm_client::Zone;
use std::cmp::Reverse;

/// The nodes.
#[derive(Debug, Serialize)]
pub struct NodesReport {
    /// By number.
    pub nodes: Vec<Node>,
    /// Their zones.
    #[serde(skip)]
    zones: Vec<Zone>,
}

impl NodesReport {
    /// Asks for the nodes.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            nodes: device.nodes()?,
            zones: device.zones()?,
        })
    }

    /// The table.
    pub fn table(&self) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::number("host's"),
            Column::number("CPUs"),
            Column::number("first page"),
            Column::number("spanned"),
            Column::number("present"),
            Column::number("size"),
            Column::text("distances"),
            Column::text("fallback"),
        ]);
        for node in &self.nodes {
            table.row([
                node.nid.to_string(),
                node.host_nid.to_string(),
                node.nr_cpus.to_string(),
                node.start_pfn.to_string(),
                node.spanned_pages.to_string(),
                node.present_pages.to_string(),
                pages(node.present_pages),
                join(&node.distances),
                join(&node.fallback),
            ]);
        }
        table
    }

    /// A node's zonelist: of each node in the order of fallback, the zones that
    /// have RAM, the highest kind first (`build_zonelists`).
    fn zonelist(&self, node: &Node) -> String {
        let mut entries = Vec::new();
        for &nid in &node.fallback {
            let zones = in_zonelist(&self.zones, nid);
            entries.extend(zones.iter().map(|zone| format!("{nid}:{}", zone.name)));
        }
        entries.join(" ")
    }
}

/// The zones of a node as they stand in zonelists: those that have RAM, the highest kind first
/// (`build_zonerefs_node`).
pub fn in_zonelist(zones: &[Zone], nid: i32) -> Vec<&Zone> {
    let its = |zone: &&Zone| zone.nid == nid && zone.present_pages > 0;
    let mut zones: Vec<&Zone> = zones.iter().filter(its).collect();
    zones.sort_by_key(|zone| Reverse(zone.zone));
    zones
}

fn join(numbers: &[impl ToString]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

impl Report for NodesReport {
    fn print(&self, screen: &mut Screen) {
        self.table().print(screen);
        screen.blank();
        screen.para("A distance of 10 is the node's own memory; the others are to be read beside it (20: twice as far) and are no times.");
        screen.blank();
        screen
            .heading("Zonelists: the zones in the order in which a request on the node tries them");
        let mut table = Table::new([Column::number("node"), Column::text("zonelist")]);
        for node in &self.nodes {
            table.row([node.nid.to_string(), self.zonelist(node)]);
        }
        table.print(screen);
        screen.para("A request begins at the highest kind of zone that it may use; one with __GFP_THISNODE stays on its node.");
    }
}

/// Shows the nodes.
pub fn run(context: &Context) -> Result<()> {
    context.show(&NodesReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> NodesReport {
        NodesReport {
            nodes: vec![Node {
                nid: 0,
                host_nid: 0,
                nr_cpus: 1,
                start_pfn: 0,
                spanned_pages: 65536,
                present_pages: 65400,
                distances: vec![10, 20],
                fallback: vec![0, 1],
            }],
            zones: testing::zones()
                .into_iter()
                .zip([0, 2, 3, 0])
                .map(|(zone, kind)| Zone { zone: kind, ..zone })
                .collect(),
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        // The nearest node's first, of each the highest kind first, and none without memory.
        let zonelist = "0:Normal 0:DMA 1:Movable";
        assert_eq!(report.zonelist(&report.nodes[0]), zonelist);
        assert!(testing::text(&report, 80).contains(zonelist));
        testing::keys(
            &report,
            "nodes nodes[].distances nodes[].fallback nodes[].host_nid nodes[].nid \
             nodes[].nr_cpus nodes[].present_pages nodes[].spanned_pages nodes[].start_pfn",
        );
    }
}
