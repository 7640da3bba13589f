// SPDX-License-Identifier: GPL-2.0

//! `shadowmm tune`: the knobs of `/proc/shadowmm/vm`, beside the host's.
//!
//! Those of the page allocator and those of address spaces are two lists in core;
//! here they are one.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::Column;
use crate::render::Fields;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_core::mm::MmKnob;
use shadowmm_core::tunables::Tunable;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The largest number that a knob's file takes (`INT_MAX`).
const INT_MAX: u64 = i32::MAX as u64;
/// Who gets transparent huge pages, the mode in force in brackets.
const HUGEPAGE_MODES: &str = "sys/kernel/mm/transparent_hugepage/enabled";

/// One of all knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The page allocator's.
    Pages(Tunable),
    /// Address spaces'.
    Spaces(MmKnob),
}

impl Which {
    /// All of them.
    fn all() -> impl Iterator<Item = Self> {
        let pages = Tunable::ALL.into_iter().map(Self::Pages);
        pages.chain(MmKnob::ALL.into_iter().map(Self::Spaces))
    }

    /// The knob of this name, with sysctl's prefix or without.
    fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("vm.").unwrap_or(name);
        Self::all().find(|which| which.name() == name)
    }

    /// The name of its file.
    fn name(self) -> &'static str {
        match self {
            Self::Pages(which) => which.name(),
            Self::Spaces(which) => which.name(),
        }
    }

    /// The least and the largest value that its file takes.
    fn range(self) -> (u64, u64) {
        let (least, most) = match self {
            Self::Pages(which) => {
                let (least, most) = which.range();
                (least.into(), most.into())
            }
            Self::Spaces(which) => which.range(),
        };
        (least, most.min(INT_MAX))
    }

    /// What it is, and its unit.
    fn about(self) -> &'static str {
        match self {
            Self::Pages(Tunable::MinFreeKbytes) => {
                "What is kept free, in KiB: the min watermarks are made of it."
            }
            Self::Pages(Tunable::WatermarkBoostFactor) => {
                "How far a fallback between migrate types may raise the watermarks, in ten-thousandths of the high one; 0: not at all."
            }
            Self::Pages(Tunable::WatermarkScaleFactor) => {
                "The gap from one watermark to the next, in ten-thousandths of the zone."
            }
            Self::Pages(Tunable::PercpuPagelistHighFraction) => {
                "CPUs may keep one part in so many of a zone, from 8 on; 0: the kernel decides."
            }
            Self::Pages(Tunable::LowmemReserveRatio) => {
                "For each kind of zone: one page of it is kept for so many of the zones above; 0: none."
            }
            Self::Pages(Tunable::CompactionProactiveness) => {
                "How eager kcompactd is while nobody waits, in percent; 0: not at all."
            }
            Self::Pages(Tunable::ExtfragThreshold) => {
                "The fragmentation index, in thousandths, above which compaction is tried."
            }
            Self::Pages(Tunable::TransparentHugepages) => {
                "1: as much is kept free as transparent huge pages want; 0: not."
            }
            Self::Spaces(MmKnob::OvercommitMemory) => {
                "Whether more may be promised than there is: 0 a guess, 1 always, 2 never."
            }
            Self::Spaces(MmKnob::OvercommitRatio) => {
                "With overcommit_memory=2: the percentage of the memory that may be promised."
            }
            Self::Spaces(MmKnob::OvercommitKbytes) => {
                "The same in KiB, in the place of the percentage; 0: that holds."
            }
            Self::Spaces(MmKnob::UserReserveKbytes) => {
                "With overcommit_memory=2: what a process leaves to others, in KiB."
            }
            Self::Spaces(MmKnob::AdminReserveKbytes) => {
                "With overcommit_memory=2: what all leave to an administrator, in KiB."
            }
            Self::Spaces(MmKnob::MaxMapCount) => "How many VMAs an address space may have.",
            Self::Spaces(MmKnob::MmapMinAddr) => "The lowest address that may be mapped, in bytes.",
            Self::Spaces(MmKnob::LegacyVaLayout) => {
                "1: new address spaces are filled from below; 0: from the stack downwards."
            }
            Self::Spaces(MmKnob::MmapRndBits) => {
                "By how many bits of pages the place of mappings is random."
            }
            Self::Spaces(MmKnob::StackGuardGap) => {
                "What stays free below a stack, in pages; Linux has it as a boot parameter."
            }
            Self::Spaces(MmKnob::FaultAroundBytes) => {
                "What the first write to anonymous memory makes, in bytes, a power of two; Linux makes a page."
            }
            Self::Spaces(MmKnob::TransparentHugepage) => {
                "Who gets pages of 2 MiB: 0 everybody, 1 who asks by madvise, 2 nobody."
            }
        }
    }

    fn file(self, context: &Context) -> PathBuf {
        context.root.join("proc/shadowmm/vm").join(self.name())
    }

    /// The values that the host has, if it shows them.
    fn host(self, context: &Context) -> Option<Vec<u64>> {
        match self {
            Self::Spaces(MmKnob::TransparentHugepage) => {
                mode(&host::read(&context.root, HUGEPAGE_MODES).ok()?).map(|mode| vec![mode])
            }
            _ => {
                let path = format!("proc/sys/vm/{}", self.name());
                parse(&host::read(&context.root, &path).ok()?)
            }
        }
    }
}

/// A knob.
#[derive(Debug, Serialize)]
struct Knob {
    name: &'static str,
    /// One, or one for each kind of zone.
    values: Vec<u64>,
    /// Where the host shows it.
    host_values: Option<Vec<u64>>,
    least: u64,
    most: u64,
    /// What it is, and its unit.
    text: &'static str,
}

