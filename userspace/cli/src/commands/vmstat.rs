// SPDX-License-Identifier: GPL-2.0

//! `shadowmm vmstat`: the counters of `/proc/vmstat`.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Counter;
use shadowmm_client::Device;

/// The counters.
#[derive(Debug, Serialize)]
pub struct VmstatReport {
    counters: Vec<Counter>,
    /// Whether those that are zero are shown.
    #[serde(skip)]
    all: bool,
}

impl VmstatReport {
    /// Asks for them.
    pub fn read(device: &Device, all: bool) -> Result<Self> {
        Ok(Self {
            counters: device.vmstat()?,
            all,
        })
    }
}

impl Report for VmstatReport {
    fn print(&self, screen: &mut Screen) {
        let mut table = Table::new([Column::text("counter"), Column::number("value")]);
        let shown = |counter: &&Counter| self.all || counter.value > 0;
        for counter in self.counters.iter().filter(shown) {
            table.row([counter.name.clone(), counter.value.to_string()]);
        }
        table.print(screen);
        if !self.all {
            let zero = self.counters.iter().filter(|it| it.value == 0).count();
            screen.para(&format!("The other {zero} are zero; --all shows them."));
        }
    }
}

/// Shows the counters.
pub fn run(context: &Context, all: bool) -> Result<()> {
    context.show(&VmstatReport::read(&context.open()?, all)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample(all: bool) -> VmstatReport {
        let counter = |name: &str, value| Counter {
            name: name.to_owned(),
            value,
        };
        VmstatReport {
            counters: vec![
                counter("nr_free_pages", 129_000),
                counter("compact_daemon_migrate_scanned", 0),
            ],
            all,
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        for all in [false, true] {
            testing::fits(&sample(all));
            testing::keys(&sample(all), "counters counters[].name counters[].value");
        }
    }

    #[test]
    fn zeros_are_shown_on_request() {
        assert!(!testing::text(&sample(false), 80).contains("compact_daemon"));
        assert!(testing::text(&sample(false), 80).contains("The other 1 are zero"));
        assert!(testing::text(&sample(true), 80).contains("compact_daemon"));
    }
}
