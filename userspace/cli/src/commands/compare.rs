// SPDX-License-Identifier: GPL-2.0

//! `shadowmm compare`: the shadow's free memory beside the host's.

use super::buddy::ORDERS;
use crate::args;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::fragmentation;
use crate::fragmentation::Indices;
use crate::host::buddyinfo;
use crate::host::buddyinfo::ZoneBlocks;
use crate::render::milli;
use crate::render::plural;
use crate::render::signed;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Device;
use shadowmm_client::Zone;
use shadowmm_client::NR_ORDERS;

/// All zones that the host or the shadow has.
#[derive(Debug, Serialize)]
pub struct CompareReport {
    zones: Vec<Pair>,
}

/// One zone of the host and the shadow's zone of the same name and node.
#[derive(Debug, Serialize)]
struct Pair {
    nid: i32,
    name: String,
    host: Option<Side>,
    shadow: Option<Side>,
    difference: Option<Difference>,
}

/// The free memory of one zone.
#[derive(Debug, Serialize)]
struct Side {
    free_pages: u64,
    largest_free_order: Option<u32>,
    nr_free: [u64; NR_ORDERS],
    unusable_index: Indices,
    fragmentation_index: Indices,
}

/// The shadow less the host.
#[derive(Debug, Serialize)]
struct Difference {
    free_pages: i64,
    nr_free: [i64; NR_ORDERS],
    unusable_index: Indices,
    fragmentation_index: Indices,
}

impl Side {
    fn of(nr_free: &[u64; NR_ORDERS]) -> Self {
        Self {
            free_pages: fragmentation::free_pages(nr_free),
            largest_free_order: fragmentation::largest_free_order(nr_free),
            nr_free: *nr_free,
            unusable_index: Indices(fragmentation::unusable_indices(nr_free)),
            fragmentation_index: Indices(fragmentation::fragmentation_indices(nr_free)),
        }
    }
}

impl Difference {
    fn of(shadow: &Side, host: &Side) -> Self {
        let indices = |ours: Indices, theirs: Indices| {
            Indices(std::array::from_fn(|order| ours.0[order] - theirs.0[order]))
        };
        Self {
            free_pages: shadow.free_pages.wrapping_sub(host.free_pages) as i64,
            nr_free: std::array::from_fn(|order| {
                shadow.nr_free[order].wrapping_sub(host.nr_free[order]) as i64
            }),
            unusable_index: indices(shadow.unusable_index, host.unusable_index),
            fragmentation_index: indices(shadow.fragmentation_index, host.fragmentation_index),
        }
    }
}

/// The zone of that node and name.
fn find(zones: &[ZoneBlocks], nid: i32, name: &str) -> Option<Side> {
    zones
        .iter()
        .find(|zone| zone.nid == nid && zone.name == name)
        .map(|zone| Side::of(&zone.nr_free))
}

/// The place of a zone among those of its node.
fn rank(name: &str) -> usize {
    let kinds = ["DMA", "DMA32", "Normal", "Movable", "Device"];
    kinds
        .iter()
        .position(|kind| *kind == name)
        .unwrap_or(kinds.len())
}

impl CompareReport {
    /// Looks at both.
    pub fn read(context: &Context, device: &Device) -> Result<Self> {
        let host = buddyinfo::read(&context.root)?;
        Ok(Self::of(&host, &device.zones()?))
    }

    fn of(host: &[ZoneBlocks], shadow: &[Zone]) -> Self {
        let shadow: Vec<ZoneBlocks> = shadow
            .iter()
            .filter(|zone| zone.present_pages > 0)
            .map(|zone| ZoneBlocks {
                nid: zone.nid,
                name: zone.name.clone(),
                nr_free: zone.nr_free,
            })
            .collect();
        let mut places: Vec<(i32, usize, &str)> = host
            .iter()
            .chain(&shadow)
            .map(|zone| (zone.nid, rank(&zone.name), zone.name.as_str()))
            .collect();
        places.sort_unstable();
        places.dedup();
        let pair = |(nid, _, name): (i32, usize, &str)| {
            let (host, shadow) = (find(host, nid, name), find(&shadow, nid, name));
            let difference = match (&shadow, &host) {
                (Some(shadow), Some(host)) => Some(Difference::of(shadow, host)),
                _ => None,
            };
            Pair {
                nid,
                name: name.to_owned(),
                host,
                shadow,
                difference,
            }
        };
        Self {
            zones: places.into_iter().map(pair).collect(),
        }
    }

