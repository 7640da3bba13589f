// SPDX-License-Identifier: GPL-2.0

//! `shadowmm numastat`: where each node's pages were wanted.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Numastat;

/// The nodes' counters.
#[derive(Debug, Serialize)]
pub struct NumastatReport {
    nodes: Vec<Numastat>,
}

impl NumastatReport {
    /// Asks for them.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            nodes: device.numastat()?,
        })
    }
}

impl Report for NumastatReport {
    fn print(&self, screen: &mut Screen) {
        screen.heading("Allocations by where they were wanted and where they were served");
        let mut table = Table::new([
            Column::number("node"),
            Column::number("numa_hit"),
            Column::number("numa_miss"),
            Column::number("numa_foreign"),
            Column::number("interleave_hit"),
            Column::number("local_node"),
            Column::number("other_node"),
        ]);
        for node in &self.nodes {
            table.row([
                node.nid.to_string(),
                node.numa_hit.to_string(),
                node.numa_miss.to_string(),
                node.numa_foreign.to_string(),
                node.interleave_hit.to_string(),
                node.local_node.to_string(),
                node.other_node.to_string(),
            ]);
        }
        table.print(screen);
    }
}

/// Shows the counters.
pub fn run(context: &Context) -> Result<()> {
    context.show(&NumastatReport::read(&context.open()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_fits_and_its_keys_stay() {
        let node = |nid| Numastat {
            nid,
            numa_hit: 123_456,
            numa_miss: 1,
            numa_foreign: 2,
            interleave_hit: 3,
            local_node: 123_000,
            other_node: 457,
        };
        let report = NumastatReport {
            nodes: vec![node(0), node(1)],
        };
        testing::fits(&report);
        testing::keys(
            &report,
            "nodes nodes[].nid nodes[].numa_hit nodes[].numa_miss nodes[].numa_foreign \
             nodes[].interleave_hit nodes[].local_node nodes[].other_node",
        );
    }
}
