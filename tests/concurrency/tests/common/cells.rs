// SPDX-License-Identifier: GPL-2.0

//! What core has in the region's memory, under loom: structs of atomics that are made anew.

use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::AtomicU64;

/// What cells are made of, made anew.
pub trait New {
    fn new() -> Self;
}

impl New for AtomicU32 {
    fn new() -> Self {
        Self::new(0)
    }
}

impl New for AtomicU64 {
    fn new() -> Self {
        Self::new(0)
    }
}

impl<T: New, const N: usize> New for [T; N] {
    fn new() -> Self {
        std::array::from_fn(|_| T::new())
    }
}

macro_rules! cells {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl crate::cells::New for $name {
            fn new() -> Self {
                Self { $($field: crate::cells::New::new(),)* }
            }
        }
    };
}
pub(crate) use cells;
