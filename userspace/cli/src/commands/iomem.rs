// SPDX-License-Identifier: GPL-2.0

//! `shadowmm iomem`: the resources, as `/proc/iomem` shows them.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::bytes;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Resource;

/// What the crash kernel's reservation is called.
pub const CRASH_KERNEL: &str = "Crash kernel";

/// The resources.
#[derive(Debug, Serialize)]
pub struct IomemReport {
    resources: Vec<Resource>,
}

impl IomemReport {
    /// Asks for the resources.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            resources: device.resources()?,
        })
    }

    /// The crash kernel's reservation, if there is one.
    pub fn crash_kernel(&self) -> Option<&Resource> {
        let mut resources = self.resources.iter();
        resources.find(|resource| resource.name == CRASH_KERNEL)
    }
}

impl Report for IomemReport {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::text("first byte - last byte"),
            Column::number("size"),
            Column::text("what"),
        ]);
        for resource in &self.resources {
            let indent = "  ".repeat(resource.depth as usize);
            table.row([
                format!("{:08x}-{:08x}", resource.start, resource.end),
                bytes((resource.end - resource.start.min(resource.end)).saturating_add(1)),
                format!("{indent}{}", resource.name),
            ]);
        }
        table.print(screen);
    }
}

/// Shows the resources.
pub fn run(context: &Context) -> Result<()> {
    context.show(&IomemReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> IomemReport {
        let resource = |start, end, depth, name: &str| Resource {
            start,
            end,
            depth,
            name: name.to_owned(),
        };
        IomemReport {
            resources: vec![
                resource(0x100000, 0x3ffffff, 0, "System RAM"),
                resource(0x1000000, 0x1ffffff, 1, CRASH_KERNEL),
            ],
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        assert_eq!(report.crash_kernel().map(|crash| crash.depth), Some(1));
        testing::fits(&report);
        testing::keys(
            &report,
            "resources resources[].depth resources[].end resources[].name resources[].start",
        );
    }
}
