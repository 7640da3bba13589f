// SPDX-License-Identifier: GPL-2.0

//! What is noted about a region (`enum memblock_flags`).

use core::fmt;
use core::ops::BitAnd;
use core::ops::BitOr;
use core::ops::BitOrAssign;
use core::ops::Not;

/// A set of attributes of a region. The layout is C's `enum memblock_flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct MemblockFlags(pub u32);

impl MemblockFlags {
    /// Nothing special.
    pub const NONE: Self = Self(0x0);
    /// The firmware says that it may be unplugged later.
    pub const HOTPLUG: Self = Self(0x1);
    /// Mirrored by the hardware.
    pub const MIRROR: Self = Self(0x2);
    /// Not to be mapped; its pages count as reserved.
    pub const NOMAP: Self = Self(0x4);
    /// Found by a driver, not listed by the firmware.
    pub const DRIVER_MANAGED: Self = Self(0x8);
    /// Reserved, and whoever reserved it initialises the page descriptors.
    pub const RSRV_NOINIT: Self = Self(0x10);
    /// Reserved for the kernel's own use; all allocations set it.
    pub const RSRV_KERN: Self = Self(0x20);
    /// Scratch memory that kexec hands over to the next kernel.
    pub const KHO_SCRATCH: Self = Self(0x40);
    /// Reserved for huge pages.
    pub const RSRV_HUGETLB: Self = Self(0x80);

    /// The names that debugfs prints, by bit (`flagname[]`).
    pub(super) const NAMES: [&'static str; 8] = [
        "HOTPLUG",
        "MIRROR",
        "NOMAP",
        "DRV_MNG",
        "RSV_NIT",
        "RSV_KERN",
        "KHO_SCRATCH",
        "RSV_HUGETLB",
    ];

    /// Whether any of `other`'s attributes is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no attribute is set.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for MemblockFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for MemblockFlags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl BitAnd for MemblockFlags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for MemblockFlags {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// As debugfs prints them: the names joined by `|`, or `NONE`
/// (`memblock_debug_show`).
impl fmt::Display for MemblockFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("NONE");
        }
        let mut first = true;
        for bit in (0..u32::BITS).filter(|bit| (self.0 >> bit) & 1 != 0) {
            if !first {
                f.write_str("|")?;
            }
            first = false;
            let name = Self::NAMES.get(bit as usize).copied();
            f.write_str(name.unwrap_or("UNKNOWN"))?;
        }
        Ok(())
    }
}
