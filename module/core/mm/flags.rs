// SPDX-License-Identifier: GPL-2.0

//! What a VMA is and allows (`vm_flags`), by Linux's bits.

/// A set of Linux's `VM_*` flags, with the bits that `include/linux/mm.h` gives
/// them on x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct VmFlags(pub u64);

#[allow(missing_docs)] // The names are Linux's.
impl VmFlags {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1 << 0);
    pub const WRITE: Self = Self(1 << 1);
    pub const EXEC: Self = Self(1 << 2);
    pub const SHARED: Self = Self(1 << 3);
    pub const MAYREAD: Self = Self(1 << 4);
    pub const MAYWRITE: Self = Self(1 << 5);
    pub const MAYEXEC: Self = Self(1 << 6);
    pub const MAYSHARE: Self = Self(1 << 7);
    pub const GROWSDOWN: Self = Self(1 << 8);
    pub const PFNMAP: Self = Self(1 << 10);
    pub const MAYBE_GUARD: Self = Self(1 << 11);
    pub const LOCKED: Self = Self(1 << 13);
    pub const IO: Self = Self(1 << 14);
    pub const SEQ_READ: Self = Self(1 << 15);
    pub const RAND_READ: Self = Self(1 << 16);
    pub const DONTCOPY: Self = Self(1 << 17);
    pub const DONTEXPAND: Self = Self(1 << 18);
    pub const LOCKONFAULT: Self = Self(1 << 19);
    pub const ACCOUNT: Self = Self(1 << 20);
    pub const NORESERVE: Self = Self(1 << 21);
    pub const HUGETLB: Self = Self(1 << 22);
    pub const WIPEONFORK: Self = Self(1 << 25);
    pub const DONTDUMP: Self = Self(1 << 26);
    pub const SOFTDIRTY: Self = Self(1 << 27);
    pub const MIXEDMAP: Self = Self(1 << 28);
    pub const HUGEPAGE: Self = Self(1 << 29);
    pub const NOHUGEPAGE: Self = Self(1 << 30);
    pub const MERGEABLE: Self = Self(1 << 31);
    pub const DROPPABLE: Self = Self(1 << 40);

    /// What a process may do there now (`VM_ACCESS_FLAGS`).
    pub const ACCESS: Self = Self(0b111);
    /// `VM_LOCKED_MASK`.
    pub const LOCKED_MASK: Self = Self(Self::LOCKED.0 | Self::LOCKONFAULT.0);
    /// What a process may allow itself there (`VM_MAY*`).
    pub const MAY: Self = Self(Self::MAYREAD.0 | Self::MAYWRITE.0 | Self::MAYEXEC.0);
    /// VMAs that are never merged (`VM_SPECIAL`).
    pub const SPECIAL: Self =
        Self(Self::IO.0 | Self::DONTEXPAND.0 | Self::PFNMAP.0 | Self::MIXEDMAP.0);
    /// What does not keep VMAs from being merged, and what a merged one has when one
    /// of them had it (`VMA_STICKY_FLAGS`, `VMA_IGNORE_MERGE_FLAGS`).
    pub const STICKY: Self = Self(Self::SOFTDIRTY.0 | Self::MAYBE_GUARD.0);
    /// What the heap is (`VMA_DATA_FLAGS_TSK_EXEC` of a process that does not ask for
    /// executable data).
    pub const DATA_DEFAULT: Self = Self(Self::READ.0 | Self::WRITE.0 | Self::MAY.0);
    /// What a stack is (`VMA_STACK_FLAGS`).
    pub const STACK: Self = Self(Self::DATA_DEFAULT.0 | Self::GROWSDOWN.0 | Self::ACCOUNT.0);
}

impl VmFlags {
    /// Whether all of `flags` are in it.
    #[inline]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether one of `flags` is in it.
    #[inline]
    pub const fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// With these, too.
    #[inline]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// Without these.
    #[inline]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}
