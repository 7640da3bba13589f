// SPDX-License-Identifier: GPL-2.0

//! Whichever allocator of objects was chosen at load (`objects=`).

use super::allocator::ObjectAllocator;
use super::system::SlabAllocator;
use crate::boot::KmsobOf;
use crate::platform::Platform;
use core::ops::Deref;

/// The allocator of objects.
pub enum Objects<'a, 'm, P: Platform> {
    /// Linux's slab layer.
    Slab(SlabAllocator<'a, 'm, P>),
    /// The containers of objects of Cosmos.
    Kmsob(KmsobOf<'a, 'm, P>),
}

impl<'a, P: Platform> Deref for Objects<'a, '_, P> {
    type Target = dyn ObjectAllocator + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Slab(slab) => slab,
            Self::Kmsob(kmsob) => kmsob,
        }
    }
}
