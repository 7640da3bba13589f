// SPDX-License-Identifier: GPL-2.0

//! What the owner wants of a boot.

use crate::allocator::AllocatorKind;
use crate::error::Error;
use crate::error::Result;
use crate::firmware::parse_crashkernel;
use crate::firmware::CrashKernel;
use crate::phys::Bytes;
use crate::slab::ObjectAllocatorKind;
use crate::slab::SlabConfig;
use crate::slices;
use crate::tunables::Tunable;
use crate::tunables::Tunables;
use crate::tunables::Values;
use crate::tunables::NR_TUNABLES;
use crate::zone::ZoneConfig;

/// How long the text of a parameter may be.
pub const MAX_PARAMETER: usize = 120;

/// What the owner wants of the boot.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which zones there are, and how large.
    pub zones: ZoneConfig,
    /// The crash kernel's memory.
    pub crashkernel: CrashParameter,
    /// Whether CPUs keep free pages of their own, as they do in Linux. Then a
    /// page that was freed shows in `buddyinfo` only when it is drained.
    pub pagesets: bool,
    /// Who gets the pages at the hand-off.
    pub allocator: AllocatorKind,
    /// Where the knobs are to be once the shadow runs, by [`Tunable`]; `None`
    /// where the boot puts them.
    pub tunables: [Option<Values>; NR_TUNABLES],
    /// Who makes objects of them.
    pub objects: ObjectAllocatorKind,
    /// How the slab layer is to be.
    pub slab: SlabConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Config {
    /// What a boot is without anybody's wishes.
    pub const DEFAULT: Self = Self {
        zones: ZoneConfig::DEFAULT,
        crashkernel: CrashParameter::NONE,
        pagesets: false,
        allocator: AllocatorKind::Buddy,
        tunables: [None; NR_TUNABLES],
        objects: ObjectAllocatorKind::Slab,
        slab: SlabConfig::DEFAULT,
    };

    /// Wants a knob where the text says.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when its file would not take the text, or not all
    /// of it.
    pub fn set_tunable(&mut self, which: Tunable, text: &str) -> Result<()> {
        let mut tunables = Tunables::DEFAULT;
        if tunables.read(which, text)? != text.len() {
            return Err(Error::BadParameter);
        }
        if let Some(wanted) = self.tunables.get_mut(which as usize) {
            *wanted = Some(tunables.values(which));
        }
        Ok(())
    }

    /// Whether CPUs keep free pages of their own: the buddy system's.
    pub fn has_pagesets(&self) -> bool {
        self.pagesets && self.allocator == AllocatorKind::Buddy
    }
}

/// The parameter `crashkernel=`, as text: what it asks for depends on the RAM
/// of the machine that is booted, which another map can change.
#[derive(Clone, Copy, Debug)]
pub struct CrashParameter {
    text: [u8; MAX_PARAMETER],
    len: usize,
}

impl Default for CrashParameter {
    fn default() -> Self {
        Self::NONE
    }
}

impl CrashParameter {
    /// No crash kernel.
    pub const NONE: Self = Self {
        text: [0; MAX_PARAMETER],
        len: 0,
    };

    /// The parameter with this text; empty for no crash kernel.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when it is malformed or too long.
    pub fn new(text: &str) -> Result<Self> {
        let mut parameter = Self::NONE;
        let room = parameter.text.get_mut(..text.len());
        room.ok_or(Error::BadParameter)?
            .copy_from_slice(text.as_bytes());
        parameter.len = text.len();
        // Whether it is well-formed does not depend on the RAM.
        parameter.wanted(Bytes::MAX)?;
        Ok(parameter)
    }

    /// What it asks for on a machine with so much RAM; `None` for nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when it is malformed.
    pub fn wanted(&self, system_ram: Bytes) -> Result<Option<CrashKernel>> {
        let text = self.text.get(..self.len).unwrap_or(&[]);
        let text = core::str::from_utf8(text).map_err(|_| Error::BadParameter)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        // A command line may ask for nothing; a value may not.
        let is_value = text.starts_with(|c: char| c.is_ascii_digit());
        if !is_value && !slices::contains(text, "crashkernel=") {
            return Err(Error::BadParameter);
        }
        parse_crashkernel(text, system_ram)
    }
}