impl Knob {
    fn read(context: &Context, which: Which) -> Result<Self> {
        let (least, most) = which.range();
        Ok(Self {
            name: which.name(),
            values: read(&which.file(context))?,
            host_values: which.host(context),
            least,
            most,
            text: which.about(),
        })
    }
}

#[derive(Debug, Serialize)]
struct Tuned {
    tunables: Vec<Knob>,
}

impl Tuned {
    fn read(context: &Context, which: impl Iterator<Item = Which>) -> Result<Self> {
        let tunables = which.map(|which| Knob::read(context, which));
        Ok(Self {
            tunables: tunables.collect::<Result<_>>()?,
        })
    }
}

/// The values as people write them.
fn list(values: &[u64]) -> String {
    let values: Vec<_> = values.iter().map(u64::to_string).collect();
    values.join(" ")
}

impl Report for Tuned {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([
            Column::text("knob"),
            Column::text("shadow"),
            Column::text("host"),
            Column::text("takes"),
        ]);
        let mut about = Fields::default();
        for knob in &self.tunables {
            let most = match knob.most {
                INT_MAX => "and more".to_owned(),
                most => format!("to {most}"),
            };
            table.row([
                knob.name.to_owned(),
                list(&knob.values),
                knob.host_values.as_deref().map_or("-".to_owned(), list),
                format!("{} {most}", knob.least),
            ]);
            about.add(knob.name, knob.text);
        }
        table.print(screen);
        screen.blank();
        about.print(screen);
    }
}

/// The values of a knob's file.
fn parse(text: &str) -> Option<Vec<u64>> {
    let values = text.split_ascii_whitespace().map(|word| word.parse().ok());
    values.collect()
}

/// The number of the word in brackets, as in "always [madvise] never".
fn mode(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    words
        .position(|word| word.starts_with('['))
        .map(|mode| mode as u64)
}

fn read(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    parse(&text).ok_or_else(|| Error::failed(format!("{} is not a number", path.display())))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("could not {what} {}: {error}", path.display()))
}

/// Shows all knobs or one, or turns one and shows it.
pub fn run(context: &Context, what: Option<&str>) -> Result<()> {
    // Says what is amiss where the module is not there.
    context.open()?;
    let Some(what) = what else {
        return context.show(&Tuned::read(context, Which::all())?);
    };
    let (name, value) = match what.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (what, None),
    };
    let which = Which::from_name(name).ok_or_else(|| {
        Error::failed(format!("there is no knob {name:?}"))
            .with_advice("shadowmm tune shows all that there are.")
    })?;
    if let Some(value) = value {
        // A file that nothing is written to refuses nothing.
        if value.trim().is_empty() {
            return Err(
                Error::failed(format!("{name} is given no value")).with_advice(which.about())
            );
        }
        let path = which.file(context);
        let text = value.replace(',', " ");
        fs::write(&path, text).map_err(|error| {
            let (least, most) = which.range();
            failed("turn", &path, &error).with_advice(format!(
                "It takes whole numbers from {least} to {most}. {}",
                which.about()
            ))
        })?;
    }
    context.show(&Tuned::read(context, [which].into_iter())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::collections::BTreeSet;

    fn sample() -> Tuned {
        let knob = |which: Which| Knob {
            name: which.name(),
            values: match which {
                Which::Pages(Tunable::LowmemReserveRatio) => vec![256, 256, 32, 0, 0],
                _ => vec![which.range().0],
            },
            host_values: match which {
                Which::Pages(Tunable::LowmemReserveRatio) => Some(vec![256, 256, 32, 0, 0]),
                Which::Pages(_) => None,
                Which::Spaces(_) => Some(vec![which.range().1]),
            },
            least: which.range().0,
            most: which.range().1,
            text: which.about(),
        };
        Tuned {
            tunables: Which::all().map(knob).collect(),
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        testing::fits(&sample());
        testing::keys(
            &sample(),
            "tunables tunables[].name tunables[].values tunables[].host_values tunables[].least tunables[].most tunables[].text",
        );
        let text = testing::text(&sample(), 80);
        let row = "lowmem_reserve_ratio           256 256 32 0 0  256 256 32 0 0  0 and more";
        assert!(text.lines().any(|line| line == row), "{text}");
        // A table at 80 columns, and below it what each knob is.
        assert!(text.contains("\n\nmin_free_kbytes "), "{text}");
    }

    #[test]
    fn there_is_one_list_and_each_name_is_in_it_once() {
        let names: BTreeSet<_> = Which::all().map(Which::name).collect();
        assert_eq!(names.len(), Which::all().count());
        for which in Which::all() {
            assert_eq!(Which::from_name(which.name()), Some(which));
            let (least, most) = which.range();
            assert!(least < most && most <= INT_MAX, "{which:?}");
            assert!(which.about().ends_with('.'), "{which:?}");
        }
        let overcommit = Some(Which::Spaces(MmKnob::OvercommitMemory));
        assert_eq!(Which::from_name("vm.overcommit_memory"), overcommit);
        assert_eq!(Which::from_name("vm.vm.overcommit_memory"), None);
        assert_eq!(Which::from_name("swappiness"), None);
    }

    #[test]
    fn files_have_one_number_or_more() {
        assert_eq!(parse("67584\n"), Some(vec![67584]));
        assert_eq!(parse("256\t256\t32\n"), Some(vec![256, 256, 32]));
        assert_eq!(parse("many\n"), None);
        assert_eq!(mode("always [madvise] never\n"), Some(1));
        assert_eq!(mode("always madvise never\n"), None);
    }
}
