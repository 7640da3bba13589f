// SPDX-License-Identifier: GPL-2.0

//! How long it takes to find a VMA, beside the host's maple tree.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use shadowmm_abi as abi;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupMeasured {
    /// Lookups in a block.
    pub operations: u32,
    /// How often the time-stamp counter counts, in kHz.
    pub tsc_khz: u32,
    /// VMAs of the window, and ranges of the host's tree.
    pub vmas: u32,
    /// What each block of the shadow took, by that counter.
    pub shadow: Vec<u64>,
    /// What each block of the host took.
    pub host: Vec<u64>,
}

impl Device {
    /// Finds the VMAs of this process's window, and the same ranges in a maple tree, at
    /// addresses drawn by lot, in so many blocks of each. A signal ends it early.
    pub fn bench_lookup(&self, blocks: u32) -> Result<LookupMeasured> {
        const WHAT: &str = "measure lookups";
        let mut shadow = vec![0u64; blocks as usize];
        let mut host = shadow.clone();
        let mut request = abi::shadowmm_bench_lookup {
            blocks,
            shadow_ticks: shadow.as_mut_ptr().expose_provenance() as u64,
            host_ticks: host.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        if request.done > blocks {
            return Err(Error::Unexpected {
                what: WHAT,
                value: request.done.into(),
            });
        }
        shadow.truncate(request.done as usize);
        host.truncate(request.done as usize);
        Ok(LookupMeasured {
            operations: request.operations,
            tsc_khz: request.tsc_khz,
            vmas: request.vmas,
            shadow,
            host,
        })
    }
}
