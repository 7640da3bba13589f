// SPDX-License-Identifier: GPL-2.0

//! What is done with blocks that one has, and what is said of it.

use super::zone_name;
use crate::context::Report;
use crate::error::Result;
use crate::render::plural;
use crate::render::Screen;
use serde::Serialize;
use shadowmm_client::Block;
use shadowmm_client::Device;

/// A block that was freed.
#[derive(Debug, Serialize)]
pub struct Freed {
    pfn: u64,
    order: u32,
    freed: bool,
}

impl Freed {
    /// Frees it, ours or not: the module judges.
    pub fn of(device: &Device, pfn: u64, order: u32) -> Result<Self> {
        device.free(pfn, order)?;
        Ok(Self {
            pfn,
            order,
            freed: true,
        })
    }
}

impl Report for Freed {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "The block of order {} from page {} is given back.",
            self.order, self.pfn
        ));
    }
}

/// A block that became smaller ones.
#[derive(Debug, Serialize)]
pub struct Split {
    pfn: u64,
    order: u32,
    to: u32,
    pieces: u32,
}

impl Split {
    /// Splits it.
    pub fn of(device: &Device, pfn: u64, order: u32, to: u32) -> Result<Self> {
        let pieces = device.split(pfn, order, to)?;
        Ok(Self {
            pfn,
            order,
            to,
            pieces,
        })
    }
}

impl Report for Split {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "The block of order {} from page {} is {} of order {} now.",
            self.order,
            self.pfn,
            plural(self.pieces.into(), "block"),
            self.to
        ));
    }
}

/// Blocks that became one.
#[derive(Debug, Serialize)]
pub struct Merged {
    pfn: u64,
    order: u32,
    pieces: u32,
}

impl Merged {
    /// Merges them.
    pub fn of(device: &Device, pfn: u64, order: u32) -> Result<Self> {
        let pieces = device.merge(pfn, order)?;
        Ok(Self { pfn, order, pieces })
    }
}

impl Report for Merged {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "{} from page {} on are one of order {} now.",
            plural(self.pieces.into(), "block"),
            self.pfn,
            self.order
        ));
    }
}

/// A block that there is one reference more to.
#[derive(Debug, Serialize)]
pub struct Got {
    pfn: u64,
    order: u32,
    nid: i32,
    zone: u32,
    zone_name: &'static str,
    references: u32,
}

impl Got {
    /// Takes the reference.
    pub fn of(device: &Device, pfn: u64) -> Result<(Block<'_>, Self)> {
        let block = device.get(pfn)?;
        let references = device.page(pfn)?.count;
        let got = Self {
            pfn,
            order: block.order(),
            nid: block.nid(),
            zone: block.zone(),
            zone_name: zone_name(block.zone()),
            references,
        };
        Ok((block, got))
    }
}

impl Report for Got {
    fn print(&self, screen: &mut Screen) {
        screen.para(&format!(
            "The block of order {} from page {}, node {}, zone {}, has {} now.",
            self.order,
            self.pfn,
            self.nid,
            self.zone_name,
            plural(self.references.into(), "reference")
        ));
    }
}

/// A block that there is one reference less to.
#[derive(Debug, Serialize)]
pub struct Put {
    pfn: u64,
    references: u32,
}

impl Put {
    /// Gives the reference up.
    pub fn of(device: &Device, pfn: u64) -> Result<Self> {
        let references = device.put(pfn)?;
        Ok(Self { pfn, references })
    }
}

impl Report for Put {
    fn print(&self, screen: &mut Screen) {
        screen.para(&match self.references {
            0 => format!("The block from page {} is free.", self.pfn),
            left => format!(
                "The block from page {} has {} left.",
                self.pfn,
                plural(left.into(), "reference")
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn they_fit_and_their_keys_stay() {
        let freed = Freed {
            pfn: 4096,
            order: 3,
            freed: true,
        };
        testing::fits(&freed);
        testing::keys(&freed, "freed order pfn");
        let split = Split {
            pfn: 4096,
            order: 10,
            to: 0,
            pieces: 1024,
        };
        testing::fits(&split);
        testing::keys(&split, "order pfn pieces to");
        assert!(testing::text(&split, 100).contains("1,024 blocks of order 0"));
        let merged = Merged {
            pfn: 4096,
            order: 3,
            pieces: 2,
        };
        testing::fits(&merged);
        testing::keys(&merged, "order pfn pieces");
        let got = Got {
            pfn: 4096,
            order: 3,
            nid: 1,
            zone: 2,
            zone_name: zone_name(2),
            references: 2,
        };
        testing::fits(&got);
        testing::keys(&got, "nid order pfn references zone zone_name");
        for (references, told) in [(0, "is free"), (1, "1 reference left"), (3, "3 references")] {
            let put = Put {
                pfn: 4096,
                references,
            };
            testing::fits(&put);
            testing::keys(&put, "pfn references");
            assert!(testing::text(&put, 100).contains(told), "{told}");
        }
    }
}
