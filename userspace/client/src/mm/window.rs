// SPDX-License-Identifier: GPL-2.0

//! A window of this process.

use super::look::Tree;
use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use nix::errno::Errno;
use nix::libc;
use shadowmm_abi as abi;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

/// What windows are like that are opened from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowConfig {
    /// How VMAs are found; the module's own choice where none is named.
    pub tree: Option<Tree>,
    /// Mappings from below upwards, in place of from above downwards.
    pub legacy: bool,
    /// What the places are shifted by; 0 shifts nothing, unless they are by lot.
    pub seed: u64,
    /// Without a seed, places are shifted by lot.
    pub random: bool,
    /// Nothing is mapped at first, not even a stack.
    pub bare: bool,
}

/// A window: an address space of the shadow's, at addresses of this process. A child that
/// it forks has a copy. It is unmapped when it is dropped, and all that is in it goes.
#[derive(Debug)]
pub struct Window<'d> {
    device: &'d Device,
    start: usize,
    len: usize,
}

impl Device {
    /// Says what windows are like that are opened through this device from now on.
    pub fn configure_windows(&self, config: &WindowConfig) -> Result<()> {
        let mut request = abi::shadowmm_mm_config {
            op: abi::SHADOWMM_MM_CONFIG_SET,
            tree: config
                .tree
                .map_or(abi::SHADOWMM_MM_TREE_DEFAULT, Tree::number),
            layout: [
                (config.legacy, abi::SHADOWMM_MM_LEGACY),
                (config.random, abi::SHADOWMM_MM_RANDOM),
                (config.bare, abi::SHADOWMM_MM_BARE),
            ]
            .into_iter()
            .filter(|&(wanted, _)| wanted)
            .fold(0, |all, (_, bit)| all | bit),
            seed: config.seed,
            ..Default::default()
        };
        self.request("configure windows", &mut request)
    }

    /// Opens a window of `len` bytes, somewhere. A process has one through a device.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], with EBUSY where there is one already.
    pub fn window(&self, len: usize) -> Result<Window<'_>> {
        self.map_window(ptr::null_mut(), len, 0)
    }

    /// The same at an address where nothing is.
    pub fn window_at(&self, addr: usize, len: usize) -> Result<Window<'_>> {
        let place = ptr::without_provenance_mut(addr);
        self.map_window(place, len, libc::MAP_FIXED_NOREPLACE)
    }

    fn map_window(
        &self,
        place: *mut libc::c_void,
        len: usize,
        flags: libc::c_int,
    ) -> Result<Window<'_>> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | flags;
        // SAFETY: Nothing that is mapped already is replaced.
        let addr = unsafe { libc::mmap(place, len, prot, flags, self.as_raw_fd(), 0) };
        if addr == libc::MAP_FAILED {
            return Err(Error::Failed {
                what: "open a window",
                errno: Errno::last(),
            });
        }
        Ok(Window {
            device: self,
            start: addr.addr(),
            len,
        })
    }
}

impl<'d> Window<'d> {
    /// The window that a fork has left this process, or that somebody else has opened
    /// through the device; it stays when this is dropped, if that is told with
    /// [`std::mem::forget`].
    pub fn of_this_process(device: &'d Device) -> Result<Self> {
        let space = device.own_space()?;
        Ok(Self {
            device,
            start: space.window_start as usize,
            len: (space.window_end - space.window_start) as usize,
        })
    }

    /// The device that it was opened through.
    pub fn device(&self) -> &'d Device {
        self.device
    }

    /// Its addresses.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let place = ptr::without_provenance_mut(self.start);
        // SAFETY: It is ours, and whoever has pointers into it knows that it goes.
        let _ = unsafe { libc::munmap(place, self.len) };
    }
}
