// SPDX-License-Identifier: GPL-2.0

//! The host's free blocks, from `/proc/buddyinfo`.
//!
//! ```text
//! Node 0, zone    DMA32      3      2      4 …      one number for each order
//! ```

use crate::error::Error;
use crate::error::Result;
use shadowmm_client::NR_ORDERS;
use std::path::Path;

/// The free blocks of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneBlocks {
    /// The node.
    pub nid: i32,
    /// The zone's name.
    pub name: String,
    /// Free blocks by order.
    pub nr_free: [u64; NR_ORDERS],
}

/// Reads the host's file.
pub fn read(root: &Path) -> Result<Vec<ZoneBlocks>> {
    let text = super::read(root, "proc/buddyinfo")?;
    text.lines()
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                Error::failed(format!(
                    "/proc/buddyinfo has a line of another form: {line:?}"
                ))
            })
        })
        .collect()
}

/// A line. Orders that the host has and the shadow has not are not expected:
/// both keep 0 to 10. Where the host keeps fewer, the rest is 0.
fn parse_line(line: &str) -> Option<ZoneBlocks> {
    let (node, rest) = line.trim().strip_prefix("Node")?.split_once(',')?;
    let mut words = rest.trim().strip_prefix("zone")?.split_whitespace();
    let name = words.next()?.to_owned();
    let mut nr_free = [0; NR_ORDERS];
    let mut orders = nr_free.iter_mut();
    for word in words {
        *orders.next()? = word.parse().ok()?;
    }
    Some(ZoneBlocks {
        nid: node.trim().parse().ok()?,
        name,
        nr_free,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_is_read() {
        let line = "Node 1, zone   Normal    216     55    189    101     84     38     37     27      5      3    587 ";
        assert_eq!(
            parse_line(line),
            Some(ZoneBlocks {
                nid: 1,
                name: "Normal".to_owned(),
                nr_free: [216, 55, 189, 101, 84, 38, 37, 27, 5, 3, 587],
            })
        );
    }

    #[test]
    fn fewer_orders_are_filled_with_none() {
        let zone = parse_line("Node 0, zone DMA 1 2").expect("a line");
        assert_eq!(zone.nr_free[..3], [1, 2, 0]);
    }

    #[test]
    fn other_lines_are_not_taken_for_zones() {
        for line in [
            "",
            "Node",
            "Node 0 zone DMA 1",
            "Node x, zone DMA 1",
            "Node 0, zone",
            "Node 0, zone DMA one",
            "Node 0, zone DMA 1 2 3 4 5 6 7 8 9 10 11 12",
        ] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }
}
