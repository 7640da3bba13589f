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

/// The nodes.
#[derive(Debug, Serialize)]
pub struct NodesReport {
    /// By number.
    pub nodes: Vec<Node>,
}

impl NodesReport {
    /// Asks for the nodes.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            nodes: device.nodes()?,
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
}

fn join(numbers: &[impl ToString]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

impl Report for NodesReport {
    fn print(&self, screen: &mut Screen) {
        self.table().print(screen);
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
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        testing::fits(&report);
        testing::keys(
            &report,
            "nodes nodes[].distances nodes[].fallback nodes[].host_nid nodes[].nid \
             nodes[].nr_cpus nodes[].present_pages nodes[].spanned_pages nodes[].start_pfn",
        );
    }
}