    /// The free blocks of all zones, two lines for each.
    pub fn blocks(&self) -> Table {
        let mut columns = vec![
            Column::number("node"),
            Column::text("zone"),
            Column::text("whose"),
        ];
        columns.extend(ORDERS.map(Column::number));
        let mut table = Table::new(columns).tight();
        for pair in &self.zones {
            for (whose, side) in [("host", &pair.host), ("shadow", &pair.shadow)] {
                if let Some(side) = side {
                    let mut row = vec![pair.nid.to_string(), pair.name.clone(), whose.to_owned()];
                    row.extend(side.nr_free.iter().map(u64::to_string));
                    table.row(row);
                }
            }
        }
        table
    }

    /// One line for each zone, with the indices at `order`.
    pub fn summary(&self, order: usize) -> Table {
        let mut table = Table::new([
            Column::number("node"),
            Column::text("zone"),
            Column::number("free pages\nhost"),
            Column::number("free pages\nshadow"),
            Column::number("largest\nhost"),
            Column::number("largest\nshadow"),
            Column::number("unusable\nhost"),
            Column::number("unusable\nshadow"),
        ]);
        for pair in &self.zones {
            let both = |text: &dyn Fn(&Side) -> String| {
                [&pair.host, &pair.shadow].map(|side| side.as_ref().map_or("-".to_owned(), text))
            };
            let mut row = vec![pair.nid.to_string(), pair.name.clone()];
            row.extend(both(&|side| side.free_pages.to_string()));
            row.extend(both(&|side| largest(side.largest_free_order)));
            row.extend(both(&|side| {
                side.unusable_index
                    .0
                    .get(order)
                    .map_or(String::new(), |&index| milli(index))
            }));
            table.row(row);
        }
        table
    }
}

fn largest(order: Option<u32>) -> String {
    order.map_or("none".to_owned(), |order| order.to_string())
}

impl Pair {
    fn print(&self, screen: &mut Screen) {
        screen.heading(&format!("Node {}, zone {}", self.nid, self.name));
        let told = |side: &Side| {
            format!(
                "{}, largest free order {}",
                plural(side.free_pages, "free page"),
                largest(side.largest_free_order)
            )
        };
        let host = self.host.as_ref().map_or("no such zone".to_owned(), told);
        let shadow = self.shadow.as_ref().map_or("no such zone".to_owned(), told);
        let difference = self
            .difference
            .as_ref()
            .map_or(String::new(), |difference| {
                format!("; difference {} pages", signed(difference.free_pages))
            });
        screen.para(&format!("host: {host}; shadow: {shadow}{difference}"));
        self.table().print(screen);
    }

    fn table(&self) -> Table {
        let difference = self.difference.as_ref();
        match (&self.host, &self.shadow, difference) {
            (Some(host), Some(shadow), Some(difference)) => both(host, shadow, difference),
            (Some(side), ..) | (None, Some(side), _) => one(side),
            _ => Table::new([]),
        }
    }
}

/// A zone that both have: side by side, with differences.
fn both(host: &Side, shadow: &Side, difference: &Difference) -> Table {
    let mut table = Table::new([
        Column::number("order"),
        Column::number("blocks\nhost"),
        Column::number("blocks\nshadow"),
        Column::number("blocks\ndiff"),
        Column::number("unusable\nhost"),
        Column::number("unusable\nshadow"),
        Column::number("unusable\ndiff"),
        Column::number("fragm.\nhost"),
        Column::number("fragm.\nshadow"),
        Column::number("fragm.\ndiff"),
    ])
    .tight();
    for order in 0..NR_ORDERS {
        table.row([
            order.to_string(),
            host.nr_free[order].to_string(),
            shadow.nr_free[order].to_string(),
            signed(difference.nr_free[order]),
            milli(host.unusable_index.0[order]),
            milli(shadow.unusable_index.0[order]),
            milli(difference.unusable_index.0[order]),
            milli(host.fragmentation_index.0[order]),
            milli(shadow.fragmentation_index.0[order]),
            milli(difference.fragmentation_index.0[order]),
        ]);
    }
    table
}

