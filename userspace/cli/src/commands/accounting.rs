// SPDX-License-Identifier: GPL-2.0

//! `shadowmm accounting`: where the memory went.

use crate::context::Context;
use crate::context::Report;
use crate::error::Result;
use crate::host::memory::HostMemory;
use crate::host::memory::STRUCT_PAGE;
use crate::render::bytes;
use crate::render::count;
use crate::render::percent;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::Account;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;

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

/// The same of the host, from what its firmware and its kernel show.
#[derive(Debug, Serialize)]
struct HostAccounting {
    #[serde(flatten)]
    accounting: AccountingReport,
    /// Whether `/proc/iomem` shows addresses.
    iomem_addresses: bool,
    /// By how many bytes what was found is more than there is.
    exceeds: u64,
}

impl HostAccounting {
    fn of(memory: &HostMemory) -> Self {
        let mut accounts = Vec::new();
        let mut add = |key: &str, depth, text: &str, bytes| {
            accounts.push(Account {
                key: key.to_owned(),
                text: text.to_owned(),
                depth,
                bytes,
            });
        };
        // A table of DIMMs that has less than the kernel is none to begin with.
        let installed = memory.installed.filter(|&bytes| bytes >= memory.usable);
        if let Some(installed) = installed {
            add("installed", 0, "in the DIMMs, as dmidecode says", installed);
            let firmware = installed - memory.usable;
            add("firmware", 1, "kept by the firmware", firmware);
        }
        add("usable", 0, "RAM that the firmware leaves", memory.usable);
        let mut known = memory.descriptors();
        if let Some(reserved) = memory.reserved {
            add("crash_kernel", 1, "crash kernel", reserved.crash_kernel);
            add(
                "kernel_image",
                1,
                "the kernel's code and data",
                reserved.image,
            );
            known = known.saturating_add(reserved.crash_kernel);
            known = known.saturating_add(reserved.image);
        }
        let text = format!("page descriptors, {STRUCT_PAGE} bytes a page");
        add("page_descriptors", 1, &text, memory.descriptors());
        let found = known.saturating_add(memory.total);
        let other = memory.usable.saturating_sub(found);
        add("other", 1, "what else was reserved at boot", other);
        add("managed", 0, "MemTotal, as free says", memory.total);
        Self {
            accounting: AccountingReport { accounts },
            iomem_addresses: memory.reserved.is_some(),
            exceeds: found.saturating_sub(memory.usable),
        }
    }
}

impl Report for HostAccounting {
    fn print(&self, screen: &mut Screen) {
        self.accounting.print(screen);
        screen.blank();
        let (whole, rest) = (self.accounting.whole(), self.accounting.rest());
        if rest < whole {
            let first = self.accounting.accounts.first();
            let from = match first.is_some_and(|account| account.key == "installed") {
                true => "dmidecode",
                false => "the firmware's map (dmidecode's table is not to be read)",
            };
            screen.para(&format!(
                "So free shows {} less than {from}: {}.",
                bytes(whole - rest),
                percent(whole - rest, whole)
            ));
        }
        screen.para(&format!(
            "Page descriptors are computed: {STRUCT_PAGE} bytes for each page of 4 KiB are {}.",
            percent(STRUCT_PAGE, PAGE_SIZE)
        ));
        if !self.iomem_addresses {
            screen.warning("/proc/iomem shows its addresses to root only: what the crash kernel and the kernel itself have is in the line of what else was reserved.");
        }
        if self.exceeds > 0 {
            screen.warning(&format!(
                "This is {} more than there is: memory came after the boot, or descriptors take less.",
                bytes(self.exceeds)
            ));
        }
    }
}

/// Shows the shadow's accounts, or the host's, which need no module.
pub fn run(context: &Context, host: bool) -> Result<()> {
    match host {
        true => context.show(&HostAccounting::of(&HostMemory::read(&context.root)?)),
        false => context.show(&AccountingReport::read(&context.open()?)?),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::host::memory::Reserved;
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

    const HOST: HostMemory = HostMemory {
        installed: Some(16 << 30),
        usable: 15 << 30,
        reserved: Some(Reserved {
            crash_kernel: 256 << 20,
            image: 32 << 20,
        }),
        total: 14 << 30,
    };

    /// Each sum is what is left of the one before.
    #[track_caller]
    fn adds_up(report: &HostAccounting) {
        let mut left = None;
        for account in &report.accounting.accounts {
            match (account.depth, left) {
                (0, Some(sum)) => assert_eq!(sum, account.bytes, "{}", account.key),
                (0, None) => {}
                (_, sum) => {
                    left = sum.and_then(|sum: u64| sum.checked_sub(account.bytes));
                    continue;
                }
            }
            left = Some(account.bytes);
        }
    }

    #[test]
    fn the_hosts_account_adds_up() {
        let report = HostAccounting::of(&HOST);
        adds_up(&report);
        testing::fits(&report);
        testing::keys(
            &report,
            "accounts accounts[].bytes accounts[].depth accounts[].key accounts[].text exceeds iomem_addresses",
        );
        let text = testing::text(&report, 200);
        assert!(
            text.contains("So free shows 2 GiB less than dmidecode: 12.50 %."),
            "{text}"
        );
        assert!(!text.contains("to root only"), "{text}");
        // 64 bytes of 4096, of 15 GiB.
        assert!(text.contains("-251,658,240"), "{text}");
    }

    #[test]
    fn what_the_host_does_not_show_is_said() {
        let report = HostAccounting::of(&HostMemory {
            installed: None,
            reserved: None,
            ..HOST
        });
        adds_up(&report);
        testing::fits(&report);
        let text = testing::text(&report, 200);
        assert!(text.contains("to root only"), "{text}");
        assert!(text.contains("less than the firmware's map"), "{text}");
        assert!(!text.contains("crash kernel  "), "{text}");
    }

    #[test]
    fn more_memory_than_there_is_does_not_stay_unsaid() {
        let report = HostAccounting::of(&HostMemory {
            total: 15 << 30,
            ..HOST
        });
        assert_eq!(report.exceeds, (240 + 256 + 32) << 20);
        testing::fits(&report);
        assert!(testing::text(&report, 200).contains("528 MiB more than there is"));
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
