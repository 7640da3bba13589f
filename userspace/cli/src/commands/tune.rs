// SPDX-License-Identifier: GPL-2.0

//! `shadowmm tune`: the knobs of `/proc/shadowmm/vm`, beside the host's.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_core::tunables::Tunable;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// A knob.
#[derive(Debug, Serialize)]
struct Knob {
    name: &'static str,
    /// One, or one for each kind of zone.
    values: Vec<u64>,
    /// Where the host has it, if it has it as a file.
    host_values: Option<Vec<u64>>,
    least: u32,
    most: u32,
}

#[derive(Debug, Serialize)]
struct Tuned {
    tunables: Vec<Knob>,
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
        for knob in &self.tunables {
            let most = match knob.most {
                most if most == i32::MAX as u32 => "and more".to_owned(),
                most => format!("to {most}"),
            };
            table.row([
                knob.name.to_owned(),
                list(&knob.values),
                knob.host_values.as_deref().map_or("-".to_owned(), list),
                format!("{} {most}", knob.least),
            ]);
        }
        table.print(screen);
    }
}

/// The values of a knob's file.
fn parse(text: &str) -> Option<Vec<u64>> {
    let values = text.split_ascii_whitespace().map(|word| word.parse().ok());
    values.collect()
}

fn file(context: &Context, which: Tunable) -> PathBuf {
    context.root.join("proc/shadowmm/vm").join(which.name())
}

fn read(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    parse(&text).ok_or_else(|| Error::failed(format!("{} is not a number", path.display())))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("could not {what} {}: {error}", path.display()))
}

fn knob(context: &Context, which: Tunable) -> Result<Knob> {
    let (least, most) = which.range();
    let host = context.root.join("proc/sys/vm").join(which.name());
    let host = fs::read_to_string(host).ok();
    Ok(Knob {
        name: which.name(),
        values: read(&file(context, which))?,
        host_values: host.and_then(|text| parse(&text)),
        least,
        most,
    })
}

/// Shows all knobs or one, or turns one and shows it.
pub fn run(context: &Context, what: Option<&str>) -> Result<()> {
    // Says what is amiss where the module is not there.
    context.open()?;
    let Some(what) = what else {
        let tunables = Tunable::ALL.map(|which| knob(context, which));
        let tunables = tunables.into_iter().collect::<Result<_>>()?;
        return context.show(&Tuned { tunables });
    };
    let (name, value) = match what.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (what, None),
    };
    let which = Tunable::from_name(name.trim_start_matches("vm."));
    let which = which.ok_or_else(|| {
        Error::failed(format!("there is no knob {name:?}"))
            .with_advice("shadowmm tune shows all that there are.")
    })?;
    if let Some(value) = value {
        let path = file(context, which);
        let text = value.replace(',', " ");
        fs::write(&path, text).map_err(|error| {
            let (least, most) = which.range();
            failed("turn", &path, &error)
                .with_advice(format!("It takes whole numbers from {least} to {most}."))
        })?;
    }
    let tunables = vec![knob(context, which)?];
    context.show(&Tuned { tunables })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> Tuned {
        let knob = |name, values: &[u64], host: Option<&[u64]>, most| Knob {
            name,
            values: values.to_vec(),
            host_values: host.map(<[u64]>::to_vec),
            least: 0,
            most,
        };
        let tunables = vec![
            knob(
                "lowmem_reserve_ratio",
                &[256, 256, 32, 0, 0],
                Some(&[256, 256, 32, 0, 0]),
                2_147_483_647,
            ),
            knob("transparent_hugepages", &[1], None, 1),
        ];
        Tuned { tunables }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        testing::fits(&sample());
        testing::keys(
            &sample(),
            "tunables tunables[].name tunables[].values tunables[].host_values tunables[].least tunables[].most",
        );
        assert!(testing::text(&sample(), 80).contains("256 256 32 0 0"));
    }

    #[test]
    fn files_have_one_number_or_more() {
        assert_eq!(parse("67584\n"), Some(vec![67584]));
        assert_eq!(parse("256\t256\t32\n"), Some(vec![256, 256, 32]));
        assert_eq!(parse("many\n"), None);
    }
}
