// SPDX-License-Identifier: GPL-2.0

//! `shadowmm accounting`: where the memory went.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::render::count;
use crate::render::percent;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Account;
use shadowmm_client::Device;

/// From what dmidecode would say to what free says.
#[derive(Debug, Serialize)]
pub struct AccountingReport {
    accounts: Vec<Account>,
}

impl AccountingReport {
    /// Asks for the accounts.
    pub fn read(device: &Device) -> Result<Self> {
        Ok(Self {
            accounts: device.accounting()?,
        })
    }

    /// What there was in the beginning.
    pub fn whole(&self) -> u64 {
        let mut sums = self.accounts.iter().filter(|account| account.depth == 0);
        sums.next().map_or(0, |account| account.bytes)
    }

    /// What is left in the end.
    pub fn rest(&self) -> u64 {
        let mut sums = self.accounts.iter().filter(|account| account.depth == 0);
        sums.next_back().map_or(0, |account| account.bytes)
    }
}

impl Report for AccountingReport {
    fn print(&self, screen: &mut Screen) {
        let whole = self.whole();
        let mut table = Table::new([
            Column::text("what"),
            Column::number("bytes"),
            Column::number("of all"),
        ]);
        for account in &self.accounts {
            let sum = account.depth == 0;
            table.row([
                if sum {
                    account.text.clone()
                } else {
                    format!("  - {}", account.text)
                },
                format!(
                    "{}{}",
                    if sum || account.bytes == 0 { "" } else { "-" },
                    count(account.bytes)
                ),
                percent(account.bytes, whole),
            ]);
        }
        table.print(screen);
    }
}

/// Shows the accounts.
pub fn run(context: &Context) -> Result<()> {
    context.show(&AccountingReport::read(&context.open()?)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> AccountingReport {
        let account = |key: &str, depth, bytes| Account {
            key: key.to_owned(),
            text: format!("the memory that is called {key}"),
            depth,
            bytes,
        };
        AccountingReport {
            accounts: vec![
                account("installed", 0, 1 << 30),
                account("firmware", 1, 1 << 20),
                account("managed", 0, (1 << 30) - (1 << 20)),
            ],
        }
    }

    #[test]
    fn it_fits_and_its_keys_stay() {
        let report = sample();
        assert_eq!(report.whole(), 1 << 30);
        assert_eq!(report.rest(), (1 << 30) - (1 << 20));
        testing::fits(&report);
        testing::keys(
            &report,
            "accounts accounts[].bytes accounts[].depth accounts[].key accounts[].text",
        );
    }
}
