// SPDX-License-Identifier: GPL-2.0

//! Which objects of a cache somebody has, when it is to be destroyed.

use super::Kmsob;
use super::Owner;
use crate::buddy::PageAllocator;
use crate::platform::Platform;
use core::fmt;

/// How many are named; more help nobody, and each is looked for anew.
const MAX_NAMED: u64 = 256;

/// How wide SLUB's reports are.
const WIDTH: usize = 77;

impl<P: Platform, A: PageAllocator> Kmsob<'_, P, A> {
    /// Writes which objects of a cache somebody has, in the form of SLUB's report
    /// (`slab_bug`, `list_slab_objects`).
    pub(super) fn write_alive(&self, owner: Owner, out: &mut dyn fmt::Write) -> fmt::Result {
        let report = self.cache_report(owner).ok();
        let (name, objects) = match &report {
            Some(report) => (report.name.as_str(), report.active_objects),
            None => return Ok(()),
        };
        writeln!(out, "{:=<WIDTH$}", "")?;
        let what = "Objects remaining on __kmem_cache_shutdown()";
        writeln!(out, "BUG {name} (Not tainted): {what}")?;
        writeln!(out, "{:-<WIDTH$}\n", "")?;
        for nth in 0..objects.min(MAX_NAMED) {
            let found = self.lock().nth_of(owner, nth);
            let Ok(Some((block, object))) = found else {
                return Ok(());
            };
            let offset = object.get().wrapping_sub(block.addr().0);
            writeln!(out, "Object {object} @offset={offset}")?;
        }
        match objects.saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => writeln!(out, "and {more} more"),
        }
    }
}
