// SPDX-License-Identifier: GPL-2.0

//! `shadowmm status`: one look at everything important.

use super::cosmos;
use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::host::machine::Clock;
use crate::render::bytes;
use crate::render::count;
use crate::render::pages;
use crate::render::percent;
use crate::render::plural;
use crate::render::Column;
use crate::render::Fields;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Counter;
use shadowmm_client::ObjectsBy;
use shadowmm_client::Reason;
use shadowmm_client::RegionSource;
use shadowmm_client::Stage;
use shadowmm_client::Status;
use shadowmm_client::Version;
use shadowmm_client::PAGE_SIZE;
use shadowmm_core::allocator::AllocatorKind;

/// Who is there, how it is, and what it has refused.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    #[serde(flatten)]
    version: Version,
    #[serde(flatten)]
    status: Status,
    /// Who has the pages, once the boot has handed them over.
    allocator: Option<&'static str>,
    /// Who makes objects of them, from then on.
    objects: Option<&'static str>,
    refusals: Vec<Refusal>,
    #[serde(skip)]
    clock: Clock,
}

/// An error that has been the answer.
#[derive(Debug, Serialize)]
struct Refusal {
    #[serde(flatten)]
    counter: Counter,
    text: &'static str,
}

impl StatusReport {
    fn read(context: &Context) -> Result<Self> {
        let device = context.open()?;
        let refusals = device.refusals()?;
        Ok(Self {
            version: device.version()?,
            status: device.status()?,
            allocator: cosmos::allocator(&device)?.map(AllocatorKind::name),
            objects: cosmos::objects(&device)?.map(ObjectsBy::name),
            clock: Clock::read(&context.root),
            refusals: refusals
                .into_iter()
                .filter(|counter| counter.value > 0)
                .map(|counter| Refusal {
                    text: sentence(&counter.name),
                    counter,
                })
                .collect(),
        })
    }
}

/// The sentence of the error with this name.
fn sentence(name: &str) -> &'static str {
    Reason::ALL
        .iter()
        .find(|reason| reason.name() == name)
        .map_or("", |reason| reason.sentence())
}

impl Report for StatusReport {
    fn print(&self, screen: &mut Screen) {
        let Self {
            version, status, ..
        } = self;
        screen.heading(&format!(
            "shadowmm {} in Linux {}",
            version.release, version.kernel
        ));
        let mut fields = Fields::default();
        fields.add(
            "boot",
            format!(
                "{} ({}), in {}",
                status.stage.name(),
                cosmos::stage_text(status.stage, self.allocator),
                self.clock.tell(status.stage_ns.iter().sum())
            ),
        );
        fields.add(
            "map",
            format!(
                "{}: {} of RAM, scaled to {}",
                status.map_source.text(),
                bytes(status.original_ram_bytes),
                pages(status.ram_pages)
            ),
        );
        fields.add(
            "region",
            format!(
                "{} from {}",
                pages(status.backing_pages),
                source_text(status.region_source)
            ),
        );
        if let Some(refusal) = status.crash_refusal {
            fields.add("crash kernel", format!("none, because {refusal}"));
        }
        if status.stage >= Stage::Paging {
            fields.add(
                "descriptors",
                format!(
                    "{} bytes for each page, Linux {}; {} in all",
                    status.descriptor_size,
                    status.host_descriptor_size,
                    bytes(status.descriptor_bytes)
                ),
            );
            fields.add(
                "metadata",
                format!(
                    "{}, {} of the region",
                    bytes(status.metadata_bytes),
                    percent(
                        status.metadata_bytes,
                        status.backing_pages.saturating_mul(PAGE_SIZE)
                    )
                ),
            );
        }
        if status.stage >= Stage::Zones {
            fields.add("nodes", status.nr_nodes.to_string());
        }
        if let Some(allocator) = self.allocator {
            fields.add("pages by", who(allocator));
        }
        if let Some(objects) = self.objects {
            fields.add("objects by", who(objects));
        }
        if status.stage == Stage::Handoff {
            fields.add("managed", size(status.managed_pages));
            fields.add("free", size(status.free_pages));
        }
        fields.add(
            "held",
            format!(
                "{} by {}, this one included",
                plural(status.held_pages, "page"),
                plural(status.open_files.into(), "open file"),
            ),
        );
        fields.print(screen);
        screen.blank();
        if self.refusals.is_empty() {
            screen.para("No request has been refused.");
        } else {
            screen.heading("Requests that were refused");
            let mut table = Table::new([
                Column::number("times"),
                Column::text("error"),
                Column::text("why"),
            ]);
            for refusal in &self.refusals {
                table.row([
                    count(refusal.counter.value),
                    refusal.counter.name.clone(),
                    refusal.text.to_owned(),
                ]);
            }
            table.print(screen);
        }
        if status.stage != Stage::Handoff {
            screen.blank();
            screen.para("'shadowmm boot' runs the stages that are left, 'shadowmm boot --step' the next one.");
        }
    }
}

