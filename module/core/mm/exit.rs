// SPDX-License-Identifier: GPL-2.0

//! The end of an address space: all pages and all tables go (`exit_mmap`).

use super::host::HostTable;
use super::system::AddressSpace;
use super::types::VirtRange;
use super::zap::Puts;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Takes all pages out of the tables and gives these back, in one walk that asks no
    /// VMA. The caller is the last who has the space; the window may be mapped still.
    pub fn exit_tables(&self, host: &dyn HostTable) {
        let cells = self.cells;
        cells.note_hiwater_rss();
        host.zap(VirtRange::new(
            cells.window_start.load(Relaxed),
            cells.window_end.load(Relaxed),
        ));
        let mut puts = Puts::new(&self.system);
        self.tables().drop_all(&mut |entry| puts.put(entry));
        for count in &cells.rss {
            count.store(0, Relaxed);
        }
        cells.rest_pages.store(0, Relaxed);
    }
}
