// SPDX-License-Identifier: GPL-2.0

//! Turning the knobs of a running shadow.
//!
//! ```text
//! text -> Tunables::read()     refused: nothing has changed
//!   nodes.set_tunables()       what the allocator looks up as it goes
//!   watermark::retune()        watermarks, reserves
//!   setup_pagesets()           what CPUs keep
//!   refresh_gates()            the short ways know the new watermarks
//!   trigger_proactive_..()     kcompactd looks at once
//! ```
//!
//! It is done with the whole boot at hand, so nobody allocates meanwhile.

use super::Boot;
use super::Mm;
use super::Phase;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use crate::tunables::Tunable;
use crate::tunables::Values;
use crate::watermark;

impl<P: Platform> Boot<'_, P> {
    /// Where a knob is.
    ///
    /// # Errors
    ///
    /// Those of [`Boot::mm`].
    pub fn tunable(&self, which: Tunable) -> Result<Values> {
        Ok(self.mm()?.tunable(which))
    }

    /// Turns a knob as the text says that is written to its file, and says how
    /// much of the text was read.
    ///
    /// # Errors
    ///
    /// Those of [`Boot::mm`] and of [`crate::tunables::Tunables::read`]; nothing
    /// has changed then.
    pub fn tune(&mut self, which: Tunable, text: &str) -> Result<usize> {
        self.mm()?;
        let Phase::Running(mm) = &mut self.phase else {
            return Err(Error::StageOrder);
        };
        let mut tunables = mm.tunables;
        let read = tunables.read(which, text)?;
        mm.tunables = tunables;
        self.retuned(which)?;
        Ok(read)
    }

    /// Turns the knobs that the owner wants elsewhere, once the shadow runs: as
    /// `sysctl.vm.NAME=` on a kernel's command line does.
    pub(super) fn tune_as_configured(&mut self) -> Result<()> {
        for (which, wanted) in Tunable::ALL.into_iter().zip(self.machine.config.tunables) {
            if let (Some(values), Phase::Running(mm)) = (wanted, &mut self.phase) {
                mm.tunables.set(which, values);
                self.retuned(which)?;
            }
        }
        Ok(())
    }

    /// What follows from a knob that was turned.
    fn retuned(&mut self, which: Tunable) -> Result<()> {
        let Phase::Running(mm) = &mut self.phase else {
            return Err(Error::StageOrder);
        };
        watermark::retune(mm.nodes, &mm.tunables, &mut mm.reserves, which);
        mm.nodes.set_tunables(&mm.tunables);
        let (nodes, eager) = (mm.nodes, mm.tunables.compaction_proactiveness != 0);
        match which {
            Tunable::WatermarkBoostFactor | Tunable::ExtfragThreshold => {}
            Tunable::CompactionProactiveness if !eager => {}
            Tunable::CompactionProactiveness => {
                let buddy = mm.buddy();
                for node in nodes.online() {
                    buddy.trigger_proactive_compaction(node.node_id);
                }
            }
            Tunable::LowmemReserveRatio => mm.buddy().refresh_gates(),
            Tunable::MinFreeKbytes
            | Tunable::WatermarkScaleFactor
            | Tunable::PercpuPagelistHighFraction
            | Tunable::TransparentHugepages => {
                self.update_pagesets(None)?;
                self.mm()?.buddy().refresh_gates();
            }
        }
        Ok(())
    }
}

impl<P: Platform> Mm<'_, P> {
    /// Where a knob is. `min_free_kbytes` is what the watermarks were made from,
    /// whoever has set it.
    pub fn tunable(&self, which: Tunable) -> Values {
        match which {
            Tunable::MinFreeKbytes => {
                let kbytes = u32::try_from(self.reserves.min_free_kbytes);
                Values::one(kbytes.unwrap_or(u32::MAX))
            }
            _ => self.tunables.values(which),
        }
    }
}