/// An allocator by its name, as the module's parameter has it, and whose it is.
fn who(name: &str) -> String {
    let whose = match name {
        "buddy" => "the buddy system, as in Linux",
        "slab" => "the slab layer, as in Linux",
        "cosmos" => "Cosmos's division and merging ('shadowmm cosmos')",
        "kmsob" => "Cosmos's containers ('shadowmm cosmos')",
        _ => return name.to_owned(),
    };
    format!("{name}: {whose}")
}

/// Where the region's memory comes from, as in "from …".
pub fn source_text(source: RegionSource) -> &'static str {
    match source {
        RegionSource::Cma => "CMA",
        RegionSource::Contig => "alloc_contig_pages()",
    }
}

fn size(number: u64) -> String {
    format!("{}, {}", plural(number, "page"), pages(number))
}

/// Shows the status.
pub fn run(context: &Context) -> Result<()> {
    context.show(&StatusReport::read(context)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> StatusReport {
        StatusReport {
            version: Version {
                abi: 1,
                release: "0.1.0".to_owned(),
                kernel: "7.3.4".to_owned(),
            },
            status: testing::status(),
            allocator: Some(AllocatorKind::Cosmos.name()),
            objects: Some(ObjectsBy::Slab.name()),
            clock: Clock::Emulator,
            refusals: vec![Refusal {
                counter: Counter {
                    name: "NotOwner".to_owned(),
                    value: 3,
                },
                text: sentence("NotOwner"),
            }],
        }
    }

    #[test]
    fn refusals_have_their_sentence() {
        assert!(sentence("NotOwner").contains("another open file"));
        assert_eq!(sentence("Cheese"), "");
    }

    #[test]
    fn both_allocators_are_named_once_they_are_at_work() {
        let text = testing::text(&sample(), 200);
        assert!(text.contains("\npages by     cosmos: Cosmos's"), "{text}");
        assert!(
            text.contains("\nobjects by   slab: the slab layer"),
            "{text}"
        );
        assert!(text.contains("in 366.0 µs under emulation"), "{text}");
        let early = StatusReport {
            allocator: None,
            objects: None,
            ..sample()
        };
        assert!(!testing::text(&early, 80).contains("\npages by"));
        for kind in AllocatorKind::ALL {
            assert!(who(kind.name()).contains(": "), "{kind:?}");
        }
        for by in [ObjectsBy::Slab, ObjectsBy::Kmsob] {
            assert!(who(by.name()).contains(": "), "{by:?}");
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        testing::fits(&sample());
        testing::keys(
            &sample(),
            "abi allocator backing_pages crash_refusal descriptor_bytes descriptor_size free_pages held_pages \
             host_descriptor_size kernel managed_pages map_source metadata_bytes nr_nodes \
             objects open_files original_ram_bytes ram_pages refusals refusals[].name refusals[].text \
             refusals[].value region_source release section_order stage stage_ns",
        );
    }
}