/// A zone that only one has.
fn one(side: &Side) -> Table {
    let mut table = Table::new([
        Column::number("order"),
        Column::number("blocks"),
        Column::number("unusable"),
        Column::number("fragm."),
    ]);
    for order in 0..NR_ORDERS {
        table.row([
            order.to_string(),
            side.nr_free[order].to_string(),
            milli(side.unusable_index.0[order]),
            milli(side.fragmentation_index.0[order]),
        ]);
    }
    table
}

impl Report for CompareReport {
    fn print(&self, screen: &mut Screen) {
        for (number, pair) in self.zones.iter().enumerate() {
            if number > 0 {
                screen.blank();
            }
            pair.print(screen);
        }
        screen.blank();
        screen.para("unusable: how much of the free memory a request of that order cannot use, 0 to 1. fragm.: why it would fail, 0 for lack of memory, 1 for fragmentation; -1.000 if it would not fail.");
    }
}

/// Compares once, or again and again.
pub fn run(context: &Context, args: &args::Compare) -> Result<()> {
    let device = context.open()?;
    let Some(seconds) = args.watch else {
        return context.show(&CompareReport::read(context, &device)?);
    };
    context.watch(seconds, args.count, || {
        CompareReport::read(context, &device)
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    fn host(nid: i32, name: &str, blocks: u64) -> ZoneBlocks {
        let mut nr_free = [0; NR_ORDERS];
        nr_free[0] = blocks;
        ZoneBlocks {
            nid,
            name: name.to_owned(),
            nr_free,
        }
    }

    pub fn sample() -> CompareReport {
        CompareReport::of(
            &[host(0, "DMA32", 7), host(0, "DMA", 8), host(1, "Normal", 0)],
            &testing::zones(),
        )
    }

    #[test]
    fn zones_meet_by_node_and_name_in_linuxs_order() {
        let report = sample();
        let names: Vec<_> = report
            .zones
            .iter()
            .map(|pair| {
                let there = (pair.host.is_some(), pair.shadow.is_some());
                (pair.nid, pair.name.as_str(), there)
            })
            .collect();
        assert_eq!(
            names,
            [
                (0, "DMA", (true, true)),
                (0, "DMA32", (true, false)),
                (0, "Normal", (false, true)),
                (1, "Normal", (true, false)),
                (1, "Movable", (false, true)),
            ]
        );
    }

    #[test]
    fn differences_are_the_shadow_less_the_host() {
        let report = sample();
        let difference = report.zones[0].difference.as_ref().expect("both are there");
        // One block of each order against eight of order 0.
        assert_eq!(difference.free_pages, 2047 - 8);
        assert_eq!(difference.nr_free[0], 1 - 8);
        assert_eq!(difference.nr_free[10], 1);
        assert_eq!(difference.unusable_index.0[0], 0);
        // Of 2047 pages 1 is no use to order 1; of the host's 8 all.
        assert_eq!(difference.unusable_index.0[1], -1000);
        assert!(report.zones[1].difference.is_none());
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        testing::fits(&sample());
        assert!(
            testing::text(&sample(), 80).contains("unusable"),
            "80 columns have the table"
        );
        let side = |side: &str| {
            [
                "free_pages",
                "fragmentation_index",
                "largest_free_order",
                "nr_free",
                "unusable_index",
            ]
            .map(|key| format!("zones[].{side}.{key} "))
            .concat()
        };
        testing::keys(
            &sample(),
            &format!(
                "zones zones[].nid zones[].name zones[].host zones[].shadow zones[].difference \
                 {}{} zones[].difference.free_pages zones[].difference.nr_free \
                 zones[].difference.unusable_index zones[].difference.fragmentation_index",
                side("host"),
                side("shadow")
            ),
        );
        let json = serde_json::to_value(sample()).expect("JSON");
        assert_eq!(json["zones"][0]["host"]["unusable_index"][1], 1.0);
    }
}
